"""What happens when something around the filter breaks, as docs/operations.md says it: nobody gets in because of it, and no caller is
turned away who could be judged without it.

Every peer is a TLS server here, reached as the example's issuer is: with the authority's certificate and the host's own name.
"""

import copy
import itertools
import re
import threading
import time
from contextlib import contextmanager

import pytest

from harness.bootstrap import Bootstrap
from harness.certificates import Authority
from harness.clock import Clock
from harness.entra import API, APP, TENANT, Entra, Graph
from harness.feed import ENV, TOKEN, KeyFeed, assembled, record
from harness.stack import plugin
from harness.sts import ALICE, Sts
from harness.tokens import Key, tampered
from harness.verifier import Verifier
from harness.wait import eventually
from test_aws_sigv4 import presigned
from test_azure import OVERAGE
from test_jwks import FAILED, Pending, counter

RECOVERY = 40.0
BOB = "tok_bob_00000000"


class City:
    """Every provider that asks somebody, and all whom they ask."""

    def __init__(self, pile, folder):
        self.issuer = pile.issuer()
        self.sts, self.verifier, self.entra, self.graph, self.feed = (pile.add(made()) for made in (Sts, Verifier, Entra, Graph, KeyFeed))
        self.hosts = {
            "issuer": (self.issuer, self.issuer.authority), "sts": (self.sts, self.sts.host),
            "verifier": (self.verifier, "verify.test"), "entra": (self.entra, self.entra.authority),
            "graph": (self.graph, self.graph.authority), "feed": (self.feed, "keys.test")}
        self.authority, self.other = Authority(folder), Authority(folder, "other")
        self._numbers = itertools.count()
        config = plugin(
            self.issuer.provider(name="fleet", jwks_cache_ttl="2s", allowed_subjects=["agent-*"]),
            {"type": "aws_sigv4", "name": "aws", "settings": {
                "region": "eu-west-1", "allowed_principals": [ALICE.arn], "identity_cache_ttl": "10m"}},
            {"type": "azure_ad", "name": "entra", "settings": {
                "audience": API, "tenant_id": TENANT, "allowed_apps": [APP], "groups_mode": "graph", "graph_timeout": "1s"}},
            {"type": "api_key", "name": "keys", "settings": {"feed": self.feed.settings(max_staleness="5m", timeout="1s")}},
            {**self.verifier.provider(cache_ttl="10m", timeout="1s"), "name": "verifier"},
            callouts={"upstreams": {host: name for name, (_, host) in self.hosts.items()}, "timeout": "1s"},
            limits={"unknown_kid_interval": "1s", "key_failures": 100_000})
        self.stack = pile.stack(config, edit=self._tls, env={ENV: TOKEN})
        self.people(BOB)
        # What is known before anything breaks: a set of keys, an identity, a decision, an API key.
        self.known = {"issuer": self.issuer.token(ttl=3000), "sts": presigned(ALICE, expires=900), "verifier": BOB, "feed": self.key()}
        for token in self.known.values():
            eventually(lambda: self.stack.request(token=token).status == 200, "everybody to be let in", RECOVERY)

    def _tls(self, bootstrap):
        bootstrap.wasm["vm_config"]["environment_variables"]["host_env_keys"].append(ENV)
        for name, (server, host) in self.hosts.items():
            self.mend(name)
            bootstrap.point(name, server.port)
            cluster = bootstrap.cluster(name)
            cluster["transport_socket"] = copy.deepcopy(Bootstrap().cluster("issuer")["transport_socket"])
            tls = cluster["transport_socket"]["typed_config"]
            tls["sni"] = host
            validation = tls["common_tls_context"]["validation_context"]
            validation["trusted_ca"]["filename"] = str(self.authority.path)
            validation["match_typed_subject_alt_names"][0]["matcher"]["exact"] = host

    def mend(self, name):
        server, host = self.hosts[name]
        server.fault = None
        server.speak_tls(self.authority.certificate(host))

    def people(self, token):
        self.verifier.people[token] = {"user_id": token}
        return token

    def key(self):
        """A new key in the service that the feed comes from."""
        return self.feed.create(f"{next(self._numbers):012}")

    @contextmanager
    def broken(self, name, how):
        server, host = self.hosts[name]
        self._log, self._untrusted = len(self.stack.envoy.log()), self._mistrust(name)
        if how == "down":
            server.stop()
        elif how == "a stranger's certificate":
            server.speak_tls(self.other.certificate(host))
        elif how == "another host's certificate":
            server.speak_tls(self.authority.certificate("else.test"))
        elif how == "an expired certificate":
            server.speak_tls(self.authority.certificate(host, days=-1))
        else:
            server.fault = how
        try:
            yield
        finally:
            self.mend(name)

    def _mistrust(self, name):
        return sum(self.stack.envoy.stats(rf"^cluster\.{name}\.ssl\.fail_verify").values())

    def operator_sees(self, name, how):
        """The line of the log, and the counter of Envoy's, that docs/operations.md speaks of."""
        words = SAID[how][name == "feed"]
        lines = re.compile(rf"(fetch for|question to|key feed) \S*{re.escape(self.hosts[name][1])}.*{words}")
        eventually(lambda: lines.search(self.stack.envoy.log()[self._log:]), lambda: f"{lines.pattern}: {self.stack.envoy.log()[self._log:]}")
        if "certificate" in how:
            eventually(lambda: self._mistrust(name) > self._untrusted, "Envoy to count the certificate")

    def ask(self, name):
        """A request that can't be judged without asking that one."""
        n = next(self._numbers)
        if name == "sts":
            return self.stack.request(token=presigned(ALICE, expires=60 + n % 800))
        if name == "verifier":
            return self.stack.request(token=self.people(f"tok_n{n:08}"))
        if name == "graph":
            return self.stack.request(token=self.entra.v2(**OVERAGE))
        key = Key(f"new-{n}", "ES256")
        self.issuer.keys = [self.issuer.keys[0], key]
        return self.stack.request(token=self.issuer.token(key))


