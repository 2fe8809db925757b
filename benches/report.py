"""Medians, ratios against Envoy's own filter, and how far the rounds lay apart."""

import os
import platform
import statistics
import subprocess


def machine(envoy):
    """What the numbers were measured on."""
    version = subprocess.run([envoy, "--version"], capture_output=True, text=True, check=True).stdout.split()
    model = "unknown"
    with open("/proc/cpuinfo") as cpuinfo:
        for line in cpuinfo:
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
                break
    return {"cpu": model, "cores": os.cpu_count(), "load_before": os.getloadavg()[0],
            "kernel": platform.release(), "envoy": version[-1].split("/")[1]}


def show(facts, measured):
    """Prints one table a workload.

    The ratio is the median over the rounds of (this one's rps / native's rps in the same round),
    so a slow minute of the machine does not enter; the spread is that ratio's least and greatest.
    """
    print(f"\n{facts['cores']} x {facts['cpu']}, load {facts['load_before']:.1f}, Envoy {facts['envoy']}, "
          f"module {facts['module_bytes'] / 1024:.0f} KiB, {facts['rounds']} rounds of {facts['seconds']:g} s")
    for workload in dict.fromkeys(one["workload"] for one in measured):
        rows = [one for one in measured if one["workload"] == workload]
        names = list(dict.fromkeys(one["contestant"] for one in sorted(rows, key=lambda one: one["round"])))
        base = next(name for name in names if name.startswith("native"))
        base_rps = {one["round"]: one["rps"] for one in rows if one["contestant"] == base}
        base_cpu = {one["round"]: one["cpu_us"] for one in rows if one["contestant"] == base}
        print(f"\n{workload} (compared with {base})")
        print(f"  {'':24}{'rps':>8}{'CPU µs':>8}{'p50 ms':>8}{'p99 ms':>8}{'rps ratio':>11}{'spread':>13}{'CPU ratio':>11}")
        for name in names:
            own = [one for one in rows if one["contestant"] == name]
            ratios = [one["rps"] / base_rps[one["round"]] for one in own]
            # More is better in both ratios.
            cpu = [base_cpu[one["round"]] / one["cpu_us"] for one in own]
            spread = f"{min(ratios):.2f}-{max(ratios):.2f}"
            print(f"  {name:24}{_median(own, 'rps'):8.0f}{_median(own, 'cpu_us'):8.1f}"
                  f"{_median(own, 'p50_us') / 1e3:8.2f}{_median(own, 'p99_us') / 1e3:8.2f}"
                  f"{statistics.median(ratios):11.2f}{spread:>13}{statistics.median(cpu):11.2f}")


def _median(rows, key):
    return statistics.median(one[key] for one in rows)
