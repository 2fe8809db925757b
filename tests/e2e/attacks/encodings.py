"""Spellings of the compact form."""

import base64
import json
import string

from .keys import b64

ALPHABET = string.ascii_uppercase + string.ascii_lowercase + string.digits + "-_"


def make(world):
    w = world
    token = w.token()
    head, payload, signature = token.split(".")
    w.control("plain", "the token that the others of this class are made from", token)
    _alphabet(w)
    for id, parts in {
        "empty-header": ["", payload, signature], "empty-payload": [head, "", signature], "empty-signature": [head, payload, ""],
        "only-dots": ["", "", ""], "space-header": ["%20", payload, signature], "text": ["a", "b", "c"],
        "percent": [head, payload, signature.replace(signature[0], "%41", 1)],
        "length": [head, payload, signature + "AAA"],
        "bare-json": ['{"alg":"RS256"}', payload, signature],
        "swapped": [payload, head, signature], "no-header": [signature, payload, signature],
    }.items():
        w.add(f"parts-{id}", "three parts: " + id.replace("-", " "), "malformed_token", ".".join(parts))
    # What has another number of parts is no JWT, and no provider here takes it for anything else.
    for id, text in {
        "one": head, "two": f"{head}.{payload}", "four": f"{token}.", "four-front": f".{token}", "six": f"{token}.{token}",
        "dots-3": "...", "dots-1000": "." * 1000, "dots-32000": "." * 32_000,
    }.items():
        w.add(f"count-{id}", f"another number of parts: {id}", "not_for_me", text)
    w.add("count-dots-4", "four dots and nothing else", "unsupported_header", "....")
    w.add("dots-million", "a token of a million dots", "token_too_large", "." * 1_000_000)
    w.add("dots-million-behind", "a genuine token with a million dots behind it", "token_too_large", token + "." * 1_000_000)
    w.add("million", "a million characters in three parts", "token_too_large", f"{head}.{'A' * 1_000_000}.{signature}")
    # limits.token_bytes is 32768; the scheme is not counted.
    w.add("limit", "a token one octet too long", "token_too_large", "a" * 32_769)
    w.add("limit-reached", "an opaque text as long as a token may be", "not_for_me", "a" * 32_768)
    w.add("payload-25k", "a genuine token with a payload of 25 KB", "token_too_large",
          w.token(payload={"x": "y" * 24_600, **w.claims()}))
    w.control("payload-24k", "a genuine token with a payload of just under 24 KiB", w.token(payload={"x": "y" * 23_500, **w.claims()}))
    w.add("signature-2k", "a signature of 2 KB", "token_too_large", w.token(sign=b"\0" * 2048))
    serialized = json.dumps({"payload": payload, "protected": head, "signature": signature})
    w.add("json-serialization", "the JSON serialization (RFC 7515 section 7.2)", "ambiguous_credentials", serialized)
    w.add("base64-of-it", "the whole token in base64url once more", "not_for_me", b64(token.encode()))


def _alphabet(w):
    """One spelling only: a second one would be a second entry in every cache and list keyed by the token's text."""
    parts = _awkward(w)
    w.control("awkward", "the token that the other spellings are of", ".".join(parts))
    for at, part in enumerate(("header", "payload", "signature")):
        for variant, code, change in (
            ("padding", "malformed_token", lambda t: t + "=="),
            ("one-pad", "malformed_token", lambda t: t + "="),
            ("percent-pad", "malformed_token", lambda t: t + "%3D%3D"),
            ("trailing-bits", "malformed_token", _next_spelling),
            ("standard", "malformed_token", lambda t: t.replace("-", "+").replace("_", "/")),
            ("tab", "malformed_authorization", lambda t: t[:4] + "\t" + t[4:]),
        ):
            changed = [change(p) if i == at else p for i, p in enumerate(parts)]
            assert changed != parts
            w.add(f"{variant}-{part}", f"{variant.replace('-', ' ')} in the {part}", code, ".".join(changed))
    head, payload, signature = parts
    w.add("non-ascii", "an octet above 127", "malformed_authorization", f"{head}.{payload}.{signature}\xe9")
    w.add("space-inside", "a space before the signature", "malformed_authorization", f"{head}.{payload}. {signature}")


def _awkward(w):
    """A good token of which each part has unused bits at its end, and characters that the alphabets differ in."""

    def text(value):
        # Four question marks have a `_` wherever they begin; one octet over a multiple of three leaves four bits.
        text = json.dumps({**value, "x": "????"})
        return text + " " * ((1 - len(text)) % 3)

    while True:
        token = w.token(w.p256, header=text(w.header(w.p256)), payload=text(w.claims()))
        parts = token.split(".")
        if set(parts[2]) & set("-_"):
            assert all(len(p) % 4 == 2 and set(p) & set("-_") for p in parts)
            return parts


def _next_spelling(part):
    """The same octets once more: one of the unused bits of the last character set."""
    last = ALPHABET[ALPHABET.index(part[-1]) | 1]
    changed = part[:-1] + last
    assert changed != part and base64.urlsafe_b64decode(changed + "==") == base64.urlsafe_b64decode(part + "==")
    return changed