@pytest.fixture(scope="module")
def city(shared, tmp_path_factory):
    return City(shared, tmp_path_factory.mktemp("certificates"))


# What breaks: (what the log says of it, and of the feed of keys where that is other).
SAID = {
    "down": ("status 503",) * 2, "slow": ("status 504",) * 2, "hangup": ("status 503",) * 2, "500": ("status 500",) * 2,
    "html": ("the answer is not usable", "not JSON"), "10 MB": ("TooLarge", "longer than"),
    **dict.fromkeys(["a stranger's certificate", "another host's certificate", "an expired certificate"], ("status 503",) * 2),
}
BREAKS = list(SAID)


@pytest.mark.parametrize("how", BREAKS)
@pytest.mark.parametrize("name", ["sts", "verifier"])
def test_somebody_who_is_asked_about_a_credential(city, name, how):
    stack = city.stack
    eventually(lambda: city.ask(name).status == 200, "all to be well", RECOVERY)
    with city.broken(name, how):
        began = time.monotonic()
        response = city.ask(name)
        assert time.monotonic() - began < 8
        stack.denied(response, 503, "provider_unavailable", "lookup_unavailable", challenge=None)
        assert int(response.header("retry-after")) >= 1
        city.operator_sees(name, how)
        # Who is known is served on, and so is who has nothing to do with it.
        for token in city.known.values():
            stack.allowed(stack.request(token=token))
    eventually(lambda: city.ask(name).status == 200, "the proxy to recover", RECOVERY, 0.1)


@pytest.mark.parametrize("how", BREAKS)
def test_the_directory_of_groups(city, how):
    """It adds to an identity that is proven without it."""
    stack = city.stack
    eventually(lambda: "groups_missing" not in stack.allowed(city.ask("graph"))[1]["fields"], "all to be well", RECOVERY)
    with city.broken("graph", how):
        _, event = stack.allowed(city.ask("graph"), groups=None)
        assert event["fields"]["groups_missing"] == "unavailable"
        city.operator_sees("graph", how)
    eventually(lambda: "groups_missing" not in stack.allowed(city.ask("graph"))[1]["fields"], "the groups", RECOVERY, 0.1)


@pytest.mark.parametrize("how", BREAKS)
def test_an_issuer_whose_keys_are_known(city, how):
    stack = city.stack
    eventually(lambda: city.ask("issuer").status == 200, "all to be well", RECOVERY, 0.1)
    with city.broken("issuer", how):
        # A key that nobody has seen can't be judged, and its caller is told so and not called a forger.
        eventually(lambda: city.ask("issuer").status == 503, "the outage to be noticed", 15, 0.1)
        stack.denied(city.ask("issuer"), 503, "provider_unavailable", "keys_unavailable", challenge=None)
        assert counter(stack, FAILED)
        city.operator_sees("issuer", how)
        for token in (*city.known.values(), city.issuer.token()):
            stack.allowed(stack.request(token=token))
        stack.denied(stack.request(token=tampered(city.issuer.token())), 401, "invalid", "bad_signature")
        stack.denied(stack.request(token=city.issuer.token(ttl=-99)), 401, "rejected", "expired")
    eventually(lambda: city.ask("issuer").status == 200, "the proxy to recover", RECOVERY, 0.1)


