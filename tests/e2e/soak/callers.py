"""The callers of a soak. Each kind makes a request and knows what must become of it."""

import base64
import hashlib
import hmac
import json
import time

from harness.entra import APP, OID, OTHER_TENANT
from harness.http1 import encode
from harness.stack import SMOKE_TOKEN
from harness.sts import ALICE, MALLORY
from harness.tokens import Key, claims, tampered, unsigned
from test_api_keys import forged
from test_aws_sigv4 import presigned
from test_azure import OVERAGE, STRANGER as FOREIGN_APP
from test_gcp_iap import HEADER as IAP_HEADER, SUB, assertion
from test_github_actions import job
from test_sigv4 import sign

from .keyring import KeyRing
from .world import IN_FORCE_SECONDS, PROBE, World, api_key

STRANGER = Key("stranger")


class Ask:
    """One request. `good`: must be let in as `expect`, unless `asks` (a peer) could not be asked, and with `groups` unless the directory
    could not; `unknown`: either will do. `key` is the `LiveKey` that it presents."""

    def __init__(self, kind, headers=(), *, expect=None, asks=None, groups=None, directory=False, key=None, verdict="hostile", method="GET",
                 target="/rest/orders", body=b""):
        self.kind, self.expect, self.asks, self.verdict = kind, expect, asks, verdict
        self.groups, self.directory, self.key = groups, directory, key
        self.method, self.target, self.body = method, target, body
        self.headers = [*headers, ("x-soak-kind", kind if verdict == "hostile" else "good"), ("x-soak-expect", expect or ""),
                        ("x-soak-groups-expect", groups or "")]

    def cut(self):
        """The bytes of the request up to the middle of a body that never ends."""
        body = self.body or b"x" * 99
        whole = encode("POST", self.target, self.headers, body)
        return whole[: -len(body) // 2]


def bearer(token):
    return [("Authorization", f"Bearer {token}")]


def renamed(kid):
    """A stranger's key that calls itself as somebody else's."""
    key = Key.__new__(Key)
    key.__dict__.update(STRANGER.__dict__, kid=kid)
    return key


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

    def service_key(self):
        """A key that was made a while ago in the key service."""
        known = self._w.ring.live()
        if not known:
            return self.key()
        key = self._random.choice(known)
        return Ask("key of the service", [("x-api-key", key.key)], expect=KeyRing.OWNER, key=key, verdict="good")

    def entra(self):
        token = self._keep("entra", lambda: self._w.entra.v2(groups=["g7", "g8"]), 6)
        return Ask("entra", bearer(token), expect=OID, groups="g7,g8", verdict="good")

    def overage(self):
        """Has more groups than go into a token: let in whatever becomes of Graph, and with its groups if Graph is there."""
        token = self._keep("overage", lambda: self._w.entra.v2(**OVERAGE), 4)
        headers = [("x-auth-groups", "admin"), *bearer(token)]
        return Ask("entra with Graph", headers, expect=OID, groups="g1,g2,g3", directory=True, verdict="good")

    def github(self):
        token = self._keep("github", lambda: job(self._w.github, self._w.github.signing_key()), 6)
        return Ask("github", bearer(token), expect="repo:octo-org/octo-repo", verdict="good")

    def iap(self):
        value = self._keep("iap", lambda: assertion(self._w.iap, self._w.iap.signing_key()), 6)
        return Ask("iap", [(IAP_HEADER, value)], expect=SUB, verdict="good")

    def static(self):
        return Ask("static", bearer(PROBE), expect="probe", verdict="good")

    def signer(self):
        return self._signed("signed", f"/rest/orders?n={self._n()}")

    def signed_poster(self):
        """Held back until the last octet of the body was compared with what was signed."""
        return self._signed("signed body", body=self._random.randbytes(self._random.choice([1, 3000, 40_000])), method="POST")

    def _signed(self, kind, target="/rest/orders", *, body=b"", method="GET", **changes):
        made = sign(method, target, body)
        parts = {"expect": "orders-bot", "groups": "bots", "verdict": "good", "method": method, "target": target, "body": body, **changes}
        return Ask(kind, list(made.headers.items()), **parts)

    def carol(self):
        now = time.monotonic()
        denied = self._w.carol_denied
        if denied.covers(now - IN_FORCE_SECONDS, now):
            verdict = "hostile"
        else:
            verdict = "unknown" if denied.touches(now - IN_FORCE_SECONDS, now) else "carol"
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
        return Ask("another key under a known kid", bearer(self._w.one.token(renamed(self._w.one.signing_key().kid))))

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

    def key_revoked(self):
        gone = self._w.ring.dead()
        return Ask("revoked key", [("x-api-key", self._random.choice(gone).key)]) if gone else self.key_forged()

    def app(self):
        return Ask("application not allowed", bearer(self._w.entra.v2(azp=FOREIGN_APP)))

    def tenant(self):
        return Ask("another tenant", bearer(self._w.entra.v2(tenant=OTHER_TENANT)))

    def entra_impostor(self):
        return Ask("another key in Entra's name", bearer(self._w.entra.v2(renamed(self._w.entra.keys[0].kid), azp=APP)))

    def repository(self):
        token = job(self._w.github, self._w.github.signing_key(), repository="evil/octo-repo", repository_owner="evil",
                    sub="repo:evil/octo-repo:environment:prod")
        return Ask("repository not allowed", bearer(token))

    def iap_impostor(self):
        return Ask("forged IAP assertion", [(IAP_HEADER, tampered(assertion(self._w.iap, self._w.iap.signing_key())))])

    def iap_elsewhere(self):
        changed = assertion(self._w.iap, self._w.iap.signing_key(), aud="/projects/123456789/apps/other")
        return Ask("IAP assertion for another service", [(IAP_HEADER, changed)])

    def signed_changed(self):
        kind = "signed, and then another body"
        return self._hostile(self._signed(kind, body=b"welcome", method="POST"), body=b"goodbye")

    def signed_elsewhere(self):
        return self._hostile(self._signed("signed for another path", "/rest/fraud"), target="/rest/orders")

    def signed_forged(self):
        made = sign(secret="another secret")
        return Ask("signed with another secret", list(made.headers.items()))

    @staticmethod
    def _hostile(good, **changes):
        """A good request that somebody has changed on its way."""
        headers = [(n, v) for n, v in good.headers if not n.startswith("x-soak-")]
        parts = {"method": good.method, "target": good.target, "body": good.body, **changes}
        return Ask(good.kind, headers, **parts)

    def twice(self):
        token = self._issued("one", "agent-planner")
        return Ask("two credentials", [*bearer(token), ("Authorization", "Bearer x")])

    def detour(self):
        target = self._random.choice(["/healthz/../rest/orders", "/healthz%2f..%2frest%2forders", "/healthz/", "/HEALTHZ"])
        return Ask("detour by a skipped path", target=target)


_GOOD = [Callers.member] * 6 + [Callers.newcomer, Callers.overage] * 3 + [
    Callers.aws, Callers.opaque, Callers.key, Callers.carol, Callers.service_key, Callers.signer] * 2 + [
    Callers.poster, Callers.spoofer, Callers.entra, Callers.github, Callers.iap, Callers.static, Callers.signed_poster]
_HOSTILE = [
    Callers.nobody, Callers.garbage, Callers.none, Callers.confused, Callers.tampered, Callers.impostor, Callers.unknown_kid, Callers.late,
    Callers.elsewhere, Callers.foreign, Callers.mallory, Callers.aws_mallory, Callers.aws_tampered, Callers.opaque_stranger, Callers.smoke,
    Callers.key_forged, Callers.key_elsewhere, Callers.key_revoked, Callers.app, Callers.tenant, Callers.entra_impostor, Callers.repository,
    Callers.iap_impostor, Callers.iap_elsewhere, Callers.signed_changed, Callers.signed_elsewhere, Callers.signed_forged, Callers.twice,
    Callers.detour]
