"""The contestants: one real Envoy each, alike but for the filter in front of the direct response."""

import json
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

import yaml

from tokens import AUDIENCE, EMAIL, ISSUER, ORG, USER

ROOT = Path(__file__).parent.parent
ENVOY = ROOT / ".venv/bin/envoy"
WASM = ROOT / "dist/portcullis.wasm"
NOOP = ROOT / "dist/noop.wasm"

# Small enough that 20,000 tokens in turn never meet their own entry again.
SMALL_CACHE = 1000
_TYPE = "type.googleapis.com/envoy.extensions.filters."


def _noop(variant):
    def make(_issuer):
        return _wasm(NOOP, {"@type": "type.googleapis.com/google.protobuf.StringValue", "value": variant})
    return make


def _native(cache):
    """Envoy's jwt_authn with the same checks, its claims in the same three headers.

    `cache`: verified tokens kept, 0 for none.
    """
    def make(issuer):
        provider = {
            "issuer": ISSUER,
            "audiences": [AUDIENCE],
            "local_jwks": {"inline_string": issuer.jwks()},
            "clock_skew_seconds": 30,
            # As Portcullis does: the credential does not travel on.
            "forward": False,
            "claim_to_headers": [
                {"header_name": "x-auth-user-id", "claim_name": "sub"},
                {"header_name": "x-auth-email", "claim_name": "email"},
                {"header_name": "x-auth-org-id", "claim_name": "org_id"},
            ],
        }
        if cache:
            provider["jwt_cache_config"] = {"jwt_cache_size": cache}
        return {
            "name": "envoy.filters.http.jwt_authn",
            "typed_config": {
                "@type": _TYPE + "http.jwt_authn.v3.JwtAuthentication",
                "providers": {"bench": provider},
                "rules": [{"match": {"prefix": "/"}, "requires": {"provider_name": "bench"}}],
            },
        }
    return make


def _portcullis(cache=None, audit=True):
    """The shipped module with the checks of `_native`. `cache`: verified tokens kept, the default if None."""
    def make(issuer):
        configuration = {
            "auth": {"providers": [{
                "type": "oidc",
                "settings": {"issuer": ISSUER, "audience": AUDIENCE, "jwks": json.loads(issuer.jwks())},
            }]},
            "audit": {"sinks": ["filter_state"] if audit else []},
        }
        if cache is not None:
            configuration["limits"] = {"cached_tokens": cache}
        return _wasm(WASM, {"@type": "type.googleapis.com/google.protobuf.Struct", "value": configuration})
    return make


def _wasm(module, configuration):
    return {
        "name": "wasm",
        "typed_config": {
            "@type": _TYPE + "http.wasm.v3.Wasm",
            "config": {
                "name": "bench",
                "root_id": "bench",
                "failure_policy": "FAIL_CLOSED",
                "vm_config": {
                    "runtime": "envoy.wasm.runtime.v8",
                    "code": {"local": {"filename": str(module)}},
                },
                "configuration": configuration,
            },
        },
    }


# name -> (what makes its filter or None, does it authenticate)
CONTESTANTS = {
    "none": (None, False),
    "noop-read1": (_noop("read1"), False),
    "noop-set3": (_noop("sets3"), False),
    # 100 is Envoy's own default for the cache's size; one token needs one entry.
    "native": (_native(cache=100), True),
    "native-uncached": (_native(cache=0), True),
    "native-small-cache": (_native(cache=SMALL_CACHE), True),
    "portcullis": (_portcullis(), True),
    "portcullis-no-audit": (_portcullis(audit=False), True),
    "portcullis-small-cache": (_portcullis(cache=SMALL_CACHE), True),
}


