"""Requests signed with AWS Signature Version 4: real signers in, everything else kept out, bodies proven before they go on."""

import datetime
import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import botocore.auth
import pytest
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, ResponseReceived, StreamEnded, StreamReset

from harness.http1 import Response, encode
from harness.paths import NODE_PEERS, ROOT, require
from harness import vectors
from harness.stack import plugin
from harness.wait import eventually

HOST = "agents.test"
KEY, SECRET = "AKIDORDERSBOT", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
TEMPORARY, TOKEN = "ASIATEMPORARY", "FwoGZXIvYXdzEXAMPLETOKEN/////wEaDGxx+/=="
LIMIT = 100_000
SHOWS_BODIES = {"allow_on_headers_stop_iteration": True}


def provider(**settings):
    return {"type": "sigv4", "settings": {
        "service": "agents", "region": ["eu-central-1", "us-east-1"], "max_body_bytes": LIMIT,
        "credentials": [
            {"access_key_id": KEY, "secret_env": "AGENT_SECRET_KEY", "user_id": "orders-bot", "org_id": "acme", "groups": ["bots"]},
            {"access_key_id": TEMPORARY, "secret_access_key": SECRET[::-1], "session_token": TOKEN, "user_id": "visitor"},
        ], **settings}}


def start(pile, *providers, hcm=None, limit=1 << 20, wasm_config=SHOWS_BODIES, **blocks):
    def edit(bootstrap):
        bootstrap.listener["per_connection_buffer_limit_bytes"] = limit
        bootstrap.wasm["vm_config"]["environment_variables"]["host_env_keys"].append("AGENT_SECRET_KEY")

    config = plugin(*(providers or [provider()]), **blocks)
    return pile.stack(config, env={"AGENT_SECRET_KEY": SECRET}, edit=edit, hcm=hcm, wasm_config=wasm_config)


@pytest.fixture(scope="module")
def stack(shared):
    return start(shared)


@pytest.fixture(scope="module")
def s3(shared):
    """As a service like S3 has it: paths as they are, and payloads that may be unsigned."""
    raw = {"normalize_path": None, "merge_slashes": None, "path_with_escaped_slashes_action": None}
    return start(shared, provider(service="s3", unsigned_payload="allow"), hcm=raw)


# Signing with botocore


class Signed:
    """A request as its signer left it; tests send it as it is, or change it first."""

    def __init__(self, method, target, headers, body=b""):
        self.method, self.target, self.headers, self.body = method, target, dict(headers), body

    def send(self, stack, **changes):
        parts = {"method": self.method, "target": self.target, "body": self.body, "host": HOST, **changes}
        return stack.request(headers=list(self.headers.items()), **parts)


def sign(method="GET", target="/rest/orders", body=b"", headers=(), *, service="agents", region="eu-central-1", signer=None,
         secret=SECRET, key=KEY, token=None, expires=None):
    signer = signer or (botocore.auth.SigV4QueryAuth if expires else botocore.auth.SigV4Auth)
    request = AWSRequest(method=method, url=f"http://{HOST}{target}", data=body, headers=dict(headers))
    more = {"expires": expires} if expires else {}
    signer(Credentials(key, secret, token), service, region, **more).add_auth(request)
    # Not through `prepare()`, which would spell the path anew.
    url = urlsplit(request.url)
    target = url.path + (f"?{url.query}" if url.query else "")
    return Signed(method, target, {n: v for n, v in request.headers.items() if n.lower() != "content-length"}, body)


def at(monkeypatch, minutes):
    """Signs as somebody whose clock is off by so much."""
    then = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(minutes=minutes)
    for name in ("get_current_datetime",):
        monkeypatch.setattr(botocore.auth, name, lambda *a, **k: then.replace(tzinfo=None))


GOOD = {
    "get": lambda: sign(),
    "query": lambda: sign(target="/rest/orders/list?b=2&a=%C3%A9&a=1&empty=&A=%20x"),
    "json": lambda: sign("POST", "/rest/orders", b'{"jsonrpc":"2.0"}', {"Content-Type": "application/json"}),
    "empty-post": lambda: sign("POST"),
    "unicode-path": lambda: sign(target="/rest/orders/%E1%88%B4/a%20b"),
    "put": lambda: sign("PUT", "/rest/orders/1", b"\x00\xff" * 30_000),
    "delete": lambda: sign("DELETE", "/rest/orders/1"),
    "other-region": lambda: sign(region="us-east-1"),
    "presigned": lambda: sign(target="/rest/orders?q=1&z=", expires=300),
    "header-with-spaces": lambda: sign(headers={"X-Note": "  a   b  ", "X-Amz-Meta-Note": "x  y"}),
}


