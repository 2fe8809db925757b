#!/usr/bin/env python3
"""docs/performance.md and its plots, from the kept results: `make bench-page`, and at the end of `make bench`."""

import json

import paths
import stats
import targets

# question -> the workloads that answer it, one plot for each question
QUESTIONS = [
    ("cached", "A token that was seen before", ["repeated", "cycling"]),
    ("new", "A new token", ["new-rs256", "new-es256", "new-ps256", "new-eddsa"]),
    ("keys", "API keys", ["api-keys-1", "api-keys-1000", "api-keys-100000"]),
    ("aws", "AWS signatures and identities", ["sigv4", "sts"]),
    ("policy", "Long chains and long lists", ["chain", "globs"]),
    ("refusals", "Refusals", ["refused", "refused-forged"]),
    ("elsewhere", "With an upstream, and with two workers",
     ["proxied-repeated", "proxied-new-rs256", "workers-2-repeated", "workers-2-new-rs256"]),
]

_ABOUT = """\
# Performance

<!-- Generated from docs/performance/*.json by benches/page.py (`make bench-page`); a test compares the two. -->

How fast the filter is beside Envoy's own filters, and what it costs as work grows. Every figure is from one run of
`make bench` or `make bench-scale`; nothing here is typed by hand but the notes on missed targets.

* Contestants are real Envoys, alike but for the filter: `none`; `noop-…`, a WebAssembly filter on the SDK that reads one header or sets three;
  `native…`, Envoy's `jwt_authn` as it comes, with its `jwt_cache`, with `claim_to_headers` for three claims, and `api_key_auth`;
  `portcullis`, the shipped module with a chain of five providers (`aws_sigv4`, `api_key`, `static_token`, two `oidc`), agent binding, allow-list,
  identity headers, hygiene, metrics and the audit event in filter state; `portcullis-1-provider`, one `oidc` and no audit, which is what `jwt_authn` does.
* They take turns: a round measures each once, and the next begins with another. **Ratios** are of figures of the same round, the median over the rounds, with
  the least and the greatest in brackets. They carry over to other machines; requests per second do not.
* Before each round every contestant answers a good credential with 200 and the right identity headers, and bad ones with 401. In each measurement
  every answer has the status that is due, and the caches' own counters say that what should come from a cache did, and what should not did not.
* CPU is that of the whole Envoy process, from `/proc`. The client (`wrk`, one thread, 16 connections) runs on the same machine. Answers are direct
  responses, by one worker, where nothing else is said.
* Envoy has nothing of its own to compare `sigv4` and STS identities with; there the no-op filter stands in, which does no cryptography at all.
"""


def render(results, scale, notes="", keys=None):
    """The page as text. `scale`, `notes` and `keys` may be empty."""
    parts = [_ABOUT, _facts(results["facts"]), _targets(results, notes)]
    present = {one["name"]: one for one in results["workloads"]}
    for name, title, wanted in QUESTIONS:
        own = [present[one] for one in wanted if one in present]
        if own:
            parts.append(f"## {title}\n\n![{title}: CPU µs a request](performance/{name}.svg)\n")
            parts += [_table(one, results["measured"]) for one in own]
    parts.append(_footprint(results))
    if results.get("reload"):
        parts.append(_reload(results["reload"]))
    if keys:
        parts.append(_keys(keys))
    if scale:
        parts.append(_scale(scale))
    return "\n".join(part for part in parts if part)


def _facts(facts):
    return (f"`{facts['command']}`, {facts['measured_at']}, {facts['took_seconds']} s: {facts['cores']} × {facts['cpu']}, Linux {facts['kernel']}, "
            f"Envoy {facts['envoy']}; load average {facts['load_before']:.1f} before"
            + (f" and {facts['load_after']:.1f} after" if "load_after" in facts else "")
            + f"; {facts['rounds']} rounds of {facts['seconds']} s. Tokens: "
            + ", ".join(f"{name} {size} B" for name, size in facts["token_bytes"].items()) + ".\n" + _busy(facts))


def _busy(facts):
    """A warning where others were at work before the run began; its own work comes later."""
    if facts["load_before"] <= facts["cores"] / 2:
        return ""
    return ("\n**The machine was busy with other things** (see its load before): these figures show that the benchmark runs, "
            "not how fast anything is.\n")


def _targets(results, notes):
    lines = ["## Targets\n", "| | target | measured | |", "|---|---|---|---|"]
    for one in targets.outcomes(results):
        verdict = {True: "met", False: f"**missed**, {one.short}", None: ""}[one.met]
        lines.append(f"| {one.what} | {one.wanted} | {one.measured} | {verdict} |")
    return "\n".join(lines) + "\n" + (f"\n{notes.strip()}\n" if notes else "")


