"""A change of policy in a running Envoy: it is in force at once, nobody notices it whom it does not concern, and what is wrong
is refused."""

import copy
import hashlib
import queue
import time

import grpc
import pytest
from websockets.sync.client import connect as websocket

from harness.agents import EventAgent, FastAgent, GrpcAgent, WebSocketAgent
from harness.entra import API, APP, TENANT, Entra
from harness.issuer import Issuer
from harness.load import Load
from harness.reload import Policies, ReloadBootstrap, checked
from harness.stack import plugin
from harness.sts import ALICE, CI, Sts
from harness.tokens import Key
from harness.verifier import Verifier
from harness.wait import eventually
from harness.xds import GrpcXds, RestXds
from test_api_keys import forged
from test_aws_sigv4 import presigned
from test_config_refused import CASES
from test_jwks import Pending, counter

# The design's "well under a second"; `make bench` has the distribution.
IN_FORCE_SECONDS = 1.0
# What the servers are asked at in these tests. Envoy waits up to twice as long.
REST_DELAY = 0.2


def reloadable(pile, tmp_path_factory, config, *, server=None, edit=None, **kwargs):
    """(stack, policies) with the filter's configuration in a watched file or at a management server."""
    bootstrap = ReloadBootstrap(tmp_path_factory.mktemp("reload"), server)
    if isinstance(server, RestXds):
        (entry,) = [f for f in bootstrap.hcm["http_filters"] if f["name"] == "portcullis"]
        source = entry["config_discovery"]["config_source"]["api_config_source"]
        assert source["refresh_delay"] == "1s"
        source["refresh_delay"] = f"{REST_DELAY}s"
    stack = pile.stack(config, bootstrap=bootstrap, edit=edit, **kwargs)
    return stack, Policies(bootstrap)


def with_provider(config, name, **settings):
    """The configuration with other settings of one provider."""
    changed = copy.deepcopy(config)
    (provider,) = [p for p in changed["auth"]["providers"] if p.get("name") == name]
    provider["settings"].update(settings)
    return changed


def without_provider(config, name):
    changed = copy.deepcopy(config)
    changed["auth"]["providers"] = [p for p in changed["auth"]["providers"] if p.get("name") != name]
    return changed


# In force at once


class World:
    """One caller of each kind, a policy that lets them all in, and ways to make it tighter."""

    KEYS = {"000000000001": forged("000000000001", "A"), "000000000002": forged("000000000002", "B")}

    def __init__(self, pile, tmp_path_factory, server):
        self.issuer, self.entra, self.sts = pile.issuer(), pile.add(Entra()), pile.add(Sts())
        self.inline = Issuer("https://inline.test", [Key("one"), Key("two")], listening=False)
        pile.add(self.inline)
        records = [
            {"id": i, "hash": "sha256:" + hashlib.sha256(k.encode()).hexdigest(), "scope": {"agent": "orders"}, "name": "k",
             "owner": "alice@example.com", "expires_at": "never"}
            for i, k in self.KEYS.items()
        ]
        self.policy = plugin(
            self.issuer.provider(name="fleet", allowed_subjects=["agent-*"]),
            {"type": "azure_ad", "name": "entra", "settings": {"audience": API, "tenant_id": TENANT, "allowed_apps": [APP]}},
            {"type": "aws_sigv4", "name": "aws", "settings": {
                "region": "eu-west-1", "allowed_principals": [ALICE.arn], "identity_cache_ttl": "10m"}},
            self.inline.provider(name="inline", jwks=self.inline.jwks(), allowed_subjects="*"),
            {"type": "api_key", "name": "keys", "settings": {"keys": records}},
            callouts={"upstreams": {self.sts.host: "sts"}}, limits={"key_failures": 100_000})
        self.stack, self.policies = reloadable(
            pile, tmp_path_factory, self.policy, server=server, issuers=[self.issuer, self.entra], concurrency=2,
            edit=lambda b: b.point("sts", self.sts.port))
        bearer = {
            "fleet": self.issuer.token(ttl=3000), "entra": self.entra.v2(), "aws": presigned(ALICE, expires=900),
            "inline": self.inline.token(ttl=3000), "key": self.KEYS["000000000001"],
        }
        self.headers = {name: [("Authorization", f"Bearer {token}")] for name, token in bearer.items()}

    def status(self, connection, who):
        return connection.request("GET", "/rest/orders", self.headers[who]).status

    def connections(self):
        """At least two on each worker."""
        made = []

        def spread():
            made.extend(self.stack.connect() for _ in range(4))
            for connection in made:
                connection.request("GET", "/rest/orders")
            per_worker = self.stack.envoy.stats(r"^listener\..*\.worker_[01]\.downstream_cx_active$")
            return len(per_worker) == 2 and min(per_worker.values()) >= 2

        eventually(spread, "connections to both workers")
        return made


