"""Foreign implementations in both directions: what they sign is accepted, and they refuse what we refuse.

Four libraries that know nothing of us: Node's jose, PyJWT, jwcrypto, Authlib. Each makes its own keys and exports them
as it exports key sets.
"""

import base64
import hashlib
import hmac
import json
import time

import jwt as pyjwt
import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from harness.foreign import ALGORITHMS, AUDIENCE, ISSUER, LIBRARIES, private_key
from harness.stack import plugin
from harness.tokens import claims, tampered

# What a library can't sign, as far as it is ours to verify. One that learns it fails the test below.
LACKS = {
    ("PyJWT", "Ed25519"): "knows the algorithm as EdDSA only",
    ("Authlib", "Ed25519"): "knows the algorithm as EdDSA only",
}
MADE = [(library.name, alg) for library in LIBRARIES for alg in ALGORITHMS if (library.name, alg) not in LACKS]


@pytest.fixture(scope="module")
def issued():
    made = {}
    for library in LIBRARIES:
        issuer = f"https://{library.name.lower()}.test"
        made[library.name] = (issuer, library.issue(claims(issuer, AUDIENCE, sub=f"agent-of-{library.name}")))
    return made


@pytest.fixture(scope="module", params=["host", "library"])
def stack(shared, issued, request):
    """One provider for each library; and who verifies is no difference to anyone."""
    providers = [
        {"type": "oidc", "name": name, "settings": {"issuer": issuer, "audience": AUDIENCE, "jwks": made.jwks}}
        for name, (issuer, made) in issued.items()
    ]
    names = ["rs256", "rs384", "rs512", "es256", "es384", "es512"]
    stack = shared.stack(plugin(*providers, crypto={name: request.param for name in names}))
    by_host = "RS256 RS384 RS512 ES256 ES384 ES512" if request.param == "host" else "none"
    assert f"signatures verified by the host: {by_host}\n" in stack.envoy.log()
    return stack


@pytest.mark.parametrize("library, alg", MADE)
def test_what_a_library_signs_is_accepted_and_what_was_changed_is_not(stack, issued, library, alg):
    token = issued[library][1].tokens[alg]
    header = json.loads(_unbase64(token.split(".")[0]))
    assert header["alg"] == alg
    stack.allowed(stack.request(token=token), user_id=f"agent-of-{library}", provider=library)
    stack.denied(stack.request(token=tampered(token)), 401, "invalid", "bad_signature")
    # A payload of another token under this signature.
    head, payload, signature = token.split(".")
    other = json.loads(_unbase64(payload)) | {"sub": "agent-of-nobody"}
    forged = ".".join([head, _base64(json.dumps(other).encode()), signature])
    stack.denied(stack.request(token=forged), 401, "invalid", "bad_signature")


@pytest.mark.parametrize("library", [library.name for library in LIBRARIES])
def test_a_library_lacks_what_it_is_said_to_lack(issued, library):
    lacking = {alg for name, alg in LACKS if name == library}
    assert set(issued[library][1].missing) == lacking, issued[library][1].missing


def test_a_library_trusts_no_key_of_another(stack, issued):
    """Each provider has its own set, though all were made alike."""
    for _, (_, made) in issued.items():
        for alg in ("RS256", "ES256", "EdDSA"):
            head, payload, signature = made.tokens[alg].split(".")
            for other, (issuer, _) in issued.items():
                moved = json.loads(_unbase64(payload)) | {"iss": issuer}
                token = ".".join([head, _base64(json.dumps(moved).encode()), signature])
                response = stack.request(token=token)
                assert response.status == 401, (other, alg)


# The other direction: hostile tokens that all of them judge

