"""An HTTP/1.1 client that sends exactly the bytes it is told to: duplicate fields, odd bytes, odd targets."""

import http.client
import json
import socket
from dataclasses import dataclass, field


@dataclass
class Response:
    """What came back. `headers` in order, duplicates kept, names as received."""

    status: int
    headers: list = field(default_factory=list)
    body: bytes = b""

    def all(self, name):
        """Every value of a field, compared without case."""
        return [v for n, v in self.headers if n.lower() == name.lower()]

    def header(self, name):
        """The only value of a field, or None; more than one is an error."""
        values = self.all(name)
        assert len(values) <= 1, f"{name} repeated: {values}"
        return values[0] if values else None

    def json(self):
        return json.loads(self.body)


def _bytes(text):
    return text if isinstance(text, bytes) else text.encode("latin-1")


def encode(method="GET", target="/", headers=(), body=b"", host="agents.test"):
    """The bytes of a request. `headers` are (name, value) pairs, str or bytes, sent verbatim and in order."""
    headers = list(headers)
    if host is not None:
        headers.insert(0, ("Host", host))
    if body or method in ("POST", "PUT", "PATCH"):
        headers.append(("Content-Length", str(len(body))))
    lines = [_bytes(method) + b" " + _bytes(target) + b" HTTP/1.1"]
    lines += [_bytes(n) + b": " + _bytes(v) for n, v in headers]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


class _Reader:
    """One buffer for all responses of a connection: `HTTPResponse` would read ahead into the next one and throw it away."""

    def __init__(self, file):
        self.file = file

    def makefile(self, _mode):
        return self

    def __getattr__(self, name):
        return getattr(self.file, name)

    def close(self):
        pass


class Connection:
    """One keep-alive connection to 127.0.0.1:`port`. Timeouts are seconds."""

    def __init__(self, port, timeout=15.0):
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=timeout)
        self._reader = _Reader(self._socket.makefile("rb"))

    def send(self, raw):
        self._socket.sendall(raw)

    def receive(self, method="GET"):
        """The next response."""
        response = http.client.HTTPResponse(self._reader, method=method)
        response.begin()
        body = response.read()
        return Response(response.status, list(response.headers.raw_items()), body)

    def read_until(self, mark):
        """Lines as they come, up to one that has `mark` in it."""
        seen = b""
        while mark not in seen:
            line = self._reader.readline()
            assert line, f"the connection ended before {mark}: {seen}"
            seen += line
        return seen

    def request(self, method="GET", target="/", headers=(), body=b"", host="agents.test"):
        self.send(encode(method, target, headers, body, host))
        return self.receive(method)

    def close(self):
        self._reader.file.close()
        self._socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def request(port, method="GET", target="/", headers=(), body=b"", host="agents.test", timeout=15.0):
    """One request on a connection of its own."""
    with Connection(port, timeout) as connection:
        return connection.request(method, target, headers, body, host)
