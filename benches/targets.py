"""What the benchmark has to show, and whether it does."""

import dataclasses

import stats

# name of the row -> (workload, entry, base, at least)
_RATIOS = [
    ("Cached JWT, against Envoy's with cache and claims", "repeated", "portcullis", "native-cache-claims", 0.92),
    ("Cached JWT, against the no-op filter that sets three headers", "repeated", "portcullis", "noop-set3", 0.95),
    ("New RS256, against Envoy's as it comes", "new-rs256", "portcullis", "native", 1.12),
    ("New RS256, against Envoy's with three claims in headers", "new-rs256", "portcullis", "native-claims", 1.12),
    ("New ES256 with the host's crypto, against Envoy's as it comes", "new-es256", "portcullis", "native", 1.05),
    ("New ES256 with the host's crypto, against Envoy's with three claims in headers", "new-es256", "portcullis", "native-claims", 1.05),
    ("New ES256 with precomputed tables, against Envoy's as it comes", "new-es256", "portcullis-tables", "native", 1.7),
    *((f"{count:,} API key{'s' if count > 1 else ''}, against the no-op filter that sets three headers",
       f"api-keys-{count}", "portcullis", "noop-set3", 0.92) for count in (1, 1000, 100_000)),
    *((f"Refusal ({what}), against an acceptance", "refused", f"portcullis, {what}", "portcullis, accepted", 1.0)
      for what in ("no token", "expired", "forged")),
    ("Refusal (forged, each new), against a new token's acceptance", "refused-forged", "portcullis, forged", "portcullis, accepted", 1.0),
    ("20 providers, against one", "chain", "20 providers", "1 providers", 0.90),
    ("10,000 globs, against one", "globs", "10000 globs", "1 globs", 0.90),
]


@dataclasses.dataclass(frozen=True)
class Outcome:
    """One target. `met` is None when it was not measured."""

    what: str
    wanted: str
    measured: str
    met: bool | None
    # By how much it was missed, in words; empty when it was not.
    short: str = ""


def outcomes(results):
    """Every target with what `results` (the file that `benches/run` writes) say of it."""
    found = [_ratio(results, *row) for row in _RATIOS]
    memory = {one["label"]: one for one in results.get("memory", [])}
    full = memory.get("portcullis")
    found.append(_at_most("100,000 cached RS256 tokens, resident memory of one worker's VM more than without",
                          full and full["grown_bytes"] / 2**20, 100, "MiB"))
    bounded = memory.get("portcullis, cached_tokens 10000")
    found.append(_at_most("The same tokens with `cached_tokens: 10000`: a tenth of that is due, and a fifth allowed",
                          bounded and full and bounded["grown_bytes"] / full["grown_bytes"], 0.2, "of it", 2))
    found.append(_at_most("The module", results["facts"].get("module_bytes", 0) / 1024 or None, 900, "KiB"))
    start = [one["seconds"] for one in results.get("start", []) if one["label"] == "portcullis"]
    spread = stats.Spread.of(start) if start else None
    found.append(_at_most("Envoy with the module, start to ready", spread and spread.median, 1.0, "s", 2))
    return found


def _ratio(results, what, workload, entry, base, wanted):
    rows = [row for row in results["measured"] if row["workload"] == workload]
    present = {row["label"] for row in rows}
    if entry not in present or base not in present:
        return Outcome(what, f"≥ {wanted:.2f}", "not measured", None)
    spread = stats.ratio(rows, entry, base)
    met = spread.median >= wanted
    return Outcome(what, f"≥ {wanted:.2f}", spread.text(), met, "" if met else f"{(1 - spread.median / wanted):.0%} short")


def _at_most(what, value, wanted, unit, digits=0):
    limit = f"≤ {wanted:g} {unit}"
    if value is None:
        return Outcome(what, limit, "not measured", None)
    met = value <= wanted
    return Outcome(what, limit, f"{value:.{digits}f} {unit}", met, "" if met else f"{value / wanted - 1:.0%} over")
