"""The vector folder's own adapter, but with one Envoy for many groups.

What a group becomes is the folder's `adapters/portcullis.py` word for word: the same plugin configuration, connection
manager and clusters. Only it is not started in an Envoy of its own (1.5 s each, of which there are 150): its listener
is handed to a running Envoy, as operators reload theirs. A configuration that the filter refuses is an error all
the same, and since the VM lives on, what one group leaves behind in it meets the next.

PORTCULLIS_JWKS     inline or remote, as in the folder's adapter
PORTCULLIS_CRYPTO   `library`: signatures verified by the filter itself, `host` (default): as the filter finds best
PORTCULLIS_REPORT   file for what is known at the end: {"envoys": started, "groups": n, "vm_failures": {...}}
"""

import atexit
import json
import os
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import vlib  # the folder's, put on the path by its runner

from envoys import LISTENER, Envoy, listener, plugin

reference = vlib.load_adapter(os.path.join(vlib.ROOT, "adapters", "portcullis.py"))
NAME = reference.NAME

CRYPTO = {a: "library" for a in ("rs256", "rs384", "rs512", "es256", "es384", "es512")}
# Group clocks are those of the moment their tokens were made, so an Envoy with one may not grow old.
CLOCK_TOLERANCE = 20


class Gateway:
    """An Envoy that takes its listeners from a file."""

    def __init__(self, clusters, clock):
        self.clusters, self.born, self.clock = clusters, time.time(), clock
        self.lds = None
        self.version = 0
        env = {}
        if clock is not None:
            env = {"LD_PRELOAD": vlib.fakeclock_so(), "FAKE_CLOCK_OFFSET": str(int(clock) - int(self.born))}
        import tempfile

        folder = Path(tempfile.mkdtemp(prefix="portcullis-lds-"))
        self.lds = folder / "lds.json"
        # Keeps the VM alive when the group's own listener was refused.
        keep = {"auth": {"providers": [{"type": "static_token", "settings": {
            "token": "keeps-the-vm-0123456789abcdef", "identity": {"user_id": "nobody"}}}]}}
        self.keeper = listener("keeper", {"pipe": {"path": str(folder / "keeper")}}, plugin(reference.WASM, json.dumps(keep)))
        self._write(self.keeper)
        self.envoy = Envoy({
            "node": {"id": "conformance", "cluster": "conformance"},
            "static_resources": {"clusters": clusters},
            "dynamic_resources": {"lds_config": {"resource_api_version": "V3", "path_config_source": {"path": str(self.lds)}}},
        }, env)
        started.append(self)

    def fits(self, clusters, clock):
        if self.envoy.exit_code is not None or self.clusters != clusters or (self.clock is None) != (clock is None):
            return False
        return clock is None or (self.clock == clock and time.time() - self.born < CLOCK_TOLERANCE)

    def _write(self, *listeners):
        self.version += 1
        resources = [{"@type": LISTENER, **entry} for entry in listeners]
        fresh = self.lds.with_suffix(".new")
        fresh.write_text(json.dumps({"version_info": str(self.version), "resources": resources}))
        fresh.rename(self.lds)

    def serve(self, entry):
        """Puts a listener in the place of the last one; `RuntimeError` when it is refused."""
        before = self._updates()
        self._write(self.keeper, entry)
        deadline = time.time() + 30
        while (now := self._updates()) == before:
            if time.time() > deadline or self.envoy.exit_code is not None:
                raise RuntimeError("no update: " + self.envoy.log()[-400:])
            time.sleep(0.01)
        if now[1] != before[1]:
            raise RuntimeError("refused: " + self.envoy.log()[-400:])
        port = entry["address"]["socket_address"]["port_value"]
        while vlib.raw_http(port, b"", timeout=0.05).error.startswith("connect"):
            if time.time() > deadline:
                raise RuntimeError("does not listen: " + self.envoy.log()[-400:])
            time.sleep(0.01)

    def _updates(self):
        found = self.envoy.stats(r"listener_manager.lds.update_(success|rejected)")
        return tuple(found.get(f"listener_manager.lds.update_{what}", 0) for what in ("success", "rejected"))


class Group:
    """What the runner holds on to while it sends a group's requests."""

    def __init__(self, gateway):
        self.envoy = gateway.envoy

    def alive(self):
        return self.envoy.exit_code is None

    def tail(self, n=1500):
        return self.envoy.log()[-n:]

    def close(self):
        """The gateway serves the next group too; all of them end with the process."""


started, running, groups = [], {}, 0


def start(group):
    global groups
    groups += 1
    doc = json.loads(reference.make_config(group))["static_resources"]
    (entry,) = doc["listeners"]
    entry["name"] = f"group-{groups}"
    if os.environ.get("PORTCULLIS_CRYPTO") == "library":
        chain = entry["filter_chains"][0]["filters"][0]["typed_config"]["http_filters"]
        configuration = chain[0]["typed_config"]["config"]["configuration"]
        configuration["value"] = json.dumps({**json.loads(configuration["value"]), "crypto": CRYPTO})
    clock = group.get("clock")
    gateway = running.get(clock)
    if gateway is None or not gateway.fits(doc["clusters"], clock):
        if gateway is not None:
            finish(gateway)
        gateway = running[clock] = Gateway(doc["clusters"], clock)
    gateway.serve(entry)
    return Group(gateway)


failures = {}


def finish(gateway):
    failures.update(gateway.envoy.vm_failures())
    gateway.envoy.stop()


@atexit.register
def end():
    for gateway in running.values():
        finish(gateway)
    if report := os.environ.get("PORTCULLIS_REPORT"):
        Path(report).write_text(json.dumps({"envoys": len(started), "groups": groups, "vm_failures": failures}))
