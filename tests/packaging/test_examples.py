"""The examples for meshes and gateways: resources by their schemas, and the filter in them by the filter, the schema and a real Envoy."""

import copy
import json
import re
import subprocess

import jsonschema
import pytest
import yaml

from harness.paths import PROGRAM, ROOT, require
from places import EXAMPLES, HERE, MESHES, bootstrap_with, check, clusters_of, documents, kong_plugin, of_kind, plugin_of, validate

SCHEMA = json.loads((ROOT / "schema/portcullis.schema.json").read_text())


def hand_written(name):
    return jsonschema.Draft202012Validator(json.loads((HERE / f"schemas/{name}.json").read_text()))


def istio_errors(resources):
    """What Istio's published schemas say of each resource."""
    node = HERE / "node"
    require(node / "validate.mjs")
    assert (node / "node_modules").is_dir(), "tests/packaging/node/node_modules is missing; `make setup` makes it"
    ran = subprocess.run(["node", "validate.mjs"], cwd=node, input=json.dumps(resources), capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


def leaves(value, path=()):
    """Paths to everything that is no container."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else None
    if items is None:
        yield path
    else:
        for key, inner in items:
            yield from leaves(inner, (*path, key))


def test_istios_resources_fit_istios_schemas():
    docs = documents("istio/portcullis.yaml")
    assert [d["kind"] for d in docs] == ["ServiceEntry", "DestinationRule", "WasmPlugin"]
    assert istio_errors(docs) == [[], [], []]


def test_istios_schemas_know_every_field_that_is_set():
    """A schema that does not know a field lets anything pass there: so nothing of another type may pass."""
    changed, where = [], []
    for document in documents("istio/portcullis.yaml"):
        for path in leaves(document["spec"]):
            if path[0] == "pluginConfig":
                continue
            other = copy.deepcopy(document)
            inner = other["spec"]
            for key in path[:-1]:
                inner = inner[key]
            inner[path[-1]] = {"of": ["another type"]}
            changed.append(other)
            where.append((document["kind"], *path))
    unknown = [w for w, errors in zip(where, istio_errors(changed), strict=True) if not errors]
    assert len(where) > 20
    assert not unknown, unknown


@pytest.mark.parametrize("mesh", ["envoy-gateway", "higress"])
def test_resources_fit_what_is_known_of_their_schemas(mesh):
    schema = hand_written(mesh)
    for document in documents(f"{mesh}/portcullis.yaml"):
        schema.validate(document)
        wrong = {**document, "spec": {**document["spec"], "failStrategi": "FAIL_OPEN"}}
        assert not schema.is_valid(wrong)


def test_no_example_fails_open():
    assert of_kind(documents("istio/portcullis.yaml"), "WasmPlugin")["spec"]["failStrategy"] == "FAIL_CLOSE"
    assert of_kind(documents("higress/portcullis.yaml"), "WasmPlugin")["spec"]["failStrategy"] == "FAIL_CLOSE"
    (wasm,) = of_kind(documents("envoy-gateway/portcullis.yaml"), "EnvoyExtensionPolicy")["spec"]["wasm"]
    assert wasm["failOpen"] is False
    texts = [p.read_text() for p in EXAMPLES.rglob("*.y*ml")] + [p.read_text() for p in (ROOT / "envoy").rglob("*.yaml")]
    assert len(texts) > 8
    set_open = [t for t in texts if any(line.strip().startswith(("failStrategy: FAIL_OPEN", "failure_policy: FAIL_OPEN", "failOpen: true"))
                                        for line in t.splitlines())]
    assert not set_open


PLUGINS = {**{mesh: lambda mesh=mesh: plugin_of(mesh, documents(f"{mesh}/portcullis.yaml")) for mesh in MESHES},
           **{name: lambda name=name: kong_plugin(name) for name in ("kong.yml", "kong-plugin.yml")}}


@pytest.mark.parametrize("name", PLUGINS)
def test_the_filters_configuration_is_one(name, tmp_path):
    plugin = PLUGINS[name]()
    code, said = check(plugin, tmp_path)
    assert code == 0, said
    jsonschema.Draft202012Validator(SCHEMA).validate(plugin)
    broken = copy.deepcopy(plugin)
    broken["auth"]["providers"][0]["settings"]["audiense"] = "x"
    assert check(broken, tmp_path)[0] == 1
    assert not jsonschema.Draft202012Validator(SCHEMA).is_valid(broken)


@pytest.mark.parametrize("mesh", MESHES)
def test_envoy_takes_what_the_mesh_makes_of_it(mesh, tmp_path):
    docs = documents(f"{mesh}/portcullis.yaml")
    plugin, clusters = plugin_of(mesh, docs), clusters_of(mesh, docs)
    code, log = validate(bootstrap_with(plugin, clusters), tmp_path)
    assert code == 0, log[-3000:]
    # Every host that is called out to has a cluster of that very name.
    assert set(plugin["callouts"]["upstreams"].values()) == {c["name"] for c in clusters}


def test_envoy_would_have_refused_a_bad_one(tmp_path):
    docs = documents("istio/portcullis.yaml")
    plugin = plugin_of("istio", docs)
    plugin["auth"]["providers"][0]["settings"]["issuer"] = 7
    code, log = validate(bootstrap_with(plugin, clusters_of("istio", docs)), tmp_path)
    assert code != 0
    assert "auth.providers[0].settings.issuer" in log


@pytest.mark.parametrize("path", sorted(p.relative_to(ROOT).as_posix() for p in (ROOT / "envoy").rglob("*.yaml")))
def test_envoy_takes_its_own_examples(path, tmp_path):
    document = yaml.safe_load((ROOT / path).read_text())
    if path == "envoy/api-keys/envoy.yaml":
        # Watches a file that `portcullis key init` makes: tests/e2e/test_api_keys.py starts both.
        assert "envoy/api-keys/ecds.json" in json.dumps(document)
        return
    if "static_resources" not in document:
        # A file that another one names, or a fragment to copy: that one is validated.
        assert path in ("envoy/api-keys/portcullis.yaml", "envoy/api-keys/global-ratelimit.yaml", "envoy/api-keys/local-ratelimit.yaml",
                        "envoy/reload/portcullis.yaml", "envoy/reload/grpc.yaml", "envoy/reload/rest.yaml"), path
        return
    secrets = {"AGENT_SMOKE_TOKEN": "f" * 64, "AGENT_SECRET_KEY": "f" * 40, "PORTCULLIS_FEED_TOKEN": "gsa_test",
                   "PORTCULLIS_PROXY_SECRET": "f" * 64, "PORTCULLIS_OAUTH_SECRET": "f" * 32, "PORTCULLIS_COOKIE_KEY": "f" * 64}
    code, log = validate(document, tmp_path, secrets)
    assert code == 0, log[-3000:]


# Kong


def meta():
    """`portcullis.meta.json`, as the program makes it."""
    require(PROGRAM)
    return json.loads(subprocess.run([PROGRAM, "schema", "--kong"], capture_output=True, text=True, timeout=60, check=True).stdout)


@pytest.mark.parametrize("name", ["kong.yml", "kong-plugin.yml"])
def test_kongs_entities_are_ones(name):
    (document,) = documents(f"kong/{name}")
    hand_written("kong").validate(document)
    # What Kong's own metadata demands of the configuration, which is what the Admin API answers with 400.
    jsonschema.Draft4Validator(meta()["config_schema"]).validate(kong_plugin(name))


def test_kong_hands_over_every_part_of_the_identity():
    """The reference page names the parts; each has its variable, empty to begin with, and its header."""
    text = (EXAMPLES / "kong/portcullis-location.conf").read_text()
    told = re.search(r"identity headers' names start with: (.*?) follow\.", (ROOT / "docs/configuration.md").read_text())[1]
    parts = re.findall(r"`([a-z-]+)`", told)
    assert len(parts) == 8
    empty = re.findall(r'^set \$portcullis_(\w+)\s+"";$', text, re.M)
    assert sorted(empty) == sorted(["decision", "audit", *(p.replace("-", "_") for p in parts)])
    sent = dict(re.findall(r"^proxy_set_header (\S+)\s+(\S+);$", text, re.M))
    assert {f"x-auth-{p}": f"$portcullis_{p.replace('-', '_')}" for p in parts}.items() < sent.items()
    assert {"Authorization", "x-gofannon-key", "x-api-key"} < {name for name, value in sent.items() if value == '""'}
    assert "nginx_location_include = /etc/kong/portcullis-location.conf" in (EXAMPLES / "kong/kong.conf").read_text()


def test_kongs_metadata_is_draft_4():
    document = meta()
    assert list(document) == ["config_schema"]
    schema = document["config_schema"]
    assert schema["$schema"] == "http://json-schema.org/draft-04/schema#"
    jsonschema.Draft4Validator.check_schema(schema)
    newer = {"const", "$defs", "if", "then", "else", "contains", "propertyNames", "examples", "$id", "prefixItems", "unevaluatedProperties"}

    def words(part, names=False):
        if isinstance(part, dict):
            for word, value in part.items():
                assert names or word not in newer, word
                assert names or word != "$ref" or (len(part) == 1 and value.removeprefix("#/definitions/") in schema["definitions"])
                words(value, not names and word in ("properties", "definitions", "patternProperties"))
        elif isinstance(part, list):
            for value in part:
                words(value)
    words(schema)


def variants():
    """Configurations, good and bad, for two schemas to agree on."""
    good = [PLUGINS[name]() for name in PLUGINS]
    yield from good
    for plugin in good:
        for path in leaves(plugin):
            for value in ({"of": "another type"}, "no such value \u0000", -1, None):
                changed = copy.deepcopy(plugin)
                inner = changed
                for key in path[:-1]:
                    inner = inner[key]
                inner[path[-1]] = value
                yield changed
            if isinstance(path[-1], str):
                changed = copy.deepcopy(plugin)
                inner = changed
                for key in path[:-1]:
                    inner = inner[key]
                inner[path[-1] + "x"] = inner.pop(path[-1])
                yield changed


def test_kongs_schema_says_what_the_schema_says():
    ours, kongs = jsonschema.Draft202012Validator(SCHEMA), jsonschema.Draft4Validator(meta()["config_schema"])
    verdicts = [(ours.is_valid(v), kongs.is_valid(v)) for v in variants()]
    assert all(a == b for a, b in verdicts)
    assert sum(a for a, _ in verdicts) > 5 and sum(not a for a, _ in verdicts) > 100
