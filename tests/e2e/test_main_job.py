"""The main job, with envoy/envoy.yaml as it is shipped: the right callers in, everyone else kept out."""

import base64
import hashlib
import hmac
import json
import subprocess
import time

import pytest

from harness.stack import SMOKE_TOKEN, plugin
from harness.tokens import Key, claims, tampered, unsigned
from harness.wait import eventually

RSA, EC, ED = Key("rsa-1", "RS256"), Key("ec-1", "ES256"), Key("ed-1", "EdDSA")


@pytest.fixture(scope="module")
def issuer(shared):
    return shared.issuer("https://issuer.example.com", [RSA, EC, ED])


@pytest.fixture(scope="module")
def stack(shared, issuer):
    return shared.stack(issuers=[issuer])


def test_no_token_gets_a_bare_challenge(stack):
    event = stack.denied(stack.request(), 401, "missing_token", "missing_token", challenge="bare")
    assert event["fields"]["method"] == "GET"
    assert event["fields"]["path"] == "/rest/orders"
    assert event["fields"]["token_kind"] == "empty"
    assert event["entity_id"] == "orders"


@pytest.mark.parametrize("key", [RSA, EC, ED], ids=lambda k: k.alg)
def test_a_valid_token_reaches_the_agent_with_its_identity(stack, issuer, key):
    token = issuer.token(
        key, email="planner@example.com", org_id="org-7", workspace_id="ws-3", groups=["fleet", "night shift"])
    response = stack.request("POST", token=token, body=b'{"hello": 1}')
    seen, event = stack.allowed(
        response,
        user_id="agent-planner", email="planner@example.com", org_id="org-7", workspace_id="ws-3",
        groups="fleet,night shift", provider="workforce", agent="orders", key_id=None)
    assert (seen.method, seen.path, seen.body) == ("POST", "/rest/orders", '{"hello": 1}')
    assert seen.all("authorization") == [], "the credential reached the upstream"
    fields = event["fields"]
    assert event["entity_id"] == "orders"
    assert event["org_id"] == "org-7"
    assert fields["provider"] == "oidc"
    assert fields["provider_name"] == "workforce"
    assert fields["token_kind"] == "jwt"
    assert fields["email"] == "planner@example.com"
    assert fields["groups_count"] == 2
    assert fields["agent"] == "orders"
    assert token.split(".")[2] not in stack.envoy.audit_path.read_text()


def test_a_token_without_optional_claims_sets_no_optional_headers(stack, issuer):
    seen, _ = stack.allowed(
        stack.request(token=issuer.token()),
        user_id="agent-planner", email=None, org_id=None, workspace_id=None, groups=None)
    assert {n for n in seen.names() if n.startswith("x-auth-")} == {"x-auth-user-id", "x-auth-provider", "x-auth-agent"}


def test_the_same_token_again_is_as_good(stack, issuer):
    token = issuer.token()
    first = stack.allowed(stack.request(token=token), user_id="agent-planner")[1]
    second = stack.allowed(stack.request(token=token), user_id="agent-planner")[1]
    assert first["fields"]["cache"] == "miss"
    assert second["fields"]["cache"] == "hit"
    assert second["seq"] > first["seq"]


def test_one_of_many_audiences_is_enough(stack, issuer):
    stack.allowed(stack.request(token=issuer.token(aud=["api://payroll", "api://agents"])), user_id="agent-planner")


@pytest.mark.parametrize(
    ("reason", "code", "change"),
    [
        ("rejected", "audience_mismatch", {"aud": "api://payroll"}),
        ("rejected", "audience_mismatch", {"aud": ["api://agents/", "api://agents2"]}),
        ("rejected", "audience_mismatch", {"aud": None}),
        ("rejected", "expired", {"ttl": -60}),
        ("rejected", "not_yet_valid", {"nbf": int(time.time()) + 3600}),
        ("invalid", "missing_expiry", {"exp": None}),
        ("rejected", "subject_not_allowed", {"sub": "intern-laptop"}),
        ("rejected", "subject_not_allowed", {"sub": "agent-x/../admin"}),
        ("rejected", "subject_not_allowed", {"sub": "Agent-planner"}),
        ("rejected", "subject_not_allowed", {"sub": None}),
        ("invalid", "malformed_claims", {"exp": "soon"}),
    ],
    ids=lambda v: v if isinstance(v, str) else "",
)
def test_a_genuine_token_that_does_not_do(stack, issuer, reason, code, change):
    # Signed with sign_raw, because PyJWT has opinions about what may be in a token.
    body = claims(**{"iss": issuer.url, "aud": "api://agents", **change})
    token = RSA.sign_raw(json.dumps({"alg": "RS256", "kid": "rsa-1"}).encode(), json.dumps(body).encode())
    stack.denied(stack.request(token=token), 401, reason, code, credential=token)


