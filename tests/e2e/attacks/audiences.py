"""aud, azp and sub."""

from .world import AUDIENCE


def make(world):
    w = world

    def of(value, **more):
        return w.token(w.ed, payload=w.claims(aud=value, **more))

    for id, value in {
        "other": "api://payroll", "prefix": "api://agent", "longer": "api://agents2", "path": "api://agents/", "upper": "API://AGENTS",
        "space": " api://agents", "space-behind": "api://agents ", "nul": "api://agents\0", "comma": "api://agents,api://payroll",
        "spaces": "api://payroll api://agents", "star": "*", "empty": "", "empty-list": [], "list-of-empty": [""], "others": ["a", "b"],
        "homoglyph": "api://\u0430gents", "json": '["api://agents"]', "percent": "api%3A%2F%2Fagents", "zero-width": "api://agents\u200b",
        "many": ["x"] * 2000, "near": ["api://agents/", "api://agent", "pi://agents"],
    }.items():
        w.add(id, f"aud {str(value)[:40]!r}", "audience_mismatch", of(value))
    w.add("missing", "no aud", "audience_mismatch", of(None))
    w.add("azp", "azp is the audience, aud is not", "audience_mismatch", of("api://payroll", azp=AUDIENCE))
    w.add("client-id", "client_id is the audience", "audience_mismatch", of("api://payroll", client_id=AUDIENCE))
    for id, value in {
        "object": {AUDIENCE: True}, "number": 1, "true": True, "nested": [[AUDIENCE]], "mixed": [AUDIENCE, 1], "mixed-null": [None, AUDIENCE],
        "mixed-object": [AUDIENCE, {}],
    }.items():
        w.add(f"type-{id}", f"aud is {str(value)[:40]}", "malformed_claims", of(value))
    w.add("type-null", "aud is null", "malformed_claims", w.token(payload=w.payload(aud="null")))
    w.add("azp-list", "azp is a list", "malformed_claims", of(AUDIENCE, azp=[AUDIENCE]))
    for id, value in {"one": AUDIENCE, "list": [AUDIENCE], "last": ["api://payroll", AUDIENCE], "twice": [AUDIENCE, AUDIENCE]}.items():
        w.control(f"good-{id}", f"aud {value}", of(value))
    for id, sub, code in (("missing", None, "missing_subject"), ("empty", "", "malformed_claims"), ("crlf", "a\r\nx-auth-user-id: root", "malformed_claims"),
                          ("nul", "a\0b", "malformed_claims"), ("c1", "a\u0085b", "malformed_claims"), ("long", "s" * 2049, "malformed_claims")):
        w.add(f"sub-{id}", f"sub {str(sub)[:30]!r}", code, w.token(w.ed, payload=w.claims(sub=sub)), verifications=1)
    for id, sub in (("number", 1), ("list", ["root"]), ("object", {"sub": "root"}), ("true", True)):
        w.add(f"sub-{id}", f"sub is {sub}", "malformed_claims", w.token(w.ed, payload=w.claims(sub=sub)))
    w.control("sub-2048", "a sub of 2048 octets", w.token(w.ed, payload=w.claims(sub="s" * 2048)))
