"""The key service and the filter that follows it, in real Envoy: what is done there is so here, within a second."""

import json
import re
import subprocess
import threading
import time
from pathlib import Path

import pytest

from harness.paths import PROGRAM, ROOT
from harness.service import ENV, Api, KeyService, Postgres, Refused, admin, follow
from harness.stack import plugin
from harness.wait import eventually

WORKERS = 2
# What "within a second" may take more here: a request's own way, on a machine with other work.
SLACK = 2.0


def proxy(pile, *services, token, concurrency=WORKERS):
    settings, edit = follow(*services)
    config = plugin({"type": "api_key", "name": "keys", "settings": {"feed": settings}}, limits={"key_failures": 100000})
    return pile.stack(config, concurrency=concurrency, env={ENV: token}, edit=edit)


def present(stack, key, agent="orders"):
    return stack.request("GET", f"/rest/{agent}", [("x-api-key", key)])


def becomes(stack, key, status, within=1 + SLACK, agent="orders"):
    """How long it took until requests to all workers were answered so, eight times in a row."""
    began = time.monotonic()
    eventually(lambda: all(present(stack, key, agent).status == status for _ in range(8)), f"{status}", within)
    return time.monotonic() - began


@pytest.fixture(scope="module")
def running(shared, tmp_path_factory):
    folder = tmp_path_factory.mktemp("service")
    service = shared.add(KeyService(folder, folder / "keys.db"))
    api = Api(admin(service), service.url)
    api.post("/api/v1/agents", {"name": "orders", "owner": "alice@example.com", "workspace": "shop", "org": "example"})
    stack = proxy(shared, service, token=service.fleet_token())
    return service, api, stack


def test_the_life_of_a_key(running):
    _, api, stack = running
    key, key_id = api.create({"agent": "orders"}, owner="alice@example.com", name="nightly")
    becomes(stack, key, 200)
    stack.allowed(present(stack, key), user_id="alice@example.com", key_id=key_id, agent="orders", workspace_id="shop")
    stack.denied(present(stack, key, "fraud"), 403, "forbidden_agent", "forbidden_agent", challenge=None)
    made = api.post(f"/api/v1/keys/{key_id}/rotate", {"grace": "1h"})
    becomes(stack, made["key"], 200)
    assert present(stack, key).status == 200, "the grace"
    api.revoke(key_id)
    becomes(stack, key, 401)
    stack.denied(present(stack, key), 401, "rejected", "key_revoked", credential=key)
    assert present(stack, made["key"]).status == 200
    api.revoke(made["record"]["id"])
    becomes(stack, made["key"], 401)


def test_scopes_follow_the_agents(running):
    _, api, stack = running
    user, _ = api.create({"user": "carol@example.com"}, owner="carol@example.com")
    shop, _ = api.create({"workspace": "shop"})
    becomes(stack, shop, 200)
    assert present(stack, user).status == 403
    api.call("PUT", "/api/v1/agents/orders", {"owner": "carol@example.com", "workspace": "bank", "org": "example"})
    becomes(stack, user, 200)
    becomes(stack, shop, 403)
    api.call("PUT", "/api/v1/agents/orders", {"owner": "alice@example.com", "workspace": "shop", "org": "example"})
    becomes(stack, shop, 200)


def test_all_keys_of_an_owner(running):
    _, api, stack = running
    keys = [api.create({"agent": "orders"}, owner="mallory@example.com")[0] for _ in range(5)]
    becomes(stack, keys[-1], 200)
    assert api.post("/api/v1/owners/mallory@example.com/revoke", {"reason": "left"})["revoked"] == 5
    becomes(stack, keys[-1], 401)
    assert {present(stack, key).status for key in keys} == {401}


