"""Pages that name tests name tests that exist, and every threat has one."""

import re

import pytest

from harness.paths import ROOT

NAMED = re.compile(r"`((?:[\w-]+/)*tests/[\w/.]+)::(\w+)`")
PAGES = ["docs/threats.md", "docs/operations.md"]


def defined(path):
    """The tests of a file."""
    assert path.is_file(), f"{path.relative_to(ROOT)} does not exist"
    text = path.read_text()
    if path.suffix == ".py":
        return set(re.findall(r"^def (test_\w+)\(", text, re.M))
    found = set(re.findall(r"#\[(?:tokio::)?test(?:\(.*\))?\]\n(?:\s*#\[.*\]\n)*\s*(?:async )?fn (\w+)\(", text))
    # `on_both!(a, b)` makes a test of each of these functions on either database (control/service/tests/service/harness.rs).
    for names in re.findall(r"^on_both!\(([^)]*)\)", text, re.M):
        found |= set(re.findall(r"\w+", names)) & set(re.findall(r"^async fn (\w+)\(", text, re.M))
    return found


@pytest.mark.parametrize("page", PAGES)
def test_every_test_that_a_page_names_exists(page):
    named = NAMED.findall((ROOT / page).read_text())
    assert len(named) > 10, "the page names no tests any more, or this test does not see them"
    missing = [f"{file}::{name}" for file, name in named if name not in defined(ROOT / file)]
    assert not missing, missing


def rows(text):
    """The cells of each row of the tables."""
    lines = [line for line in text.splitlines() if line.startswith("|") and not re.match(r"\|[-| ]+\|$", line)]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


def test_every_threat_has_a_test():
    text = (ROOT / "docs/threats.md").read_text()
    tables = text[text.index("## A caller without"):text.index("## Out of scope")]
    threats = [row for row in rows(tables) if row[0] not in ("attack", "mistake")]
    assert len(threats) > 25
    without = [row[0] for row in threats if not NAMED.search(row[-1])]
    assert not without, without


def test_a_page_that_names_a_test_that_is_not_there_is_noticed():
    assert NAMED.findall("`tests/e2e/test_pages.py::test_nothing`") == [("tests/e2e/test_pages.py", "test_nothing")]
    assert "test_nothing" not in defined(ROOT / "tests/e2e/test_pages.py")
    assert "what_is_repeated_costs_nothing" in defined(ROOT / "tests/attacks.rs")
    service = defined(ROOT / "control/service/tests/service/access.rs")
    assert "matrix" in service and "on_both" not in service
    assert NAMED.findall("`control/service/tests/service/access.rs::matrix`") == [("control/service/tests/service/access.rs", "matrix")]
