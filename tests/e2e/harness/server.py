"""A loopback HTTP server that can be killed and brought back on the same port."""

import functools
import socket
import ssl
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    # Another process may hold the port in TIME_WAIT only; see LoopbackServer.stop.
    allow_reuse_address = True
    # Tests open dozens of connections at once; five is the default.
    request_queue_size = 128

    def __init__(self, sock, handler):
        super().__init__(sock.getsockname(), handler, bind_and_activate=False)
        self.socket.close()
        self.socket = sock
        self.live = set()
        self.tls = None
        self.server_activate()

    def get_request(self):
        connection, address = super().get_request()
        if self.tls:
            # The handshake is the handler's thread's: a peer that hesitates holds up nobody else.
            connection = self.tls.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        return connection, address

    def process_request(self, request, client_address):
        self.live.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request):
        self.live.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request, client_address):
        # A client that went away in the middle is what some tests are about.
        pass


@functools.cache
def _ten_megabytes():
    body = b'{"keys":[' + b'{"kty":"RSA","kid":"x","n":"AQAB","e":"AQAB"},' * 230_000 + b"{}]}"
    assert len(body) > 10_000_000
    return body


class LoopbackServer:
    """Subclasses set `handler`, a `BaseHTTPRequestHandler` class whose instances find us as `self.server.owner`.

    While stopped, the port stays bound but nobody listens: connections are refused, and no other
    process can take it.
    """

    handler = BaseHTTPRequestHandler
    # None, or what every request meets with in place of the truth, see `QuietHandler.parse_request`.
    fault = None
    # Seconds that a `slow` answer takes.
    slowness = 2.0
    _tls = None

    def __init__(self, *, listening=True):
        self._bound = self._bind(0)
        self.port = self._bound.getsockname()[1]
        self._server = None
        self._thread = None
        if listening:
            self.start()

    @staticmethod
    def _bind(port):
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(("127.0.0.1", port))
        return sock

    def speak_tls(self, certificate):
        """From the next connection on; open ones are cut. `certificate` is a PEM file of key and certificate."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        self.stop()
        self._tls = context
        self.start()

    def start(self):
        """Listens again, on the port it has always had."""
        if self._server is None:
            self._server = _Server(self._bound, self.handler)
            self._server.owner = self
            self._server.tls = self._tls
            self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
            self._thread.start()

    def stop(self):
        """Dies as a crashed process does: the listener and every open connection are gone."""
        if self._server is not None:
            self._server.shutdown()
            self._thread.join()
            for connection in list(self._server.live):
                try:
                    connection.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass
            self._server.socket.close()
            self._server = None
            self._bound = self._bind(self.port)

    def close(self):
        """Stops for good and gives the port back."""
        self.stop()
        self._bound.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class QuietHandler(BaseHTTPRequestHandler):
    """HTTP/1.1 with keep-alive and no log lines."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def parse_request(self):
        """Reads a request's head; plays the server's `fault` in place of an answer:

          slow      the truth, `slowness` seconds late
          500, 429  that status
          html      200 and a page
          10 MB     200 and ten megabytes of JSON
          hangup    the connection ends without an answer
        """
        if not super().parse_request():
            return False
        owner = self.server.owner
        fault = getattr(owner, "fault", None)
        if fault is None:
            return True
        if fault == "slow":
            time.sleep(owner.slowness)
            return True
        if fault == "hangup":
            self.close_connection = True
            return False
        # Whatever it had to say: the connection is for the next one.
        self.rfile.read(int(self.headers.get("content-length") or 0))
        if fault == "html":
            self.answer(200, b"<!doctype html><title>Welcome</title>Please sign in", [("Content-Type", "text/html")])
        elif fault == "10 MB":
            self.answer(200, _ten_megabytes(), [("Content-Type", "application/json")])
        else:
            self.answer(int(fault), b"out of order")
        return False

    def answer(self, status, body=b"", headers=()):
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        if status != 304:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
