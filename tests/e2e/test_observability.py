"""The dashboard and the alert rules in a real Prometheus that scrapes a real Envoy."""

import json
import math
import re
import subprocess
import urllib.error
import urllib.parse
import urllib.request

import pytest
import yaml

from harness.fleet import Fleet
from harness.paths import ROOT
from harness.process import Process
from harness.wait import eventually

FOLDER = ROOT / "examples/observability"
RULES = FOLDER / "alerts.yml"
DASHBOARD = json.loads((FOLDER / "dashboard.json").read_text())

# What the run has no occasion for, each with why. Everything else has to return series.
NOT_IN_THIS_RUN = {
    "portcullis_feed_age_seconds": "no key feed", "portcullis_feed_keys": "no key feed", "portcullis_feed_failed": "no key feed",
    "portcullis_audit_dropped": "no audit event is lost", "portcullis_usage_dropped": "no key feed",
    "portcullis_groups_missing": "no groups from Graph", "portcullis_crypto_self_test_failed": "the crypto is sound",
}


class Prometheus(Process):
    """Debian's, scraping one Envoy every second."""

    def __init__(self, folder, envoy):
        config = yaml.safe_load((FOLDER / "prometheus.yml").read_text())
        config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
        config["rule_files"] = [str(RULES)]
        config["scrape_configs"][0]["static_configs"][0]["targets"] = [envoy.admin]
        (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
        super().__init__(
            ["prometheus", f"--config.file={folder / 'prometheus.yml'}", f"--storage.tsdb.path={folder / 'data'}", "--web.listen-address=127.0.0.1:0"],
            folder / "prometheus.log")
        try:
            self.port = eventually(self._listening, lambda: f"Prometheus; {self.log()}", 60, 0.1)
        except BaseException:
            self.stop()
            raise

    def _listening(self):
        # It says the port it asked for, not the one it got: the kernel knows.
        inodes = {re.search(r"\[(\d+)\]", str(link.readlink()))[1] for link in _sockets(self.pid)}
        for table in ("tcp", "tcp6"):
            for line in open(f"/proc/net/{table}").read().splitlines()[1:]:
                fields = line.split()
                if fields[3] == "0A" and fields[9] in inodes:
                    port = int(fields[1].rpartition(":")[2], 16)
                    try:
                        with urllib.request.urlopen(f"http://127.0.0.1:{port}/-/ready", timeout=5) as answer:
                            return port if answer.status == 200 else None
                    except OSError:
                        return None
        return None

    def get(self, path, **query):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}?{urllib.parse.urlencode(query)}", timeout=15) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{query}: {error.read().decode()}") from None

    def close(self):
        self.stop()


def _sockets(pid):
    from pathlib import Path

    found = []
    for link in Path(f"/proc/{pid}/fd").iterdir():
        try:
            if str(link.readlink()).startswith("socket:"):
                found.append(link)
        except OSError:
            pass  # closed meanwhile
    return found


@pytest.fixture(scope="module")
def fleet(shared, tmp_path_factory):
    return Fleet(shared, tmp_path_factory.mktemp("fleet-keys"))


@pytest.fixture(scope="module")
def prometheus(shared, fleet, tmp_path_factory):
    made = shared.add(Prometheus(tmp_path_factory.mktemp("prometheus"), fleet.stack.envoy))
    # A configuration that Envoy refuses, and a path that needs no credential: the dashboard shows both.
    before = fleet.keys.ecds.read_text()
    spoilt = fleet.keys.ecds.with_name("spoilt.json")
    spoilt.write_text(before.replace('skip', 'skipp'))
    assert spoilt.read_text() != before
    spoilt.rename(fleet.keys.ecds)
    with fleet.stack.connect() as connection:
        assert connection.request("GET", "/healthz").status == 200
    fleet.stack.envoy.audit(fleet.stack.request().header("x-request-id"))
    eventually(lambda: made.get("/api/v1/query", query="portcullis_config_refused > 0")["result"], "the refusal to be scraped", 30, 0.3)
    # A rate needs requests between two scrapes.
    fleet.again()
    eventually(lambda: len((made.get("/api/v1/query", query="portcullis_skipped[1m]")["result"] or [{"values": []}])[0]["values"]) >= 3, "three scrapes", 30, 0.3)
    return made


