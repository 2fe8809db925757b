"""The Google case: `allowed_subjects` against ID tokens of a globally shared issuer.

Google's ID tokens for service accounts carry a number as `sub` and the account's name as `email`. The issuer
is everybody's, so the allow-list is all that keeps the rest of the world's service accounts out.
"""

import time

import pytest

from harness.stack import plugin
from harness.tokens import Key

FLEET = "*@agent-fleet-prod.iam.gserviceaccount.com"


@pytest.fixture(scope="module")
def google(shared):
    # As in the real discovery document, the keys live at another host than the issuer's.
    return shared.issuer(
        "https://accounts.google.com",
        [Key("2f8c1d3a", "RS256"), Key("9e04b7c5", "RS256")],
        jwks_uri="https://www.googleapis.com/oauth2/v3/certs",
        aud="api://forge",
    )


@pytest.fixture(scope="module")
def stack(shared, google):
    # The recipe of the request, pasted in as it is.
    config = plugin({
        "type": "oidc",
        "settings": {
            "issuer": "https://accounts.google.com",
            "audience": "api://forge",
            "allowed_subjects": [FLEET],
        },
    })
    return shared.stack(config, issuers=[google])


def id_token(google, email, key=None, **more):
    """An ID token as Google's metadata server hands it out (`format=full` leaves more in)."""
    now = int(time.time())
    return google.token(
        key, sub="113774264463038321964", azp="113774264463038321964", iat=now, exp=now + 3600,
        **{"email": email, "email_verified": True, **more})


def test_a_service_account_of_the_project(stack, google):
    email = "orders@agent-fleet-prod.iam.gserviceaccount.com"
    for key in google.keys:
        stack.allowed(
            stack.request(token=id_token(google, email, key)),
            user_id="113774264463038321964", email=email, provider="oidc", agent="orders")


@pytest.mark.parametrize(
    "email",
    [
        "orders@other-project.iam.gserviceaccount.com",
        "orders@agent-fleet-prod.iam.gserviceaccount.com.evil.example",
        "orders@agent-fleet-prod.iam.gserviceaccount.com ",
        "orders@agent-fleet-prod.iam.gserviceaccount.comx",
        "orders@xagent-fleet-prod.iam.gserviceaccount.com",
        "orders@agent-fleet-prod-iam.gserviceaccount.com",
        "orders@agent-fleet-prod.iamxgserviceaccount.com",
        "orders/x@agent-fleet-prod.iam.gserviceaccount.com",
        "ORDERS@AGENT-FLEET-PROD.IAM.GSERVICEACCOUNT.COM",
        "*@agent-fleet-prod.iam.gserviceaccount.com\n",
        "somebody@gmail.com",
        "",
    ],
)
def test_anybody_else_in_the_world(stack, google, email):
    response = stack.request(token=id_token(google, email))
    fields = stack.denied(response, 401, "rejected", "subject_not_allowed")["fields"]
    # Whoever keeps the list has to know who it keeps out; the caller is told nothing.
    assert len(email) <= 3 or email not in response.body.decode()
    assert fields.get("email") == (email if email.isprintable() and email else None) and fields["user_id"]


GOOD = "orders@agent-fleet-prod.iam.gserviceaccount.com"


@pytest.mark.parametrize("verified", [False, None, "false", "yes", 1], ids=repr)
def test_an_email_that_google_does_not_vouch_for(stack, google, verified):
    token = id_token(google, GOOD, email_verified=verified)
    stack.denied(stack.request(token=token), 401, "rejected", "email_not_verified", credential=GOOD)


def test_no_email_at_all(stack, google):
    token = google.token(sub="113774264463038321964")
    stack.denied(stack.request(token=token), 401, "rejected", "subject_not_allowed")


def test_an_email_in_sub_is_the_subject(stack, google):
    """`sub` is matched first, by the same globs; that is the documented order."""
    stack.allowed(stack.request(token=google.token(sub=GOOD)), user_id=GOOD)


def test_another_audience_of_the_same_account(stack, google):
    stack.denied(stack.request(token=id_token(google, GOOD, aud="api://else")), 401, "rejected", "audience_mismatch")


def test_forgers_and_latecomers(stack, google):
    forged = id_token(google, GOOD, Key("2f8c1d3a"))
    stack.denied(stack.request(token=forged), 401, "invalid", "bad_signature")
    now = int(time.time())
    late = google.token(sub="1", email=GOOD, email_verified=True, iat=now - 7200, exp=now - 3600)
    stack.denied(stack.request(token=late), 401, "rejected", "expired")


def test_without_a_list_the_whole_world_gets_in_and_the_log_says_so(shared, google):
    """What the request complains about. It stays legal, and is warned of with the path."""
    stack = shared.stack(plugin(google.provider()), issuers=[google])
    stack.allowed(stack.request(token=id_token(google, "anyone@any-project.iam.gserviceaccount.com")))
    log = stack.envoy.log()
    assert "allowed_subjects" in log and "auth.providers[0]" in log, log[-3000:]


def test_subjects_by_number(shared, google):
    provider = google.provider(allowed_subjects="113774264463038321964")
    stack = shared.stack(plugin(provider), issuers=[google])
    stack.allowed(stack.request(token=id_token(google, "whatever@x.example", email_verified=False)))
    stack.denied(stack.request(token=google.token(sub="113774264463038321965")), 401, "rejected", "subject_not_allowed")


def test_an_issuer_of_ones_own_needs_no_verified_email(shared):
    """Other issuers often leave `email_verified` out; false is false everywhere."""
    issuer = shared.issuer()
    stack = shared.stack(plugin(issuer.provider(allowed_subjects=["*@corp.example"])), issuers=[issuer])
    stack.allowed(stack.request(token=issuer.token(sub="u1", email="a@corp.example")))
    stack.denied(
        stack.request(token=issuer.token(sub="u1", email="a@corp.example", email_verified=False)), 401, "rejected", "email_not_verified")
    strict = shared.stack(
        plugin(issuer.provider(allowed_subjects=["*@corp.example"], require_email_verified=True)), issuers=[issuer])
    strict.denied(strict.request(token=issuer.token(sub="u1", email="a@corp.example")), 401, "rejected", "email_not_verified")
    strict.allowed(strict.request(token=issuer.token(sub="u1", email="a@corp.example", email_verified=True)))
