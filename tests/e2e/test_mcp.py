"""RFC 9728 and MCP: a client that knows nothing but a URL finds out where to get a token, and gets in."""

import base64
import json
import socket

import pytest

from harness.process import NodePeer
from harness.stack import plugin
from harness.wait import eventually

ROOT = "/.well-known/oauth-protected-resource"


def audited(stack, count):
    """The audit events, once there are `count`: Envoy writes them when a request is over, which is after the answer."""
    eventually(lambda: len(stack.envoy.audit_lines()) >= count, f"{count} audit events")
    return stack.envoy.audit_lines()


def claims_of(token):
    payload = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))


# The document and the challenge


@pytest.fixture(scope="module")
def stack(shared):
    config = plugin({"type": "oidc", "settings": {
        "issuer": "https://login.example/", "audience": "https://agents.example", "jwks": {"keys": [
            {"kty": "OKP", "crv": "Ed25519", "kid": "k", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}}})
    config["auth"]["resource_metadata"] = {
        "resource": "https://agents.example", "scopes_supported": ["agents:call"], "resource_name": "The fleet"}
    return shared.stack(config)


def served(stack, response):
    """Answered by the filter: nothing went upstream, and there is no audit event."""
    assert response.all("x-echo") == []
    request_id = response.header("x-request-id")
    assert not stack.upstream.saw_request_id(request_id)
    # This one's event comes after the other's would have.
    stack.denied(stack.request(), 401, "missing_token", "missing_token", challenge="bare")
    assert request_id not in [e["correlation_id"] for e in stack.envoy.audit_lines()]


@pytest.mark.parametrize("path, resource", [
    ("", "https://agents.example"),
    ("/rest/orders", "https://agents.example/rest/orders"),
    ("/rest/orders?x=https://evil.example", "https://agents.example/rest/orders"),
])
def test_the_document(stack, path, resource):
    response = stack.request(target=ROOT + path, host="evil.example", headers=[("x-forwarded-host", "evil.example")])
    assert response.status == 200, response
    assert response.json() == {
        "resource": resource,
        "authorization_servers": ["https://login.example/"],
        "scopes_supported": ["agents:call"],
        "bearer_methods_supported": ["header"],
        "resource_name": "The fleet",
    }
    assert response.header("content-type") == "application/json"
    assert response.header("cache-control") == "public, max-age=300"
    assert response.header("access-control-allow-origin") == "*"
    served(stack, response)


def test_head_preflight_and_the_rest(stack):
    head = stack.request("HEAD", ROOT)
    assert (head.status, head.body, head.header("content-type")) == (200, b"", "application/json")
    preflight = stack.request("OPTIONS", ROOT, headers=[
        ("Origin", "https://inspector.example"), ("Access-Control-Request-Method", "GET"),
        ("Access-Control-Request-Headers", "mcp-protocol-version")])
    assert (preflight.status, preflight.body) == (204, b"")
    assert preflight.header("access-control-allow-origin") == "*"
    assert "GET" in preflight.header("access-control-allow-methods")
    assert preflight.header("access-control-allow-headers") == "*, Authorization"
    assert preflight.header("access-control-allow-credentials") is None
    post = stack.request("POST", ROOT, body=b"{}")
    assert (post.status, post.header("allow")) == (405, "GET, HEAD, OPTIONS")
    served(stack, post)
    # A token is neither needed nor looked at.
    assert stack.request(target=ROOT, token="garbage").status == 200


@pytest.mark.parametrize("target", [
    ROOT + "x", ROOT + "/a;b", "/rest" + ROOT, "/.well-known/openid-configuration"])
def test_what_is_not_the_metadata_needs_a_token(stack, target):
    assert stack.request(target=target).status == 401


def test_the_challenge(stack):
    named = f'resource_metadata="https://agents.example{ROOT}", scope="agents:call"'
    response = stack.request(host="evil.example")
    assert response.header("www-authenticate") == f"Bearer {named}"
    assert response.header("access-control-expose-headers") == "WWW-Authenticate"
    response = stack.request(token="garbage")
    assert response.header("www-authenticate") == f'Bearer error="invalid_token", {named}'


def test_it_is_counted(stack):
    name = "wasmcustom.portcullis.resource_metadata"
    before = stack.envoy.stats(name).get(name, 0)
    for _ in range(3):
        stack.request(target=ROOT)
    assert stack.envoy.stats(name)[name] == before + 3


# A real client, a real authorization server and a real MCP server


@pytest.fixture(scope="module")
def world(shared, tmp_path_factory):
    """An issuer and an agent, and the port that the proxy will have: the resource's URL has to be known to both sides before."""
    folder = tmp_path_factory.mktemp("mcp")
    port = free_port()
    resource = f"http://127.0.0.1:{port}"
    per_path = f"{resource}/rest/orders/mcp"
    resources = {
        resource: {"audience": resource, "scope": "agents:call"},
        per_path: {"audience": per_path, "scope": "agents:call"},
    }
    (folder / "config.json").write_text(json.dumps({
        "clients": {"agent-planner": {"secret": "s3cret", "claims": {"email": "planner@example.com"}}},
        "resources": resources,
        "people": {"alice": {"email": "alice@example.com"}, "mallory": {}},
    }))
    issuer = shared.add(Closing(NodePeer("issuer.mjs", folder / "config.json", log=folder / "issuer.log"))).peer
    agent = shared.add(Closing(NodePeer("agent.mjs", "--agent", "orders", log=folder / "agent.log"))).peer
    return {"resource": resource, "port": port, "issuer": issuer.ready, "agent": agent.ready, "folder": folder}


class Closing:
    """A process as one of a pile."""

    def __init__(self, peer):
        self.peer = peer

    def close(self):
        self.peer.stop()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def proxy(pile, world):
    def start(audience, **metadata):
        issuer = world["issuer"]
        config = plugin(
            {"type": "oidc", "settings": {"issuer": issuer["issuer"], "audience": audience, "allowed_subjects": ["alice", "agent-*"]}},
            callouts={"upstreams": {issuer["issuer"].removeprefix("http://"): "issuer"}})
        config["auth"]["resource_metadata"] = {
            "resource": world["resource"], "scopes_supported": ["agents:call"], **metadata}

        def edit(bootstrap):
            bootstrap.listen(world["port"])
            bootstrap.point("issuer", issuer["port"])
            bootstrap.drop_tls("issuer")
            bootstrap.point("agents", world["agent"]["port"])

        return pile.stack(config, edit=edit)

    return start


def client(tmp_path, world, *how):
    """Runs the client to its end; its report, or its complaint."""
    url = f"{world['resource']}/rest/orders/mcp"
    with NodePeer("mcp_client.mjs", url, *how, log=tmp_path / "client.log") as peer:
        return peer.ready


def test_a_person_discovers_logs_in_and_calls(proxy, world, tmp_path):
    stack = proxy(world["resource"])
    report = client(tmp_path, world, "--login", "alice")
    assert report["text"] == "Hello alice, this is orders."
    assert report["meta"]["authorization_seen"] is False
    assert report["tools"] == ["whoami"]
    assert report["scope"] == "agents:call"
    requests, at = report["requests"], world["resource"]
    assert requests[0] == f"POST {at}/rest/orders/mcp 401"
    assert requests[1] == f"GET {at}{ROOT} 200"
    assert any(r.startswith(f"GET {world['issuer']['issuer']}/.well-known/") and r.endswith(" 200") for r in requests)
    assert any(r == f"POST {world['issuer']['issuer']}/reg 201" for r in requests), requests
    said = claims_of(report["token"])
    assert (said["sub"], said["aud"], said["scope"]) == ("alice", at, "agents:call")
    events = audited(stack, 2)
    assert events[0]["fields"]["code"] == "missing_token"
    assert {e["fields"].get("user_id") for e in events[1:]} == {"alice"}
    assert events[1]["fields"]["path"] == "/rest/orders/mcp" and events[1]["entity_id"] == "orders"


def test_a_service_gets_a_token_of_its_own(proxy, world, tmp_path):
    stack = proxy(world["resource"])
    report = client(tmp_path, world, "--client", "agent-planner", "--secret", "s3cret")
    assert report["text"] == "Hello agent-planner, this is orders."
    assert {e["fields"].get("user_id") for e in audited(stack, 2)[1:]} == {"agent-planner"}


def test_a_token_for_one_path_alone(proxy, world, tmp_path):
    at = world["resource"]
    proxy(f"{at}/rest/orders/mcp", per_path=True)
    report = client(tmp_path, world, "--login", "alice")
    assert report["text"] == "Hello alice, this is orders."
    assert report["requests"][1] == f"GET {at}{ROOT}/rest/orders/mcp 200"
    assert claims_of(report["token"])["aud"] == f"{at}/rest/orders/mcp"


def test_discovery_is_no_way_in(proxy, world, tmp_path):
    """Who logs in and is not on the list stays out."""
    stack = proxy(world["resource"])
    with pytest.raises(AssertionError, match="401"):
        client(tmp_path, world, "--login", "mallory")
    assert {e["fields"]["code"] for e in audited(stack, 2)} == {"missing_token", "subject_not_allowed"}