@pytest.mark.parametrize("case", GOOD)
def test_botocore(stack, case):
    request = GOOD[case]()
    seen, event = stack.allowed(request.send(stack), user_id="orders-bot", org_id="acme", groups="bots", provider="sigv4", agent="orders")
    assert seen.body.encode("latin-1") == request.body
    assert seen.path == request.target
    assert seen.all("authorization") == []
    assert (event["fields"]["token_kind"], event["fields"]["provider"]) == ("sigv4", "sigv4")


@pytest.mark.parametrize("expires", [None, 300], ids=["header", "presigned"])
def test_a_session_token_must_be_there_and_the_right_one(stack, expires):
    def temporary(token):
        return sign(secret=SECRET[::-1], key=TEMPORARY, token=token, expires=expires)

    seen, _ = stack.allowed(temporary(TOKEN).send(stack), user_id="visitor")
    assert seen.all("x-amz-security-token") == []
    for token in (None, TOKEN[:-1] + "x"):
        stack.denied(temporary(token).send(stack), 401, "invalid", "session_token_mismatch")
    surplus = sign(token=TOKEN, expires=expires)
    stack.denied(surplus.send(stack), 401, "invalid", "session_token_mismatch", credential=TOKEN)


def test_signing_as_for_s3(s3):
    for target in ("/rest/orders/a%20b%24", "/rest/orders//x/../y", "/rest/orders/%E1%88%B4~"):
        for method, body in (("GET", b""), ("PUT", b"welcome")):
            request = sign(method, target, body, service="s3", signer=botocore.auth.S3SigV4Auth)
            assert "X-Amz-Content-SHA256" in request.headers
            s3.allowed(request.send(s3), user_id="orders-bot")
            if body:
                s3.denied(request.send(s3, body=b"goodbye"), 401, "invalid", "payload_mismatch")
    unsigned = sign("PUT", body=b"welcome", service="s3", signer=botocore.auth.S3SigV4Auth, headers={"X-Amz-Content-SHA256": "UNSIGNED-PAYLOAD"})
    if unsigned.headers["X-Amz-Content-SHA256"] == "UNSIGNED-PAYLOAD":
        s3.allowed(unsigned.send(s3, body=b"anything"), user_id="orders-bot")
    presigned = sign("PUT", service="s3", signer=botocore.auth.S3SigV4QueryAuth, expires=300)
    s3.allowed(presigned.send(s3, body=b"anything"), user_id="orders-bot")


def test_an_unsigned_payload_is_refused_unless_allowed(stack):
    presigned = sign("PUT", signer=botocore.auth.S3SigV4QueryAuth, expires=300)
    stack.denied(presigned.send(stack, body=b"x"), 401, "rejected", "unsigned_payload")


# Signing with the AWS SDK for JavaScript


def sign_in_node(*requests):
    require(NODE_PEERS / "node_modules")
    lines = "".join(json.dumps({
        "service": "agents", "region": "eu-central-1", "query": {}, "body": "", "method": "GET", "path": "/rest/orders",
        "credentials": {"accessKeyId": KEY, "secretAccessKey": SECRET}, **r, "headers": {"host": HOST, **r.get("headers", {})},
    }) + "\n" for r in requests)
    ran = subprocess.run(["node", NODE_PEERS / "sign.mjs"], input=lines, capture_output=True, text=True, timeout=60, check=True)
    answers = [json.loads(line) for line in ran.stdout.splitlines()]
    return [Signed(a["method"], a["target"], {n: v for n, v in a["headers"].items() if n != "host"}, r.get("body", "").encode())
            for a, r in zip(answers, requests, strict=True)]


