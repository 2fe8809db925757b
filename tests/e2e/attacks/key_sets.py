"""Keys that must not be used, each beside a good one in one set.

A token by the hostile key is refused because of the key, and no signature is verified for it; a token by the good one
gets in, so that one bad entry can't take an issuer's callers away.
"""

import secrets

from .keys import ORDERS, Signer, ToyRsa, b64, emsa_pkcs1, uint, unb64
from .signatures import SMALL_ORDER

P256_P = 0xFFFFFFFF00000001000000000000000000000000FFFFFFFFFFFFFFFFFFFFFFFF


def make(world):
    w = world
    good = Signer.ec("good")

    def key(id, what, jwk, sign, *, code="key_mismatch", alg="RS256", kid="bad"):
        iss = w.add_issuer(f"set-{id}", [{"kid": kid, **jwk} if isinstance(jwk, dict) else jwk, good.jwk])
        w.add(id, what, code, w.token(header={"alg": alg, "kid": kid}, payload=w.claims(iss), sign=sign), verifications=0)
        w.control(f"{id}-neighbour", f"the good key beside: {what}", w.token(good, payload=w.claims(iss)))

    _rsa(w, key)
    _curves(w, key)
    _members(w, key)


def _rsa(w, key):
    for bits in (512, 1024, 2047):
        toy = ToyRsa(bits)
        key(f"rsa-{bits}", f"an RSA key of {bits} bits, and a genuine signature by it", toy.jwk("bad"), toy.sign)
    n = w.mallory.numbers.n
    rsa = {"kty": "RSA", "n": uint(n)}
    # With e = 1 the padded hash is its own signature.
    key("rsa-e1", "RSA with e = 1, and the signature that anyone can make", {**rsa, "e": uint(1)},
        lambda m: emsa_pkcs1(m, 256).to_bytes(256, "big"))
    for id, e in {"e0": 0, "e2": 2, "even-e": 65536, "e-2-33": 2**33 + 1, "e-64-bits": 2**63 + 1, "e-like-n": n - 2}.items():
        key(f"rsa-{id}", f"RSA with an exponent that is none: {id}", {**rsa, "e": uint(e)}, bytes(256))
    key("rsa-16k", "RSA of 16384 bits", {"kty": "RSA", "n": uint(secrets.randbits(16384) | 1 << 16383 | 1), "e": "AQAB"}, bytes(1024))
    key("rsa-8193", "RSA of 8193 bits", {"kty": "RSA", "n": uint(secrets.randbits(8193) | 1 << 8192 | 1), "e": "AQAB"}, bytes(1024))
    key("rsa-even-n", "RSA with an even modulus", {"kty": "RSA", "n": uint(n - 1), "e": "AQAB"}, bytes(256))
    key("rsa-n-zero-before", "RSA with a zero octet before the modulus", {"kty": "RSA", "n": b64(bytes(1) + n.to_bytes(256, "big")), "e": "AQAB"},
        w.mallory.sign)
    key("rsa-e-zero-before", "RSA with a zero octet before the exponent", {**rsa, "e": b64(b"\0\1\0\1")}, w.mallory.sign)
    for id, e in {"padded": "AQAB==", "number": 65537, "empty": "", "missing": None, "text": "65537"}.items():
        members = {**rsa, "e": e} if e is not None else rsa
        key(f"rsa-e-{id}", f"RSA with e {e!r}", members, w.mallory.sign)
    key("rsa-n-standard", "RSA with a modulus in the other alphabet", {**rsa, "n": "+/" + rsa["n"][2:], "e": "AQAB"}, bytes(256))
    key("rsa-n-missing", "RSA without modulus", {"kty": "RSA", "e": "AQAB"}, bytes(256))