ALL = {library.name for library in LIBRARIES}
# Which libraries take a token that we refuse, and why we do. What is not listed, all four refuse.
TAKEN = {
    "RS256/signed as RS512": ({"jwcrypto", "Authlib"}, "the key's own `alg` says RS256 (RFC 8725 section 3.1)"),
    "RS256/signed as PS256": ({"jwcrypto", "Authlib"}, "the key's own `alg` says RS256"),
    "PS256/signed as RS256": ({"jwcrypto", "Authlib"}, "the key's own `alg` says PS256"),
    "RS256/critical member alone": ({"jwcrypto", "Authlib"}, "an empty `crit` (RFC 7515 section 4.1.11)"),
    "RS256/alg twice": (ALL, "which of the two members counts is anybody's guess (RFC 7515 section 4)"),
    "RS256/padding": (ALL, "base64url has no padding here (RFC 7515 section 2): one token, one text"),
    "RS256/unused bits": ({"jwcrypto", "Authlib", "jose"}, "unused bits are zero (RFC 4648 section 3.5): one token, one text"),
}


def fresh(**more):
    return {**claims(ISSUER, AUDIENCE, nbf=int(time.time()) - 5), **claims(**{"iss": ISSUER, "aud": AUDIENCE, **more})}


def _base64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _unbase64(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


class Signer:
    """One key of a set, and every wrong way to use it."""

    def __init__(self, kid, alg):
        self.kid, self.alg, self.key = kid, alg, private_key(alg)

    def jwk(self, **members):
        public = type(pyjwt.get_algorithm_by_name(self.alg)).to_jwk(self.key.public_key(), as_dict=True)
        public.pop("key_ops", None)
        return {**public, "kid": self.kid, "alg": self.alg, "use": "sig", **members}

    def pem(self):
        return self.key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)

    def token(self, payload=None, *, alg=None, raw_header=None, **header):
        header = {"alg": alg or self.alg, "kid": self.kid, "typ": "JWT", **header}
        header = {k: v for k, v in header.items() if v is not None}
        text = raw_header or json.dumps(header).encode()
        body = json.dumps(payload or fresh()).encode()
        return self.over(f"{_base64(text)}.{_base64(body)}", alg)

    def over(self, signing_input, alg=None):
        return f"{signing_input}.{_base64(self.sign(signing_input.encode(), alg or self.alg))}"

    def sign(self, message, alg):
        if alg.startswith("PS"):
            digest = getattr(hashes, f"SHA{alg[2:]}")()
            return self.key.sign(message, padding.PSS(padding.MGF1(digest), digest.digest_size), digest)
        algorithm = pyjwt.get_algorithm_by_name(alg)
        return algorithm.sign(message, self.key)


RS, PS, ES, ED = Signer("rs", "RS256"), Signer("ps", "PS256"), Signer("es", "ES256"), Signer("ed", "EdDSA")
RS2, ES2 = Signer("rs2", "RS256"), Signer("es2", "ES256")
SET = {"keys": [signer.jwk() for signer in (RS, PS, ES, ED, RS2, ES2)]}


