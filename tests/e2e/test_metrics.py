"""What Envoy's /stats says: every request is counted once, under provider, outcome and code."""

import pytest

from harness.stack import plugin
from harness.tokens import tampered
from harness.wait import eventually


@pytest.fixture
def running(pile):
    issuer = pile.issuer()
    stack = pile.stack(plugin(issuer.provider(name="fleet"), skip="GET /healthz"), issuers=[issuer])
    return issuer, stack


def read(stack):
    """Our metrics, by their own names: whatever Envoy puts before `portcullis.` is cut off."""
    return {n[n.index("portcullis."):]: v for n, v in stack.envoy.stats(r"\bportcullis\.").items()}


def test_every_outcome_is_counted_once(running):
    issuer, stack = running
    good = issuer.token()
    for response, status in (
        (stack.request(token=good), 200),
        (stack.request(token=good), 200),
        (stack.request(token=good), 200),
        (stack.request(token=issuer.token(ttl=-999)), 401),
        (stack.request(token=issuer.token(aud="x")), 401),
        (stack.request(token=tampered(good)), 401),
        (stack.request(), 401),
        (stack.request(token="garbage"), 401),
        (stack.request(target="/healthz"), 200),
        (stack.request(target="/healthz"), 200),
    ):
        assert response.status == status
    counted = {n: v for n, v in read(stack).items() if v}
    requests = {n: v for n, v in counted.items() if n.startswith("portcullis.requests.")}
    assert requests == {
        "portcullis.requests.fleet.allow.ok": 3,
        "portcullis.requests.fleet.deny.expired": 1,
        "portcullis.requests.fleet.deny.audience_mismatch": 1,
        "portcullis.requests.fleet.deny.bad_signature": 1,
        "portcullis.requests.none.deny.missing_token": 1,
        "portcullis.requests.none.deny.not_for_me": 1,
    }
    assert counted["portcullis.skipped"] == 2
    assert counted["portcullis.token_cache.hit"] == 2
    assert counted["portcullis.token_cache.miss"] >= 2
    # Discovery and the key set.
    assert counted["portcullis.callout.ok"] == 2
    assert counted.get("portcullis.callout.failed", 0) == 0
    assert counted["portcullis.config.loaded"] >= 1
    assert counted.get("portcullis.config.refused", 0) == 0
    assert counted.get("portcullis.audit.dropped", 0) == 0
    assert stack.envoy.vm_failures() == {}


def test_the_config_version_is_the_one_in_the_audit_events(running):
    issuer, stack = running
    event = stack.allowed(stack.request(token=issuer.token()))[1]
    version = event["fields"]["config_version"]
    assert read(stack)["portcullis.config.version"] == int(version[:7], 16)


def test_failed_callouts_are_counted(pile):
    issuer = pile.issuer(listening=False)
    stack = pile.stack(plugin(issuer.provider(name="fleet")), issuers=[issuer])
    stack.denied(stack.request(token=issuer.token()), 503, "provider_unavailable", "keys_unavailable", challenge=None)
    assert read(stack)["portcullis.callout.failed"] >= 1
    assert read(stack)["portcullis.requests.fleet.deny.keys_unavailable"] == 1
    assert read(stack).get("portcullis.jwks.usable", 0) == 0


def test_the_keys_grow_older(running):
    issuer, stack = running
    stack.allowed(stack.request(token=issuer.token()))
    eventually(lambda: read(stack).get("portcullis.jwks.usable") == 1, "a usable key set to be reported")
    eventually(lambda: read(stack).get("portcullis.jwks.age_seconds", 0) >= 2, "the key set's age to be reported", 15, 0.1)


def test_callouts_have_a_latency_histogram(running):
    _, stack = running
    eventually(
        lambda: any("portcullis.callout.ms" in line and "P50" in line for line in stack.envoy.stats_text().splitlines()),
        "the histogram", 15, 0.1)
