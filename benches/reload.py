#!/usr/bin/env python3
"""From the rename of the policy's file to the first request judged by it, and what a thousand reloads leave behind.

A real Envoy as `envoy/reload/` has it, one worker, direct responses. A client asks without pause over one connection; a reload is in
force when its answer changes, which includes one request. Then reloads as fast as they take effect, the resident memory, and what Envoy
does when nobody asks: timers that a reload left behind would go on.

    benches/reload.py
    RELOADS=1000 RELOADS_TIMED=100 benches/reload.py

Writes benches/results/reload-<time>.json. Exits 1 when the 99th percentile is over 250 ms, any was over a second, memory grew
by more than a tenth, or Envoy is busier than before when nobody asks.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "benches"), str(ROOT / "tests/e2e")]

from harness.issuer import Issuer  # noqa: E402
from harness.reload import Policies, ReloadBootstrap  # noqa: E402
from harness.stack import Stack, plugin  # noqa: E402
from proxy import processor_seconds  # noqa: E402

TIMED = int(os.environ.get("RELOADS_TIMED", 100))
RELOADS = int(os.environ.get("RELOADS", 1000))
IDLE_SECONDS = 10
RESULTS = ROOT / "benches/results"


def main():
    parser = argparse.ArgumentParser(description="From the rename of a policy to the first request judged by it.")
    parser.add_argument("--json", type=Path, metavar="FILE", help="the figures in short, for the page")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="portcullis-reload-") as folder:
        folder = Path(folder)
        for name in ("policy", "envoy"):
            (folder / name).mkdir()
        issuer = Issuer()
        bootstrap = ReloadBootstrap(folder / "policy")
        policies = [plugin(issuer.provider(name="fleet", allowed_subjects=[who])) for who in ("agent-*", "nobody")]
        stack = Stack(folder / "envoy", policies[0], issuers=[issuer], bootstrap=bootstrap, edit=direct)
        try:
            facts = measure(stack, Policies(bootstrap), policies, issuer)
        finally:
            stack.close()
            issuer.close()
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / time.strftime("reload-%Y%m%dT%H%M%SZ.json", time.gmtime())
    path.write_text(json.dumps(facts, indent=1) + "\n")
    cuts = statistics.quantiles(facts["milliseconds"], n=100)
    p50, p99, most = cuts[49], cuts[98], max(facts["milliseconds"])
    early, late = facts["memory_kib"][0], facts["memory_kib"][-1]
    busier = facts["idle_seconds"][1] - facts["idle_seconds"][0]
    print(f"rename to enforced, {len(facts['milliseconds'])} times: p50 {p50:.1f} ms, p99 {p99:.1f} ms, at most {most:.1f} ms")
    print(f"resident after {facts['at'][0]} reloads {early / 1024:.1f} MiB, after {facts['at'][-1]} reloads {late / 1024:.1f} MiB; "
          f"the key set was fetched {facts['fetches']} times")
    print(f"Envoy's processor time in {IDLE_SECONDS} idle seconds: {facts['idle_seconds'][0]:.2f} s before, {facts['idle_seconds'][1]:.2f} s after")
    print(f"every measurement: {path.relative_to(ROOT)}")
    if arguments.json:
        arguments.json.write_text(json.dumps({
            f"rename to enforced, median of {len(facts['milliseconds'])}": f"{p50:.1f} ms",
            "99th percentile": f"{p99:.1f} ms",
            "longest": f"{most:.1f} ms",
            f"resident after {facts['at'][0]} reloads": f"{early / 1024:.1f} MiB",
            f"resident after {facts['at'][-1]} reloads": f"{late / 1024:.1f} MiB",
            "fetches of the key set": facts["fetches"],
        }))
    if p99 > 250 or most > 1000 or late > early * 1.1 or facts["fetches"] > 1 or busier > 0.15:
        sys.exit("that is not what is promised")


def direct(bootstrap):
    """Envoy answers in place of an agent."""
    (host,) = bootstrap.hcm["route_config"]["virtual_hosts"]
    host["routes"] = [{"match": {"prefix": "/"}, "direct_response": {"status": 200}}]


def measure(stack, policies, both, issuer):
    header = [("Authorization", f"Bearer {issuer.token(ttl=7200)}")]
    connection = stack.connect()

    def until(status):
        while connection.request("GET", "/rest/orders", header).status != status:
            pass

    def idle():
        """Seconds of processor time that Envoy takes while nothing happens."""
        time.sleep(2)
        began = processor_seconds(stack.envoy.pid)
        time.sleep(IDLE_SECONDS)
        return processor_seconds(stack.envoy.pid) - began

    until(200)
    idle_before = idle()
    milliseconds, memory, at = [], [], []
    for n in range(1, RELOADS + 1):
        began = policies.publish(both[n % 2])
        until(401 if n % 2 else 200)
        if n <= TIMED:
            milliseconds.append((time.monotonic() - began) * 1000)
            # Not in step with anything.
            time.sleep(0.01 + (n * 7 % 13) / 500)
        if n % 50 == 0 or n == RELOADS:
            memory.append(stack.envoy.memory_kib())
            at.append(n)
    return {"idle_seconds": [idle_before, idle()], "milliseconds": milliseconds, "memory_kib": memory, "at": at, "fetches": issuer.count()}


if __name__ == "__main__":
    main()
