"""Every query of the page about the audit log, on the log of a real run, clean and behind Envoy's prefix; answers are compared with what was sent."""

import json
import re
import shutil
import subprocess
import xml.etree.ElementTree as ET
from collections import Counter

import duckdb
import pytest

from harness import datadog, insights
from harness.fleet import Fleet, THIEF
from harness.paths import NODE_PEERS, PROGRAM, ROOT, require

PAGE = ROOT / "docs/auth/recipes/audit-log-mesh-observability.md"
WAITING = "127.0.0.99"
FORMS = ["clean", "prefixed"]


def sections():
    """{title: [(language, text)]} of the page's fenced blocks."""
    found, title = {}, ""
    for match in re.finditer(r"^#{2,3} (.*)$|^```(.+)\n((?:.*\n)*?)```$", PAGE.read_text(), re.M):
        if match[1]:
            title = match[1]
        else:
            found.setdefault(title, []).append((match[2], match[3].rstrip("\n")))
    return found


BLOCKS = sections()
QUESTIONS = {title[0]: title for title in BLOCKS if re.match(r"\d\. ", title)}


def block(question, language, nth=0):
    return [text for lang, text in BLOCKS[QUESTIONS[question]] if lang == language][nth]


@pytest.fixture(scope="module")
def fleet(shared, tmp_path_factory):
    return Fleet(shared, tmp_path_factory.mktemp("fleet-keys"))


@pytest.fixture(scope="module", params=FORMS)
def folder(request, fleet, tmp_path_factory):
    """A folder with the log as audit.ndjson, made of the clean or of the prefixed one, and the key file."""
    folder = tmp_path_factory.mktemp(request.param)
    source = fleet.clean if request.param == "clean" else fleet.prefixed
    # Without the requests that only waited for keys to be in force: nobody can say beforehand how many there are.
    lines = [line for line in source.read_text(errors="replace").splitlines() if WAITING not in line]
    (folder / "envoy.log").write_text("\n".join([*lines, '[2026-11-22 17:00:00.000][1][info][wasm] [x] wasm log a: {"ts":"2026-11-22T17:00', "garbage", ""]))
    shutil.copy(fleet.keys.file, folder / "keys.json")
    ((_, strip),) = [b for b in BLOCKS["Lines behind a prefix"] if b[0] == "sh"]
    sh(folder, strip)
    return folder


def sh(folder, script):
    """What a block prints; `portcullis` is the built program."""
    require(PROGRAM)
    done = subprocess.run(["bash", "-euo", "pipefail", "-c", script], cwd=folder, capture_output=True, text=True, timeout=60,
                          env={"PATH": f"{PROGRAM.parent}:/usr/bin:/bin", "HOME": str(folder)})
    assert done.returncode == 0, done.stderr
    return done.stdout


def table(text):
    return [line.split("\t") for line in text.splitlines()]


def caller(user):
    match = re.search(r":assumed-role/([^/]+)/", user or "")
    return match[1] if match else user


def minute_free(rows):
    """Rows of (minute, code, count) as counts by code: a run may last over the end of a minute."""
    counts = Counter()
    for _, code, count in rows:
        counts[code] += int(count)
    return counts


class Truth:
    """The answers, from what was sent."""

    def __init__(self, fleet):
        self.sent = fleet.sent
        self.by_id = {e["correlation_id"]: e for e in fleet.events()}
        self.fleet = fleet

    def mesh(self, short=True):
        return Counter((caller(s.caller) if short else s.caller, s.agent) for s in self.sent if s.code == "ok")

    def codes(self):
        return Counter(s.code for s in self.sent if s.code != "ok")

    def lists(self):
        detail = {"104": "agent-reports@sandbox.iam.gserviceaccount.com", "aaaaaaaa-0000-1111-2222-bbbbbbbbbbbb": "99999999-bbbb-3333-cccc-4444dddd5555"}
        return Counter((s.provider, s.code, s.caller, detail.get(s.caller, "")) for s in self.sent if s.code.endswith("_not_allowed"))

    def failing(self):
        return Counter((s.provider, s.code) for s in self.sent if s.code != "ok" and s.agent == "payments" and s.caller in ("103", "104"))

    def leaked(self):
        return [(s.remote, "POST", s.path, s.agent, s.code) for s in self.sent if s.key_id == self.fleet.leaked]

    def used(self):
        return Counter(s.key_id for s in self.sent if s.key_id and s.code == "ok")


