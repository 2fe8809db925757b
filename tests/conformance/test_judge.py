"""What fails a conformance run: unexpected failures, unexpected successes, disagreement."""

import pytest
from judge import EXCEPTIONS, Exceptions, Row, disagreements, judge, rule_of
import base64
import json


def row(id="v", expect="accept", got="accept", ok=True, environment="native", run="tokens"):
    return Row(run, "set", environment, id, expect, got, ok)


def exceptions(outcome="reject"):
    entry = {"id": "v", "run": "tokens", "outcome": outcome, "reason": "Because."}
    return Exceptions({("tokens", "v"): entry}, {})


NONE = Exceptions({}, {})


@pytest.mark.parametrize("expect, got, ok, known, outcome", [
    ("accept", "accept", True, NONE, "right"),
    ("either", "reject", None, NONE, "either"),
    ("accept", "reject", False, NONE, "wrong"),
    ("reject", "accept", False, NONE, "wrong"),
    # What no exception speaks of any more, or speaks of otherwise.
    ("accept", "accept", True, exceptions(), "wrong"),
    ("either", "reject", None, exceptions(), "wrong"),
    ("reject", "accept", False, exceptions("reject"), "wrong"),
    ("accept", "reject", False, exceptions(), "exception"),
    ("accept", "deny5xx", False, exceptions(), "exception"),
    ("reject", "accept", False, exceptions("accept"), "exception"),
])
def test_one_row(expect, got, ok, known, outcome):
    judgement = judge([row(expect=expect, got=got, ok=ok)], known)
    assert judgement.counts["tokens", "set", "native"][outcome] == 1
    assert bool(judgement.wrong) == (outcome == "wrong")
    assert bool(judgement.used) == (outcome == "exception")


def test_an_exception_is_for_its_own_run_only():
    assert judge([row(run="raw", got="reject", ok=False)], exceptions()).wrong


def test_two_environments():
    assert not disagreements([row(), row(environment="node")])
    assert not disagreements([row(got="reject"), row(got="deny5xx", environment="remote")])
    assert disagreements([row(), row(got="reject", environment="node")])
    assert disagreements([row(got="2"), row(got="3", environment="node")])
    assert disagreements([row(got="2"), row(got="reject", environment="node")])


def token(header, payload):
    encode = lambda value: base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()
    return f"{encode(header)}.{encode(payload)}.AAAA"


RSA = {"kty": "RSA"}


@pytest.mark.parametrize("header, payload, keys, rule", [
    ({"alg": "RS256", "kid": "a"}, {"aud": "x"}, [RSA], None),
    ({"alg": "RS256", "kid": "a"}, {}, [RSA], "no-audience"),
    ({"alg": "RS256"}, {"aud": "x"}, [RSA], "only-key-has-no-kid"),
    ({"alg": "RS256"}, {"aud": "x"}, [RSA, {"kty": "EC", "crv": "P-256", "kid": "e"}], "only-key-has-no-kid"),
    ({"alg": "RS256"}, {"aud": "x"}, [{**RSA, "alg": "RS512"}, RSA], "only-key-has-no-kid"),
    ({"alg": "RS256"}, {"aud": "x"}, [RSA, RSA], None),
    ({"alg": "RS256"}, {"aud": "x"}, [{**RSA, "kid": "a"}], None),
    ({"alg": "RS256"}, {}, [RSA], None),
])
def test_rules(header, payload, keys, rule):
    assert rule_of({"jwks": {"keys": keys}}, {"token": token(header, payload)}) == rule


def test_the_file_reads():
    found = Exceptions.load(EXCEPTIONS)
    assert {run for run, _ in found.vectors} | {run for run, _ in found.rules} <= {"core", "tokens", "raw"}