# What is changed -> (whom it concerns, the new policy, how they are refused). Everybody else stays welcome.
TIGHTER = {
    "allowed_subjects": (
        "fleet", lambda w: with_provider(w.policy, "fleet", allowed_subjects=["other-*"]), (401, "rejected", "subject_not_allowed")),
    "allowed_apps": ("entra", lambda w: with_provider(w.policy, "entra", allowed_apps=[TENANT]), (401, "rejected", "app_not_allowed")),
    "allowed_principals": (
        "aws", lambda w: with_provider(w.policy, "aws", allowed_principals=[CI.arn]), (401, "rejected", "principal_not_allowed")),
    "audience": ("fleet", lambda w: with_provider(w.policy, "fleet", audience="api://else"), (401, "rejected", "audience_mismatch")),
    "a provider": ("inline", lambda w: without_provider(w.policy, "inline"), (401, "not_for_me", "not_for_me")),
    "a provider that fetches": ("fleet", lambda w: without_provider(w.policy, "fleet"), (401, "not_for_me", "not_for_me")),
    "an issuer's key": (
        "inline", lambda w: with_provider(w.policy, "inline", jwks={"keys": w.inline.jwks()["keys"][1:]}), (401, "invalid", "unknown_kid")),
    "an API key": (
        "key", lambda w: with_provider(w.policy, "keys", keys=w.policy["auth"]["providers"][4]["settings"]["keys"][1:]),
        (401, "rejected", "unknown_key")),
    "the agents": (
        "fleet", lambda w: {**w.policy, "auth": {**w.policy["auth"], "providers": [
            {**p, "agents": ["fraud"]} if p.get("name") == "fleet" else p for p in w.policy["auth"]["providers"]]}},
        (403, "forbidden_agent", "forbidden_agent")),
}


@pytest.fixture(scope="module", params=["file", "rest", "grpc"])
def world(request, shared, tmp_path_factory):
    servers = {"rest": RestXds, "grpc": GrpcXds}
    server = shared.add(servers[request.param]()) if request.param in servers else None
    return World(shared, tmp_path_factory, server)


@pytest.mark.parametrize("what", TIGHTER)
def test_the_first_request_after_a_change_is_judged_by_the_new_policy(world, what):
    who, tighter, (status, reason, code) = TIGHTER[what]
    stack, connections = world.stack, world.connections()
    everybody = [(c, name) for c in connections for name in world.headers]
    # All known, verified, asked about and remembered, on both workers; the loosening of the last test has arrived.
    eventually(
        lambda: all(world.status(c, name) == 200 for c, name in everybody),
        lambda: f"all to be let in: { {name: world.status(c, name) for c, name in everybody} }", 10)
    asked, verified = len(world.sts.calls), counter(stack, "portcullis.token_cache.miss")
    fetched = world.issuer.hits[:]
    new = tighter(world)
    published = world.policies.publish(new)
    # Each connection, and so each worker, goes over once and never back.
    open_ones, last_allowed = list(connections), 0
    while open_ones:
        for connection in list(open_ones):
            began = time.monotonic()
            answer = world.status(connection, who)
            assert answer in (200, status)
            if answer == 200:
                last_allowed = began - published
                assert last_allowed < IN_FORCE_SECONDS + 3 * REST_DELAY, "the old policy is still in force"
            else:
                open_ones.remove(connection)
    for connection in connections:
        assert [world.status(connection, who) for _ in range(3)] == [status] * 3
        others = [name for name in world.headers if name != who]
        assert [world.status(connection, name) for name in others] == [200] * len(others)
    challenge = "invalid_token" if status == 401 else None
    stack.denied(stack.request(headers=world.headers[who]), status, reason, code, challenge=challenge)
    # Nobody was asked again for that.
    assert len(world.sts.calls) == asked
    assert world.issuer.hits == fetched
    assert counter(stack, "portcullis.token_cache.miss") == verified
    world.policies.publish(world.policy)
    for connection in connections:
        eventually(lambda: world.status(connection, who) == 200, "the old policy to be back", 5)
        connection.close()
    assert world.issuer.hits == fetched, "a key set was fetched again because its provider was away for a moment"