def test_use_is_reported(running):
    _, api, stack = running
    key, key_id = api.create({"agent": "orders"})
    becomes(stack, key, 200)
    before = sum(p["allowed"] for p in api.get(f"/api/v1/keys/{key_id}/usage?step=60"))
    for _ in range(20):
        assert present(stack, key).status == 200
    for _ in range(5):
        assert present(stack, key, "fraud").status == 403

    def counted():
        points = api.get(f"/api/v1/keys/{key_id}/usage?step=60")
        return sum(p["allowed"] for p in points) >= before + 20 and sum(p["refused"] for p in points) == 5

    eventually(counted, lambda: f"20 more calls and 5 refusals: {api.get(f'/api/v1/keys/{key_id}/usage?step=60')}", 20, 0.2)
    assert time.time() - api.get(f"/api/v1/keys/{key_id}")["last_used_at"] < 180
    assert sum(p["allowed"] for p in api.get("/api/v1/agents/orders/usage")) >= 20


def test_the_fleet_is_seen(running):
    _, api, _ = running

    def seen():
        items = api.get("/api/v1/fleet")["items"]
        return len(items) >= WORKERS and all(f["config_version"] and f["up_to_date"] for f in items)

    eventually(seen, lambda: f"every worker: {api.get('/api/v1/fleet')}", 20, 0.2)


def test_killed_and_started_again(pile, tmp_path):
    service = pile.add(KeyService(tmp_path, tmp_path / "keys.db"))
    api = Api(admin(service), service.url)
    api.post("/api/v1/agents", {"name": "orders"})
    stack = proxy(pile, service, token=service.fleet_token())
    good, _ = api.create({"agent": "orders"})
    bad, bad_id = api.create({"agent": "orders"})
    becomes(stack, bad, 200)
    api.revoke(bad_id)
    service.popen.kill()
    service.popen.wait()
    # The filter goes on with what it has.
    assert present(stack, good).status == 200
    again = pile.add(KeyService(tmp_path, service.database, port=service.port))
    assert api.get(f"/api/v1/keys/{bad_id}")["state"] == "revoked"
    becomes(stack, bad, 401, 15)
    assert present(stack, good).status == 200
    assert again.link is None, "there is an admin already"


def test_a_restored_backup_is_taken_whole(pile, tmp_path):
    service = pile.add(KeyService(tmp_path, tmp_path / "keys.db"))
    api = Api(admin(service), service.url)
    api.post("/api/v1/agents", {"name": "orders"})
    stack = proxy(pile, service, token=service.fleet_token())
    kept, _ = api.create({"agent": "orders"})
    service.command("backup", str(tmp_path / "copy.db"))
    late, _ = api.create({"agent": "orders"})
    becomes(stack, late, 200)
    service.stop()
    pile.add(KeyService(tmp_path, tmp_path / "copy.db", port=service.port))
    becomes(stack, late, 401, 15)
    assert present(stack, kept).status == 200


def commands(kind):
    """The block of docs/keys.md with this word behind `sh`."""
    (found,) = re.findall(rf"^```sh {kind}\n(.*?)^```$", (ROOT / "docs/keys.md").read_text(), re.M | re.S)
    return found


def test_a_dump_of_postgres_is_restored_by_the_pages_commands(pile, tmp_path):
    database = pile.add(Postgres())
    service = pile.add(KeyService(tmp_path, database.url))
    api = Api(admin(service), service.url)
    api.post("/api/v1/agents", {"name": "orders"})
    stack = proxy(pile, service, token=service.fleet_token())
    kept, kept_id = api.create({"agent": "orders"})

    def run(kind):
        programs = [PROGRAM.parent, *sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True), "/usr/bin", "/bin"]
        ran = subprocess.run(["bash", "-euo", "pipefail", "-c", commands(kind)], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False,
                             env={"PATH": ":".join(map(str, programs)), "PORTCULLIS_DATABASE": database.url})
        assert ran.returncode == 0, ran.stderr

    run("postgres-backup")
    # What comes after it has more revisions than the copy will have for some time, and the filter has seen them.
    late, _ = api.create({"agent": "orders"})
    becomes(stack, late, 200)
    api.revoke(kept_id)
    becomes(stack, kept, 401)
    service.stop()
    run("postgres-restore")
    pile.add(KeyService(tmp_path, f"{database.url.rsplit('/', 1)[0]}/restored", port=service.port))
    becomes(stack, late, 401, 15)
    # As the page says: what was revoked since is good again.
    becomes(stack, kept, 200, 15)


