"""Key sets as Google, Microsoft, GitHub, Keycloak, Auth0 and others publish them: they load, and only what signs verifies."""

import json

import pytest

from harness.published import SHAPES
from harness.stack import plugin
from harness.tokens import Key, claims, tampered

AUDIENCE = "api://agents"


class Publisher:
    """What the harness's issuer wants of a key: the published entry instead of its own."""

    def __init__(self, entry):
        self.entry, self.alg = entry, "RS256"

    def public_jwk(self):
        return self.entry


@pytest.fixture(scope="module")
def published():
    return {name: make() for name, make in SHAPES.items()}


@pytest.fixture(scope="module", params=["inline", "inline as text", "remote"])
def stack(shared, published, request):
    """All of them in one chain, told apart by their issuers."""
    providers, issuers = [], []
    for name, made in published.items():
        settings = {"issuer": made.issuer, "audience": AUDIENCE}
        if request.param == "remote":
            issuers.append(shared.issuer(made.issuer, [Publisher(e) for e in made.jwks["keys"]], aud=AUDIENCE))
        else:
            settings["jwks"] = made.jwks if request.param == "inline" else json.dumps(made.jwks, indent=4)
        if name in ("google", "google-iap", "github-actions", "microsoft"):
            settings["allowed_subjects"] = ["agent-*"]
            settings["require_email_verified"] = True
        providers.append({"type": "oidc", "name": name, "settings": settings})
    return shared.stack(plugin(*providers), issuers=issuers)


@pytest.mark.parametrize("name", SHAPES)
def test_its_keys_verify_and_no_other(stack, published, name):
    made = published[name]

    def token(key, **header):
        return key.sign(claims(made.issuer, AUDIENCE), **header)

    for key in made.signing:
        good = token(key)
        stack.allowed(stack.request(token=good), user_id="agent-planner", provider=name)
        stack.denied(stack.request(token=tampered(good)), 401, "invalid", "bad_signature")
        # The right name on the wrong key.
        stack.denied(stack.request(token=token(Key(key.kid, key.alg))), 401, "invalid", "bad_signature")
    # A key of the set that is for something else: its owner signs perfectly well.
    for key in made.useless:
        stack.denied(stack.request(token=token(key)), 401, "invalid", "key_mismatch")
        # Nor under the name of a key that is good.
        response = stack.request(token=token(key, kid=made.signing[0].kid))
        assert response.status == 401


def test_a_set_of_encryption_keys_alone_is_no_key_set(pile):
    """What is left of a realm when its signing keys are gone."""
    from harness.envoy import EnvoyRefused

    made = SHAPES["keycloak"]()
    only = {"keys": [e for e in made.jwks["keys"] if e["use"] == "enc"]}
    with pytest.raises(EnvoyRefused, match="jwks"):
        pile.stack(plugin({"type": "oidc", "settings": {"issuer": made.issuer, "audience": AUDIENCE, "jwks": only}}))
