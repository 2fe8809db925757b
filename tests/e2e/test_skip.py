"""Public paths: exactly the ones that were named, in exactly one spelling."""

import pytest

from harness.stack import encode, plugin

SKIP = ["GET /healthz", "GET /.well-known/agent-card.json", "POST /hook"]
# Envoy without any path normalisation: what the filter has to stand up to by itself.
RAW_PATHS = {"normalize_path": False, "merge_slashes": False, "path_with_escaped_slashes_action": "KEEP_UNCHANGED"}


@pytest.fixture(scope="module")
def issuer(shared):
    return shared.issuer()


@pytest.fixture(scope="module")
def shipped(shared, issuer):
    """Envoy normalises first, as in envoy.yaml."""
    return shared.stack(plugin(issuer.provider(), skip=SKIP), issuers=[issuer])


@pytest.fixture(scope="module")
def raw(shared, issuer):
    """Paths reach the filter as the caller wrote them."""
    return shared.stack(plugin(issuer.provider(), skip=SKIP), issuers=[issuer], hcm=RAW_PATHS)


@pytest.fixture(params=["shipped", "raw"])
def either(request):
    return request.getfixturevalue(request.param)


def test_the_named_ones(either):
    assert either.skipped("/healthz").path == "/healthz"
    assert either.skipped("/.well-known/agent-card.json").path == "/.well-known/agent-card.json"
    assert either.skipped("/hook", "POST").method == "POST"


def test_a_query_changes_nothing(either):
    assert either.skipped("/healthz?verbose=1&x=/rest/orders").path == "/healthz?verbose=1&x=/rest/orders"


@pytest.mark.parametrize("method", ["POST", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH"])
def test_another_method(either, method):
    response = either.request(method, "/healthz")
    assert response.status == 401, response
    # A HEAD answer has no body to look at; the rest is the same.
    if method != "HEAD":
        either.denied(response, 401, "missing_token", "missing_token", challenge="bare")


# Each of these means /healthz, or the agent's path, to some server.
LOOKALIKES = [
    "/healthz/",
    "/healthz/x",
    "/healthz.json",
    "/Healthz",
    "/HEALTHZ",
    "/healthz;v=1",
    "/healthz%3bv=1",
    "/healthz%20",
    "/healthz%00",
    "/healthz%0a",
    "/healthz%2f",
    "/healthz%5c",
    "/healthz\\",
    "/healthz%2frest/orders",
    "/%2fhealthz",
    "/.%2fhealthz",
    "/healthz%252e",
    "/healthz%23",
    "/healthz%3f",
    "/x/healthz",
]


@pytest.mark.parametrize("target", LOOKALIKES)
def test_lookalikes_are_not_public(either, target):
    response = either.request(target=target)
    # 400 is Envoy's own no to some of them; never the upstream's answer.
    assert response.status in (400, 401), response
    assert response.all("x-echo") == []


# Servers that resolve dot segments or double slashes would serve what follows them.
DOTTED = [
    "/healthz/../rest/orders",
    "/healthz/..%2frest/orders",
    "/healthz/%2e%2e/rest/orders",
    "/healthz/.%2e/rest/orders",
    "/healthz/..;/rest/orders",
    "/healthz/..\\rest/orders",
    "//rest/orders",
    "/healthz//../rest/orders",
    "/./rest/orders",
    "/rest/orders/../../healthz/../rest/orders",
]


@pytest.mark.parametrize("target", DOTTED)
def test_a_public_prefix_opens_no_other_path(either, target):
    response = either.request(target=target)
    assert response.status in (400, 401), response
    assert response.all("x-echo") == []


# These resolve to /healthz. Whoever normalises may call them public; whoever does not must not.
RESOLVING = ["//healthz", "/./healthz", "/x/../healthz", "/x/%2e%2e/healthz", "/rest/orders/../../healthz", "/%2e/healthz", "/healthz/."]


@pytest.mark.parametrize("target", RESOLVING)
def test_dots_are_resolved_by_envoy_or_not_at_all(shipped, raw, target):
    response = raw.request(target=target)
    assert response.status in (400, 401), response
    assert response.all("x-echo") == []
    response = shipped.request(target=target)
    if response.status == 200:
        assert response.json()["path"] == "/healthz", "judged as one path and forwarded as another"
    else:
        assert response.status in (400, 401), response


def test_another_spelling_of_the_same_path(shipped, raw):
    """Envoy decodes `%68` (RFC 3986 section 6.2.2.2). Where it does not, the upstream might not either."""
    assert shipped.skipped("/%68ealthz").path == "/healthz"
    raw.denied(raw.request(target="/%68ealthz"), 401, "missing_token", "missing_token", challenge="bare")


@pytest.mark.parametrize(
    ("target", "public"),
    [("http://agents.test/healthz", True), ("http://agents.test/rest/orders", False), ("http://agents.test/healthz/../rest/orders", False)],
)
def test_absolute_form(either, target, public):
    """RFC 9112 section 3.2.2: Envoy takes the authority and the path out of it."""
    response = either.raw(encode("GET", target))
    if public:
        assert response.status == 200, response
        assert response.json()["path"] == "/healthz"
    else:
        assert response.status in (400, 401), response


def test_asterisk_form_is_not_public(either):
    response = either.raw(encode("OPTIONS", "*"), "OPTIONS")
    assert response.status in (400, 401, 404), response
    assert response.all("x-echo") == []


def test_method_override_headers_mean_nothing(either):
    response = either.request("POST", "/healthz", [("X-HTTP-Method-Override", "GET"), ("X-Original-URL", "/healthz")])
    either.denied(response, 401, "missing_token", "missing_token", challenge="bare")
    response = either.request("GET", "/rest/orders", [("X-Original-URL", "/healthz"), ("X-Rewrite-URL", "/healthz"), ("X-Envoy-Original-Path", "/healthz")])
    either.denied(response, 401, "missing_token", "missing_token", challenge="bare")


def test_a_bad_credential_on_a_public_path_is_nobodys_business(either, issuer):
    """Skipped means not looked at: a monitor with a stale token still gets its answer."""
    seen = either.skipped("/healthz", headers=[("Authorization", "Bearer " + issuer.token(ttl=-999))])
    assert [n for n in seen.names() if n.startswith("x-auth-")] == []
