#!/usr/bin/env python3
"""Runs the published vectors against what ships, and says what differs from its label.

    .venv/bin/python tests/conformance/run.py            after `make build` and `scripts/build-conformance`

The vector folder is `../shared/vectors`, or PORTCULLIS_VECTORS. Its own runners do the work, as they are. With
PORTCULLIS_WRITE_DOCS=1 `docs/conformance.md` is written anew; otherwise it must say what was found.
With PORTCULLIS_FRESH_ENVOYS=1 every group gets an Envoy of its own, by the folder's own adapter (8 minutes more).
"""

import json
import os
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
import envoys
import page
from judge import Exceptions, Row, disagreements, judge

VECTORS = Path(os.environ.get("PORTCULLIS_VECTORS") or ROOT / "../shared/vectors").resolve()
DIST = ROOT / "dist/conformance"
DOC = ROOT / "docs/conformance.md"
FRESH = bool(os.environ.get("PORTCULLIS_FRESH_ENVOYS"))

# Name, PORTCULLIS_JWKS, PORTCULLIS_CRYPTO
GATEWAYS = [
    ("Envoy, keys inline", "inline", "host"),
    ("Envoy, keys remote", "remote", "host"),
    ("Envoy, keys inline, filter's crypto", "inline", "library"),
]
PROGRAMS = [
    ("native", [DIST / "verify"]),
    ("Node", ["node", "--no-warnings", HERE / "wasi.mjs", DIST / "verify.wasm"]),
]
HOST = "Envoy's crypto"
SETS = ["wycheproof-direct", "wycheproof-derived", "thirdparty", "attacks", "interop"]
# Shown apart on the page: run_raw names another set like one of run_jws.
RAW_NAMES = {"thirdparty": "thirdparty raw"}
# A set that has become empty, or is not found by its name, must not pass. Half of each folder is more than this.
AT_LEAST = {"wycheproof-direct": 100, "wycheproof-derived": 100, "thirdparty": 30, "attacks": 200, "interop": 100, "replay": 5}
RAW_AT_LEAST = 3000
HOST_ALGORITHMS = ("RS256", "RS384", "RS512", "ES256", "ES384", "ES512")


def main():
    for path in (DIST / "verify", DIST / "verify.wasm", DIST / "host_verify.wasm", ROOT / "dist/portcullis.wasm"):
        if not path.exists():
            sys.exit(f"{path.relative_to(ROOT)} is missing: make build && scripts/build-conformance")
    if not (VECTORS / "run_jws.py").exists():
        sys.exit(f"no vectors in {VECTORS}")
    with tempfile.TemporaryDirectory(prefix="portcullis-conformance-") as scratch:
        rows = []
        for name, program in PROGRAMS:
            rows += timed(name, raw, name, program, Path(scratch))
        rows += timed(HOST, by_host, rows, Path(scratch))
        for name, keys, crypto in GATEWAYS:
            rows += timed(name, tokens, name, keys, crypto, Path(scratch))
        rows += timed("replay", replay, Path(scratch))
    sys.exit(report(rows))


def timed(what, work, *args):
    began = time.monotonic()
    rows = work(*args)
    print(f"{what}: {len(rows)} verdicts in {time.monotonic() - began:.0f} s", flush=True)
    return rows


def runner(script, *args, out, env=None):
    """Runs one of the folder's programs; what it wrote. Its exit code only repeats what is in there."""
    command = [sys.executable, VECTORS / script, *args, "--out", out]
    env = {**os.environ, "ENVOY_BIN": str(envoys.ENVOY), "PORTCULLIS_WASM": str(ROOT / "dist/portcullis.wasm"),
           "PYTHONDONTWRITEBYTECODE": "1", **(env or {})}
    done = subprocess.run([str(a) for a in command], cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=1200)
    if not out.exists():
        sys.exit(f"{script} gave no result:\n{done.stdout.decode(errors='replace')[-3000:]}")
    return json.loads(out.read_text())


# Without a gateway


def raw(name, program, scratch):
    found = runner("run_raw.py", "--bin", shlex.join(map(str, program)), out=scratch / "raw.json")
    assert len(found["rows"]) >= RAW_AT_LEAST, len(found["rows"])
    return [raw_row(name, row, row["got"], row["ok"]) for row in found["rows"]]


def raw_row(name, row, got, ok):
    algorithm = f" · {row['alg']}" if row["set"] in ("wycheproof", "cross") else ""
    return Row("raw", RAW_NAMES.get(row["set"], row["set"]) + algorithm, name, row["id"], row["expect"], got, ok, row["comment"])


