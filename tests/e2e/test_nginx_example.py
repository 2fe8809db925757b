"""examples/nginx/nginx.conf in Debian's plain nginx: all of it but the filter, whose part the test plays.

The `wasm` block and `proxy_wasm` are taken out, since this nginx has no ngx_wasm_module; what the filter would leave in its
variables comes in test headers. What is left, the guard, the identity headers, the end of credentials, the audit log and the cache
for keys, is the file's own, word for word but for paths, ports and the issuer.
"""

from __future__ import annotations

import http.client
import os
import re
import shutil
import socket
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples/nginx/nginx.conf"
PARTS = ["user_id", "email", "org_id", "workspace_id", "groups", "provider", "agent", "key_id"]


class Upstream(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.server.seen.append((self.path, list(self.headers.items())))
        time.sleep(self.server.delay)
        body = b'{"keys":[]}'
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.send_header("cache-control", "no-store")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def upstream(delay: float = 0) -> ThreadingHTTPServer:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Upstream)
    server.seen = []
    server.delay = delay
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def without_filter(text: str) -> str:
    """The file as a plain nginx can read it; what is taken out must be there exactly once."""
    text, wasm = re.subn(r"^wasm \{\n.*?^\}\n", "", text, flags=re.S | re.M)
    played = "set $portcullis_decision $http_test_decision;\n set $portcullis_audit $http_test_audit;\n"
    played += "".join(f"set $portcullis_{part} $http_test_{part};\n" for part in PARTS)
    text, plugins = re.subn(r"proxy_wasm portcullis '.*?';\n", lambda _: played, text, flags=re.S)
    assert (wasm, plugins) == (1, 1)
    return text


def replaced(text: str, *pairs: tuple[str, str]) -> str:
    for old, new in pairs:
        assert old in text, old
        text = text.replace(old, new)
    return text


class Nginx:
    def __init__(self, folder: Path, extra: str = "") -> None:
        binary = shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin")
        assert binary, "no nginx; `make setup` installs it"
        self.agent, self.issuer = upstream(), upstream(delay=0.3)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.keys = folder / "keys.sock"
        self.audit = folder / "audit.ndjson"
        (folder / "cache").mkdir()
        # Workers of another user could not look into the test's folder.
        user = "user root;" if os.geteuid() == 0 else ""
        text = replaced(
            without_filter(EXAMPLE.read_text()),
            ("/var/log/nginx/error.log", str(folder / "error.log")),
            ("/run/nginx.pid", str(folder / "nginx.pid")),
            ("/var/log/nginx/portcullis.ndjson", str(self.audit)),
            ("/var/cache/nginx/portcullis", str(folder / "cache")),
            ("/run/portcullis-keys.sock", str(self.keys)),
            ("listen 8080;", f"listen 127.0.0.1:{self.port};\n{extra}"),
            ("127.0.0.1:8000", f"127.0.0.1:{self.agent.server_port}"),
            ('"https://issuer.example.com"', f'"http://127.0.0.1:{self.issuer.server_port}"'),
            ("worker_processes auto;", f"worker_processes 2;\ndaemon off;\n{user}"),
        )
        config = folder / "nginx.conf"
        config.write_text(text)
        arguments = [binary, "-p", str(folder), "-c", str(config)]
        tried = subprocess.run([*arguments, "-t"], capture_output=True, text=True)
        assert tried.returncode == 0, tried.stderr
        self.process = subprocess.Popen(arguments, stderr=subprocess.DEVNULL)
        for _ in range(200):
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                time.sleep(0.05)
        self.stop()
        raise AssertionError((folder / "error.log").read_text())

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(10)
        for server in (self.agent, self.issuer):
            server.shutdown()
            server.server_close()

    def get(self, path: str, headers: dict[str, str]) -> int:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        connection.request("GET", path, headers={"host": "agents.example.com", **headers})
        answer = connection.getresponse()
        answer.read()
        connection.close()
        return answer.status

    def ask_for_keys(self, host: str) -> int:
        connection = http.client.HTTPConnection(host, timeout=10)
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.connect(str(self.keys))
        connection.request("GET", "/jwks", headers={"host": host})
        answer = connection.getresponse()
        answer.read()
        connection.close()
        return answer.status


@pytest.fixture
def nginx(tmp_path: Path):
    running = Nginx(tmp_path)
    yield running
    running.stop()


def test_only_the_one_word_opens_the_guard(nginx: Nginx) -> None:
    for decision in ["", "deny", "Allow", "allow ", "allowed", "1"]:
        headers = {"test-decision": decision} if decision else {}
        # nginx trims the space around a header's value.
        expected = 200 if decision.strip() in ("allow", "Allow") else 502
        assert nginx.get("/rest/orders", headers) == expected, decision
    assert nginx.get("/rest/orders", {"test-decision": "allow"}) == 200


def test_identity_is_the_filters_and_credentials_end_here(nginx: Nginx) -> None:
    credentials = ["authorization", "x-gofannon-key", "x-api-key", "x-amz-security-token", "x-goog-iap-jwt-assertion"]
    unsigned = ["x-goog-authenticated-user-email", "x-goog-authenticated-user-id"]
    forged = {f"x-auth-{part.replace('_', '-')}": "mallory" for part in PARTS}
    secrets = dict.fromkeys(credentials + unsigned, "secret")
    said = {"test-decision": "allow", "test-user-id": "alice", "test-agent": "orders"}
    assert nginx.get("/rest/%6frders?a=%20b", {**forged, **secrets, **said}) == 200
    path, headers = nginx.agent.seen[-1]
    assert path == "/rest/%6frders?a=%20b", "the path that was judged"
    seen = {name.lower(): value for name, value in headers}
    assert len(seen) == len(headers), headers
    assert seen["x-auth-user-id"] == "alice"
    assert seen["x-auth-agent"] == "orders"
    for name in [*credentials, *unsigned, "x-auth-email", "x-auth-org-id", "x-auth-groups", "x-auth-key-id"]:
        assert name not in seen, name


def test_a_server_that_answers_by_itself_lets_nobody_in(tmp_path: Path) -> None:
    """What overrides a stashed refusal ends at the guard as well."""
    nginx = Nginx(tmp_path, "error_page 502 = /open;\nlocation = /open { proxy_pass http://$portcullis_upstream; }\n")
    try:
        assert nginx.get("/rest/orders", {"test-decision": "deny"}) >= 500
        assert nginx.agent.seen == []
    finally:
        nginx.stop()


def test_audit_lines_come_out_whole(nginx: Nginx) -> None:
    line = '{"event":"auth_fail","fields":{"path":"' + "x" * 5000 + '"}}'
    assert nginx.get("/rest/orders", {"test-audit": line}) == 502
    for _ in range(100):
        if nginx.audit.exists() and nginx.audit.read_text():
            break
        time.sleep(0.05)
    assert nginx.audit.read_text() == line + "\n"


def test_one_fetch_of_keys_for_all_who_wait(nginx: Nginx) -> None:
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(nginx.ask_for_keys, ["issuer.example.com"] * 20))
    assert answers == [200] * 20
    assert len(nginx.issuer.seen) == 1
    path, headers = nginx.issuer.seen[0]
    assert path == "/jwks"
    assert ("Host", "issuer.example.com") in headers


def test_nobody_else_is_asked_for_keys(nginx: Nginx) -> None:
    assert nginx.ask_for_keys("evil.example") == 404
    assert nginx.issuer.seen == []
