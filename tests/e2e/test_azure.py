"""Entra ID and Graph, played with real keys and Microsoft's published shapes, against real Envoy."""

import time

import pytest

from harness.entra import API, APP, OID, OTHER_TENANT, TENANT, Entra, Graph
from harness.stack import plugin
from harness.tokens import Key, tampered
from harness.wait import eventually

STRANGER = "cccccccc-1111-dddd-2222-eeee3333ffff"
OVERAGE = {
    "_claim_names": {"groups": "src1"},
    "_claim_sources": {"src1": {"endpoint": f"https://graph.windows.net/{TENANT}/users/{OID}/getMemberObjects"}},
}


def provider(**settings):
    entry = {"type": "azure_ad", "settings": {"audience": [API, "api://agents"], **settings}}
    if "name" in settings:
        entry["name"] = entry["settings"].pop("name")
    return entry


@pytest.fixture(scope="module")
def entra(shared):
    return shared.add(Entra())


@pytest.fixture(scope="module")
def single(shared, entra):
    return shared.stack(
        plugin(provider(tenant_id=TENANT, allowed_apps=[APP], require_confidential_client=True)), issuers=[entra])


@pytest.fixture(scope="module")
def multi(shared, entra):
    return shared.stack(
        plugin(provider(allow_multi_tenant=True, allowed_tenants=[TENANT, OTHER_TENANT])), issuers=[entra])


def test_both_versions(single, entra):
    seen, event = single.allowed(
        single.request(token=entra.v2(groups=["g1", "g2"])),
        user_id=OID, org_id=TENANT, groups="g1,g2", email=None, provider="azure_ad", agent="orders")
    assert "authorization" not in seen.names()
    assert event["fields"]["claims"]["app"] == APP and event["fields"]["claims"]["tid"] == TENANT
    single.allowed(single.request(token=entra.v1()), user_id=OID, org_id=TENANT, groups=None)


@pytest.mark.parametrize(
    "version, changes, reason, code",
    [
        ("v2", {"azp": STRANGER}, "rejected", "app_not_allowed"),
        ("v2", {"azp": STRANGER, "appid": APP}, "rejected", "app_not_allowed"),
        ("v1", {"appid": STRANGER, "azp": APP}, "rejected", "app_not_allowed"),
        ("v1", {"appid": STRANGER, "oid": APP}, "rejected", "app_not_allowed"),
        ("v2", {"azpacr": "0"}, "rejected", "public_client"),
        ("v1", {"appidacr": "0"}, "rejected", "public_client"),
        ("v2", {"tid": OTHER_TENANT}, "rejected", "issuer_mismatch"),
        ("v2", {"ver": "1.0"}, "rejected", "issuer_mismatch"),
        ("v2", {"ver": None}, "invalid", "malformed_claims"),
        ("v2", {"aud": "https://graph.microsoft.com"}, "rejected", "audience_mismatch"),
        ("v2", {"ttl": -60}, "rejected", "expired"),
    ],
)
def test_refused(single, entra, version, changes, reason, code):
    event = single.denied(single.request(token=getattr(entra, version)(**changes)), 401, reason, code)
    assert event["fields"]["provider"] == "azure_ad"


def test_the_calling_object_stands_for_its_application_only_where_none_is_named(single, entra):
    single.allowed(single.request(token=entra.v1(appid=None, oid=APP)), user_id=APP)


def test_another_tenant_is_somebody_elses(single, entra):
    single.denied(single.request(token=entra.v2(tenant=OTHER_TENANT)), 401, "not_for_me", "not_for_me")


def test_forged(single, entra):
    single.denied(single.request(token=tampered(entra.v2())), 401, "invalid", "bad_signature")
    single.denied(single.request(token=entra.v2(Key(entra.keys[0].kid))), 401, "invalid", "bad_signature")


def test_many_tenants(multi, entra):
    multi.allowed(multi.request(token=entra.v2()), org_id=TENANT)
    multi.allowed(multi.request(token=entra.v1(tenant=OTHER_TENANT)), org_id=OTHER_TENANT)
    multi.denied(multi.request(token=entra.v2(tenant=STRANGER)), 401, "rejected", "tenant_not_allowed")
    multi.denied(multi.request(token=entra.v2(tid=OTHER_TENANT)), 401, "rejected", "issuer_mismatch")