def _curves(w, key):
    point = Signer.ec("x")
    x, y = point.jwk["x"], point.jwk["y"]
    ec = {"kty": "EC", "crv": "P-256"}

    def ec_key(id, what, **members):
        key(f"ec-{id}", what, {**ec, **members}, point.sign, alg="ES256")

    ec_key("off-curve", "a point beside the curve", x=x, y=b64((int.from_bytes(unb64(y), "big") ^ 1).to_bytes(32, "big")))
    ec_key("zero", "the point (0, 0)", x=b64(bytes(32)), y=b64(bytes(32)))
    ec_key("not-reduced", "a coordinate beyond the field", x=b64((P256_P + 5).to_bytes(32, "big")), y=y)
    ec_key("all-ones", "coordinates of ones", x=b64(b"\xff" * 32), y=b64(b"\xff" * 32))
    ec_key("short", "a coordinate of 31 octets", x=b64(unb64(x)[1:]), y=y)
    ec_key("long", "a coordinate of 33 octets", x=b64(bytes(1) + unb64(x)), y=y)
    ec_key("compressed", "x only", x=x)
    ec_key("order", "the order as a coordinate", x=b64(ORDERS["P-256"].to_bytes(32, "big")), y=y)
    key("ec-secp256k1", "secp256k1", {"kty": "EC", "crv": "secp256k1", "x": x, "y": y}, point.sign, alg="ES256")
    key("ec-lower", "crv in lower case", {"kty": "EC", "crv": "p-256", "x": x, "y": y}, point.sign, alg="ES256")
    key("ec-wrong-crv", "a P-256 point that says P-384", {"kty": "EC", "crv": "P-384", "x": x, "y": y}, point.sign, alg="ES384")
    key("ec-ed25519", "Ed25519 with kty EC", {"kty": "EC", "crv": "Ed25519", "x": x, "y": y}, bytes(64), alg="EdDSA")
    ed = Signer.ed("x")
    for id, encoded in SMALL_ORDER.items():
        # R = A and S = 0 fit every message under a key of order one, and one in eight under the others.
        key(f"ed-order-{id}", f"an Ed25519 key of order {id}", {"kty": "OKP", "crv": "Ed25519", "x": b64(encoded)},
            encoded + bytes(32), alg="EdDSA")
    okp = {"kty": "OKP", "crv": "Ed25519"}
    key("ed-not-reduced", "an Ed25519 key that isn't reduced", {**okp, "x": b64((2**255 - 19 + 3).to_bytes(32, "little"))}, bytes(64), alg="EdDSA")
    key("ed-short", "an Ed25519 key of 31 octets", {**okp, "x": b64(ed.raw_public()[1:])}, ed.sign, alg="EdDSA")
    key("ed-long", "an Ed25519 key of 33 octets", {**okp, "x": b64(ed.raw_public() + b"\0")}, ed.sign, alg="EdDSA")
    key("ed-hex", "an Ed25519 key in hexadecimal", {**okp, "x": ed.raw_public().hex()}, ed.sign, alg="EdDSA")
    key("x25519", "a key for key agreement", {**okp, "crv": "X25519", "x": ed.jwk["x"]}, ed.sign, alg="EdDSA")
    key("ed448", "Ed448", {**okp, "crv": "Ed448", "x": b64(bytes(57))}, ed.sign, alg="EdDSA")


def _members(w, key):
    m = w.mallory
    jwk = {k: v for k, v in m.jwk.items() if k not in ("kid", "alg", "use")}
    private = m.private.private_numbers()
    for id, what, more in (
        ("use-enc", "use enc", {"use": "enc"}), ("use-other", "use of another kind", {"use": "Sig"}), ("use-list", "use is a list", {"use": ["sig"]}),
        ("ops-sign", "key_ops sign", {"key_ops": ["sign"]}), ("ops-empty", "key_ops empty", {"key_ops": []}),
        ("ops-text", "key_ops is a text", {"key_ops": "verify"}), ("ops-mixed", "key_ops with a number", {"key_ops": ["verify", 1]}),
        ("ops-encrypt", "key_ops encrypt, use sig", {"use": "sig", "key_ops": ["encrypt"]}),
        ("alg-none", "alg none", {"alg": "none"}), ("alg-hs256", "alg HS256", {"alg": "HS256"}), ("alg-oaep", "alg RSA-OAEP", {"alg": "RSA-OAEP"}),
        ("alg-es256", "an RSA key with alg ES256", {"alg": "ES256"}), ("alg-ps256", "an RSA key for PS256", {"alg": "PS256"}),
        ("alg-lower", "alg rs256", {"alg": "rs256"}), ("alg-list", "alg is a list", {"alg": ["RS256"]}),
        ("kty-lower", "kty rsa", {"kty": "rsa"}), ("kty-ec", "an RSA key with kty EC", {"kty": "EC"}), ("kty-missing", "no kty", {"kty": None}),
        ("private-d", "its private part as well", {"d": uint(private.d)}), ("private-p", "a prime as well", {"p": uint(private.p)}),
        ("private-oth", "a mention of further primes", {"oth": []}),
    ):
        key(id, f"a key with {what}", {k: v for k, v in {**jwk, **more}.items() if v is not None}, m.sign)
    key("x5c-only", "a key that is a certificate only", {"kty": "RSA", "x5c": ["AAAA"]}, m.sign)
    key("oct", "a secret in the set, and an RSA token", {"kty": "oct", "k": "AAAA"}, m.sign)
    key("oct-hs256", "a secret in the set, and a token by it", {"kty": "oct", "k": "AAAA"}, b"x" * 32,
        alg="HS256", code="unsupported_algorithm")
    # Entries that can't even be named.
    for id, entry in {"null": None, "text": "key", "list": [], "kid-number": {**jwk, "kid": 1}, "kid-513": {**jwk, "kid": "k" * 513}}.items():
        key(f"entry-{id}", f"an entry that is none: {id}", entry, m.sign, code="unknown_kid")
