"""What all cases share: an issuer with a key of each kind, further issuers of hostile key sets, and the list itself."""

import base64
import json
import time
from dataclasses import dataclass, field

from .keys import Signer, compact

AUDIENCE = "api://agents"
ISSUER = "https://issuer.attacks.test"
DOCUMENTS = "keys.attacks.test"

# What each code comes with: status, reason, challenge. Written down here and not read from the filter's own list.
CODES = {
    "missing_token": (401, "missing_token", "bare"),
    "not_for_me": (401, "not_for_me", "invalid_token"),
    **{code: (401, "rejected", "invalid_token") for code in ("expired", "not_yet_valid", "too_old", "audience_mismatch", "missing_subject")},
    **{code: (401, "invalid", "invalid_token") for code in (
        "ambiguous_credentials", "malformed_authorization", "token_too_large", "malformed_token", "unsupported_header",
        "unsupported_algorithm", "malformed_claims", "missing_expiry", "missing_kid", "unknown_kid", "key_mismatch",
        "bad_signature")},
    "keys_unavailable": (503, "provider_unavailable", None),
}
# Refusals that presuppose a verified signature, or that are its failure: one verification. All others cost none.
AFTER_THE_SIGNATURE = {"expired", "not_yet_valid", "too_old", "audience_mismatch", "missing_subject", "missing_expiry", "bad_signature"}


@dataclass
class Case:
    """One request and what must become of it.

    `code` is the audit event's; None means let in. `verifications` is how many signatures may be verified.
    `envoy` is the status with which Envoy refuses the request before the filter sees it; `core` is the code when the core
    is given the fields as they were sent, where Envoy changes them.
    """

    id: str
    what: str
    headers: list
    code: str | None
    verifications: int
    kind: str = ""
    method: str = "GET"
    target: str = "/rest/orders"
    body: bytes = b""
    envoy: int | None = None
    core: str | None = None

    @property
    def hostile(self):
        return self.code is not None or self.envoy is not None

    @property
    def size(self):
        return sum(len(n) + len(v) for n, v in self.headers)

    def as_json(self):
        def text(value):
            return base64.b64encode(value if isinstance(value, bytes) else value.encode("latin-1")).decode()

        return {
            "id": f"{self.kind}/{self.id}", "method": self.method, "target": self.target,
            "headers": [[n, text(v)] for n, v in self.headers], "code": self.core or self.code,
            "verifications": 0 if self.core else self.verifications,
        }


@dataclass
class Class:
    """The cases of one module."""

    name: str
    title: str
    cases: list = field(default_factory=list)


class World:
    """Keys, configuration and cases. `now` is when it was made; what is good in it is good for an hour."""

    def __init__(self):
        self.now = int(time.time())
        self.rsa = Signer.rsa("rsa-1")
        # Without `alg`: good for RS* and PS* alike.
        self.rsa_any = Signer.rsa("rsa-any", jwk_alg=False)
        self.p256, self.p384, self.p521 = (Signer.ec(f"ec-{c[2:]}", c) for c in ("P-256", "P-384", "P-521"))
        self.ed = Signer.ed("ed-1")
        self.signers = [self.rsa, self.rsa_any, self.p256, self.p384, self.p521, self.ed]
        # A key that is in no set.
        self.mallory = Signer.rsa("mallory")
        self.providers = []
        self.documents = {}
        self.classes = []
        self.add_issuer("main", [s.jwk for s in self.signers], issuer=ISSUER)

    # Configuration

    def add_issuer(self, name, jwks, *, issuer=None, **settings):
        """One more provider with these keys inline (a list of JWKs, or the text of a set); returns its issuer."""
        issuer = issuer or f"https://{name}.attacks.test"
        text = jwks if isinstance(jwks, str) else json.dumps({"keys": jwks})
        self._provider(name, {"issuer": issuer, "audience": AUDIENCE, "jwks": text, **settings})
        return issuer

    def add_document(self, name, body):
        """One more provider that fetches its keys, and will be answered with this body; returns its issuer."""
        issuer, path = f"https://{name}.attacks.test", f"/{name}"
        self.documents[path] = body
        self._provider(name, {"issuer": issuer, "audience": AUDIENCE, "jwks_url": f"https://{DOCUMENTS}{path}"})
        return issuer

    def _provider(self, name, settings):
        self.providers.append({"type": "oidc", "name": name, "settings": settings})

    def plugin(self, upstream="keys"):
        """The plugin configuration of the whole corpus."""
        return {
            "auth": {"providers": self.providers, "skip": ["GET /healthz"]},
            "agent": {"path": "/rest/{agent}"},
            "callouts": {"upstreams": {DOCUMENTS: upstream}},
        }

    # Tokens

    def claims(self, iss=ISSUER, **changes):
        """Claims of a good token; a change to None removes one."""
        claims = {"iss": iss, "aud": AUDIENCE, "sub": "mallory", "iat": self.now, "exp": self.now + 3600, **changes}
        return {k: v for k, v in claims.items() if v is not None}

    def payload(self, **raw):
        """A payload of good claims whose members in `raw` are JSON texts, put in as they stand."""
        good = {k: json.dumps(v) for k, v in self.claims().items()}
        return "{" + ",".join(f'"{k}":{v}' for k, v in {**good, **raw}.items()) + "}"

    def header(self, signer=None, **changes):
        signer = signer or self.rsa
        header = {"alg": signer.alg, "kid": signer.kid, **changes}
        return {k: v for k, v in header.items() if v is not None}

    def token(self, signer=None, *, header=None, payload=None, sign=None, sign_alg=None, **header_changes):
        """A token by `signer` (default the RSA key): a good one but for what is given.

        `header` and `payload` replace the whole; bytes and text are taken as they stand. `sign` replaces the signature.
        """
        signer = signer or self.rsa
        header = self.header(signer, **header_changes) if header is None else header
        payload = self.claims() if payload is None else payload
        return compact(header, payload, sign if sign is not None else lambda m: signer.sign(m, sign_alg))

    # Cases

    def begin(self, name, title):
        self.classes.append(Class(name, title))

    def add(self, id, what, code, token=None, *, headers=None, verifications=None, **more):
        """A case: the token as a bearer, or these headers. `code` None is a control: it must be let in."""
        if headers is None:
            headers = [("Authorization", f"Bearer {token}")]
        if verifications is None:
            verifications = int(code is None or code in AFTER_THE_SIGNATURE)
        found = self.classes[-1]
        assert id not in {c.id for c in found.cases}, f"{found.name}/{id} stands twice"
        found.cases.append(Case(id, what, headers, code, verifications, kind=found.name, **more))

    def control(self, id, what, token=None, **more):
        """The good neighbour of hostile cases: a filter that refuses everything must not pass for a secure one."""
        self.add(id, what, None, token, **more)

    @property
    def cases(self):
        return [case for found in self.classes for case in found.cases]
