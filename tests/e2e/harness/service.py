"""`portcullis serve`, its API, and a PostgreSQL for it."""

import json
import os
import shutil
import socket
import tempfile
import urllib.error
import urllib.request
from pathlib import Path

from .paths import PROGRAM, require
from .process import Process
from .wait import eventually

ENV = "PORTCULLIS_FEED_TOKEN"


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class KeyService(Process):
    """One replica; `database` is a file, or a PostgreSQL's URL. Its `link` is what it printed at its first start, if it did."""

    def __init__(self, workdir, database, *options, port=None, env=None):
        require(PROGRAM)
        self.port = port or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.database = database
        self._env = env
        super().__init__([PROGRAM, "serve", "--database", database, "--listen", f"127.0.0.1:{self.port}", *options],
                         Path(workdir) / f"service-{self.port}.log", env=env)
        try:
            eventually(self._ready, lambda: f"the service to be ready; it said:\n{self.log()}", deadline=60, interval=0.05)
        except BaseException:
            self.stop()
            raise

    def _ready(self):
        assert self.exit_code is None, self.log()
        try:
            with urllib.request.urlopen(f"{self.url}/readyz", timeout=2) as answer:
                return answer.status == 200
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            return False

    @property
    def link(self):
        found = [line.strip() for line in self.log().splitlines() if "/welcome#" in line]
        return found[-1] if found else None

    def command(self, *args):
        """What `portcullis serve …` prints."""
        import subprocess

        done = subprocess.run([str(PROGRAM), "serve", *args, "--database", str(self.database), "--public-url", self.url],
                              capture_output=True, text=True, timeout=60, check=False, env={**os.environ, **(self._env or {})})
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def fleet_token(self):
        return self.command("fleet-token", "--name", "tests")

    def close(self):
        self.stop()


class Refused(Exception):
    """An answer of 400 and above."""

    def __init__(self, status, body):
        super().__init__(f"{status}: {body}")
        self.status = status


class Api:
    """The service's HTTP API for somebody with a token. `urls` are replicas; `at` says which of them is asked."""

    def __init__(self, token, *urls):
        self.token = token
        self.urls = list(urls)

    def call(self, method, path, body=None, *, at=0, headers=None, timeout=30):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.urls[at] + path, data=data, method=method, headers={
            "authorization": f"Bearer {self.token}", "content-type": "application/json", **(headers or {})})
        try:
            with urllib.request.urlopen(request, timeout=timeout) as answer:
                text = answer.read()
                return json.loads(text) if text else None
        except urllib.error.HTTPError as error:
            raise Refused(error.code, error.read().decode(errors="replace")) from None

    def get(self, path, **kwargs):
        return self.call("GET", path, **kwargs)

    def post(self, path, body=None, **kwargs):
        return self.call("POST", path, body if body is not None else {}, **kwargs)

    def create(self, scope, **draft):
        """(key, id)"""
        made = self.post("/api/v1/keys", {"scope": scope, **draft})
        return made["key"], made["record"]["id"]

    def revoke(self, key_id, **kwargs):
        return self.post(f"/api/v1/keys/{key_id}/revoke", {"reason": "test"}, **kwargs)


def admin(service):
    """An API token of the first admin, who comes by the link that the service printed."""
    import http.cookiejar
    import urllib.parse

    jar = urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar())
    opener = urllib.request.build_opener(jar)
    token = service.link.split("#")[1]
    form = urllib.parse.urlencode({"token": token, "person": "root@example.com"}).encode()
    origin = {"origin": service.url}
    opener.open(urllib.request.Request(f"{service.url}/welcome", form, origin), timeout=30).close()
    body = json.dumps({"kind": "api", "name": "tests"}).encode()
    request = urllib.request.Request(f"{service.url}/api/v1/tokens", body, {**origin, "content-type": "application/json"})
    with opener.open(request, timeout=30) as answer:
        return json.load(answer)["token"]


def follow(*services):
    """What lets a proxy follow the service: (the provider's feed settings, an edit of the bootstrap)."""
    settings = {
        "url": "https://keys.test/api/v1/feed",
        "usage_url": "https://keys.test/api/v1/usage",
        "usage_interval": "1s",
        "token_env": ENV,
        "interval": "1s",
    }

    def edit(bootstrap):
        bootstrap.point("keys-test", services[0].port)
        cluster = bootstrap.cluster("keys-test")
        endpoints = cluster["load_assignment"]["endpoints"][0]["lb_endpoints"]
        for other in services[1:]:
            address = {"socket_address": {"address": "127.0.0.1", "port_value": other.port}}
            endpoints.append({"endpoint": {"address": address}})
        bootstrap.plugin.setdefault("callouts", {}).setdefault("upstreams", {})["keys.test"] = "keys-test"
        variables = bootstrap.wasm["vm_config"].setdefault("environment_variables", {})
        names = variables.setdefault("host_env_keys", [])
        if ENV not in names:
            names.append(ENV)

    return settings, edit


class Postgres(Process):
    """Debian's PostgreSQL on a loopback port, with a folder of its own that goes with it."""

    def __init__(self):
        found = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda p: int(p.parent.name))
        path = shutil.which("postgres")
        if not found and not path:
            raise FileNotFoundError("PostgreSQL is missing; `make setup` installs it")
        programs = found[-1] if found else Path(path).resolve().parent
        self._folder = Path(tempfile.mkdtemp(prefix="portcullis-postgres-"))
        data = self._folder / "data"
        as_user = []
        if os.geteuid() == 0:
            # PostgreSQL refuses to run as root; Debian's package brings a user for it.
            shutil.chown(self._folder, "postgres", "postgres")
            as_user = ["setpriv", "--pdeathsig", "INT", "--reuid", "postgres", "--regid", "postgres", "--clear-groups"]
        with Process([*as_user, programs / "initdb", "--username=test", "--auth=trust", "--no-sync", "--encoding=UTF8", "--locale=C", "-D", data],
                     self._folder / "initdb.log", cwd=self._folder) as initdb:
            assert initdb.popen.wait(120) == 0, initdb.log()
        self.port = free_port()
        super().__init__([*as_user, programs / "postgres", "-D", data, "-h", "127.0.0.1", "-k", "", "-p", self.port,
                          "-c", "max_connections=200"], self._folder / "postgres.log", cwd=self._folder)
        self.url = f"postgres://test@127.0.0.1:{self.port}/postgres"
        eventually(lambda: "ready to accept connections" in self.log(), lambda: f"PostgreSQL: {self.log()}", deadline=60)

    def close(self):
        self.stop()
        shutil.rmtree(self._folder, ignore_errors=True)
