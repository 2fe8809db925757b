"""Credentials that are in the wrong place, or there twice."""

import base64


def make(world):
    w = world
    token = w.token()
    other = w.token(w.ed)
    auth = "Authorization"

    def add(id, what, code, *headers, **more):
        w.add(id, what, code, headers=list(headers), **more)

    for id, value in {
        "plain": f"Bearer {token}", "lower": f"bearer {token}", "upper": f"BEARER {token}", "space-behind": f"Bearer {token} ",
    }.items():
        add(id, f"Authorization: {value[:8]!r}…", None, (auth, value))
    add("upper-name", "AUTHORIZATION", None, ("AUTHORIZATION", f"Bearer {token}"))

    add("none", "no credential", "missing_token")
    add("empty", "an empty field", "missing_token", (auth, ""))
    add("two-same", "the same good token twice", "ambiguous_credentials", (auth, f"Bearer {token}"), (auth, f"Bearer {token}"))
    add("two-good", "two good tokens", "ambiguous_credentials", (auth, f"Bearer {token}"), (auth, f"Bearer {other}"))
    add("good-and-basic", "a good token and Basic", "ambiguous_credentials", (auth, f"Bearer {token}"), (auth, "Basic Og=="))
    # Envoy joins repeated fields before the filter sees them: this is a credential of scheme Basic then, and that one no more
    # than a good token. Where they arrive apart, both are refused for their number.
    add("basic-and-good", "Basic and a good token", "not_for_me", (auth, "Basic Og=="), (auth, f"Bearer {token}"), core="ambiguous_credentials")
    add("good-and-empty", "a good token and an empty field", None, (auth, f"Bearer {token}"), (auth, ""), core="ambiguous_credentials")
    # Envoy takes a bare CR out of a field.
    add("bare-cr", "a bare CR in the field", None, (auth, f"Bearer {token[:9]}\r{token[9:]}"), core="malformed_authorization")
    # RFC 9112 section 5.2 lets a server put spaces in place of the fold, which Envoy does.
    add("folded", "a folded field", None, (auth, f"Bearer\r\n {token}"), core="malformed_authorization")
    add("two-cases", "two spellings of the name", "ambiguous_credentials", ("authorization", f"Bearer {token}"), ("AUTHORIZATION", f"Bearer {other}"))
    for id, value in {
        "comma": f"Bearer {token},Bearer {other}", "comma-space": f"Bearer {token}, Bearer {other}", "comma-basic": f"Basic Og==, Bearer {token}",
        "comma-behind": f"Bearer {token},", "comma-before": f",Bearer {token}", "comma-token": f"Bearer {token},{other}",
    }.items():
        code = "not_for_me" if id == "comma-basic" else "ambiguous_credentials"
        add(id, "credentials joined by a comma", code, (auth, value))
    for id, value in {
        "no-token": "Bearer", "two-spaces": f"Bearer  {token}", "tab": f"Bearer\t{token}", "colon": f"Bearer: {token}", "trailing": f"Bearer {token} x", "two-tokens": f"Bearer {token} {other}",
        "non-ascii": f"Bearer {token}\xff", "semicolon-scheme": f"Bearer; {token}", "tab-behind": f"Bearer {token}\tx", "quoted-scheme": f'"Bearer" {token}',
    }.items():
        add(id, f"Authorization: {value[:10]!r}…", "malformed_authorization", (auth, value))
    for id, value in {
        "quoted": f'Bearer "{token}"', "angle": f"Bearer <{token}>", "semicolon": f"Bearer {token};", "named": f"Bearer token={token}", "nested-scheme": f"Bearer Bearer{token}",
    }.items():
        add(id, f"Authorization: {value[:14]!r}…", "malformed_token", (auth, value))
    for id, value in {
        "basic": "Basic " + base64.b64encode(f"x:{token}".encode()).decode(), "no-scheme": token, "token": f"Token {token}", "dpop": f"DPoP {token}",
        "bearer-x": f"BearerX {token}", "negotiate": f"Negotiate {token}", "jwt": f"JWT {token}", "digest": 'Digest username="a"',
    }.items():
        add(f"scheme-{id}", f"Authorization: {value[:10]!r}…", "not_for_me", (auth, value))

    for name in ("X-Authorization", "Proxy-Authorization", "X-Forwarded-Authorization", "X-Original-Authorization", "Authentication", "X-Access-Token"):
        add(f"header-{name.lower()}", f"a good token in {name}", "missing_token", (name, f"Bearer {token}"))
    add("cookie", "a good token in a cookie", "missing_token", ("Cookie", f"access_token={token}; Authorization=Bearer%20{token}"))
    add("query", "a good token in the query (RFC 6750 section 2.3)", "missing_token", target=f"/rest/orders?access_token={token}")
    add("query-fragment", "a good token in the query of a path with a skip rule's name in it", "missing_token",
        target=f"/rest/orders?/healthz&authorization=Bearer%20{token}")
    add("form", "a good token in a form (RFC 6750 section 2.2)", "missing_token", ("Content-Type", "application/x-www-form-urlencoded"),
        method="POST", body=f"access_token={token}".encode())
    add("identity", "identity headers in place of a token", "missing_token", ("X-Auth-User-Id", "root"), ("X-Auth-Provider", "main"))

    # What Envoy's own parser refuses; it must, and none of it may reach the upstream.
    add("nul", "a NUL in the field", None, (auth, f"Bearer {token}\0"), envoy=400)
    add("underscore", "authorization_ beside a good token", None, (auth, f"Bearer {token}"), ("authorization_", "x"), envoy=400)
    add("space-before-colon", "white space before the colon", None, (auth + " ", f"Bearer {token}"), envoy=400)