def hostile():
    """{name: token}; all of them are refused by us."""
    cases = {}
    for signer in (RS, PS, ES, ED):
        alg, good = signer.alg, signer.token()
        head, payload, signature = good.split(".")
        raw = _unbase64(signature)
        mallory = Signer(signer.kid, alg)
        cases |= {
            f"{alg}/signature flipped": tampered(good),
            f"{alg}/signature empty": f"{head}.{payload}.",
            f"{alg}/signature missing": f"{head}.{payload}",
            f"{alg}/signature short": f"{head}.{payload}.{_base64(raw[:-1])}",
            f"{alg}/signature long": f"{head}.{payload}.{_base64(raw + b'0')}",
            f"{alg}/signature all zero": f"{head}.{payload}.{_base64(bytes(len(raw)))}",
            f"{alg}/signature twice": f"{good}.{signature}",
            f"{alg}/payload changed": ".".join([head, _base64(json.dumps(fresh(sub="root")).encode()), signature]),
            f"{alg}/header changed": ".".join([_base64(json.dumps({"alg": alg, "kid": signer.kid, "cty": "x"}).encode()), payload, signature]),
            f"{alg}/key of a stranger": mallory.token(),
            f"{alg}/key of a stranger, in the header": mallory.token(jwk=mallory.jwk()),
            f"{alg}/alg none": f"{_base64(json.dumps({'alg': 'none', 'kid': signer.kid}).encode())}.{payload}.",
            f"{alg}/alg None, signature kept": f"{_base64(json.dumps({'alg': 'None', 'kid': signer.kid}).encode())}.{payload}.{signature}",
            f"{alg}/HMAC under the public key": _hmac(signer, signer.pem()),
            f"{alg}/HMAC under the JWK": _hmac(signer, json.dumps(signer.jwk()).encode()),
            f"{alg}/unknown kid": signer.token(kid="nobody"),
            f"{alg}/kid of a key of another kind": signer.token(kid=(ES if signer is not ES else RS).kid),
            f"{alg}/another issuer": signer.token(fresh(iss="https://else.test")),
            f"{alg}/another audience": signer.token(fresh(aud="api://else")),
            f"{alg}/expired": signer.token(fresh(ttl=-3600)),
            f"{alg}/not yet": signer.token(fresh(ttl=7200, nbf=int(time.time()) + 3600)),
            f"{alg}/critical and unknown": signer.token(crit=["exp"], exp=1),
            f"{alg}/payload is no object": signer.token(["a"]),
        }
    cases |= {
        "RS256/kid of another RSA key": RS.token(kid=RS2.kid),
        "ES256/kid of another EC key": ES.token(kid=ES2.kid),
        "RS256/signed as RS512": RS.token(alg="RS512"),
        "RS256/signed as PS256": RS.token(alg="PS256"),
        "PS256/signed as RS256": PS.token(alg="RS256"),
        "ES256/DER": _der(),
        "ES256/header says ES384": _relabelled(ES, "ES384"),
        "RS256/alg twice": RS.token(raw_header=b'{"alg":"none","kid":"rs","alg":"RS256"}'),
        "RS256/padding": RS.token() + "==",
        "RS256/unused bits": _unused_bits(),
        "RS256/critical member alone": RS.token(crit=[]),
    }
    return cases


def _hmac(signer, secret):
    head = _base64(json.dumps({"alg": "HS256", "kid": signer.kid}).encode())
    text = f"{head}.{_base64(json.dumps(fresh()).encode())}"
    return f"{text}.{_base64(hmac.new(secret, text.encode(), hashlib.sha256).digest())}"


def _der():
    head, payload, _ = ES.token().split(".")
    der = ES.key.sign(f"{head}.{payload}".encode(), ec.ECDSA(hashes.SHA256()))
    assert decode_dss_signature(der)
    return f"{head}.{payload}.{_base64(der)}"


def _relabelled(signer, alg):
    head = _base64(json.dumps({"alg": alg, "kid": signer.kid}).encode())
    return signer.over(f"{head}.{_base64(json.dumps(fresh()).encode())}", signer.alg)


def _unused_bits():
    """256 octets leave four bits of the last character unused."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    token = RS.token()
    return token[:-1] + alphabet[alphabet.index(token[-1]) | 1]


@pytest.fixture(scope="module")
def ours(shared):
    return shared.stack(plugin({"type": "oidc", "settings": {"issuer": ISSUER, "audience": AUDIENCE, "jwks": SET}}))


def test_all_of_them_and_we_accept_the_genuine(ours):
    tokens = {signer.kid: signer.token() for signer in (RS, PS, ES, ED, RS2, ES2)}
    for library in LIBRARIES:
        assert library.verify(SET, tokens) == dict.fromkeys(tokens, True), library.name
    for token in tokens.values():
        ours.allowed(ours.request(token=token), user_id="agent-planner")


def test_we_refuse_what_they_refuse_and_more(ours):
    cases = hostile()
    accepted = [name for name, token in cases.items() if ours.request(token=token).status != 401]
    assert accepted == []
    taken = {}
    for library in LIBRARIES:
        for name, verdict in library.verify(SET, cases).items():
            if verdict is True:
                taken.setdefault(name, set()).add(library.name)
    assert taken == {name: libraries for name, (libraries, _) in TAKEN.items()}
