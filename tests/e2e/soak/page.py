"""The report of a soak, in Markdown."""

from collections import Counter

MEMORY = {
    "resident": "resident, of which",
    "files": "– pages of the program and its libraries, read in when they are first run",
    "modules": "– the filter's memory, in all its VMs",
    "tables": "– – of it tables of ES256 keys, counted by the keys",
    "allocated": "– allocated by Envoy and V8",
    "free": "– free, and kept by the allocator",
    "other": "– the rest: V8's heap and machine code, stacks",
    "in_use": "in use: resident without the program's pages and what is free",
}


def page(facts):
    """The whole page."""
    refused = sum(n for c in facts["hostile"].values() for s, n in c.items())
    # Carol is hostile while the policy is against her; what became of her is judged request by request.
    excused = sum(n for k, c in facts["good"].items() if k != "carol" for s, n in c.items() if s == 503)
    per_peer = Counter()
    for (name, _), n in facts["outages"].items():
        per_peer[name] += n
    rows = [
        ("length", f"{facts['seconds'] / 60:.1f} minutes, seed {facts['seed']}"),
        ("requests", f"{facts['requests']} by {facts['clients']} HTTP/1.1 clients ({facts['requests'] / facts['seconds']:.0f}/s), "
                     f"{facts['http2']} by HTTP/2 clients, and {facts['leavers']} callers who hung up in the middle"),
        ("good ones answered", f"p50 {facts['p50_ms']:.1f} ms, p99 {facts['p99_ms']:.0f} ms, questions to STS, verifier and Graph included"),
        ("reloads", f"{facts['reloads']}, and {facts['refused_reloads']} refused ones"),
        ("outages", ", ".join(f"{name} {n}" for name, n in sorted(per_peer.items()))),
        ("key rotations of issuers", str(facts["rotations"])),
        ("keys made and revoked in the key service", f"{facts['keys_made']} and {facts['keys_revoked']}"
         + (f"; {facts['put_off']} times the service's database was too slow, and it was asked again" if facts["put_off"] else "")),
        ("hostile requests that reached the agent", f"0 of {refused}" if not facts["violations"] else "see below"),
        ("good requests refused without an outage to blame", "0" if not facts["violations"] else "see below"),
        ("good requests answered 503 during an outage or its backoff", f"{excused} (questions to STS or the verifier; none for keys)"),
        ("let in without groups during an outage of Graph or its backoff", str(facts["without_groups"])),
        ("requests with exactly one audit event", f"{facts['audited']} of {facts['audited']}" if not facts["violations"] else "see below"),
        ("VM failures", "0" if not facts["violations"] else "see below"),
    ]
    lines = ["# The last soak", "", "Made by `make soak MINUTES=…`; [operations.md](operations.md) says what it does.", "", "| | |", "|---|---|"]
    lines += [f"| {name} | {value} |" for name, value in rows]
    lines += ["", "| memory, MiB | after a third | after two thirds | at the end | at most |", "|---|---|---|---|---|"]
    for name in MEMORY if facts["memory"] else ():
        cells = ["–" if kib is None else f"{kib / 1024:.1f}" for kib in facts["memory"][name]]
        lines.append(f"| {MEMORY[name]} | {' | '.join(cells)} |")
    lines += ["", "| caller | answers |", "|---|---|"]
    for kinds in (facts["good"], facts["hostile"]):
        for kind, statuses in sorted(kinds.items()):
            answers = ", ".join(f"{n} × {status}" for status, n in sorted(statuses.items()))
            lines.append(f"| {kind} | {answers} |")
    if facts["violations"]:
        lines += ["", "**Violations**", "", *[f"- {v}" for v in facts["violations"]]]
    return "\n".join(lines) + "\n"
