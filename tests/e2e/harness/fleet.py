"""A fleet of agents that call one another through one Envoy: a realistic audit log, and what really happened beside it.

One role, service account, application or key for each agent, as docs/auth/recipes/audit-log-mesh-observability.md recommends. Everything
that is sent is noted in `sent` with its expected outcome, so that an answer from the log can be compared with what was done and not with
another reading of the log.
"""

import base64
import http.client
import json
from dataclasses import dataclass, field

from botocore.auth import SigV4QueryAuth
from botocore.awsrequest import AWSRequest

from .apikeys import ApiKeysBootstrap
from .entra import API, APP, TENANT, Entra
from .issuer import Issuer
from .sts import Principal, Sts
from .tokens import tampered
from .wait import eventually

ACCOUNT = "111122223333"
GOOGLE = "https://accounts.google.com"
GITHUB = "https://token.actions.githubusercontent.com"
DOWN = "https://partner.example"
STRANGE_APP = "99999999-bbbb-3333-cccc-4444dddd5555"
THIEF = "127.0.0.66"


def role(number, name, account=ACCOUNT):
    """A session of a role; agents' roles are called agent-NAME."""
    arn = f"arn:aws:sts::{account}:assumed-role/{name}/{name}-7f3c"
    return Principal(f"ASIAFLEET{number:011d}", arn, f"IQoJ//session+{number}==")


PLANNER, ORDERS, FRAUD = role(1, "agent-planner"), role(2, "agent-orders"), role(3, "agent-fraud")
BATCH, STRANGER = role(4, "batch-etl"), role(5, "agent-planner", "999999999999")


@dataclass
class Sent:
    """One request and what has to be in its audit event. `caller` is None where nobody was proven."""

    caller: str | None
    agent: str
    status: int
    code: str = "ok"
    key_id: str | None = None
    remote: str = "127.0.0.1"
    path: str = ""
    provider: str = ""
    request_id: str = ""
    fields: dict = field(default_factory=dict)


