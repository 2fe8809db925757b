"""One measurement: wrk against one proxy, and the CPU time that the proxy took for it."""

import json
import os
import subprocess
from pathlib import Path

SCRIPT = Path(__file__).parent / "load.lua"
CONNECTIONS = 16
TICKS = os.sysconf("SC_CLK_TCK")


def request_file(path, tokens):
    """Writes what load.lua plays: a token a line, `-` for a request without one."""
    path.write_text("".join(f"{token or '-'}\n" for token in tokens))
    return path


def measure(proxy, requests, seconds, refused):
    """Loads `proxy` for `seconds` and returns rps, CPU µs a request and latency percentiles.

    With `refused`, every answer has to be a refusal; without, none may be.
    """
    before = _cpu_seconds(proxy.pid)
    finished = subprocess.run(
        ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds:g}s", "-s", SCRIPT,
         f"http://127.0.0.1:{proxy.port}/bench", "--", requests],
        capture_output=True, text=True, timeout=seconds + 60, check=False,
    )
    cpu = _cpu_seconds(proxy.pid) - before
    lines = [line for line in finished.stdout.splitlines() if line.startswith("RESULT ")]
    if finished.returncode != 0 or len(lines) != 1:
        raise SystemExit(f"wrk failed on {proxy.name}:\n{finished.stdout}{finished.stderr}")
    result = json.loads(lines[0].removeprefix("RESULT "))
    if result["requests"] == 0 or result["socket_errors"] > 0:
        raise SystemExit(f"{proxy.name}: not a clean measurement: {result}")
    expected = result["requests"] if refused else 0
    if result["status_errors"] != expected:
        raise SystemExit(f"{proxy.name}: {result['status_errors']} refusals where {expected} were due")
    return {
        "rps": result["requests"] / (result["duration_us"] / 1e6),
        "cpu_us": cpu * 1e6 / result["requests"],
        "p50_us": result["p50_us"],
        "p99_us": result["p99_us"],
        "requests": result["requests"],
    }


def _cpu_seconds(pid):
    """User and system time of a process and all its threads, seconds (resolution 10 ms)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS
