"""`envoy/reload` as users copy it, in a folder of its own: the filter's configuration comes from a file or a management server."""

import copy
import json
import subprocess
import time
from pathlib import Path

import yaml

from .bootstrap import Bootstrap
from .paths import PROGRAM, ROOT, WASM, require

FOLDER = ROOT / "envoy/reload"
RESOURCE = "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig"


class ReloadBootstrap(Bootstrap):
    """The bootstrap with the filter in a resource of its own; `plugin` and `wasm` are that resource's.

    `server` is an `xds.RestXds` or `xds.GrpcXds`; without one the resource is a file in `folder`.
    """

    def __init__(self, folder, server=None):
        super().__init__(FOLDER / "envoy.yaml")
        self.template = yaml.safe_load((FOLDER / "portcullis.yaml").read_text())
        self.folder = Path(folder)
        self.path = self.folder / "portcullis.yaml"
        self._server = server
        (entry,) = [f for f in self.hcm["http_filters"] if f["name"] == "portcullis"]
        discovery = entry["config_discovery"]
        if server:
            snippet = yaml.safe_load((FOLDER / server.snippet).read_text())
            discovery["config_source"] = snippet["config_source"]
            self.doc["static_resources"]["clusters"] += snippet["clusters"]
            self.point("xds", server.port)
            self.drop_tls("xds")
        else:
            source = discovery["config_source"]["path_config_source"]
            assert source == {"path": "envoy/reload/portcullis.yaml", "watched_directory": {"path": "envoy/reload"}}
            source.update(path=str(self.path), watched_directory={"path": str(self.folder)})

    @property
    def wasm(self):
        (resource,) = self.template["resources"]
        return resource["typed_config"]["config"]

    def files(self, access_log, wasm=WASM):
        super().files(access_log, wasm)
        self.publish(self.plugin)

    def resource(self, plugin):
        """The resource with that plugin configuration; text goes in as it is, as a `StringValue`."""
        (resource,) = copy.deepcopy(self.template)["resources"]
        if isinstance(plugin, str):
            value = {"@type": "type.googleapis.com/google.protobuf.StringValue", "value": plugin}
        else:
            value = {"@type": "type.googleapis.com/google.protobuf.Struct", "value": plugin}
        resource["typed_config"]["config"]["configuration"] = value
        return resource

    def publish(self, plugin):
        """Puts a plugin configuration where Envoy takes it from; returns the moment (monotonic seconds)."""
        resource = self.resource(plugin)
        if self._server:
            return self._server.publish(resource)
        # JSON is YAML, and read faster. Written outside of the watched folder's sight, on the same file system.
        new = self.folder.parent / (self.folder.name + ".new")
        new.write_text(json.dumps({"resources": [resource]}))
        now = time.monotonic()
        new.rename(self.path)
        return now


class Policies:
    """Changes the policy of a running stack."""

    def __init__(self, bootstrap):
        self._bootstrap = bootstrap
        self.resource, self.path = bootstrap.resource, bootstrap.path

    def publish(self, plugin):
        """As `ReloadBootstrap.publish`, with the stack's own upstreams for callouts where the configuration names none."""
        if isinstance(plugin, dict):
            plugin.setdefault("callouts", {}).setdefault("upstreams", self._bootstrap.plugin["callouts"]["upstreams"])
        return self._bootstrap.publish(plugin)


def checked(folder, resource):
    """What `portcullis check` says of a resource file: (exit code, lines of its findings)."""
    require(PROGRAM)
    path = Path(folder) / "checked.yaml"
    path.write_text(json.dumps({"resources": [resource]}))
    done = subprocess.run([PROGRAM, "check", path, "--json"], capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, json.loads(done.stdout)
