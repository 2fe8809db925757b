"""Targets, the page and its plots."""

import re

import page
import paths
import plots
import report
import targets
from results import results, series


def outcome(found, what):
    (one,) = [o for o in targets.outcomes(found) if o.what.startswith(what)]
    return one


def test_the_key_service_has_a_row_for_each_figure():
    spread = {"median_ms": 2.5, "p95_ms": 7.0, "max_ms": 9.1, "n": 50}
    one = {"memory_idle_mb": 48, "create a key": spread, "cold snapshot": {"seconds": 31.3, "pages": 102, "keys": 10, "mb": 237, "page": spread}}
    keys = {"facts": {"command": "make bench-keys", "measured_at": "today", "load_before": 0.1, "cores": 2, "keys": 10, "agents": 3}, "sqlite": one, "postgres": one}
    text = page.render(results(), None, keys=keys)
    assert "| memory idle, MB | 48 | 48 |" in text
    assert "| create a key | 2.5 / 7.0 / 9.1 | 2.5 / 7.0 / 9.1 |" in text
    assert "| cold snapshot | 31.3 s, 102 pages of 2.5 ms, 237 MB |" in text


def test_a_target_is_met_or_missed_by_the_median():
    met = outcome(results(), "Cached JWT, against Envoy's")
    assert (met.met, met.measured, met.wanted, met.short) == (True, "1.00 (0.92–1.10)", "≥ 0.92", "")
    missed = outcome(results(ours=(800, 828, 1100)), "Cached JWT, against Envoy's")
    assert (missed.met, missed.short) == (False, "10% short")


def test_what_was_not_measured_is_neither():
    one = [o for o in targets.outcomes(results()) if o.what.startswith("New RS256")][0]
    assert (one.met, one.measured) == (None, "not measured")
    bare = {**results(), "memory": [], "start": []}
    assert outcome(bare, "Envoy with the module").met is None
    assert outcome(bare, "100,000 cached RS256").met is None


def test_bounds_from_above():
    found = results()
    assert outcome(found, "The module").met is True
    assert outcome(found, "Envoy with the module").measured == "0.50 s"
    assert outcome(found, "100,000 cached RS256").measured == "90 MiB"
    found["facts"]["module_bytes"] = 1350 << 10
    assert (outcome(found, "The module").met, outcome(found, "The module").short) == (False, "50% over")


def test_the_page_says_what_the_numbers_say():
    text = page.render(results(ours=(800, 828, 1100)), series({1: 20, 100: 21, 10_000: 400}), "Because.\n")
    assert "| Cached JWT, against Envoy's with cache and claims | ≥ 0.92 | 0.83 (0.80–1.10) | **missed**, 10% short |" in text
    assert "Because." in text
    assert "2 × A processor" in text and "797 B" in text
    assert "portcullis: CPU a request at most 20.00 times that of the least size: **worse than log n: a defect**" in text
    assert "(performance/cached.svg)" in text and "(performance/new.svg)" not in text
    assert "Reload" not in text
    assert "| p50 ms | 3.5 |" in page.render({**results(), "reload": {"p50_ms": 3.5}}, None)


def test_a_busy_machine_is_named_as_such():
    found = results()
    assert "The machine was busy" not in page.render(found, None)
    found["facts"]["load_before"] = 1.2
    assert "**The machine was busy with other things**" in page.render(found, None)


def test_the_results_file_reads_back():
    import json

    found = results()
    assert json.loads(report.dumped(found)) == found


def test_plots_come_out_the_same(tmp_path):
    found, grown = results(), series({1: 20, 100: 21})
    for name in ("a", "b"):
        plots.bars(tmp_path / f"{name}.svg", found["workloads"], found["measured"])
        plots.growth(tmp_path / f"{name}-growth.svg", grown["workloads"][0], grown["measured"])
    for kind in ("", "-growth"):
        first = (tmp_path / f"a{kind}.svg").read_bytes()
        assert first == (tmp_path / f"b{kind}.svg").read_bytes()
        assert len(first) < 60_000
    assert b"portcullis" in (tmp_path / "a.svg").read_bytes()


def test_the_page_in_docs_is_made_from_its_numbers():
    text = paths.PAGE.read_text()
    assert text == page.render(*page.load()), "`make bench-page` writes it anew"
    shown = set(re.findall(r"\(performance/([a-z-]+\.svg)\)", text))
    assert shown == {path.name for path in paths.PAGE_DATA.glob("*.svg")}
