"""A verifier that is asked about tokens: slow, down, confused or lying by accident, it lets nobody in whom it does not name."""

import threading
import time

import pytest

from harness.stack import SMOKE_TOKEN, plugin
from harness.tokens import Key, claims
from harness.verifier import Verifier
from harness.wait import eventually

ALICE = "tok_alice_4f1d0c7e"
ALICE_IS = {"user_id": "alice", "org_id": "acme", "email": "alice@acme.test", "workspace_id": "ws-1"}


@pytest.fixture
def verifier(pile):
    verifier = pile.add(Verifier())
    verifier.people[ALICE] = ALICE_IS
    return verifier


def stack_with(pile, verifier, *others, concurrency=1, issuers=(), **settings):
    config = plugin(verifier.provider(**settings), *others, callouts={"upstreams": {"verify.test": "verifier"}, "timeout": "1s"})
    return pile.stack(
        config, concurrency=concurrency, issuers=issuers, edit=lambda b: b.point("verifier", verifier.port))


def all_at_once(stack, requests):
    """Sends requests at the same time; each is (token, headers). Returns the responses in their order."""
    answers = [None] * len(requests)

    def one(n, token, headers):
        answers[n] = stack.request(token=token, headers=headers, timeout=30)

    threads = [threading.Thread(target=one, args=(n, *r), daemon=True) for n, r in enumerate(requests)]
    for thread in threads:
        thread.start()
    return threads, answers


def unavailable(stack, response):
    stack.denied(response, 503, "provider_unavailable", "lookup_unavailable", challenge=None, credential=ALICE)
    assert int(response.header("retry-after")) >= 1


def test_who_it_names_gets_in(pile, verifier):
    stack = stack_with(pile, verifier, default_org="acme")
    seen, event = stack.allowed(
        stack.request("POST", token=ALICE, body=b"hello", headers=[("x-auth-org-id", "evil")]),
        user_id="alice", org_id="acme", email="alice@acme.test", workspace_id="ws-1", provider="http_verifier")
    assert seen.body == "hello"
    assert seen.all("authorization") == [], "the credential reached the upstream"
    assert event["org_id"] == "acme"
    assert event["fields"]["token_kind"] == "opaque"
    assert ALICE not in str(event)
    assert verifier.asked == [(ALICE, "acme")]


def test_who_is_refused_is_told_nothing_and_the_operator_why(pile, verifier):
    stack = stack_with(pile, verifier)
    verifier.error = "revoked by bob\r\n\x1b[31m"
    response = stack.request(token="tok_mallory_11112222")
    event = stack.denied(response, 401, "rejected", "rejected_upstream", credential="tok_mallory_11112222")
    assert event["fields"]["detail"] == "revoked by bob???[31m"
    assert b"revoked" not in response.body and "revoked" not in str(response.headers)
    verifier.error = "unknown token tok_mallory_11112222"
    event = stack.denied(stack.request(token="tok_mallory_11112222"), 401, "rejected", "rejected_upstream", credential="mallory")
    assert "detail" not in event["fields"]
    verifier.mode = "401"
    stack.denied(stack.request(token=ALICE), 401, "rejected", "rejected_upstream")
    stack.denied(stack.request(), 401, "missing_token", "missing_token", challenge="bare")


def test_the_organisation_is_the_verifiers_word(pile, verifier):
    stack = stack_with(pile, verifier, default_org="home", cache_ttl="1m")
    stack.allowed(stack.request(token=ALICE, headers=[("X-Org-ID", "acme")]), org_id="acme")
    for _ in range(2):
        stack.denied(stack.request(token=ALICE, headers=[("X-Org-ID", "evil")]), 401, "rejected", "org_mismatch")
    stack.denied(
        stack.request(token=ALICE, headers=[("X-Org-ID", "acme"), ("x-org-id", "evil")]), 401, "rejected", "org_mismatch")
    verifier.people["tok_nobodys_0001"] = {"user_id": "drifter"}
    stack.allowed(stack.request(token="tok_nobodys_0001", headers=[("org-id", "evil")]), user_id="drifter", org_id=None)
    stack.allowed(stack.request(token=ALICE), org_id="acme")
    assert verifier.asked == [(ALICE, "acme"), (ALICE, "evil"), ("tok_nobodys_0001", "evil"), (ALICE, "home")]


@pytest.mark.parametrize("mode", ["garbage", "html", "twice", "redirect", "huge", "hangup", "201", "403", "404", "429", "500", "503"])
def test_what_is_no_answer_lets_nobody_in(pile, verifier, mode):
    stack = stack_with(pile, verifier, cache_ttl="1m", negative_cache_ttl="1m")
    verifier.mode = mode
    unavailable(stack, stack.request(token=ALICE))
    assert set(verifier.paths) == {"/check"}, "a redirect was followed"
    verifier.mode = "ok"
    eventually(lambda: stack.request(token=ALICE).status == 200, "the proxy to recover", 20, 0.1)


def test_it_is_down_and_comes_back(pile, verifier):
    verifier.stop()
    stack = stack_with(pile, verifier)
    for n in range(8):
        unavailable(stack, stack.request(token=f"{ALICE}{n}"))
    unavailable(stack, stack.request(token=ALICE))
    # Who shows nothing needs no verifier to be refused.
    stack.denied(stack.request(), 401, "missing_token", "missing_token", challenge="bare")
    verifier.start()
    eventually(lambda: stack.request(token=ALICE).status == 200, "the proxy to recover", 40, 0.2)


