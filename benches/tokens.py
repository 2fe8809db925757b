"""Tokens and the key set that all contestants are given: PyJWT signs, nothing of ours is involved."""

import base64
import json
import time

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa

ISSUER = "https://issuer.bench.example.com"
AUDIENCE = "api://agents"
USER, EMAIL, ORG = "agent-planner-0017", "planner@agents.bench.example.com", "org-4711"


class Issuer:
    """One RSA-2048 and one P-256 key, made for this run."""

    def __init__(self):
        self._keys = {
            "RS256": rsa.generate_private_key(public_exponent=65537, key_size=2048),
            "ES256": ec.generate_private_key(ec.SECP256R1()),
        }
        # Bytes of one token, by algorithm: the cost of a request depends on it.
        self.sizes = {algorithm: len(self.token(algorithm)) for algorithm in self._keys}

    def jwks(self):
        """The key set as JSON text."""
        rs, es = (self._keys[name].public_key() for name in ("RS256", "ES256"))
        keys = [
            {**jwt.algorithms.RSAAlgorithm.to_jwk(rs, as_dict=True), "kid": "RS256", "alg": "RS256", "use": "sig"},
            {**jwt.algorithms.ECAlgorithm.to_jwk(es, as_dict=True), "kid": "ES256", "alg": "ES256", "use": "sig"},
        ]
        for key in keys:
            key.pop("key_ops", None)
        return json.dumps({"keys": keys})

    def token(self, algorithm, serial=0, **changed):
        """One token with the claims of an ordinary access token; `changed` replaces claims."""
        now = int(time.time())
        claims = {
            "iss": ISSUER, "aud": AUDIENCE, "sub": USER, "email": EMAIL, "email_verified": True, "org_id": ORG,
            "iat": now, "nbf": now, "exp": now + 6 * 3600, "jti": f"bench-{serial:012d}", "azp": "planner",
            "scope": "openid email agents.call", **changed,
        }
        return jwt.encode(claims, self._keys[algorithm], algorithm=algorithm, headers={"kid": algorithm})

    def mint(self, algorithm, count):
        """`count` tokens, no two alike."""
        return [self.token(algorithm, serial) for serial in range(count)]

    def bad(self, algorithm):
        """Tokens that every verifier has to refuse, by what is wrong with them."""
        head, claims, signature = self.token(algorithm).split(".")
        raw = bytearray(base64.urlsafe_b64decode(signature + "=" * (-len(signature) % 4)))
        raw[len(raw) // 2] ^= 1
        flipped = base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
        past = int(time.time()) - 7200
        return {
            "signature": f"{head}.{claims}.{flipped}",
            "expired": self.token(algorithm, exp=past),
            "audience": self.token(algorithm, aud="api://others"),
            "issuer": self.token(algorithm, iss="https://issuer.other.example.com"),
        }
