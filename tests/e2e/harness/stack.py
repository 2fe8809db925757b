"""Caller, proxy, agent and issuers, put together for a test, and the assertions that every test makes."""

import json
import re
from collections import Counter

from .bootstrap import Bootstrap
from .envoy import Envoy
from .http1 import Connection, encode
from .paths import ENVOY_YAML
from .upstream import EchoUpstream

UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"


def plugin(*providers, **blocks):
    """A plugin configuration with these providers; `skip` and `required` go under `auth:`, the rest on top."""
    auth = {"providers": list(providers)}
    for name in ("required", "skip", "unavailable_status", "resource_metadata"):
        if name in blocks:
            auth[name] = blocks.pop(name)
    blocks.setdefault("agent", {"path": "/rest/{agent}"})
    return {"auth": auth, **blocks}


class Stack:
    """Envoy with the filter between this test and an echo upstream.

    `config` replaces the plugin's configuration in `file` (None keeps the file's own). Each issuer becomes a cluster,
    and its authority is mapped there unless the configuration maps it already. `bootstrap` comes in place of `file`.
    """

    def __init__(self, workdir, config=None, *, issuers=(), concurrency=1, hcm=None, wasm_config=None, env=None, edit=None, file=ENVOY_YAML,
                 bootstrap=None):
        self.upstream = EchoUpstream()
        bootstrap = bootstrap or Bootstrap(file)
        bootstrap.listen()
        bootstrap.point("agents", self.upstream.port)
        if config is not None:
            bootstrap.plugin = config
        upstreams = {}
        for n, issuer in enumerate(issuers):
            name = "issuer" if n == 0 else f"issuer-{n}"
            bootstrap.point(name, issuer.port)
            bootstrap.drop_tls(name)
            upstreams[issuer.authority] = name
            upstreams[issuer.jwks_uri.split("/")[2]] = name
        if config is not None:
            callouts = config.setdefault("callouts", {})
            callouts["upstreams"] = {**upstreams, **callouts.get("upstreams", {})}
        elif issuers:
            bootstrap.issuer(issuers[0].url)
        bootstrap.set_hcm(**(hcm or {}))
        bootstrap.wasm.update(wasm_config or {})
        if edit:
            edit(bootstrap)
        try:
            self.envoy = Envoy(bootstrap, workdir, concurrency=concurrency, env={"AGENT_SMOKE_TOKEN": SMOKE_TOKEN, **(env or {})})
        except BaseException:
            self.upstream.close()
            raise

    def close(self):
        """Ends everything, and holds what must be true of every run."""
        try:
            failures = self.envoy.vm_failures() if self.envoy.exit_code is None else {"exit code": self.envoy.exit_code}
            lines = self.envoy.audit_lines()
        finally:
            self.envoy.stop()
            self.upstream.close()
        assert not failures, f"the filter's VM was lost: {failures}\n{self.envoy.log()}"
        twice = [i for i, n in Counter(e["correlation_id"] for e in lines).items() if n > 1]
        assert not twice, f"more than one audit event for {twice}"

    # Sending

    def connect(self, timeout=15.0):
        return Connection(self.envoy.port, timeout)

    def request(self, method="GET", target="/rest/orders", headers=(), *, token=None, body=b"", host="agents.test", timeout=15.0):
        """One request on a connection of its own; `token` is presented as a bearer."""
        headers = list(headers)
        if token is not None:
            headers.append(("Authorization", f"Bearer {token}"))
        with self.connect(timeout) as connection:
            return connection.request(method, target, headers, body, host)

    def raw(self, raw, method="GET"):
        """Exactly these bytes."""
        with self.connect() as connection:
            connection.send(raw)
            return connection.receive(method)

    # Judging

    def allowed(self, response, **identity):
        """The request reached the upstream; returns what that saw and the audit event.

        `identity` are expected identity headers without their prefix (`user_id` is x-auth-user-id); None means absent.
        """
        assert response.status == 200, (response, self.envoy.log()[-3000:])
        assert response.header("x-echo") == "1", "not the upstream's answer"
        seen = Seen(response.json())
        for name, value in identity.items():
            header = "x-auth-" + name.replace("_", "-")
            assert seen.all(header) == ([] if value is None else [value]), (header, seen.headers)
        event = self.envoy.audit(response.header("x-request-id"))
        assert event["event"] == "auth_verify", event
        self._envelope(event)
        if identity.get("user_id") is not None:
            assert event["fields"]["user_id"] == identity["user_id"], event
        return seen, event

    def denied(self, response, status, reason, code, *, challenge="invalid_token", credential=None):
        """The request was refused in the documented way, and the upstream never saw it; returns the audit event.

        `challenge` is `bare`, an RFC 6750 error code, or None for no challenge at all.
        `credential` is text that must be neither in the answer nor in the audit event.
        """
        assert response.status == status, (response, self.envoy.audit_lines()[-1:])
        assert response.all("x-echo") == []
        request_id = response.header("x-request-id")
        assert re.fullmatch(UUID, request_id), response
        assert response.header("content-type").startswith("application/json"), response
        body = response.json()
        assert set(body) == {"error", "message", "request_id"}, body
        assert body["request_id"] == request_id
        assert isinstance(body["message"], str) and body["message"], body
        if status == 401:
            assert body["error"] == "unauthorized", body
        challenges = response.all("www-authenticate")
        if challenge is None:
            assert challenges == []
        elif challenge == "bare":
            # RFC 6750 section 3: no error code when no authentication information was presented.
            assert len(challenges) == 1, challenges
            assert re.fullmatch(r'Bearer(,? (realm|resource_metadata|scope)="[^"]*")*', challenges[0]), challenges
        else:
            assert len(challenges) == 1, challenges
            assert challenges[0].startswith("Bearer "), challenges
            assert f'error="{challenge}"' in challenges[0], challenges
        event = self.envoy.audit(request_id)
        self._envelope(event)
        assert event["event"] == "auth_fail", event
        assert (event["fields"]["reason"], event["fields"]["code"]) == (reason, code), event
        assert not self.upstream.saw_request_id(request_id), "a refused request reached the upstream"
        if credential:
            assert credential not in response.body.decode("latin-1"), "the answer repeats the credential"
            assert credential not in json.dumps(event), "the audit event holds the credential"
        return event

    def skipped(self, target, method="GET", headers=()):
        """The request passed without an audit event; returns what the upstream saw.

        A refused request on the same connection comes after it: when its event is there and the first
        one's is not, there is none to come.
        """
        with self.connect() as connection:
            response = connection.request(method, target, headers)
            sentinel = connection.request("GET", "/rest/sentinel")
        assert response.status == 200, response
        assert sentinel.status == 401, sentinel
        self.envoy.audit(sentinel.header("x-request-id"))
        ids = [e["correlation_id"] for e in self.envoy.audit_lines()]
        assert response.header("x-request-id") not in ids, "a skipped request has an audit event"
        return Seen(response.json())

    @staticmethod
    def _envelope(event):
        """Forge's envelope: queries written for Forge go on working."""
        for name in ("ts", "event", "schema_version", "seq", "correlation_id", "org_id", "entity_id", "entity_type", "fields"):
            assert name in event, (name, event)
        assert event["entity_type"] == "agent", event
        fields = event["fields"]
        for name in ("method", "path", "token_kind", "remote_addr"):
            assert name in fields, (name, event)
        assert fields["remote_addr"].startswith("127.0.0.1"), event
        assert fields["token_kind"] in ("", "empty", "opaque", "jwt", "sigv4", "iap_jwt", "api_key"), event


SMOKE_TOKEN = "smoke-0b7d6a0f3f5f4c0e9a51"


class Seen:
    """What the upstream saw of a request."""

    def __init__(self, echoed):
        self.method = echoed["method"]
        self.path = echoed["path"]
        self.headers = echoed["headers"]
        self.body = echoed["body"]

    def all(self, name):
        return [v for n, v in self.headers if n.lower() == name.lower()]

    def names(self):
        return [n.lower() for n, _ in self.headers]


__all__ = ["SMOKE_TOKEN", "Seen", "Stack", "encode", "plugin"]
