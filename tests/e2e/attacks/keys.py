"""Keys that sign whatever they are told to, and the arithmetic that no library offers."""

import base64
import hashlib
import json
import secrets

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

HASHES = {"256": hashes.SHA256, "384": hashes.SHA384, "512": hashes.SHA512}
CURVES = {"P-256": ec.SECP256R1, "P-384": ec.SECP384R1, "P-521": ec.SECP521R1}
# SEC 2 section 2: the order of each curve's base point.
ORDERS = {
    "P-256": 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551,
    "P-384": 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFC7634D81F4372DDF581A0DB248B0A77AECEC196ACCC52973,
    "P-521": int("01" + "F" * 65 + "A51868783BF2F966B7FCC0148F709A5D03BB5C9B8899C47AEBB6FB71E91386409", 16),
}
WIDTHS = {"P-256": 32, "P-384": 48, "P-521": 66}
# RFC 8032 section 5.1: the order of the base point, and the field.
ED_L = 2**252 + 27742317777372353535851937790883648493
ED_P = 2**255 - 19


def b64(octets):
    """Base64url without padding (RFC 7515 section 2)."""
    return base64.urlsafe_b64encode(octets).rstrip(b"=").decode()


def unb64(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def uint(n, width=None):
    """A big-endian integer as a JWK member."""
    return b64(n.to_bytes(width or max(1, (n.bit_length() + 7) // 8), "big"))


def octets(value):
    """What goes into a part of a token: bytes as they are, text in UTF-8, anything else as JSON."""
    if isinstance(value, bytes):
        return value
    return (value if isinstance(value, str) else json.dumps(value)).encode()


class Signer:
    """A key pair with its JWK. `kid`, `alg` and `use` are as in the key set; None leaves a member out."""

    def __init__(self, kid, alg, private, *, jwk_alg=True):
        self.kid, self.alg, self.private = kid, alg, private
        self.jwk = {"kid": kid, "use": "sig", **self._public()}
        if jwk_alg:
            self.jwk["alg"] = alg

    @classmethod
    def rsa(cls, kid, alg="RS256", bits=2048, exponent=65537, **kw):
        return cls(kid, alg, rsa.generate_private_key(exponent, bits), **kw)

    @classmethod
    def ec(cls, kid, curve="P-256", **kw):
        alg = {"P-256": "ES256", "P-384": "ES384", "P-521": "ES512"}[curve]
        return cls(kid, alg, ec.generate_private_key(CURVES[curve]()), **kw)

    @classmethod
    def ed(cls, kid, **kw):
        return cls(kid, "EdDSA", ed25519.Ed25519PrivateKey.generate(), **kw)

    @property
    def numbers(self):
        return self.private.public_key().public_numbers()

    @property
    def curve(self):
        return {256: "P-256", 384: "P-384", 521: "P-521"}[self.private.curve.key_size]

    def _public(self):
        if isinstance(self.private, rsa.RSAPrivateKey):
            return {"kty": "RSA", "n": uint(self.numbers.n), "e": uint(self.numbers.e)}
        if isinstance(self.private, ec.EllipticCurvePrivateKey):
            width = WIDTHS[self.curve]
            return {"kty": "EC", "crv": self.curve, "x": uint(self.numbers.x, width), "y": uint(self.numbers.y, width)}
        return {"kty": "OKP", "crv": "Ed25519", "x": b64(self.raw_public())}

    def raw_public(self):
        return self.private.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)

    def pem(self):
        return self.private.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)

    def der(self):
        return self.private.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)

    def sign(self, message, alg=None):
        """The signature of `alg`, whatever the key is meant for."""
        alg = alg or self.alg
        if alg == "EdDSA":
            return self.private.sign(message)
        digest = HASHES[alg[2:]]()
        if alg.startswith("RS"):
            return self.private.sign(message, padding.PKCS1v15(), digest)
        if alg.startswith("PS"):
            return self.pss(message, digest, digest.digest_size, digest)
        r, s = decode_dss_signature(self.private.sign(message, ec.ECDSA(digest)))
        return self.p1363(r, s)

    def pss(self, message, digest, salt, mgf):
        return self.private.sign(message, padding.PSS(mgf=padding.MGF1(mgf), salt_length=salt), digest)

    def der_signature(self, message):
        """ECDSA as X.509 writes it."""
        return self.private.sign(message, ec.ECDSA(HASHES[self.alg[2:]]()))

    def p1363(self, r, s):
        width = WIDTHS[self.curve]
        return r.to_bytes(width, "big") + s.to_bytes(width, "big")

    def split(self, signature):
        half = len(signature) // 2
        return int.from_bytes(signature[:half], "big"), int.from_bytes(signature[half:], "big")


def compact(header, payload, sign):
    """A compact JWS of exactly these parts; `sign` is a function of the signing input, or the signature itself."""
    signing_input = f"{b64(octets(header))}.{b64(octets(payload))}"
    signature = sign(signing_input.encode()) if callable(sign) else sign
    return f"{signing_input}.{b64(signature)}"


class ToyRsa:
    """RSA as no library makes it: any length, any exponent."""

    def __init__(self, bits, exponent=65537):
        self.e = exponent
        while True:
            p, q = prime(bits // 2), prime(bits - bits // 2)
            self.n, phi = p * q, (p - 1) * (q - 1)
            if self.n.bit_length() == bits and p != q:
                try:
                    self.d = pow(exponent, -1, phi)
                except ValueError:
                    continue
                return

    def jwk(self, kid):
        return {"kty": "RSA", "kid": kid, "alg": "RS256", "use": "sig", "n": uint(self.n), "e": uint(self.e)}

    def sign(self, message):
        size = (self.n.bit_length() + 7) // 8
        return pow(emsa_pkcs1(message, size), self.d, self.n).to_bytes(size, "big")


def emsa_pkcs1(message, size):
    """RFC 8017 section 9.2 with SHA-256, as an integer."""
    info = bytes.fromhex("3031300d060960864801650304020105000420") + hashlib.sha256(message).digest()
    return int.from_bytes(b"\0\x01" + b"\xff" * (size - len(info) - 3) + b"\0" + info, "big")


def cube_root_forgery(message, size):
    """Bleichenbacher 2006: a cube whose head looks like a padded hash, with rubbish behind it; needs no private key."""
    info = bytes.fromhex("3031300d060960864801650304020105000420") + hashlib.sha256(message).digest()
    head = b"\0\x01" + b"\xff" * 8 + b"\0" + info
    low = int.from_bytes(head.ljust(size, b"\0"), "big")
    root = cube_root(low) + 1
    assert (root**3).to_bytes(size, "big").startswith(head)
    return root.to_bytes(size, "big")


def cube_root(n):
    high = 1 << (n.bit_length() // 3 + 1)
    low = 0
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if middle**3 <= n else (low, middle - 1)
    return low


def prime(bits):
    while True:
        n = secrets.randbits(bits) | (3 << (bits - 2)) | 1
        if all(n % small for small in (3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37)) and all(
                _passes(n, secrets.randbelow(n - 3) + 2) for _ in range(12)):
            return n


def _passes(n, base):
    """One round of Miller and Rabin."""
    odd, twos = n - 1, 0
    while odd % 2 == 0:
        odd, twos = odd // 2, twos + 1
    x = pow(base, odd, n)
    return x in (1, n - 1) or any((x := x * x % n) == n - 1 for _ in range(twos - 1))