def expressions():
    """(where, expression) of every panel, annotation and alert, with Grafana's variables filled in."""
    found = [(f"panel {p['title']}", t["expr"]) for p in DASHBOARD["panels"] for t in p["targets"]]
    found += [(f"annotation {a['name']}", a["expr"]) for a in DASHBOARD["annotations"]["list"]]
    return [(where, expr.replace("$__rate_interval", "1m").replace("$instance", ".*")) for where, expr in found]


def alerts():
    return [(r["alert"], r["expr"]) for g in yaml.safe_load(RULES.read_text())["groups"] for r in g["rules"]]


def names(expression):
    """The metrics that an expression asks for."""
    without_text = re.sub(r'"[^"]*"', '""', expression)
    without_labels = re.sub(r"\b(by|on|without|ignoring) *\([^)]*\)|\{[^}]*\}", "", without_text)
    return set(re.findall(r"\b(?:portcullis|envoy)_\w+", without_labels))


def exported(envoy):
    with urllib.request.urlopen(f"http://{envoy.admin}/stats/prometheus", timeout=10) as answer:
        return set(re.findall(r"^([a-zA-Z_:][\w:]*)[{ ]", answer.read().decode(), re.M))


def documented():
    text = (ROOT / "docs/metrics.md").read_text()
    return {name.replace(".", "_") for name in re.findall(r"^\| `(portcullis\.[a-z_.]+)` \|", text, re.M)}


# Grafana's own types of a dashboard (`@grafana/schema`), of the options of the two kinds of panel, and what its Prometheus data source adds to an annotation.
TYPES = """
import type { AnnotationQuery, Dashboard, DataQuery, Panel } from "@grafana/schema";
import type { Options as Stat } from "./node_modules/@grafana/schema/dist/types/raw/composable/stat/panelcfg/x/types.gen";
import type { Options as TimeSeries } from "./node_modules/@grafana/schema/dist/types/raw/composable/timeseries/panelcfg/x/types.gen";
type Target = { refId: string; expr: string; legendFormat: string; datasource: { type: "prometheus"; uid: string } };
type Drawn<T extends string, O> = Omit<Panel, "type" | "options" | "targets"> & { type: T; options: Some<O>; targets: Target[] };
type Some<T> = T extends (infer E)[] ? E[] : T extends object ? { [K in keyof T]?: Some<T[K]> } : T extends string ? T | `${T}` : T;
type Annotation = AnnotationQuery<DataQuery> & { expr: string; titleFormat: string };
type Ours = Omit<Dashboard, "panels" | "annotations"> & { annotations: { list: Annotation[] }; panels: (Drawn<"stat", Stat> | Drawn<"timeseries", TimeSeries>)[] };
export const dashboard: Ours = """


WRONG = [(["title"], 1), (["panel"], []), (["panels", 0, "gridPos", "w"], "4"), (["panels", 0, "fieldConfig", "defaults", "units"], "s"),
         (["panels", 0, "options", "colorMode"], "red"), (["panels", 0, "type"], "stats"), (["time", "frm"], "now-6h"),
         (["templating", "list", 0, "hide"], "no"), (["annotations", "list", 0, "enabled"], True)]


def changed(where, value):
    dashboard = at = json.loads(json.dumps(DASHBOARD))
    for step in where[:-1]:
        at = at[step]
    at[where[-1]] = value
    return dashboard