class Writers:
    """Threads that make and revoke keys at both replicas, and remember what they were answered."""

    def __init__(self, api, count=6):
        self.api = api
        self.answered, self.revoked, self.failed = {}, set(), 0
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._run, args=(n,), daemon=True) for n in range(count)]
        for thread in self._threads:
            thread.start()

    def _run(self, n):
        while not self._stop.is_set():
            try:
                made = self.api.post("/api/v1/keys", {"scope": {"agent": "orders"}, "name": f"w{n}"}, at=n % 2)
                key_id = made["record"]["id"]
                with self._lock:
                    self.answered[key_id] = made["record"]
                if n % 3 == 0:
                    self.api.revoke(key_id, at=n % 2)
                    with self._lock:
                        self.revoked.add(key_id)
            except (OSError, Refused, json.JSONDecodeError):
                # Not answered: it may have been done or not.
                self.failed += 1
                time.sleep(0.05)

    def stop(self):
        self._stop.set()
        for thread in self._threads:
            thread.join(60)


class Follower:
    """Polls both replicas in turn as a filter does, and never sees a revision go backwards."""

    def __init__(self, token, *urls):
        self.api = Api(token, *urls)
        self.after, self.epoch, self.keys, self.resets = 0, "", {}, 0

    def poll(self, at, wait=0):
        page = self.api.get(f"/api/v1/feed?after={self.after}&epoch={self.epoch}&wait={wait}", at=at, timeout=60)
        if page is None:
            return False
        assert page["revision"] >= self.after, "the revision went backwards"
        if page["reset"]:
            self.resets += 1
            self.keys = {}
        self.after, self.epoch = page["revision"], page["epoch"]
        self.keys.update({k["id"]: k for k in page["keys"]})
        for key_id in page["removed_keys"]:
            self.keys.pop(key_id, None)
        return True


@pytest.fixture(scope="module")
def postgres(shared):
    return shared.add(Postgres())


def test_two_replicas_one_killed_in_the_middle_of_writes(pile, postgres, tmp_path):
    first = pile.add(KeyService(tmp_path, postgres.url))
    second = pile.add(KeyService(tmp_path, postgres.url))
    api = Api(admin(first), first.url, second.url)
    api.post("/api/v1/agents", {"name": "orders"})
    token = first.fleet_token()
    stack = proxy(pile, first, second, token=token)
    key, key_id = api.create({"agent": "orders"})
    becomes(stack, key, 200)
    follower = Follower(token, first.url, second.url)
    writers = Writers(api)
    try:
        for turn in range(40):
            follower.poll(turn % 2)
            time.sleep(0.05)
        second.popen.kill()
        second.popen.wait()
        killed_at = len(writers.answered)
        for _ in range(20):
            follower.poll(0)
            time.sleep(0.05)
    finally:
        writers.stop()
    assert killed_at > 0 and writers.failed > 0 and len(writers.answered) > killed_at, "writes before and after the kill"
    while follower.poll(0):
        pass
    assert follower.resets == 1
    missing = set(writers.answered) - set(follower.keys)
    assert not missing, f"{len(missing)} answered keys are lost"
    unrevoked = {i for i in writers.revoked if "revoked_at" not in follower.keys[i]}
    assert not unrevoked, f"{len(unrevoked)} answered revocations are lost"
    # One address with a dead replica behind it: the filter goes on by way of the other.
    api.revoke(key_id)
    becomes(stack, key, 401, 15)


