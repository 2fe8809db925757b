"""Cost as work grows: workloads whose entries are the same thing in several sizes."""

import json

import apikeys
from contestants import SMALL_CACHE, five, native_api_keys, native_jwt, oidc, portcullis
from workloads import Entry, Workload, chained, globbed

# The configuration's own bound on the bytes of cached tokens, for all sizes alike.
_CACHE_BYTES = 2_147_483_648
# Envoy's own cache takes several times as much for each token; beyond this it would be the machine's memory that is measured.
_NATIVE_TOKENS = 100_000
_NATIVE_KEYS = 100_000


def catalogue():
    """name -> what makes that series from a `Ground`."""
    return {"tokens": tokens, "keys": keys, "globs": globs, "providers": providers, "workers": workers,
            "connections": connections, "jwks": jwks}


def tokens(ground, sizes=(100, 1000, 10_000, 100_000, 1_000_000)):
    probes = ground.issuer.probes("ES256")
    entries = []
    for size in sizes:
        traffic = ground.cycling("ES256", size)
        # Twice as many as there are: the cache forgets by halves.
        limits = {"cached_tokens": 2 * size + 1000, "cached_token_bytes": _CACHE_BYTES}
        ours = portcullis(five(ground.issuer), name=f"tokens-{size}", limits=limits)
        entries.append(Entry(f"portcullis, {size}", ours, traffic, probes, warm_all=True, size=size))
        if size <= _NATIVE_TOKENS:
            native = native_jwt(ground.issuer, cache=2 * size, claims=True, name=f"native-{size}")
            entries.append(Entry(f"native, {size}", native, traffic, probes, warm_all=True, size=size))
    return _series("tokens", "Tokens in the cache, in turn", entries,
                   "ES256, every token in the cache; native: jwt_authn with a jwt_cache twice as large, up to 100,000 tokens.")


def keys(ground, sizes=(10, 100, 1000, 10_000, 100_000, 1_000_000)):
    entries = []
    for size in sizes:
        made, traffic = ground.keys(size)
        probes = apikeys.probes(made)
        ours = portcullis(five(ground.issuer, made), name=f"keys-{size}", shows=("user-id",))
        entries.append(Entry(f"portcullis, {size}", ours, traffic, probes, size=size))
        if size <= _NATIVE_KEYS:
            native = native_api_keys(made, name=f"native-{size}")
            entries.append(Entry(f"native, {size}", native, traffic, probes, size=size))
    return _series("keys", "API keys, in turn", entries, "native: api_key_auth, up to 100,000 keys.")


def globs(ground, sizes=(1, 10, 100, 1000, 10_000, 100_000)):
    traffic, probes = ground.cycling("RS256", 1), ground.issuer.probes("RS256")
    entries = [Entry(f"portcullis, {size}", globbed(ground, size), traffic, probes, hits="all", size=size) for size in sizes]
    return _series("globs", "Globs in an allow-list, the last matches", entries, "One token repeated.")


def providers(ground, sizes=(1, 5, 10, 20, 50)):
    traffic, probes = ground.cycling("RS256", 1), ground.issuer.probes("RS256")
    entries = [Entry(f"portcullis, {size}", chained(ground, size), traffic, probes, hits="all", size=size) for size in sizes]
    return _series("providers", "Providers in the chain, the last one's token", entries, "One token repeated.")


def workers(ground, sizes=(1, 2)):
    traffic, probes = ground.cycling("RS256", 1), ground.issuer.probes("RS256")
    entries = []
    for size in sizes:
        ours = portcullis(five(ground.issuer), name=f"workers-{size}")
        native = native_jwt(ground.issuer, cache=100, claims=True, name=f"native-{size}")
        entries.append(Entry(f"portcullis, {size}", ours, traffic, probes, hits="all", workers=size, size=size))
        entries.append(Entry(f"native, {size}", native, traffic, probes, hits="all", workers=size, size=size))
    return _series("workers", "Workers", entries, "One token repeated. The client is on the same cores.")


def connections(ground, sizes=(1, 10, 100, 500, 2000)):
    traffic, probes = ground.cycling("RS256", 1), ground.issuer.probes("RS256")
    ours, native = portcullis(five(ground.issuer)), native_jwt(ground.issuer, cache=100, claims=True)
    entries = []
    for size in sizes:
        entries.append(Entry(f"portcullis, {size}", ours, traffic, probes, hits="all", connections=size, size=size))
        entries.append(Entry(f"native, {size}", native, traffic, probes, hits="all", connections=size, size=size))
    return _series("connections", "Connections at once", entries, "One token repeated.")


def jwks(ground, sizes=(1, 10, 50, 100)):
    traffic, probes = ground.cycling("ES256", ground.tokens), ground.issuer.probes("ES256")
    entries = []
    for size in sizes:
        text = ground.issuer.jwks(size - 1, ["ES256"])
        ours = portcullis([oidc(ground.issuer, jwks=json.loads(text))], name=f"jwks-{size}", limits={"cached_tokens": SMALL_CACHE})
        native = native_jwt(ground.issuer, claims=True, name=f"native-{size}", jwks=text)
        entries.append(Entry(f"portcullis, {size}", ours, traffic, probes, hits="none", size=size))
        entries.append(Entry(f"native, {size}", native, traffic, probes, size=size))
    return _series("jwks", "Keys in the key set, the last one signs", entries, "ES256, every token new.")


def _series(name, title, entries, note):
    return Workload(name, title, entries, entries[0].label, note)