@pytest.fixture(scope="module")
def truth(fleet):
    return Truth(fleet)


def counted(rows):
    return Counter({tuple(row[:-1]): int(row[-1]) for row in rows})


def test_the_page_answers_every_question_in_every_language():
    assert sorted(QUESTIONS) == ["1", "2", "3", "4", "5", "6"]
    for question in QUESTIONS:
        languages = [lang for lang, _ in BLOCKS[QUESTIONS[question]]]
        assert {"sh", "sql", "cloudwatch", "datadog", "logql"} <= set(languages), (question, languages)


def test_the_run_is_worth_asking(fleet, truth):
    assert len(truth.codes()) >= 11 and len(truth.mesh()) >= 10 and len(truth.lists()) >= 5
    for sent in fleet.sent:
        event = truth.by_id[sent.request_id]
        fields = event["fields"]
        assert fields.get("user_id") == sent.caller, event
        assert (fields.get("code", "ok"), fields["agent"], fields.get("key_id")) == (sent.code, sent.agent, sent.key_id), event


# jq


def test_jq(folder, fleet, truth):
    assert counted(table(sh(folder, block("1", "sh")))) == truth.mesh()
    assert minute_free(table(sh(folder, block("2", "sh")))) == truth.codes()
    assert counted(table(sh(folder, block("3", "sh")))) == truth.lists()
    assert counted(table(sh(folder, block("4", "sh")))) == truth.failing()
    leaked = table(sh(folder, block("5", "sh").replace("KEY", fleet.leaked)))
    rows = [tuple(row[1:]) for row in leaked]
    assert rows == truth.leaked() and rows[0][0] != THIEF == rows[-1][0]
    assert sh(folder, block("6", "sh")).split() == [fleet.unused]


# DuckDB


def test_duckdb(folder, fleet, truth, monkeypatch):
    monkeypatch.chdir(folder)
    ((_, view),) = [b for b in BLOCKS["Lines behind a prefix"] if b[0] == "sql"]
    for source in ("audit.ndjson", "envoy.log"):
        with duckdb.connect() as db:
            db.execute(view.replace("'audit.ndjson'", f"'{source}'"))

            def ask(question):
                return [tuple("" if v is None else str(v) for v in row) for row in db.execute(block(question, "sql").replace("KEY", fleet.leaked)).fetchall()]

            assert counted(ask("1")) == truth.mesh()
            assert minute_free(ask("2")) == truth.codes()
            assert counted(ask("3")) == truth.lists()
            assert counted(ask("4")) == truth.failing()
            assert [row[1:] for row in ask("5")] == truth.leaked()
            assert ask("6") == [(fleet.unused,)]


# CloudWatch, by our reading of AWS's documentation


def test_cloudwatch(folder, fleet, truth):
    prefixed = folder.name.startswith("prefixed")
    (preamble,) = [text for lang, text in BLOCKS["Lines behind a prefix"] if lang == ("cloudwatch prefixed" if prefixed else "cloudwatch clean")]
    lines = (folder / "envoy.log").read_text().splitlines()
    rows = [insights.discover(line, insights.when(line)) for line in lines]

    def ask(question):
        return insights.run(f"{preamble}\n{block(question, 'cloudwatch').replace('KEY', fleet.leaked)}", rows)

    def filled(answer):
        return [["" if v is None else v for v in row] for row in answer]

    assert counted(ask("1")) == truth.mesh()
    assert minute_free(ask("2")) == truth.codes()
    assert counted([*row[:3], row[3] or row[4], row[5]] for row in filled(ask("3"))) == truth.lists()
    assert counted(ask("4")) == truth.failing()
    assert [(re.sub(r":\d+$", "", row[1]), *row[2:]) for row in ask("5")] == truth.leaked()
    assert Counter({key: int(calls) for key, calls, _ in ask("6")}) == truth.used()