def test_a_change_at_one_replica_wakes_long_polls_of_the_other(pile, postgres, tmp_path):
    first = pile.add(KeyService(tmp_path, postgres.url))
    second = pile.add(KeyService(tmp_path, postgres.url))
    person = first.command("admin-link", "--person", "root@example.com")
    first.log_path.open("a").write(f"\n{person}\n")
    api = Api(admin(first), first.url, second.url)
    follower = Follower(first.fleet_token(), first.url, second.url)
    while follower.poll(1):
        pass
    took = []
    for _ in range(5):
        woken = threading.Thread(target=follower.poll, args=(1, 30))
        woken.start()
        time.sleep(0.3)
        began = time.monotonic()
        api.create({"org": "example"}, owner="root@example.com")
        woken.join(30)
        took.append(time.monotonic() - began)
    assert len(follower.keys) >= 5
    # NOTIFY, and not the look that a replica takes once a second.
    assert min(took) < 0.5, took


def test_portcullis_in_front_says_who_is_there(pile, tmp_path):
    """`envoy/key-service.yaml` as it is, but for hosts and ports."""
    import secrets

    from harness.bootstrap import Bootstrap
    from harness.envoy import Envoy

    secret = secrets.token_hex(32)
    service = pile.add(KeyService(tmp_path, tmp_path / "keys.db", "--demo", "--proxy-secret-env", "PORTCULLIS_PROXY_SECRET",
                                  "--admin-group", "portcullis-admins", env={"PORTCULLIS_PROXY_SECRET": secret}))
    fleet = service.fleet_token()
    issuer = pile.issuer("https://issuer.example.com", aud="api://keys")
    bootstrap = Bootstrap(ROOT / "envoy/key-service.yaml")
    bootstrap.listen()
    bootstrap.point("agents", service.port)
    bootstrap.point("issuer", issuer.port)
    bootstrap.drop_tls("issuer")
    variables = {"PORTCULLIS_PROXY_SECRET": secret, "PORTCULLIS_OAUTH_SECRET": "unused", "PORTCULLIS_COOKIE_KEY": secrets.token_hex(32)}
    with Envoy(bootstrap, tmp_path, env=variables) as envoy:
        url = f"http://127.0.0.1:{envoy.port}"

        def me(headers=None, at=url, **claims):
            token = issuer.token(**{"email": "alice@example.com", "email_verified": True, **claims})
            return Api(token, at).get("/api/v1/me", headers=headers)

        assert me() == {"person": "alice@example.com", "admin": False, "workspaces": [], "read_only": False}
        # Her own agent of the demo's, and no other.
        token = issuer.token(email="alice@example.com", email_verified=True)
        assert [a["name"] for a in Api(token, url).get("/api/v1/agents")["items"]] == ["orders"]
        assert me(groups=["staff", "portcullis-admins"])["admin"] is True
        # Whatever a caller says of itself is replaced.
        mine = {"x-auth-user-id": "root@example.com", "x-auth-groups": "portcullis-admins", "x-portcullis-proxy-secret": "x" * 32}
        assert me(mine)["person"] == "alice@example.com"
        for wrong in ({"email": "mallory@elsewhere.com"}, {"email_verified": False}, {"aud": "api://agents"}):
            with pytest.raises(Refused) as refused:
                me(**wrong)
            assert refused.value.status == 401
        # Past the proxy the headers are worth nothing.
        with pytest.raises(Refused) as refused:
            me({"x-auth-user-id": "root@example.com"}, service.url)
        assert refused.value.status == 401
        # The fleet's tokens are the service's to judge.
        assert Api(fleet, url).get("/api/v1/feed?after=0")["reset"] is True
        # Where somebody came from is what the proxy saw.
        made = Api(token, url).post("/api/v1/keys", {"scope": {"agent": "orders"}})
        assert made["record"]["owner"] == "alice@example.com"
        log = Api(token, url).get("/api/v1/audit?action=key.create")["items"]
        assert log[0]["via"] == "header" and log[0]["remote_addr"] == "127.0.0.1"
