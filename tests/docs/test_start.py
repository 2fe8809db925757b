"""docs/start.md, followed from top to bottom in one shell: a real OpenID provider with its own authority, a real Envoy, and the page's own agent.

Only ports are others than on the page, and the issuer, its tokens and the workflow's come from here.
"""

import json
import os
import re
import shutil
import ssl
import subprocess
import time
import urllib.parse
import urllib.request

import pytest
from jwcrypto import jwk, jwt

from harness.certificates import Authority
from harness.paths import ENVOY, PROGRAM, ROOT, WASM, require
from harness.process import NodePeer
from harness.service import free_port
from pages import blocks

PAGE = "docs/start.md"
GITHUB = "https://token.actions.githubusercontent.com"


def steps():
    return [block for block in blocks(PAGE) if block.info == "sh start"]


def github_job(folder):
    """A job's token in the shape of https://docs.github.com/en/actions/reference/security/oidc#the-oidc-token, and the key that it is signed with."""
    key = jwk.JWK.generate(kty="RSA", size=2048, kid="gh", alg="RS256", use="sig")
    (folder / "github-keys.json").write_text(json.dumps({"keys": [key.export_public(as_dict=True)]}))
    now = int(time.time())
    claims = {
        "jti": "example-id", "sub": "repo:octo-org/deploy:ref:refs/heads/main", "aud": "https://agents.example.com", "ref": "refs/heads/main",
        "sha": "714a629c0b401fdce83e847fc9589983fc6f46bc", "repository": "octo-org/deploy", "repository_owner": "octo-org", "actor_id": "12",
        "repository_visibility": "private", "repository_id": "74", "repository_owner_id": "65", "run_id": "1234567", "run_number": "10", "run_attempt": "2",
        "runner_environment": "github-hosted", "actor": "octocat", "workflow": "nightly", "head_ref": "", "base_ref": "", "event_name": "workflow_dispatch",
        "ref_type": "branch", "job_workflow_ref": "octo-org/deploy/.github/workflows/nightly.yml@refs/heads/main", "iss": GITHUB,
        "nbf": now - 5, "exp": now + 300, "iat": now}
    token = jwt.JWT(header={"alg": "RS256", "kid": "gh", "typ": "JWT"}, claims=claims)
    token.make_signed_token(key)
    (folder / "job-token.txt").write_text(token.serialize())


def access_token(issuer, authority, client):
    body = urllib.parse.urlencode({"grant_type": "client_credentials", "client_id": client, "client_secret": "s3cret",
                                   "resource": "https://agents.acme.test", "scope": "agents:call"}).encode()
    trust = ssl.create_default_context(cafile=authority.path)
    with urllib.request.urlopen(f"{issuer}/token", body, timeout=30, context=trust) as answer:
        return json.load(answer)["access_token"]


@pytest.fixture
def place(tmp_path):
    """What the page starts from: a folder like the repository's, and the issuer."""
    require(PROGRAM, ENVOY, WASM)
    workdir = tmp_path / "clone"
    workdir.mkdir()
    (workdir / "dist").symlink_to(ROOT / "dist")
    # Keys are written beside the example.
    shutil.copytree(ROOT / "envoy", workdir / "envoy", ignore=shutil.ignore_patterns("keys.json", "ecds.json"))
    github_job(workdir)
    authority = Authority(tmp_path)
    config = tmp_path / "issuer.json"
    config.write_text(json.dumps({
        "tls": str(authority.certificate("localhost")),
        "clients": {name: {"secret": "s3cret"} for name in ("planner", "stranger")},
        "resources": {"https://agents.acme.test": {"scope": "agents:call"}}}))
    with NodePeer("issuer.mjs", config, log=tmp_path / "issuer.log") as issuer:
        at = issuer.ready["issuer"]
        tokens = {name: access_token(at, authority, name) for name in ("planner", "stranger")}
        environment = {
            "PATH": os.pathsep.join([str(PROGRAM.parent), str(ENVOY.parent), "/usr/local/bin", "/usr/bin", "/bin"]), "HOME": str(workdir),
            "ISSUER": at, "AUDIENCE": "https://agents.acme.test", "CA": str(authority.path), "TOKEN": tokens["planner"],
            "AWS_ACCESS_KEY_ID": "ASIAIOSFODNN7EXAMPLE", "AWS_SECRET_ACCESS_KEY": "example", "AWS_SESSION_TOKEN": "example"}
        yield workdir, environment, tokens