# In flight


@pytest.fixture
def held(pile, tmp_path_factory):
    """(issuer, verifier, stack, policies, policy): the issuer's keys are held back, and so are the verifier's answers."""
    issuer, verifier = pile.issuer(), pile.add(Verifier())
    issuer.mode = verifier.mode = "hold"
    verifier.people["tok_alice_4f1d0c7e"] = {"user_id": "alice"}
    policy = plugin(
        issuer.provider(name="fleet", allowed_subjects=["agent-*"]), {**verifier.provider(timeout="20s"), "name": "verifier"},
        {"type": "static_token", "name": "probe", "settings": {"token": "probe-5f0e", "identity": {"user_id": "probe"}}},
        callouts={"upstreams": {"verify.test": "verifier"}, "timeout": "20s"})
    stack, policies = reloadable(
        pile, tmp_path_factory, policy, issuers=[issuer], edit=lambda b: b.point("verifier", verifier.port))
    return issuer, verifier, stack, policies, policy


def in_force(stack, policies, policy, mark):
    """Publishes, and waits until requests are judged by it: the probe's name is `mark` then."""
    changed = with_provider(policy, "probe", identity={"user_id": mark})
    policies.publish(changed)

    def judged():
        answer = stack.request(token="probe-5f0e")
        return answer.status == 200 and ["x-auth-user-id", mark] in answer.json()["headers"]

    eventually(judged, "the reload", 5)


def under_way(stack, count):
    active = "http.agents.downstream_rq_active"
    eventually(lambda: stack.envoy.stats(active).get(active) == count, lambda: f"{count} requests to be under way")


@pytest.mark.parametrize("how", ["tighter", "without the provider"])
def test_paused_requests_finish_under_their_own_policy(held, how):
    issuer, verifier, stack, policies, policy = held
    let_in = [Pending(stack, token=issuer.token()) for _ in range(4)] + [Pending(stack, token="tok_alice_4f1d0c7e")]
    refused = Pending(stack, token=issuer.token(sub="mallory"))
    under_way(stack, 6)
    eventually(lambda: verifier.asked, "the question")
    # Gauges are set once a second, the first time a second after the start.
    version = eventually(lambda: stack.envoy.stats("portcullis.config.version$"), "the gauge")
    if how == "tighter":
        in_force(stack, policies, with_provider(policy, "fleet", allowed_subjects=["mallory"]), "second")
    else:
        in_force(stack, policies, without_provider(without_provider(policy, "fleet"), "verifier"), "second")
    under_way(stack, 6)
    newcomers = []
    if how == "tighter":
        newcomers = [Pending(stack, token=issuer.token()), Pending(stack, token=issuer.token(sub="mallory"))]
        under_way(stack, 8)
    else:
        stack.denied(stack.request(token=issuer.token()), 401, "not_for_me", "not_for_me")
        stack.denied(stack.request(token="tok_alice_4f1d0c7e"), 401, "not_for_me", "not_for_me")
    issuer.gate.set()
    verifier.gate.set()
    events = [stack.allowed(p.response())[1] for p in let_in]
    events.append(stack.denied(refused.response(), 401, "rejected", "subject_not_allowed"))
    old = {e["fields"]["config_version"] for e in events}
    assert {int(v[:7], 16) for v in old} == set(version.values()), "not judged by the policy they came under"
    if newcomers:
        event = stack.denied(newcomers[0].response(), 401, "rejected", "subject_not_allowed")
        assert event["fields"]["config_version"] not in old
        stack.allowed(newcomers[1].response(), user_id="mallory")
    # Envoy's main thread has a VM too, and its part in fetching ends with the reload; then a worker does it once more.
    assert issuer.count() <= 2 and len(verifier.asked) == 1, "asked again because of the reload"


def test_a_reload_in_the_middle_of_a_fetch_is_no_outage(held):
    """A callout ends with the configuration that began it, and the issuer is not to blame for that."""
    issuer, _, stack, policies, policy = held
    eventually(lambda: issuer.count() == 1, "the fetch")
    in_force(stack, policies, policy, "second")
    pending = Pending(stack, token=issuer.token())
    eventually(lambda: issuer.count() == 2, lambda: f"the fetch to be begun again: {issuer.hits}", 5)
    issuer.gate.set()
    stack.allowed(pending.response())


