"""Results as small as they can be and still be all that the page reads."""

import copy


def row(workload, number, label, rps, **more):
    return {"workload": workload, "round": number, "label": label, "rps": rps, "cpu_us": 1e6 / rps, "p50_us": 300.0, "p99_us": 900.0,
            "requests": int(rps), "rss_bytes": 90 << 20, **more}


_FACTS = {
    "command": "make bench", "seconds": 1, "rounds": 3, "tokens": 10, "cpu": "A processor", "cores": 2, "load_before": 0.1, "load_after": 1.5,
    "kernel": "6.1", "envoy": "1.40.0", "measured_at": "2026-01-02 03:04 UTC", "module_bytes": 800 << 10, "module_gzip_bytes": 300 << 10,
    "token_bytes": {"RS256": 797}, "took_seconds": 42,
}


def results(ours=(920, 1000, 1100), native=(1000, 1000, 1000)):
    measured = []
    for number, (own, base) in enumerate(zip(ours, native)):
        measured += [row("repeated", number, "native-cache-claims", base), row("repeated", number, "portcullis", own, hit_share=1.0)]
    return copy.deepcopy({
        "facts": _FACTS,
        "workloads": [{"name": "repeated", "title": "One token repeated", "base": "native-cache-claims", "note": "",
                       "ready_seconds": {"native-cache-claims": 0.1, "portcullis": 0.4}}],
        "measured": measured,
        "start": [{"label": "portcullis", "round": n, "seconds": s, "rss_bytes": 100 << 20} for n, s in enumerate((0.4, 1.2, 0.5))],
        "memory": [
            {"label": "portcullis", "tokens": 100_000, "entries": 100_000, "before_bytes": 100 << 20, "after_bytes": 190 << 20, "grown_bytes": 90 << 20},
            {"label": "native-cache-claims", "tokens": 100_000, "entries": None, "before_bytes": 1, "after_bytes": 2, "grown_bytes": 1},
        ],
    })


def series(costs):
    """A series `globs` of these CPU µs by size."""
    measured = [row("globs", number, f"portcullis, {size}", 1e6 / cost) for size, cost in costs.items() for number in range(3)]
    labels = {f"portcullis, {size}": size for size in costs}
    return {
        "facts": {**_FACTS, "command": "make bench-scale"},
        "workloads": [{"name": "globs", "title": "Globs", "base": next(iter(labels)), "note": "", "sizes": labels,
                       "ready_seconds": {label: 0.4 + 1e-6 * size for label, size in labels.items()}}],
        "measured": measured,
    }
