"""What the documentation says can be followed: links lead somewhere, configurations load, commands are commands and some are run."""

import json
import os
import re
import subprocess
import urllib.parse

import pytest
import yaml

import site_pages
from harness.paths import ENVOY, PROGRAM, ROOT, WASM, require
from pages import PAGES, Block, anchors, blocks, links, prose



@pytest.mark.parametrize("page", PAGES)
def test_every_link_leads_somewhere(page):
    dead = []
    for link in links(page):
        if re.match(r"[a-z][a-z0-9+.-]*:", link):
            continue
        path, _, anchor = link.partition("#")
        goal = (ROOT / page).parent.joinpath(urllib.parse.unquote(path)).resolve() if path else ROOT / page
        if not goal.exists() or not goal.is_relative_to(ROOT):
            dead.append(link)
        elif anchor and goal.suffix == ".md" and anchor not in anchors(goal.relative_to(ROOT).as_posix()):
            dead.append(link)
    assert not dead, dead


def test_dead_links_are_noticed():
    assert "request-signatures-sigv4" in anchors("docs/auth/aws.md")
    assert "no-such-heading" not in anchors("docs/auth/aws.md")
    assert sum(len(links(page)) for page in PAGES) > 100
    assert "[x](y)" not in prose("README.md")


def is_plugin(document):
    return isinstance(document, dict) and isinstance(document.get("auth"), dict) and "providers" in document["auth"]


def plugins(document):
    """Plugin configurations at any depth."""
    if is_plugin(document):
        yield document
    elif isinstance(document, dict):
        for value in document.values():
            yield from plugins(value)
    elif isinstance(document, list) and document and all(isinstance(p, dict) and {"type", "settings"} <= set(p) for p in document):
        # A piece of a chain, on a page that has the rest elsewhere.
        yield {"auth": {"providers": document}, "agent": {"path": "/rest/{agent}"}}
    elif isinstance(document, list):
        for value in document:
            yield from plugins(value)


DATA = [block for page in PAGES for block in blocks(page) if block.info.split(" ")[0] in ("yaml", "yml", "json")]
SHELL = [block for page in PAGES for block in blocks(page) if block.info.split(" ")[0] in ("sh", "bash", "shell")]


def name_of(block):
    return f"{block.page}:{block.line}"


def load(block):
    if block.info.startswith("json"):
        return [json.loads(block.text)]
    return list(yaml.safe_load_all(block.text))


@pytest.mark.parametrize("block", DATA, ids=name_of)
def test_data_is_data_and_configurations_load(block, tmp_path):
    documents = load(block)
    for plugin in plugins(documents):
        code, said = checked(plugin, tmp_path)
        assert code == 0, said


# Variables that configurations of the pages take secrets from.
ENVIRONMENT = {name: "f" * 64 for name in ("AGENT_SMOKE_TOKEN", "AGENT_SECRET_KEY", "PORTCULLIS_FEED_TOKEN", "FEED_TOKEN", "VERIFIER_TOKEN", "CI_TOKEN")}


def checked(plugin, tmp_path):
    require(PROGRAM)
    path = tmp_path / "plugin.yaml"
    path.write_text(yaml.safe_dump(plugin))
    ran = subprocess.run([PROGRAM, "check", path], env=ENVIRONMENT, capture_output=True, text=True, timeout=60, check=False)
    return ran.returncode, ran.stdout + ran.stderr


def test_a_configuration_that_does_not_load_is_noticed(tmp_path):
    found = [plugin for block in DATA for plugin in plugins(load(block))]
    assert len(found) > 15
    found[0]["auth"]["providers"][0]["setings"] = {}
    assert checked(found[0], tmp_path)[0] == 1


@pytest.mark.parametrize("block", SHELL, ids=name_of)
def test_commands_are_a_shells(block):
    ran = subprocess.run(["bash", "-n"], input=block.text, capture_output=True, text=True, timeout=30, check=False)
    assert ran.returncode == 0, ran.stderr


# ```sh run: the block is run as it stands, by bash, in a copy of what it may name.
RUNNABLE = [block for block in SHELL if "run" in block.info.split(" ")[1:]]


def run(block: Block, workdir):
    """Runs a block where `portcullis` and `envoy` are on the path, in a folder that has the examples and the module."""
    require(PROGRAM, ENVOY, WASM)
    for folder in ("envoy", "examples", "docs", "schema", "dist"):
        (workdir / folder).symlink_to(ROOT / folder)
    path = os.pathsep.join([str(PROGRAM.parent), str(ENVOY.parent), "/usr/local/bin", "/usr/bin", "/bin"])
    return subprocess.run(["bash", "-euo", "pipefail", "-c", block.text], cwd=workdir, env={"PATH": path, "HOME": str(workdir)},
                          capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.parametrize("block", RUNNABLE, ids=name_of)
def test_what_is_marked_to_run_runs(block, tmp_path):
    ran = run(block, tmp_path)
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_a_block_that_fails_is_noticed(tmp_path):
    assert len(RUNNABLE) >= 2
    assert run(Block("page", 1, "sh run", "portcullis check nothing.yaml\n"), tmp_path).returncode != 0


def test_every_page_is_in_the_book_once():
    text = site_pages.summary(ROOT, PAGES)
    listed = re.findall(r"\]\(([^)]+)\)", text)
    assert sorted(listed) == sorted(page for page in PAGES if page not in site_pages.LEFT_OUT)


@pytest.mark.parametrize("page", sorted((ROOT / "docs/auth/providers").glob("*.md"), key=str), ids=lambda page: page.name)
def test_codes_of_refusals_are_codes(page):
    known = set(re.findall(r"^\| `([a-z_]+)` \|", (ROOT / "docs/reasons.md").read_text(), re.M))
    assert len(known) > 50
    _, _, refusals = page.read_text().partition("## When it is refused")
    named = {code for row in re.findall(r"^\| (`[^|]+`) \|", refusals, re.M) for code in re.findall(r"`([a-z_]+)`", row)}
    assert named <= known, named - known
    assert named or page.name == "README.md"
