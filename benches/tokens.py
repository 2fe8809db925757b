"""Tokens and the key set that all contestants are given: PyJWT signs, nothing of ours is involved.

Minting is the slow part (an RS256 signature takes half a millisecond), so tokens are kept in `target/bench` with
the keys that signed them: they are good for ten days, and after a week new ones are made.
"""

import base64
import json
import multiprocessing
import os
import shutil
import time

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from traffic import PROBE_PATH, Probe, bearer, wire

ISSUER = "https://issuer.bench.example.com"
AUDIENCE = "api://agents"
USER, EMAIL, ORG = "agent-planner-0017", "planner@agents.bench.example.com", "org-4711"
ALGORITHMS = ("RS256", "ES256", "PS256", "EdDSA")
DAY = 86_400

# Raised when what is in a token changes, so that kept ones are made anew.
_FORM = 1
_KEEP_DAYS, _GOOD_DAYS = 7, 10
_CHUNK = 2_000


class Issuer:
    """One key for each algorithm; its tokens are kept in `folder` from run to run."""

    def __init__(self, folder):
        self._folder = folder
        kept = self._kept()
        if kept is None:
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            pems = {name: _pem(_generate(name)) for name in ALGORITHMS}
            kept = {"form": _FORM, "made": int(time.time()), "keys": pems}
            (folder / "keys.json").write_text(json.dumps(kept))
        self._made = kept["made"]
        self._pems = kept["keys"]
        # Bytes of one token, by algorithm: the cost of a request depends on it.
        self.sizes = {algorithm: len(self.token(algorithm)) for algorithm in ALGORITHMS}

    def _kept(self):
        try:
            kept = json.loads((self._folder / "keys.json").read_text())
        except (OSError, ValueError):
            return None
        fresh = kept["form"] == _FORM and 0 <= time.time() - kept["made"] < _KEEP_DAYS * DAY
        return kept if fresh else None

    def jwks(self, further=0, algorithms=ALGORITHMS):
        """The key set as JSON text; `further` keys that sign nothing stand before the others."""
        keys = [_jwk(self._key(name).public_key(), name, name) for name in algorithms]
        return json.dumps({"keys": _strangers(further) + keys})

    def token(self, algorithm, serial=0, **changed):
        """One token with the claims of an ordinary access token; `changed` replaces claims."""
        return _sign(self._key(algorithm), algorithm, self._made, serial, changed)

    def mint(self, algorithm, count):
        """The first `count` tokens of an algorithm, no two alike, from the file of them."""
        path = self._folder / algorithm
        have = _lines(path)
        if have < count:
            print(f"minting {count - have:,} {algorithm} tokens (kept for {_KEEP_DAYS} days)", flush=True)
            jobs = [(self._pems[algorithm], algorithm, self._made, start, min(start + _CHUNK, count))
                    for start in range(have, count, _CHUNK)]
            with multiprocessing.Pool(os.cpu_count()) as pool, path.open("a") as out:
                for lines in pool.imap(_mint, jobs):
                    out.write(lines)
        with path.open() as lines:
            for line, _ in zip(lines, range(count)):
                yield line.rstrip("\n")

    def forged(self, algorithm, count):
        """The first `count` tokens, each with one bit of its signature flipped."""
        for token in self.mint(algorithm, count):
            yield _flipped(token)

    def probes(self, algorithm):
        """A good token, and what every verifier has to refuse."""
        identity = {"user-id": USER, "email": EMAIL, "org-id": ORG}
        wrong = {
            "signature": _flipped(self.token(algorithm)),
            "expired": self.token(algorithm, exp=self._made - 7200),
            "audience": self.token(algorithm, aud="api://others"),
            "issuer": self.token(algorithm, iss="https://issuer.unknown.example.com"),
        }
        return [
            Probe(f"a good {algorithm} token", bearer(self.token(algorithm), PROBE_PATH), 200, identity),
            *(Probe(f"wrong {what} ({algorithm})", bearer(token, PROBE_PATH), 401) for what, token in wrong.items()),
            Probe("no token", wire(path=PROBE_PATH), 401),
        ]

    def expired(self, algorithm, count=1):
        """Tokens that have been good; signed anew in every run."""
        return [self.token(algorithm, serial, exp=self._made - 7200) for serial in range(count)]

    def _key(self, algorithm):
        return serialization.load_pem_private_key(self._pems[algorithm].encode(), None)


def _generate(algorithm):
    if algorithm == "ES256":
        return ec.generate_private_key(ec.SECP256R1())
    if algorithm == "EdDSA":
        return ed25519.Ed25519PrivateKey.generate()
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def _pem(key):
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                             serialization.NoEncryption()).decode()


def _jwk(public, kid, algorithm):
    kinds = {"ES256": jwt.algorithms.ECAlgorithm, "EdDSA": jwt.algorithms.OKPAlgorithm}
    entry = kinds.get(algorithm, jwt.algorithms.RSAAlgorithm).to_jwk(public, as_dict=True)
    entry.pop("key_ops", None)
    return {**entry, "kid": kid, "alg": algorithm, "use": "sig"}


def _strangers(count):
    # P-256 keys take a tenth of a millisecond to make, RSA keys a hundred of them.
    return [_jwk(_generate("ES256").public_key(), f"stranger-{n}", "ES256") for n in range(count)]


def _sign(key, algorithm, made, serial, changed=()):
    claims = {
        "iss": ISSUER, "aud": AUDIENCE, "sub": USER, "email": EMAIL, "email_verified": True, "org_id": ORG,
        "iat": made, "nbf": made, "exp": made + _GOOD_DAYS * DAY, "jti": f"bench-{serial:012d}", "azp": "planner",
        "scope": "openid email agents.call", **dict(changed),
    }
    return jwt.encode(claims, key, algorithm=algorithm, headers={"kid": algorithm})


def _mint(job):
    pem, algorithm, made, start, end = job
    key = serialization.load_pem_private_key(pem.encode(), None)
    return "".join(_sign(key, algorithm, made, serial) + "\n" for serial in range(start, end))


def _lines(path):
    if not path.exists():
        return 0
    text_lines = 0
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            text_lines += block.count(b"\n")
    return text_lines


def _flipped(token):
    head, claims, signature = token.split(".")
    raw = bytearray(base64.urlsafe_b64decode(signature + "=" * (-len(signature) % 4)))
    raw[len(raw) // 2] ^= 1
    return f"{head}.{claims}." + base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