def test_a_key_is_good_for_its_own_tenant_only(multi, entra):
    """Whoever holds one tenant's key must not be able to sign for another, though all stand in one set."""
    one = entra.keys[1]
    multi.allowed(multi.request(token=entra.v2(one, tenant=OTHER_TENANT)), org_id=OTHER_TENANT)
    multi.denied(multi.request(token=entra.v2(one)), 401, "invalid", "key_issuer_mismatch")
    multi.denied(multi.request(token=entra.v1(one)), 401, "invalid", "key_issuer_mismatch")


def test_any_tenant_only_when_said_so(shared, entra):
    stack = shared.stack(plugin(provider(any_tenant=True)), issuers=[entra])
    stack.allowed(stack.request(token=entra.v2(tenant=STRANGER)), org_id=STRANGER)
    log = stack.envoy.log()
    assert "auth.providers[0].settings.any_tenant" in log, log[-3000:]


def test_applications_only(shared, entra):
    stack = shared.stack(plugin(provider(tenant_id=TENANT, token_type="app")), issuers=[entra])
    stack.allowed(stack.request(token=entra.v1(idtyp="app")))
    stack.denied(stack.request(token=entra.v2(idtyp="user")), 401, "rejected", "token_type_not_allowed")
    stack.denied(stack.request(token=entra.v1()), 401, "rejected", "token_type_not_allowed")


def test_a_sovereign_cloud(pile):
    china = pile.add(Entra("login.partner.microsoftonline.cn", "sts.chinacloudapi.cn"))
    stack = pile.stack(plugin(provider(tenant_id=TENANT, authority=china.authority)), issuers=[china])
    stack.allowed(stack.request(token=china.v2()), org_id=TENANT)
    stack.allowed(stack.request(token=china.v1()), org_id=TENANT)
    stack.denied(
        stack.request(token=china.v1(iss=f"https://sts.windows.net/{TENANT}/")), 401, "not_for_me", "not_for_me")


# Groups


@pytest.fixture
def graph(pile):
    return pile.add(Graph())


@pytest.fixture
def grouped(pile, entra, graph):
    return pile.stack(
        plugin(provider(tenant_id=TENANT, groups_mode="graph", graph_timeout="1s")), issuers=[entra, graph])


def test_groups_that_a_token_is_too_small_for(grouped, entra, graph):
    token = entra.v2(**OVERAGE)
    _, event = grouped.allowed(grouped.request(token=token), user_id=OID, groups="g1,g2,g3")
    assert event["fields"]["groups_count"] == 3 and "groups_missing" not in event["fields"]
    assert [bearer for _, bearer in graph.asked] == [token, token], "two pages, with the caller's own token"
    grouped.allowed(grouped.request(token=token), groups="g1,g2,g3")
    assert len(graph.asked) == 2, "remembered"
    grouped.allowed(grouped.request(token=entra.v2(hasgroups=True)), groups="g1,g2,g3")
    assert len(graph.asked) == 4


def test_nobody_is_asked_without_need(grouped, entra, graph):
    grouped.allowed(grouped.request(token=entra.v2()), groups=None)
    grouped.allowed(grouped.request(token=entra.v2(groups=["g9"])), groups="g9")
    grouped.denied(grouped.request(token=entra.v2(ttl=-60, **OVERAGE)), 401, "rejected", "expired")
    assert graph.asked == []


@pytest.mark.parametrize(
    "mode, missing", [(401, "refused"), (403, "refused"), (500, "unavailable"), (302, "unavailable"), ("elsewhere", "unavailable")])
def test_without_graph_the_request_goes_on_without_groups(grouped, entra, graph, mode, missing):
    graph.mode = mode
    _, event = grouped.allowed(grouped.request(token=entra.v2(**OVERAGE)), user_id=OID, groups=None)
    assert event["fields"]["groups_missing"] == missing
    assert len(graph.asked) == 1
    eventually(
        lambda: list(grouped.envoy.stats("portcullis.groups.missing").values()) == [1],
        lambda: f"the counter: {grouped.envoy.stats('portcullis.groups')}")


def test_a_slow_graph_costs_its_timeout_and_no_more(grouped, entra, graph):
    graph.mode = "hold"
    began = time.monotonic()
    _, event = grouped.allowed(grouped.request(token=entra.v2(**OVERAGE)), user_id=OID, groups=None)
    assert 0.8 < time.monotonic() - began < 4
    assert event["fields"]["groups_missing"] == "unavailable"
    graph.gate.set()
