"""Many callers who want to wear the filter out: what it costs the good ones, and what it costs in memory.

The sizes fit a test run; `make floods` runs the same with those of PORTCULLIS_FLOOD_SECONDS=60 and PORTCULLIS_TOKENS=1000000
(docs/operations.md has its figures).
"""

import base64
import json
import multiprocessing
import os
import re
import statistics
import threading
import time

import pytest

from harness.agents import FastAgent
from harness.http1 import Connection
from harness.paths import ROOT
from harness.process import Process
from harness.stack import plugin
from harness.tokens import Key, claims
from harness.wait import eventually
from test_jwks import counter

FLOOD_SECONDS = float(os.environ.get("PORTCULLIS_FLOOD_SECONDS", 12))
TOKENS = int(os.environ.get("PORTCULLIS_TOKENS", 20_000))
# 100,000 a minute, and what is lost at the start and the end.
RATE = 1667 * 1.05
LUA = ROOT / "tests/e2e/native/flood.lua"


class Flood(Process):
    """wrk plays a file of bearer tokens, one after the other, once. `rate` is about how many a second (None: flat out)."""

    # wrk pauses after each answer, which takes time as well: with many connections that is little beside the pause.
    CONNECTIONS = {"paced": 100, "flat out": 20}

    def __init__(self, port, tokens, workdir, *, seconds, rate=None):
        file = workdir / "tokens"
        file.write_text("\n".join(tokens) + "\n")
        connections = self.CONNECTIONS["paced" if rate else "flat out"]
        pause = 1000 * connections / rate if rate else 0
        super().__init__(
            ["wrk", "-t1", "-c", connections, "-d", f"{max(1, round(seconds))}s", "--timeout", "10s", "-s", LUA,
             f"http://127.0.0.1:{port}/rest/orders", "--", file, f"{pause:.3f}"],
            workdir / "wrk.log")

    def result(self, deadline):
        self.popen.wait(deadline)
        found = re.search(r"RESULT (\{.*\})", self.log())
        assert found, self.log()
        return json.loads(found[1])


class GoodCaller:
    """Calls about 40 times a second with one token; `latencies` in seconds, `statuses` of all answers."""

    def __init__(self, port, token):
        self.latencies, self.statuses = [], []
        self._end = threading.Event()
        self._port, self._header = port, [("Authorization", f"Bearer {token}")]
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self):
        with Connection(self._port) as connection:
            while not self._end.wait(0.025):
                began = time.monotonic()
                self.statuses.append(connection.request("GET", "/rest/orders", self._header).status)
                self.latencies.append(time.monotonic() - began)

    def stop(self):
        """(p50, p99) in milliseconds."""
        self._end.set()
        self._thread.join()
        assert set(self.statuses) == {200}, set(self.statuses)
        cuts = statistics.quantiles(self.latencies, n=100)
        return cuts[49] * 1000, cuts[98] * 1000


def part(value):
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def unknown_kids(issuer, count):
    """Tokens with a `kid` of their own each. Nobody gets as far as their signature."""
    payload = part(claims(issuer.url, issuer.aud))
    signature = base64.urlsafe_b64encode(os.urandom(256)).rstrip(b"=").decode()
    return [f"{part({'alg': 'RS256', 'kid': f'unknown-{n}'})}.{payload}.{signature}" for n in range(count)]


def test_a_hundred_thousand_unknown_keys_a_minute(pile, tmp_path):
    issuer, agent = pile.issuer(), pile.add(FastAgent(tmp_path))
    stack = pile.stack(plugin(issuer.provider()), issuers=[issuer], edit=lambda b: b.point("agents", agent.port))
    token = issuer.token(ttl=3000)
    eventually(lambda: stack.request(token=token).status == 200, "the keys")

    def flooded(tokens):
        caller = GoodCaller(stack.envoy.port, token)
        with Flood(stack.envoy.port, tokens, tmp_path, seconds=FLOOD_SECONDS, rate=RATE) as flood:
            result = flood.result(FLOOD_SECONDS + 60)
        return result, caller.stop()

    # The same number of requests that are refused without any look at keys, so that what is compared is the keys' part.
    count = round(FLOOD_SECONDS * RATE * 1.3)
    strangers = [issuer.token(iss="https://else.test")] * count
    flooded(strangers[:1000])  # the workers' memory grows to what connections need
    calm, (calm_p50, calm_p99) = flooded(strangers)
    fetched, memory = issuer.count(), stack.envoy.memory_kib()
    began = time.monotonic()
    result, (p50, p99) = flooded(unknown_kids(issuer, count))
    took = time.monotonic() - began
    fetches = issuer.count() - fetched
    print(f"\n{result['requests']} unknown kids in {took:.0f} s: {fetches} fetches; good callers p50 {p50:.1f} ms, p99 {p99:.1f} ms "
          f"(beside {calm['requests']} refusals that have nothing to do with keys: {calm_p50:.1f} ms, {calm_p99:.1f} ms)")
    refused = counter(stack, "portcullis.requests.oidc.deny.unknown_kid")
    # Not all that were sent: wrk hangs up on the last ones.
    assert refused >= result["requests"] > FLOOD_SECONDS * 300, (refused, result)
    assert 1 <= fetches <= 1 + took / 30, f"{fetches} fetches in {took:.0f} s"
    assert p99 < 3 * calm_p99 + 20, f"p99 {p99:.1f} ms under unknown keys, {calm_p99:.1f} ms under as many other refusals"
    assert stack.envoy.memory_kib() < memory * 1.1