class Proxy:
    """A contestant's Envoy, ready when the constructor returns."""

    def __init__(self, name, issuer, workdir):
        self.name = name
        make, self._authenticates = CONTESTANTS[name]
        config = workdir / f"{name}.yaml"
        config.write_text(yaml.safe_dump(_bootstrap(make(issuer) if make else None)))
        self._admin = workdir / f"{name}.admin"
        self._log_path = workdir / f"{name}.log"
        with self._log_path.open("w") as log:
            self._process = subprocess.Popen(
                [ENVOY, "-c", config, "--concurrency", "1", "--disable-hot-restart", "--log-level", "warning",
                 "--admin-address-path", self._admin],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )
        try:
            self._wait()
            listeners = json.loads(self._get_admin("/listeners?format=json"))["listener_statuses"]
            self.port = listeners[0]["local_address"]["socket_address"]["port_value"]
            # The wheel's `envoy` may be a launcher; the CPU time is the server's.
            self.pid = _server_pid(self._process.pid)
        except BaseException:
            self.stop()
            raise

    def probe(self, issuer):
        """Ends the run unless this contestant does the work that the others do."""
        for algorithm in ("RS256", "ES256"):
            status, headers = self._call(issuer.token(algorithm))
            self._expect(f"a good {algorithm} token", status, 200)
            if self._authenticates:
                seen = tuple(headers.get(f"x-probe-{name}") for name in ("user-id", "email", "org-id"))
                self._expect("identity headers", seen, (USER, EMAIL, ORG))
                self._expect("the credential passed on", headers.get("x-probe-credential"), None)
                for wrong, token in issuer.bad(algorithm).items():
                    status = self._call(token)[0]
                    # Envoy's jwt_authn says 403 to a wrong audience, Portcullis 401 as RFC 6750 has it.
                    self._expect(f"wrong {wrong} ({algorithm})", 401 if status == 403 else status, 401)
        self._expect("no token", self._call(None)[0], 401 if self._authenticates else 200)

    def still_whole(self):
        """A worker whose VM was lost answers quickly, and means nothing."""
        failures = [line for line in self._get_admin("/stats").splitlines()
                    if "wasm" in line and ("vm_failed" in line or "crash" in line or "fail_" in line)
                    and not line.endswith(": 0")]
        if failures:
            raise SystemExit(f"{self.name}: {failures}")

    def stop(self):
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _expect(self, what, seen, wanted):
        if seen != wanted:
            raise SystemExit(f"{self.name}: {what}: {seen} instead of {wanted}; Envoy says:\n{self._log()}")

    def _call(self, token):
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}/probe")
        if token:
            request.add_header("Authorization", f"Bearer {token}")
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return answer.status, answer.headers
        except urllib.error.HTTPError as answer:
            with answer:
                return answer.code, answer.headers

    def _wait(self):
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                raise SystemExit(f"{self.name}: Envoy did not start:\n{self._log()}")
            try:
                self._get_admin("/ready")
                return
            except OSError:
                time.sleep(0.05)
        raise SystemExit(f"{self.name}: Envoy is not ready after a minute:\n{self._log()}")

    def _get_admin(self, path):
        address = self._admin.read_text().strip()
        with urllib.request.urlopen(f"http://{address}{path}", timeout=10) as answer:
            return answer.read().decode()

    def _log(self):
        return self._log_path.read_text()[-4000:]


def _server_pid(pid):
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return int(children[0]) if children else pid


def _bootstrap(http_filter):
    router = {"name": "router", "typed_config": {"@type": _TYPE + "http.router.v3.Router"}}
    echoed = {"user-id": "x-auth-user-id", "email": "x-auth-email", "org-id": "x-auth-org-id",
              "credential": "authorization"}
    manager = {
        "@type": _TYPE + "network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "bench",
        "http_filters": ([http_filter] if http_filter else []) + [router],
        "route_config": {"virtual_hosts": [{
            "name": "all",
            "domains": ["*"],
            "routes": [
                # Shows the probe what the upstream would see; the measured route carries nothing extra.
                {
                    "match": {"path": "/probe"},
                    "direct_response": {"status": 200},
                    "response_headers_to_add": [
                        {"header": {"key": f"x-probe-{name}", "value": f"%REQ({header})%"}, "keep_empty_value": False}
                        for name, header in echoed.items()
                    ],
                },
                {"match": {"prefix": "/"}, "direct_response": {"status": 200}},
            ],
        }]},
    }
    return {
        "admin": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}}},
        "static_resources": {"listeners": [{
            "name": "bench",
            "address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}},
            "filter_chains": [{"filters": [{
                "name": "envoy.filters.network.http_connection_manager", "typed_config": manager,
            }]}],
        }]},
    }
