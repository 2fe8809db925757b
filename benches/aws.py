"""Requests signed with AWS Signature Version 4, and presigned STS identities: botocore signs."""

import base64

from botocore.auth import SigV4Auth, SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from contestants import portcullis
from harness.sts import ALICE
from proxy import static_cluster
from traffic import HOST, PATH, PROBE_PATH, Probe, bearer, wire

_KEY, _SECRET = "AKIDORDERSBOT", "bench/secret/of/the/orders/bot+0123456789"
_SERVICE, _REGION = "agents", "eu-central-1"


# Requests that are themselves signed

def signed_contestant():
    """Portcullis with the provider of such requests. Envoy has no filter that verifies them."""
    provider = {"type": "sigv4", "settings": {
        "service": _SERVICE, "region": _REGION, "clock_skew": "15m",
        "credentials": [{"access_key_id": _KEY, "secret_env": "BENCH_SECRET_KEY", "user_id": "orders-bot", "org_id": "acme"}],
    }}
    return portcullis([provider], shows=("user-id", "org-id"), env={"BENCH_SECRET_KEY": _SECRET})


def signed(path=PATH, secret=_SECRET):
    """One request, signed now: good for a quarter of an hour."""
    request = AWSRequest("GET", f"http://{HOST}{path}")
    SigV4Auth(Credentials(_KEY, secret), _SERVICE, _REGION).add_auth(request)
    return wire([(name, value) for name, value in request.headers.items() if name.lower() != "host"], path)


def signed_probes():
    good = Probe("a signed request", signed(PROBE_PATH), 200, {"user-id": "orders-bot", "org-id": "acme"})
    return [
        good,
        Probe("signed with another secret", signed(PROBE_PATH, "another" + _SECRET), 401),
        Probe("an unsigned request", wire(path=PROBE_PATH), 401),
    ]


# Presigned sts:GetCallerIdentity

def sts_contestant(sts):
    """Portcullis asking `sts` (tests/e2e/harness/sts.py, which verifies signatures)."""
    provider = {"type": "aws_sigv4", "settings": {"region": sts.region, "identity_cache_ttl": "15m"}}
    return portcullis([provider], shows=("user-id",), clusters=[static_cluster("sts", sts.port)],
                      callouts={"upstreams": {sts.host: "sts"}, "timeout": "5s"})


def presigned(sts, number=0, principal=ALICE):
    """A token; another `number`, another token."""
    url = f"https://{sts.host}/?Action=GetCallerIdentity&Version=2011-06-15"
    request = AWSRequest("GET", url)
    SigV4QueryAuth(principal.credentials, "sts", sts.region, expires=900 - number).add_auth(request)
    return "forge-aws-v1." + base64.urlsafe_b64encode(request.url.encode()).decode().rstrip("=")


def sts_probes(sts):
    good = presigned(sts)
    prefix, encoded = good.split(".")
    url = base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)).decode()
    # Another last digit of the signature: STS refuses it.
    forged = url[:-1] + ("0" if url[-1] != "0" else "1")
    bad = f"{prefix}." + base64.urlsafe_b64encode(forged.encode()).decode().rstrip("=")
    return [
        Probe("an STS identity", bearer(good, PROBE_PATH), 200, {"user-id": ALICE.arn}),
        Probe("a forged STS identity", bearer(bad, PROBE_PATH), 401),
        Probe("no token", wire(path=PROBE_PATH), 401),
    ]
