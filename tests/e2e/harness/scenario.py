"""The scenarios of `tests/scenarios` in real Envoy; the same files are played on the host emulator. The format is told there."""

import base64
import copy
import hashlib
import hmac
import json
import time
import uuid
from urllib.parse import quote

import jwt
from jwcrypto import jwk

from .paths import ROOT
from .server import LoopbackServer, QuietHandler

FOLDER = ROOT / "tests/scenarios"
_KEYS = json.loads((FOLDER / "test-keys.json").read_text())


def scenarios():
    """(file's name, scenario) of every scenario for Envoy."""
    files = sorted(path for path in FOLDER.glob("*.json") if path.name != "test-keys.json")
    found = [(path.stem, scenario) for path in files for scenario in json.loads(path.read_text())]
    return [(name, s) for name, s in found if s.get("only", "envoy") == "envoy"]


class _Handler(QuietHandler):
    def do_GET(self):
        self.rfile.read(int(self.headers.get("content-length") or 0))
        self.server.owner.serve(self)

    do_POST = do_GET


class Peer(LoopbackServer):
    """Somebody that the filter asks, as a scenario describes it."""

    handler = _Handler

    def __init__(self, authority, routes):
        self.authority = authority
        self.jwks_uri = f"https://{authority}/"
        self.routes = copy.deepcopy(routes)
        super().__init__()

    def serve(self, request):
        answer = self.routes.get(request.path.split("?")[0])
        if answer is None:
            return request.answer(404, b"not here")
        if answer.get("silent"):
            # Longer than the filter's patience in any scenario.
            time.sleep(3)
        if answer.get("hangup") or answer.get("silent"):
            request.close_connection = True
            return None
        document = answer.get("json")
        if "jwks" in answer:
            document = {"keys": [_public(name) for name in answer["jwks"]]}
        if "bytes" in answer:
            document = {**document, "padding": "x" * answer["bytes"]}
        body = (answer["text"] if "text" in answer else json.dumps(document)).encode()
        request.send_response(answer.get("status", 200))
        request.send_header("content-type", "application/json")
        for name, value in answer.get("headers", {}).items():
            request.send_header(name, value)
        request.send_header("content-length", str(len(body)))
        request.end_headers()
        missing = answer.get("truncated", 0)
        request.wfile.write(body[:len(body) - missing])
        request.close_connection = missing > 0
        return None


def _public(name):
    return {member: value for member, value in _KEYS[name].items() if member not in ("d", "p", "q", "dp", "dq", "qi")}


def _b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _over(value, changes):
    value = {**value, **(changes or {})}
    return {name: member for name, member in value.items() if member is not None}