@pytest.mark.parametrize("query", ["filter a", "stats count(* by b", "fields user_id", "filter a ~ 1", "parse @message /x/", "stats median(a)", "| filter a = 1", "sort"])
def test_what_cloudwatch_does_not_document_is_refused(query):
    if query == "filter a":
        assert insights.run(query, [{"a": "1"}, {}]) == [[]]
        return
    with pytest.raises((insights.Unreadable, re.error)):
        insights.run(query, [{"a": "1"}])


# Datadog


def test_datadog(folder, fleet, truth):
    events = [json.loads(line) for line in (folder / "audit.ndjson").read_text().splitlines()]

    def ask(question):
        return datadog.run(json.loads(block(question, "datadog").replace("KEY", fleet.leaked)), events)

    assert ask("1") == truth.mesh(short=False)
    assert minute_free([(*key, n) for key, n in ask("2").items()]) == truth.codes()
    assert ask("3") == Counter({key: n for key, n in _without_last(truth.lists()).items()})
    assert ask("4") == truth.failing()
    found = [(re.sub(r":\d+$", "", e["fields"]["remote_addr"]), e["fields"]["method"], e["fields"]["path"], e["fields"]["agent"], e["fields"].get("code", "ok"))
             for e in ask("5")]
    assert found == truth.leaked()
    assert Counter({key: n for (key,), n in ask("6").items()}) == truth.used()


def _without_last(counts):
    out = Counter()
    for key, n in counts.items():
        out[key[:-1]] += n
    return out


@pytest.mark.parametrize("body", [
    {"filter": {"query": "@a:b", "form": "now-1d"}, "compute": [{"aggregation": "count"}]},
    {"filter": {"query": "@a:b"}, "compute": [{"aggregation": "counts"}]},
    {"filter": {"query": "@a:b"}, "compute": [{"aggregation": "count"}], "group_by": [{"facets": "@x"}]},
    {"filter": {"query": "@a:b"}, "sort": "time"},
    {"filter": {"query": "a = b"}, "compute": [{"aggregation": "count"}], "group_by": []},
    {"filter": {"query": "(@a:b"}, "compute": [{"aggregation": "count"}], "group_by": []},
])
def test_what_datadogs_api_does_not_take_is_refused(body):
    with pytest.raises(Exception) as refused:
        datadog.run(body, [])
    assert not isinstance(refused.value, (KeyError, AttributeError)), refused.value


# Loki


def logql(queries):
    require(NODE_PEERS / "node_modules")
    done = subprocess.run(["node", NODE_PEERS / "logql.mjs"], input=json.dumps(queries), capture_output=True, text=True, timeout=60, check=True)
    return json.loads(done.stdout)


def test_loki(folder, fleet):
    queries = [block(q, "logql") for q in QUESTIONS]
    assert logql(queries) == [[]] * len(queries)
    events = fleet.events()
    for query in queries:
        paths = re.findall(r'="((?:fields\.)?[\w.]+)"', query.split("| json", 1)[1])
        assert paths
        for path in paths:
            assert any(datadog._value(e, path) is not None for e in events), path
        # What brings the event out of its line.
        expression = re.search(r"regexp `(.*?)`", query)[1]
        for line in (folder / "envoy.log").read_text().splitlines():
            match = re.search(expression, line)
            if '"fields":' in line:
                assert json.loads(match["audit"])["fields"]


def test_grafanas_grammar_refuses_what_is_no_logql():
    broken = [block("1", "logql").replace("count_over_time(", "count_over_time(("), block("5", "logql").replace("| json", "| jsn !")]
    assert all(logql(broken))


# Pictures


