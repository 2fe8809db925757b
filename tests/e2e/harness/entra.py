"""Microsoft Entra ID and Graph in the shapes that Microsoft publishes, under the test's thumb."""

import base64
import datetime
import json
import threading
import time
import uuid
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509.oid import NameOID

from .server import LoopbackServer, QuietHandler
from .tokens import Key

TENANT = "aaaabbbb-0000-cccc-1111-dddd2222eeee"
OTHER_TENANT = "bbbbcccc-1111-dddd-2222-eeee3333ffff"
API = "00001111-aaaa-2222-bbbb-3333cccc4444"
APP = "11112222-bbbb-3333-cccc-4444dddd5555"
OID = "aaaaaaaa-0000-1111-2222-bbbbbbbbbbbb"


class _Handler(QuietHandler):
    def do_GET(self):
        self.server.owner.serve(self)


class Entra(LoopbackServer):
    """`/{tenant}/v2.0/.well-known/openid-configuration` and `/{tenant}/discovery/v2.0/keys`, `common` for all tenants.

    `key_issuers` maps a `kid` to the `issuer` of its key, where that is not the template for any tenant.
    """

    handler = _Handler

    def __init__(self, login="login.microsoftonline.com", v1_host="sts.windows.net"):
        self.authority = login
        self.v1_host = v1_host
        self.jwks_uri = f"https://{login}/common/discovery/v2.0/keys"
        self.keys = [Key("nOo3ZDrODXEK1jKWhXslHR_KXEg", "RS256"), Key("one-tenant-only", "RS256")]
        self.key_issuers = {"one-tenant-only": f"https://{login}/{OTHER_TENANT}/v2.0"}
        super().__init__()

    def serve(self, request):
        parts = urlsplit(request.path).path.strip("/").split("/")
        tenant, rest = parts[0], "/".join(parts[1:])
        if rest == "v2.0/.well-known/openid-configuration":
            named = "{tenantid}" if tenant in ("common", "organizations") else tenant
            body = {
                "token_endpoint": f"https://{self.authority}/{tenant}/oauth2/v2.0/token",
                "jwks_uri": f"https://{self.authority}/{tenant}/discovery/v2.0/keys",
                "id_token_signing_alg_values_supported": ["RS256"],
                "issuer": f"https://{self.authority}/{named}/v2.0",
                "tenant_region_scope": None,
                "cloud_instance_name": "microsoftonline.com",
                "msgraph_host": "graph.microsoft.com",
            }
        elif rest == "discovery/v2.0/keys":
            body = {"keys": [self._jwk(key) for key in self.keys]}
        else:
            return request.answer(404, b"")
        request.answer(200, json.dumps(body).encode(), [("Content-Type", "application/json; charset=utf-8")])

    def _jwk(self, key):
        jwk = key.public_jwk()
        jwk.pop("alg")
        return {**jwk, "x5t": key.kid, "x5c": [certificate(key)], "cloud_instance_name": "microsoftonline.com",
                "issuer": self.key_issuers.get(key.kid, f"https://{self.authority}/{{tenantid}}/v2.0")}

    def v2(self, key=None, tenant=TENANT, **changes):
        """An access token of an application on behalf of a user."""
        return self._sign(key, {
            "aud": API, "iss": f"https://{self.authority}/{tenant}/v2.0", "aio": "AXQAi/8IAAAA", "azp": APP, "azpacr": "1",
            "name": "Alice", "oid": OID, "preferred_username": "alice@corp.example", "scp": "access_as_user",
            "sub": "HKZpfaHyWadeOouYlitjrI-KffTm222X5rrV3xDqfKQ", "tid": tenant, "ver": "2.0"}, changes)

    def v1(self, key=None, tenant=TENANT, **changes):
        """An access token of an application by itself."""
        return self._sign(key, {
            "aud": "api://agents", "iss": f"https://{self.v1_host}/{tenant}/", "aio": "E2ZgYFj", "appid": APP, "appidacr": "2",
            "idp": f"https://{self.v1_host}/{tenant}/", "oid": OID, "sub": OID, "tid": tenant, "ver": "1.0"}, changes)

    def _sign(self, key, claims, changes):
        now = int(time.time())
        ttl = changes.pop("ttl", 3600)
        times = {"iat": now, "nbf": now, "exp": now + ttl, "uti": uuid.uuid4().hex}
        claims = {k: v for k, v in {**claims, **times, **changes}.items() if v is not None}
        key = key or self.keys[0]
        return key.sign(claims, x5t=key.kid)


def certificate(key):
    """A self-signed certificate of the key, base64 DER as in `x5c`."""
    private = key.private_key()
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "accounts.accesscontrol.windows.net")])
    now = datetime.datetime.now(datetime.timezone.utc)
    made = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(private.public_key())
        .serial_number(x509.random_serial_number()).not_valid_before(now).not_valid_after(now + datetime.timedelta(days=1))
        .sign(private, hashes.SHA256()))
    return base64.b64encode(made.public_bytes(serialization.Encoding.DER)).decode()


class Graph(LoopbackServer):
    """`GET /v1.0/me/transitiveMemberOf`, in pages of `page`.

    `mode` is `ok`, an HTTP status, `hold` (no answer until `gate` is set) or `elsewhere` (a next link to another host).
    `asked` has path and bearer of each request.
    """

    handler = _Handler

    def __init__(self, authority="graph.microsoft.com", groups=("g1", "g2", "g3"), page=2):
        self.authority = authority
        self.jwks_uri = f"https://{authority}/none"
        self.groups = list(groups)
        self.page = page
        self.mode = "ok"
        self.gate = threading.Event()
        self.asked = []
        super().__init__()

    def serve(self, request):
        url = urlsplit(request.path)
        self.asked.append((request.path, request.headers.get("authorization", "").removeprefix("Bearer ")))
        if self.mode == "hold":
            self.gate.wait(60)
        if isinstance(self.mode, int):
            return request.answer(self.mode, b"{}", [("Location", "https://evil.test/")] if self.mode == 302 else [])
        if url.path != "/v1.0/me/transitiveMemberOf":
            return request.answer(404, b"{}")
        start = int(url.query.partition("$skiptoken=")[2] or 0)
        end = start + self.page
        value = [{"@odata.type": "#microsoft.graph.group", "id": g} for g in self.groups[start:end]]
        if start == 0:
            value.append({"@odata.type": "#microsoft.graph.directoryRole", "id": "a-role"})
        body = {"@odata.context": f"https://{self.authority}/v1.0/$metadata#directoryObjects(id)", "value": value}
        if end < len(self.groups):
            host = "evil.test" if self.mode == "elsewhere" else self.authority
            body["@odata.nextLink"] = f"https://{host}/v1.0/me/transitiveMemberOf?$select=id&$top=999&$skiptoken={end}"
        request.answer(200, json.dumps(body).encode(), [("Content-Type", "application/json")])
