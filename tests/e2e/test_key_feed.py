"""Keys from a feed in real Envoy: every worker has them, loses them and gets them back as the service says."""

import json
import re
import time
from collections import Counter

import pytest

from harness.apikeys import ApiKeysBootstrap
from harness.feed import ENV, TOKEN, KeyFeed, assembled, record
from harness.stack import plugin
from harness.wait import eventually

WORKERS = 3
# What "within one interval" may take more here: a request's own way, on a machine with other work.
SLACK = 2.0


def config(feed, limits=None, settings=None, **changes):
    provider = {"type": "api_key", "name": "keys", "settings": {"feed": feed.settings(**changes), **(settings or {})}}
    # These tests present bad keys by the dozen from one address.
    return plugin(provider, limits={"key_failures": 100000, **(limits or {})},
                  agents={"hr": {"owner": "bob@example.com", "workspace": "people", "org": "example"}})


def started(pile, feed, *, concurrency=WORKERS, **changes):
    pile.add(feed)
    return pile.stack(config(feed, **changes), concurrency=concurrency, env={ENV: TOKEN}, edit=feed.install)


def present(stack, key, agent="orders", **kwargs):
    return stack.request("GET", f"/rest/{agent}", [("x-api-key", key)], **kwargs)


class Connections:
    """Connections enough that every worker has some; `ask` uses each of them once."""

    def __init__(self, stack, count=24):
        self._all = [stack.connect() for _ in range(count)]

    def ask(self, key, agent="orders"):
        return [c.request("GET", f"/rest/{agent}", [("x-api-key", key)]).status for c in self._all]

    def close(self):
        for connection in self._all:
            connection.__exit__(None, None, None)


@pytest.fixture
def everywhere(request):
    made = []

    def connect(stack):
        made.append(Connections(stack))
        made[-1].ask("x")
        return made[-1]

    yield connect
    for connections in made:
        connections.close()


def all_answer(connections, key, status, within, agent="orders"):
    """How long it took until every worker said so."""
    began = time.monotonic()
    eventually(lambda: set(connections.ask(key, agent)) == {status}, f"{status} from every worker", within)
    return time.monotonic() - began


