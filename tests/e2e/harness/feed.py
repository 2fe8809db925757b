"""A key feed of our own: the wire format of docs/keys-feed.md, kept honestly, and every way to misbehave."""

import bisect
import hashlib
import json
import threading
import time
import zlib
from urllib.parse import parse_qs, urlsplit

from .server import LoopbackServer, QuietHandler

BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
TOKEN = "fleet-token-0123456789abcdef"
ENV = "PORTCULLIS_FEED_TOKEN"


def assembled(key_id, secret="A" * 43, prefix="gak"):
    """A well-formed key."""
    signed = f"{prefix}_{key_id}_{secret}"
    number, check = zlib.crc32(signed.encode()), ""
    for _ in range(6):
        check = BASE62[number % 62] + check
        number //= 62
    return f"{signed}_{check}"


def record(key, **changes):
    """What a service keeps of a key; None leaves a member out."""
    made = {
        "id": key.split("_")[1],
        "hash": "sha256:" + hashlib.sha256(key.encode()).hexdigest(),
        "scope": {"agent": "orders"},
        "created_at": int(time.time()) - 60,
        "expires_at": int(time.time()) + 3600,
        **changes,
    }
    return {name: value for name, value in made.items() if value is not None}


class _Handler(QuietHandler):
    def do_GET(self):
        self.server.owner.serve(self)

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        self.server.owner.take_uses(self, body)


