"""A real Envoy, its admin interface, its metrics and its audit lines."""

import json
import re
import urllib.request
from pathlib import Path

from .memory import Memory
from .paths import ENVOY, WASM, require
from .process import Process
from .wait import eventually

# proxy-wasm-cpp-host, when a callback of the module ends in a trap.
# A configuration that was refused is no loss: the one in force goes on.
_TRAP = re.compile(r"\] Function: \w+ failed: |Wasm VM failed(?! Failed to configure)|Failed to (load|initialize) Wasm", re.IGNORECASE)


def listening_port(admin_file):
    """Where an Envoy's only listener is, or None while it is not yet ready."""
    try:
        admin = Path(admin_file).read_text().strip()
        with urllib.request.urlopen(f"http://{admin}/ready", timeout=5) as answer:
            if not admin or answer.status != 200:
                return None
        with urllib.request.urlopen(f"http://{admin}/listeners?format=json", timeout=10) as answer:
            (listener,) = json.load(answer)["listener_statuses"]
        return listener["local_address"]["socket_address"]["port_value"]
    except (OSError, ValueError):
        return None


# Now and then a start on a busy machine ends in Envoy's gRPC library before Envoy has said a word about its configuration.
_GRPC_CRASH = re.compile(r"E\S+ \S+ +\d+ ev_epoll1_linux\.cc:\d+\] [^\n]*Bad file descriptor")


class EnvoyRefused(Exception):
    """Envoy ended instead of starting; the message is its log."""


class Envoy(Process):
    """Runs a `Bootstrap` in `workdir`; ready to serve when the constructor returns.

    `port` is where callers go, `admin` where the metrics are.
    """

    def __init__(self, bootstrap, workdir, *, concurrency=1, env=None, wasm=WASM):
        require(ENVOY, wasm)
        workdir = Path(workdir)
        self.audit_path = workdir / "audit.ndjson"
        self.audit_path.touch()
        self._audit_by_id, self._audit_read = {}, 0
        bootstrap.files(self.audit_path, wasm)
        config = workdir / "envoy.yaml"
        config.write_text(bootstrap.dump())
        self._admin_file = workdir / "admin"
        command = [
            ENVOY, "-c", config,
            "--concurrency", concurrency,
            "--disable-hot-restart",
            "--admin-address-path", self._admin_file,
            # Access logs are buffered for ten seconds otherwise.
            "--file-flush-interval-msec", 20,
            "--drain-time-s", 1,
        ]
        for last in (False, False, True):
            super().__init__(command, workdir / "envoy.log", env=env)
            try:
                eventually(self._ready, lambda: f"Envoy to be ready; its log:\n{self.log()}", deadline=60, interval=0.05)
                listeners = self._admin_json("/listeners?format=json")["listener_statuses"]
                self.port = listeners[0]["local_address"]["socket_address"]["port_value"]
                return
            except EnvoyRefused as refused:
                self.stop()
                if last or not _GRPC_CRASH.fullmatch(str(refused).strip()):
                    raise
            except BaseException:
                self.stop()
                raise

    def _ready(self):
        if self.exit_code is not None:
            raise EnvoyRefused(self.log())
        try:
            self.admin = self._admin_file.read_text().strip()
            if not self.admin:
                return False
            with urllib.request.urlopen(f"http://{self.admin}/ready", timeout=5) as answer:
                return answer.status == 200
        except OSError:
            return False

    def _admin_json(self, path):
        with urllib.request.urlopen(f"http://{self.admin}{path}", timeout=10) as answer:
            return json.load(answer)

    # Metrics

    def stats(self, pattern=""):
        """Counters and gauges whose name matches the regular expression, as {name: value}."""
        with urllib.request.urlopen(f"http://{self.admin}/stats", timeout=10) as answer:
            text = answer.read().decode()
        found = {}
        for line in text.splitlines():
            name, _, value = line.rpartition(": ")
            if re.fullmatch(r"\d+", value) and re.search(pattern, name):
                found[name] = int(value)
        return found

    def stats_text(self):
        """`/stats` as it stands, histograms too."""
        with urllib.request.urlopen(f"http://{self.admin}/stats", timeout=10) as answer:
            return answer.read().decode()

    def vm_failures(self):
        """What is there only when the filter's VM was lost or could not be made: counters, and lines of the log.

        The counters alone say too little: under `FAIL_CLOSED` Envoy counts no trap at all, it only logs it.
        `test_traps.py` shows that a trap is seen under either policy.
        """
        found = self.stats(r"^wasm\..*(fail|error|crash|reload)|wasm.*_fail")
        # Not the filter's own, whatever they are called.
        counters = {n: v for n, v in found.items() if v and not n.startswith("wasmcustom.")}
        lines = [line for line in self.log().splitlines() if _TRAP.search(line)]
        return {**counters, **({"log": lines} if lines else {})}

    def memory_kib(self):
        """Resident memory of the process, as the kernel counts it."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(re.search(r"^VmRSS:\s+(\d+) kB", status, re.M)[1])

    def memory(self):
        """What its resident memory is made of now, a `Memory`."""
        return Memory.of(self.pid, self.admin)

    # Audit

    def audit_text(self):
        """Every whole line so far, as it stands in the log."""
        text = self.audit_path.read_text()
        return text[: text.rfind("\n") + 1].splitlines()

    def audit_lines(self):
        """Every whole line so far; each must be JSON."""
        return [json.loads(line) for line in self.audit_text()]

    def audit_line(self, request_id, deadline=5.0):
        """The one line of a request, as it stands in the log, waited for."""
        assert request_id, "no request id to look for"
        lines = eventually(
            lambda: self._new_lines().get(request_id),
            lambda: f"the audit event of {request_id}; the last ones: {self.audit_text()[-3:]}", deadline)
        assert len(lines) == 1, f"more than one audit event for one request: {lines}"
        return lines[0]

    def _new_lines(self):
        """Every line so far by its request's id. Each is read once: a thousand requests have a thousand lines."""
        with open(self.audit_path, "rb") as log:
            log.seek(self._audit_read)
            text = log.read()
        text = text[: text.rfind(b"\n") + 1]
        self._audit_read += len(text)
        for line in text.decode().splitlines():
            self._audit_by_id.setdefault(json.loads(line)["correlation_id"], []).append(line)
        return self._audit_by_id

    def audit(self, request_id, deadline=5.0):
        """The one event of a request, waited for."""
        return json.loads(self.audit_line(request_id, deadline))
