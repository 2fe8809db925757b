"""Several providers in a chain: who owns a credential, and that nobody else gets to see it."""

import hashlib

import pytest

from harness.stack import plugin
from harness.tokens import Key, tampered


@pytest.fixture(scope="module")
def alpha(shared):
    return shared.issuer("https://alpha.test", [Key("k", "RS256")])


@pytest.fixture(scope="module")
def beta(shared):
    # The same kid, another key: a mix-up would show.
    return shared.issuer("https://beta.test", [Key("k", "RS256")])


def static(name="static", token="opaque-4711"):
    return {"type": "static_token", "name": name,
            "settings": {"token_sha256": hashlib.sha256(token.encode()).hexdigest(), "identity": {"user_id": "robot", "org_id": "acme"}}}


@pytest.fixture(scope="module", params=["alpha-first", "beta-first"])
def both(request, shared, alpha, beta):
    chain = [alpha.provider(name="alpha"), beta.provider(name="beta"), static()]
    if request.param == "beta-first":
        chain.reverse()
    return shared.stack(plugin(*chain), issuers=[alpha, beta])


def test_each_issuers_tokens_find_their_provider(both, alpha, beta):
    both.allowed(both.request(token=alpha.token(sub="a")), user_id="a", provider="alpha")
    both.allowed(both.request(token=beta.token(sub="b")), user_id="b", provider="beta")
    both.allowed(both.request(token="opaque-4711"), user_id="robot", org_id="acme", provider="static")


def test_one_issuers_key_is_worth_nothing_under_the_others_name(both, alpha, beta):
    for name, key in ((alpha, beta.keys[0]), (beta, alpha.keys[0])):
        event = both.denied(both.request(token=name.token(key)), 401, "invalid", "bad_signature")
        assert event["fields"]["provider_name"] == ("alpha" if name is alpha else "beta")


def test_the_owner_has_the_last_word(both, alpha):
    """A token that its owner refuses is offered to nobody else."""
    for token, reason, code in (
        (alpha.token(ttl=-999), "rejected", "expired"),
        (alpha.token(aud="else"), "rejected", "audience_mismatch"),
        (tampered(alpha.token()), "invalid", "bad_signature"),
        (alpha.token(header={"kid": None}), "invalid", "missing_kid"),
    ):
        event = both.denied(both.request(token=token), 401, reason, code)
        assert event["fields"]["provider_name"] == "alpha"


def test_what_is_shaped_like_a_jwt_is_no_opaque_token(shared, alpha):
    """A mangled JWT must not be taken for a static token, even if its digest is configured."""
    mangled = alpha.token() + "="
    stack = shared.stack(plugin(alpha.provider(), static(token=mangled)), issuers=[alpha])
    stack.denied(stack.request(token=mangled), 401, "invalid", "malformed_token", credential=mangled)


def test_an_owner_that_is_away_is_not_passed_over(pile, beta):
    """An outage must not become a way around a provider."""
    away = pile.issuer("https://away.test", listening=False)
    stack = pile.stack(plugin(away.provider(name="away"), beta.provider(name="beta")), issuers=[away, beta])
    event = stack.denied(stack.request(token=away.token()), 503, "provider_unavailable", "keys_unavailable", challenge=None)
    assert event["fields"]["provider_name"] == "away"
    # And it holds up nobody else.
    stack.allowed(stack.request(token=beta.token()), provider="beta")


def test_two_providers_of_one_issuer(shared, alpha):
    """The first whose audience matches owns the token."""
    stack = shared.stack(
        plugin(
            alpha.provider(name="fleet", audience="api://fleet", allowed_subjects=["agent-*"]),
            alpha.provider(name="people", audience=["api://people", "api://fleet"]),
        ),
        issuers=[alpha])
    stack.allowed(stack.request(token=alpha.token(aud="api://fleet")), provider="fleet")
    stack.allowed(stack.request(token=alpha.token(aud="api://people", sub="alice")), provider="people")
    stack.allowed(stack.request(token=alpha.token(aud=["api://people", "api://fleet"])), provider="fleet")
    # `fleet` owns it and refuses; `people`, which would take it, is not asked.
    event = stack.denied(
        stack.request(token=alpha.token(aud="api://fleet", sub="alice")), 401, "rejected", "subject_not_allowed")
    assert event["fields"]["provider_name"] == "fleet"
    stack.denied(stack.request(token=alpha.token(aud="api://else")), 401, "rejected", "audience_mismatch")


def test_two_static_tokens(shared):
    stack = shared.stack(plugin(static("one", "token-one"), static("two", "token-two")))
    stack.allowed(stack.request(token="token-one"), provider="one")
    stack.allowed(stack.request(token="token-two"), provider="two")
    assert stack.request(token="token-three").status == 401


def test_providers_without_a_name_are_told_apart(shared):
    unnamed = [{k: v for k, v in static(token=token).items() if k != "name"} for token in ("token-one", "token-two")]
    stack = shared.stack(plugin(*unnamed))
    stack.allowed(stack.request(token="token-one"), provider="static_token")
    stack.allowed(stack.request(token="token-two"), provider="static_token-2")


# required: false


@pytest.fixture(scope="module")
def optional(shared, alpha):
    return shared.stack(plugin(alpha.provider(), required=False), issuers=[alpha])


def test_anonymous_passes_without_an_identity(optional):
    response = optional.request(headers=[("x-auth-user-id", "admin"), ("x-auth-groups", "wheel")])
    assert response.status == 200, response
    names = {n for n, _ in response.json()["headers"]}
    assert not names & {"x-auth-user-id", "x-auth-groups", "x-auth-email", "x-auth-org-id", "x-auth-workspace-id", "x-auth-provider"}
    event = optional.envoy.audit(response.header("x-request-id"))
    assert event["event"] == "auth_verify"
    assert event["fields"]["token_kind"] == "empty"
    assert event["fields"].get("user_id", "") == ""


def test_who_presents_a_credential_is_identified(optional, alpha):
    optional.allowed(optional.request(token=alpha.token()), user_id="agent-planner")


def test_a_bad_credential_is_refused_all_the_same(optional, alpha):
    optional.denied(optional.request(token=alpha.token(ttl=-999)), 401, "rejected", "expired")
    optional.denied(optional.request(token=tampered(alpha.token())), 401, "invalid", "bad_signature")
    optional.denied(optional.request(token="garbage"), 401, "not_for_me", "not_for_me")
    two = [("Authorization", f"Bearer {alpha.token()}")] * 2
    optional.denied(optional.request(headers=two), 401, "invalid", "ambiguous_credentials")
