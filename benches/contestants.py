"""The contestants: nothing, the least WebAssembly, Envoy's own filters, and Portcullis."""

import copy
import dataclasses
import hashlib
import json

from apikeys import KEY_OWNER
from harness.paths import ROOT
from tokens import AUDIENCE, ISSUER

WASM = ROOT / "dist/portcullis.wasm"
NOOP = ROOT / "dist/noop.wasm"
_TYPE = "type.googleapis.com/envoy.extensions.filters.http."

# Small enough that 20,000 tokens in turn never meet their own entry again.
SMALL_CACHE = 1000


@dataclasses.dataclass(frozen=True)
class Contestant:
    """One way to let requests in. `shows`: identity headers that the upstream sees, without their prefix."""

    name: str
    http_filter: dict | None
    authenticates: bool = False
    shows: tuple = ()
    clusters: tuple = ()
    env: dict | None = None


NONE = Contestant("none", None)


def noop(variant):
    """The no-op filter on the SDK: `read1` reads a header, `sets3` sets three."""
    value = {"@type": "type.googleapis.com/google.protobuf.StringValue", "value": variant}
    return Contestant({"read1": "noop-read1", "sets3": "noop-set3"}[variant], _wasm(NOOP, value))


def native_jwt(issuer, cache=0, claims=False, name=None, jwks=None):
    """Envoy's jwt_authn. `cache`: verified tokens kept, 0 for none. `claims`: three of them in headers.

    `jwks`: another key set than the issuer's, as text.
    """
    provider = {
        "issuer": ISSUER,
        "audiences": [AUDIENCE],
        "local_jwks": {"inline_string": jwks or issuer.jwks()},
        "clock_skew_seconds": 30,
        # As Portcullis does: the credential does not travel on.
        "forward": False,
    }
    if claims:
        provider["claim_to_headers"] = [
            {"header_name": "x-auth-user-id", "claim_name": "sub"},
            {"header_name": "x-auth-email", "claim_name": "email"},
            {"header_name": "x-auth-org-id", "claim_name": "org_id"},
        ]
    if cache:
        provider["jwt_cache_config"] = {"jwt_cache_size": cache}
    name = name or "native" + ("-cache" if cache else "") + ("-claims" if claims else "")
    return Contestant(name, {
        "name": "envoy.filters.http.jwt_authn",
        "typed_config": {
            "@type": _TYPE + "jwt_authn.v3.JwtAuthentication",
            "providers": {"bench": provider},
            "rules": [{"match": {"prefix": "/"}, "requires": {"provider_name": "bench"}}],
        },
    }, authenticates=True, shows=("user-id", "email", "org-id") if claims else ())


def native_api_keys(keys, name="native-api-key"):
    """Envoy's api_key_auth, which keeps the keys themselves; it names the client in one header."""
    return Contestant(name, {
        "name": "envoy.filters.http.api_key_auth",
        "typed_config": {
            "@type": _TYPE + "api_key_auth.v3.ApiKeyAuth",
            "credentials": [{"key": key.text, "client": key.owner} for key in keys],
            "key_sources": [{"header": "x-api-key"}],
            "forwarding": {"header": "x-auth-user-id", "hide_credentials": True},
        },
    }, authenticates=True, shows=("user-id",))


def oidc(signer, **settings):
    """The benchmark's issuer as a provider."""
    agents = settings.pop("agents", None)
    entry = {"type": "oidc", "settings": {
        "issuer": ISSUER, "audience": AUDIENCE, "jwks": json.loads(signer.jwks()), **settings}}
    return {**entry, "agents": agents} if agents else entry


def others(issuer, count):
    """`count` providers of other issuers, with keys of their own right."""
    found = []
    for number in range(count):
        entry = oidc(issuer, issuer=f"https://issuer-{number:03d}.other.example.com")
        found.append({"name": f"other-{number}", **entry})
    return found


def five(issuer, keys=(), **settings):
    """The chain with every feature on; the benchmark's issuer stands last and is bound to agents."""
    return [
        {"type": "aws_sigv4", "settings": {
            "region": "eu-west-1", "audience": "bench", "allowed_accounts": ["123456789012"]}},
        {"type": "api_key", "agents": ["orders", "fraud-*"], "settings": {
            "keys": [key.record() for key in keys] or [_unused_key()]}},
        {"type": "static_token", "settings": {
            "token_sha256": hashlib.sha256(b"bench-static-token").hexdigest(), "identity": {"user_id": "smoke"}}},
        *others(issuer, 1),
        {"name": "bench", **oidc(issuer, agents=["orders", "fraud-*"], allowed_subjects=["agent-*", "ci-*"], **settings)},
    ]


def _unused_key():
    return {"id": "Unused000000", "hash": "sha256:" + "0" * 64, "scope": {"agent": "hr"}, "owner": KEY_OWNER, "expires_at": "never"}


def portcullis(providers, name="portcullis", audit=True, shows=("user-id", "email", "org-id"), clusters=(), env=None, **blocks):
    """The shipped module. `blocks` are further top-level blocks of its configuration."""
    configuration = {
        "auth": {"providers": copy.deepcopy(providers)},
        "agent": {"path": "/rest/{agent}"},
        "audit": {"sinks": ["filter_state"] if audit else []},
        **blocks,
    }
    # As text: what reaches the module is the same, and a hundred thousand keys are read sooner than as a Struct.
    value = {"@type": "type.googleapis.com/google.protobuf.StringValue", "value": json.dumps(configuration)}
    http_filter = _wasm(WASM, value)
    if env:
        vm = http_filter["typed_config"]["config"]["vm_config"]
        vm["environment_variables"] = {"host_env_keys": list(env)}
    return Contestant(name, http_filter, authenticates=True, shows=shows, clusters=tuple(clusters), env=env)


def one_provider(issuer, name="portcullis-1-provider", **blocks):
    """Portcullis with the very checks of `native_jwt`, and nothing else switched on."""
    return portcullis([oidc(issuer)], name, audit=False, **blocks)


def _wasm(module, configuration):
    return {
        "name": "wasm",
        "typed_config": {
            "@type": _TYPE + "wasm.v3.Wasm",
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