def test_a_verifier_that_fails_is_spared(pile, verifier):
    stack = stack_with(pile, verifier)
    verifier.mode = "503"
    for n in range(40):
        unavailable(stack, stack.request(token=f"{ALICE}{n}"))
    assert len(verifier.asked) < 20, "a verifier in trouble is asked about each token"
    verifier.mode = "ok"
    eventually(lambda: stack.request(token=ALICE).status == 200, "the proxy to recover", 40, 0.2)


def test_one_question_for_all_who_wait(pile, verifier):
    """Without any TTL: sixteen requests, one question; the seventeenth asks again."""
    stack = stack_with(pile, verifier)
    verifier.mode = "hold"
    other = "tok_bob_77777777"
    verifier.people[other] = {"user_id": "bob"}
    threads, answers = all_at_once(stack, [(ALICE, [])] * 16 + [(other, [])] * 4 + [(ALICE, [("x-org-id", "acme")])] * 4)
    active = "http.agents.downstream_rq_active"
    eventually(lambda: stack.envoy.stats(active).get(active) == 24, "all requests to be under way")
    eventually(lambda: len(verifier.asked) == 3, lambda: f"three questions: {verifier.asked}")
    assert stack.upstream.seen == []
    verifier.gate.set()
    for thread in threads:
        thread.join(20)
    for n, answer in enumerate(answers):
        stack.allowed(answer, user_id="bob" if 16 <= n < 20 else "alice")
    assert sorted(verifier.asked) == sorted([(ALICE, ""), (other, ""), (ALICE, "acme")])
    stack.allowed(stack.request(token=ALICE), user_id="alice")
    assert len(verifier.asked) == 4


def test_decisions_are_remembered_as_long_as_is_set(pile, verifier):
    stack = stack_with(pile, verifier, cache_ttl="2s", negative_cache_ttl="2s")
    for _ in range(5):
        _, event = stack.allowed(stack.request(token=ALICE), user_id="alice")
        stack.denied(stack.request(token="tok_mallory_11112222"), 401, "rejected", "rejected_upstream")
    assert event["fields"]["cache"] == "hit"
    assert len(verifier.asked) == 2
    del verifier.people[ALICE]
    eventually(lambda: stack.request(token=ALICE).status == 401, "the decision to be forgotten", 10, 0.1)


def test_it_may_take_its_own_time(pile, verifier):
    """`timeout` is the verifier's: `callouts.timeout` (one second here) is for keys."""
    stack = stack_with(pile, verifier, timeout="5s")
    verifier.mode, verifier.delay = "slow", 2.0
    began = time.monotonic()
    stack.allowed(stack.request(token=ALICE), user_id="alice")
    assert time.monotonic() - began >= 2
    verifier.delay = 8.0
    began = time.monotonic()
    unavailable(stack, stack.request(token=ALICE, timeout=30))
    assert 4 < time.monotonic() - began < 7.5


@pytest.mark.parametrize("verifier_first", [True, False])
def test_what_others_own_stays_with_them(pile, verifier, verifier_first):
    issuer = pile.issuer()
    static = {"type": "static_token", "settings": {"token_env": "AGENT_SMOKE_TOKEN", "identity": {"user_id": "smoke"}}}
    chain = [verifier.provider(), issuer.provider(), static]
    if not verifier_first:
        chain.reverse()
    stack = pile.stack(
        plugin(*chain, callouts={"upstreams": {"verify.test": "verifier"}}), issuers=[issuer],
        edit=lambda b: b.point("verifier", verifier.port))
    stack.allowed(stack.request(token=issuer.token()), user_id="agent-planner")
    stack.allowed(stack.request(token=SMOKE_TOKEN), user_id="smoke")
    forged = Key("rsa-1").sign(claims(issuer.url, issuer.aud))
    verifier.people[forged] = {"user_id": "root"}
    stack.denied(stack.request(token=forged), 401, "invalid", "bad_signature")
    stack.denied(stack.request(token=issuer.token(aud="api://other")), 401, "rejected", "audience_mismatch")
    stack.denied(stack.request(token="a.b.c"), 401, "invalid", "malformed_token")
    assert verifier.asked == [], "a token of somebody else was shown to the verifier"
    foreign = issuer.token(iss="https://else.test")
    stack.denied(stack.request(token=foreign), 401, "rejected", "rejected_upstream")
    stack.allowed(stack.request(token=ALICE), user_id="alice")
    # With the issuer gone its tokens are still its own.
    verifier.people[foreign] = {"user_id": "guest"}
    stack.allowed(stack.request(token=foreign), user_id="guest")
    assert [t for t, _ in verifier.asked] == [foreign, ALICE, foreign]


def test_flapping(pile, verifier):
    """Through ups and downs every answer is the truth or a 503."""
    stack = stack_with(pile, verifier, concurrency=2, timeout="1s")
    for n in range(12):
        verifier.mode = ["ok", "503", "hangup", "garbage"][n % 4]
        for token, truth in ((ALICE, 200), ("tok_mallory_11112222", 401)):
            status = stack.request(token=token).status
            assert status in (truth, 503), (verifier.mode, status)
        if n == 5:
            verifier.stop()
        elif n == 7:
            verifier.start()
    verifier.mode = "ok"
    eventually(lambda: stack.request(token=ALICE).status == 200, "the proxy to recover", 40, 0.2)
    assert all(["x-auth-user-id", "alice"] in s["headers"] for s in stack.upstream.seen)
