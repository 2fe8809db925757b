"""The corpus as seeds of the fuzzer: one file for each token, payload, key set and configuration."""

import json

from .keys import unb64


def write(world, folder):
    """Writes `folder/TARGET/NAME`; names are stable, contents are not."""
    for target in ("token", "claims", "jwk-set", "configuration"):
        (folder / target).mkdir(parents=True, exist_ok=True)

    def put(target, name, data):
        if len(data) <= 8192:
            (folder / target / name).write_bytes(data)

    for case in world.cases:
        values = [v for n, v in case.headers if n.lower() == "authorization"]
        if len(values) != 1:
            continue
        name, value = f"{case.kind}-{case.id}", values[0]
        token = value.split(" ")[-1]
        # As it was sent, and the token alone.
        put("token", name, (value if case.kind == "requests" else token).encode("latin-1"))
        try:
            put("claims", name, unb64(token.split(".")[1]))
        except (ValueError, IndexError):
            pass
    for provider in world.providers:
        settings = provider["settings"]
        if "jwks" in settings:
            put("jwk-set", provider["name"], settings["jwks"].encode())
            put("configuration", provider["name"], json.dumps({"auth": {"providers": [provider]}}).encode())
    for path, body in world.documents.items():
        put("jwk-set", path[1:], body)