def test_the_javascript_sdk(stack):
    visitor = {"accessKeyId": TEMPORARY, "secretAccessKey": SECRET[::-1], "sessionToken": TOKEN}
    signed = sign_in_node(
        {"query": {"b": "2", "a": ["é", "1", " "], "empty": ""}},
        {"method": "POST", "body": '{"jsonrpc":"2.0"}', "headers": {"content-type": "application/json"}},
        {"path": "/rest/orders/%E1%88%B4/a%20b"},
        {"presign": True, "query": {"q": "a/b+c"}},
        {"presign": True, "method": "POST", "body": "payload"},
        {"credentials": visitor},
        {"credentials": visitor, "presign": True},
    )
    for request in signed:
        visits = TEMPORARY in json.dumps([request.target, request.headers])
        seen, _ = stack.allowed(request.send(stack), user_id="visitor" if visits else "orders-bot")
        assert seen.body.encode() == request.body
    stack.denied(signed[1].send(stack, body=b'{"jsonrpc":"2.1"}'), 401, "invalid", "bad_signature")


def test_the_javascript_sdk_as_for_s3(s3):
    s3_style = {"service": "s3", "s3": True}
    for request in sign_in_node(
        {**s3_style, "path": "/rest/orders/a%20b//c"},
        {**s3_style, "method": "PUT", "body": "welcome"},
        {**s3_style, "method": "PUT", "presign": True, "headers": {"x-amz-content-sha256": "UNSIGNED-PAYLOAD"}},
    ):
        s3.allowed(request.send(s3), user_id="orders-bot")


# What is not as it was signed


POST = dict(method="POST", target="/rest/orders?a=1&b=2", body=b'{"n":1}', headers={"Content-Type": "application/json", "X-Note": "a"})


@pytest.mark.parametrize("changes", [
    {"body": b'{"n":2}'}, {"body": b""}, {"body": b'{"n":1} '}, {"method": "PUT"}, {"target": "/rest/orders?a=1&b=3"},
    {"target": "/rest/orders?a=1"}, {"target": "/rest/orders?a=1&b=2&c=3"}, {"target": "/rest/payroll?a=1&b=2"}, {"host": "other.test"},
], ids=str)
def test_a_changed_request_is_refused(stack, changes):
    stack.denied(sign(**POST).send(stack, **changes), 401, "invalid", "bad_signature", credential=SECRET)


def test_changed_headers_are_refused(stack):
    for change, code in (
        ({"Content-Type": "text/html"}, "bad_signature"), ({"X-Note": "b"}, "bad_signature"), ({"X-Amz-Target": "Delete.All"}, "unsigned_header"),
        ({"X-Amz-Date": "20150830T123600Z"}, "scope_mismatch"), ({"X-Amz-Date": "now"}, "malformed_signature"),
    ):
        request = sign(**POST)
        request.headers.update(change)
        stack.denied(request.send(stack), 401, "invalid", code)
    request = sign(**POST)
    del request.headers["X-Note"]
    stack.denied(request.send(stack), 401, "invalid", "malformed_signature")
    request = sign(**POST)
    request.headers["X-Other"] = "nobody signed it, and nobody needs to"
    stack.allowed(request.send(stack, target="/rest/orders?b=2&a=1"), user_id="orders-bot")


def test_two_credentials_are_none(stack):
    request = sign()
    presigned = sign(expires=300)
    for headers in (
        [*request.headers.items(), ("Authorization", "Bearer x")],
        [("Authorization", "Bearer x"), *request.headers.items()],
        [*request.headers.items(), ("X-Amz-Date", request.headers["X-Amz-Date"])],
    ):
        stack.denied(stack.request(headers=headers), 401, "invalid", "ambiguous_credentials")
    stack.denied(presigned.send(stack, target=presigned.target + "&X-Amz-Expires=3600"), 401, "invalid", "ambiguous_credentials")
    stack.denied(stack.request(target=presigned.target, token="x"), 401, "invalid", "ambiguous_credentials")


def test_other_kinds_of_signatures_say_so(stack):
    request = sign()
    request.headers["Authorization"] = request.headers["Authorization"].replace("AWS4-HMAC-SHA256", "AWS4-ECDSA-P256-SHA256")
    event = stack.denied(request.send(stack), 401, "invalid", "unsupported_signature")
    assert event["fields"]["token_kind"] == "sigv4"
    request = sign("POST", body=b"x", headers={"X-Amz-Content-SHA256": "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"})
    stack.denied(request.send(stack), 401, "invalid", "streaming_payload")


