"""The key service's page in a real Chromium, and after each click its effect in real Envoy.

`PORTCULLIS_WRITE_DOCS=1` writes the pictures of docs/keys.md as well.
"""

import json
import os
import secrets
import shutil
import urllib.request

import pytest

from harness.bootstrap import Bootstrap
from harness.envoy import Envoy
from harness.paths import NODE_PEERS, ROOT, require
from harness.process import NodePeer, Process
from harness.service import Api, KeyService, follow, free_port
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
        # With `=`: an id may begin with a `-`. With the demo's agents, so that alice has something to see.
        service = pile.add(KeyService(tmp_path, tmp_path / "keys.db", "--oidc-issuer", issuer.ready["issuer"], f"--oidc-client-id={client}",
                                      "--admin-group", "portcullis-admins", "--workspace-group", "team-{workspace}-admins", "--demo", port=port))
        assert service.link is None, "admins come by their group"
        steps = drive(tmp_path, {"service": service.url, "oidc": {
            "issuer": issuer.ready["issuer"], "people": {"alice": 1, "root": 3, "carol": 2, "mallory": None}}})
        seen = {s["login"]: s for s in steps if s.get("step") == "oidc"}
        assert {login: s["rows"] for login, s in seen.items()} == {"alice": 1, "root": 3, "carol": 2}  # research is hers, and shop she administers
        assert seen["alice"]["me"]["person"] == "alice@example.com" and not seen["alice"]["me"]["admin"]
        assert seen["root"]["me"]["admin"] and seen["carol"]["me"]["workspaces"] == ["shop"]
        assert [s["login"] for s in steps if s.get("step") == "oidc refused"] == ["mallory"]


def test_sign_in_by_the_proxy_in_front(pile, tmp_path):
    """`envoy/key-service.yaml` as it is, but for hosts, ports and the client: Envoy's `oauth2` filter signs people in, Portcullis verifies their
    token, the service believes the header."""
    secrets_of_it = {name: secrets.token_hex(32) for name in ("PORTCULLIS_PROXY_SECRET", "PORTCULLIS_COOKIE_KEY")}
    file = tmp_path / "issuer.json"
    # Globs tell capitals apart, so addresses have to come as they are written there.
    people = {**PEOPLE, "alice": {"email": "alice@example.com", "email_verified": True}}
    file.write_text(json.dumps({"people": people, "resources": {"api://keys": {}}}))
    with NodePeer("issuer.mjs", file, log=tmp_path / "issuer.log") as issuer:
        at = issuer.ready["issuer"]
        port = free_port()
        url = f"http://127.0.0.1:{port}"
        body = json.dumps({"redirect_uris": [f"{url}/oauth2/callback"], "token_endpoint_auth_method": "client_secret_post",
                           "application_type": "native", "grant_types": ["authorization_code"], "response_types": ["code"]}).encode()
        with urllib.request.urlopen(urllib.request.Request(f"{at}/reg", body, {"content-type": "application/json"}), timeout=30) as answer:
            client = json.load(answer)
        service = pile.add(KeyService(tmp_path, tmp_path / "keys.db", "--demo", "--public-url", url, "--proxy-secret-env", "PORTCULLIS_PROXY_SECRET",
                                      "--admin-group", "portcullis-admins", "--workspace-group", "team-{workspace}-admins", env=secrets_of_it))
        bootstrap = Bootstrap(ROOT / "envoy/key-service.yaml")
        bootstrap.listen(port)
        bootstrap.point("agents", service.port)
        bootstrap.issuer(at)
        bootstrap.point("issuer", int(at.rsplit(":", 1)[1]))
        (oauth2,) = [f["typed_config"]["config"] for f in bootstrap.hcm["http_filters"] if f["name"] == "oauth2"]
        oauth2["authorization_endpoint"] = f"{at}/auth"
        oauth2["token_endpoint"]["uri"] = f"{at}/token"
        oauth2["redirect_uri"] = f"{url}/oauth2/callback"
        oauth2["credentials"]["client_id"] = client["client_id"]
        with Envoy(bootstrap, tmp_path, env={**secrets_of_it, "PORTCULLIS_OAUTH_SECRET": client["client_secret"]}):
            # Scripts are told 401, and headers of the caller's are worth nothing.
            forged = {"x-auth-user-id": "root@example.com", "x-auth-groups": "portcullis-admins"}
            for path, headers in (("/api/v1/me", forged), ("/agents", {**forged, "hx-request": "true"}),
                                  ("/api/v1/me", {**forged, "authorization": "Bearer x"}), ("/api/v1/me", {**forged, "authorization": "Bearer gapi_x"}),
                                  ("/api/v1/feed?after=0", forged)):
                with pytest.raises(urllib.error.HTTPError) as refused:
                    urllib.request.urlopen(urllib.request.Request(url + path, headers=headers), timeout=30)
                assert refused.value.code == 401, path
            steps = drive(tmp_path, {"service": url, "front": {
                "issuer": at, "people": {"alice": 1, "root": 3, "mallory": None}, "makes": {"alice": "orders"}}})
            seen = {s["login"]: s for s in steps if s.get("step") == "front"}
            assert {login: s["rows"] for login, s in seen.items()} == {"alice": 1, "root": 3}
            for login, admin in (("alice", False), ("root", True)):
                assert seen[login]["me"]["person"] == f"{login}@example.com" and seen[login]["me"]["admin"] is admin
                assert seen[login]["forged"] == seen[login]["me"]
                # No script can read what signs somebody in.
                assert seen[login]["readable"] == [], seen[login]
            assert seen["alice"]["made"].startswith("gak_")
            assert [s["status"] for s in steps if s.get("step") == "front refused"] == [401]
            # A script's API token is the service's to judge, and names nobody else.
            assert Api(seen["alice"]["token"], url).get("/api/v1/me", headers=forged)["person"] == "alice@example.com"


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
