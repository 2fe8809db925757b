"""Which agent a request is for, and providers that are bound to some agents only."""

import hashlib

import pytest

from harness.stack import plugin

FLEET = "fleet-token-8b1f"
ANY = "any-token-77aa"


def static(name, token, agents=None):
    entry = {
        "type": "static_token", "name": name,
        "settings": {"token_sha256": hashlib.sha256(token.encode()).hexdigest(), "identity": {"user_id": name}},
    }
    if agents is not None:
        entry["agents"] = agents
    return entry


BOUND = static("bound", FLEET, ["orders", "fraud-*"])

SHAPES = {
    "path": ({"path": "/rest/{agent}"}, lambda agent: {"target": f"/rest/{agent}/run?x=1"}),
    "path-tail": ({"path": "/agents/{agent}/invoke"}, lambda agent: {"target": f"/agents/{agent}/invoke"}),
    "host": ({"host": "{agent}.agents.example.com"}, lambda agent: {"target": "/", "host": f"{agent}.agents.example.com:8443"}),
    "header": ({"header": "x-agent-id"}, lambda agent: {"target": "/", "headers": [("X-Agent-Id", agent)]}),
}


@pytest.fixture(scope="module", params=SHAPES)
def shape(request, shared):
    how, ask = SHAPES[request.param]
    return shared.stack(plugin(BOUND, agent=how)), ask


@pytest.mark.parametrize("agent", ["orders", "fraud-7", "fraud-"])
def test_bound_to_this_agent(shape, agent):
    stack, ask = shape
    _, event = stack.allowed(stack.request(token=FLEET, **ask(agent)), user_id="bound", agent=agent)
    assert event["entity_id"] == agent
    assert event["fields"]["agent"] == agent


@pytest.mark.parametrize("agent", ["payroll", "orders2", "xorders", "fraud", "xfraud-7"])
def test_not_bound_to_that_one(shape, agent):
    stack, ask = shape
    event = stack.denied(
        stack.request(token=FLEET, **ask(agent)), 403, "forbidden_agent", "forbidden_agent", challenge=None, credential=FLEET)
    assert event["entity_id"] == agent


def test_a_wrong_token_learns_nothing_of_the_binding(shape):
    """401 before 403: whether an agent exists is not for those who have proven nothing."""
    stack, ask = shape
    for agent in ("orders", "payroll"):
        stack.denied(stack.request(token="wrong", **ask(agent)), 401, "not_for_me", "not_for_me")


@pytest.fixture(scope="module")
def by_path(shared):
    return shared.stack(plugin(BOUND), hcm={"normalize_path": False, "merge_slashes": False, "path_with_escaped_slashes_action": "KEEP_UNCHANGED"})


@pytest.mark.parametrize(
    "target",
    ["/", "/rest", "/rest/", "/REST/orders", "/x/rest/orders", "/rest//orders", "/rest/payroll/../orders", "/rest/orders/../payroll",
     "/rest/orders/..%2fpayroll", "/rest/orders%2f..%2fpayroll", "/rest/orders;x=1", "/rest/./orders"],
)
def test_a_path_that_names_no_agent_for_certain(by_path, target):
    response = by_path.request(target=target, token=FLEET)
    event = by_path.envoy.audit(response.header("x-request-id"))
    code = event["fields"]["code"]
    assert code == "unknown_agent", event
    if code == "unknown_agent":
        by_path.denied(response, 403, "forbidden_agent", code, challenge=None)
    else:
        assert response.status in (400, 401, 403), response
    assert by_path.upstream.seen == [] or all(s["path"] != target for s in by_path.upstream.seen)


def test_a_header_given_twice_names_no_agent(shared):
    stack = shared.stack(plugin(BOUND, agent={"header": "x-agent-id"}))
    headers = [("x-agent-id", "orders"), ("x-agent-id", "payroll")]
    stack.denied(stack.request(token=FLEET, headers=headers), 403, "forbidden_agent", "unknown_agent", challenge=None)
    stack.denied(stack.request(token=FLEET), 403, "forbidden_agent", "unknown_agent", challenge=None)
    stack.denied(stack.request(token=FLEET, headers=[("x-agent-id", "orders,payroll")]), 403, "forbidden_agent", "unknown_agent", challenge=None)


def test_a_host_that_only_looks_like_it(shared):
    stack = shared.stack(plugin(BOUND, agent={"host": "{agent}.agents.example.com"}))
    for host in ("orders.agents.example.com.evil.example", "x.orders.agents.example.com", "agents.example.com", "orders.agents.example.org"):
        stack.denied(stack.request(token=FLEET, host=host), 403, "forbidden_agent", "unknown_agent", challenge=None)
    stack.allowed(stack.request(token=FLEET, host="ORDERS.agents.EXAMPLE.com"), agent="orders")


def test_a_fixed_agent(shared):
    stack = shared.stack(plugin(BOUND, agent={"fixed": "orders"}))
    stack.allowed(stack.request(target="/rest/payroll", token=FLEET), agent="orders")
    other = shared.stack(plugin(BOUND, agent={"fixed": "payroll"}))
    other.denied(other.request(target="/rest/orders", token=FLEET), 403, "forbidden_agent", "forbidden_agent", challenge=None)


def test_an_unbound_provider_calls_any_agent(shared):
    stack = shared.stack(plugin(static("anyone", ANY)))
    stack.allowed(stack.request(target="/rest/payroll", token=ANY), agent="payroll")
    stack.allowed(stack.request(target="/elsewhere", token=ANY), agent=None)


def test_a_binding_of_an_oidc_provider(shared):
    issuer = shared.issuer()
    stack = shared.stack(plugin(issuer.provider(agents="orders")), issuers=[issuer])
    token = issuer.token()
    stack.allowed(stack.request(target="/rest/orders", token=token))
    event = stack.denied(
        stack.request(target="/rest/payroll", token=token), 403, "forbidden_agent", "forbidden_agent", challenge=None, credential=token)
    assert event["fields"]["cache"] == "hit", "the binding is a matter of policy, not of the cache"
