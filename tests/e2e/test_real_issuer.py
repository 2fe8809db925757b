"""Against a certified OpenID provider and an agent of the A2A SDK, over plain HTTP on loopback."""

import base64
import json
import urllib.parse
import urllib.request

import pytest

from harness.process import NodePeer
from harness.stack import plugin

CLIENTS = {"agent-planner": {"secret": "s3cret", "claims": {"email": "planner@example.com"}}}
RESOURCES = {f"urn:test:{alg}": {"audience": "api://agents", "alg": alg} for alg in ("RS256", "ES256", "EdDSA")}


@pytest.fixture(scope="module")
def provider(tmp_path_factory):
    folder = tmp_path_factory.mktemp("issuer")
    (folder / "config.json").write_text(json.dumps({"clients": CLIENTS, "resources": RESOURCES}))
    with NodePeer("issuer.mjs", folder / "config.json", log=folder / "issuer.log") as peer:
        yield peer.ready


@pytest.fixture(scope="module")
def agent(tmp_path_factory):
    with NodePeer("agent.mjs", "--agent", "orders", log=tmp_path_factory.mktemp("agent") / "agent.log") as peer:
        yield peer.ready


def mint(provider, resource, client="agent-planner"):
    request = urllib.request.Request(
        provider["token_endpoint"],
        urllib.parse.urlencode({"grant_type": "client_credentials", "resource": resource}).encode(),
        {"Authorization": "Basic " + base64.b64encode(f"{client}:{CLIENTS[client]['secret']}".encode()).decode()})
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.load(answer)["access_token"]


def config(provider, **settings):
    authority = provider["issuer"].removeprefix("http://")
    return plugin(
        {"type": "oidc", "settings": {"issuer": provider["issuer"], "audience": "api://agents", **settings}},
        callouts={"upstreams": {authority: "provider"}})


@pytest.fixture(scope="module")
def stack(shared, provider):
    return shared.stack(config(provider), edit=lambda b: b.point("provider", provider["port"]))


@pytest.mark.parametrize("resource", RESOURCES)
def test_access_tokens(stack, provider, resource):
    token = mint(provider, resource)
    assert json.loads(base64.urlsafe_b64decode(token.split(".")[0] + "=="))["typ"] == "at+jwt"
    stack.allowed(stack.request(token=token), user_id="agent-planner", email="planner@example.com")


def test_the_agent_learns_who_calls(shared, provider, agent):
    stack = shared.stack(
        config(provider), edit=lambda b: (b.point("provider", provider["port"]), b.point("agents", agent["port"])))
    body = json.dumps({
        "jsonrpc": "2.0", "id": 7, "method": "SendMessage",
        "params": {"message": {"messageId": "m", "role": "ROLE_USER", "parts": [{"text": "Who am I?"}]}}}).encode()
    headers = [("Content-Type", "application/json"), ("A2A-Version", "1.0"), ("x-auth-user-id", "admin")]
    response = stack.request("POST", headers=headers, token=mint(provider, "urn:test:RS256"), body=body)
    assert response.status == 200, response
    message = response.json()["result"]["message"]
    assert message["parts"][0]["text"] == "Hello agent-planner, this is orders."
    assert message["metadata"]["authorization_seen"] is False
    assert stack.request("POST", headers=headers, body=body).status == 401
