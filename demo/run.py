#!/usr/bin/env python3
"""Real Envoy with Portcullis between real callers and a real agent.

    demo/run.py           shows what gets in and what does not, then stays up to be tried
    demo/run.py --once    shows it and ends; exit code 1 when anything is not as it says

The proxy's configuration is envoy/envoy.yaml; only ports, file paths, the issuer's URL and the proxy's own differ.
"""

import argparse
import base64
import json
import secrets
import signal
import socket
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests/e2e"))

from harness.bootstrap import Bootstrap  # noqa: E402
from harness.envoy import Envoy, EnvoyRefused  # noqa: E402
from harness.paths import ENVOY, NODE_PEERS, PROGRAM, WASM, require  # noqa: E402
from harness.process import NodePeer  # noqa: E402
from harness.service import ENV as FEED_TOKEN, Api, KeyService, admin, follow  # noqa: E402
from harness.wait import eventually  # noqa: E402
from show import Shell, Steps, Unexpected, bold, dim, say  # noqa: E402

# Who the issuer knows. An access token's `sub` is the client's id; envoy.yaml allows `agent-*`.
CLIENTS = {
    "agent-planner": {"secret": "planner-secret", "claims": {"email": "planner@example.com", "groups": ["fleet"]}},
    "intern-laptop": {"secret": "intern-secret", "claims": {}},
}
# What callers may ask a token for. envoy.yaml's audience is api://agents.
RESOURCES = {
    "api://agents": {"ttl": 600},
    "api://payroll": {"ttl": 600},
    "urn:demo:short-lived": {"audience": "api://agents", "ttl": 2},
}


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Demo:
    """The running parts, and what is shown with them."""

    def __init__(self, running, workdir):
        self.workdir = workdir
        self.shell = Shell(ROOT)
        self.steps = Steps()
        port, admin_port = free_port(), free_port()
        self.proxy = f"http://127.0.0.1:{port}"
        issuer_config = workdir / "issuer.json"
        # An MCP client asks for a token for the resource by its URL.
        resources = {**RESOURCES, self.proxy: RESOURCES["api://agents"] | {"audience": "api://agents"}}
        issuer_config.write_text(json.dumps({"clients": CLIENTS, "resources": resources}))
        self.issuer = running.enter_context(NodePeer("issuer.mjs", issuer_config, log=workdir / "issuer.log"))
        self.agent = running.enter_context(
            NodePeer("agent.mjs", "--agent", "orders", "--public-url", self.proxy, log=workdir / "agent.log"))

        bootstrap = Bootstrap()
        bootstrap.listen(port, admin_port)
        bootstrap.issuer(self.issuer.ready["issuer"])
        bootstrap.point("issuer", self.issuer.ready["port"])
        bootstrap.point("agents", self.agent.ready["port"])
        bootstrap.resource(self.proxy)
        self.smoke_token = secrets.token_hex(32)
        self.service = running.enter_context(
            KeyService(workdir, workdir / "keys.db", "--demo", "--agents-url", f"{self.proxy}/rest/{{agent}}"))
        feed, edit = follow(self.service)
        bootstrap.plugin["auth"]["providers"].append({"type": "api_key", "name": "keys", "settings": {"feed": feed}})
        edit(bootstrap)
        self.envoy = running.enter_context(Envoy(bootstrap, workdir, env={
            "AGENT_SMOKE_TOKEN": self.smoke_token, FEED_TOKEN: self.service.fleet_token()}))
        # Whoever reads along can paste $AGENT_SMOKE_TOKEN without seeing it in the log.
        self.smoke_token_file = workdir / "smoke-token"
        self.smoke_token_file.touch(0o600)
        self.smoke_token_file.write_text(self.smoke_token)

    # What the lines are made of

    def mint(self, client, resource="api://agents"):
        return (
            f"curl -sS -u {client}:{CLIENTS[client]['secret']} -d grant_type=client_credentials -d resource={resource} "
            f"{self.issuer.ready['token_endpoint']} | sed 's/.*\"access_token\":\"\\([^\"]*\\)\".*/\\1/'"
        )

    def call(self, *headers, agent="orders"):
        fields = "".join(f" -H {h}" for h in ("'content-type: application/json'", *headers))
        return f"curl -sSi{fields} -d @demo/message.json {self.proxy}/rest/{agent}"

    # What is checked

    def audited(self, answer):
        """The request's audit event, printed as the line it is in the access log."""
        line = self.envoy.audit_line(answer.headers["x-request-id"])
        say()
        say(dim("audit ") + line, 3)
        say()
        return json.loads(line)

    def refused(self, answer, status, reason, code, challenge):
        event = self.audited(answer)
        check = self.steps.check
        check(f"{status}", answer.status == status)
        if challenge is None:
            check("no challenge: another token would not help", "www-authenticate" not in answer.headers)
        else:
            got = answer.headers.get("www-authenticate", "")
            bare = got.startswith("Bearer") and "error=" not in got
            check(f"WWW-Authenticate: {challenge}", bare if challenge == "Bearer" else 'error="invalid_token"' in got)
        fields = event["fields"]
        check(f"audit says auth_fail, {reason}, {code}",
              (event["event"], fields.get("reason"), fields.get("code")) == ("auth_fail", reason, code))

    def accepted(self, answer, caller):
        event = self.audited(answer)
        message = json.loads(answer.body).get("result", {}) if answer.status == 200 else {}
        check = self.steps.check
        check("200, answered by the agent", answer.status == 200 and message.get("kind") == "message")
        metadata = message.get("metadata", {})
        check(f"the agent heard that {caller} is calling", metadata.get("caller") == caller)
        check("the agent did not get the caller's credential", metadata.get("authorization_seen") is False)
        check(f"audit says auth_verify, {caller}",
              (event["event"], event["fields"].get("user_id")) == ("auth_verify", caller))

    # The show

    def run(self):
        for step in (self.public, self.no_token, self.valid, self.wrong_audience, self.wrong_subject,
                     self.spoofed, self.other_agent, self.expired, self.mcp, self.key_service, self.metrics):
            step()

    def public(self):
        self.steps.begin("A public path needs no token and leaves no audit line")
        answer = self.shell.curl(f"curl -sSi {self.proxy}/.well-known/agent-card.json")
        say()
        card = json.loads(answer.body) if answer.status == 200 else {}
        self.steps.check("200, the agent's card", card.get("name") == "The orders agent")
        self.open_request = answer.headers.get("x-request-id")

    def no_token(self):
        self.steps.begin("No token: refused, with a bare challenge")
        self.refused(self.shell.curl(self.call()), 401, "missing_token", "missing_token", "Bearer")
        # This request came after the public one, and its event is there; the other's would be too.
        ids = [e["correlation_id"] for e in self.envoy.audit_lines()]
        self.steps.check("and still no audit line for the public path", self.open_request not in ids)

    def valid(self):
        self.steps.begin("A token from the issuer: the agent answers")
        self.shell.let("TOKEN", self.mint("agent-planner"))
        self.claims("TOKEN")
        self.accepted(self.shell.curl(self.call('"Authorization: Bearer $TOKEN"')), "agent-planner")

    def wrong_audience(self):
        self.steps.begin("A genuine token that was made for another service")
        self.shell.let("PAYROLL", self.mint("agent-planner", "api://payroll"))
        self.claims("PAYROLL")
        answer = self.shell.curl(self.call('"Authorization: Bearer $PAYROLL"'))
        self.refused(answer, 401, "rejected", "audience_mismatch", "Bearer error=\"invalid_token\"")

    def wrong_subject(self):
        self.steps.begin("A genuine token of somebody who is not in allowed_subjects")
        self.shell.let("INTERN", self.mint("intern-laptop"))
        self.claims("INTERN")
        answer = self.shell.curl(self.call('"Authorization: Bearer $INTERN"'))
        self.refused(answer, 401, "rejected", "subject_not_allowed", "Bearer error=\"invalid_token\"")

    def spoofed(self):
        self.steps.begin("A caller that names itself admin: the header does not reach the agent")
        answer = self.shell.curl(self.call('"Authorization: Bearer $TOKEN"', "'x-auth-user-id: admin'"))
        self.accepted(answer, "agent-planner")

    def other_agent(self):
        self.steps.begin("A token that is good for one agent, used for another")
        self.shell.print_line(f"SMOKE=$(cat {self.smoke_token_file})")
        self.shell.variables["SMOKE"] = self.smoke_token
        self.accepted(self.shell.curl(self.call('"Authorization: Bearer $SMOKE"')), "smoke-test")
        say()
        answer = self.shell.curl(self.call('"Authorization: Bearer $SMOKE"', agent="fraud"))
        self.refused(answer, 403, "forbidden_agent", "forbidden_agent", None)

    def expired(self):
        self.steps.begin("A token that lasts two seconds: accepted, and refused once it has expired")
        self.shell.let("BRIEF", self.mint("agent-planner", "urn:demo:short-lived"))
        self.claims("BRIEF")
        line = self.call('"Authorization: Bearer $BRIEF"')
        self.accepted(self.shell.curl(line), "agent-planner")
        say()
        say("… until two seconds and the five of clock_skew are over …", 3)
        eventually(lambda: self.shell.curl(line, quiet=True).status == 401, "the token to expire", 30, 0.5)
        self.refused(self.shell.curl(line), 401, "rejected", "expired", "Bearer error=\"invalid_token\"")

    def mcp(self):
        self.steps.begin("An MCP client that knows a URL: the 401 tells it the rest (RFC 9728)")
        self.shell.curl(f"curl -sSi {self.proxy}/.well-known/oauth-protected-resource")
        say()
        line = (f"node tests/e2e/node/mcp_client.mjs {self.proxy}/rest/orders/mcp"
                f" --client agent-planner --secret {CLIENTS['agent-planner']['secret']}")
        self.shell.print_line(line)
        report = json.loads(self.shell.run(line))
        for request in report["requests"]:
            say(dim(request), 3)
        say(report["text"], 3)
        say()
        check, requests = self.steps.check, report["requests"]
        check("first it was refused", requests[0] == f"POST {self.proxy}/rest/orders/mcp 401")
        check("then it read the proxy's metadata", requests[1] == f"GET {self.proxy}/.well-known/oauth-protected-resource 200")
        check("and asked the issuer named there for a token", f"POST {self.issuer.ready['token_endpoint']} 200" in requests)
        check("the MCP server heard that agent-planner is calling", report["text"] == "Hello agent-planner, this is orders.")

    def key_service(self):
        self.steps.begin("A key from the key service: good within a second, and gone within a second")
        api = Api(admin(self.service), self.service.url)
        # The link is good once; whoever reads along gets one of their own.
        self.link = self.service.command("admin-link", "--person", "demo@example.com")
        api.call("PUT", "/api/v1/people/demo@example.com", {"admin": True})
        self.shell.variables["API_TOKEN"] = api.token
        say(dim("$API_TOKEN is an API token of the service's first admin"), 3)
        call = f"curl -sS -H \"Authorization: Bearer $API_TOKEN\" -H 'content-type: application/json' {self.service.url}/api/v1/keys"
        create = f"""{call} -d '{{"scope":{{"agent":"orders"}},"name":"demo","expires":"1h"}}' | sed 's/.*"key":"\\([^"]*\\)".*/\\1/'"""
        key = self.shell.let("KEY", create)
        line = self.call('"X-Api-Key: $KEY"')
        eventually(lambda: self.shell.curl(line, quiet=True).status == 200, "the key to be known", 10, 0.1)
        self.accepted(self.shell.curl(line), api.get("/api/v1/me")["person"])
        say()
        revoke = f"{call}/{key.split('_')[1]}/revoke -d '{{\"reason\":\"shown\"}}' -o /dev/null"
        self.shell.print_line(revoke)
        self.shell.run(revoke)
        eventually(lambda: self.shell.curl(line, quiet=True).status == 401, "the key to be revoked", 10, 0.1)
        self.refused(self.shell.curl(line), 401, "rejected", "key_revoked", "Bearer error=\"invalid_token\"")

    def metrics(self):
        self.steps.begin("What Envoy counted meanwhile")
        line = f"curl -sS '{self.metrics_url}'"
        self.shell.print_line(line)
        counted = self.shell.run(line)
        say(counted.strip(), 3)
        say()
        self.steps.check("the filter's metrics are there", "portcullis" in counted)
        self.steps.check("the filter never failed", not self.envoy.vm_failures())

    @property
    def metrics_url(self):
        return f"http://{self.envoy.admin}/stats?filter=portcullis&usedonly"

    def claims(self, name):
        """What a token says; the token itself is nobody's business."""
        payload = self.shell.variables[name].split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        shown = {k: claims[k] for k in ("iss", "sub", "aud", "iat", "exp") if k in claims}
        say(dim("claims ") + json.dumps(shown), 3)
        say()

    # Before and after

    def introduce(self):
        say(bold("Portcullis"))
        say()
        for what, where in (
            ("proxy", f"{self.proxy}  Envoy with dist/portcullis.wasm; configuration: envoy/envoy.yaml"),
            ("issuer", f"{self.issuer.ready['issuer']}  npm oidc-provider"),
            ("agent", f"http://127.0.0.1:{self.agent.ready['port']}  npm @a2a-js/sdk and @modelcontextprotocol/sdk, behind the proxy"),
            ("keys", f"{self.service.url}  portcullis serve --demo: the key service and its page"),
            ("metrics", self.metrics_url),
            ("audit", str(self.envoy.audit_path)),
        ):
            say(f"{what:8} {where}", 2)

    def invite(self):
        say()
        say(bold("Everything stays up; try it from another terminal in this folder."))
        say()
        say("a fresh token, good for ten minutes:")
        say(f"TOKEN=$({self.mint('agent-planner')})", 3)
        say("a call to the agent:")
        say(self.call('"Authorization: Bearer $TOKEN"'), 3)
        say("the key service's page, by a link that is good once and makes you admin:")
        say(self.link, 3)
        say("who called whom, as it happens:")
        say(f"tail -f {self.envoy.audit_path}", 3)
        say()
        say("Ctrl-C ends it all.")


