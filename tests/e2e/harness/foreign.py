"""Other people's JOSE: each library makes keys, exports them as a set, signs, and verifies.

A library is an object with `name`, `issue(claims)`, which gives an `Issued`, and `verify(jwks, tokens)`, which gives
{name: True or why not} for {name: token}. Verifying is told what we are told: issuer, audience, and that only
asymmetric algorithms will do.
"""

import json
import subprocess
import warnings
from dataclasses import dataclass, field

import jwt as pyjwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwcrypto import jwk as jwcrypto_jwk
from jwcrypto import jwt as jwcrypto_jwt

from .paths import NODE_PEERS, require

with warnings.catch_warnings(record=True):
    # Says on every import that its successor is joserfc. Both are in use out there.
    from authlib.jose import JsonWebKey, JsonWebToken, KeySet

ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "Ed25519"]
ISSUER, AUDIENCE = "https://foreign.test", "api://agents"

_CURVES = {"ES256": ("P-256", ec.SECP256R1), "ES384": ("P-384", ec.SECP384R1), "ES512": ("P-521", ec.SECP521R1)}


@dataclass
class Issued:
    """A key set as its library exports it, a token for each algorithm, and why there is none for the others."""

    jwks: dict
    tokens: dict = field(default_factory=dict)
    missing: dict = field(default_factory=dict)


def _collect(name, sign, export):
    """`sign(alg, kid)` gives a token and the handle that `export` needs for its key."""
    handles, issued = [], Issued({})
    for alg in ALGORITHMS:
        try:
            issued.tokens[alg], handle = sign(alg, f"{name}-{alg}")
            handles.append(handle)
        except Exception as error:  # whatever a library has to say about an algorithm that it lacks
            issued.missing[alg] = f"{type(error).__name__}: {error}"
    issued.jwks = export(handles)
    return issued


def _each(tokens, verify):
    verdicts = {}
    for name, token in tokens.items():
        try:
            verify(token)
            verdicts[name] = True
        except Exception as error:  # a refusal, in the library's own words
            verdicts[name] = f"{type(error).__name__}: {error}"
    return verdicts


class PyJwt:
    name = "PyJWT"

    def issue(self, claims):
        def sign(alg, kid):
            algorithm = pyjwt.get_algorithm_by_name(alg)
            key = private_key(alg)
            token = pyjwt.encode(claims, key, algorithm=alg, headers={"kid": kid})
            # PyJWT writes the key; what a set says beside it is its user's.
            jwk = type(algorithm).to_jwk(key.public_key(), as_dict=True)
            return token, {**jwk, "kid": kid, "alg": alg, "use": "sig"}

        return _collect(self.name, sign, lambda keys: {"keys": keys})

    def verify(self, jwks, tokens):
        keys = pyjwt.PyJWKSet.from_dict(jwks)

        def verify(token):
            kid = pyjwt.get_unverified_header(token)["kid"]
            pyjwt.decode(token, keys[kid], algorithms=ALGORITHMS, audience=AUDIENCE, issuer=ISSUER)

        return _each(tokens, verify)


class JwCrypto:
    name = "jwcrypto"

    def issue(self, claims):
        def sign(alg, kid):
            kind = {"R": {"kty": "RSA", "size": 2048}, "P": {"kty": "RSA", "size": 2048}}.get(alg[0])
            kind = kind or ({"kty": "EC", "crv": _CURVES[alg][0]} if alg in _CURVES else {"kty": "OKP", "crv": "Ed25519"})
            key = jwcrypto_jwk.JWK.generate(kid=kid, alg=alg, use="sig", **kind)
            token = jwcrypto_jwt.JWT(header={"alg": alg, "kid": kid, "typ": "JWT"}, claims=claims)
            token.make_signed_token(key)
            return token.serialize(), key

        def export(keys):
            whole = jwcrypto_jwk.JWKSet()
            for key in keys:
                whole.add(key)
            return json.loads(whole.export(private_keys=False))

        return _collect(self.name, sign, export)

    def verify(self, jwks, tokens):
        keys = jwcrypto_jwk.JWKSet.from_json(json.dumps(jwks))

        def verify(token):
            jwcrypto_jwt.JWT(jwt=token, key=keys, algs=ALGORITHMS, check_claims={"iss": ISSUER, "aud": AUDIENCE, "exp": None, "nbf": None})

        return _each(tokens, verify)


class Authlib:
    name = "Authlib"

    def issue(self, claims):
        def sign(alg, kid):
            options = {"kid": kid, "alg": alg, "use": "sig"}
            if alg[0] in "RP":
                key = JsonWebKey.generate_key("RSA", 2048, options, is_private=True)
            elif alg in _CURVES:
                key = JsonWebKey.generate_key("EC", _CURVES[alg][0], options, is_private=True)
            else:
                key = JsonWebKey.generate_key("OKP", "Ed25519", options, is_private=True)
            return JsonWebToken([alg]).encode({"alg": alg, "kid": kid}, claims, key).decode(), key

        return _collect(self.name, sign, lambda keys: KeySet(keys).as_dict(is_private=False))

    def verify(self, jwks, tokens):
        keys = JsonWebKey.import_key_set(jwks)
        options = {"iss": {"essential": True, "value": ISSUER}, "aud": {"essential": True, "value": AUDIENCE}}
        return _each(tokens, lambda token: JsonWebToken(ALGORITHMS).decode(token, keys, claims_options=options).validate())


class NodeJose:
    name = "jose"

    def issue(self, claims):
        return Issued(**self._ask({"issue": {"algorithms": ALGORITHMS, "claims": claims}}))

    def verify(self, jwks, tokens):
        return self._ask({"verify": {
            "jwks": jwks, "issuer": ISSUER, "audience": AUDIENCE, "algorithms": ALGORITHMS, "tokens": tokens}})

    @staticmethod
    def _ask(request):
        require(NODE_PEERS / "node_modules")
        done = subprocess.run(
            ["node", NODE_PEERS / "foreign.mjs"], input=json.dumps(request), capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)


LIBRARIES = [PyJwt(), JwCrypto(), Authlib(), NodeJose()]


def private_key(alg):
    """A fresh key of the kind that an algorithm signs with."""
    if alg[0] in "RP":
        return rsa.generate_private_key(65537, 2048)
    if alg in _CURVES:
        return ec.generate_private_key(_CURVES[alg][1]())
    return ed25519.Ed25519PrivateKey.generate()
