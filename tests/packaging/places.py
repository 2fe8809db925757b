"""The examples, the plugin configurations in them, and the clusters that each host makes of the rest."""

import json
import subprocess
from pathlib import Path

import yaml

from harness.bootstrap import Bootstrap
from harness.paths import ENVOY, PROGRAM, ROOT, WASM, require

EXAMPLES = ROOT / "examples"
HERE = Path(__file__).parent
MESHES = ["istio", "envoy-gateway", "higress"]


def documents(path):
    """The YAML documents of an example."""
    return list(yaml.safe_load_all((EXAMPLES / path).read_text()))


def of_kind(docs, kind):
    (found,) = [d for d in docs if d["kind"] == kind]
    return found


def plugin_of(mesh, docs):
    """What the host hands to the filter."""
    if mesh == "istio":
        return of_kind(docs, "WasmPlugin")["spec"]["pluginConfig"]
    if mesh == "higress":
        return of_kind(docs, "WasmPlugin")["spec"]["defaultConfig"]
    (wasm,) = of_kind(docs, "EnvoyExtensionPolicy")["spec"]["wasm"]
    return wasm["config"]


def tls(name, host, ca="/etc/ssl/certs/ca-certificates.crt", names=None):
    """A cluster to an external host, as Istio's control plane writes one."""
    return {
        "name": name, "type": "STRICT_DNS", "connect_timeout": "2s",
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [
            {"endpoint": {"address": {"socket_address": {"address": host, "port_value": 443}}}}]}]},
        "transport_socket": {"name": "envoy.transport_sockets.tls", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
            "sni": host, "common_tls_context": {"validation_context": {
                "trusted_ca": {"filename": ca},
                "match_typed_subject_alt_names": [{"san_type": "DNS", "matcher": {"exact": n}} for n in names or [host]]}}}}}


def clusters_of(mesh, docs):
    """The clusters for callouts, by the names that the host gives them."""
    if mesh == "envoy-gateway":
        return yaml.safe_load(of_kind(docs, "EnvoyProxy")["spec"]["bootstrap"]["value"])["static_resources"]["clusters"]
    if mesh == "istio":
        entry, rule = of_kind(docs, "ServiceEntry")["spec"], of_kind(docs, "DestinationRule")["spec"]
        (host,), (port,), security = entry["hosts"], entry["ports"], rule["trafficPolicy"]["tls"]
        assert rule["host"] == host and security["mode"] == "SIMPLE" and security["sni"] == host
        return [tls(f"outbound|{port['number']}||{host}", host, security["caCertificates"], security["subjectAltNames"])]
    (registry,) = of_kind(docs, "McpBridge")["spec"]["registries"]
    assert registry["protocol"] == "https" and registry["sni"] == registry["domain"]
    return [tls(f"outbound|{registry['port']}||{registry['name']}.{registry['type']}", registry["domain"])]


def validate(document, workdir, env=None):
    """`envoy --mode validate`: its exit code and its log. It loads the module and configures it."""
    require(ENVOY, WASM)
    config = workdir / "envoy.json"
    config.write_text(json.dumps(document))
    ran = subprocess.run([ENVOY, "--mode", "validate", "-c", config, "--disable-hot-restart"], cwd=ROOT, env=env or {"AGENT_SMOKE_TOKEN": "f" * 64},
                         capture_output=True, text=True, timeout=120, check=False)
    return ran.returncode, ran.stdout + ran.stderr


def bootstrap_with(plugin, clusters):
    """`envoy/envoy.yaml` with another plugin configuration, and these clusters in the place of its issuer's."""
    bootstrap = Bootstrap()
    bootstrap.plugin = plugin
    resources = bootstrap.doc["static_resources"]
    resources["clusters"] = [c for c in resources["clusters"] if c["name"] == "agents"] + clusters
    bootstrap.wasm["vm_config"]["code"]["local"]["filename"] = str(WASM)
    return bootstrap.doc


def check(plugin, workdir):
    """`portcullis check --deny-warnings`: its exit code and what it says."""
    require(PROGRAM)
    path = workdir / "plugin.json"
    path.write_text(json.dumps(plugin))
    ran = subprocess.run([PROGRAM, "check", "--deny-warnings", path], capture_output=True, text=True, timeout=60, check=False,
                         env={"AGENT_SMOKE_TOKEN": "f" * 64})
    return ran.returncode, ran.stdout + ran.stderr


def kong_plugin(name):
    """The configuration in one of Kong's examples."""
    (document,) = documents(f"kong/{name}")
    (service,) = document["services"]
    if "filter_chains" in service:
        (chain,) = service["filter_chains"]
        (entry,) = chain["filters"]
    else:
        (entry,) = [p for p in service["plugins"] if p["name"] == "portcullis"]
    return entry["config"]