def follow(workdir, environment, texts):
    """Runs blocks in one shell, on free ports. Gives what each printed."""
    mark = "=====8<====="
    script = "".join(f"{text}\necho '{mark}'\n" for text in texts)
    ports = {written: str(free_port()) for written in ("10000", "9901", "8080")}
    # Two Envoys of one machine may not share their hot-restart memory.
    script = script.replace("envoy -c ", "envoy --disable-hot-restart -c ")
    for written, free in ports.items():
        script = script.replace(f"127.0.0.1:{written}", f"127.0.0.1:{free}").replace(f'"127.0.0.1", {written}', f'"127.0.0.1", {free}')
        for file in (workdir / "envoy/envoy.yaml", workdir / "envoy/api-keys/envoy.yaml"):
            file.write_text(file.read_text().replace(f"port_value: {written} ", f"port_value: {free} "))
    ran = subprocess.run(["bash", "-euo", "pipefail", "-c", f"trap 'kill $(jobs -p) || true' EXIT\n{script}"], cwd=workdir, env=environment,
                         capture_output=True, text=True, timeout=180, check=False)
    logs = "".join(f"\n{log.name}: {log.read_text()[-2000:]}" for log in sorted(workdir.glob("*.log")))
    assert ran.returncode == 0, ran.stdout + ran.stderr + logs
    return ran.stdout.split(mark)


def statuses(said):
    # The body of a refusal has no newline at its end.
    return [int(status) for status in re.findall(r"HTTP/1\.1 (\d{3}) ", said)]


def test_the_page_is_followed_from_top_to_bottom(place):
    workdir, environment, tokens = place
    texts = [block.text for block in steps()]
    assert len(texts) == 9
    # One more caller, whom the page has no token of, and what the proxy has written down of all this.
    more = f'curl -sS -i http://127.0.0.1:10000/rest/orders -H "Authorization: Bearer {tokens["stranger"]}"\nsleep 11\n'
    said = follow(workdir, environment, [*texts[:4], more, *texts[4:]])
    _, configured, explained, called, stranger, aws, asked, github, job, keys, _ = said
    assert "ok, version" in configured
    assert "decision     allow" in explained and "set        x-auth-user-id: planner" in explained
    assert statuses(called) == [200, 401, 200]
    answers = [json.loads(line) for line in called.splitlines() if line.startswith('{"x-auth')]
    assert [a["x-auth-user-id"] for a in answers] == ["planner", "planner"] and "authorization" not in answers[0]
    assert statuses(stranger) == [401]
    events = [json.loads(line)["fields"] for line in (workdir / "audit.ndjson").read_text().splitlines()]
    assert [e.get("code") for e in events] == [None, "missing_token", None, "subject_not_allowed"]
    # `check` and the proxy name the configuration alike.
    assert f"ok, version {events[0]['config_version']}," in configured
    assert "ok, version" in aws and "ok, version" in github
    assert "waits for what STS says" in asked
    assert "verified: repo:octo-org/deploy" in job and "decision     allow" in job
    assert statuses(keys) == [200, 403, 401]


@pytest.mark.parametrize(("change", "said"), [
    (("|issuer.example.com: issuer|", "|no.such.example.com: issuer|"), "callouts.upstreams says nothing of localhost:"),
    (("issuer.example.com: issuer|\\\"$host\\\": issuer", "issuer.example.com: issuer|\\\"$name\\\": issuer"), "(`localhost` is there; a port belongs to the name)"),
    (("audience: api://agents|audience:", "audience: api://agents|audiences:"), "unknown key; did you mean `audience`?"),
])
def test_a_mistake_is_told_before_the_proxy_is_started(place, change, said):
    workdir, environment, _ = place
    text = steps()[1].text
    assert text.replace(*change) != text
    with pytest.raises(AssertionError) as failed:
        follow(workdir, environment, [text.replace(*change)])
    assert said in str(failed.value)