def test_time(stack, monkeypatch):
    for minutes, expires, code in ((-4, None, None), (4, None, None), (-6, None, "signature_expired"), (6, None, "signature_not_yet_valid"),
                                   (-8, 300, None), (-11, 300, "signature_expired"), (6, 300, "signature_not_yet_valid"), (0, 901, "expires_too_long")):
        with monkeypatch.context() as context:
            at(context, minutes)
            request = sign(expires=expires)
        answer = request.send(stack)
        if code:
            stack.denied(answer, 401, "invalid", code)
        else:
            stack.allowed(answer, user_id="orders-bot")


def test_a_caller_does_not_learn_which_keys_there_are(stack):
    wrong_secret = sign(secret="x" * 40).send(stack)
    unknown_key = sign(key="AKIDNOBODY").send(stack)
    stack.denied(wrong_secret, 401, "invalid", "bad_signature")
    stack.denied(unknown_key, 401, "invalid", "unknown_access_key")
    told = [(a.status, a.json()["error"], a.json()["message"], a.all("www-authenticate")) for a in (wrong_secret, unknown_key)]
    assert told[0] == told[1]


def test_in_a_chain(pile):
    """Providers of one key for two services, and a bearer token beside them; a policy without sigv4 leaves signatures alone."""
    opaque = {"type": "static_token", "settings": {"token": "opaque-4711-4711-4711", "identity": {"user_id": "robot"}}}
    first, second = provider(), provider(service="reports")
    first["name"], second["name"], second["agents"] = "first", "second", ["reports"]
    stack = start(pile, first, opaque, second, identity={"forward_credentials": True})
    stack.allowed(stack.request(token="opaque-4711-4711-4711"), user_id="robot")
    seen, _ = stack.allowed(sign().send(stack), user_id="orders-bot", provider="first")
    assert len(seen.all("authorization")) == 1
    stack.allowed(sign(target="/rest/reports", service="reports").send(stack), provider="second")
    stack.denied(sign(service="reports").send(stack), 403, "forbidden_agent", "forbidden_agent", challenge=None)
    event = stack.denied(sign(service="billing").send(stack), 401, "invalid", "scope_mismatch")
    assert event["fields"]["provider_name"] == "first"
    stack.denied(stack.request(headers=[("Authorization", "AWS4-HMAC-SHA256 x")]), 401, "invalid", "malformed_signature")

    alone = start(pile, opaque)
    presigned = sign(expires=300)
    seen, _ = alone.allowed(alone.request(target=presigned.target, token="opaque-4711-4711-4711"), user_id="robot")
    assert seen.path == presigned.target
    alone.denied(sign().send(alone), 401, "not_for_me", "not_for_me")


# How bodies travel


def head(request, *headers):
    """The octets of a request's head, with further fields and without a length."""
    raw = encode(request.method, request.target, [*request.headers.items(), *headers], b"", HOST)
    return raw.replace(b"Content-Length: 0\r\n", b"")


def chunked(body, size):
    parts = [body[i:i + size] for i in range(0, len(body), size)]
    return [b"%x\r\n%s\r\n" % (len(p), p) for p in parts] + [b"0\r\n\r\n"]


def claimed(*args, **kwargs):
    """Signed with the body's hash in a header of its own, as for S3."""
    return sign(*args, **kwargs, signer=botocore.auth.S3SigV4Auth)


@pytest.mark.parametrize("signing", [sign, claimed], ids=["unclaimed", "claimed"])
def test_nothing_goes_on_before_the_last_octet(stack, signing):
    body = bytes(range(256)) * 200
    for sent, good in ((body, True), (body[:-1] + b"?", False)):
        request = signing("POST", "/rest/orders", body)
        before = len(stack.upstream.seen)
        with stack.connect() as connection:
            connection.send(head(request, ("Transfer-Encoding", "chunked")))
            parts = chunked(sent, 5000)
            for part in parts[:-1]:
                connection.send(part)
            received = "http.agents.downstream_cx_rx_bytes_buffered"
            eventually(lambda: stack.envoy.stats(f"{received}$").get(received, 0) == 0 or True, "the body to be read")
            assert len(stack.upstream.seen) == before, "the upstream saw a request whose body was not proven"
            connection.send(parts[-1])
            answer = connection.receive("POST")
        if good:
            seen, _ = stack.allowed(answer, user_id="orders-bot")
            assert seen.body.encode("latin-1") == body
        else:
            stack.denied(answer, 401, "invalid", "payload_mismatch" if signing is claimed else "bad_signature")