@pytest.mark.parametrize("how", BREAKS)
def test_the_feed_of_keys(city, how):
    """What was heard before is in force, and what happens meanwhile takes effect when it is back."""
    stack, feed, kept, leaving = city.stack, city.feed, city.key(), city.key()
    eventually(lambda: {stack.request(token=key).status for key in (kept, leaving)} == {200}, "the keys", RECOVERY, 0.1)
    with city.broken("feed", how):
        before = counter(stack, "portcullis.feed.failed")
        eventually(lambda: counter(stack, "portcullis.feed.failed") > before, "the outage to be noticed", 15)
        city.operator_sees("feed", how)
        feed.revoke(leaving.split("_")[1])
        new = city.key()
        time.sleep(1.5)
        for key in (kept, leaving):
            stack.allowed(stack.request(token=key))
        stack.denied(stack.request(token=new), 401, "rejected", "unknown_key")
        for token in city.known.values():
            stack.allowed(stack.request(token=token))
    eventually(lambda: stack.request(token=new).status == 200, "the new key", RECOVERY, 0.1)
    stack.denied(stack.request(token=leaving), 401, "rejected", "key_revoked")
    stack.allowed(stack.request(token=kept))


def test_a_feed_that_changes_all_its_keys_at_once(city):
    """Another database, and then an empty one: it is the service's to say which keys there are."""
    stack, feed, old = city.stack, city.feed, city.known["feed"]
    other = assembled("otherservice")
    try:
        feed.restore("all-others", record(other))
        eventually(lambda: stack.request(token=other).status == 200, "the other keys", RECOVERY, 0.1)
        stack.denied(stack.request(token=old), 401, "rejected", "unknown_key")
        feed.restore("empty")
        eventually(lambda: stack.request(token=other).status == 401, "the keys to be gone", RECOVERY, 0.1)
        stack.denied(stack.request(token=other), 401, "rejected", "unknown_key")
    finally:
        feed.restore("as-before", record(old))
    eventually(lambda: stack.request(token=old).status == 200, "the old keys", RECOVERY, 0.1)


def test_everybody_flaps(city):
    """Up and down several times a second: each answer is the truth, or that it can't be had just now."""
    stack, end, statuses = city.stack, threading.Event(), {}
    servers = [city.issuer, city.sts, city.verifier, city.graph, city.feed]

    def flap():
        for how in itertools.cycle(["hangup", None, "500", None, "html", None]):
            for server in servers:
                server.fault = how
            if end.wait(0.15):
                break
        for server in servers:
            server.fault = None

    flapping = threading.Thread(target=flap, daemon=True)
    flapping.start()
    forged = presigned(ALICE, expires=59)[:-6] + "AAAAAA"
    began = time.monotonic()
    try:
        while time.monotonic() - began < 6:
            for token in city.known.values():
                assert stack.request(token=token).status == 200, "a caller who is known was turned away"
            for name in ("sts", "verifier", "issuer", "graph"):
                status = city.ask(name).status
                statuses.setdefault(name, []).append(status)
                # A key that is newer than the refetch of a moment ago is not looked for again so soon.
                others = {"graph": (), "issuer": (503, 401)}.get(name, (503,))
                assert status == 200 or status in others, (name, status)
            for token in (tampered(city.issuer.token()), forged, "tok_mallory"):
                assert stack.request(token=token).status in (401, 503)
    finally:
        end.set()
        flapping.join()
    new = city.key()
    eventually(lambda: stack.request(token=new).status == 200, "the feed to recover", RECOVERY, 0.1)
    for name in ("sts", "verifier", "issuer"):
        eventually(lambda: city.ask(name).status == 200, f"{name} to recover", RECOVERY, 0.1)


