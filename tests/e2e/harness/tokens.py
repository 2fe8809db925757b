"""Tokens made by other people's libraries: PyJWT signs, jwcrypto makes the keys' JWKs."""

import base64
import json
import time
import uuid

import jwt
from cryptography.hazmat.primitives import serialization
from jwcrypto import jwk

_KEY_KINDS = {
    "RS256": {"kty": "RSA", "size": 2048},
    "RS384": {"kty": "RSA", "size": 2048},
    "RS512": {"kty": "RSA", "size": 2048},
    "ES256": {"kty": "EC", "crv": "P-256"},
    "ES384": {"kty": "EC", "crv": "P-384"},
    "EdDSA": {"kty": "OKP", "crv": "Ed25519"},
}


class Key:
    """A signing key with its `kid` and the one `alg` it is for."""

    def __init__(self, kid, alg="RS256"):
        self.kid = kid
        self.alg = alg
        self._jwk = jwk.JWK.generate(kid=kid, alg=alg, use="sig", **_KEY_KINDS[alg])
        self._pem = self._jwk.export_to_pem(private_key=True, password=None)
        # Read once: OpenSSL checks an RSA key each time, which takes longer than signing.
        self._private = serialization.load_pem_private_key(self._pem, None)

    def public_jwk(self):
        """The public half, as it stands in a JWKS."""
        return json.loads(self._jwk.export_public())

    def public_pem(self):
        return self._jwk.export_to_pem()

    def private_key(self):
        return self._private

    def private_pem(self):
        return self._pem

    def sign(self, claims, **header):
        """A compact JWS over `claims`; `header` members are added, and removed when None."""
        fields = {"kid": self.kid, **header}
        fields = {k: v for k, v in fields.items() if v is not None}
        return jwt.encode(claims, self._private, algorithm=self.alg, headers=fields)

    def sign_raw(self, header, payload):
        """A compact JWS over exactly these bytes of header and payload, whatever they say."""
        signing_input = _b64(header) + b"." + _b64(payload)
        algorithm = jwt.get_algorithm_by_name(self.alg)
        signature = algorithm.sign(signing_input, algorithm.prepare_key(self._pem))
        return (signing_input + b"." + _b64(signature)).decode()


def _b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def claims(iss, aud, sub="agent-planner", ttl=300, **more):
    """Claims of a fresh token; a member given as None is left out. `ttl` is seconds from now to `exp`."""
    now = int(time.time())
    # A `jti` of its own: RS256 and EdDSA sign deterministically, and a cached token is another test.
    base = {"iss": iss, "aud": aud, "sub": sub, "iat": now, "exp": now + ttl, "jti": uuid.uuid4().hex, **more}
    return {k: v for k, v in base.items() if v is not None}


def unsigned(payload, alg="none"):
    """`alg: none` with an empty signature."""
    header = json.dumps({"alg": alg, "typ": "JWT"}).encode()
    return (_b64(header) + b"." + _b64(json.dumps(payload).encode()) + b".").decode()


def tampered(token):
    """The same token with one bit of its signature flipped, still strict base64url."""
    head, payload, signature = token.split(".")
    raw = bytearray(base64.urlsafe_b64decode(signature + "=" * (-len(signature) % 4)))
    raw[len(raw) // 2] ^= 1
    return ".".join([head, payload, _b64(bytes(raw)).decode()])
