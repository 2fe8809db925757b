"""What stands around the proxy in a soak, and what is true of it at each moment."""

import copy
import hashlib

from harness.agents import FastAgent
from harness.entra import API, APP, TENANT, Graph
from harness.reload import Policies, ReloadBootstrap
from harness.service import ENV, Api, KeyService, admin, follow
from harness.stack import Stack, plugin
from harness.sts import ALICE, Sts
from harness.tokens import Key
from harness.verifier import Verifier
from test_api_keys import forged
from test_gcp_iap import BACKEND
from test_github_actions import AUDIENCE
from test_sigv4 import SECRET, SHOWS_BODIES, provider as signatures

from .keyring import KeyRing
from .peers import Front, History, PatientIssuer, SteadyEntra, WatchfulAgent

# The first request after a change is judged by the new policy; this is what a busy machine may take until there is one.
IN_FORCE_SECONDS = 4.0
# The longest backoff of a question (`src/lookup.rs`), and the time that one may take.
RECOVERY_SECONDS = 10.0 + 2.0
CALLOUT_SECONDS = 1.0
WORKERS = 2
PROBE = "probe-7f31c4e2a9"


def api_key(key_id, letter):
    """A key whose digest is in the policy."""
    return forged(key_id, letter)


class World:
    """Everything that is needed, started; `close` ends it. The policy has every type of provider that there is."""

    KEYS = {"orders": ("000000000001", "A"), "fraud": ("000000000002", "B")}

    def __init__(self, folder, violation):
        self._open = []
        try:
            self._start(folder, violation)
        except BaseException:
            self.close()
            raise

    def _start(self, folder, violation):
        self.one = self._add(PatientIssuer("https://one.test", [Key("one-0")]))
        self.two = self._add(PatientIssuer("https://two.test", [Key("two-0", "ES256")]))
        self.github = self._add(PatientIssuer(
            "https://token.actions.githubusercontent.com", [Key("github-0")], aud=AUDIENCE,
            jwks_uri="https://token.actions.githubusercontent.com/.well-known/jwks"))
        self.iap = self._add(PatientIssuer(
            "https://cloud.google.com/iap", [Key("iap-0", "ES256")], aud=BACKEND, jwks_uri="https://www.gstatic.com/iap/verify/public_key-jwk"))
        self.entra, self.graph, self.sts, self.verifier = (self._add(made()) for made in (SteadyEntra, Graph, Sts, Verifier))
        self.service = self._add(KeyService(folder, folder / "keys.db"))
        api = Api(admin(self.service), self.service.url)
        api.post("/api/v1/agents", {"name": "orders", "owner": "alice@example.com", "workspace": "shop", "org": "example"})
        self.front = self._add(Front(self.service.port))
        # Those whose keys serve on while they are out, and those who have to be there.
        self.issuers = {"issuer one": self.one, "issuer two": self.two, "GitHub": self.github, "IAP": self.iap, "Entra": self.entra}
        self.asked = {"sts": self.sts, "verifier": self.verifier, "graph": self.graph, "feed": self.front}
        self.rotating = [self.one, self.two, self.github, self.iap]
        self.es256_keys = sum(key.alg == "ES256" for issuer in self.issuers.values() for key in issuer.keys)
        self.broken = {name: History() for name in (*self.issuers, *self.asked)}
        self.carol_denied = History()
        self.ring = KeyRing(api, self.broken["feed"], self.service.log)
        self.agent = self._add(WatchfulAgent(
            lambda kind, path: violation(f"a hostile request reached the agent: {kind} {path}"),
            lambda expected, got: violation(f"{expected} arrived as {got}")))
        for name in ("fast", "policy", "envoy"):
            (folder / name).mkdir()
        self.fast = self._add(FastAgent(folder / "fast"))
        feed, self._follow = follow(self.front)
        self.policy = self._policy({**feed, "max_staleness": "5m", "timeout": "3s"})
        bootstrap = ReloadBootstrap(folder / "policy")
        env = {ENV: self.service.fleet_token(), "AGENT_SECRET_KEY": SECRET}
        self.stack = self._add(Stack(
            folder / "envoy", self.policy, bootstrap=bootstrap, issuers=list(self.issuers.values()), concurrency=WORKERS, env=env,
            edit=self._route, wasm_config=SHOWS_BODIES))
        self.policies = Policies(bootstrap)

    def _add(self, thing):
        self._open.append(thing)
        return thing

    def _policy(self, feed):
        records = [
            {"id": i, "hash": "sha256:" + hashlib.sha256(api_key(i, letter).encode()).hexdigest(), "scope": {"agent": agent},
             "name": agent, "owner": f"owner-of-{agent}", "expires_at": "never"}
            for agent, (i, letter) in self.KEYS.items()
        ]
        return plugin(
            self.one.provider(name="one", allowed_subjects=["agent-*", "carol"], jwks_cache_ttl="5s"),
            self.two.provider(name="two", jwks_cache_ttl="7s", allowed_subjects=["*"]),
            {"type": "azure_ad", "name": "entra", "settings": {
                "audience": API, "tenant_id": TENANT, "allowed_apps": [APP], "groups_mode": "graph", "graph_timeout": "3s", "jwks_cache_ttl": "6s"}},
            {"type": "github_actions", "name": "github", "settings": {
                "audience": AUDIENCE, "allowed_repositories": ["octo-org/*"], "jwks_cache_ttl": "8s"}},
            {"type": "gcp_iap", "name": "iap", "settings": {"audience": BACKEND, "jwks_cache_ttl": "9s"}},
            {"type": "aws_sigv4", "name": "aws", "settings": {
                "region": "eu-west-1", "allowed_principals": [ALICE.arn], "identity_cache_ttl": "20s"}},
            {**signatures(), "name": "signatures"},
            {"type": "api_key", "name": "keys", "settings": {"keys": records, "feed": feed}},
            {"type": "static_token", "name": "probe", "settings": {"token": PROBE, "identity": {"user_id": "probe"}}},
            {**self.verifier.provider(cache_ttl="2s", timeout="1s"), "name": "verifier"},
            callouts={"upstreams": {self.sts.host: "sts", "verify.test": "verifier", self.graph.authority: "graph"},
                      "timeout": f"{CALLOUT_SECONDS:.0f}s"},
            # Caches so small that they are full in the first minute: with the defaults they fill for long, and a leak would not show.
            limits={"unknown_kid_interval": "1s", "key_failures": 1_000_000, "cached_tokens": 500, "lookups": 200, "failed_tokens": 200},
            skip=["GET /healthz"])

    def _route(self, bootstrap):
        bootstrap.point("agents", self.agent.port)
        for name, server in (("sts", self.sts), ("verifier", self.verifier), ("graph", self.graph), ("fast", self.fast)):
            bootstrap.point(name, server.port)
        self._follow(bootstrap)
        bootstrap.listener["per_connection_buffer_limit_bytes"] = 1 << 20
        bootstrap.wasm["vm_config"].setdefault("environment_variables", {}).setdefault("host_env_keys", []).append("AGENT_SECRET_KEY")
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
        for thing in reversed(self._open):
            thing.close()