class Fleet:
    """Plays the traffic when it is made; `clean` and `prefixed` are the two logs of it."""

    def __init__(self, pile, folder):
        self.sent = []
        sts = pile.add(Sts(principals=(PLANNER, ORDERS, FRAUD, BATCH, STRANGER)))
        google = pile.issuer(GOOGLE, jwks_uri="https://www.googleapis.com/oauth2/v3/certs")
        github = pile.issuer(GITHUB)
        entra = pile.add(Entra())
        gone = pile.issuer(DOWN, listening=False)
        bootstrap = ApiKeysBootstrap(folder)
        settings = bootstrap.plugin
        settings["auth"]["providers"] = [
            {"type": "aws_sigv4", "name": "fleet", "settings": {
                "region": sts.region, "audience": "agents.example.com", "require_audience": True,
                "allowed_accounts": [ACCOUNT], "allowed_principals": [f"arn:aws:iam::{ACCOUNT}:role/agent-*"]}},
            {"type": "oidc", "name": "google", "settings": {
                "issuer": GOOGLE, "audience": "api://agents", "allowed_subjects": ["*@agent-fleet-prod.iam.gserviceaccount.com"]}},
            {"type": "azure_ad", "settings": {"audience": API, "tenant_id": TENANT, "allowed_apps": [APP]}},
            {"type": "github_actions", "agents": ["orders"], "settings": {
                "audience": "api://agents", "allowed_repositories": ["example/*"], "allowed_refs": ["refs/heads/main"]}},
            {"type": "oidc", "name": "partner", "settings": {
                "issuer": DOWN, "audience": "api://agents", "allowed_subjects": "*"}},
            *settings["auth"]["providers"],
        ]
        settings["callouts"] = {"timeout": "2s", "upstreams": {sts.host: "sts"}}
        # Both at once: the access log's clean lines, and the same events behind the prefix of Envoy's own log.
        settings["audit"] = {"sinks": ["filter_state", "log"]}
        for name, peer, hosts in (
            ("google", google, ("accounts.google.com", "www.googleapis.com")), ("github", github, (github.authority,)),
            ("entra", entra, (entra.authority,)), ("partner", gone, ("partner.example",)),
        ):
            settings["callouts"]["upstreams"].update({host: name for host in hosts})
            bootstrap.point(name, peer.port)
            bootstrap.drop_tls(name)
        bootstrap.point("sts", sts.port)
        self.stack = pile.stack(bootstrap=bootstrap)
        self.keys = bootstrap.keys
        self._play(google, github, entra, gone)
        for sent in self.sent:
            self.stack.envoy.audit(sent.request_id)
        self.clean = self.stack.envoy.audit_path
        self.prefixed = self.stack.envoy.log_path
        eventually(lambda: self.prefixed.read_text().count('{"ts":"') >= len(self.clean.read_text().splitlines()), "the same events in Envoy's log")

    def _play(self, google, github, entra, gone):
        planner, orders, fraud = (self._aws(p) for p in (PLANNER, ORDERS, FRAUD))
        for principal, token, calls in ((PLANNER, planner, {"orders": 9, "fraud": 2}), (ORDERS, orders, {"payments": 6, "fraud": 4}),
                                        (FRAUD, fraud, {"reports": 3})):
            for agent, times in calls.items():
                for _ in range(times):
                    self.send(principal.arn, agent, token, provider="fleet")
        # A role that nobody put on the list, and the right role of somebody else's account.
        for _ in range(4):
            self.send(BATCH.arn, "orders", self._aws(BATCH), 401, "principal_not_allowed", provider="fleet")
        self.send(STRANGER.arn, "orders", self._aws(STRANGER), 401, "account_not_allowed", provider="fleet")
        reports = self._google(google, "agent-reports@agent-fleet-prod.iam.gserviceaccount.com", "103")
        for agent, times in {"payments": 2, "orders": 1}.items():
            for _ in range(times):
                self.send("103", agent, reports, provider="google")
        self._reports = reports
        other = self._google(google, "agent-reports@sandbox.iam.gserviceaccount.com", "104")
        for _ in range(2):
            self.send("104", "payments", other, 401, "subject_not_allowed", provider="google")
        # The incident: one agent's tokens are not renewed any more.
        stale = self._google(google, "agent-reports@agent-fleet-prod.iam.gserviceaccount.com", "103", ttl=-3600)
        for _ in range(12):
            self.send("103", "payments", stale, 401, "expired", provider="google")
        self.send(None, "payments", tampered(reports), 401, "bad_signature", provider="google")
        self.send("aaaaaaaa-0000-1111-2222-bbbbbbbbbbbb", "reports", entra.v2(), provider="azure_ad")
        for _ in range(2):
            self.send("aaaaaaaa-0000-1111-2222-bbbbbbbbbbbb", "reports", entra.v2(azp=STRANGE_APP), 401, "app_not_allowed", provider="azure_ad")
        job = {"repository": "example/shop", "repository_owner": "example", "repository_id": "74", "repository_owner_id": "65",
               "ref": "refs/heads/main", "event_name": "push", "run_id": "9871234", "actor": "octocat"}
        main = github.token(sub="repo:example/shop:ref:refs/heads/main", **job)
        self.send("repo:example/shop", "orders", main, provider="github_actions")
        self.send("repo:example/shop", "fraud", main, 403, "forbidden_agent", provider="github_actions")
        branch = github.token(sub="repo:example/shop:ref:refs/heads/try", **{**job, "ref": "refs/heads/try"})
        self.send("repo:example/shop", "orders", branch, 401, "ref_not_allowed", provider="github_actions")
        self.send(None, "orders", None, 401, "missing_token")
        self.send(None, "payments", "neither-this-nor-that", 401, "not_for_me")
        self.send(None, "fraud", gone.token(), 503, "keys_unavailable", provider="partner")
        self._play_keys()

    def _play_keys(self):
        nightly, self.leaked = self.keys.create("--workspace", "payments", "--owner", "alice@example.com", "--name", "nightly")
        ci, self.ci = self.keys.create("--agent", "orders", "--owner", "bob@example.com", "--name", "ci")
        _, self.unused = self.keys.create("--agent", "hr", "--owner", "carol@example.com", "--name", "forgotten")
        eventually(lambda: self._status("hr", {"x-api-key": ci}) == 403, "the keys to be in force", 15, 0.2)
        # The waiting above is no part of what was done.
        self.before_keys = len(self.stack.envoy.audit_lines())
        for _ in range(3):
            self.send("bob@example.com", "orders", ci, provider="keys", key=self.ci)
        self.send("bob@example.com", "fraud", ci, 403, "forbidden_agent", provider="keys", key=self.ci)
        for agent in ("orders", "orders", "fraud"):
            self.send("alice@example.com", agent, nightly, provider="keys", key=self.leaked)
        # Somebody else has it, looks around, and is cut off.
        for agent, path in (("fraud", "/export"), ("orders", "/export"), ("orders", "/customers")):
            self.send("alice@example.com", agent, nightly, provider="keys", key=self.leaked, remote=THIEF, path=path)
        self.send("alice@example.com", "hr", nightly, 403, "forbidden_agent", provider="keys", key=self.leaked, remote=THIEF)
        self.keys.run("revoke", self.leaked, "--reason", "leaked")
        eventually(lambda: self._status("orders", {"x-api-key": nightly}) == 401, "the revocation", 15, 0.2)
        for _ in range(2):
            self.send(None, "orders", nightly, 401, "key_revoked", provider="keys", key=self.leaked, remote=THIEF)

    def again(self):
        """One more that is let in, and one more that is refused."""
        self.send("103", "payments", self._reports, provider="google")
        self.send(None, "orders", None, 401, "missing_token")

    def send(self, caller, agent, token, status=200, code="ok", *, provider="none", key=None, remote="127.0.0.1", path=""):
        """One request; `key` is the id where `token` is an API key."""
        headers = {} if token is None else {"x-api-key": token} if key else {"authorization": f"Bearer {token}"}
        target = f"/rest/{agent}{path}"
        got, request_id = self._ask(target, headers, remote)
        assert got == status, (target, got, status, self.stack.envoy.audit(request_id))
        self.sent.append(Sent(caller, agent, status, code, key, remote, target, provider, request_id))

    def _ask(self, target, headers, remote):
        connection = http.client.HTTPConnection("127.0.0.1", self.stack.envoy.port, timeout=15, source_address=(remote, 0))
        try:
            connection.request("POST", target, headers={"host": "agents.test", **headers})
            answer = connection.getresponse()
            answer.read()
            return answer.status, answer.getheader("x-request-id")
        finally:
            connection.close()

    def _status(self, agent, headers):
        """For waiting; from an address of its own, so that it can be told from the rest."""
        return self._ask(f"/rest/{agent}/waiting", headers, "127.0.0.99")[0]

    @staticmethod
    def _aws(principal):
        url = "https://sts.eu-west-1.amazonaws.com/?Action=GetCallerIdentity&Version=2011-06-15"
        request = AWSRequest("GET", url, headers={"x-portcullis-audience": "agents.example.com"})
        SigV4QueryAuth(principal.credentials, "sts", "eu-west-1", expires=600).add_auth(request)
        return "forge-aws-v1." + base64.urlsafe_b64encode(request.url.encode()).decode().rstrip("=")

    @staticmethod
    def _google(google, email, sub, ttl=300):
        return google.token(sub=sub, email=email, email_verified=True, ttl=ttl)

    def events(self):
        """The clean log, read by nobody's query."""
        return [json.loads(line) for line in self.clean.read_text().splitlines()]


__all__ = ["ACCOUNT", "Fleet", "Issuer", "Sent", "THIEF"]
