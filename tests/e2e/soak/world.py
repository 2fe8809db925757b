"""What stands around the proxy in a soak, and what is true of it at each moment."""

import copy
import hashlib
import threading
import time

from harness.agents import FastAgent
from harness.issuer import Issuer
from harness.reload import Policies, ReloadBootstrap
from harness.server import LoopbackServer, QuietHandler
from harness.stack import Stack, plugin
from harness.sts import ALICE, Sts
from harness.tokens import Key
from harness.verifier import Verifier
from test_api_keys import forged

# The first request after a change is judged by the new policy; this is what a busy machine may take until there is one.
IN_FORCE_SECONDS = 2.0
# The longest backoff of a question (`src/lookup.rs`), and the time that one may take.
RECOVERY_SECONDS = 10.0 + 2.0
CALLOUT_SECONDS = 1.0


def api_key(key_id, letter):
    """A key whose digest is in the policy."""
    return forged(key_id, letter)


class WatchfulAgent(LoopbackServer):
    """Answers 200. `on_hostile` is called for any request that its sender marked as one that must not arrive, `on_mistaken` for one
    that arrived under another name than its sender's."""

    class handler(QuietHandler):
        def _answer(self):
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            agent = self.server.owner
            if self.headers.get("x-soak-kind") != "good":
                agent.on_hostile(self.headers.get("x-soak-kind"), self.path)
            elif self.headers.get_all("x-auth-user-id") != [self.headers.get("x-soak-expect")] or self.headers.get("authorization"):
                agent.on_mistaken(self.headers.get("x-soak-expect"), self.headers.get_all("x-auth-user-id"))
            agent.arrived += 1
            self.answer(200, body or b"done")

        do_GET = do_POST = do_PUT = _answer

    def __init__(self, on_hostile, on_mistaken):
        self.on_hostile, self.on_mistaken, self.arrived = on_hostile, on_mistaken, 0
        super().__init__()


class History:
    """When something was so: [(from, to)], the last one open."""

    def __init__(self):
        self._spans, self._lock = [], threading.Lock()

    def begin(self):
        with self._lock:
            self._spans.append([time.monotonic(), None])

    def end(self):
        with self._lock:
            self._spans[-1][1] = time.monotonic()

    def touches(self, since, until):
        """Whether it was so at any moment between the two."""
        with self._lock:
            return any(a <= until and (b is None or b >= since) for a, b in self._spans)

    def covers(self, since, until):
        """Whether it was so all the time between the two."""
        with self._lock:
            return any(a <= since and (b is None or b >= until) for a, b in self._spans)


class PatientIssuer(Issuer):
    """Signs with the newest key that has been fetched twice: each worker looks once a second for what another one has fetched."""

    def __init__(self, *args, **kwargs):
        self._fetched = {}
        super().__init__(*args, **kwargs)

    def jwks(self):
        if self.fault is None:
            for key in self.keys:
                self._fetched.setdefault(key.kid, []).append(time.monotonic())
        return super().jwks()

    def signing_key(self):
        now = time.monotonic()
        known = [k for k in self.keys if len(at := self._fetched.get(k.kid, [])) > 1 and now - at[1] > 3]
        return known[-1] if known else self.keys[0]

    def settled(self):
        """Whether nobody holds a token of an older key any more."""
        at = self._fetched.get(self.keys[-1].kid, [])
        return len(at) > 1 and time.monotonic() - at[1] > 30


class World:
    """Everything that is needed, started; `close` ends it."""

    KEYS = {"orders": ("000000000001", "A"), "fraud": ("000000000002", "B")}

    def __init__(self, folder, violation):
        self.one = PatientIssuer("https://one.test", [Key("one-0")])
        self.two = PatientIssuer("https://two.test", [Key("two-0", "ES256")])
        self.sts, self.verifier = Sts(), Verifier()
        self.peers = {"issuer one": self.one, "issuer two": self.two, "sts": self.sts, "verifier": self.verifier}
        self.broken = {name: History() for name in self.peers}
        self.carol_denied = History()
        self.agent = WatchfulAgent(
            lambda kind, path: violation(f"a hostile request reached the agent: {kind} {path}"),
            lambda expected, got: violation(f"{expected} arrived as {got}"))
        (folder / "fast").mkdir()
        self.fast = FastAgent(folder / "fast")
        self.policy = self._policy()
        (folder / "policy").mkdir()
        (folder / "envoy").mkdir()
        bootstrap = ReloadBootstrap(folder / "policy")
        self.stack = Stack(folder / "envoy", self.policy, bootstrap=bootstrap, issuers=[self.one, self.two], concurrency=2,
                           edit=self._route)
        self.policies = Policies(bootstrap)

    def _policy(self):
        records = [
            {"id": i, "hash": "sha256:" + hashlib.sha256(api_key(i, letter).encode()).hexdigest(), "scope": {"agent": agent},
             "name": agent, "owner": f"owner-of-{agent}", "expires_at": "never"}
            for agent, (i, letter) in self.KEYS.items()
        ]
        return plugin(
            self.one.provider(name="one", allowed_subjects=["agent-*", "carol"], jwks_cache_ttl="5s"),
            self.two.provider(name="two", jwks_cache_ttl="7s", allowed_subjects=["*"]),
            {"type": "aws_sigv4", "name": "aws", "settings": {
                "region": "eu-west-1", "allowed_principals": [ALICE.arn], "identity_cache_ttl": "20s"}},
            {"type": "api_key", "name": "keys", "settings": {"keys": records}},
            {**self.verifier.provider(cache_ttl="2s", timeout="1s"), "name": "verifier"},
            callouts={"upstreams": {self.sts.host: "sts", "verify.test": "verifier"}, "timeout": f"{CALLOUT_SECONDS:.0f}s"},
            limits={"unknown_kid_interval": "1s", "key_failures": 1_000_000}, skip=["GET /healthz"])

    def _route(self, bootstrap):
        bootstrap.point("agents", self.agent.port)
        for name, server in (("sts", self.sts), ("verifier", self.verifier), ("fast", self.fast)):
            bootstrap.point(name, server.port)
        (host,) = bootstrap.hcm["route_config"]["virtual_hosts"]
        host["routes"].insert(0, {"match": {"prefix": "/rest/fast"}, "route": {"cluster": "fast"}})
        # Every request on a connection of its own thread, for as long as the soak runs.
        bootstrap.cluster("agents")["circuit_breakers"] = {"thresholds": [{"max_connections": 4096, "max_requests": 4096}]}

    def with_carol(self, allowed, mark):
        """The policy with or without carol, and something in it that makes it a new one."""
        changed = copy.deepcopy(self.policy)
        subjects = ["agent-*", f"mark-{mark}", *(["carol"] if allowed else [])]
        changed["auth"]["providers"][0]["settings"]["allowed_subjects"] = subjects
        return changed

    def close(self):
        for thing in (self.stack, self.fast, self.agent, *self.peers.values()):
            thing.close()
