"""AWS STS for one action: `GetCallerIdentity`, signatures verified by botocore's own signer.

It knows a few principals, answers as AWS does (JSON for `Accept: application/json`, else XML), and can be told to misbehave.
"""

import hmac
import json
import threading
import time
from calendar import timegm
from urllib.parse import parse_qsl, urlsplit

from botocore.auth import SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from .server import LoopbackServer, QuietHandler


class Principal:
    """Somebody with credentials. `arn` is what STS says of them."""

    def __init__(self, access_key, arn, token=None):
        self.credentials = Credentials(access_key, "secret/of+" + access_key, token)
        self.arn = arn

    @property
    def account(self):
        return self.arn.split(":")[4]

    def env(self):
        """As environment variables."""
        c = self.credentials
        env = {"AWS_ACCESS_KEY_ID": c.access_key, "AWS_SECRET_ACCESS_KEY": c.secret_key}
        return env | ({"AWS_SESSION_TOKEN": c.token} if c.token else {})


ALICE = Principal("AKIAALICE00000000001", "arn:aws:iam::123456789012:user/alice")
CI = Principal("ASIACI00000000000001", "arn:aws:sts::123456789012:assumed-role/ci/run-7", "IQoJb3JpZ2luX2VjE//+TOKEN==")
MALLORY = Principal("AKIAMALLORY000000001", "arn:aws:iam::999999999999:user/mallory")


class _Handler(QuietHandler):
    def do_GET(self):
        sts = self.server.owner
        with sts.lock:
            sts.calls.append({"path": self.path, "headers": {n.lower(): v for n, v in self.headers.items()}})
            behave = sts.behave
        if behave:
            return behave(self)
        status, code, principal = sts.judge(self.path, self.headers)
        if status != 200:
            error = {"Error": {"Type": "Sender", "Code": code, "Message": "no"}, "RequestId": "r"}
            return self.answer(status, json.dumps(error).encode(), [("Content-Type", "application/json")])
        result = {"Account": principal.account, "Arn": principal.arn, "UserId": "AIDAEXAMPLE"}
        document = {"GetCallerIdentityResponse": {"GetCallerIdentityResult": result, "ResponseMetadata": {"RequestId": "r"}}}
        self.answer(200, json.dumps(document).encode(), [("Content-Type", "application/json")])


class Sts(LoopbackServer):
    """`calls` is what it was asked, `behave` a function that answers in place of it."""

    handler = _Handler

    def __init__(self, region="eu-west-1", principals=(ALICE, CI, MALLORY)):
        self.lock = threading.Lock()
        self.calls = []
        self.behave = None
        self.region = region
        self.host = f"sts.{region}.amazonaws.com"
        self.principals = {p.credentials.access_key: p for p in principals}
        super().__init__()

    def judge(self, target, headers):
        """(status, AWS's error code, principal) for a presigned request."""
        query = dict(parse_qsl(urlsplit(target).query, keep_blank_values=True, strict_parsing=True))
        signature = query.pop("X-Amz-Signature", "")
        access_key, day, region, service, _ = query["X-Amz-Credential"].split("/")
        principal = self.principals.get(access_key)
        if principal is None or query.get("X-Amz-Security-Token") != principal.credentials.token:
            return 403, "InvalidClientTokenId", None
        # AWSRequest splits the URL itself; what was signed is everything but the signature.
        unsigned = target[:target.index("&X-Amz-Signature=")] + target[target.index("&X-Amz-Signature=") + 17 + len(signature):]
        request = AWSRequest("GET", f"https://{headers['Host']}{unsigned}")
        for name in query["X-Amz-SignedHeaders"].split(";"):
            request.headers[name] = headers[name] or ""
        request.context["timestamp"] = query["X-Amz-Date"]
        signer = SigV4QueryAuth(principal.credentials, service, region)
        expected = signer.signature(signer.string_to_sign(request, signer.canonical_request(request)), request)
        if (service, region, day) != ("sts", self.region, query["X-Amz-Date"][:8]) or not hmac.compare_digest(expected, signature):
            return 403, "SignatureDoesNotMatch", None
        signed_at = timegm(time.strptime(query["X-Amz-Date"], "%Y%m%dT%H%M%SZ"))
        if not -300 < time.time() - signed_at < int(query["X-Amz-Expires"]) + 300:
            return 403, "SignatureDoesNotMatch", None
        return 200, None, principal
