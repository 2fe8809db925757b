"""A verifier of the operator's own, in Forge's wire format, with every way to misbehave."""

import json
import threading
import time

from .server import LoopbackServer, QuietHandler


class _Handler(QuietHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        self.server.owner.serve(self, body)

    def do_GET(self):
        # Where a redirect would lead to.
        self.server.owner.serve(self, b"")


class Verifier(LoopbackServer):
    """Answers `POST /check`. `people` maps tokens to what is said of them beside `valid`; others are not valid.

    `asked` keeps (token, org_id) of each question, `paths` each request's path. `mode` is one of
      ok        the truth
      slow      the truth, `delay` seconds late
      hold      the truth once `gate` is set
      garbage   200 and something that is not JSON
      html      200 and the truth as text/html
      twice     `valid` false and then true
      redirect  302 to where everybody is valid
      huge      the truth, and more than 64 KiB
      hangup    no answer at all
      NNN       that status, and that everybody is valid
    """

    handler = _Handler

    def __init__(self, **kwargs):
        self.people = {}
        self.error = "no such token"
        self.mode = "ok"
        self.delay = 1.0
        self.gate = threading.Event()
        self.asked = []
        self.paths = []
        self._lock = threading.Lock()
        super().__init__(**kwargs)

    def serve(self, request, body):
        mode = self.mode
        with self._lock:
            self.paths.append(request.path)
        everybody = json.dumps({"valid": True, "user_id": "everybody"}).encode()
        json_type = [("Content-Type", "application/json")]
        if request.path != "/check":
            return request.answer(200, everybody, json_type)
        question = json.loads(body)
        assert request.headers["content-type"] == "application/json"
        assert list(question) == ["token", "org_id"], question
        with self._lock:
            self.asked.append((question["token"], question["org_id"]))
        if mode == "slow":
            time.sleep(self.delay)
        elif mode == "hold":
            # Bounded, so that a test that forgot its gate doesn't keep the thread.
            self.gate.wait(60)
        elif mode == "garbage":
            return request.answer(200, b"<html>captive portal</html>", json_type)
        elif mode == "twice":
            return request.answer(200, b'{"valid":false,"valid":true,"user_id":"everybody"}', json_type)
        elif mode == "redirect":
            return request.answer(302, everybody, [("Location", f"http://127.0.0.1:{self.port}/elsewhere"), *json_type])
        elif mode == "hangup":
            request.close_connection = True
            return None
        elif mode.isdigit():
            return request.answer(int(mode), everybody, json_type)
        found = self.people.get(question["token"])
        truth = {"valid": True, **found} if found else {"valid": False, "error": self.error}
        if mode == "huge":
            truth["padding"] = "x" * (64 << 10)
        headers = [("Content-Type", "text/html")] if mode == "html" else json_type
        return request.answer(200, json.dumps(truth).encode(), headers)

    def provider(self, **settings):
        """This verifier as a provider of the chain; the proxy finds `verify.test` here."""
        return {"type": "http_verifier", "settings": {"url": "https://verify.test/check", **settings}}