@pytest.mark.parametrize("what", ["keys", "question"])
def test_who_waits_for_anothers_callout_does_not_end_with_that_one(held, what):
    """Under the old configuration somebody asks and leaves; under the new one somebody waits for that very answer."""
    issuer, verifier, stack, policies, policy = held
    token = issuer.token() if what == "keys" else "tok_alice_4f1d0c7e"
    asked = issuer.count if what == "keys" else lambda: len(verifier.asked)
    leaves = stack.connect()
    leaves.send(b"GET /rest/orders HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer " + token.encode() + b"\r\n\r\n")
    under_way(stack, 1)
    eventually(lambda: asked() == 1, "the callout")
    in_force(stack, policies, policy, "second")
    stays = Pending(stack, token=token)
    under_way(stack, 2)
    leaves.close()
    under_way(stack, 1)
    if what == "question":
        eventually(lambda: asked() == 2, "the question to be asked again", 5)
    issuer.gate.set()
    verifier.gate.set()
    stack.allowed(stays.response())


@pytest.fixture
def lines(pile, tmp_path_factory):
    """Agents that stay on the line, and a policy that lets the caller in."""
    issuer = pile.issuer()
    agents = pile.add(EventAgent()), pile.add(WebSocketAgent()), pile.add(GrpcAgent())

    def route(bootstrap):
        for name, agent in zip(("events", "websocket", "grpc"), agents):
            bootstrap.point(name, agent.port)
        bootstrap.cluster("grpc")["typed_extension_protocol_options"] = {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                "explicit_http_config": {"http2_protocol_options": {}}}}
        (host,) = bootstrap.hcm["route_config"]["virtual_hosts"]
        host["routes"] = [
            {"match": {"path": path}, "route": {"cluster": name, "timeout": "0s"}}
            for path, name in (("/events", "events"), ("/ws", "websocket"), (GrpcAgent.METHOD, "grpc"))
        ] + host["routes"]
        bootstrap.set_hcm(upgrade_configs=[{"upgrade_type": "websocket"}])

    policy = plugin(issuer.provider(name="fleet", allowed_subjects=["agent-*"]), agent={"fixed": "orders"})
    stack, policies = reloadable(pile, tmp_path_factory, policy, issuers=[issuer], edit=route)
    return issuer, agents, stack, policies, policy


def test_long_streams_go_on(lines):
    issuer, (events, _, _), stack, policies, policy = lines
    token = issuer.token()
    bearer = ("Authorization", f"Bearer {token}")
    stack.allowed(stack.request(token=token))
    listening = stack.connect()
    listening.send(f"GET /events HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n\r\n".encode())
    socket = websocket(f"ws://127.0.0.1:{stack.envoy.port}/ws", additional_headers=[bearer])
    channel = grpc.insecure_channel(f"127.0.0.1:{stack.envoy.port}")
    outbox = Outbox()
    chat = channel.stream_stream(GrpcAgent.METHOD)(outbox, metadata=[("authorization", f"Bearer {token}")])

    def all_alive(n):
        events.say()
        assert b"data: %d\n" % n in listening.read_until(b"data: %d\n" % n)
        socket.send(str(n))
        assert socket.recv(10) == str(n)
        outbox.put(str(n).encode())
        assert next(chat) == str(n).encode()

    all_alive(1)
    for n in range(2, 12):
        open_to_all = n % 2
        policies.publish(policy if open_to_all else with_provider(policy, "fleet", allowed_subjects=["nobody"]))
        status = 200 if open_to_all else 401
        eventually(lambda: stack.request(token=token).status == status, "the reload", 5)
        all_alive(n)
    # Closed to newcomers, while those who are in stay in.
    policies.publish(without_provider(with_another(policy), "fleet"))
    eventually(lambda: stack.request(token=token).status == 401, "the reload", 5)
    stack.denied(stack.request(target="/events", token=token), 401, "not_for_me", "not_for_me")
    all_alive(12)
    outbox.put(None)
    assert list(chat) == []
    assert chat.code() == grpc.StatusCode.OK
    channel.close()
    socket.close()
    listening.close()
    active = "http.agents.downstream_rq_active"
    eventually(lambda: stack.envoy.stats(active).get(active) == 0, "the streams to be gone")