def _jwt(of):
    key = _KEYS[of["key"]]
    now = int(time.time())
    claims = _over(
        {"iss": "https://issuer.test", "aud": "api://agents", "sub": "agent-planner", "iat": now, "exp": now + 300, "jti": uuid.uuid4().hex},
        of.get("claims"))
    claims = {name: now + value["in"] if isinstance(value, dict) and "in" in value else value for name, value in claims.items()}
    header = _over({"alg": key["alg"], "kid": key["kid"]}, of.get("header"))
    # Signed by hand, because PyJWT has opinions about what may be in a header.
    signing_input = f"{_b64(json.dumps(header).encode())}.{_b64(json.dumps(claims).encode())}"
    algorithm = jwt.get_algorithm_by_name(key["alg"])
    pem = jwk.JWK(**key).export_to_pem(private_key=True, password=None)
    signature = bytearray(algorithm.sign(signing_input.encode(), algorithm.prepare_key(pem)))
    if of.get("tampered"):
        signature[len(signature) // 2] ^= 1
    return f"{signing_input}.{_b64(bytes(signature))}"


def _presigned(of):
    when, region = time.gmtime(), of["region"]
    day = time.strftime("%Y%m%d", when)
    credential = quote(f"AKIAIOSFODNN7EXAMPLE/{day}/{region}/sts/aws4_request", safe="")
    url = (f"https://sts.{region}.amazonaws.com/?Action=GetCallerIdentity&Version=2011-06-15&X-Amz-Algorithm=AWS4-HMAC-SHA256"
           f"&X-Amz-Credential={credential}&X-Amz-Date={time.strftime('%Y%m%dT%H%M%SZ', when)}&X-Amz-Expires=900"
           f"&X-Amz-SignedHeaders=host&X-Amz-Signature={of.get('signature', '0') * 64}")
    return f"forge-aws-v1.{_b64(url.encode())}"


def _signature(of, method, target, body):
    """`X-Amz-Date` and `Authorization` of a request that is signed itself: `host`, `x-amz-date` and the body's hash."""
    path, _, query = of.get("path", target).partition("?")
    when = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    signed = of["body"].encode() if "body" in of else body
    # The path as it is sent, escapes and all.
    canonical = "\n".join([method, path.replace("%", "%25"), "&".join(sorted(query.split("&"))), f"host:{of.get('host', 'agents.test')}",
                           f"x-amz-date:{when}", "", "host;x-amz-date", hashlib.sha256(signed).hexdigest()])
    scope = [when[:8], of["region"], of["service"], "aws4_request"]
    to_sign = f"AWS4-HMAC-SHA256\n{when}\n{'/'.join(scope)}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    key = f"AWS4{of['secret']}".encode()
    for part in [*scope, to_sign]:
        key = hmac.digest(key, part.encode(), "sha256")
    if of.get("tampered"):
        key = bytes([key[0] ^ 1]) + key[1:]
    credential = f"Credential={of['access_key_id']}/{'/'.join(scope)}"
    return [("X-Amz-Date", when), ("Authorization", f"AWS4-HMAC-SHA256 {credential}, SignedHeaders=host;x-amz-date, Signature={key.hex()}")]


def present(stack, of):
    """Sends a scenario's request. Returns the response and what was presented."""
    method, target, body = of.get("method", "GET"), of.get("path", "/rest/orders"), of.get("body", "").encode()
    headers = [tuple(pair) for pair in of.get("headers", [])]
    credential = of.get("bearer", "")
    if "jwt" in of:
        credential = _jwt(of["jwt"])
    elif "sts" in of:
        credential = _presigned(of["sts"])
    if "sigv4" in of:
        headers += _signature(of["sigv4"], method, target, body)
    if "in" in of:
        headers.append((of["in"], credential))
    response = stack.request(method, target, headers, token=credential if credential and "in" not in of else None, body=body)
    return response, credential


def check(stack, response, expect, credential):
    """Holds a response, what the agent saw and the audit event against what was expected."""
    if "status" in expect:
        assert response.status == expect["status"], response
    request_id = response.header("x-request-id")
    if response.status == 200:
        assert response.header("x-echo") == "1", "not the agent's answer"
        seen = response.json()["headers"]
        for name, value in expect.get("sees", {}).items():
            assert [v for n, v in seen if n.lower() == name] == ([] if value is None else [value]), (name, seen)
    else:
        assert not stack.upstream.saw_request_id(request_id), "a refused request reached the agent"
        assert expect.get("challenge", "") in "".join(response.all("www-authenticate"))
        for name, value in expect.get("headers", {}).items():
            values = response.all(name)
            assert (values == []) if value is None else any(value in v for v in values), (name, values)
    if expect.get("host"):
        return
    if "audit" in expect and expect["audit"] is None:
        # A later request's event comes after it: see `Stack.skipped`.
        sentinel = stack.request(headers=[("x-auth-user-id", "nobody")])
        stack.envoy.audit(sentinel.header("x-request-id"))
        assert request_id not in [event["correlation_id"] for event in stack.envoy.audit_lines()]
        return
    event = stack.envoy.audit(request_id)
    for name in ("code", "reason"):
        if name in expect:
            assert event["fields"][name] == expect[name], event
    for name, value in (expect.get("audit") or {}).items():
        assert event["fields"][name] == value, event
    if len(credential) > 8:
        assert credential not in json.dumps(event), "the audit event holds the credential"
        assert response.status == 200 or credential not in response.body.decode("latin-1"), "the answer repeats the credential"