def test_a_stranger_can_not_have_a_body_hashed(stack):
    """A claimed hash that nobody signed is refused before the body is there."""
    request = claimed("POST", "/rest/orders", b"x" * 1000, secret="y" * 40)
    with stack.connect() as connection:
        connection.send(head(request, ("Content-Length", "1000")))
        stack.denied(connection.receive("POST"), 401, "invalid", "bad_signature")


def test_expect_100_continue(stack):
    request = sign("POST", "/rest/orders", b"late")
    with stack.connect() as connection:
        connection.send(head(request, ("Content-Length", "4"), ("Expect", "100-continue")))
        # Through the socket: http.client would swallow the interim answer.
        assert connection._reader.file.readline().startswith(b"HTTP/1.1 100 ")
        assert connection._reader.file.readline() == b"\r\n"
        connection.send(b"late")
        seen, _ = stack.allowed(connection.receive("POST"), user_id="orders-bot")
        assert seen.body == "late"


def test_a_long_body(stack):
    fits = sign("POST", "/rest/orders", b"x" * LIMIT)
    stack.allowed(fits.send(stack), user_id="orders-bot")
    long = sign("POST", "/rest/orders", b"x" * (LIMIT + 1))
    with stack.connect() as connection:
        connection.send(head(long, ("Content-Length", str(LIMIT + 1))))
        stack.denied(connection.receive("POST"), 413, "rejected", "body_too_large", challenge=None)
    with stack.connect() as connection:
        connection.send(head(long, ("Transfer-Encoding", "chunked")) + chunked(long.body, 10_000)[0])
        for part in chunked(long.body, 10_000)[1:]:
            connection.send(part)
        stack.denied(connection.receive("POST"), 413, "rejected", "body_too_large", challenge=None)


def test_a_body_that_envoy_can_not_hold(pile):
    """Envoy answers by itself; the request is audited all the same, and nothing is let through."""
    stack = start(pile, limit=16384)
    request = sign("POST", "/rest/orders", b"x" * 50_000)
    answer = request.send(stack)
    assert answer.status == 413, answer
    assert stack.upstream.seen == []
    event = stack.envoy.audit(answer.header("x-request-id"))
    assert event["fields"]["code"] == "cancelled", event
    stack.allowed(sign().send(stack), user_id="orders-bot")


def test_a_caller_that_leaves_half_way(stack):
    waiting = "wasmcustom.portcullis.waiting"
    request = sign("POST", "/rest/orders", b"x" * 1000)
    request.headers["X-Request-Id"] = "left-half-way"
    before = len(stack.envoy.audit_lines())
    with stack.connect() as connection:
        connection.send(head(request, ("Content-Length", "1000")) + b"x" * 500)
        eventually(lambda: stack.envoy.stats(waiting).get(waiting) == 1, "the request to be held")
    events = eventually(lambda: stack.envoy.audit_lines()[before:], "the audit event")
    assert [e["fields"]["code"] for e in events] == ["cancelled"]
    assert events[0]["fields"]["token_kind"] == "sigv4"
    eventually(lambda: stack.envoy.stats(waiting).get(waiting) == 0, "the request to be forgotten")


def test_without_the_body_a_request_is_refused_in_the_end(pile):
    """A plugin without allow_on_headers_stop_iteration is shown no body: no hang, and no way in."""
    stack = start(pile, wasm_config=None)
    stack.allowed(sign().send(stack), user_id="orders-bot")
    answer = sign("POST", "/rest/orders", b"x").send(stack, timeout=45.0)
    stack.denied(answer, 503, "infrastructure", "body_not_seen", challenge=None)
    assert "allow_on_headers_stop_iteration" in stack.envoy.log()