class Outbox:
    """An iterator of messages that are put in from outside; None ends it."""

    def __init__(self):
        self._queue = queue.Queue()
        self.put = self._queue.put

    def __iter__(self):
        return iter(self._queue.get, None)

    def __next__(self):
        message = self._queue.get()
        if message is None:
            raise StopIteration
        return message


def with_another(policy):
    changed = copy.deepcopy(policy)
    changed["auth"]["providers"].append(
        {"type": "static_token", "name": "else", "settings": {"token": "probe-5f0e", "identity": {"user_id": "x"}}})
    return changed


def test_a_steady_load_does_not_notice_fifty_reloads(pile, tmp_path_factory, tmp_path):
    """2,000 requests a second. Where the machine can't do as many, h2load sends what it can, and none of them may fail either."""
    issuer = pile.issuer()
    agent = pile.add(FastAgent(tmp_path))
    policy = plugin(issuer.provider(name="fleet", allowed_subjects=["agent-*"]))
    stack, policies = reloadable(
        pile, tmp_path_factory, policy, issuers=[issuer], edit=lambda b: b.point("agents", agent.port))
    token = issuer.token()
    assert eventually(lambda: stack.request(token=token).status == 200, "the keys")
    common = {"target": "/rest/orders", "headers": [("authorization", f"Bearer {token}")]}
    rate = 2000
    loaded, reloads, reports, load = counter(stack, "portcullis.config.loaded"), 0, [], None
    while reloads < 50:
        if load is None or load.exit_code is not None:
            reports += [load.report()] if load else []
            load = Load(stack.envoy.port, tmp_path / "load.log", requests=rate * 8, rate=rate, **common)
        reloads += 1
        policies.publish(with_provider(policy, "fleet", allowed_subjects=["agent-*", f"also-{reloads}"]))
        # Each is loaded by the main thread and by the worker, and by a canary where there is one.
        want = loaded + 2 * reloads
        eventually(lambda: counter(stack, "portcullis.config.loaded") >= want, "the reload", 20, 0.05)
        time.sleep(0.2)
    reports.append(load.report())
    sent = sum(r.total for r in reports)
    print(f"\n{sent} requests, {', '.join(f'{r.rate:.0f}' for r in reports)} a second of {rate} asked for, {reloads} reloads")
    for report in reports:
        assert report.failed == 0 and report.done == report.total == report.by_class["2xx"], report
    assert issuer.count() == 1, "the key set was fetched again"
    assert counter(stack, "portcullis.token_cache.miss") == 1, "a verified token was forgotten"


def test_what_is_safe_to_keep_survives_a_hundred_reloads(pile, tmp_path_factory):
    """Key sets, verified tokens; test_key_limits.py has the buckets. And nothing piles up."""
    issuer = pile.issuer()
    policy = plugin(issuer.provider(name="fleet", allowed_subjects=["agent-*"]))
    stack, policies = reloadable(pile, tmp_path_factory, policy, issuers=[issuer])
    token = issuer.token(ttl=3000)
    stack.allowed(stack.request(token=token))
    connection = stack.connect()
    header = [("Authorization", f"Bearer {token}")]

    def reload(n):
        status = 200 if n % 2 else 401
        policies.publish(policy if n % 2 else with_provider(policy, "fleet", allowed_subjects=["nobody"]))
        eventually(lambda: connection.request("GET", "/rest/orders", header).status == status, "the reload", 5, 0.01)

    for n in range(20):
        reload(n)
    before = stack.envoy.memory_kib()
    for n in range(20, 100):
        reload(n)
    after = stack.envoy.memory_kib()
    print(f"\nresident: {before} KiB after 20 reloads, {after} KiB after 100")
    assert after < before * 1.1, f"{before} KiB after 20 reloads, {after} KiB after 100"
    assert issuer.count() == 1, "the key set was fetched again"
    assert counter(stack, "portcullis.token_cache.miss") == 1, "a verified token was forgotten"
    vms = stack.envoy.stats(r"^wasm\.envoy\.wasm\.runtime\.v8\.active$")
    assert list(vms.values()) == [3], f"VMs pile up: {vms}"


# Refused

TEXTS = {
    "not JSON": '{"auth": {',
    "twice": '{"auth":{"providers":[]},"auth":{}}',
    "empty": "",
}


