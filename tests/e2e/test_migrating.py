"""Envoy's jwt_authn and what `portcullis convert jwt-authn` makes of it, in two real Envoys: the same requests, the same verdicts."""

import copy
import json
import re
import subprocess

import pytest
import yaml

from harness.bootstrap import Bootstrap
from harness.paths import PROGRAM, ROOT, require
from harness.tokens import Key, claims, tampered, unsigned

TYPE = "type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication"


class JwtAuthn(Bootstrap):
    """The bootstrap with jwt_authn in place of the filter."""

    def __init__(self, settings):
        super().__init__()
        (entry,) = [f for f in self.hcm["http_filters"] if f["name"] == "portcullis"]
        entry["name"] = "envoy.filters.http.jwt_authn"
        entry["typed_config"] = {"@type": TYPE, **settings}
        self._none = {}

    @property
    def wasm(self):
        return self._none

    def files(self, access_log, wasm=None):
        # Without an audit event there is no line to write.
        self.hcm["access_log"][0]["typed_config"]["path"] = str(access_log)


def settings(partner):
    return {
        "providers": {
            "workforce": {
                "issuer": "https://issuer.test", "audiences": ["api://agents", "api://old"], "require_expiration": True, "clock_skew_seconds": 10,
                "subjects": {"prefix": "agent-"},
                "remote_jwks": {"http_uri": {"uri": "https://issuer.test/keys", "cluster": "issuer", "timeout": "5s"}, "cache_duration": "300s"},
            },
            "partner": {
                "issuer": "https://partner.test", "audiences": ["api://agents"], "requireExpiration": True,
                "localJwks": {"inlineString": json.dumps({"keys": [partner.public_jwk()]})},
            },
        },
        "rules": [
            {"match": {"path": "/healthz", "headers": [{"name": ":method", "string_match": {"exact": "GET"}}]}},
            {"match": {"path_separated_prefix": "/rest/reports"},
             "requires": {"requires_any": {"requirements": [{"provider_name": "workforce"}, {"provider_name": "partner"}]}}},
            {"match": {"prefix": "/"}, "requires": {"provider_name": "workforce"}},
        ],
    }


def convert(tmp_path, text, *args):
    require(PROGRAM)
    (tmp_path / "before.yaml").write_text(text)
    return subprocess.run([PROGRAM, "convert", "jwt-authn", *args, "before.yaml"], cwd=tmp_path, capture_output=True, text=True, timeout=30)


@pytest.fixture(scope="module")
def both(shared, tmp_path_factory):
    issuer = shared.issuer()
    partner = Key("partner-1", "RS256")
    bootstrap = JwtAuthn(settings(partner))
    bootstrap.point("issuer", issuer.port)
    bootstrap.drop_tls("issuer")
    done = convert(tmp_path_factory.mktemp("convert"), bootstrap.dump())
    assert done.returncode == 0, done.stderr
    before = shared.stack(bootstrap=bootstrap)
    after = Bootstrap()
    after.plugin = json.loads(done.stdout)
    after.point("issuer", issuer.port)
    after.drop_tls("issuer")
    return before, shared.stack(bootstrap=after), issuer, partner


def requests(issuer, partner):
    """(what it is, method, path, token)"""
    def theirs(**changes):
        return partner.sign(claims("https://partner.test", "api://agents", **{"sub": "p-1", **changes}))

    good = issuer.token(sub="agent-a")
    yield "nothing", "GET", "/rest/orders", None
    yield "open", "GET", "/healthz", None
    yield "open, by another method", "POST", "/healthz", None
    yield "open, and more behind it", "GET", "/healthz/x", None
    yield "open, with a query", "GET", "/healthz?x=1", None
    for path in ("/rest/orders", "/rest/reports", "/rest/reports/x", "/rest/reports2", "/", "/elsewhere"):
        yield "good", "GET", path, good
        yield "the partner's", "POST", path, theirs()
    yield "its second audience", "GET", "/rest/orders", issuer.token(sub="agent-a", aud="api://old")
    yield "several audiences", "GET", "/rest/orders", issuer.token(sub="agent-a", aud=["x", "api://agents"])
    yield "another audience", "GET", "/rest/orders", issuer.token(sub="agent-a", aud="x")
    yield "no audience", "GET", "/rest/orders", issuer.token(sub="agent-a", aud=None)
    yield "another subject", "GET", "/rest/orders", issuer.token(sub="someone")
    yield "another issuer", "GET", "/rest/orders", issuer.token(sub="agent-a", iss="https://x.test")
    yield "expired", "GET", "/rest/orders", issuer.token(sub="agent-a", ttl=-60)
    yield "expired within the skew", "GET", "/rest/orders", issuer.token(sub="agent-a", ttl=-3)
    yield "without exp", "GET", "/rest/orders", issuer.token(sub="agent-a", exp=None)
    yield "not yet", "GET", "/rest/orders", issuer.token(sub="agent-a", nbf=4102444800)
    yield "tampered", "GET", "/rest/orders", tampered(good)
    yield "somebody else's key", "GET", "/rest/orders", issuer.token(Key(issuer.keys[0].kid), sub="agent-a")
    yield "the partner's key for the issuer", "GET", "/rest/orders", issuer.token(partner, sub="agent-a")
    yield "unsigned", "GET", "/rest/orders", unsigned({"iss": issuer.url, "aud": issuer.aud, "sub": "agent-a", "exp": 4102444800})
    yield "garbage", "GET", "/rest/orders", "garbage"


