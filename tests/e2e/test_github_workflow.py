"""The workflow with an API key of docs/integrations/github-actions.md, run as GitHub would, against Envoy and the demo's agent."""

import os
import re
import subprocess

import pytest
import yaml

from harness.apikeys import ApiKeysBootstrap
from harness.paths import ROOT
from harness.process import NodePeer
from harness.wait import eventually
from test_api_keys import present

PAGE = ROOT / "docs/integrations/github-actions.md"


def workflow():
    """The one workflow of the page that uses a secret."""
    blocks = re.findall(r"^```yaml\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    (found,) = [b for b in blocks if "secrets.AGENT_KEY" in b]
    return yaml.safe_load(found)


def run(job, folder, secrets, replaced):
    """Every step of a job with GitHub's default shell; the first that fails ends it. `replaced` are variables with other values here."""
    ran = []
    for step in job["steps"]:
        assert set(step) <= {"name", "env", "run"}, "a step that this can't run"
        env = {}
        for name, value in step.get("env", {}).items():
            env[name] = re.sub(r"\$\{\{ *secrets\.(\w+) *\}\}", lambda m: secrets[m[1]], str(value))
            assert "${{" not in env[name]
        for name, value in replaced.items():
            assert name in env
            env[name] = value
        script = folder / "step.sh"
        script.write_text(step["run"])
        done = subprocess.run(
            # What GitHub's runner does on Linux where a step names no shell.
            ["bash", "-e", script], cwd=folder, capture_output=True, text=True, timeout=60, check=False,
            env={"PATH": os.environ["PATH"], "HOME": str(folder), "CI": "true", "GITHUB_ACTIONS": "true", "GITHUB_RUN_ID": "1658821493",
                 "GITHUB_RUN_ATTEMPT": "1", "GITHUB_REPOSITORY": "octo-org/deploy", **env})
        ran.append(done)
        if done.returncode != 0:
            break
    return ran


@pytest.fixture(scope="module")
def world(shared, tmp_path_factory):
    with NodePeer("agent.mjs", "--agent", "orders", log=tmp_path_factory.mktemp("agent") / "agent.log") as agent:
        bootstrap = ApiKeysBootstrap(tmp_path_factory.mktemp("keys"))
        stack = shared.stack(bootstrap=bootstrap, edit=lambda b: b.point("agents", agent.ready["port"]))
        yield stack, bootstrap.keys


def known(stack, key, status):
    """Waits until the proxy has the key's last change. The agent answers a GET with something else than 401."""
    eventually(lambda: (present(stack, key).status == 401) == (status == 401), f"{status} for the key", 5)


def call(world, tmp_path, key):
    stack, _ = world
    (job,) = workflow()["jobs"].values()
    agent = f"http://127.0.0.1:{stack.envoy.port}/rest/orders"
    return run(job, tmp_path, {"AGENT_KEY": key}, {"AGENT": agent})


def test_it_calls_the_agent(world, tmp_path):
    stack, keys = world
    key, key_id = keys.create("--agent", "orders", "--owner", "octo-org/deploy", "--methods", "POST,GET")
    known(stack, key, 200)
    ran = call(world, tmp_path, key)
    assert [r.returncode for r in ran] == [0] * len(workflow()["jobs"]["call"]["steps"]), ran
    # The agent's own words: it was told who is calling, and did not see the key.
    assert "Hello octo-org/deploy, this is orders." in ran[-1].stdout
    assert key not in "".join(r.stdout + r.stderr for r in ran)

    def events():
        return [e["event"] for e in stack.envoy.audit_lines() if e["fields"].get("key_id") == key_id and e["fields"]["method"] == "POST"]

    # Envoy writes its access log when the request is over, which is after the caller has its answer.
    eventually(events, "the audit event")
    assert events() == ["auth_verify"]


@pytest.mark.parametrize("why", ["revoked", "of another agent", "mistyped"])
def test_it_fails_with_a_key_that_is_not_good(world, tmp_path, why):
    stack, keys = world
    key, key_id = keys.create("--agent", "fraud" if why == "of another agent" else "orders")
    known(stack, key, 200)
    status = {"revoked": 401, "of another agent": 403, "mistyped": 401}[why]
    if why == "revoked":
        keys.run("revoke", key_id)
        known(stack, key, 401)
    if why == "mistyped":
        key = key[:-1] + ("0" if key[-1] != "0" else "1")
    ran = call(world, tmp_path, key)
    assert ran[-1].returncode != 0
    assert f"error: {status}" in ran[-1].stderr, ran[-1].stderr


def test_it_fails_when_the_agent_says_no(world, tmp_path):
    """`grep` is there for a reason."""
    stack, keys = world
    key, _ = keys.create("--agent", "orders")
    known(stack, key, 200)
    (job,) = workflow()["jobs"].values()
    for step in job["steps"]:
        step["run"] = step["run"].replace("message/send", "message/unheard-of")
    ran = run(job, tmp_path, {"AGENT_KEY": key}, {"AGENT": f"http://127.0.0.1:{stack.envoy.port}/rest/orders"})
    assert ran[-1].returncode != 0