@pytest.fixture(scope="module")
def steady(shared, tmp_path_factory):
    issuer = shared.issuer()
    policy = plugin(issuer.provider(name="fleet", allowed_subjects=["agent-*"]))
    stack, policies = reloadable(shared, tmp_path_factory, policy, issuers=[issuer])
    stack.allowed(stack.request(token=issuer.token()))
    return issuer, stack, policies, policy


@pytest.mark.parametrize("case", [*CASES, *TEXTS])
def test_a_refused_configuration_changes_nothing_and_says_why(steady, tmp_path, case):
    issuer, stack, policies, policy = steady
    bad = TEXTS[case] if case in TEXTS else copy.deepcopy(CASES[case][0])
    code, findings = checked(tmp_path, policies.resource(bad))
    assert code == 1, findings
    (report,) = findings
    said_before = [f"{f['path'] or 'configuration'}: {f['message']}" for f in report["errors"]]
    assert said_before, report
    log_length = len(stack.envoy.log())
    refused, loaded = (counter(stack, f"portcullis.config.{n}") for n in ("refused", "loaded"))
    version = stack.envoy.stats("portcullis.config.version$")
    rejected = "extension_config_discovery.http_filter.portcullis.update_rejected"
    before = stack.envoy.stats(rejected).get(rejected, 0)
    policies.publish(bad)
    eventually(lambda: stack.envoy.stats(rejected)[rejected] > before, "Envoy to refuse it", 10)
    assert counter(stack, "portcullis.config.refused") > refused
    log = stack.envoy.log()[log_length:]
    for line in said_before:
        assert f"configuration refused: {line}" in log, (line, log)
    assert counter(stack, "portcullis.config.loaded") == loaded
    assert stack.envoy.stats("portcullis.config.version$") == version
    stack.allowed(stack.request(token=issuer.token()))
    stack.denied(stack.request(token=issuer.token(sub="mallory")), 401, "rejected", "subject_not_allowed")


def test_after_a_refusal_the_next_good_one_is_taken(steady):
    issuer, stack, policies, policy = steady
    policies.publish("{")
    policies.publish(with_provider(policy, "fleet", allowed_subjects=["mallory"]))
    eventually(lambda: stack.request(token=issuer.token(sub="mallory")).status == 200, "the reload", 5)
    stack.denied(stack.request(token=issuer.token()), 401, "rejected", "subject_not_allowed")
    policies.publish(policy)
    eventually(lambda: stack.request(token=issuer.token()).status == 200, "the reload", 5)


def test_half_a_file_is_never_read(steady):
    """Whoever writes into the file in place of replacing it does not reload, and does no harm."""
    issuer, stack, policies, policy = steady
    loaded = counter(stack, "portcullis.config.loaded")
    path = policies.path
    whole = path.read_text()
    path.write_text(whole[: len(whole) // 2])
    time.sleep(0.5)
    stack.allowed(stack.request(token=issuer.token()))
    assert counter(stack, "portcullis.config.loaded") == loaded
    policies.publish(with_provider(policy, "fleet", allowed_subjects=["agent-*", "after"]))
    eventually(lambda: counter(stack, "portcullis.config.loaded") > loaded, "the reload", 5)


def test_nobody_gets_in_before_the_first_good_configuration(pile, tmp_path_factory):
    """A static configuration that is bad keeps Envoy from starting (test_config_refused.py). One that comes from elsewhere may be bad
    at the start and good later."""
    issuer = pile.issuer()
    policy = plugin(issuer.provider(name="fleet", allowed_subjects=["agent-*"]))

    def impatient(bootstrap):
        (entry,) = [f for f in bootstrap.hcm["http_filters"] if f["name"] == "portcullis"]
        entry["config_discovery"]["config_source"]["initial_fetch_timeout"] = "1s"
        bootstrap.good, bootstrap.plugin = bootstrap.plugin, {"auth": {"providers": []}}

    bootstrap = ReloadBootstrap(tmp_path_factory.mktemp("reload"))
    stack = pile.stack(policy, bootstrap=bootstrap, issuers=[issuer], edit=impatient)
    assert "auth.providers" in stack.envoy.log()
    for token in (None, issuer.token()):
        assert stack.request(token=token).status == 500
    assert stack.upstream.seen == []
    bootstrap.publish(bootstrap.good)
    eventually(lambda: stack.request(token=issuer.token()).status == 200, "the first good configuration", 60)
    stack.denied(stack.request(), 401, "missing_token", "missing_token", challenge="bare")