def _table(workload, measured):
    rows = [row for row in measured if row["workload"] == workload["name"]]
    base = workload["base"]
    lines = [f"**{workload['title']}**" + (f". {workload['note']}" if workload["note"] else "") + "\n",
             f"| | requests/s | CPU µs | p50 ms | p99 ms | RSS MiB | throughput, against {base} | CPU, against it |",
             "|---|--:|--:|--:|--:|--:|--:|--:|"]
    for label in stats.labels(rows):
        middle = {key: stats.of(rows, label, key).median for key in ("rps", "cpu_us", "p50_us", "p99_us", "rss_bytes")}
        lines.append(f"| {label} | {middle['rps']:,.0f} | {middle['cpu_us']:.1f} | {middle['p50_us'] / 1e3:.2f} | {middle['p99_us'] / 1e3:.2f} "
                     f"| {middle['rss_bytes'] / 2**20:.0f} | {stats.ratio(rows, label, base).text()} "
                     f"| {stats.ratio(rows, label, base, 'cpu_us').text()} |")
    return "\n".join(lines) + "\n"


def _footprint(results):
    facts = results["facts"]
    lines = ["## Size, start and memory\n",
             f"The module: {facts['module_bytes'] / 1024:.0f} KiB ({facts['module_gzip_bytes'] / 1024:.0f} KiB compressed).\n"]
    if results.get("start"):
        lines += ["| | start to ready, s | RSS MiB when ready |", "|---|--:|--:|"]
        for label in stats.labels(results["start"]):
            seconds = stats.of(results["start"], label, "seconds")
            lines.append(f"| {label} | {seconds.text()} | {stats.of(results['start'], label, 'rss_bytes').median / 2**20:.0f} |")
        lines.append("")
    if results.get("memory"):
        lines += ["Resident memory of Envoy before and after so many different tokens, one worker:\n",
                  "| | tokens | in the cache | before, MiB | after, MiB | more, MiB |", "|---|--:|--:|--:|--:|--:|"]
        for one in results["memory"]:
            entries = "" if one["entries"] is None else f"{one['entries']:,}"
            before, after, grown = (f"{one[key] / 2**20:.1f}" for key in ("before_bytes", "after_bytes", "grown_bytes"))
            lines.append(f"| {one['label']} | {one['tokens']:,} | {entries} | {before} | {after} | {grown} |")
        lines.append("")
    return "\n".join(lines)


def _reload(reload):
    lines = ["## Reload\n", "| | |", "|---|--:|"]
    return "\n".join(lines + [f"| {name.replace('_', ' ')} | {value} |" for name, value in reload.items()]) + "\n"


def _keys(keys):
    facts = keys["facts"]
    databases = [name for name in keys if name != "facts"]
    lines = ["## The key service\n",
             f"`{facts['command']}`, {facts['measured_at']}; load average {facts['load_before']:.1f} before: {facts['keys']:,} keys of {facts['agents']:,} agents, "
             f"over HTTP to one `portcullis serve`; milliseconds, median / 95th percentile / longest, where nothing else is said.\n" + _busy(facts),
             "| | " + " | ".join(databases) + " |", "|---|" + "--:|" * len(databases)]
    for what in keys[databases[0]]:
        lines.append(f"| {what.replace('_mb', ', MB').replace('_', ' ')} | " + " | ".join(_figure(keys[name][what]) for name in databases) + " |")
    return "\n".join(lines) + "\n"


def _figure(value):
    if not isinstance(value, dict):
        return str(value)
    if "median_ms" in value:
        return f"{value['median_ms']} / {value['p95_ms']} / {value['max_ms']}"
    return f"{value['seconds']} s, {value['pages']} pages of {value['page']['median_ms']} ms, {value['mb']} MB"


def _scale(scale):
    lines = ["## Cost as work grows\n", "Flat is within 15 % of the least size; `log` is no more than log n. Anything worse than that a request, or "
             "worse than n·log n to load or to hold, is a defect.\n", _scale_facts(scale["facts"])]
    for workload in scale["workloads"]:
        title = workload["title"]
        lines += [f"### {title}\n", f"{workload['note']}\n" if workload["note"] else "",
                  f"![{title}: cost against size](performance/scale-{workload['name']}.svg)\n"]
        lines += [f"* {line}" for line in growth_lines(scale, workload["name"])]
        lines += ["", _sizes(workload, scale["measured"])]
    return "\n".join(lines)


