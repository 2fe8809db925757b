"""The key service's page in a real Chromium, and after each click its effect in real Envoy.

`PORTCULLIS_WRITE_DOCS=1` writes the pictures of docs/keys.md as well.
"""

import json
import os
import shutil
import urllib.request

import pytest

from harness.paths import NODE_PEERS, ROOT, require
from harness.process import NodePeer, Process
from harness.service import KeyService, follow, free_port
from harness.stack import plugin
from harness.wait import eventually


def chromium():
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    if not found:
        raise FileNotFoundError("Chromium is missing; `make setup` installs it")
    return found


def drive(tmp_path, config):
    """Runs browser.mjs and returns its steps."""
    require(NODE_PEERS / "node_modules")
    file = tmp_path / "browser.json"
    file.write_text(json.dumps({"chromium": chromium(), **config}))
    log = tmp_path / "browser.log"
    with Process(["node", NODE_PEERS / "browser.mjs", file], log) as browser:
        eventually(lambda: browser.exit_code is not None, lambda: f"the browser: {browser.log()}", 400, 0.1)
        steps = [json.loads(line) for line in browser.log().splitlines() if line.startswith("{")]
        assert browser.exit_code == 0 and steps and steps[-1] == {"done": True}, browser.log()
    return steps


def test_the_life_of_a_key_by_clicks(pile, tmp_path):
    service = pile.add(KeyService(tmp_path, tmp_path / "keys.db"))
    settings, edit = follow(service)
    config = plugin({"type": "api_key", "name": "keys", "settings": {"feed": settings}}, limits={"key_failures": 100000})
    token = service.fleet_token()
    stack = pile.stack(config, concurrency=2, env={"PORTCULLIS_FEED_TOKEN": token}, edit=edit)
    pictures = tmp_path / "pictures"
    if os.environ.get("PORTCULLIS_WRITE_DOCS"):
        pictures = ROOT / "docs/images/keys"
    pictures.mkdir(parents=True, exist_ok=True)
    steps = drive(tmp_path, {"service": service.url, "proxy": f"http://127.0.0.1:{stack.envoy.port}", "link": service.link,
                             "screenshots": str(pictures)})
    did = {s["step"]: s for s in steps if "step" in s}
    # Within one interval of 1 s; the rest is the slack that a busy machine needs.
    for name in ("created", "rotated", "revoked", "account"):
        assert did[name]["ms"] < 3000, did[name]
    assert did["rotated"]["old"] == 200 and did["revoked"]["other"] == 200
    views = [s["name"] for s in steps if s.get("step") == "view"]
    assert len(views) >= 18, views
    # The link is good once.
    form = urllib.request.Request(f"{service.url}/welcome", f"token={service.link.split('#')[1]}&person=x".encode(), {"origin": service.url})
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(form, timeout=30)
    assert refused.value.code == 403
    # Neither link nor token nor session in the log.
    assert token not in service.log()


PEOPLE = {
    "alice": {"email": "Alice@Example.com", "email_verified": True},
    "root": {"email": "root@example.com", "email_verified": True, "groups": ["staff", "portcullis-admins"]},
    "carol": {"email": "carol@example.com", "email_verified": True, "groups": ["team-shop-admins"]},
    "mallory": {"email": "root@example.com", "email_verified": False, "groups": ["portcullis-admins"]},
}


def test_sign_in_with_an_openid_provider(pile, tmp_path):
    file = tmp_path / "issuer.json"
    file.write_text(json.dumps({"people": PEOPLE}))
    with NodePeer("issuer.mjs", file, log=tmp_path / "issuer.log") as issuer:
        port = free_port()
        body = json.dumps({"redirect_uris": [f"http://127.0.0.1:{port}/signin/callback"], "token_endpoint_auth_method": "none",
                           "application_type": "native", "grant_types": ["authorization_code"], "response_types": ["code"]}).encode()
        request = urllib.request.Request(f"{issuer.ready['issuer']}/reg", body, {"content-type": "application/json"})
        with urllib.request.urlopen(request, timeout=30) as answer:
            client = json.load(answer)["client_id"]
        # With the demo's agents, so that alice has something to see.
        service = pile.add(KeyService(tmp_path, tmp_path / "keys.db", "--oidc-issuer", issuer.ready["issuer"], "--oidc-client-id", client,
                                      "--admin-group", "portcullis-admins", "--workspace-group", "team-{workspace}-admins", "--demo", port=port))
        assert service.link is None, "admins come by their group"
        steps = drive(tmp_path, {"service": service.url, "oidc": {
            "issuer": issuer.ready["issuer"], "people": {"alice": 1, "root": 3, "carol": 2, "mallory": None}}})
        seen = {s["login"]: s for s in steps if s.get("step") == "oidc"}
        assert {login: s["rows"] for login, s in seen.items()} == {"alice": 1, "root": 3, "carol": 2}  # research is hers, and shop she administers
        assert seen["alice"]["me"]["person"] == "alice@example.com" and not seen["alice"]["me"]["admin"]
        assert seen["root"]["me"]["admin"] and seen["carol"]["me"]["workspaces"] == ["shop"]
        assert [s["login"] for s in steps if s.get("step") == "oidc refused"] == ["mallory"]


def test_sign_in_is_rate_limited(pile, tmp_path):
    service = pile.add(KeyService(tmp_path, tmp_path / "keys.db", "--sign-ins-per-minute", "5"))
    answers = []
    for n in range(8):
        form = urllib.request.Request(f"{service.url}/welcome", f"token={n}&person=x".encode(), {"origin": service.url})
        try:
            urllib.request.urlopen(form, timeout=30)
        except urllib.error.HTTPError as error:
            answers.append(error.code)
    assert answers == [403] * 5 + [429] * 3