def test_the_same_requests_have_the_same_verdict(both):
    before, after, issuer, partner = both
    seen = {}
    for what, method, path, token in requests(issuer, partner):
        verdicts = [stack.request(method, path, token=token).status for stack in (before, after)]
        assert all(v in (200, 401, 403) for v in verdicts), (what, path, verdicts)
        seen[what, path] = [v == 200 for v in verdicts]
    differ = {k: v for k, v in seen.items() if v[0] != v[1]}
    assert not differ, differ
    assert len(seen) > 25 and {True, False} == {v[0] for v in seen.values()}


def test_neither_leaves_the_token_on_the_request(both):
    before, after, issuer, _ = both
    for stack in (before, after):
        seen = stack.request(token=issuer.token(sub="agent-a")).json()
        assert "authorization" not in {name.lower() for name, _ in seen["headers"]}


# What is lost is said, with its path, and lets nobody in.

LOSSES = [
    (["providers", "workforce", "from_params"], ["t"], "providers.workforce.from_params"),
    (["providers", "workforce", "from_cookies"], ["t"], "providers.workforce.from_cookies"),
    (["providers", "workforce", "from_headers"], [{"name": "x-token"}], "providers.workforce.from_headers[0]"),
    (["providers", "workforce", "claim_to_headers"], [{"header_name": "x-a", "claim_name": "b"}], "providers.workforce.claim_to_headers"),
    (["providers", "workforce", "forward_payload_header"], "x-p", "providers.workforce.forward_payload_header"),
    (["providers", "workforce", "max_lifetime"], "600s", "providers.workforce.max_lifetime"),
    (["providers", "workforce", "issuer"], None, "providers.workforce.issuer"),
    (["providers", "workforce", "audiences"], None, "providers.workforce.audiences"),
    (["providers", "workforce", "subjects"], {"safe_regex": {"regex": ".*"}}, "providers.workforce.subjects"),
    (["providers", "workforce", "something_new"], 1, "providers.workforce.something_new"),
    (["providers", "partner", "forward"], True, "providers"),
    (["bypass_cors_preflight"], True, "bypass_cors_preflight"),
    (["filter_state_rules"], {"name": "x"}, "filter_state_rules"),
    (["rules", 0, "match"], {"prefix": "/open/"}, "rules[0].match"),
    (["rules", 0, "match"], {"safe_regex": {"regex": "/x"}}, "rules[0].match"),
    (["rules", 1, "requires"], {"requires_all": {"requirements": []}}, "rules[1].requires.requires_all"),
    (["rules", 1, "requires"], {"provider_name": "partner"}, "rules"),
    (["rules", 1, "requires"], {"allow_missing_or_failed": {}}, "rules[1].requires.allow_missing_or_failed"),
    (["rules", 2, "requires"], {"provider_name": "nobody"}, "rules"),
    (["rules", 2, "requires"], {"requires_any": {"requirements": [{"provider_name": "workforce"}, {"allow_missing": {}}]}}, "rules"),
    (["rules", 2, "requires"], {"provider_and_audiences": {"provider_name": "workforce", "audiences": ["x"]}}, "rules"),
]


