"""API keys from creation to revocation: the program makes them, Envoy has them within a second, the filter knows them."""

import re
import time
import zlib

import pytest

from harness.apikeys import ApiKeysBootstrap
from harness.wait import eventually

KEY = re.compile(r"\bg(ak|sa)_[0-9A-Za-z]{12}_[0-9A-Za-z]{43}_[0-9A-Za-z]{6}\b")
BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
# What the design promises from the file's rename to the first request judged by it.
RELOAD = 2.0


@pytest.fixture(scope="module")
def world(shared, tmp_path_factory):
    """(stack, keys) with Envoy running on a file that has no keys yet."""
    bootstrap = ApiKeysBootstrap(tmp_path_factory.mktemp("keys"))
    # These tests present bad keys by the dozen from one address; the budget has a test of its own.
    bootstrap.plugin["limits"] = {"key_failures": 100000}
    stack = shared.stack(bootstrap=bootstrap, concurrency=2)
    return stack, bootstrap.keys


def present(stack, key, agent="orders", header="X-Gofannon-Key", method="GET", headers=()):
    return stack.request(method, f"/rest/{agent}", [(header, key), *headers])


def in_force(stack, key, agent="orders", status=200):
    """Waits until every worker answers so: new connections go to either."""
    began = time.monotonic()

    def all_of_them():
        answers = [present(stack, key, agent).status for _ in range(8)]
        return answers == [status] * 8

    eventually(all_of_them, f"status {status} for a key", RELOAD)
    return time.monotonic() - began


def check_characters(signed):
    number, out = zlib.crc32(signed.encode()), ""
    for _ in range(6):
        out = BASE62[number % 62] + out
        number //= 62
    return out


def forged(key_id, letter="A", prefix="gak"):
    """A well-formed key that nobody has made."""
    signed = f"{prefix}_{key_id}_{letter * 43}"
    return f"{signed}_{check_characters(signed)}"


def test_nobody_gets_in_before_there_is_a_key(world):
    stack, _ = world
    stack.denied(stack.request(), 401, "missing_token", "missing_token", challenge="bare")
    stack.denied(present(stack, forged("a" * 12)), 401, "rejected", "unknown_key")


def test_a_key_is_good_within_the_reload_time_and_revoked_as_fast(world):
    stack, keys = world
    key, key_id = keys.create("--agent", "orders", "--owner", "alice@example.com", "--name", "ci")
    assert KEY.fullmatch(key)
    assert key.endswith(check_characters(key.rpartition("_")[0]))
    in_force(stack, key)
    seen, event = stack.allowed(present(stack, key), user_id="alice@example.com", key_id=key_id, agent="orders",
                                org_id="example", workspace_id="payments", provider="keys")
    assert event["fields"]["token_kind"] == "api_key"
    assert event["fields"]["key_id"] == key_id
    assert "x-gofannon-key" not in seen.names()
    keys.run("revoke", key_id, "--reason", "a test")
    in_force(stack, key, status=401)
    event = stack.denied(present(stack, key), 401, "rejected", "key_revoked", credential=key)
    assert event["fields"]["key_id"] == key_id


def test_a_key_of_one_agent_at_another(world):
    stack, keys = world
    key, key_id = keys.create("--agent", "orders")
    in_force(stack, key)
    for agent in ("fraud", "Orders", "orders2", "unheard-of"):
        event = stack.denied(present(stack, key, agent), 403, "forbidden_agent", "forbidden_agent", challenge=None)
        assert event["fields"]["key_id"] == key_id
    for path in ("/", "/rest", "/rest/"):
        stack.denied(stack.request("GET", path, [("x-api-key", key)]), 403, "forbidden_agent", "unknown_agent", challenge=None)


@pytest.mark.parametrize("scope, opens", [
    (("--workspace", "payments"), {"orders", "fraud"}),
    (("--org", "example"), {"orders", "fraud", "hr"}),
    (("--user", "alice@example.com"), {"orders", "fraud"}),
    (("--scope", "agent:hr"), {"hr"}),
])
def test_scopes(world, scope, opens):
    stack, keys = world
    key, _ = keys.create(*scope)
    assert key.startswith("gsa_" if scope[0] == "--user" else "gak_")
    in_force(stack, key, sorted(opens)[0])
    for agent in ("orders", "fraud", "hr", "unheard-of"):
        response = present(stack, key, agent)
        if agent in opens:
            stack.allowed(response)
        else:
            stack.denied(response, 403, "forbidden_agent", "forbidden_agent", challenge=None)


def test_every_place_and_only_one_at_a_time(world):
    stack, keys = world
    key, _ = keys.create("--agent", "orders")
    other, _ = keys.create("--agent", "orders")
    in_force(stack, other)
    for name, value in (("X-Gofannon-Key", key), ("x-api-key", key), ("Authorization", f"Bearer {key}"), ("authorization", f"bearer {key}")):
        seen, _ = stack.allowed(present(stack, value, header=name))
        assert name.lower() not in seen.names()
    for headers in (
        [("x-api-key", key), ("x-gofannon-key", key)],
        [("x-api-key", key), ("x-api-key", other)],
        [("x-api-key", key), ("authorization", f"Bearer {key}")],
        [("x-api-key", key), ("authorization", "Basic Zm9vOmJhcg==")],
        [("authorization", f"Bearer {key}"), ("authorization", f"Bearer {other}")],
    ):
        response = stack.request("GET", "/rest/orders", headers)
        stack.denied(response, 401, "invalid", "ambiguous_credentials", credential=key)


