"""What a filter takes before and beside the work: start, and memory that cached tokens hold."""

import subprocess
import time

from contestants import NONE, five, native_jwt, noop, portcullis
from measuring import measure
from proxy import Proxy
from workloads import Entry

TOKENS = 100_000


def start(ground, rounds, workdir):
    """Seconds from the start of the process until Envoy is ready, contestants in turn: [{label, round, seconds, rss_bytes}]."""
    contestants = [NONE, noop("sets3"), native_jwt(ground.issuer, cache=100, claims=True), portcullis(five(ground.issuer))]
    found = []
    for number in range(rounds):
        for contestant in contestants:
            with Proxy(contestant, workdir) as proxy:
                found.append({"label": contestant.name, "round": number, "seconds": round(proxy.ready_seconds, 3),
                              "rss_bytes": proxy.rss_bytes()})
    return found


def memory(ground, workdir, tokens=TOKENS):
    """Resident memory before and after `tokens` different tokens: [{label, tokens, entries, before_bytes, after_bytes, grown_bytes}].

    Before is after the same number of requests with one token, so that what any traffic leaves behind does not count.
    """
    roomy = {"cached_tokens": 2 * tokens + 1000, "cached_token_bytes": 2_000_000_000}
    contestants = [
        ("portcullis", portcullis(five(ground.issuer), limits=roomy)),
        ("portcullis, default limits", portcullis(five(ground.issuer))),
        ("portcullis, cached_tokens 10000", portcullis(five(ground.issuer), limits={"cached_tokens": 10_000})),
        ("native-cache-claims", native_jwt(ground.issuer, cache=tokens, claims=True)),
    ]
    one, all_of_them = ground.cycling("RS256", 1), ground.cycling("RS256", tokens)
    probes = ground.issuer.probes("RS256")
    found = []
    for label, contestant in contestants:
        with Proxy(contestant, workdir) as proxy:
            proxy.probe(probes)
            measure(proxy, Entry(label, contestant, one, probes), 2, 16)
            before = proxy.rss_bytes()
            _pass(proxy, Entry(label, contestant, all_of_them, probes), tokens)
            after = proxy.rss_bytes()
            entries = _entries(proxy)
            proxy.probe(probes)
            proxy.still_whole()
        found.append({"label": label, "tokens": tokens, "entries": entries, "before_bytes": before, "after_bytes": after,
                      "grown_bytes": after - before})
    return found


def _entries(proxy):
    """What the filter says that it remembers; it says so once in a while, so the word has to stand still first."""
    seen = []
    for _ in range(20):
        seen.append(proxy.stats().get("wasmcustom.portcullis.token_cache.entries"))
        if seen[-1] is None or (seen[-1] and seen[-3:] == [seen[-1]] * 3):
            break
        time.sleep(0.5)
    return seen[-1]


def _pass(proxy, entry, tokens):
    """Every token at least once."""
    first = measure(proxy, entry, 1, 16)
    seconds = 1.15 * tokens / first["rps"] + 0.3
    for _ in range(5):
        passed = measure(proxy, entry, seconds, 16)
        if passed["requests"] >= tokens:
            return
        seconds *= 1.5 * tokens / passed["requests"]
    raise SystemExit(f"{entry.label}: {tokens:,} tokens did not get through")


def module_size(path):
    """Bytes of the module, as it is and compressed."""
    compressed = subprocess.run(["gzip", "-9", "-c", path], capture_output=True, check=True).stdout
    return {"module_bytes": path.stat().st_size, "module_gzip_bytes": len(compressed)}
