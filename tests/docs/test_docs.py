"""What the documentation says can be followed: links lead somewhere, configurations load, commands are commands and some are run."""

import json
import os
import re
import shutil
import subprocess
import urllib.parse

import pytest
import yaml

import site_pages
from harness.paths import ENVOY, PROGRAM, ROOT, WASM, require
from pages import PAGES, Block, anchors, blocks, links, prose, text_of



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


# What becomes of a block of shell stands after its language:
#   run     it is run as it stands, by bash, in a copy of what it may name (below);
#   start, postgres-backup, postgres-restore  other tests run it, as part of something longer;
#   build   minutes of make or cargo, which are the tests themselves;
#   away    it needs what is not here: an account at a provider, a registry, another product's program, the reader's own proxy.
KINDS = {"run", "start", "postgres-backup", "postgres-restore", "build", "away"}
RUN_BY = {"start": "tests/docs/test_start.py", "postgres-backup": "tests/e2e/test_key_service.py", "postgres-restore": "tests/e2e/test_key_service.py"}
# Pages whose blocks without a kind are all run by one test.
PAGES_RUN_BY = {"docs/auth/recipes/audit-log-mesh-observability.md": "tests/e2e/test_recipes.py", "docs/migrating/kong.md": "tests/e2e/test_migrating.py"}
RUNNABLE = [block for block in SHELL if "run" in block.info.split(" ")[1:]]


@pytest.mark.parametrize("block", SHELL, ids=name_of)
def test_a_block_says_what_becomes_of_it(block):
    kind = block.info.partition(" ")[2]
    if kind in RUN_BY or not kind:
        test = RUN_BY.get(kind) or PAGES_RUN_BY.get(block.page)
        assert test, "a block of shell without a kind, which no test runs"
        wanted = kind or block.page.rpartition("/")[2].removesuffix(".md")
        assert wanted in (ROOT / test).read_text(), f"{test} says nothing of it"
    assert not kind or kind in KINDS


# An allowed and a refused request, as the filter logs them.
AUDIT = """\
{"ts":"2026-11-22T17:00:00.000Z","event":"auth_verify","fields":{"provider":"oidc","provider_name":"google","user_id":"planner","agent":"orders","method":"POST","path":"/rest/orders","remote_addr":"127.0.0.1:1"}}
{"ts":"2026-11-22T17:00:01.000Z","event":"auth_fail","fields":{"code":"missing_token","reason":"missing_token","agent":"orders","method":"POST","path":"/rest/orders","remote_addr":"127.0.0.1:1"}}
"""
JWT_AUTHN = {"providers": {"google": {"issuer": "https://accounts.google.com", "audiences": ["api://agents"], "forward": False,
                                      "remote_jwks": {"http_uri": {"uri": "https://www.googleapis.com/oauth2/v3/certs", "cluster": "google", "timeout": "5s"}}}},
             "rules": [{"match": {"prefix": "/"}, "requires": {"provider_name": "google"}}]}


def first(page, info):
    return next(block.text for block in blocks(page) if block.info == info)


def made_before(page, workdir):
    """What the reader of a page has by then: his own configuration, his log, his database."""
    files = {
        "README.md": lambda: {"envoy.yaml": first(page, "yaml"), "audit.ndjson": AUDIT},
        "docs/migrating/forge.md": lambda: {"forge.yaml": first(page, "yaml forge")},
        "docs/migrating/jwt-authn.md": lambda: {"envoy.yaml": yaml.safe_dump(JWT_AUTHN)},
        "docs/operations.md": lambda: {"new.yaml": (ROOT / "envoy/reload/portcullis.yaml").read_text()},
        "docs/runbooks.md": lambda: {"new.yaml": (ROOT / "envoy/reload/portcullis.yaml").read_text()},
    }.get(page, dict)()
    for name, text in files.items():
        (workdir / name).write_text(text)
    if page == "docs/keys.md":
        subprocess.run([PROGRAM, "serve", "admin-link", "--database", "keys.db"], cwd=workdir, capture_output=True, timeout=60, check=True)


def run(block: Block, workdir):
    """Runs a block where `portcullis` and `envoy` are on the path, in a folder that has the examples and the module."""
    require(PROGRAM, ENVOY, WASM)
    for folder in ("examples", "docs", "schema", "dist"):
        (workdir / folder).symlink_to(ROOT / folder)
    # Files are replaced there.
    shutil.copytree(ROOT / "envoy", workdir / "envoy")
    made_before(block.page, workdir)
    path = os.pathsep.join([str(PROGRAM.parent), str(ENVOY.parent), "/usr/local/bin", "/usr/bin", "/bin"])
    return subprocess.run(["bash", "-euo", "pipefail", "-c", block.text], cwd=workdir, env={"PATH": path, "HOME": str(workdir)},
                          capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.parametrize("block", RUNNABLE, ids=name_of)
def test_what_is_marked_to_run_runs(block, tmp_path):
    ran = run(block, tmp_path)
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_a_block_that_fails_is_noticed(tmp_path):
    assert len(RUNNABLE) >= 10
    assert run(Block("page", 1, "sh run", "portcullis check nothing.yaml\n"), tmp_path).returncode != 0


def test_every_page_is_in_the_book_once():
    text = site_pages.summary(ROOT, PAGES)
    listed = re.findall(r"\]\(([^)]+)\)", text)
    assert sorted(listed) == sorted(page for page in PAGES if page not in site_pages.LEFT_OUT)


REFUSALS = [page for page in PAGES if re.search(r"^###? When it is refused$", text_of(page), re.M)]


@pytest.mark.parametrize("page", REFUSALS)
def test_codes_of_refusals_are_codes(page):
    known = set(re.findall(r"^\| `([a-z_]+)` \|", (ROOT / "docs/reasons.md").read_text(), re.M))
    assert len(known) > 50
    _, _, refusals = text_of(page).partition("## When it is refused")
    named = {code for row in re.findall(r"^\| (`[^|]+`) \|", refusals, re.M) for code in re.findall(r"`([a-z_]+)`", row)}
    assert named <= known, named - known
    assert named and len(REFUSALS) >= 8