@pytest.mark.parametrize("keys, value, path", LOSSES, ids=lambda v: ".".join(map(str, v)) if isinstance(v, list) else "")
def test_what_is_lost_is_said_with_its_path(tmp_path, keys, value, path):
    changed = copy.deepcopy(settings(Key("partner-1", "ES256")))
    place = changed
    for key in keys[:-1]:
        place = place[key]
    if value is None:
        place.pop(keys[-1])
    else:
        place[keys[-1]] = value
    done = convert(tmp_path, yaml.safe_dump(changed))
    assert done.returncode == 1
    assert f"lost: {path}: " in done.stderr, done.stderr
    config = json.loads(done.stdout)
    # Never more open than before.
    assert config["auth"]["required"] is True
    assert config["auth"].get("skip", []) in ([], ["GET /healthz"])
    for provider in config["auth"]["providers"]:
        assert provider["settings"]["audience"] and provider["settings"]["issuer"]
        assert provider["name"] != "partner" or provider["agents"] == ["reports"]
        assert provider["name"] != "workforce" or provider["settings"]["allowed_subjects"] == ["agent-*"]


def test_a_path_that_an_earlier_rule_closes_is_not_opened(tmp_path):
    changed = settings(Key("partner-1", "ES256"))
    changed["rules"].insert(2, {"match": {"path": "/rest/reports/health"}})
    done = convert(tmp_path, yaml.safe_dump(changed))
    assert done.returncode == 1 and "lost: rules[2]: " in done.stderr, done.stderr
    assert json.loads(done.stdout)["auth"]["skip"] == ["GET /healthz"]


def test_what_is_no_jwt_authn(tmp_path):
    for text, words in (("a: b", "has no filter"), ("{", "neither YAML nor JSON"), (yaml.safe_dump([{"@type": TYPE}, {"@type": TYPE}]), "several filters")):
        done = convert(tmp_path, text)
        assert (done.returncode, done.stdout) == (1, "") and words in done.stderr, done.stderr


def test_the_audience_can_be_given(tmp_path):
    changed = settings(Key("partner-1", "ES256"))
    del changed["providers"]["workforce"]["audiences"]
    done = convert(tmp_path, json.dumps(changed), "--audience", "api://agents")
    assert done.returncode == 0, done.stderr
    assert [p["settings"]["audience"] for p in json.loads(done.stdout)["auth"]["providers"]] == [["api://agents"]] * 2




# The pages

PAGES = ["forge", "kong", "istio"]
# Every field of the other side, from its reference: Kong's plugin references, Istio's "RequestAuthentication" and "AuthorizationPolicy".
FIELDS = {
    "kong": ["uri_param_names", "cookie_names", "key_claim_name", "secret_is_base64", "claims_to_verify", "anonymous", "run_on_preflight",
             "maximum_expiration", "header_names", "realm", "rsa_public_key", "algorithm", "secret", "key_names", "key_in_body", "key_in_header",
             "key_in_query", "hide_credentials", "ttl"],
    "istio": ["issuer", "audiences", "jwksUri", "jwks", "fromHeaders", "fromParams", "fromCookies", "outputPayloadToHeader", "outputClaimToHeaders",
              "forwardOriginalToken", "timeout", "spaceDelimitedClaims", "selector", "targetRefs", "requestPrincipals", "notRequestPrincipals",
              "principals", "namespaces", "serviceAccounts", "ipBlocks", "remoteIpBlocks", "hosts", "ports", "methods", "paths", "DENY", "AUDIT", "CUSTOM"],
    "jwt-authn": ["issuer", "audiences", "subjects", "require_expiration", "max_lifetime", "remote_jwks", "local_jwks", "forward", "from_headers", "from_params",
                  "from_cookies", "forward_payload_header", "payload_in_metadata", "claim_to_headers", "clock_skew_seconds", "requires_any", "requires_all",
                  "allow_missing", "allow_missing_or_failed", "provider_and_audiences", "requirement_map", "filter_state_rules", "bypass_cors_preflight"],
    "forge": ["agent_id", "auth.required"],
}


def page(name):
    return (ROOT / f"docs/migrating/{name}.md").read_text()


def blocks(name, language):
    return re.findall(rf"^```{language}\n(.*?)^```$", page(name), re.M | re.S)


@pytest.mark.parametrize("name", FIELDS)
def test_every_field_has_a_row(name):
    rows = "\n".join(line.split(" | ")[0] for line in page(name).splitlines() if line.startswith("| "))
    missing = [field for field in FIELDS[name] if not re.search(rf"[`.\[ ]{re.escape(field)}\b", rows)]
    assert not missing, missing