class KeyFeed(LoopbackServer):
    """Serves `GET /feed` and takes `POST /uses`.

    `polls` keeps (when, instance, after, epoch, status) of each poll. `mode` is one of
      ok        the truth
      hold      no answer until `gate` is set
      garbage   200 and something that is not JSON
      cut       200 and the first half of the truth
      format    the truth in a format that nobody knows
      back      a page with everything revoked, of a revision from before
      foreign   a page with everything revoked, of another epoch
      huge      the truth, and 9 MiB
      hangup    no answer at all
      NNN       that status, and a page with everything revoked
    `usage_mode` is `ok`, `lost` (taken in, and then no answer) or a status. `uses` is what was taken in, each batch once; `batches` every batch
    that came, in order.
    """

    handler = _Handler

    def __init__(self, page=2000):
        self.page = page
        self.epoch = "epoch-1"
        self.revision = 0
        self.keys = {}  # id: (revision, record or None)
        self.agents = {}
        self.mode = "ok"
        self.usage_mode = "ok"
        self.gate = threading.Event()
        self.polls = []
        self.uses = []
        self.batches = []
        self.bytes = 0
        self._sorted, self._sorted_at = [], None
        self._taken = set()
        self._lock = threading.RLock()
        super().__init__()

    # What a service does

    def put(self, *records):
        with self._lock:
            for each in records:
                self.revision += 1
                self.keys[each["id"]] = (self.revision, each)

    def remove(self, key_id):
        with self._lock:
            self.revision += 1
            self.keys[key_id] = (self.revision, None)

    def create(self, key_id, **changes):
        """A new key, known from now on."""
        key = assembled(key_id, prefix=changes.pop("prefix", "gak"))
        self.put(record(key, **changes))
        return key

    def change(self, key_id, **changes):
        with self._lock:
            self.put({**self.keys[key_id][1], **changes})

    def revoke(self, key_id):
        self.change(key_id, revoked_at=int(time.time()))

    def describe(self, name, **facts):
        with self._lock:
            self.revision += 1
            self.agents[name] = (self.revision, facts)

    def forget(self, name):
        with self._lock:
            self.revision += 1
            self.agents[name] = (self.revision, None)

    def restore(self, epoch, *records):
        """Another database: its revisions mean nothing to whoever knew the old one."""
        with self._lock:
            self.epoch, self.revision, self.keys, self.agents = epoch, 0, {}, {}
            self.put(*records)

    def instances(self):
        with self._lock:
            return {p[1] for p in self.polls}

    # Answers

    def serve(self, request):
        url = urlsplit(request.path)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        if url.path != "/feed" or request.headers["authorization"] != f"Bearer {TOKEN}":
            return request.answer(404 if url.path != "/feed" else 401)
        mode = self.mode
        with self._lock:
            status, body, etag = self._answer(query, request.headers["if-none-match"])
        if mode == "hold":
            # Bounded, so that a test that forgot its gate doesn't keep the thread.
            self.gate.wait(60)
        elif mode == "hangup":
            request.close_connection = True
            return None
        elif mode != "ok":
            status, body = self._misbehave(mode, query)
        with self._lock:
            self.polls.append((time.monotonic(), request.headers["x-portcullis-instance"], int(query["after"]), query.get("epoch"), status))
            self.bytes += len(body)
        return request.answer(status, body, [("Content-Type", "application/json"), *([("ETag", etag)] if mode == "ok" else [])])

    def _answer(self, query, condition):
        etag = f'"{self.epoch}-{self.revision}"'
        after, reset = int(query["after"]), False
        if query.get("epoch") != self.epoch or after > self.revision:
            after, reset = 0, True
        elif condition == etag or after == self.revision:
            return 304, b"", etag
        if self._sorted_at != etag:
            changes = [(r, "key", n, v) for n, (r, v) in self.keys.items()]
            changes += [(r, "agent", n, v) for n, (r, v) in self.agents.items()]
            self._sorted, self._sorted_at = sorted(changes, key=lambda c: c[0]), etag
        first = bisect.bisect_right(self._sorted, after, key=lambda c: c[0])
        limit = min(self.page, int(query.get("limit", self.page)))
        page = self._sorted[first : first + limit]
        return 200, self._document(page, reset, len(self._sorted) > first + limit), etag

    def _document(self, page, reset, more, **changes):
        document = {
            "format": "portcullis-feed/1", "epoch": self.epoch, "revision": page[-1][0] if more else self.revision,
            "reset": reset, "more": more,
            "keys": [v for _, kind, _, v in page if kind == "key" and v is not None],
            "removed_keys": [n for _, kind, n, v in page if kind == "key" and v is None],
            "agents": {n: v for _, kind, n, v in page if kind == "agent" and v is not None},
            "removed_agents": [n for _, kind, n, v in page if kind == "agent" and v is None],
            **changes,
        }
        return json.dumps(document).encode()

    def _misbehave(self, mode, query):
        with self._lock:
            everything = [(r, "key", n, {**v, "revoked_at": 1}) for n, (r, v) in list(self.keys.items())[:1000] if v]
            after = int(query["after"])
            revoked = self._document(everything, False, False, revision=after + 1)
            if mode == "garbage":
                return 200, b"<html>captive portal</html>"
            if mode == "cut":
                return 200, revoked[: len(revoked) // 2]
            if mode == "format":
                return 200, revoked.replace(b"feed/1", b"feed/2")
            if mode == "back":
                return 200, self._document(everything, False, False, revision=max(0, after - 1))
            if mode == "foreign":
                return 200, self._document(everything, False, False, revision=after + 1, epoch="another")
            if mode == "huge":
                return 200, revoked + b" " * (9 << 20)
            return int(mode), revoked

    def take_uses(self, request, body):
        document = json.loads(body)
        assert request.headers["authorization"] == f"Bearer {TOKEN}"
        assert request.headers["content-type"] == "application/json"
        assert document["format"] == "portcullis-usage/1", document
        assert document["instance"] == request.headers["x-portcullis-instance"]
        mode = self.usage_mode
        with self._lock:
            self.batches.append(document)
            if mode in ("ok", "lost"):
                name = (document["instance"], document["batch"])
                if name not in self._taken:
                    self._taken.add(name)
                    self.uses += document["uses"]
        if mode == "lost":
            request.close_connection = True
            return None
        return request.answer(204 if mode == "ok" else int(mode))

    def used(self, key_id):
        """(allowed, refused) of a key, over everything."""
        with self._lock:
            mine = [u for u in self.uses if u["key"] == key_id]
        return sum(u["allowed"] for u in mine), sum(u["refused"] for u in mine)

    # For a plugin's configuration

    def settings(self, **changes):
        """`feed` in the provider's settings; the proxy finds `keys.test` here."""
        made = {"url": "https://keys.test/feed", "token_env": ENV, "interval": "1s", **changes}
        return {name: value for name, value in made.items() if value is not None}

    def install(self, bootstrap):
        """Lets the proxy find us and know our token."""
        bootstrap.point("keys-test", self.port)
        bootstrap.plugin.setdefault("callouts", {}).setdefault("upstreams", {})["keys.test"] = "keys-test"
        variables = bootstrap.wasm["vm_config"].setdefault("environment_variables", {})
        variables.setdefault("host_env_keys", [])
        if ENV not in variables["host_env_keys"]:
            variables["host_env_keys"].append(ENV)
