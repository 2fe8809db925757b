"""Rate limits of keys, exact over all workers, and the budget of whoever guesses."""

import os
import re
import threading
import time
from pathlib import Path

import yaml

from harness.apikeys import FOLDER, ApiKeysBootstrap
from harness.http1 import Connection
from harness.wait import eventually
from test_api_keys import forged, present


def started(pile, tmp_path_factory, *, concurrency=1, edit=None, limits=None, before=None):
    """(stack, keys); `before` gets the keys before Envoy starts."""
    bootstrap = ApiKeysBootstrap(tmp_path_factory.mktemp("keys"))
    if limits:
        bootstrap.plugin["limits"] = limits
    bootstrap.write_template()
    bootstrap.keys.init()
    if before:
        before(bootstrap.keys)
    return pile.stack(bootstrap=bootstrap, concurrency=concurrency, edit=edit), bootstrap.keys


def known(stack, key):
    """Waits until the key is known, without taking a request out of its bucket: another agent is forbidden first."""
    eventually(lambda: [present(stack, key, "unheard-of").status for _ in range(16)] == [403] * 16, "the key", 10)


class Storm:
    """`clients` connections that call as fast as they are answered, each on its own thread."""

    def __init__(self, port, key, clients, seconds):
        self._port, self._key = port, key
        self._end = time.monotonic() + seconds
        self.answers = []  # (when, status)
        self._lock = threading.Lock()
        self._errors = []
        self._threads = [threading.Thread(target=self._run) for _ in range(clients)]
        for thread in self._threads:
            thread.start()

    def _run(self):
        mine = []
        try:
            with Connection(self._port) as connection:
                while time.monotonic() < self._end:
                    response = connection.request("GET", "/rest/orders", [("x-api-key", self._key)])
                    mine.append((time.monotonic(), response.status))
        except Exception as error:  # told by whoever waits for us
            self._errors.append(error)
        with self._lock:
            self.answers += mine

    def wait(self):
        for thread in self._threads:
            thread.join()
        assert not self._errors, self._errors
        return sorted(self.answers)


def test_four_workers_and_64_clients_share_one_bucket(pile, tmp_path_factory):
    stack, keys = started(pile, tmp_path_factory, concurrency=4)
    rate, burst, seconds = 40, 60, 4.0
    key, _ = keys.create("--agent", "orders", "--rate", f"{rate}/1s:{burst}")
    known(stack, key)
    began = time.monotonic()
    answers = Storm(stack.envoy.port, key, 64, seconds).wait()
    took = answers[-1][0] - began
    got = [when for when, status in answers if status == 200]
    assert {status for _, status in answers} == {200, 429}
    # It was a storm: many times what is allowed, and every worker had its part.
    assert len(answers) > 4 * len(got), len(answers)
    # Never over: a full bucket and what flowed in meanwhile. One more for the moment between two clocks.
    allowed = burst + rate * took
    assert len(got) <= allowed + 1, (len(got), allowed)
    # And nothing is lost either: the refill is right to within what a second's worth of hesitation explains.
    assert len(got) >= burst + rate * (seconds - 1), (len(got), allowed)
    # In no window at all were there more than a bucket and the refill.
    for i, first in enumerate(got):
        for j in range(i + burst, len(got)):
            window = got[j] - first
            # A client notes an answer later than the proxy gave it: half a second is generous on a busy machine.
            assert j - i + 1 <= burst + rate * (window + 0.5) + 1, (i, j, window)
    # Both kinds of event, one each.
    text = stack.envoy.stats(r"requests\.keys\.")
    assert text["wasmcustom.portcullis.requests.keys.deny.rate_limited"] == len(answers) - len(got)
    assert text["wasmcustom.portcullis.requests.keys.allow.ok"] == len(got)


def test_429_says_when_to_come_back(pile, tmp_path_factory):
    stack, keys = started(pile, tmp_path_factory)
    key, key_id = keys.create("--agent", "orders", "--rate", "30/1m:2")
    known(stack, key)
    for _ in range(2):
        stack.allowed(present(stack, key))
    response = present(stack, key)
    event = stack.denied(response, 429, "rate_limited", "rate_limited", challenge=None)
    assert event["fields"]["key_id"] == key_id
    wait = int(response.header("retry-after"))
    assert wait in (1, 2)
    assert response.header("ratelimit-policy") == '"key";q=30;w=60'
    assert re.fullmatch(rf'"key";r=0;t={wait}', response.header("ratelimit"))
    # What it may not do anyway costs nothing, and other keys have buckets of their own.
    other, _ = keys.create("--agent", "orders", "--rate", "30/1m:2")
    known(stack, other)
    stack.allowed(present(stack, other))
    began = time.monotonic()
    eventually(lambda: present(stack, key).status == 200, "the refill", 4)
    assert time.monotonic() - began < 3


def test_a_reload_does_not_fill_the_bucket(pile, tmp_path_factory):
    stack, keys = started(pile, tmp_path_factory, concurrency=2)
    key, _ = keys.create("--agent", "orders", "--rate", "2/1h:2")
    known(stack, key)
    for status in (200, 200, 429):
        assert present(stack, key).status == status
    other, _ = keys.create("--agent", "orders")
    eventually(lambda: [present(stack, other).status for _ in range(8)] == [200] * 8, "the reload", 5)
    stack.denied(present(stack, key), 429, "rate_limited", "rate_limited", challenge=None)


