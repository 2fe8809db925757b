"""Envoys of the conformance run: plain bootstraps, ended with the process that started them."""

import json
import sys
import tempfile
import urllib.request
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "e2e"))
from harness.paths import ENVOY  # noqa: E402
from harness.process import Process  # noqa: E402
from harness.wait import eventually  # noqa: E402

LISTENER = "type.googleapis.com/envoy.config.listener.v3.Listener"
WASM = "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm"
HCM = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"


class Envoy(Process):
    """Runs `bootstrap` (an object; its `admin` is ours); ready when the constructor returns."""

    def __init__(self, bootstrap, env=None):
        self.dir = Path(tempfile.mkdtemp(prefix="portcullis-conformance-"))
        bootstrap["admin"] = {"address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}}}
        config, self._admin = self.dir / "envoy.json", self.dir / "admin"
        config.write_text(json.dumps(bootstrap))
        super().__init__(
            [ENVOY, "-c", config, "--concurrency", 1, "--disable-hot-restart", "--admin-address-path", self._admin,
             "--drain-time-s", 1, "--log-level", "warn"],
            self.dir / "envoy.log", env=env)
        try:
            eventually(self._ready, lambda: f"Envoy to be ready; its log:\n{self.log()[-3000:]}", 60, 0.02)
        except BaseException:
            self.stop()
            raise

    def _ready(self):
        assert self.exit_code is None, self.log()[-3000:]
        try:
            return bool(self.stats("server.live"))
        except (OSError, ValueError):
            return False

    def stats(self, pattern):
        """Counters and gauges whose name matches, as {name: value}."""
        url = f"http://{self._admin.read_text().strip()}/stats?format=json&filter={pattern}"
        with urllib.request.urlopen(url, timeout=10) as answer:
            return {s["name"]: s["value"] for s in json.load(answer)["stats"] if "value" in s}

    def vm_failures(self):
        """What is not zero only when a VM was lost or could not be made."""
        if self.exit_code is not None:
            return {"exit code": self.exit_code}
        # `wasm.` is left out at the front on purpose: some of these counters have another one.
        found = self.stats("(vm_fail|runtime_error|crash|vm_reload|fail_)")
        return {name: value for name, value in found.items() if value and "wasm" in name}


def plugin(wasm, configuration, root_id="portcullis"):
    """A wasm filter with that text as its plugin configuration."""
    return {"name": root_id, "typed_config": {"@type": WASM, "config": {
        "name": root_id, "root_id": root_id, "failure_policy": "FAIL_CLOSED",
        "vm_config": {"runtime": "envoy.wasm.runtime.v8", "code": {"local": {"filename": str(wasm)}}},
        "configuration": {"@type": "type.googleapis.com/google.protobuf.StringValue", "value": configuration}}}}


def listener(name, address, *filters):
    """A listener whose every request ends in a 404 if none of the filters answers it."""
    router = {"name": "envoy.filters.http.router", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}}
    return {"name": name, "address": address, "filter_chains": [{"filters": [{
        "name": "envoy.filters.network.http_connection_manager", "typed_config": {
            "@type": HCM, "stat_prefix": name, "http_filters": [*filters, router],
            "route_config": {"virtual_hosts": [{"name": "v", "domains": ["*"], "routes": [
                {"match": {"prefix": "/"}, "direct_response": {"status": 404}}]}]}}}]}]}