def test_drawn(folder, fleet, truth):
    drawn = [text for lang, text in BLOCKS["Drawn"] if lang == "sh"]
    for script in drawn:
        sh(folder, script)
    svg = ET.parse(folder / "mesh.svg").getroot()
    assert svg.tag.endswith("}svg")
    text = (folder / "mesh-by-graphviz.svg").read_text()
    assert "planner" in text and ET.fromstring(text).tag.endswith("}svg")
    # Each edge of the map is one that was sent, and the other way round.
    edges = json.loads(sh(folder, "portcullis audit map --format json audit.ndjson"))["edges"]
    assert any(e["from"] == {"agent": "planner"} and e["to"] == {"agent": "orders"} and e["allowed"] == 9 for e in edges), edges
    assert sum(e["allowed"] for e in edges) == sum(truth.mesh().values())
    assert sum(e["refused"] for e in edges) == sum(1 for s in fleet.sent if s.code != "ok" and s.caller)
    # By jq alone: one arrow for each pair.
    by_jq = subprocess.run(["dot", "-Tplain", folder / "mesh.dot"], capture_output=True, text=True, check=True).stdout
    assert sum(1 for line in by_jq.splitlines() if line.startswith("edge ")) == len(truth.mesh())
    by_us = subprocess.run(["dot", "-Tplain"], input=sh(folder, "portcullis audit map audit.ndjson"), capture_output=True, text=True, check=True).stdout
    assert sum(1 for line in by_us.splitlines() if line.startswith("edge ")) == sum((e["allowed"] > 0) + (e["refused"] > 0) for e in edges)
    mermaid = (folder / "mesh.mmd").read_text()
    # Keys have other ids in each run.
    for key, name in ((fleet.ci, "KEY-OF-CI"), (fleet.leaked, "NIGHTLY-KEY")):
        mermaid = mermaid.replace(key, name)
    ((_, shown),) = [b for b in BLOCKS["Drawn"] if b[0] == "mermaid"]
    assert sorted(named(shown)) == sorted(named(mermaid)), f"the page's picture is not this run's; it would be\n{mermaid}"
    svg = subprocess.run(["node", NODE_PEERS / "mermaid.mjs"], input=mermaid, capture_output=True, text=True, timeout=120)
    assert svg.returncode == 0, svg.stderr
    assert all(name in svg.stdout for name in ("planner", "repo:example/shop", "refused"))
    broken = subprocess.run(["node", NODE_PEERS / "mermaid.mjs"], input=mermaid.replace("-->", "->-"), capture_output=True, text=True, timeout=120)
    assert broken.returncode != 0


def named(text):
    """The edges of a flowchart by their ends' names: numbers follow the order of keys' ids."""
    names = dict(re.findall(r'^ +(n\d+)\(?\["(.*)"\]\)?$', text, re.M))
    return [(names[a], how, names[b]) for a, how, b in re.findall(r"^ +(n\d+) (\S+\|.*\|) (n\d+)$", text, re.M)]


# The program


def test_the_program(folder, fleet, truth):
    said = json.loads(sh(folder, "portcullis audit stats --json --keys keys.json envoy.log"))
    assert {c["code"]: c["count"] for c in said["codes"]} == truth.codes()
    assert said["bad_lines"] == 2 and said["events"] == len(fleet.sent)
    assert said["allowed"] == sum(truth.mesh().values())
    assert said["unused_keys"] == [fleet.unused]
    lists = Counter()
    for row in said["refused_callers"]:
        if row["code"].endswith("_not_allowed"):
            lists[row["provider"], row["code"], row["caller"].split(" ")[0]] += row["count"]
    assert lists == _without_last(truth.lists())
    (key,) = [k for k in said["keys"] if k["key_id"] == fleet.leaked]
    assert THIEF in key["addresses"] and set(key["agents"]) == {"orders", "fraud", "hr"}
    assert key["refused"] == 3
    for script in (text for lang, text in BLOCKS["The program"] if lang == "sh"):
        for line in script.splitlines():
            line = line.split(" #")[0]
            if "--follow" not in line and ".gz" not in line:
                assert sh(folder, line), line
    plain = sh(folder, "portcullis audit tail -n 1000 --color never envoy.log")
    assert len(plain.splitlines()) == len(fleet.sent) and "\x1b" not in plain
    assert "\x1b[31m" in sh(folder, "portcullis audit tail --refused --color always < envoy.log")
