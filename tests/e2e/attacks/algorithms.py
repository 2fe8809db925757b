"""The algorithm that the header names."""

import hashlib
import hmac
import json

from cryptography.hazmat.primitives import hashes

from .keys import compact


def make(world):
    w = world
    for signer, algs in (
        (w.rsa_any, ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"]),
        (w.p256, ["ES256"]), (w.p384, ["ES384"]), (w.p521, ["ES512"]), (w.ed, ["EdDSA"]),
    ):
        for alg in algs:
            w.control(f"good-{alg}", f"a good {alg} token", w.token(signer, alg=alg, sign_alg=alg))
    w.control("good-Ed25519", "RFC 9864's name for EdDSA", w.token(w.ed, alg="Ed25519"))
    _none(w)
    _symmetric(w)
    _odd_names(w)
    _confused(w)


def _none(w):
    for name in ("none", "None", "NONE", "nOnE"):
        w.add(f"{name}-signed", f"alg {name} with a genuine token's signature", "unsupported_algorithm", w.token(alg=name))
        w.add(f"{name}-unsigned", f"alg {name} and no signature", "malformed_token", compact({"alg": name}, w.claims(), b""))
    w.add("none-space", "alg none with a space behind it", "unsupported_algorithm", w.token(alg="none "))
    w.add("none-nul", "alg none with a NUL behind it", "unsupported_algorithm", w.token(alg="none\0"))
    w.add("none-kid", "alg none beside a real kid, one octet of signature", "unsupported_algorithm",
          w.token(alg="none", sign=b"\0"))


def _symmetric(w):
    """The public key as the secret of an HMAC, in every form in which a library might hold it."""
    secrets = {
        "pem": w.rsa.pem(), "pem-stripped": w.rsa.pem().strip(), "der": w.rsa.der(),
        "jwk": json.dumps(w.rsa.jwk).encode(), "jwk-sorted": json.dumps(w.rsa.jwk, sort_keys=True, separators=(",", ":")).encode(),
        "modulus": w.rsa.jwk["n"].encode(), "kid": b"rsa-1", "empty": b"",
    }
    for name, secret in secrets.items():
        w.add(f"hs256-{name}", f"HS256 with the RSA key's {name} as secret", "unsupported_algorithm",
              w.token(alg="HS256", sign=lambda m, s=secret: hmac.new(s, m, hashlib.sha256).digest()))
    for alg, digest in (("HS384", hashlib.sha384), ("HS512", hashlib.sha512)):
        w.add(f"{alg.lower()}-pem", f"{alg} with the RSA key's PEM as secret", "unsupported_algorithm",
              w.token(alg=alg, sign=lambda m, d=digest: hmac.new(w.rsa.pem(), m, d).digest()))
    w.add("hs256-ec", "HS256 with the EC key's DER as secret", "unsupported_algorithm",
          w.token(w.p256, alg="HS256", sign=lambda m: hmac.new(w.p256.der(), m, hashlib.sha256).digest()))
    w.add("hs256-ed", "HS256 with the 32 octets of the Ed25519 key as secret", "unsupported_algorithm",
          w.token(w.ed, alg="HS256", sign=lambda m: hmac.new(w.ed.raw_public(), m, hashlib.sha256).digest()))


def _odd_names(w):
    for id, name in {
        "lower": "rs256", "mixed": "Rs256", "space-before": " RS256", "space-behind": "RS256 ", "newline": "RS256\n",
        "java": "SHA256withRSA", "xml": "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256", "es256k": "ES256K",
        "es256k-r": "ES256K-R", "ed448": "Ed448", "rs1": "RS1", "rsa1_5": "RSA1_5", "rsa-oaep": "RSA-OAEP",
        "a128kw": "A128KW", "dir": "dir", "pbes2": "PBES2-HS256+A128KW", "homoglyph": "\u0420S256", "full-width": "RS２56",
        "empty": "", "long": "R" * 2000, "list-as-text": "RS256,none", "eddsa-lower": "eddsa", "ml-dsa": "ML-DSA-44",
    }.items():
        w.add(f"name-{id}", f"alg {name[:30]!r}, signed with RS256", "unsupported_algorithm", w.token(alg=name))
    for id, value in {
        "list": ["RS256"], "two": ["RS256", "none"], "object": {"alg": "RS256"}, "number": 256, "true": True, "zero": 0,
    }.items():
        w.add(f"type-{id}", f"alg is {json.dumps(value)}", "malformed_token", w.token(alg=value))
    w.add("type-null", "alg is null", "malformed_token",
          w.token(header={"alg": None, "kid": "rsa-1"}))
    w.add("missing", "no alg at all", "malformed_token", w.token(alg=None))


def _confused(w):
    w.add("ps-on-rs-key", "a genuine PSS signature by a key for RS256", "key_mismatch", w.token(alg="PS256", sign_alg="PS256"))
    w.add("rs384-on-rs256-key", "RS384 by a key for RS256", "key_mismatch", w.token(alg="RS384", sign_alg="RS384"))
    for said, done in (("RS256", "PS256"), ("PS256", "RS256"), ("RS256", "RS512"), ("RS512", "RS256"), ("PS384", "PS256")):
        w.add(f"{said}-made-{done}", f"says {said}, is signed with {done}", "bad_signature",
              w.token(w.rsa_any, alg=said, sign_alg=done))
    sha256, sha1 = hashes.SHA256(), hashes.SHA1()
    for id, what, sign in (
        ("no-salt", "PS256 without salt", lambda m: w.rsa_any.pss(m, sha256, 0, sha256)),
        ("long-salt", "PS256 with the longest salt", lambda m: w.rsa_any.pss(m, sha256, 222, sha256)),
        ("short-salt", "PS256 with 31 octets of salt", lambda m: w.rsa_any.pss(m, sha256, 31, sha256)),
        ("mgf-sha1", "PS256 with MGF1 over SHA-1", lambda m: w.rsa_any.pss(m, sha256, 32, sha1)),
    ):
        w.add(f"pss-{id}", what, "bad_signature", w.token(w.rsa_any, alg="PS256", sign=sign))
