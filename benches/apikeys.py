"""API keys by the thousand, in the format that `portcullis key create` makes."""

import dataclasses
import hashlib
import random
import string
import zlib

from traffic import PROBE_PATH, Probe, wire

KEY_OWNER = "alice@agents.bench.example.com"
_BASE62 = string.digits + string.ascii_uppercase + string.ascii_lowercase


@dataclasses.dataclass(frozen=True)
class Key:
    """One key and whom it belongs to."""

    text: str
    owner: str

    def record(self):
        """As it stands in the plugin configuration."""
        return {
            "id": self.text.split("_")[1],
            "hash": "sha256:" + hashlib.sha256(self.text.encode()).hexdigest(),
            "scope": {"agent": "orders"},
            "owner": self.owner,
            "expires_at": 4102444800,
        }


def make(count):
    """`count` keys, the same in every run: they open nothing but the benchmark."""
    drawn = random.Random(f"portcullis bench {count}")
    return [_key("".join(drawn.choices(_BASE62, k=12)), "".join(drawn.choices(_BASE62, k=43)), n) for n in range(count)]


def _key(key_id, secret, number):
    signed = f"gak_{key_id}_{secret}"
    rest, check = zlib.crc32(signed.encode()), ""
    for _ in range(6):
        rest, digit = divmod(rest, 62)
        check = _BASE62[digit] + check
    return Key(f"{signed}_{check}", f"caller-{number:07d}@agents.bench.example.com")


def request(key, path=None):
    """One GET with the key."""
    headers = [("x-api-key", key.text if isinstance(key, Key) else key)]
    return wire(headers, path) if path else wire(headers)


def probes(keys):
    """The first and the last key are good, a key with another secret and no key at all are not."""
    good = keys[-1]
    stranger = make(7)[3]
    wrong = _key(good.text.split("_")[1], "0" * 43, 0)
    return [
        Probe("the first key", request(keys[0], PROBE_PATH), 200, {"user-id": keys[0].owner}),
        Probe("the last key", request(good, PROBE_PATH), 200, {"user-id": good.owner}),
        Probe("another secret", request(wrong, PROBE_PATH), 401),
        Probe("an unknown key", request(stranger, PROBE_PATH), 401),
        Probe("no key", wire(path=PROBE_PATH), 401),
    ]