def test_guessing_is_refused_unread_and_locks_nobody_out(pile, tmp_path_factory):
    made = []
    stack, _ = started(pile, tmp_path_factory, limits={"key_failures": 5},
                       before=lambda keys: made.append(keys.create("--agent", "orders")))
    ((key, key_id),) = made
    stack.allowed(present(stack, key))
    codes = []
    for i in range(8):
        response = present(stack, forged(f"{i:012}") if i % 2 else forged(key_id, "B"))
        event = stack.envoy.audit(response.header("x-request-id"))
        codes.append(event["fields"]["code"])
        if response.status == 429:
            assert 1 <= int(response.header("retry-after")) <= 60
    assert codes == ["wrong_key", "unknown_key"] * 2 + ["wrong_key"] + ["too_many_failures"] * 3
    # Someone else behind the same address.
    stack.allowed(present(stack, key))


def test_envoys_own_limit_goes_by_the_key(pile, tmp_path_factory):
    """envoy/api-keys/local-ratelimit.yaml as it stands, but for the numbers."""
    (limiter,) = yaml.safe_load((FOLDER / "local-ratelimit.yaml").read_text())
    bucket = limiter["typed_config"]["descriptors"][0]["token_bucket"]
    assert bucket["max_tokens"] == 60
    bucket.update(max_tokens=3, tokens_per_fill=3, fill_interval="3600s")

    def behind_portcullis(bootstrap):
        names = [f["name"] for f in bootstrap.hcm["http_filters"]]
        bootstrap.hcm["http_filters"].insert(names.index("portcullis") + 1, limiter)

    stack, keys = started(pile, tmp_path_factory, edit=behind_portcullis)
    one, _ = keys.create("--agent", "orders")
    two, two_id = keys.create("--agent", "orders")
    known(stack, two)
    # Under a borrowed name the limit is still one's own.
    statuses = [present(stack, one, headers=[("x-auth-key-id", two_id)]).status for _ in range(5)]
    assert statuses == [200, 200, 200, 429, 429]
    assert present(stack, two).status == 200


def test_envoys_global_limit_is_configured_right(pile, tmp_path_factory):
    """envoy/api-keys/global-ratelimit.yaml: Envoy takes it, and asks its service; while that is away nobody gets in."""
    pieces = yaml.safe_load((FOLDER / "global-ratelimit.yaml").read_text())

    def install(bootstrap):
        names = [f["name"] for f in bootstrap.hcm["http_filters"]]
        bootstrap.hcm["http_filters"][names.index("portcullis") + 1:1] = pieces["http_filters"]
        (host,) = bootstrap.hcm["route_config"]["virtual_hosts"]
        host["rate_limits"] = pieces["rate_limits"]
        bootstrap.doc["static_resources"]["clusters"] += pieces["clusters"]
        bootstrap.point("ratelimit", 1)

    stack, keys = started(pile, tmp_path_factory, edit=install)
    key, _ = keys.create("--agent", "orders")
    known(stack, key)
    assert present(stack, key).status == 500
    assert stack.envoy.stats(r"ratelimit.*\.error$"), "the service was not asked"


def cpu_seconds(pid):
    """What Envoy's busiest worker has used: unlike a clock this does not run faster on a busy machine."""
    used = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        if (task / "comm").read_text().startswith("wrk:"):
            fields = (task / "stat").read_text().rpartition(")")[2].split()
            used.append((int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK"))
    return max(used)


def test_a_hundred_thousand_keys_load_in_two_seconds(pile, tmp_path_factory):
    stack, keys = started(pile, tmp_path_factory)
    key, _ = keys.create("--agent", "orders", "--owner", "alice@example.com")
    in_force = "is in force, loaded in"
    eventually(lambda: present(stack, key).status == 200, "the key", 10)
    before, lines = cpu_seconds(stack.envoy.pid), stack.envoy.log().count(in_force)
    ends = int(time.time()) + 86400
    keys.put(*[
        {"id": f"{n:012}", "hash": "sha256:" + "5a" * 32, "scope": {"agent": f"agent-{n % 1000}"}, "name": f"key {n}",
         "owner": f"user-{n % 5000}@example.com", "created_at": ends - 86400, "expires_at": ends,
         "rate_limit": {"requests": 600, "per": "1m", "burst": 60}}
        for n in range(100_000)
    ])
    # The canary, the main thread, the worker.
    eventually(lambda: stack.envoy.log().count(in_force) >= lines + 3, "the keys", 120, 0.5)
    used = cpu_seconds(stack.envoy.pid) - before
    assert used < 2.0, used
    last = forged("000000099999")
    event = stack.denied(stack.request("GET", "/rest/orders", [("x-api-key", last)], timeout=60), 401, "rejected", "wrong_key")
    assert event["fields"]["key_id"] == "000000099999"
    stack.allowed(present(stack, key), user_id="alice@example.com")
