"""Key sets in the shapes that identity providers publish, with keys and certificates made on the spot.

Written after what these endpoints served: which members a key has, and what else stands in the set. A shape gives a
`Published`: the whole document, the keys that tokens are signed with, and entries whose private half is at hand but
which must never verify a token.

  Google          https://www.googleapis.com/oauth2/v3/certs
  Google IAP      https://www.gstatic.com/iap/verify/public_key-jwk
  Microsoft v2    https://login.microsoftonline.com/common/discovery/v2.0/keys
  GitHub Actions  https://token.actions.githubusercontent.com/.well-known/jwks
  Keycloak        {realm}/protocol/openid-connect/certs
  Auth0           https://{tenant}.auth0.com/.well-known/jwks.json
  Cognito         https://cognito-idp.{region}.amazonaws.com/{pool}/.well-known/jwks.json
  Kubernetes      {apiserver}/openid/v1/jwks
"""

import base64
import datetime
import hashlib
import uuid
from dataclasses import dataclass, field

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, x25519
from cryptography.x509.oid import NameOID

from .tokens import Key

SHAPES = {}


@dataclass
class Published:
    """`jwks` is the document; `signing` and `useless` are `Key`s with the `kid`s that stand in it."""

    issuer: str
    jwks: dict
    signing: list
    useless: list = field(default_factory=list)


def shape(function):
    SHAPES[function.__name__.replace("_", "-")] = function
    return function


