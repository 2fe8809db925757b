"""Google's Identity-Aware Proxy, played with a real ES256 key, in front of real Envoy."""

import time

import pytest

from harness.stack import plugin
from harness.tokens import Key, tampered

HEADER = "x-goog-iap-jwt-assertion"
BACKEND = "/projects/123456789/global/backendServices/987654321"
SUB = "accounts.google.com:113774264463038321964"


@pytest.fixture(scope="module")
def iap(shared):
    return shared.issuer(
        "https://cloud.google.com/iap", [Key("0oeLcQ", "ES256"), Key("rsa", "RS256")],
        jwks_uri="https://www.gstatic.com/iap/verify/public_key-jwk", aud=BACKEND)


@pytest.fixture(scope="module")
def other(shared):
    return shared.issuer("https://issuer.test")


PROVIDER = {"type": "gcp_iap", "settings": {"audience": BACKEND}}


@pytest.fixture(scope="module")
def stack(shared, iap, other):
    return shared.stack(plugin(PROVIDER, other.provider(name="other")), issuers=[iap, other])


def assertion(iap, key=None, **changes):
    return iap.token(key, **{"sub": SUB, "email": "alice@corp.example", "hd": "corp.example", "azp": BACKEND, **changes})


def through(stack, value, token=None, headers=()):
    return stack.request(headers=[(HEADER, value), *headers], token=token)


def test_through_iap(stack, iap):
    spoofed = [
        ("x-goog-authenticated-user-email", "accounts.google.com:eve@evil.example"),
        ("X-Goog-Authenticated-User-ID", "accounts.google.com:1"),
    ]
    seen, event = stack.allowed(
        through(stack, assertion(iap), headers=spoofed),
        user_id=SUB, email="alice@corp.example", org_id="corp.example", provider="gcp_iap", agent="orders")
    assert not [n for n in seen.names() if n.startswith("x-goog-")], seen.headers
    assert event["fields"]["token_kind"] == "iap_jwt"
    # Google's keys come from where they are, without discovery.
    assert iap.count() == 1 and iap.count(iap.discovery_path) == 0


@pytest.mark.parametrize(
    "changes, reason, code",
    [
        ({"aud": "/projects/123456789/apps/other"}, "rejected", "audience_mismatch"),
        ({"iss": "https://accounts.google.com"}, "rejected", "issuer_mismatch"),
        ({"ttl": -60}, "rejected", "expired"),
        ({"iat": int(time.time()) + 3600}, "rejected", "not_yet_valid"),
        ({"exp": None}, "invalid", "missing_expiry"),
        ({"sub": None}, "rejected", "missing_subject"),
    ],
)
def test_refused(stack, iap, changes, reason, code):
    event = stack.denied(through(stack, assertion(iap, **changes)), 401, reason, code)
    assert event["fields"]["token_kind"] == "iap_jwt"
    assert event["fields"]["provider"] == "gcp_iap"


def test_around_iap(stack, iap):
    good = assertion(iap)
    stack.denied(through(stack, tampered(good)), 401, "invalid", "bad_signature")
    stack.denied(through(stack, assertion(iap, Key("0oeLcQ", "ES256"))), 401, "invalid", "bad_signature")
    stack.denied(through(stack, assertion(iap, iap.keys[1])), 401, "invalid", "unsupported_algorithm")
    stack.denied(through(stack, "junk"), 401, "invalid", "malformed_token")
    stack.denied(through(stack, good, headers=[(HEADER, good)]), 401, "invalid", "ambiguous_credentials")
    # The unsigned headers alone are no credential, and the assertion is none elsewhere.
    unsigned = stack.request(headers=[("x-goog-authenticated-user-email", "accounts.google.com:alice@corp.example")])
    stack.denied(unsigned, 401, "missing_token", "missing_token", challenge="bare")
    stack.denied(stack.request(token=good), 401, "not_for_me", "not_for_me", credential=good)


def test_beside_a_bearer_token(shared, stack, iap, other):
    """Each provider looks at its own kind, in the chain's order, and the first that has something to say decides."""
    good, late = assertion(iap), assertion(iap, ttl=-60)
    seen, _ = stack.allowed(through(stack, good, other.token()), provider="gcp_iap")
    assert "authorization" not in seen.names() and HEADER not in seen.names()
    stack.denied(through(stack, late, other.token()), 401, "rejected", "expired")
    seen, _ = stack.allowed(stack.request(token=other.token()), provider="other")
    last = shared.stack(plugin(other.provider(name="other"), PROVIDER), issuers=[iap, other])
    seen, _ = last.allowed(through(last, "junk", other.token()), provider="other")
    assert HEADER not in seen.names()
    last.denied(through(last, good, other.token(ttl=-60)), 401, "rejected", "expired")
    last.allowed(through(last, good, "opaque"), provider="gcp_iap")


def test_stripped_without_any_iap_provider_too(shared, other):
    stack = shared.stack(plugin(other.provider()), issuers=[other])
    seen, _ = stack.allowed(stack.request(headers=[("x-goog-authenticated-user-email", "accounts.google.com:eve@evil.example")], token=other.token()))
    assert not [n for n in seen.names() if n.startswith("x-goog-")]
