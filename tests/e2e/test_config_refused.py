"""A configuration that does not compile: Envoy does not start, and its log says what to mend."""

import pytest

from harness.envoy import EnvoyRefused
from harness.stack import plugin

SETTINGS = {"issuer": "https://issuer.test", "audience": "api://agents"}


def oidc(**settings):
    return {"type": "oidc", "settings": {**SETTINGS, **settings}}


def without(name):
    return {"type": "oidc", "settings": {k: v for k, v in SETTINGS.items() if k != name}}


CASES = {
    "misspelt-setting": (
        plugin(oidc(allowed_subject=["agent-*"])),
        ["auth.providers[0].settings.allowed_subject", "allowed_subjects"]),
    "misspelt-block": (plugin(oidc(), calouts={}), ["calouts", "callouts"]),
    "misspelt-in-auth": ({"auth": {"providers": [oidc()], "skips": []}}, ["auth.skips", "skip"]),
    "misspelt-in-second-provider": (
        plugin(oidc(), {"type": "oidc", "name": "b", "settings": {**SETTINGS, "jwks_ur": "https://x.test/"}}),
        ["auth.providers[1].settings.jwks_ur", "jwks_url"]),
    "unknown-type": (plugin({"type": "oidcc", "settings": SETTINGS}), ["auth.providers[0].type", "oidc"]),
    "bad-glob": (plugin(oidc(allowed_subjects=["ok", "[a-"])), ["auth.providers[0].settings.allowed_subjects[1]"]),
    "bad-agent-glob": (plugin({**oidc(), "agents": ["[z-a]"]}), ["auth.providers[0].agents[0]"]),
    "empty-audience": (plugin(oidc(audience="")), ["auth.providers[0].settings.audience"]),
    "empty-audience-list": (plugin(oidc(audience=[])), ["auth.providers[0].settings.audience"]),
    "empty-audience-in-list": (plugin(oidc(audience=["api://agents", ""])), ["auth.providers[0].settings.audience[1]"]),
    "no-audience": (plugin(without("audience")), ["auth.providers[0].settings", "audience"]),
    "no-issuer": (plugin(without("issuer")), ["auth.providers[0].settings", "issuer"]),
    "no-provider": (plugin(), ["auth.providers"]),
    "duplicate-name": (plugin({**oidc(), "name": "a"}, {**oidc(), "name": "a"}), ["auth.providers[1].name"]),
    "bad-skip": (plugin(oidc(), skip=["/healthz"]), ["auth.skip[0]"]),
    "uncanonical-skip": (plugin(oidc(), skip=["GET /healthz", "GET /a/../b"]), ["auth.skip[1]"]),
    "bad-duration": (plugin(oidc(clock_skew="30 parsecs")), ["auth.providers[0].settings.clock_skew"]),
    "bad-status": (plugin(oidc(), unavailable_status=200), ["auth.unavailable_status"]),
    "two-ways-to-an-agent": (plugin(oidc(), agent={"path": "/rest/{agent}", "fixed": "x"}), ["agent"]),
    "no-config": ({}, ["auth"]),
    "wrong-type": (plugin(oidc(), required="yes"), ["auth.required"]),
}


@pytest.mark.parametrize("case", CASES)
def test_envoy_does_not_start(pile, case):
    config, names = CASES[case]
    with pytest.raises(EnvoyRefused) as refused:
        pile.stack(config)
    log = str(refused.value)
    lines = [line for line in log.splitlines() if all(n in line for n in names)]
    assert lines, f"no line names all of {names}:\n{log[-3000:]}"


def test_a_missing_environment_variable_is_named(pile):
    config = plugin({"type": "static_token", "settings": {"token_env": "NOT_SET_ANYWHERE", "identity": {"user_id": "x"}}})
    with pytest.raises(EnvoyRefused, match="NOT_SET_ANYWHERE"):
        pile.stack(config)


def test_a_secret_in_a_refused_configuration_is_not_logged(pile):
    config = plugin({"type": "static_token", "settings": {"token": "hunter2-hunter2", "identity": {"user_idd": "x"}}})
    with pytest.raises(EnvoyRefused) as refused:
        pile.stack(config)
    assert "hunter2" not in str(refused.value)
    assert "user_idd" in str(refused.value)


def test_the_same_configurations_mended_do_start(pile):
    """So that the cases above fail for what they say, and not for something that is wrong in all of them."""
    issuer = pile.issuer("https://issuer.test")
    stack = pile.stack(
        plugin(oidc(allowed_subjects=["ok", "agent-*"], clock_skew="30s"), skip=["GET /healthz"], required=True, unavailable_status=401),
        issuers=[issuer])
    stack.allowed(stack.request(token=issuer.token()))


def test_a_warning_names_its_path(pile):
    issuer = pile.issuer()
    config = plugin(issuer.provider(), {"type": "static_token", "settings": {"token": "literal-secret-0815", "identity": {"user_id": "x"}}})
    stack = pile.stack(config, issuers=[issuer])
    log = stack.envoy.log()
    assert "auth.providers[1].settings.token" in log, log[-3000:]
    assert "literal-secret" not in log