def test_an_expired_token_is_refused_though_it_is_cached(stack, issuer):
    # envoy.yaml has a clock_skew of five seconds: this token has about two left.
    token = issuer.token(ttl=-3)
    stack.allowed(stack.request(token=token), user_id="agent-planner")
    eventually(lambda: stack.request(token=token).status == 401, "the token to expire", 15, 0.2)
    stack.denied(stack.request(token=token), 401, "rejected", "expired")


@pytest.mark.parametrize("key", [RSA, EC, ED], ids=lambda k: k.alg)
def test_a_forged_signature(stack, issuer, key):
    token = tampered(issuer.token(key))
    event = stack.denied(stack.request(token=token), 401, "invalid", "bad_signature", credential=token)
    assert event["fields"]["token_kind"] == "jwt"
    # Nothing a forger wrote is taken for true.
    assert "agent-planner" not in str(event)


def test_a_forged_signature_does_not_ride_on_the_genuine_tokens_cache(stack, issuer):
    token = issuer.token()
    stack.allowed(stack.request(token=token))
    stack.denied(stack.request(token=tampered(token)), 401, "invalid", "bad_signature")
    stack.allowed(stack.request(token=token))


def test_a_foreign_key_under_the_issuers_kid(stack, issuer):
    token = Key("rsa-1", "RS256").sign(claims(issuer.url, "api://agents"))
    stack.denied(stack.request(token=token), 401, "invalid", "bad_signature", credential=token)


@pytest.mark.parametrize(
    ("code", "token"),
    [
        # Without a signature it is not a compact JWS in the first place.
        ("malformed_token", lambda: unsigned(claims("https://issuer.example.com", "api://agents"))),
        ("unsupported_algorithm", lambda: unsigned(claims("https://issuer.example.com", "api://agents")) + "AAAA"),
        ("unsupported_algorithm", lambda: unsigned(claims("https://issuer.example.com", "api://agents"), "NoNe") + "AAAA"),
        ("unsupported_algorithm", lambda: hs256_with_the_public_key()),
        ("key_mismatch", lambda: RSA.sign(claims("https://issuer.example.com", "api://agents"), kid="ec-1")),
        ("missing_kid", lambda: RSA.sign(claims("https://issuer.example.com", "api://agents"), kid=None)),
        ("unsupported_header", lambda: RSA.sign(claims("https://issuer.example.com", "api://agents"), crit=["exp"])),
        ("malformed_token", lambda: RSA.sign(claims("https://issuer.example.com", "api://agents")) + "="),
        ("malformed_token", lambda: RSA.sign_raw(b'{"alg":"RS256","kid":"rsa-1"}', b"not json")),
    ],
    ids=["none", "none-signed", "none-mixed-case", "hs256-confusion", "other-key", "no-kid", "crit", "padding", "no-json"],
)
def test_what_no_issuer_signs(stack, code, token):
    token = token()
    stack.denied(stack.request(token=token), 401, "invalid", code, credential=token)


def hs256_with_the_public_key():
    """The classic: the public key's text as the secret of an HMAC."""

    def b64(data):
        return base64.urlsafe_b64encode(data).rstrip(b"=")

    head = b64(json.dumps({"alg": "HS256", "kid": "rsa-1"}).encode())
    payload = b64(json.dumps(claims("https://issuer.example.com", "api://agents")).encode())
    tag = hmac.new(RSA.public_pem(), head + b"." + payload, hashlib.sha256).digest()
    return b".".join([head, payload, b64(tag)]).decode()


@pytest.mark.parametrize("iss", ["https://evil.example", "https://issuer.example.com.evil.example", "HTTPS://issuer.example.com", "http://issuer.example.com"])
def test_an_issuer_nobody_knows_is_for_nobody(stack, issuer, iss):
    token = issuer.token(iss=iss)
    stack.denied(stack.request(token=token), 401, "not_for_me", "not_for_me", credential=token)


def test_one_trailing_slash_of_the_issuer_is_nothing(stack, issuer):
    stack.allowed(stack.request(token=issuer.token(iss=issuer.url + "/")), user_id="agent-planner")
    stack.denied(stack.request(token=issuer.token(iss=issuer.url + "//")), 401, "not_for_me", "not_for_me")


def test_the_static_token(stack):
    _, event = stack.allowed(stack.request(token=SMOKE_TOKEN), user_id="smoke-test", provider="smoke-test", agent="orders")
    assert event["fields"]["provider"] == "static_token"
    assert event["fields"]["token_kind"] == "opaque"


@pytest.mark.parametrize("wrong", [SMOKE_TOKEN[:-1], SMOKE_TOKEN + "0", SMOKE_TOKEN.upper(), "x"])
def test_a_wrong_static_token(stack, wrong):
    response = stack.request(token=wrong)
    event = stack.denied(response, 401, "not_for_me", "not_for_me", credential=wrong if len(wrong) > 3 else None)
    assert event["fields"]["token_kind"] == "opaque"


