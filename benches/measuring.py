"""Measuring: wrk against one proxy, what that cost the proxy, and the order of rounds."""

import contextlib
import json
import math
import subprocess
from pathlib import Path

from contestants import NONE
from proxy import Proxy

_SCRIPT = Path(__file__).parent / "load.lua"
# What a cache must have done, so that a workload measured what it says.
_HITS = {"all": lambda share: share > 0.95, "none": lambda share: share < 0.05}


def measure(proxy, entry, seconds, connections):
    """Loads `proxy` for `seconds` (wrk knows whole ones only); rps, CPU µs a request, latency percentiles, resident bytes.

    Begins with the request after the last one that this proxy was sent of this traffic, so that a credential comes again
    only when all others have.

    Ends the run when an answer was not as the entry expects: with `refused` all are refusals, else none.
    """
    place = proxy.places.get(entry.traffic.path, 0)
    counts = proxy.cache_counts()
    before = proxy.cpu_seconds()
    finished = subprocess.run(
        ["wrk", "-t1", f"-c{connections}", f"-d{max(1, math.ceil(seconds))}s", "--timeout", "30s", "-s", _SCRIPT,
         f"http://127.0.0.1:{proxy.port}/", "--", *entry.traffic.arguments(place)],
        capture_output=True, text=True, timeout=seconds + 120, check=False,
    )
    cpu = proxy.cpu_seconds() - before
    lines = [line for line in finished.stdout.splitlines() if line.startswith("RESULT ")]
    if finished.returncode != 0 or len(lines) != 1:
        raise SystemExit(f"wrk failed on {proxy.name}:\n{finished.stdout}{finished.stderr}")
    result = json.loads(lines[0].removeprefix("RESULT "))
    if result["requests"] == 0 or result["socket_errors"] > 0:
        raise SystemExit(f"{proxy.name}: not a clean measurement: {result}")
    expected = result["requests"] if entry.refused else 0
    if result["status_errors"] != expected:
        raise SystemExit(f"{proxy.name}: {result['status_errors']} refusals where {expected} were due")
    # What was under way at the end has been sent as well.
    proxy.places[entry.traffic.path] = (place + result["requests"] + connections) % entry.traffic.count
    measured = {
        "rps": round(result["requests"] / (result["duration_us"] / 1e6), 1),
        "cpu_us": round(cpu * 1e6 / result["requests"], 3),
        "p50_us": result["p50_us"],
        "p99_us": result["p99_us"],
        "requests": result["requests"],
        "rss_bytes": proxy.rss_bytes(),
    }
    share = _share(counts, proxy.cache_counts())
    if share is not None:
        measured["hit_share"] = share
    return measured


def _share(before, after):
    """The part of look-ups that the cache of verified tokens answered; None where none was asked."""
    if after is None:
        return None
    hits, misses = (b - a for a, b in zip(before or (0, 0), after))
    return round(hits / (hits + misses), 4) if hits + misses else None


def play(workload, rounds, seconds, workdir):
    """Measures every entry of a workload in alternating rounds.

    A round measures each for `seconds` and the next round begins with another, so that a machine that grows slower
    for a minute hits all of them: ratios hold where absolute figures do not. Before each round every contestant has
    to answer what is good with 200 and the right identity headers, and what is bad with 401.

    Returns (measurements, ready seconds by contestant).
    """
    measured = []
    with contextlib.ExitStack() as stack:
        upstream = stack.enter_context(Proxy(NONE, _folder(workdir, "upstream"))).port if workload.proxied else None
        proxies = {}
        for entry in workload.entries:
            name = entry.contestant.name
            if name not in proxies:
                proxies[name] = stack.enter_context(
                    Proxy(entry.contestant, workdir, entry.workers or workload.workers, upstream))
        for entry in workload.entries:
            _warm(proxies[entry.contestant.name], entry, workload)
        for number in range(rounds):
            for entry in workload.entries:
                proxies[entry.contestant.name].probe(entry.probes)
            turn = number % len(workload.entries)
            for entry in workload.entries[turn:] + workload.entries[:turn]:
                one = measure(proxies[entry.contestant.name], entry, seconds, entry.connections or workload.connections)
                share = one.get("hit_share")
                if entry.hits and share is not None and not _HITS[entry.hits](share):
                    raise SystemExit(f"{workload.name}: {entry.label}: {share:.0%} of the tokens were in its cache "
                                     f"where {entry.hits} should be")
                measured.append({"workload": workload.name, "round": number, "label": entry.label, **one})
        for proxy in proxies.values():
            proxy.still_whole()
        ready = {name: round(proxy.ready_seconds, 3) for name, proxy in proxies.items()}
    return measured, ready


def _warm(proxy, entry, workload):
    """Code is compiled, connections have been made, and the caches hold what they will hold."""
    proxy.probe(entry.probes)
    seconds = workload.warm_seconds
    first = measure(proxy, entry, seconds, workload.connections)
    if entry.warm_all:
        needed = entry.traffic.count * proxy.workers / first["rps"]
        if needed * 1.2 > seconds:
            measure(proxy, entry, needed * 1.2, workload.connections)


def _folder(workdir, name):
    folder = workdir / name
    folder.mkdir(exist_ok=True)
    return folder