@pytest.mark.parametrize("name", ["kong", "istio"])
def test_what_it_becomes_passes_the_check(name, tmp_path):
    found = blocks(name, "yaml")
    assert found and len(blocks(name, f"yaml {name}")) == len(found)
    for text in found:
        (tmp_path / "after.yaml").write_text(text)
        done = subprocess.run([PROGRAM, "check", "after.yaml"], cwd=tmp_path, capture_output=True, text=True, timeout=30)
        assert done.returncode == 0, done.stderr
        (tmp_path / "after.yaml").write_text(text.replace("settings:", "setings:"))
        assert subprocess.run([PROGRAM, "check", "after.yaml"], cwd=tmp_path, capture_output=True, timeout=30).returncode == 1


def test_the_jwk_of_kongs_key_verifies_its_tokens(tmp_path, pile):
    """A token as Kong's consumers make it, without a `kid`, in front of what the page makes of their key."""
    key = Key("unused", "RS256")
    (script,) = blocks("kong", "sh")
    (tmp_path / "planner.pem").write_bytes(key.public_pem())
    made = subprocess.run(["bash", "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=30, env={"PATH": f"{ROOT}/.venv/bin:/usr/bin:/bin"})
    assert made.returncode == 0, made.stderr
    config = yaml.safe_load(blocks("kong", "yaml")[0])
    config["auth"]["providers"][0]["settings"]["jwks"] = json.loads(made.stdout)
    stack = pile.stack(config)
    token = key.sign(claims("https://planner.example.com", "api://agents", sub="planner"), kid=None)
    stack.allowed(stack.request(token=token), user_id="planner", provider="planner")
    assert stack.request(token=tampered(token)).status == 401
    assert stack.request(token=key.sign(claims("https://planner.example.com", "x", sub="planner"), kid=None)).status == 401


RBAC = "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC"
GOOGLE = "https://accounts.google.com"


def as_istio_does(keys, resources):
    """The two filters that istiod makes of the page's resources: jwt_authn, which lets requests without a token through, and RBAC on what it proved."""
    request, policy = (r["spec"] for r in resources)
    (rule,) = request["jwtRules"]
    restricted, public = policy["rules"]
    (prefix,), (claim,) = restricted["to"][0]["operation"]["paths"], restricted["when"]
    name = re.fullmatch(r"request.auth.claims\[(\w+)\]", claim["key"])[1]
    assert restricted["from"] == [{"source": {"requestPrincipals": [f"{GOOGLE}/*"]}}] and prefix.endswith("*")

    def proven(path, **match):
        return {"metadata": {"filter": "envoy.filters.http.jwt_authn", "path": [{"key": "payload"}, {"key": path}], "value": {"string_match": match}}}

    bootstrap = JwtAuthn({
        "providers": {"origins-0": {"issuer": rule["issuer"], "audiences": rule["audiences"], "local_jwks": {"inline_string": json.dumps(keys)},
                                    "payload_in_metadata": "payload"}},
        "rules": [{"match": {"prefix": "/"}, "requires": {"requires_any": {"requirements": [{"provider_name": "origins-0"}, {"allow_missing": {}}]}}}],
    })
    (path,), (method,) = public["to"][0]["operation"]["paths"], public["to"][0]["operation"]["methods"]
    policies = {
        "rule-0": {"permissions": [{"url_path": {"path": {"prefix": prefix.removesuffix("*")}}}],
                   "principals": [{"and_ids": {"ids": [proven("iss", exact=GOOGLE), proven("sub", safe_regex={"regex": ".+"}), proven(name, exact=claim["values"][0])]}}]},
        "rule-1": {"permissions": [{"and_rules": {"rules": [{"url_path": {"path": {"exact": path}}}, {"header": {"name": ":method", "string_match": {"exact": method}}}]}}],
                   "principals": [{"any": True}]},
    }
    filters = bootstrap.hcm["http_filters"]
    filters.insert(len(filters) - 1, {"name": "envoy.filters.http.rbac", "typed_config": {"@type": RBAC, "rules": {"action": "ALLOW", "policies": policies}}})
    return bootstrap


def test_istios_resources_and_what_they_become(pile):
    """Two Envoys: nobody gets in afterwards who did not before, and nothing is lost but what the page says."""
    key = Key("g-1", "RS256")
    keys = {"keys": [key.public_jwk()]}
    (text,) = blocks("istio", "yaml istio")
    before = pile.stack(bootstrap=as_istio_does(keys, list(yaml.safe_load_all(text))))
    (text,) = blocks("istio", "yaml")
    config = yaml.safe_load(text)
    (provider,) = config["auth"]["providers"]
    assert provider["settings"].pop("jwks_url") == "https://www.googleapis.com/oauth2/v3/certs"
    provider["settings"]["jwks"] = keys
    after = pile.stack(config)

    def token(iss=GOOGLE, aud="api://agents", **changes):
        return key.sign(claims(iss, aud, **{"sub": "1001", "hd": "example.com", **changes}))

    good = token()
    seen = {}
    for what, method, path, presented in [
        ("good", "GET", "/rest/orders", good), ("good", "POST", "/rest/orders/items/7", good), ("nothing", "GET", "/rest/orders", None),
        ("another agent", "GET", "/rest/reports", good), ("no agent", "GET", "/", good), ("a longer name", "GET", "/rest/orders2", good),
        ("another domain", "GET", "/rest/orders", token(hd="evil.example")), ("no domain", "GET", "/rest/orders", token(hd=None)),
        ("another audience", "GET", "/rest/orders", token(aud="x")), ("another issuer", "GET", "/rest/orders", token(iss="https://x.test")),
        ("expired", "GET", "/rest/orders", token(exp=1)), ("tampered", "GET", "/rest/orders", tampered(good)),
        ("another key", "GET", "/rest/orders", Key("g-1", "RS256").sign(claims(GOOGLE, "api://agents", sub="1001", hd="example.com"))),
        ("public", "GET", "/healthz", None), ("public, with a token", "GET", "/healthz", good), ("public, by another method", "POST", "/healthz", None),
        ("public, and more behind it", "GET", "/healthz/x", None), ("public, with a bad token", "GET", "/healthz", tampered(good)),
    ]:
        verdicts = tuple(stack.request(method, path, token=presented).status for stack in (before, after))
        assert set(verdicts) <= {200, 401, 403}, (what, path, verdicts)
        seen[what, path] = tuple(v == 200 for v in verdicts)
    differ = {what: v for (what, _), v in seen.items() if v[0] != v[1]}
    # An agent's name ends where its segment ends; a skipped path is skipped whatever is presented.
    assert differ == {"a longer name": (True, False), "public, with a bad token": (False, True)}, differ
    assert sum(v == (True, True) for v in seen.values()) == 4


def test_a_key_in_place_of_kongs(tmp_path, pile):
    """The page's `api_key` chain, with a key made by the page's command: in the header that Kong's plugin read, and nowhere else."""
    config = yaml.safe_load(blocks("kong", "yaml")[1])
    made = subprocess.run([PROGRAM, "key", "create", "--agent", "orders", "--owner", "ci", "--expires", "90d", "--file", "keys.json", "--json"], cwd=tmp_path, capture_output=True,
                          text=True, timeout=30)
    assert made.returncode == 0, made.stderr
    key = json.loads(made.stdout)["key"]
    config["auth"]["providers"][0]["settings"]["keys"] = json.loads((tmp_path / "keys.json").read_text())["keys"]
    stack = pile.stack(config)
    upstream, _ = stack.allowed(stack.request(headers=[("apikey", key)]), user_id="ci")
    assert "apikey" not in {name.lower() for name, _ in upstream.headers}
    assert stack.request("GET", "/rest/reports", headers=[("apikey", key)]).status == 403
    for presented in ({"headers": [("apikey", "some-long-secret")]}, {"token": key}, {"headers": [("x-api-key", key)]}, {"target": f"/rest/orders?apikey={key}"}):
        assert stack.request(**presented).status == 401, presented


def test_forge(tmp_path):
    (text,) = blocks("forge", "yaml forge")
    (tmp_path / "forge.yaml").write_text(text)
    done = subprocess.run([PROGRAM, "convert", "forge", "forge.yaml"], cwd=tmp_path, capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
    config, before = json.loads(done.stdout), yaml.safe_load(text)
    assert config == {"auth": {**before["auth"], "required": True}, "agent": {"fixed": "orders"}}
    for path in ("auth.required", "agent_id", "skills", "auth.providers"):
        assert f"note: {path}: " in done.stderr, done.stderr
    assert "accounts.google.com" in done.stderr
    (tmp_path / "plugin.json").write_text(done.stdout)
    assert subprocess.run([PROGRAM, "check", "plugin.json"], cwd=tmp_path, capture_output=True, timeout=30).returncode == 0