def test_the_dashboard_has_grafanas_types_and_a_wrong_one_is_noticed(tmp_path):
    (tmp_path / "node_modules").symlink_to(ROOT / "tests/e2e/node/node_modules")
    files = {f"{n}.ts": d for n, d in enumerate([DASHBOARD, *(changed(*w) for w in WRONG)])}
    for name, dashboard in files.items():
        (tmp_path / name).write_text(TYPES + json.dumps(dashboard, indent=1) + ";\n")
    done = subprocess.run(["node_modules/.bin/tsc", "--noEmit", "--strict", "--module", "esnext", "--moduleResolution", "bundler", "--target", "es2022", "--skipLibCheck",
                           *files], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    said = re.findall(r"^(\d+)\.ts.*$", done.stdout, re.M)
    assert sorted(set(said), key=int) == [str(n) for n in range(1, len(files))], done.stdout + done.stderr


@pytest.mark.parametrize("command", [("check", "rules", RULES), ("test", "rules", FOLDER / "alerts_test.yml"), ("check", "config", FOLDER / "prometheus.yml")],
                         ids=["check rules", "test rules", "check config"])
def test_promtool(command):
    done = subprocess.run(["promtool", *command], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_is_tested():
    text = (FOLDER / "alerts_test.yml").read_text()
    missing = [name for name, _ in alerts() if not re.search(rf"alertname: {name}\n\s+exp_alerts:\n", text)]
    assert len(alerts()) >= 8 and not missing, missing


def test_a_rule_that_is_wrong_is_noticed(tmp_path):
    (tmp_path / "alerts.yml").write_text(RULES.read_text().replace("> 5400", "> 540000"))
    (tmp_path / "alerts_test.yml").write_text((FOLDER / "alerts_test.yml").read_text())
    done = subprocess.run(["promtool", "test", "rules", tmp_path / "alerts_test.yml"], capture_output=True, text=True, timeout=60)
    assert done.returncode != 0 and "PortcullisKeysOld" in done.stdout + done.stderr


def test_every_metric_is_one_that_envoy_has(fleet, prometheus):
    there = exported(fleet.stack.envoy)
    assert {"portcullis_requests", "portcullis_config_refused"} <= there
    for where, expression in expressions() + alerts():
        asked = names(expression)
        assert asked, where
        for name in asked:
            base = re.sub(r"_(bucket|count|sum)$", "", name)
            assert name in there or (base in documented() and name in NOT_IN_THIS_RUN) or name in ("portcullis_resource_metadata",), f"{where}: {name}"
    # The list of exceptions can only shrink.
    assert not there & set(NOT_IN_THIS_RUN), "these are there after all"


@pytest.mark.parametrize("where, expression", expressions(), ids=lambda v: v if v.startswith(("panel", "annotation")) else "")
def test_every_expression_of_the_dashboard_returns_series(prometheus, where, expression):
    found = prometheus.get("/api/v1/query", query=expression)["result"]
    if names(expression) & set(NOT_IN_THIS_RUN) or where.startswith("annotation"):
        return
    assert found, expression
    values = [float(series["value"][1]) for series in found]
    # A quantile of nothing is NaN: there may have been no callout since the first scrape.
    assert any(not math.isnan(v) for v in values) or "quantile" in expression, (expression, values)


def test_the_rules_run(prometheus):
    groups = eventually(
        lambda: [g for g in prometheus.get("/api/v1/rules")["groups"] if all(r["health"] == "ok" for r in g["rules"])], "the rules to be evaluated", 30, 0.3)
    states = {r["name"]: r["state"] for g in groups for r in g["rules"]}
    assert set(states) == {name for name, _ in alerts()}
    # A configuration was refused just now, and nothing is wrong otherwise.
    eventually(lambda: any(r["name"] == "PortcullisConfigRefused" and r["state"] == "firing" for g in prometheus.get("/api/v1/rules")["groups"] for r in g["rules"]),
               lambda: str(states), 30, 0.3)
    for quiet in ("PortcullisKeysOld", "PortcullisVmLost", "PortcullisAuditDropped", "PortcullisSelfTestFailed", "PortcullisFeedOld"):
        assert states[quiet] == "inactive", states


def test_the_labels_are_the_counters(fleet, prometheus):
    """`stats_tags` take the names apart as the filter put them together."""
    asked = prometheus.get("/api/v1/query", query="portcullis_requests")["result"]
    by_label = {tuple(s["metric"][f"portcullis_{n}"] for n in ("provider", "outcome", "code")): int(s["value"][1]) for s in asked}
    by_name = {}
    for name, value in fleet.stack.envoy.stats(r"portcullis\.requests\.").items():
        provider, outcome, code = re.search(r"requests\.(.+)\.(allow|deny)\.(\w+)$", name).groups()
        by_name[provider, outcome, code] = value
    assert by_label == by_name and len(by_label) > 10
