"""Whom the proxy of a soak talks to, and when each of them was in order."""

import http.client
import threading
import time

from harness.entra import Entra
from harness.issuer import Issuer
from harness.server import LoopbackServer, QuietHandler


class WatchfulAgent(LoopbackServer):
    """Answers 200, and says in `x-soak-groups` which groups it was told. `on_hostile` is called for any request that its sender marked as
    one that must not arrive, `on_mistaken` for one that arrived under another name or with other groups than its sender's."""

    class handler(QuietHandler):
        def _answer(self):
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            agent = self.server.owner
            expected = self.headers.get("x-soak-expect")
            groups = self.headers.get_all("x-auth-groups") or []
            if self.headers.get("x-soak-kind") != "good":
                agent.on_hostile(self.headers.get("x-soak-kind"), self.path)
            elif self.headers.get_all("x-auth-user-id") != [expected] or self.headers.get("authorization"):
                agent.on_mistaken(expected, self.headers.get_all("x-auth-user-id"))
            elif groups and groups != [self.headers.get("x-soak-groups-expect")]:
                agent.on_mistaken(expected, groups)
            agent.arrived += 1
            self.answer(200, body or b"done", [("x-soak-groups", ",".join(groups))])

        do_GET = do_POST = do_PUT = _answer

    def __init__(self, on_hostile, on_mistaken):
        self.on_hostile, self.on_mistaken, self.arrived = on_hostile, on_mistaken, 0
        super().__init__()


class History:
    """When something was so: [(from, to)], the last one open."""

    def __init__(self):
        self._spans, self._lock = [], threading.Lock()

    def begin(self):
        with self._lock:
            self._spans.append([time.monotonic(), None])

    def end(self):
        with self._lock:
            self._spans[-1][1] = time.monotonic()

    def touches(self, since, until):
        """Whether it was so at any moment between the two."""
        with self._lock:
            return any(a <= until and (b is None or b >= since) for a, b in self._spans)

    def covers(self, since, until):
        """Whether it was so all the time between the two."""
        with self._lock:
            return any(a <= since and (b is None or b >= until) for a, b in self._spans)


class PatientIssuer(Issuer):
    """Signs with the newest key that has been fetched twice: each worker looks once a second for what another one has fetched."""

    def __init__(self, *args, **kwargs):
        self._fetched = {}
        super().__init__(*args, **kwargs)

    def jwks(self):
        if self.fault is None:
            for key in self.keys:
                self._fetched.setdefault(key.kid, []).append(time.monotonic())
        return super().jwks()

    def signing_key(self):
        now = time.monotonic()
        known = [k for k in self.keys if len(at := self._fetched.get(k.kid, [])) > 1 and now - at[1] > 3]
        return known[-1] if known else self.keys[0]

    def settled(self):
        """Whether nobody holds a token of an older key any more."""
        at = self._fetched.get(self.keys[-1].kid, [])
        return len(at) > 1 and time.monotonic() - at[1] > 30


class SteadyEntra(Entra):
    """Keeps the documents it serves: a certificate is signed for each key whenever one is asked for."""

    def _jwk(self, key):
        made = self.__dict__.setdefault("_made", {})
        if key.kid not in made:
            made[key.kid] = super()._jwk(key)
        return made[key.kid]


class Front(LoopbackServer):
    """What stands in front of a real service on `port`, so that a fault can be played where the service itself makes none."""

    class handler(QuietHandler):
        def _pass_on(self):
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            connection = http.client.HTTPConnection("127.0.0.1", self.server.owner.behind, timeout=10)
            try:
                names = ("authorization", "content-type", "if-none-match", "accept", "x-portcullis-instance", "x-portcullis-config")
                headers = {n: self.headers[n] for n in names if self.headers.get(n)}
                connection.request(self.command, self.path, body or None, headers)
                answer = connection.getresponse()
                content = answer.read()
            finally:
                connection.close()
            kept = [(n, v) for n, v in answer.getheaders() if n.lower() in ("content-type", "etag")]
            self.answer(answer.status, content, kept)

        do_GET = do_POST = _pass_on

    def __init__(self, port):
        self.behind = port
        super().__init__()
