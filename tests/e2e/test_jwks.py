"""Keys of others: fetched by callout, kept, refreshed, and never a way in when they can't be had."""

import threading
import time

import pytest

from harness.issuer import DISCOVERY
from harness.stack import plugin
from harness.tokens import Key
from harness.wait import eventually

FAILED = "portcullis.callout.failed"
OK = "portcullis.callout.ok"


def counter(stack, name):
    return sum(v for n, v in stack.envoy.stats(re_name(name)).items())


def re_name(name):
    return r"(^|\.)" + name.replace(".", r"\.") + "$"


class Pending:
    """A request that is under way in a thread of its own."""

    def __init__(self, stack, **kwargs):
        self._response = self._error = None

        def run():
            try:
                self._response = stack.request(**kwargs)
            except BaseException as error:  # handed to whoever asks for the response
                self._error = error

        self._thread = threading.Thread(target=run, daemon=True)
        self._thread.start()

    @property
    def answered(self):
        return not self._thread.is_alive()

    def response(self, deadline=20):
        self._thread.join(deadline)
        assert self.answered, "no answer"
        if self._error:
            raise self._error
        return self._response


def test_keys_are_fetched_before_anybody_asks(pile):
    issuer = pile.issuer()
    pile.stack(plugin(issuer.provider()), issuers=[issuer])
    eventually(lambda: issuer.count() == 1, lambda: f"the key set to be fetched; {issuer.hits}")
    assert issuer.hits == [DISCOVERY, issuer.jwks_path]


def test_a_configured_jwks_url_needs_no_discovery(pile):
    issuer = pile.issuer()
    stack = pile.stack(plugin(issuer.provider(jwks_url=issuer.jwks_uri)), issuers=[issuer])
    stack.allowed(stack.request(token=issuer.token()))
    assert issuer.hits == [issuer.jwks_path]


def test_inline_keys_need_no_issuer_at_all(pile):
    issuer = pile.issuer(listening=False)
    stack = pile.stack(plugin(issuer.provider(jwks=issuer.jwks())), issuers=[issuer])
    stack.allowed(stack.request(token=issuer.token()))
    assert issuer.hits == []


def test_an_issuer_below_a_path(pile):
    issuer = pile.issuer("https://login.test/realms/fleet")
    stack = pile.stack(plugin(issuer.provider()), issuers=[issuer])
    stack.allowed(stack.request(token=issuer.token()))
    assert issuer.hits[0] == "/realms/fleet" + DISCOVERY


def test_all_workers_share_one_fetch(pile):
    issuer = pile.issuer()
    stack = pile.stack(plugin(issuer.provider()), issuers=[issuer], concurrency=2)

    def both_have_worked():
        stack.allowed(stack.request(token=issuer.token()))
        per_worker = stack.envoy.stats(r"^listener\..*\.worker_[01]\.downstream_cx_total$")
        return len(per_worker) == 2 and min(per_worker.values()) > 0

    eventually(both_have_worked, "both workers to have had a request", 30, 0)
    assert (issuer.count(DISCOVERY), issuer.count()) == (1, 1)


def test_requests_that_come_too_early_wait_for_the_one_fetch(pile):
    issuer = pile.issuer()
    issuer.mode = "hold"
    stack = pile.stack(plugin(issuer.provider()), issuers=[issuer], concurrency=2)
    pending = [Pending(stack, token=issuer.token(jti=str(n))) for n in range(8)]
    eventually(lambda: stack.envoy.stats(r"http\.agents\.downstream_rq_active$").get("http.agents.downstream_rq_active") == 8,
               "eight requests to be under way")
    eventually(lambda: issuer.count() == 1, "the fetch")
    assert not any(p.answered for p in pending)
    assert stack.upstream.seen == []
    issuer.gate.set()
    for p in pending:
        stack.allowed(p.response())
    assert issuer.count() == 1


@pytest.mark.parametrize("stop_iteration", [False, True], ids=["default", "allow_on_headers_stop_iteration"])
@pytest.mark.parametrize("good", [True, False], ids=["good", "forged"])
def test_a_body_does_not_overtake_the_decision(pile, stop_iteration, good):
    """A held request's body must not push its head to the upstream."""
    issuer = pile.issuer()
    issuer.mode = "hold"
    stack = pile.stack(plugin(issuer.provider()), issuers=[issuer], wasm_config={"allow_on_headers_stop_iteration": stop_iteration})
    token = issuer.token() if good else Key("rsa-1").sign({"iss": issuer.url, "aud": issuer.aud, "sub": "x", "exp": int(time.time()) + 99})
    body = b"x" * 20_000
    pending = Pending(stack, method="POST", token=token, body=body)
    eventually(lambda: issuer.count() == 1, "the fetch")
    eventually(lambda: sum(stack.envoy.stats(r"http\.agents\.downstream_cx_rx_bytes_total$").values()) > 20_000, "the body to arrive")
    assert not pending.answered and stack.upstream.seen == []
    issuer.gate.set()
    if good:
        seen, _ = stack.allowed(pending.response(), user_id="agent-planner")
        assert seen.body.encode() == body
    else:
        stack.denied(pending.response(), 401, "invalid", "bad_signature")


