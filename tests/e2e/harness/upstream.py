"""The agent's stand-in: says back, byte for byte, what reached it."""

import json
import threading

from .server import LoopbackServer, QuietHandler


class _Echo(QuietHandler):
    def _answer(self):
        length = int(self.headers.get("content-length") or 0)
        body = self.rfile.read(length) if length else b""
        if self.headers.get("transfer-encoding", "").lower() == "chunked":
            body = self._chunked()
        seen = {
            "method": self.command,
            "path": self.path,
            "headers": [[n, v] for n, v in self.headers.raw_items()],
            "body": body.decode("latin-1"),
        }
        with self.server.owner.lock:
            self.server.owner.seen.append(seen)
        self.answer(200, json.dumps(seen).encode(), [("Content-Type", "application/json"), ("x-echo", "1")])

    def _chunked(self):
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def __getattr__(self, name):
        # Any method at all reaches the echo, `PROPFIND` as well as one that nobody has heard of.
        if name.startswith("do_"):
            return self._answer
        raise AttributeError(name)


class EchoUpstream(LoopbackServer):
    """Answers 200 with `{"method","path","headers":[[name,value],…],"body"}`; `seen` keeps every request."""

    handler = _Echo

    def __init__(self):
        self.lock = threading.Lock()
        self.seen = []
        super().__init__()

    def saw_request_id(self, request_id):
        """Whether a request with that x-request-id got through."""
        with self.lock:
            return any(["x-request-id", request_id] in s["headers"] for s in self.seen)