def _minted(job):
    pem, kid, issuer, audience, count, seed = job
    from cryptography.hazmat.primitives import serialization

    key = serialization.load_pem_private_key(pem, None)
    header = part({"alg": "EdDSA", "kid": kid})
    base = claims(issuer, audience, ttl=3600, jti=None)
    tokens = []
    for n in range(count):
        signed = f"{header}.{part({**base, 'jti': f'{seed}-{n:07}', 'email': f'caller-{n:07}@example.com', 'groups': ['a', 'b', 'c']})}"
        signature = base64.urlsafe_b64encode(key.sign(signed.encode())).rstrip(b"=").decode()
        tokens.append(f"{signed}.{signature}")
    return tokens


def minted(issuer, count, seed):
    """So many tokens, each different, each genuine."""
    key = issuer.keys[0]
    workers = 2
    jobs = [(key.private_pem(), key.kid, issuer.url, issuer.aud, count // workers, f"{seed}-{w}") for w in range(workers)]
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        return [token for tokens in pool.map(_minted, jobs) for token in tokens]


@pytest.mark.timeout(1800)
def test_the_memory_of_many_distinct_tokens_is_bounded(pile, tmp_path):
    """Each is verified and remembered until the bound makes room. In CI bound and number are scaled down alike: the tokens are
    several times the bound in either case."""
    issuer, agent = pile.issuer(keys=[Key("ed", "EdDSA")]), pile.add(FastAgent(tmp_path))
    rounds = 5
    limit = TOKENS // rounds * 1024
    stack = pile.stack(
        plugin(issuer.provider(), audit={"sinks": []}, limits={"cached_token_bytes": limit, "cached_tokens": 10_000_000}), issuers=[issuer],
        edit=lambda b: b.point("agents", agent.port))
    token = issuer.token(ttl=3000)
    eventually(lambda: stack.request(token=token).status == 200, "the keys")
    before, sizes, entries, sent = stack.envoy.memory_kib(), [], [], 0
    for n in range(rounds):
        tokens = minted(issuer, TOKENS // rounds, n)
        missed = counter(stack, "portcullis.token_cache.miss")
        # Long enough for all of them, at a rate that any machine verifies.
        while (verified := counter(stack, "portcullis.token_cache.miss") - missed) < len(tokens) * 0.99:
            with Flood(stack.envoy.port, tokens[max(0, verified - 50):], tmp_path, seconds=min(60, 2 + len(tokens) / 2000)) as flood:
                result = flood.result(120)
            assert result["status_errors"] == 0, result
        sent += len(tokens)
        sizes.append(stack.envoy.memory_kib())
        # The worker sets the gauge every second.
        entries.append(eventually(lambda: counter(stack, "portcullis.token_cache.entries"), "the worker's gauge", 30, 0.1))
    grown = [size - before for size in sizes]
    print(f"\n{sent} distinct tokens, {limit / 1024 / 1024:.1f} MiB allowed: resident {before} KiB before, grown by "
          f"{grown} KiB; remembered {entries}")
    assert counter(stack, "portcullis.token_cache.miss") >= sent * 0.99
    # It remembers, up to the bound, and then forgets as much as it learns. An allocator's overhead is on top of what is counted.
    assert max(entries) < sent / 2
    assert max(grown) < 2 * limit / 1024 + 8192, "more than twice the configured bound"
    assert sizes[-1] < sizes[rounds // 2] * 1.1, "still growing when the bound had been reached long ago"
    assert stack.request(token=token).status == 200
