"""`envoy/envoy.yaml` as users copy it, fitted to this machine: ports, file paths, issuer and the proxy's own URL, nothing else.

The demo runs it like that. Tests may go on and replace the plugin's configuration or a setting of the
connection manager, by name, so that each test shows what it changed.
"""

import copy

import yaml

from .paths import ENVOY_YAML, WASM


class Bootstrap:
    """A loaded bootstrap; `doc` is the whole document."""

    def __init__(self, path=ENVOY_YAML):
        self.doc = yaml.safe_load(path.read_text())

    # Places in the document

    @property
    def listener(self):
        (listener,) = self.doc["static_resources"]["listeners"]
        return listener

    @property
    def hcm(self):
        """The HTTP connection manager's settings."""
        return self.listener["filter_chains"][0]["filters"][0]["typed_config"]

    @property
    def wasm(self):
        """The filter's `PluginConfig`."""
        (entry,) = [f for f in self.hcm["http_filters"] if f["name"] == "portcullis"]
        return entry["typed_config"]["config"]

    @property
    def plugin(self):
        """The filter's own configuration (design: `auth:`, `agent:`, …)."""
        return self.wasm["configuration"]["value"]

    @plugin.setter
    def plugin(self, value):
        self.wasm["configuration"]["value"] = value

    def cluster(self, name):
        (found,) = [c for c in self.doc["static_resources"]["clusters"] if c["name"] == name]
        return found

    # Fitting it to this machine

    def listen(self, port=0, admin_port=0):
        """Loopback only; 0 lets the kernel choose, and Envoy's admin interface tells."""
        self.listener["address"]["socket_address"] = {"address": "127.0.0.1", "port_value": port}
        self.doc["admin"]["address"]["socket_address"] = {"address": "127.0.0.1", "port_value": admin_port}

    def files(self, access_log, wasm=WASM):
        self.wasm["vm_config"]["code"]["local"]["filename"] = str(wasm)
        self.hcm["access_log"][0]["typed_config"]["path"] = str(access_log)

    def point(self, name, port):
        """Sends a cluster's traffic to 127.0.0.1:`port`; makes a plain one when there is none of that name."""
        clusters = self.doc["static_resources"]["clusters"]
        if name not in [c["name"] for c in clusters]:
            clusters.append({**copy.deepcopy(self.cluster("agents")), "name": name})
        entry = self.cluster(name)
        entry["type"] = "STATIC"
        entry["load_assignment"] = {
            "cluster_name": name,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": {
                "socket_address": {"address": "127.0.0.1", "port_value": port}}}}]}],
        }

    def issuer(self, url):
        """The issuer of the file's own `oidc` provider becomes `url`; an http one is called without TLS."""
        scheme, _, authority = url.partition("://")
        authority = authority.split("/")[0]
        (oidc,) = [p for p in self.plugin["auth"]["providers"] if p["type"] == "oidc"]
        oidc["settings"]["issuer"] = url
        self.plugin["callouts"]["upstreams"] = {authority: "issuer"}
        if scheme == "http":
            self.cluster("issuer").pop("transport_socket", None)

    def resource(self, url):
        """The URL that callers know the proxy by becomes `url`."""
        self.plugin["auth"]["resource_metadata"]["resource"] = url

    # What only tests change

    def drop_tls(self, name):
        """For an https issuer that the test plays on a plain loopback port."""
        self.cluster(name).pop("transport_socket", None)

    def set_hcm(self, **settings):
        """Replaces settings of the connection manager; None removes one."""
        for name, value in settings.items():
            if value is None:
                self.hcm.pop(name, None)
            else:
                self.hcm[name] = value

    def dump(self):
        return yaml.safe_dump(self.doc, sort_keys=False)
