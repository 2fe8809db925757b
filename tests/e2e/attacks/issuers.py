"""Issuers that look like the one that is trusted."""

from .world import ISSUER


def make(world):
    w = world
    w.control("exact", "the issuer", w.token())
    w.control("slash", "the issuer with one slash behind it", w.token(payload=w.claims(ISSUER + "/")))
    for id, iss in {
        "two-slashes": ISSUER + "//", "upper": ISSUER.upper(), "upper-scheme": ISSUER.replace("https", "HTTPS"),
        "http": ISSUER.replace("https", "http"), "homoglyph": ISSUER.replace("a", "\u0430", 1), "userinfo": ISSUER.replace("//", "//evil@"),
        "as-userinfo": ISSUER + "@evil.test", "port": ISSUER + ":443", "percent": ISSUER.replace("i", "%69", 1), "space": " " + ISSUER,
        "space-behind": ISSUER + " ", "newline": ISSUER + "\n", "nul": ISSUER + "\0", "subdomain": ISSUER.replace("//", "//x."),
        "suffix": ISSUER + ".evil.test", "prefix": ISSUER[:-1], "path": ISSUER + "/x", "dot-path": ISSUER + "/.", "query": ISSUER + "?", "fragment": ISSUER + "#",
        "dot": ISSUER + ".", "backslash": ISSUER + "\\", "no-scheme": ISSUER[8:], "empty": "", "slash-only": "/", "full-width": ISSUER.replace(".", "\uff0e"),
        "soft-hyphen": ISSUER.replace("issuer", "is\u00adsuer"), "list-text": f'["{ISSUER}"]', "two": f"{ISSUER} https://evil.test",
        "audience": "api://agents", "long": ISSUER + "/" * 9000,
    }.items():
        w.add(id, f"iss {iss[:60]!r}, by the genuine key", "not_for_me", w.token(payload=w.claims(iss)))
    w.add("missing", "no iss", "not_for_me", w.token(payload=w.claims(None)))
    for id, text in {"null": "null", "list": f'["{ISSUER}"]', "number": "1", "object": "{}", "true": "true"}.items():
        w.add(f"type-{id}", f"iss is {text}", "malformed_claims", w.token(payload=w.payload(iss=text)))
    w.add("in-header", "iss in the header, none in the claims", "not_for_me", w.token(iss=ISSUER, payload=w.claims(None)))
