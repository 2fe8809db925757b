"""An issuer under the test's thumb: discovery and keys over HTTP, with every way to misbehave."""

import hashlib
import json
import threading

from .server import LoopbackServer, QuietHandler
from .tokens import Key, claims

DISCOVERY = "/.well-known/openid-configuration"
JWKS = "/keys"


class _Handler(QuietHandler):
    def do_GET(self):
        self.server.owner.serve(self)


class Issuer(LoopbackServer):
    """Serves `{url}/.well-known/openid-configuration` and `{url}/keys`.

    `url` is what tokens carry as `iss`; the proxy is told by `callouts.upstreams` to find its authority
    here, so it may be any issuer in the world. `hits` maps a path to the requests that arrived at it.

    `mode` and `discovery_mode` are one of
      ok        the real document, with an ETag that `If-None-Match` is answered by
      500       an error
      hold      no answer until `gate` is set, then the real document
      garbage   200 and something that is not JSON
      huge      200 and a valid set of more than a megabyte
      redirect  302 to a place that serves attacker's keys
      empty     a set without a key
      liar      (discovery) another issuer's name in the document
    """

    handler = _Handler

    def __init__(self, url="https://issuer.test", keys=None, *, listening=True, jwks_uri=None, aud="api://agents"):
        self.url = url
        self.aud = aud
        self.keys = keys if keys is not None else [Key("rsa-1", "RS256")]
        self.jwks_uri = jwks_uri or f"{url.rstrip('/')}{JWKS}"
        self.jwks_path = "/" + self.jwks_uri.split("/", 3)[3]
        self.mode = self.discovery_mode = "ok"
        self.max_age = None
        self.gate = threading.Event()
        self.hits = []
        self.not_modified = 0
        self._lock = threading.Lock()
        super().__init__(listening=listening)

    @property
    def authority(self):
        return self.url.split("/")[2]

    @property
    def discovery_path(self):
        path = self.url.rstrip("/").split("/", 3)
        return ("/" + path[3] if len(path) > 3 else "") + DISCOVERY

    def count(self, path=None):
        """How often `path` (default: the key set) was asked for."""
        with self._lock:
            return self.hits.count(path or self.jwks_path)

    def token(self, key=None, *, header=None, **overrides):
        """A token of this issuer, good unless `overrides` (see `tokens.claims`) say otherwise."""
        overrides.setdefault("iss", self.url)
        overrides.setdefault("aud", self.aud)
        return (key or self.keys[0]).sign(claims(**overrides), **(header or {}))

    def jwks(self):
        return {"keys": [k.public_jwk() for k in self.keys]}

    def discovery(self):
        return {
            "issuer": self.url,
            "jwks_uri": self.jwks_uri,
            "authorization_endpoint": f"{self.url}/auth",
            "token_endpoint": f"{self.url}/token",
            "response_types_supported": ["code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": sorted({k.alg for k in self.keys}),
        }

    def serve(self, request):
        path = request.path
        with self._lock:
            self.hits.append(path)
        if path == self.discovery_path:
            self._serve(request, self.discovery_mode, self.discovery)
        elif path == self.jwks_path:
            self._serve(request, self.mode, self.jwks)
        else:
            request.answer(404, b"not here")

    def _serve(self, request, mode, document):
        if mode == "hold":
            # Bounded, so that a test that forgot its gate doesn't keep the thread.
            self.gate.wait(60)
            mode = "ok"
        headers = [("Content-Type", "application/json")]
        if mode == "500":
            return request.answer(500, b"out of order")
        if mode == "garbage":
            return request.answer(200, b"<html>captive portal</html>", headers)
        if mode == "redirect":
            return request.answer(302, b"", [("Location", f"{self.url}/elsewhere")])
        value = document()
        if mode == "huge":
            value["padding"] = "x" * (1 << 20)
        elif mode == "empty":
            value["keys"] = []
        elif mode == "liar":
            value["issuer"] = "https://somebody-else.test"
        body = json.dumps(value).encode()
        etag = '"%s"' % hashlib.sha256(body).hexdigest()[:16]
        headers.append(("ETag", etag))
        if self.max_age is not None:
            headers.append(("Cache-Control", f"max-age={self.max_age}"))
        if request.headers.get("if-none-match") == etag:
            with self._lock:
                self.not_modified += 1
            return request.answer(304, b"", headers)
        request.answer(200, body, headers)

    def provider(self, **settings):
        """This issuer as an `oidc` provider of the chain; `name` and `agents` go beside the settings."""
        entry = {"type": "oidc"}
        for outer in ("name", "agents"):
            if outer in settings:
                entry[outer] = settings.pop(outer)
        entry["settings"] = {"issuer": self.url, "audience": self.aud, **settings}
        return entry