def test_an_issuer_that_changes_all_its_keys_at_once(city):
    stack, issuer = city.stack, city.issuer
    eventually(lambda: city.ask("issuer").status == 200, "all to be well", RECOVERY, 0.1)
    old = issuer.keys
    try:
        # Longer than `unknown_kid_interval` ago.
        time.sleep(1.1)
        issuer.keys = [Key("rotated-1"), Key("rotated-2", "ES256")]
        fetched = issuer.count()
        callers = [Pending(stack, token=issuer.token(issuer.keys[n % 2])) for n in range(16)]
        for caller in callers:
            stack.allowed(caller.response())
        assert issuer.count() - fetched <= 2, "more than one fetch for one rotation (and a refresh that was due)"
        stack.denied(stack.request(token=city.known["issuer"]), 401, "invalid", "unknown_kid")
        # It takes one of them away.
        gone = issuer.token(issuer.keys[1])
        issuer.keys = issuer.keys[:1]
        eventually(lambda: stack.request(token=gone).status == 401, "the key to be gone", 15, 0.1)
        stack.allowed(stack.request(token=issuer.token()))
    finally:
        issuer.keys = old
    eventually(lambda: stack.request(token=city.known["issuer"]).status == 200, "the old keys", RECOVERY, 0.1)


# Callers and agents


@pytest.mark.parametrize("name", ["sts", "verifier", "graph"])
def test_callers_that_leave_while_somebody_is_asked(city, name):
    stack = city.stack
    eventually(lambda: city.ask(name).status == 200, "all to be well", RECOVERY)
    seen = len(stack.upstream.seen)

    def cancelled():
        return sum(e["fields"].get("code") == "cancelled" for e in stack.envoy.audit_lines())

    before = cancelled()
    with city.broken(name, "slow"):
        make = {
            "sts": lambda n: presigned(ALICE, expires=30 + n), "verifier": lambda n: city.people(f"tok_gone{n}"),
            "graph": lambda n: city.entra.v2(**OVERAGE)}[name]
        tokens = [make(n) for n in range(20)]
        gone = [stack.connect() for _ in tokens]
        for connection, token in zip(gone, tokens):
            connection.send(b"POST /rest/orders HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\nAuthorization: Bearer " + token.encode() + b"\r\n\r\nhalf")
        active = "http.agents.downstream_rq_active"
        eventually(lambda: stack.envoy.stats(active).get(active) == 20, "the requests to be held")
        for connection in gone:
            connection.close()
        eventually(lambda: stack.envoy.stats(active).get(active) == 0, "all of them to be gone")
        eventually(lambda: cancelled() == before + 20, lambda: f"an event for each: {cancelled() - before}")
    assert len(stack.upstream.seen) == seen
    eventually(lambda: stack.envoy.stats("portcullis.waiting$").get("wasmcustom.portcullis.waiting") == 0, "nobody to be held any more")
    eventually(lambda: city.ask(name).status == 200, "the proxy to recover", RECOVERY, 0.1)


def test_an_agent_that_dies_while_a_request_is_held(city):
    """The caller was let in, and then there was nobody to go to: that is Envoy's to say, and it says 503 as well."""
    stack = city.stack
    eventually(lambda: city.ask("verifier").status == 200, "all to be well", RECOVERY)
    with city.broken("verifier", "slow"):
        city.verifier.slowness = 0.6
        held = Pending(stack, token=city.people("tok_held"))
        active = "http.agents.downstream_rq_active"
        eventually(lambda: stack.envoy.stats(active).get(active) == 1, "the request to be held")
        stack.upstream.stop()
        response = held.response()
        city.verifier.slowness = 2.0
    assert response.status == 503
    assert stack.envoy.audit(response.header("x-request-id"))["event"] == "auth_verify"
    stack.upstream.start()
    stack.allowed(stack.request(token="tok_held"))


def test_bodies_that_come_slowly(city):
    """A refusal does not wait for them, a request that is let in takes its time, and neither is in anybody's way."""
    stack, token = city.stack, city.known["issuer"]
    head = "POST /rest/orders HTTP/1.1\r\nHost: h\r\nContent-Length: 30\r\nAuthorization: Bearer "
    good, bad = ([stack.connect() for _ in range(30)] for _ in range(2))
    for connection in good:
        connection.send((head + token + "\r\n\r\n").encode())
    for connection in bad:
        connection.send((head + tampered(token) + "\r\n\r\n").encode())
    for connection in bad:
        assert connection.receive("POST").status == 401
    for part in (b"0123456789",) * 3:
        for connection in good:
            connection.send(part)
        for known in city.known.values():
            began = time.monotonic()
            stack.allowed(stack.request(token=known))
            assert time.monotonic() - began < 5
    for connection in good:
        response = connection.receive("POST")
        assert response.status == 200 and response.json()["body"] == "0123456789" * 3
    for connection in (*good, *bad):
        connection.close()