def test_a_caller_that_leaves_while_waiting_harms_nobody(pile):
    issuer = pile.issuer()
    issuer.mode = "hold"
    stack = pile.stack(plugin(issuer.provider()), issuers=[issuer])
    gone = stack.connect()
    gone.send(b"GET /rest/orders HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer " + issuer.token().encode() + b"\r\n\r\n")
    stays = Pending(stack, token=issuer.token(jti="2"))
    active = "http.agents.downstream_rq_active"
    eventually(lambda: stack.envoy.stats(active).get(active) == 2, "two requests to be under way")
    gone.close()
    eventually(lambda: stack.envoy.stats(active).get(active) == 1, "one of them to be gone")
    issuer.gate.set()
    stack.allowed(stays.response())
    assert len(stack.upstream.seen) == 1
    events = eventually(lambda: len(stack.envoy.audit_lines()) >= 2 and stack.envoy.audit_lines(), "an event for each")
    assert sorted(e["fields"].get("code", "") for e in events) == ["", "cancelled"]


def test_an_issuer_that_never_answers(pile):
    issuer = pile.issuer()
    issuer.mode = "hold"
    stack = pile.stack(plugin(issuer.provider(), callouts={"timeout": "1s"}), issuers=[issuer])
    eventually(lambda: issuer.count() == 1, "the fetch")
    began = time.monotonic()
    response = stack.request(token=issuer.token())
    took = time.monotonic() - began
    stack.denied(response, 503, "provider_unavailable", "keys_unavailable", challenge=None)
    assert int(response.header("retry-after")) >= 1
    assert took < 4, f"waited {took:.1f} s with a timeout of one"
    issuer.gate.set()


@pytest.mark.parametrize("status", [503, 401])
def test_an_issuer_that_is_down_at_first(pile, status):
    issuer = pile.issuer(listening=False)
    stack = pile.stack(plugin(issuer.provider(), unavailable_status=status), issuers=[issuer])
    response = stack.request(token=issuer.token())
    challenge = None if status == 503 else "bare"
    stack.denied(response, status, "provider_unavailable", "keys_unavailable", challenge=challenge)
    if status == 503:
        assert int(response.header("retry-after")) >= 1
    issuer.start()
    eventually(lambda: stack.request(token=issuer.token()).status == 200, "the proxy to recover", 40, 0.2)


@pytest.mark.parametrize("how", ["liar", "500", "garbage", "redirect", "huge"])
def test_a_discovery_document_that_does_not_do(pile, how):
    issuer = pile.issuer()
    issuer.discovery_mode = how
    stack = pile.stack(plugin(issuer.provider()), issuers=[issuer])
    stack.denied(stack.request(token=issuer.token()), 503, "provider_unavailable", "keys_unavailable", challenge=None)
    assert issuer.count() == 0, "keys were fetched from where an unproven document points to"
    assert issuer.count("/elsewhere") == 0, "a redirect was followed"


@pytest.mark.parametrize("how", ["500", "garbage", "redirect", "huge", "empty"])
def test_a_key_set_that_does_not_do(pile, how):
    issuer = pile.issuer()
    issuer.mode = how
    stack = pile.stack(plugin(issuer.provider()), issuers=[issuer])
    stack.denied(stack.request(token=issuer.token()), 503, "provider_unavailable", "keys_unavailable", challenge=None)
    assert issuer.count("/elsewhere") == 0


def test_tokens_of_nobody_cost_no_fetch_and_no_wait(pile):
    """While the issuer is away, what is wrong in any case is refused at once."""
    issuer = pile.issuer(listening=False)
    stack = pile.stack(plugin(issuer.provider()), issuers=[issuer])
    stack.denied(stack.request(), 401, "missing_token", "missing_token", challenge="bare")
    stack.denied(stack.request(token="garbage"), 401, "not_for_me", "not_for_me")
    stack.denied(stack.request(token=issuer.token(iss="https://else.test")), 401, "not_for_me", "not_for_me")


# With keys at hand


@pytest.fixture
def warm(pile):
    """An issuer whose keys are refreshed every two seconds, and have been used."""
    issuer = pile.issuer()
    stack = pile.stack(plugin(issuer.provider(jwks_cache_ttl="2s")), issuers=[issuer])
    stack.allowed(stack.request(token=issuer.token()))
    return issuer, stack