def test_created_changed_and_revoked_within_one_interval_in_every_worker(pile, everywhere):
    feed = KeyFeed()
    key = feed.create("aaaaaaaaaaaa", owner="alice@example.com")
    stack = started(pile, feed)
    # The first request of all is no stranger: the feed was read before, or is waited for.
    _, event = stack.allowed(present(stack, key), user_id="alice@example.com", key_id="aaaaaaaaaaaa", agent="orders", provider="keys")
    assert event["fields"]["token_kind"] == "api_key"
    stack.denied(present(stack, key, "fraud"), 403, "forbidden_agent", "forbidden_agent", challenge=None)
    connections = everywhere(stack)
    eventually(lambda: len(feed.instances()) >= WORKERS, "every worker to poll", 10)
    assert set(connections.ask(key)) == {200}
    # A request to each worker every few milliseconds: nothing may remember that the key was good.
    took = []
    for _ in range(3):
        feed.revoke("aaaaaaaaaaaa")
        took.append(all_answer(connections, key, 401, 1 + SLACK))
        feed.put(record(key, owner="alice@example.com"))
        took.append(all_answer(connections, key, 200, 1 + SLACK))
    feed.revoke("aaaaaaaaaaaa")
    all_answer(connections, key, 401, 1 + SLACK)
    stack.denied(present(stack, key), 401, "rejected", "key_revoked", credential=key)
    feed.remove("aaaaaaaaaaaa")
    eventually(lambda: stack.envoy.audit(present(stack, key).header("x-request-id"))["fields"]["code"] == "unknown_key", "the removal", 3)
    other = feed.create("bbbbbbbbbbbb")
    took.append(all_answer(connections, other, 200, 1 + SLACK))
    assert min(took) < 1.0, took
    # Polls in between brought nothing, and said so in no more than a header.
    assert {p[4] for p in feed.polls} == {200, 304}
    # Each worker asks within each interval, and not all the time.
    for instance in feed.instances():
        times = [p[0] for p in feed.polls if p[1] == instance]
        gaps = sorted(b - a for a, b in zip(times, times[1:]))
        assert 0.6 < gaps[len(gaps) // 2] < 1.0, gaps


def test_a_worker_says_which_proxy_it_is_of(pile):
    feed = KeyFeed()
    feed.create("aaaaaaaaaaaa")
    pile.add(feed)

    def edit(bootstrap):
        feed.install(bootstrap)
        bootstrap.doc["node"] = {"id": "edge-7", "cluster": "edge"}

    pile.stack(config(feed), concurrency=1, env={ENV: TOKEN}, edit=edit)
    eventually(feed.instances, "a poll", 10)
    assert all(re.fullmatch("edge-7/[0-9a-f]{16}", instance) for instance in feed.instances()), feed.instances()


def test_agents_of_the_feed(pile):
    feed = KeyFeed()
    feed.describe("orders", owner="alice@example.com", workspace="payments", org="example")
    # The configuration says that it is bob's.
    feed.describe("hr", owner="alice@example.com", workspace="payments", org="globex")
    key = feed.create("aaaaaaaaaaaa", scope={"user": "alice@example.com"}, prefix="gsa")
    org = feed.create("bbbbbbbbbbbb", scope={"org": "example"})
    stack = started(pile, feed, concurrency=1)
    stack.allowed(present(stack, key), user_id="alice@example.com", workspace_id="payments", org_id="example")
    stack.denied(present(stack, key, "hr"), 403, "forbidden_agent", "forbidden_agent", challenge=None)
    stack.denied(present(stack, key, "unheard-of"), 403, "forbidden_agent", "forbidden_agent", challenge=None)
    stack.allowed(present(stack, org, "hr"), workspace_id="people")
    # Sold.
    feed.describe("orders", owner="carol@example.com", workspace="payments", org="globex")
    eventually(lambda: present(stack, key).status == 403, "the new owner", 1 + SLACK)
    assert present(stack, org).status == 403
    feed.describe("fraud", owner="alice@example.com")
    eventually(lambda: present(stack, key, "fraud").status == 200, "the new agent", 1 + SLACK)
    feed.forget("fraud")
    eventually(lambda: present(stack, key, "fraud").status == 403, "the agent to go", 1 + SLACK)


def test_another_database_is_read_anew_and_nobody_is_refused_meanwhile(pile, everywhere):
    feed = KeyFeed(page=2)
    kept = feed.create("aaaaaaaaaaaa")
    lost = feed.create("bbbbbbbbbbbb")
    stack = started(pile, feed)
    connections = everywhere(stack)
    all_answer(connections, lost, 200, 10)
    more = [record(assembled(f"{n:012}")) for n in range(9)]
    feed.restore("epoch-2/&=", record(kept), *more)
    began = time.monotonic()
    while time.monotonic() - began < 1 + SLACK:
        assert set(connections.ask(kept)) == {200}
    all_answer(connections, lost, 401, SLACK)
    all_answer(connections, assembled("000000000008"), 200, SLACK)
    # And deltas go on in the new history.
    fresh = feed.create("cccccccccccc")
    all_answer(connections, fresh, 200, 1 + SLACK)
    assert all(p[3] in (None, "epoch-1", "epoch-2/&=") for p in feed.polls)


def test_a_request_waits_for_the_first_snapshot(pile):
    feed = KeyFeed()
    key = feed.create("aaaaaaaaaaaa")
    feed.mode = "hold"
    stack = started(pile, feed, concurrency=1)
    with stack.connect() as connection:
        connection.send(f"GET /rest/orders HTTP/1.1\r\nHost: agents.test\r\nx-api-key: {key}\r\n\r\n".encode())
        eventually(lambda: stack.envoy.stats(r"portcullis\.waiting$").get("wasmcustom.portcullis.waiting") == 1, "the request to wait", 10)
        feed.mode = "ok"
        feed.gate.set()
        response = connection.receive("GET")
    stack.allowed(response, key_id="aaaaaaaaaaaa")


def test_callers_that_leave_before_the_first_snapshot(pile):
    """Some go before their body has ended, some after. Each leaves one event, nothing is held, and the feed's answer finds those who stayed."""
    feed = KeyFeed()
    key = feed.create("aaaaaaaaaaaa")
    feed.mode = "hold"
    stack = started(pile, feed, concurrency=1, usage_url="https://keys.test/uses", usage_interval="1s")
    active, held = "http.agents.downstream_rq_active", "wasmcustom.portcullis.waiting"
    body = b"POST /rest/orders HTTP/1.1\r\nHost: agents.test\r\nContent-Length: 9\r\nx-api-key: %s\r\n\r\nhalf" % key.encode()
    gone = [stack.connect() for _ in range(20)]
    for n, connection in enumerate(gone):
        connection.send(body + (b" done" if n % 2 else b""))
    with stack.connect() as stays:
        stays.send(f"GET /rest/orders HTTP/1.1\r\nHost: agents.test\r\nx-api-key: {key}\r\n\r\n".encode())
        eventually(lambda: stack.envoy.stats(held).get(held) == 21, "all of them to wait", 10)
        for connection in gone:
            connection.close()
        eventually(lambda: stack.envoy.stats(active).get(active) == 1, "twenty of them to be gone")
        eventually(lambda: len(stack.envoy.audit_lines()) == 20, lambda: f"an event for each: {len(stack.envoy.audit_lines())}")
        eventually(lambda: stack.envoy.stats(held).get(held) == 1, "nobody else to be held")
        feed.mode = "ok"
        feed.gate.set()
        stack.allowed(stays.receive("GET"), key_id="aaaaaaaaaaaa")
    events = stack.envoy.audit_lines()
    assert Counter(e["fields"].get("code", e["event"]) for e in events) == {"cancelled": 20, "auth_verify": 1}
    assert len({e["correlation_id"] for e in events}) == 21
    assert all(key not in json.dumps(e) for e in events)
    assert len(stack.upstream.seen) == 1
    eventually(lambda: stack.envoy.stats(held).get(held) == 0, "nobody to be held")
    # Those who left have used nothing.
    eventually(lambda: feed.used("aaaaaaaaaaaa") != (0, 0), "the report of uses", 10)
    assert feed.used("aaaaaaaaaaaa") == (1, 0)


def test_no_feed_at_all_is_an_outage_and_not_an_unknown_key(pile):
    feed = KeyFeed()
    key = feed.create("aaaaaaaaaaaa")
    feed.stop()
    stack = started(pile, feed, concurrency=1)
    response = present(stack, key)
    event = stack.denied(response, 503, "provider_unavailable", "feed_unavailable", challenge=None)
    assert event["fields"]["provider_name"] == "keys"
    assert 1 <= int(response.header("retry-after")) <= 10
    # A typo is a typo, feed or no feed.
    stack.denied(present(stack, key[:-1]), 401, "invalid", "malformed_key")
    feed.start()
    eventually(lambda: present(stack, key).status == 200, "the feed", 15)


def test_an_outage_is_borne_for_max_staleness_and_no_longer(pile, everywhere):
    feed = KeyFeed()
    key = feed.create("aaaaaaaaaaaa")
    revoked = feed.create("bbbbbbbbbbbb")
    feed.revoke("bbbbbbbbbbbb")
    stack = started(pile, feed, interval="500ms", max_staleness="4s")
    connections = everywhere(stack)
    all_answer(connections, key, 200, 10)
    feed.stop()
    began = time.monotonic()
    last_good = None
    while 503 not in (answers := connections.ask(key)):
        assert set(answers) == {200}
        last_good = time.monotonic()
        assert last_good - began < 6
        time.sleep(0.02)
    # Measured from the last answer, which came up to an interval before the end.
    assert last_good - began > 2.5, last_good - began
    all_answer(connections, key, 503, 2)
    event = stack.denied(present(stack, key), 503, "provider_unavailable", "feed_stale", challenge=None)
    assert event["fields"]["provider_name"] == "keys"
    # Made during the outage, perhaps: who knows.
    stack.denied(present(stack, assembled("zzzzzzzzzzzz")), 503, "provider_unavailable", "feed_stale", challenge=None)
    stack.denied(present(stack, revoked), 401, "rejected", "key_revoked")
    eventually(lambda: stack.envoy.stats(r"feed\.in_force$") == {"wasmcustom.portcullis.feed.in_force": 0}, "the gauge", 5)
    feed.revoke("aaaaaaaaaaaa")
    other = feed.create("cccccccccccc")
    feed.start()
    # By itself, and with what happened meanwhile.
    all_answer(connections, other, 200, 15)
    all_answer(connections, key, 401, 15)
    eventually(lambda: stack.envoy.stats(r"feed\.in_force$") == {"wasmcustom.portcullis.feed.in_force": 1}, "the gauge", 5)


@pytest.mark.parametrize("mode", ["garbage", "cut", "format", "back", "foreign", "huge", "hangup", "401", "500", "301"])
def test_what_is_no_answer_changes_nothing(pile, mode):
    feed = KeyFeed()
    key = feed.create("aaaaaaaaaaaa")
    stack = started(pile, feed, concurrency=1, interval="300ms")
    stack.allowed(present(stack, key))
    feed.mode = mode
    failures = "wasmcustom.portcullis.feed.failed"
    eventually(lambda: stack.envoy.stats(r"feed\.failed$").get(failures, 0) >= 2, "two failures", 10)
    stack.allowed(present(stack, key))
    assert f"key feed https://keys.test/feed: " in stack.envoy.log()
    assert TOKEN not in stack.envoy.log()
    feed.mode = "ok"
    feed.revoke("aaaaaaaaaaaa")
    eventually(lambda: present(stack, key).status == 401, "the revocation", 15)


def test_a_bad_record_costs_its_own_key_only(pile):
    feed = KeyFeed()
    good = feed.create("aaaaaaaaaaaa")
    bad = feed.create("bbbbbbbbbbbb", surprise="!")
    stack = started(pile, feed, concurrency=1)
    stack.allowed(present(stack, good))
    event = stack.denied(present(stack, bad), 401, "rejected", "unreadable_key")
    assert event["fields"]["key_id"] == "bbbbbbbbbbbb"
    feed.revoke("aaaaaaaaaaaa")
    eventually(lambda: present(stack, good).status == 401, "the revocation", 1 + SLACK)
    assert "the first is bbbbbbbbbbbb: surprise: unknown key" in stack.envoy.log()
    assert stack.envoy.stats(r"feed\.unreadable$")["wasmcustom.portcullis.feed.unreadable"] >= 1


def test_keys_of_both_kinds_together(pile):
    feed = KeyFeed()
    own = assembled("aaaaaaaaaaaa")
    fed = feed.create("bbbbbbbbbbbb")
    stack = started(pile, feed, concurrency=1, settings={"keys": [record(own, owner="alice@example.com")]})
    stack.allowed(present(stack, own), user_id="alice@example.com")
    stack.allowed(present(stack, fed))
    # Revoked in either is revoked.
    feed.put(record(own, revoked_at=1))
    eventually(lambda: present(stack, own).status == 401, "the revocation", 1 + SLACK)
    feed.remove("aaaaaaaaaaaa")
    eventually(lambda: present(stack, own).status == 200, "the configuration's own word", 1 + SLACK)


def test_uses_are_reported_once_whatever_happens_to_the_reports(pile, everywhere):
    feed = KeyFeed()
    key = feed.create("aaaaaaaaaaaa")
    limited = feed.create("bbbbbbbbbbbb", rate_limit={"requests": 1, "per": "1h", "burst": 5})
    revoked = feed.create("cccccccccccc", revoked_at=1)
    feed.usage_mode = "503"
    stack = started(pile, feed, usage_url="https://keys.test/uses", usage_interval="1s")
    connections = everywhere(stack)
    all_answer(connections, key, 200, 10)
    eventually(lambda: len({b["instance"] for b in feed.batches}) >= WORKERS, "each worker's report", 15)
    assert feed.uses == []
    # The same batches again, under their names, taken in, and nobody hears of it.
    feed.usage_mode = "lost"
    eventually(lambda: len({b["instance"] for b in feed.batches if b["uses"]}) >= WORKERS and feed.uses, "the reports", 30)
    feed.usage_mode = "ok"
    count = 40
    for _ in range(count):
        stack.allowed(present(stack, key))
    wanted_key = stack.envoy.stats(r"requests\.keys\.allow\.ok")["wasmcustom.portcullis.requests.keys.allow.ok"]
    statuses = [present(stack, limited).status for _ in range(8)]
    assert statuses.count(200) == 5 and statuses.count(429) == 3
    for _ in range(4):
        assert present(stack, revoked).status == 401
        assert present(stack, assembled("zzzzzzzzzzzz")).status == 401
        assert present(stack, assembled("aaaaaaaaaaaa", "B" * 43)).status == 401
        assert present(stack, key, "made-up").status == 403
    wanted = {"aaaaaaaaaaaa": (wanted_key, 4), "bbbbbbbbbbbb": (5, 3), "cccccccccccc": (0, 4)}
    eventually(lambda: {k: feed.used(k) for k in wanted} == wanted, lambda: f"{wanted}; told was {[feed.used(k) for k in wanted]}", 90, 0.2)
    assert {u["key"] for u in feed.uses} == set(wanted)
    now = time.time()
    for use in feed.uses:
        assert use["minute"] % 60 == 0 and now - 600 < use["minute"] <= now, use
        assert use["last_used_at"] == use["minute"]
        assert use["agent"] in ("orders", None), use
    # Some came twice, as they were.
    names = [(b["instance"], b["batch"]) for b in feed.batches]
    assert len(names) > len(set(names))
    bodies = {}
    for batch in feed.batches:
        assert bodies.setdefault((batch["instance"], batch["batch"]), batch) == batch
    assert stack.envoy.stats(r"usage\.dropped$").get("wasmcustom.portcullis.usage.dropped", 0) == 0


def test_a_service_that_takes_no_reports_holds_nobody_up(pile):
    feed = KeyFeed()
    key = feed.create("aaaaaaaaaaaa")
    feed.usage_mode = "422"
    stack = started(pile, feed, concurrency=1, usage_url="https://keys.test/uses", usage_interval="1s")
    stack.allowed(present(stack, key))
    dropped = "wasmcustom.portcullis.usage.dropped"
    eventually(lambda: stack.envoy.stats(r"usage\.dropped$").get(dropped, 0) >= 1, "the drop", 10)
    stack.allowed(present(stack, key))
    assert "uses will not be reported (status 422)" in stack.envoy.log()


def test_a_reload_keeps_the_keys_and_the_uses(pile, tmp_path_factory):
    feed = pile.add(KeyFeed())
    key = feed.create("aaaaaaaaaaaa")
    bootstrap = ApiKeysBootstrap(tmp_path_factory.mktemp("keys"), env={ENV: TOKEN})
    (provider,) = bootstrap.plugin["auth"]["providers"]
    provider["settings"]["feed"] = feed.settings(usage_url="https://keys.test/uses", usage_interval="1s")
    stack = pile.stack(bootstrap=bootstrap, env={ENV: TOKEN}, edit=feed.install)
    stack.allowed(present(stack, key))
    eventually(lambda: feed.used("aaaaaaaaaaaa") == (1, 0), "the first report", 10)
    feed.usage_mode = "503"
    stack.allowed(present(stack, key))
    cold = [p for p in feed.polls if p[3] is None]
    loaded = stack.envoy.log().count("is in force, loaded in")
    bootstrap.plugin["identity"]["header_prefix"] = "x-who-"
    bootstrap.write_template()
    bootstrap.keys.run("publish")
    eventually(lambda: stack.envoy.log().count("is in force, loaded in") > loaded, "the reload", 10)
    feed.usage_mode = "ok"
    eventually(lambda: "x-who-key-id" in present(stack, key).body.decode().lower(), "the new configuration", 10)
    # What was read is still there, in the same worker: it is not read again. (The throw-away VM that tries a configuration may begin anew.)
    eventually(lambda: feed.used("aaaaaaaaaaaa")[0] >= 3, "the reports", 30)
    known = {p[1] for p in cold}
    again = [p for p in feed.polls if p[3] is None and p[1] in known]
    assert len(again) == len(cold), again


def test_a_hundred_thousand_keys(pile, tmp_path_factory):
    from test_key_limits import cpu_seconds

    feed = KeyFeed()
    ends = int(time.time()) + 86400
    feed.put(*[
        {"id": f"{n * 7919 % 1000003:012}", "hash": "sha256:" + "5a" * 32, "scope": {"agent": f"agent-{n % 1000}"}, "name": f"key {n}",
         "owner": f"user-{n % 5000}@example.com", "created_at": ends - 86400, "expires_at": ends,
         "rate_limit": {"requests": 600, "per": "1m", "burst": 60}}
        for n in range(100_000)
    ])
    feed.mode = "500"
    key = feed.create("zzzzzzzzzzzz")
    stack = started(pile, feed, concurrency=1, timeout="60s")
    eventually(lambda: stack.envoy.stats(r"feed\.failed$").get("wasmcustom.portcullis.feed.failed", 0) >= 1, "the first poll", 20)
    used, rss = cpu_seconds(stack.envoy.pid), memory(stack.envoy.pid)
    feed.mode, feed.bytes = "ok", 0
    began = time.monotonic()
    eventually(lambda: stack.envoy.stats(r"feed\.keys$").get("wasmcustom.portcullis.feed.keys") == 100_001, "the keys", 120, 0.1)
    took = time.monotonic() - began
    used, rss = cpu_seconds(stack.envoy.pid) - used, memory(stack.envoy.pid) - rss
    print(f"\n100,001 keys: {used:.2f} s of the worker's time, {took:.1f} s in all, {feed.bytes / 1e6:.0f} MB on the wire, {rss / 1e6:.0f} MB of memory")
    assert used < 2.0, used
    # The worker's and the main thread's: both have them.
    assert rss < 100e6, rss
    stack.allowed(present(stack, key))
    stack.denied(present(stack, assembled("000000007919")), 401, "rejected", "wrong_key")


def memory(pid):
    """Resident bytes."""
    with open(f"/proc/{pid}/statm") as file:
        return int(file.read().split()[1]) * 4096