def test_header_floods(city):
    """Up to Envoy's own bounds (60 KiB, 100 fields) everything is read and judged; beyond them Envoy answers."""
    stack, token = city.stack, city.known["issuer"]
    before = stack.envoy.memory_kib()
    spoofed = [("x-auth-user-id", "root"), ("X-Auth-Groups", "admins"), ("x-auth-email", "a@b")] * 28
    filler = [(f"x-filler-{n}", "y" * 550) for n in range(80)]
    for _ in range(60):
        seen, _ = stack.allowed(stack.request(token=token, headers=spoofed), user_id="agent-planner", groups=None, email=None)
        assert seen.all("x-auth-user-id") == ["agent-planner"]
        stack.allowed(stack.request(token=token, headers=filler))
        stack.denied(stack.request(headers=filler), 401, "missing_token", "missing_token", challenge="bare")
        many = [("Authorization", f"Bearer {token}")] * 40
        assert stack.request(headers=many).status == 401
    for headers in ([("x-f", "y")] * 120, [("x-f", "y" * 9000)] * 8):
        assert stack.request(token=token, headers=headers).status == 431
    assert stack.envoy.memory_kib() < before * 1.1 + 4096


# Clocks


@pytest.fixture
def shifted(pile, tmp_path):
    """(clock, issuer, sts, stack): Envoy's own clock is the test's to set."""
    clock, issuer, sts = Clock(tmp_path), pile.issuer(), pile.add(Sts())
    config = plugin(
        issuer.provider(name="fleet", clock_skew="30s", jwks_cache_ttl="5m"),
        {"type": "aws_sigv4", "name": "aws", "settings": {"region": "eu-west-1", "allowed_principals": [ALICE.arn]}},
        callouts={"upstreams": {sts.host: "sts"}}, limits={"unknown_kid_interval": "2s"})
    stack = pile.stack(config, issuers=[issuer], edit=lambda b: b.point("sts", sts.port), env=clock.env)
    return clock, issuer, sts, stack


def test_clocks_that_differ(shifted):
    clock, issuer, sts, stack = shifted
    stack.allowed(stack.request(token=issuer.token()))
    stack.allowed(stack.request(token=presigned(ALICE)))
    # Within the leeway on both sides.
    for ahead in (25, -25):
        clock.shift(ahead)
        stack.allowed(stack.request(token=issuer.token(ttl=10, nbf=int(time.time()))))
        stack.allowed(stack.request(token=presigned(ALICE, expires=200 + ahead)))
    # The proxy's is ahead, then behind.
    clock.shift(120)
    stack.denied(stack.request(token=issuer.token(ttl=60)), 401, "rejected", "expired")
    stack.allowed(stack.request(token=issuer.token(ttl=300)))
    clock.shift(-120)
    stack.denied(stack.request(token=issuer.token(nbf=int(time.time()))), 401, "rejected", "not_yet_valid")
    # STS judges by its own clock; ours only bounds how old a signature may be, with five minutes' leeway.
    clock.shift(3600)
    stack.denied(stack.request(token=presigned(ALICE, expires=333)), 401, "rejected", "expired")
    clock.shift(0)
    stack.allowed(stack.request(token=presigned(ALICE, expires=333)))


def test_a_clock_that_is_set_back_by_a_day(pile, tmp_path):
    """It was ahead when the proxy started; then somebody mends it. Nothing waits until tomorrow."""
    clock, issuer = Clock(tmp_path), pile.issuer()
    clock.shift(86_400)
    stack = pile.stack(
        plugin(issuer.provider(name="fleet", jwks_cache_ttl="5m"), limits={"unknown_kid_interval": "30s"}), issuers=[issuer], env=clock.env)
    stack.denied(stack.request(token=issuer.token()), 401, "rejected", "expired")
    stack.allowed(stack.request(token=issuer.token(ttl=90_000)))
    # The interval of unknown keys began in the future as well.
    stack.denied(stack.request(token=issuer.token(Key("stranger"), ttl=90_000)), 401, "invalid", "unknown_kid")
    fetched = issuer.count()
    clock.shift(0)
    stack.allowed(stack.request(token=issuer.token()))
    eventually(lambda: issuer.count() > fetched, "the keys to be fetched anew", 10)
    new = Key("new", "ES256")
    issuer.keys = [*issuer.keys, new]
    eventually(lambda: stack.request(token=issuer.token(new)).status == 200, "the new key", 10, 0.1)

    def back_again():
        events = [e for e in stack.envoy.audit_lines() if e["event"] == "auth_verify"]
        return events[-1]["ts"] < events[0]["ts"]

    eventually(back_again, "an audit event at the clock's time")