def by_host(rows, scratch):
    """The vectors that a host's crypto is asked about, in the proxy itself. `rows` are those of the native run."""
    emitted = scratch / "raw.ndjson"
    subprocess.run([sys.executable, VECTORS / "run_raw.py", "--emit", emitted], check=True, stdout=subprocess.DEVNULL)
    native = [row for row in rows if row.environment == PROGRAMS[0][0]]
    vectors = [json.loads(line) for line in emitted.read_text().splitlines()]
    assert len(native) == len(vectors)
    asked = [(row, vector) for row, vector in zip(native, vectors) if vector["op"] == "verify" and vector["alg"] in HOST_ALGORITHMS]
    text = "".join(json.dumps(vector, separators=(",", ":")) + "\n" for _, vector in asked)
    socket = scratch / "host"
    filters = [envoys.plugin(DIST / "host_verify.wasm", text, root_id="vectors")]
    listener = envoys.listener("vectors", {"pipe": {"path": str(socket)}}, *filters)
    with envoys.Envoy({"static_resources": {"listeners": [listener]}}) as envoy:
        status, body = get_over_pipe(socket)
        assert status == 200 and not envoy.vm_failures(), (status, body[:500], envoy.log()[-2000:])
    offered, *verdicts = body.decode().splitlines()
    # Else pure Rust would be compared with itself.
    assert offered.split() == list(HOST_ALGORITHMS), f"the host verifies {offered}"
    assert len(verdicts) == len(asked) > 1000
    out = []
    for (row, _), verdict in zip(asked, verdicts):
        # `key`: nobody is asked. `none`: the host was asked and had nothing to say, which would be news.
        got = "reject" if verdict == "key" else verdict
        ok = None if row.expect == "either" else got == row.expect
        out.append(Row(row.run, row.set, HOST, row.id, row.expect, got, ok, row.detail))
    return out


def get_over_pipe(path):
    import http.client
    import socket

    connection = http.client.HTTPConnection("vectors", timeout=300)
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.settimeout(300)
    connection.sock.connect(str(path))
    connection.request("GET", "/")
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer.status, body


# Through a gateway


def tokens(name, keys, crypto, scratch):
    out, about = scratch / "tokens.json", scratch / "report.json"
    adapter = [] if FRESH and crypto == "host" else ["--adapter", HERE / "adapter.py"]
    found = runner(
        "run_jws.py", *adapter, *[a for s in SETS for a in ("--set", s)], "--policy", "nokid=reject", out=out,
        env={"PORTCULLIS_JWKS": keys, "PORTCULLIS_CRYPTO": crypto, "PORTCULLIS_REPORT": str(about)})
    out.unlink()
    if adapter:
        report = json.loads(about.read_text())
        assert not report["vm_failures"] and report["groups"] > 50, report
    died = [b for b in found["meta"]["broken"] if "died" in b[1]]
    assert not died, died
    return gateway_rows(name, found)


def replay(scratch):
    rows = []
    for name, keys, crypto in GATEWAYS[:1]:
        rows += gateway_rows(name, runner("run_replay.py", "--adapter", HERE / "adapter.py", out=scratch / "replay.json",
                                          env={"PORTCULLIS_JWKS": keys, "PORTCULLIS_CRYPTO": crypto}))
    return rows


def gateway_rows(name, found):
    rows, seen = [], {}
    for row in found["rows"]:
        if row.get("cat") == "canary":
            # A token that was accepted before is refused: something has broken the filter.
            assert row["ok"], row
            continue
        rows.append(Row("tokens", row["set"], name, row["id"], row["expect"], row["got"], row["ok"],
                        row["detail"], row["got"] in ("deny5xx", "error")))
        seen[row["set"]] = seen.get(row["set"], 0) + 1
    few = {entry: count for entry, count in seen.items() if count < AT_LEAST[entry]}
    assert seen and not few, f"too few vectors: {few or 'none'}"
    return rows


# Judging


def report(rows):
    sys.path[:0] = [str(VECTORS), str(VECTORS / "lib")]
    sys.dont_write_bytecode = True
    import run_jws

    exceptions = Exceptions.load()
    exceptions.learn(run_jws.load_sets([s for s in SETS if s != "interop"]))
    judgement = judge(rows, exceptions)
    problems = [*judgement.wrong, *(f"environments disagree: {d}" for d in disagreements(rows))]
    twice = len(rows) - len({(row.environment, *row.key) for row in rows})
    if twice:
        problems.append(f"{twice} verdicts have the id of another one")
    for (run, entry, environment), tally in judgement.counts.items():
        faults = f", {tally['fault']} by 5xx" if tally["fault"] else ""
        print(f"{environment:36} {entry:28} {tally['right']:5} right {tally['wrong']:3} wrong {tally['either']:3} either {tally['exception']:3} exceptions{faults}")
    for (run, id), entry in sorted(judgement.used.items()):
        print(f"exception: {id}: {entry['outcome']}: {entry['reason']}")
    problems += check_page(judgement, rows, exceptions)
    for problem in problems:
        print("PROBLEM", problem)
    print(f"conformance: {len(rows)} verdicts, {len(problems)} problems")
    return 1 if problems else 0


def check_page(judgement, rows, exceptions):
    digest = page.digest(VECTORS)
    environments = {"tokens": [name for name, _, _ in GATEWAYS], "raw": [name for name, _ in PROGRAMS] + [HOST]}
    wanted = page.page(judgement, rows, environments, exceptions, digest)
    if os.environ.get("PORTCULLIS_WRITE_DOCS"):
        DOC.write_text(wanted)
    found = DOC.read_text() if DOC.exists() else ""
    if f"`{digest}`" not in found and found:
        # Another folder of vectors (there are larger ones) has other counts; what it must not have is wrong verdicts
        # or unexplained ones, and these were looked for above.
        print(f"docs/conformance.md was made from other vectors than {VECTORS} ({digest}): its counts are not compared")
        return []
    return [] if found == wanted else ["docs/conformance.md is not what was found; write it with PORTCULLIS_WRITE_DOCS=1 make test-conformance"]


if __name__ == "__main__":
    main()
