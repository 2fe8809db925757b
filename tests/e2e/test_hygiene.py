"""Nobody but the filter speaks for a caller: identity headers and ambiguous credentials."""

import pytest

from harness.stack import encode, plugin

HEALTH = "GET /healthz"


@pytest.fixture(scope="module")
def issuer(shared):
    return shared.issuer()


@pytest.fixture(scope="module")
def stack(shared, issuer):
    # envoy.yaml has Envoy refuse names with `_`; here they get as far as the filter, as they do where
    # somebody left that out.
    return shared.stack(
        plugin(issuer.provider(), skip=[HEALTH]), issuers=[issuer], hcm={"common_http_protocol_options": None})


SPOOFS = [
    [("x-auth-user-id", "admin")],
    [("X-Auth-User-Id", "admin")],
    [("X-AUTH-USER-ID", "admin")],
    [("x_auth_user_id", "admin")],
    [("x-auth_user-id", "admin")],
    [("X_Auth-User_ID", "admin")],
    [("x-auth-user-id", "admin"), ("x-auth-user-id", "root")],
    [("x-auth-user-id", "admin"), ("X-Auth-User-ID", "root"), ("x_auth_user_id", "toor")],
    [("x-auth-user-id", "")],
    [("x-auth-email", "admin@example.com"), ("x-auth-org-id", "1"), ("x-auth-workspace-id", "2"), ("x-auth-groups", "wheel")],
    [("x-auth-provider", "workforce"), ("x-auth-agent", "fraud"), ("x-auth-key-id", "k")],
    [("x-auth-anything-at-all", "1")],
    [("x-auth-", "1")],
]


def identity_headers(seen):
    return {n: seen.all(n) for n in seen.names() if n.replace("_", "-").startswith("x-auth-")}


@pytest.mark.parametrize("spoof", SPOOFS, ids=lambda s: "+".join(n for n, _ in s))
def test_a_caller_cannot_bring_identity_headers(stack, issuer, spoof):
    seen, _ = stack.allowed(stack.request(headers=spoof, token=issuer.token()), user_id="agent-planner")
    assert identity_headers(seen) == {
        "x-auth-user-id": ["agent-planner"], "x-auth-provider": ["oidc"], "x-auth-agent": ["orders"]}


@pytest.mark.parametrize("spoof", SPOOFS, ids=lambda s: "+".join(n for n, _ in s))
def test_not_on_a_skipped_path_either(stack, spoof):
    assert identity_headers(stack.skipped("/healthz", headers=spoof)) == {}


@pytest.mark.parametrize(
    "connection",
    ["x-auth-user-id", "keep-alive, X-Auth-User-Id", "x_auth_user_id", "close, x-auth-user-id, x-auth-provider", "x-auth-user-id,,"],
)
def test_connection_cannot_take_them_away_again(stack, issuer, connection):
    """RFC 9110 section 7.6.1: the next proxy drops the fields that Connection names."""
    response = stack.request(headers=[("Connection", connection)], token=issuer.token())
    seen, _ = stack.allowed(response, user_id="agent-planner", provider="oidc")
    assert not any("x-auth" in v.lower().replace("_", "-") for v in seen.all("connection"))


def test_neighbouring_names_are_not_ours(stack, issuer):
    others = [("x-authority", "1"), ("x-auth", "2"), ("auth-user-id", "3")]
    seen, _ = stack.allowed(stack.request(headers=others, token=issuer.token()))
    for name, value in others:
        assert seen.all(name) == [value]


def test_what_is_shipped_refuses_underscores_outright(pile, issuer):
    stack = pile.stack(plugin(issuer.provider()), issuers=[issuer])
    response = stack.request(headers=[("x_auth_user_id", "admin")], token=issuer.token())
    assert response.status == 400
    assert stack.upstream.seen == []


# Credentials


def test_two_authorization_headers(stack, issuer):
    good = issuer.token()
    for second in (good, issuer.token(aud="x"), "garbage"):
        headers = [("Authorization", f"Bearer {good}"), ("Authorization", f"Bearer {second}")]
        stack.denied(stack.request(headers=headers), 401, "invalid", "ambiguous_credentials", credential=good)
    headers = [("Authorization", f"Bearer {good}"), ("authorization", "Basic eDp5")]
    stack.denied(stack.request(headers=headers), 401, "invalid", "ambiguous_credentials", credential=good)


@pytest.mark.parametrize("joint", [",", ", ", " ,", ",Bearer ", ", Bearer ", ", Basic "])
def test_joined_authorization(stack, issuer, joint):
    good = issuer.token()
    response = stack.request(headers=[("Authorization", f"Bearer {good}{joint}{good}")])
    stack.denied(response, 401, "invalid", "ambiguous_credentials", credential=good)


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER", "bEaReR"])
def test_the_scheme_is_compared_without_case(stack, issuer, scheme):
    stack.allowed(stack.request(headers=[("Authorization", f"{scheme} {issuer.token()}")]), user_id="agent-planner")


@pytest.mark.parametrize("value", ["Bearer", "Bearer ", "Bearer a b", b"Bearer \xc3\xa9", "Bearer:abc"])
def test_what_is_no_credential(stack, value):
    stack.denied(stack.request(headers=[("Authorization", value)]), 401, "invalid", "malformed_authorization")


def test_a_token_without_its_scheme_is_no_bearer(stack, issuer):
    token = issuer.token()
    stack.denied(stack.request(headers=[("Authorization", token)]), 401, "not_for_me", "not_for_me", credential=token)


@pytest.mark.parametrize("target", ["/rest/orders?access_token={}", "/rest/orders?token={}", "/rest/orders?Authorization=Bearer%20{}"])
def test_a_token_in_the_query_is_no_credential(stack, issuer, target):
    token = issuer.token()
    event = stack.denied(
        stack.request(target=target.format(token)), 401, "missing_token", "missing_token", challenge="bare", credential=token)
    assert token not in event["fields"]["path"]


def test_a_token_in_the_body_is_no_credential(stack, issuer):
    body = f"access_token={issuer.token()}".encode()
    response = stack.request("POST", headers=[("Content-Type", "application/x-www-form-urlencoded")], body=body)
    stack.denied(response, 401, "missing_token", "missing_token", challenge="bare")


def test_a_token_in_a_cookie_or_a_proxy_header_is_no_credential(stack, issuer):
    token = issuer.token()
    for name, value in (("Cookie", f"token={token}"), ("Proxy-Authorization", f"Bearer {token}"), ("X-Authorization", f"Bearer {token}")):
        stack.denied(stack.request(headers=[(name, value)]), 401, "missing_token", "missing_token", challenge="bare")


def test_pipelined_requests_are_judged_one_by_one(stack, issuer):
    """An accepted request must not carry the next one on its back."""
    good = encode(target="/rest/one", headers=[("Authorization", f"Bearer {issuer.token()}")])
    bad = encode(target="/rest/two")
    with stack.connect() as connection:
        connection.send(good + bad)
        assert [connection.receive().status for _ in range(2)] == [200, 401]
    paths = [s["path"] for s in stack.upstream.seen]
    assert "/rest/one" in paths and "/rest/two" not in paths


def test_a_connection_can_be_used_again_after_a_refusal(stack, issuer):
    with stack.connect() as connection:
        assert connection.request().status == 401
        answer = connection.request(headers=[("Authorization", f"Bearer {issuer.token()}")])
        stack.allowed(answer, user_id="agent-planner")
        assert connection.request().status == 401