def _scale_facts(facts):
    return (f"`{facts['command']}`, {facts['measured_at']}, {facts['took_seconds']} s; load average {facts['load_before']:.1f} before and "
            f"{facts['load_after']:.1f} after; {facts['rounds']} rounds of {facts['seconds']} s.\n" + _busy(facts))


def _sizes(workload, measured):
    rows = [row for row in measured if row["workload"] == workload["name"]]
    lines = ["| | CPU µs | requests/s | p99 ms | RSS MiB | ready, s | from the cache |", "|---|--:|--:|--:|--:|--:|--:|"]
    for label in workload["sizes"]:
        middle = {key: stats.of(rows, label, key).median for key in ("rps", "p99_us", "rss_bytes")}
        shares = [row["hit_share"] for row in rows if row["label"] == label and "hit_share" in row]
        lines.append(f"| {_grouped(label)} | {stats.of(rows, label, 'cpu_us').text(1)} | {middle['rps']:,.0f} | {middle['p99_us'] / 1e3:.2f} "
                     f"| {middle['rss_bytes'] / 2**20:.0f} | {workload['ready_seconds'][label]:.2f} | {f'{min(shares):.0%}' if shares else ''} |")
    return "\n".join(lines) + "\n"


def _grouped(label):
    family, _, size = label.partition(", ")
    return f"{family}, {int(size):,}"


def growth_lines(results, name):
    """A line for each contestant of a series and each of its costs: by how much it grew, and whether that may be."""
    workload = next(one for one in results["workloads"] if one["name"] == name)
    rows = [row for row in results["measured"] if row["workload"] == name]
    sizes = workload["sizes"]
    lines = []
    for family in dict.fromkeys(label.partition(",")[0] for label in sizes):
        labels = [label for label in sizes if label.partition(",")[0] == family]
        cost = [(sizes[label], stats.of(rows, label, "cpu_us").median) for label in labels]
        factor, word = stats.growth(cost)
        lines.append(f"{family}: CPU a request at most {factor:.2f} times that of the least size: {_verdict(word)}")
        memory = {label: stats.of(rows, label, "rss_bytes").median for label in labels}
        lines += _loaded(family, "resident memory", [(sizes[label], memory[label]) for label in labels], 8 << 20, 1024, "KiB")
        lines += _loaded(family, "time to ready", [(sizes[label], workload["ready_seconds"][label]) for label in labels], 0.3, 1e-6, "µs")
    return lines


def _loaded(family, what, points, least_difference, unit, unit_name):
    """What each thing adds to a cost that is paid once; only where the sum can be told from noise."""
    (first, base), *rest = sorted(points)
    each = [(size, (value - base) / (size - first)) for size, value in rest if value - base > least_difference]
    if len(each) < 2:
        return []
    factor, word = stats.growth(each)
    return [f"{family}: {what} {each[-1][1] / unit:.2f} {unit_name} for each at {each[-1][0]:,}, "
            f"{factor:.2f} times what it is at {each[0][0]:,}: {_verdict(word)}"]


def _verdict(word):
    return {"flat": "flat", "log": "no worse than log n", "worse": "**worse than log n: a defect**"}[word]


def load(folder=paths.PAGE_DATA):
    """(results, scale, notes, keys) as they are kept; None, and empty `notes`, where there are none."""
    results, scale, keys = (json.loads(file.read_text()) if file.exists() else None
                            for file in (folder / f"{name}.json" for name in ("results", "scale", "keys")))
    notes = folder / "notes.md"
    return results, scale, notes.read_text() if notes.exists() else "", keys


def write():
    """The page and all plots."""
    import plots

    if not (paths.PAGE_DATA / "results.json").exists():
        print("no page: docs/performance/results.json is missing; `make bench` makes it")
        return
    results, scale, notes, keys = load()
    for old in paths.PAGE_DATA.glob("*.svg"):
        old.unlink()
    present = {one["name"]: one for one in results["workloads"]}
    for name, _, wanted in QUESTIONS:
        own = [present[one] for one in wanted if one in present]
        if own:
            plots.bars(paths.PAGE_DATA / f"{name}.svg", own, results["measured"])
    for workload in scale["workloads"] if scale else []:
        rows = [row for row in scale["measured"] if row["workload"] == workload["name"]]
        plots.growth(paths.PAGE_DATA / f"scale-{workload['name']}.svg", workload, rows)
    paths.PAGE.write_text(render(results, scale, notes, keys))
    print(f"{paths.PAGE.relative_to(paths.ROOT)} and its plots are written")


if __name__ == "__main__":
    write()