def _base64url(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def certificate(key, name):
    """A self-signed certificate, DER: what stands in `x5c`."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    signer = key.private_key()
    made = (
        x509.CertificateBuilder().subject_name(subject).issuer_name(subject).public_key(signer.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1)).not_valid_after(now + datetime.timedelta(days=365))
        .sign(signer, hashes.SHA256()))
    return made.public_bytes(serialization.Encoding.DER)


def _members(key, *names, **more):
    """The named members of a key's JWK, in that order, and others."""
    jwk = key.public_jwk()
    return {name: jwk[name] for name in names} | more


def _x5(der, *, sha256=False):
    members = {"x5t": _base64url(hashlib.sha1(der).digest()), "x5c": [base64.b64encode(der).decode()]}
    if sha256:
        members["x5t#S256"] = _base64url(hashlib.sha256(der).digest())
    return members


@shape
def google():
    keys = [Key(uuid.uuid4().hex + uuid.uuid4().hex[:8]) for _ in range(2)]
    entries = [_members(k, "kid", "n", "e", "kty", "use", "alg") for k in keys]
    return Published("https://accounts.google.com", {"keys": entries}, keys)


@shape
def google_iap():
    keys = [Key(uuid.uuid4().hex[:6], "ES256") for _ in range(5)]
    entries = [_members(k, "alg", "crv", "kid", "kty", "use", "x", "y") for k in keys]
    return Published("https://cloud.google.com/iap", {"keys": entries}, keys)


@shape
def microsoft():
    """No `alg`; `issuer` a template or a tenant's own; the `kid` is the certificate's thumbprint in newer entries."""
    issuers = ["https://login.microsoftonline.com/{tenantid}/v2.0", "https://login.microsoftonline.com/9188040d-6c67-4c5b-b112-36a304b66dad/v2.0"]
    entries, keys = [], []
    for n in range(4):
        key = Key("")
        der = certificate(key, "accounts.accesscontrol.windows.net")
        key.kid = _base64url(hashlib.sha1(der).digest())
        entries.append({
            "kty": "RSA", "use": "sig", "kid": key.kid, **_x5(der), **_members(key, "n", "e"),
            "cloud_instance_name": "microsoftonline.com", "issuer": issuers[n % 2]})
        keys.append(key)
    return Published("https://login.microsoftonline.com/72f988bf-86f1-41af-91ab-2d7cd011db47/v2.0", {"keys": entries}, keys)


@shape
def github_actions():
    keys = [Key(str(uuid.uuid4()).upper()) for _ in range(2)]
    entries = []
    for key in keys:
        x5 = _x5(certificate(key, "vstoken.actions.githubusercontent.com"))
        entries.append({**_members(key, "n", "kty", "kid", "alg", "e", "use"), "x5c": x5["x5c"], "x5t": x5["x5t"]})
    return Published("https://token.actions.githubusercontent.com", {"keys": entries}, keys)


@shape
def keycloak():
    """One realm, several algorithms, and an encryption key of the very kind that the signing key is."""
    signing = [Key("kc-rs", "RS256"), Key("kc-rs384", "RS384"), Key("kc-es", "ES256"), Key("kc-ed", "EdDSA")]
    encryption = Key("kc-enc", "RS256")
    entries = []
    for key in signing:
        entry = _members(key, "kid", "kty", "alg", "use", *_public_members(key))
        if key.alg.startswith("RS"):
            entry |= _x5(certificate(key, "agents"), sha256=True)
        entries.append(entry)
    der = certificate(encryption, "agents")
    entries.insert(0, {**_members(encryption, "kid", "kty"), "alg": "RSA-OAEP", "use": "enc", **_x5(der, sha256=True), **_members(encryption, "n", "e")})
    return Published("https://sso.example.test/realms/agents", {"keys": entries}, signing, [encryption])


@shape
def auth0():
    keys = [Key(_base64url(uuid.uuid4().bytes)) for _ in range(2)]
    entries = []
    for key in keys:
        der = certificate(key, "tenant.eu.auth0.test")
        x5 = _x5(der)
        # Auth0 encodes the hexadecimal text of the thumbprint, not its octets.
        x5["x5t"] = _base64url(hashlib.sha1(der).hexdigest().upper().encode())
        entries.append({**_members(key, "kty", "use", "n", "e", "kid"), **x5, "alg": "RS256"})
    return Published("https://tenant.eu.auth0.test/", {"keys": entries}, keys)


@shape
def cognito():
    keys = [Key(base64.b64encode(uuid.uuid4().bytes * 2).decode()) for _ in range(2)]
    entries = [_members(k, "alg", "e", "kid", "kty", "n", "use") for k in keys]
    return Published("https://cognito-idp.eu-central-1.amazonaws.com/eu-central-1_Ab129faBb", {"keys": entries}, keys)


@shape
def kubernetes():
    key = Key(_base64url(hashlib.sha256(uuid.uuid4().bytes).digest()))
    return Published("https://kubernetes.default.svc.cluster.local", {"keys": [_members(key, "use", "kty", "kid", "alg", "n", "e")]}, [key])


@shape
def everything_at_once():
    """Kinds, curves, uses and members that are none of ours, around one key that is."""
    key = Key("the-one", "ES384")
    enc, wrap, mine = Key("enc", "RS256"), Key("wrap", "ES256"), Key("signs-only", "RS256")
    stranger = ec.generate_private_key(ec.SECP256K1()).public_key().public_numbers()
    octets = {"x": _base64url(stranger.x.to_bytes(32, "big")), "y": _base64url(stranger.y.to_bytes(32, "big"))}
    agreement = x25519.X25519PrivateKey.generate().public_key().public_bytes_raw()
    entries = [
        {"kty": "EC", "crv": "P-256K", "kid": "bitcoin", **octets},
        {"kty": "EC", "crv": "secp256k1", "kid": "bitcoin", "alg": "ES256K", **octets},
        {"kty": "OKP", "crv": "X25519", "kid": "agreement", "x": _base64url(agreement)},
        {"kty": "OKP", "crv": "Ed448", "kid": "goldilocks", "alg": "EdDSA", "x": _base64url(bytes(57))},
        {"kty": "AKP", "alg": "ML-DSA-65", "kid": "lattice", "pub": _base64url(bytes(1952))},
        {"kty": "oct", "kid": "shared", "alg": "HS256", "k": _base64url(bytes(32))},
        {"kty": "RSA", "kid": "toy", "n": _base64url(b"\xc1" + bytes(62) + b"\x01"), "e": "AQAB"},
        {"kid": "of no kind"},
        _members(enc, "kty", "kid", "n", "e", use="enc"),
        _members(wrap, "kty", "kid", "crv", "x", "y", key_ops=["wrapKey"]),
        _members(mine, "kty", "kid", "n", "e", key_ops=["sign"]),
        _members(key, "kty", "kid", "crv", "x", "y", key_ops=["verify"], ext=True, revoked=None, nbf=1, exp=2, x5u="https://evil.test/cert"),
    ]
    return Published("https://mixed.test", {"keys": entries, "keys_expire": 1, "version": "2"}, [key], [enc, wrap, mine])


def _public_members(key):
    return {"RS": ("n", "e"), "ES": ("crv", "x", "y"), "Ed": ("crv", "x")}[key.alg[:2]]