def test_rotation(world):
    stack, keys = world
    old, old_id = keys.create("--agent", "orders", "--owner", "alice@example.com", "--methods", "GET")
    in_force(stack, old)
    began = time.time()
    new, new_id = keys.rotate(old_id, "--grace", "4s")
    grace_ends = next(r for r in keys.records() if r["id"] == old_id)["grace_until"]
    assert began + 3 <= grace_ends <= time.time() + 4
    in_force(stack, new)
    stack.allowed(present(stack, old), user_id="alice@example.com", key_id=old_id)
    stack.allowed(present(stack, new), user_id="alice@example.com", key_id=new_id)
    # What the old one might not do, the new one may not do either.
    stack.denied(present(stack, new, method="POST"), 403, "forbidden_agent", "method_not_allowed", challenge=None)
    last_good = first_bad = None
    while first_bad is None:
        before = time.time()
        status = present(stack, old).status
        if status == 200:
            last_good = before
        else:
            first_bad = time.time()
        time.sleep(0.01)
    assert last_good < grace_ends <= first_bad < grace_ends + 0.5
    stack.denied(present(stack, old), 401, "rejected", "key_superseded")
    stack.allowed(present(stack, new))


def test_an_expired_key_stops_at_its_second(world):
    stack, keys = world
    key, key_id = keys.create("--agent", "orders", "--expires", "4s")
    in_force(stack, key)
    ends = next(r for r in keys.records() if r["id"] == key_id)["expires_at"]
    last_good = first_bad = None
    while first_bad is None:
        before = time.time()
        if present(stack, key).status == 200:
            last_good = before
        else:
            first_bad = time.time()
        time.sleep(0.01)
    assert last_good < ends <= first_bad < ends + 0.5
    stack.denied(present(stack, key), 401, "rejected", "key_expired")


def test_whatever_is_wrong_with_a_key_the_answer_is_the_same(world):
    stack, keys = world
    now = int(time.time())
    good, good_id = keys.create("--agent", "orders")
    revoked, revoked_id = keys.create("--agent", "orders")
    early, _ = keys.create("--agent", "orders", "--not-before", "1h")
    expired, expired_id = keys.create("--agent", "orders", "--expires", "1s")
    keys.run("revoke", revoked_id)
    in_force(stack, good)
    in_force(stack, revoked, status=401)
    eventually(lambda: time.time() >= now + 3, "a second to pass", 5)
    answers = []
    for key, code in (
        (revoked, "key_revoked"), (early, "key_not_yet_valid"), (expired, "key_expired"), (forged("z" * 12), "unknown_key"),
        (forged(good_id), "wrong_key"), (forged(good_id, prefix="gsa"), "wrong_key"), (forged(expired_id), "wrong_key"),
    ):
        for agent in ("orders", "fraud"):
            response = present(stack, key, agent)
            stack.denied(response, 401, "rejected", code, credential=key)
            body = response.json()
            body.pop("request_id")
            volatile = ("date", "x-request-id", "x-envoy-upstream-service-time")
            headers = sorted((n.lower(), v) for n, v in response.headers if n.lower() not in volatile)
            answers.append((response.status, body, headers))
    assert all(a == answers[0] for a in answers), answers


def test_the_hash_is_no_key(world):
    stack, keys = world
    key, key_id = keys.create("--agent", "orders")
    in_force(stack, key)
    stored = next(r for r in keys.records() if r["id"] == key_id)["hash"]
    assert keys.run("hash", text=key + "\n").stdout.strip() == stored
    digits = stored.removeprefix("sha256:")
    signed = f"gak_{key_id}_{digits[:43]}"
    for text, code in (
        (stored, "not_for_me"), (digits, "not_for_me"), (f"gak_{key_id}_{digits}", "malformed_key"),
        (f"{signed}_{check_characters(signed)}", "wrong_key"),
    ):
        reason = {"not_for_me": "not_for_me", "malformed_key": "invalid", "wrong_key": "rejected"}[code]
        stack.denied(present(stack, text), 401, reason, code)
    assert key not in keys.file.read_text() and key not in keys.ecds.read_text()
    assert key.split("_")[2] not in keys.file.read_text() + keys.ecds.read_text()


def test_a_refused_change_changes_nothing(world):
    """A template with a mistake is not published, and the key is not made."""
    stack, keys = world
    key, _ = keys.create("--agent", "orders")
    in_force(stack, key)
    good, before = keys.template.read_text(), (keys.file.read_bytes(), keys.ecds.read_bytes())
    try:
        keys.template.write_text(good.replace("max_ttl", "max_tll"))
        done = keys.run("create", "--agent", "orders", check=False)
        assert done.returncode == 1
        assert "unknown key; did you mean `max_ttl`?" in done.stderr
        assert done.stdout == ""
        assert (keys.file.read_bytes(), keys.ecds.read_bytes()) == before
    finally:
        keys.template.write_text(good)
    # And if Envoy is given one all the same, it keeps what it has.
    try:
        keys.ecds.with_suffix(".new").write_text(before[1].decode().replace("max_ttl", "max_tll"))
        keys.ecds.with_suffix(".new").rename(keys.ecds)
        eventually(lambda: "configuration refused" in stack.envoy.log(), "the refusal", 5)
        assert present(stack, key).status == 200
    finally:
        keys.run("publish")


def test_requests_in_flight_of_a_reload_are_served(world):
    """A key is made every tenth of a second while others are used: nobody notices."""
    stack, keys = world
    key, _ = keys.create("--agent", "orders")
    in_force(stack, key)
    with stack.connect() as connection:
        for _ in range(10):
            keys.create("--agent", "fraud")
            for _ in range(20):
                assert connection.request("GET", "/rest/orders", [("x-api-key", key)]).status == 200
