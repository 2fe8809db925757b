"""What pages name in backticks is there: files, tests by file and name, targets of make."""

import fnmatch
import re
import subprocess

import pytest

from harness.paths import ROOT
from pages import PAGES, blocks, text_of

FILES = set(subprocess.run(["git", "ls-files", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split())
FOLDERS = {"/".join(file.split("/")[:n]) for file in FILES for n in range(1, file.count("/") + 1)}
TOP = {folder for folder in FOLDERS if "/" not in folder}
# Made by a build, or by the reader in following a page; NAME stands for any.
MADE = re.compile(r"(dist|target|\.venv)(/|$)|benches/results$|.*/node_modules$|envoy/api-keys/(keys|ecds)\.json$|.*\bNAME\b")
TARGETS = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.M))
OURS = r"(?:rs|py|sh|mjs|toml|yaml|yml|json|md|html|sql|conf)"


def codes(page):
    """Code in the prose of a page, as it stands between backticks."""
    prose = re.sub(r"^ *```.*?^ *```$", "", text_of(page), flags=re.M | re.S)
    return re.findall(r"`([^`\n]+)`", prose)


def is_there(path, page):
    """A file, folder or pattern, from the root or from beside the page, or the end of a file's path."""
    path = path.removesuffix("/")
    beside = page.rpartition("/")[0]
    for candidate in (path, f"{beside}/{path}".removeprefix("/")):
        if candidate in FILES or candidate in FOLDERS or fnmatch.filter(FILES | FOLDERS, candidate):
            return True
    return bool(fnmatch.filter(FILES, f"*/{path}"))


def defines(file, function):
    return re.search(rf"^\s*(?:async )?(?:def|fn) {function}\b", (ROOT / file).read_text(), re.M) is not None


def wrong_in(code, page):
    """None, or what is not there."""
    test = re.fullmatch(r"([\w./-]+\.(?:rs|py))::(\w+)(?:\[.*\])?", code)
    if test:
        found = [file for file in FILES if file == test[1] or file.endswith(f"/{test[1]}")]
        return None if any(defines(file, test[2]) for file in found) else f"{code}: no such test"
    if re.fullmatch(r"test_\w+", code):
        return None if any(defines(file, code) for file in FILES if re.search(r"tests?/.*\.(py|rs)$", file)) or is_there(f"{code}.py", page) else f"{code}: no such test"
    if re.match(r"make [a-z]", code):
        missing = [word for word in code.split(" ")[1:] if re.fullmatch(r"[a-z][a-z0-9-]*", word) and word not in TARGETS]
        return f"make {' '.join(missing)}: no such target" if missing else None
    whole = re.fullmatch(r"[\w.*-]+(/[\w.*{},-]+)+/?", code)
    if whole and code.split("/")[0] in TOP and not MADE.match(code):
        return None if is_there(code, page) else f"{code}: no such file"
    if re.fullmatch(r"[a-z0-9_]+\.(?:rs|py|mjs)", code):
        return None if is_there(code, page) else f"{code}: no such file"
    return None


@pytest.mark.parametrize("page", PAGES)
def test_what_a_page_names_is_there(page):
    wrong = sorted({said for code in codes(page) if (said := wrong_in(code, page))})
    # Targets in blocks too, where people copy them from.
    for block in blocks(page):
        for line in re.findall(r"^(?:\$ )?make ((?:[A-Za-z_]+=\S+ |[a-z0-9-]+(?: |$))+)", block.text, re.M):
            wrong += [f"make {word}: no such target" for word in line.split() if "=" not in word and word not in TARGETS]
    assert not wrong, "\n".join(wrong)


def test_what_is_not_there_is_noticed():
    for code in ("src/no_such.rs", "tests/e2e/test_reload.py::test_nothing", "test_no_such_thing", "make tset", "no_such.rs", "docs/nowhere/"):
        assert wrong_in(code, "README.md"), code
    for code in ("src/judge.rs", "tests/e2e/test_reload.py::test_long_streams_go_on", "make test", "make bench BENCH_KEYS=5", "docs/auth/providers", "lease.rs", "x-auth-user-id", "text/html"):
        assert not wrong_in(code, "docs/architecture.md"), code
    assert sum(1 for page in PAGES for code in codes(page) if re.search(rf"/[\w-]+\.{OURS}\b", code)) > 150