class Http2:
    """One request over HTTP/2, frame by frame."""

    def __init__(self, port, request, *headers, end=False):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=15)
        self.h2 = H2Connection(H2Configuration(header_encoding="utf-8", validate_outbound_headers=False))
        self.h2.initiate_connection()
        fields = [(":method", request.method), (":scheme", "http"), (":authority", HOST), (":path", request.target)]
        fields += [(n.lower(), v) for n, v in [*request.headers.items(), *headers]]
        self.h2.send_headers(1, fields, end_stream=end)
        self.flush()

    def flush(self):
        self.socket.sendall(self.h2.data_to_send())

    def data(self, part, end=False):
        self.h2.send_data(1, part, end_stream=end)
        self.flush()

    def trailers(self, *fields):
        self.h2.send_headers(1, fields, end_stream=True)
        self.flush()

    def receive(self):
        response, ended = Response(0), False
        while not ended:
            data = self.socket.recv(65536)
            assert data, "closed"
            for event in self.h2.receive_data(data):
                if isinstance(event, ResponseReceived):
                    response.headers = [(n, v) for n, v in event.headers if not n.startswith(":")]
                    response.status = int(dict(event.headers)[":status"])
                elif isinstance(event, DataReceived):
                    response.body += event.data
                elif isinstance(event, (StreamEnded, StreamReset)):
                    ended = True
            self.flush()
        self.socket.close()
        return response


@pytest.mark.parametrize("signing", [sign, claimed], ids=["unclaimed", "claimed"])
def test_http2(stack, signing):
    stack.allowed(Http2(stack.envoy.port, sign(), end=True).receive(), user_id="orders-bot")
    body = b"frame" * 8000
    for last, good in ((body[-5:], True), (b"?????", False)):
        request = Http2(stack.envoy.port, signing("POST", "/rest/orders", body))
        for i in range(0, len(body) - 5, 9000):
            request.data(body[i:min(i + 9000, len(body) - 5)])
        request.data(last, end=True)
        if good:
            seen, _ = stack.allowed(request.receive(), user_id="orders-bot")
            assert seen.body.encode() == body
        else:
            stack.denied(request.receive(), 401, "invalid", "payload_mismatch" if signing is claimed else "bad_signature")


def test_trailers(stack):
    """They end the body. What has to be signed must not come in them."""
    for trailer, code in (("x-checksum", None), ("x-amz-target", "unsigned_header")):
        request = Http2(stack.envoy.port, sign("POST", "/rest/orders", b"body"))
        request.data(b"body")
        request.trailers((trailer, "1"))
        if code:
            stack.denied(request.receive(), 401, "invalid", code)
        else:
            seen, _ = stack.allowed(request.receive(), user_id="orders-bot")
            assert seen.body == "body"
    request = Http2(stack.envoy.port, sign("POST", "/rest/orders", b"body"))
    request.data(b"bodx")
    request.trailers(("x-checksum", "1"))
    stack.denied(request.receive(), 401, "invalid", "bad_signature")


def test_another_host_beside_the_authority(stack):
    """HTTP/2 can carry both, and an upstream may read either."""
    request = Http2(stack.envoy.port, sign(), ("host", "other.test"), end=True)
    answer = request.receive()
    if answer.status == 200:
        # Envoy has dropped one of them; then it must be the one that was not signed.
        seen, _ = stack.allowed(answer, user_id="orders-bot")
        assert seen.all("host") == [HOST]
    else:
        assert answer.status in (400, 401), answer


# The file that users copy, and the published suites


def test_the_example(pile):
    stack = pile.stack(file=ROOT / "envoy/sigv4.yaml", env={"AGENT_SECRET_KEY": SECRET})
    stack.allowed(sign("POST", "/rest/orders", b"x" * 500_000).send(stack), user_id="orders-bot", org_id="acme", agent="orders")
    stack.denied(sign("POST", "/rest/orders", b"x").send(stack, body=b"y"), 401, "invalid", "bad_signature")
    stack.denied(stack.request(), 401, "missing_token", "missing_token", challenge="bare")


def test_published_suites(tmp_path):
    """AWS's own suites and hostile requests, with the clock that they were signed under."""
    rows = vectors.rows("run_sigv4.py", tmp_path / "out.json")
    assert [r for r in rows if r["ok"] is False] == []
    assert len([r for r in rows if r["ok"]]) >= 200
    # A refusal by accident is no proof.
    assert [r["id"] for r in rows if r["got"] in ("deny5xx", "error")] == []