def test_another_scheme_is_for_nobody(stack):
    response = stack.request(headers=[("Authorization", "Basic dXNlcjpwYXNz")])
    stack.denied(response, 401, "not_for_me", "not_for_me", credential="dXNlcjpwYXNz")


def test_a_token_that_is_far_too_long(stack):
    stack.denied(stack.request(token="a" * 40_000), 401, "invalid", "token_too_large")


def test_public_paths_leave_no_audit_event(stack):
    assert stack.skipped("/healthz").path == "/healthz"
    assert stack.skipped("/.well-known/agent-card.json").path == "/.well-known/agent-card.json"


def test_a_claim_cannot_write_headers(stack, issuer):
    """CR and LF in a claim must not start a header of their own."""
    response = stack.request(token=issuer.token(email="a@example.com\r\nx-auth-org-id: root", org_id="org\u0000-1"))
    assert response.status in (200, 401), response
    if response.status == 200:
        seen = response.json()["headers"]
        assert ["x-auth-org-id", "root"] not in seen
        assert all("\r" not in v and "\n" not in v and "\0" not in v for _, v in seen)


def test_http2_is_judged_alike(stack, issuer, tmp_path):
    def curl(*args):
        done = subprocess.run(
            ["curl", "-sS", "--http2-prior-knowledge", "-o", str(tmp_path / "body"), "-w", "%{http_version} %{http_code}",
             *args, f"http://127.0.0.1:{stack.envoy.port}/rest/orders"],
            capture_output=True, text=True, timeout=20, check=True)
        return done.stdout

    assert curl() == "2 401"
    assert curl("-H", f"Authorization: Bearer {issuer.token()}") == "2 200"
    assert curl("-H", f"Authorization: Bearer {issuer.token(aud='x')}") == "2 401"


def test_the_credential_stays_when_that_is_configured(pile, issuer):
    stack = pile.stack(plugin(issuer.provider(), identity={"forward_credentials": True}), issuers=[issuer])
    token = issuer.token()
    seen, _ = stack.allowed(stack.request(token=token), user_id="agent-planner")
    assert seen.all("authorization") == [f"Bearer {token}"]


def test_another_header_prefix(pile, issuer):
    stack = pile.stack(plugin(issuer.provider(), identity={"header_prefix": "x-caller-"}), issuers=[issuer])
    response = stack.request(token=issuer.token(), headers=[("x-caller-user-id", "admin"), ("x-auth-user-id", "kept")])
    seen, _ = stack.allowed(response)
    assert seen.all("x-caller-user-id") == ["agent-planner"]
    # The other prefix means nothing here; it is the upstream's own.
    assert seen.all("x-auth-user-id") == ["kept"]


def test_claims_by_name_and_by_pointer(pile, issuer):
    provider = issuer.provider(claim_map={"user_id": "client_id", "org_id": "/realm/org", "groups": "/realm/roles"})
    stack = pile.stack(plugin(provider), issuers=[issuer])
    token = issuer.token(client_id="svc-9", realm={"org": "acme", "roles": ["a", "b"]})
    stack.allowed(stack.request(token=token), user_id="svc-9", org_id="acme", groups="a,b")


def test_demands_on_claims_and_age(pile, issuer):
    provider = issuer.provider(required_claims={"env": ["prod", "stage-*"]}, max_token_age="1h")
    stack = pile.stack(plugin(provider), issuers=[issuer])
    stack.allowed(stack.request(token=issuer.token(env="stage-2")))
    stack.denied(stack.request(token=issuer.token(env="dev")), 401, "rejected", "claim_not_allowed")
    stack.denied(stack.request(token=issuer.token()), 401, "rejected", "claim_not_allowed")
    old = issuer.token(env="prod", iat=int(time.time()) - 7200)
    stack.denied(stack.request(token=old), 401, "rejected", "too_old")
    future = issuer.token(env="prod", iat=int(time.time()) + 3600, exp=int(time.time()) + 7200)
    stack.denied(stack.request(token=future), 401, "rejected", "not_yet_valid")
    # Without a date its age can't be told.
    stack.denied(stack.request(token=issuer.token(env="prod", iat=None)), 401, "rejected", "too_old")


def test_a_token_that_names_nobody(pile, issuer):
    stack = pile.stack(plugin(issuer.provider()), issuers=[issuer])
    stack.denied(stack.request(token=issuer.token(sub=None)), 401, "rejected", "missing_subject")


def test_a_group_cannot_pass_for_two(pile, issuer):
    stack = pile.stack(plugin(issuer.provider()), issuers=[issuer])
    stack.allowed(stack.request(token=issuer.token(groups=["a,admin", "50%"])), groups="a%2Cadmin,50%25")


def test_azp_stands_in_for_the_audience(pile, issuer):
    stack = pile.stack(plugin(issuer.provider(client_id="portal")), issuers=[issuer])
    stack.allowed(stack.request(token=issuer.token(aud="other", azp="portal")))
    stack.denied(stack.request(token=issuer.token(aud="other", azp="else")), 401, "rejected", "audience_mismatch")