def test_killing_the_issuer_changes_nothing_for_known_keys(warm):
    issuer, stack = warm
    old = issuer.token(jti="old")
    stack.allowed(stack.request(token=old))
    failed = counter(stack, FAILED)
    issuer.stop()
    # Through at least two refreshes that come to nothing.
    eventually(lambda: counter(stack, FAILED) >= failed + 2, "two failed refreshes", 40, 0.1)
    stack.allowed(stack.request(token=old))
    stack.allowed(stack.request(token=issuer.token(jti="new")))
    stack.denied(stack.request(token=issuer.token(ttl=-999)), 401, "rejected", "expired")
    issuer.start()
    hits = issuer.count()
    eventually(lambda: issuer.count() > hits, "the refresh to succeed again", 60, 0.1)
    stack.allowed(stack.request(token=issuer.token(jti="newer")))


@pytest.mark.parametrize("how", ["500", "garbage", "redirect", "huge", "empty"])
def test_a_refresh_that_brings_nothing_usable_leaves_the_old_set(warm, how):
    issuer, stack = warm
    issuer.mode = how
    before = issuer.count()
    # The third try begins when the second has come to nothing.
    eventually(lambda: issuer.count() >= before + 3, "refreshes to fail", 30, 0.1)
    stack.allowed(stack.request(token=issuer.token()))
    assert issuer.count("/elsewhere") == 0
    assert counter(stack, FAILED) >= 1, "what brought nothing usable is not counted as failed"


def test_an_unchanged_set_is_not_sent_again(warm):
    issuer, stack = warm
    eventually(lambda: issuer.not_modified >= 2, lambda: f"two answers of 304; {issuer.hits}", 20, 0.1)
    assert counter(stack, FAILED) == 0
    stack.allowed(stack.request(token=issuer.token()))


def test_a_key_that_has_vanished_is_honoured_no_longer(warm):
    issuer, stack = warm
    old = issuer.token()
    stack.allowed(stack.request(token=old))
    stack.allowed(stack.request(token=old))
    issuer.keys = [Key("rsa-2")]
    eventually(lambda: stack.request(token=old).status == 401, "the old key to be gone", 20, 0.1)
    # Not even for a token that was verified while the key was good.
    stack.denied(stack.request(token=old), 401, "invalid", "unknown_kid")
    stack.allowed(stack.request(token=issuer.token()))


def test_a_replaced_key_under_the_same_kid(warm):
    """The cache of verified tokens must not outlive the key that verified them."""
    issuer, stack = warm
    old = issuer.token()
    stack.allowed(stack.request(token=old))
    issuer.keys = [Key("rsa-1")]
    eventually(lambda: stack.request(token=old).status == 401, "the old key to be gone", 20, 0.1)
    stack.denied(stack.request(token=old), 401, "invalid", "bad_signature")
    stack.allowed(stack.request(token=issuer.token()))


# Unknown keys


def test_a_new_key_is_fetched_when_it_first_turns_up(pile):
    issuer = pile.issuer()
    stack = pile.stack(plugin(issuer.provider()), issuers=[issuer])
    stack.allowed(stack.request(token=issuer.token()))
    old, issuer.keys = issuer.keys, [Key("ec-9", "ES256"), *issuer.keys]
    stack.allowed(stack.request(token=issuer.token()))
    stack.allowed(stack.request(token=issuer.token(old[0])))
    assert issuer.count() == 2


def test_unknown_keys_cause_one_fetch_in_thirty_seconds(pile):
    issuer = pile.issuer()
    stack = pile.stack(plugin(issuer.provider()), issuers=[issuer], concurrency=2)
    stack.allowed(stack.request(token=issuer.token()))
    stranger = Key("nobody")
    for n in range(30):
        token = issuer.token(stranger, header={"kid": f"unknown-{n}"})
        stack.denied(stack.request(token=token), 401, "invalid", "unknown_kid")
    assert issuer.count() == 2, issuer.hits
    stack.allowed(stack.request(token=issuer.token()))


def test_a_failed_refetch_counts_too(pile):
    issuer = pile.issuer()
    stack = pile.stack(plugin(issuer.provider()), issuers=[issuer])
    stack.allowed(stack.request(token=issuer.token()))
    issuer.mode = "500"
    stranger = Key("nobody")
    for n in range(10):
        response = stack.request(token=issuer.token(stranger, header={"kid": f"unknown-{n}"}))
        assert response.status in (401, 503), response
    assert issuer.count() == 2, issuer.hits
    stack.allowed(stack.request(token=issuer.token()))


def test_the_interval_can_be_set_and_ends(pile):
    issuer = pile.issuer()
    stack = pile.stack(plugin(issuer.provider(), limits={"unknown_kid_interval": "2s"}), issuers=[issuer])
    stack.allowed(stack.request(token=issuer.token()))
    stranger = Key("nobody")
    stack.denied(stack.request(token=issuer.token(stranger)), 401, "invalid", "unknown_kid")
    assert issuer.count() == 2
    issuer.keys = [stranger, *issuer.keys]
    eventually(lambda: stack.request(token=issuer.token(stranger)).status == 200, "the next fetch to be allowed", 20, 0.1)
    assert issuer.count() == 3
