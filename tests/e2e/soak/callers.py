"""The callers of a soak. Each kind makes a request and knows what must become of it."""

import base64
import hashlib
import hmac
import json
import time

from harness.stack import SMOKE_TOKEN
from harness.sts import ALICE, MALLORY
from harness.tokens import Key, claims, tampered, unsigned
from test_api_keys import forged
from test_aws_sigv4 import presigned

from .world import World, api_key

STRANGER = Key("stranger")


class Ask:
    """One request. `good`: must be let in as `expect`, unless `asks` (a peer) could not be asked; `unknown`: either will do."""

    def __init__(self, kind, headers=(), *, expect=None, asks=None, verdict="hostile", method="GET", target="/rest/orders", body=b""):
        self.kind, self.expect, self.asks, self.verdict = kind, expect, asks, verdict
        self.method, self.target, self.body = method, target, body
        self.headers = [*headers, ("x-soak-kind", kind if verdict == "hostile" else "good"), ("x-soak-expect", expect or "")]


def bearer(token):
    return [("Authorization", f"Bearer {token}")]


class Callers:
    """Makes requests; `random` decides, and so the seed does."""

    def __init__(self, world, random, name):
        self._w, self._random, self._name = world, random, name
        self._count = 0
        self._kept = {}

    def next(self):
        kinds = _GOOD if self._random.random() < 0.6 else _HOSTILE
        return self._random.choice(kinds)(self)

    def _n(self):
        self._count += 1
        return f"{self._name}-{self._count}"

    def _keep(self, what, make, seconds):
        """The same credential for a while: most callers come back."""
        kept = self._kept.get(what)
        if kept is None or kept[1] < time.monotonic() or self._random.random() < 0.1:
            kept = self._kept[what] = make(), time.monotonic() + seconds
        return kept[0]

    def _issued(self, name, sub, **more):
        issuer = getattr(self._w, name)
        return issuer.token(issuer.signing_key(), sub=sub, **more)

    # Good ones

    def member(self):
        token = self._keep("member", lambda: self._issued("one", "agent-planner"), 6)
        return Ask("member", bearer(token), expect="agent-planner", verdict="good")

    def newcomer(self):
        return Ask("newcomer", bearer(self._issued("two", f"two-{self._name}")), expect=f"two-{self._name}", verdict="good")

    def poster(self):
        body = b"x" * self._random.choice([1, 3000, 40_000])
        return Ask("poster", bearer(self._issued("one", "agent-poster")), expect="agent-poster", verdict="good", method="POST", body=body)

    def spoofer(self):
        """Welcome, but not under the name it claims."""
        headers = [("x-auth-user-id", "root"), ("X-AUTH-GROUPS", "admin"), *bearer(self._issued("one", "agent-spoofer"))]
        return Ask("spoofer", headers, expect="agent-spoofer", verdict="good")

    def aws(self):
        token = self._keep("aws", lambda: presigned(ALICE, expires=self._random.randrange(60, 900)), 15)
        return Ask("aws", bearer(token), expect=ALICE.arn, asks="sts", verdict="good")

    def opaque(self):
        token = self._keep("opaque", lambda: f"tok_{self._n()}", 5)
        self._w.verifier.people.setdefault(token, {"user_id": token})
        return Ask("opaque", bearer(token), expect=token, asks="verifier", verdict="good")

    def key(self):
        return Ask("key", [("x-api-key", api_key(*World.KEYS["orders"]))], expect="owner-of-orders", verdict="good")

    def carol(self):
        now = time.monotonic()
        denied = self._w.carol_denied
        if denied.covers(now - 2.0, now):
            verdict = "hostile"
        else:
            verdict = "unknown" if denied.touches(now - 2.0, now) else "carol"
        return Ask("carol", bearer(self._issued("one", "carol")), expect="carol", verdict=verdict)

    # Hostile ones

    def nobody(self):
        return Ask("nobody", [("x-auth-user-id", "root")])

    def garbage(self):
        return Ask("garbage", bearer(base64.b64encode(self._random.randbytes(self._random.randrange(1, 200))).decode()))

    def none(self):
        return Ask("alg none", bearer(unsigned(claims(self._w.one.url, self._w.one.aud))))

    def confused(self):
        """HS256 with the public key for a secret, as some libraries take it."""
        def b64(data):
            return base64.urlsafe_b64encode(data).rstrip(b"=").decode()

        key = self._w.one.keys[0]
        head = b64(json.dumps({"alg": "HS256", "kid": key.kid}).encode())
        payload = b64(json.dumps(claims(self._w.one.url, self._w.one.aud)).encode())
        mac = hmac.new(key.public_pem(), f"{head}.{payload}".encode(), hashlib.sha256).digest()
        return Ask("HS256 with the public key", bearer(f"{head}.{payload}.{b64(mac)}"))

    def tampered(self):
        return Ask("tampered", bearer(tampered(self._issued("one", "agent-planner"))))

    def impostor(self):
        key = Key.__new__(Key)
        key.__dict__.update(STRANGER.__dict__, kid=self._w.one.signing_key().kid)
        return Ask("another key under a known kid", bearer(self._w.one.token(key)))

    def unknown_kid(self):
        return Ask("unknown kid", bearer(self._w.one.token(STRANGER, header={"kid": f"k-{self._n()}"})))

    def late(self):
        return Ask("expired", bearer(self._issued("one", "agent-planner", ttl=-self._random.randrange(40, 4000))))

    def elsewhere(self):
        return Ask("another audience", bearer(self._issued("one", "agent-planner", aud="api://else")))

    def foreign(self):
        return Ask("another issuer", bearer(self._w.one.token(self._w.one.keys[0], iss="https://evil.test")))

    def mallory(self):
        return Ask("subject not allowed", bearer(self._issued("one", "mallory")))

    def aws_mallory(self):
        return Ask("principal not allowed", bearer(presigned(MALLORY, expires=self._random.randrange(60, 900))))

    def aws_tampered(self):
        token = presigned(ALICE, expires=self._random.randrange(60, 900))
        return Ask("forged AWS signature", bearer(token[:-6] + "".join("AB"[c == "A"] for c in token[-6:])))

    def opaque_stranger(self):
        return Ask("unknown opaque token", bearer(f"tok_nobody_{self._n()}"))

    def smoke(self):
        return Ask("token of a provider that is not there", bearer(SMOKE_TOKEN))

    def key_forged(self):
        return Ask("forged key", [("x-api-key", forged(World.KEYS["orders"][0], "Z"))])

    def key_elsewhere(self):
        return Ask("another agent's key", [("x-api-key", api_key(*World.KEYS["fraud"]))])

    def twice(self):
        token = self._issued("one", "agent-planner")
        return Ask("two credentials", [*bearer(token), ("Authorization", "Bearer x")])

    def detour(self):
        target = self._random.choice(["/healthz/../rest/orders", "/healthz%2f..%2frest%2forders", "/healthz/", "/HEALTHZ"])
        return Ask("detour by a skipped path", target=target)


_GOOD = [Callers.member] * 6 + [Callers.newcomer] * 3 + [Callers.aws, Callers.opaque, Callers.key] * 2 + [
    Callers.poster, Callers.spoofer, Callers.carol, Callers.carol]
_HOSTILE = [
    Callers.nobody, Callers.garbage, Callers.none, Callers.confused, Callers.tampered, Callers.impostor, Callers.unknown_kid, Callers.late,
    Callers.elsewhere, Callers.foreign, Callers.mallory, Callers.aws_mallory, Callers.aws_tampered, Callers.opaque_stranger, Callers.smoke,
    Callers.key_forged, Callers.key_elsewhere, Callers.twice, Callers.detour]