class Ended(BaseException):
    """SIGINT or SIGTERM arrived; raised where the program stands, so that every `with` is left in order."""


def end(_signal, _frame):
    # A second Ctrl-C must not interrupt the tidying up.
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, signal.SIG_IGN)
    raise Ended


def main():
    parser = argparse.ArgumentParser(description="Real Envoy with Portcullis in front of a real agent.")
    parser.add_argument("--once", action="store_true", help="end after the steps instead of staying up")
    once = parser.parse_args().once
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, end)
    staying = False
    try:
        require(ENVOY, PROGRAM, WASM, NODE_PEERS / "node_modules")
        with ExitStack() as running:
            workdir = Path(running.enter_context(tempfile.TemporaryDirectory(prefix="portcullis-demo-")))
            demo = Demo(running, workdir)
            demo.introduce()
            demo.run()
            say()
            if demo.steps.failed:
                say(f"{demo.steps.failed} of the claims above did not hold.")
                return 1
            say(f"All {demo.steps.number} steps went as they should.")
            if not once:
                staying = True
                demo.invite()
                while True:
                    signal.pause()
    except Ended:
        say()
        say("Ended." if staying else "Interrupted.")
        return 0 if staying else 130
    except EnvoyRefused as refused:
        print(f"Envoy did not start:\n{refused}", file=sys.stderr)
        return 1
    except (FileNotFoundError, Unexpected, AssertionError) as problem:
        print(f"demo: {problem}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
