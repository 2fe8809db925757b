"""What the client sends: requests as they go over the wire, in files that `load.lua` plays."""

import dataclasses
import http.client
import io
import socket
from array import array
from pathlib import Path

HOST = "agents.bench.example.com"
# The agent is the second segment; every contestant is asked for the same path.
PATH = "/rest/orders"
# Answers with what the upstream would see (benches/proxy.py).
PROBE_PATH = "/rest/orders/probe"

# Beyond this LuaJIT's memory would be at stake, and the client reads while it sends.
_MEMORY_BYTES = 64 << 20


def wire(headers=(), path=PATH):
    """One GET as bytes; `headers` are (name, value)."""
    lines = [f"GET {path} HTTP/1.1", f"Host: {HOST}", *(f"{name}: {value}" for name, value in headers), "", ""]
    return "\r\n".join(lines).encode()


def bearer(token, path=PATH):
    """One GET with a bearer token."""
    return wire([("Authorization", f"Bearer {token}")], path)


@dataclasses.dataclass(frozen=True)
class Traffic:
    """A file of requests. `offsets` are where each begins."""

    path: Path
    count: int
    stream: bool
    offsets: array

    def arguments(self, place):
        """For `load.lua`, to begin with request number `place`."""
        return [str(self.path), "stream", str(self.offsets[place])] if self.stream else [str(self.path), "memory", str(place)]


def write(path, requests, count):
    """Writes `count` requests to `path` as they come."""
    offsets, size = array("Q"), 0
    with path.open("wb") as out:
        for request in requests:
            offsets.append(size)
            record = b"%08d" % len(request) + request
            out.write(record)
            size += len(record)
    if len(offsets) != count:
        raise ValueError(f"{path.name}: {len(offsets)} requests instead of {count}")
    return Traffic(path, count, size > _MEMORY_BYTES, offsets)


@dataclasses.dataclass(frozen=True)
class Probe:
    """One request whose answer shows that a contestant does the work. `identity`: header -> value that the upstream sees."""

    what: str
    request: bytes
    status: int
    identity: dict = dataclasses.field(default_factory=dict)


def call(port, request, timeout=20):
    """Sends one request on a connection of its own; (status, headers)."""
    with socket.create_connection(("127.0.0.1", port), timeout) as connection:
        connection.sendall(request)
        answer = http.client.HTTPResponse(_Readable(connection), method="GET")
        answer.begin()
        return answer.status, answer.headers


class _Readable:
    def __init__(self, connection):
        self._connection = connection

    def makefile(self, _mode):
        return io.BufferedReader(socket.SocketIO(self._connection, "r"))
