"""A loopback HTTP server that can be killed and brought back on the same port."""

import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    # Another process may hold the port in TIME_WAIT only; see LoopbackServer.stop.
    allow_reuse_address = True

    def __init__(self, sock, handler):
        super().__init__(sock.getsockname(), handler, bind_and_activate=False)
        self.socket.close()
        self.socket = sock
        self.live = set()
        self.server_activate()

    def process_request(self, request, client_address):
        self.live.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request):
        self.live.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request, client_address):
        # A client that went away in the middle is what some tests are about.
        pass


class LoopbackServer:
    """Subclasses set `handler`, a `BaseHTTPRequestHandler` class whose instances find us as `self.server.owner`.

    While stopped, the port stays bound but nobody listens: connections are refused, and no other
    process can take it.
    """

    handler = BaseHTTPRequestHandler

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

    def start(self):
        """Listens again, on the port it has always had."""
        if self._server is None:
            self._server = _Server(self._bound, self.handler)
            self._server.owner = self
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

    def answer(self, status, body=b"", headers=()):
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        if status != 304:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
