"""Agents that stay on the line: server-sent events, WebSocket, gRPC. Each says something when it is told to."""

import os
import threading

os.environ.update(GRPC_ENABLE_FORK_SUPPORT="0", GRPC_VERBOSITY="ERROR")

import grpc
import yaml
from concurrent import futures
from websockets.sync.server import serve

from .envoy import listening_port
from .paths import ENVOY
from .process import Process
from .server import LoopbackServer, QuietHandler
from .wait import eventually

_TYPE = "type.googleapis.com/envoy.extensions.filters."


class _Events(QuietHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        agent, seen = self.server.owner, 0
        while not agent.closing:
            with agent.changed:
                agent.changed.wait_for(lambda: agent.said > seen or agent.closing, 5)
                if agent.said == seen:
                    continue
                seen += 1
            event = f"data: {seen}\n\n".encode()
            self.wfile.write(b"%x\r\n%s\r\n" % (len(event), event))


class EventAgent(LoopbackServer):
    """Every `say()` sends one event with the next number to everybody who listens."""

    handler = _Events

    def __init__(self):
        self.changed = threading.Condition()
        self.said, self.closing = 0, False
        super().__init__()

    def say(self):
        with self.changed:
            self.said += 1
            self.changed.notify_all()

    def close(self):
        with self.changed:
            self.closing = True
            self.changed.notify_all()
        super().close()


class WebSocketAgent:
    """Says back what it hears."""

    def __init__(self):
        self._server = serve(self._echo, "127.0.0.1", 0)
        self.port = self._server.socket.getsockname()[1]
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    @staticmethod
    def _echo(connection):
        for message in connection:
            connection.send(message)

    def close(self):
        self._server.shutdown()
        self._thread.join(10)


class GrpcAgent:
    """`/agents.Echo/Chat`: bidirectional, says back what it hears. Messages are bytes as they are."""

    METHOD = "/agents.Echo/Chat"

    def __init__(self):
        self._server = grpc.server(futures.ThreadPoolExecutor(max_workers=4))
        chat = grpc.stream_stream_rpc_method_handler(lambda messages, _: messages)
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("agents.Echo", {"Chat": chat}),))
        self.port = self._server.add_insecure_port("127.0.0.1:0")
        self._server.start()

    def close(self):
        self._server.stop(0.2).wait(5)


class FastAgent(Process):
    """200 to everything, from an Envoy of its own: an agent that a load doesn't wear out."""

    def __init__(self, workdir):
        route = {"match": {"prefix": "/"}, "direct_response": {"status": 200, "body": {"inline_string": "done\n"}}}
        hcm = {
            "@type": _TYPE + "network.http_connection_manager.v3.HttpConnectionManager", "stat_prefix": "agent",
            "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
            "http_filters": [{"name": "router", "typed_config": {"@type": _TYPE + "http.router.v3.Router"}}],
        }
        loopback = {"socket_address": {"address": "127.0.0.1", "port_value": 0}}
        (workdir / "agent.yaml").write_text(yaml.safe_dump({
            "admin": {"address": loopback},
            "static_resources": {"listeners": [{
                "name": "agent", "address": loopback,
                "filter_chains": [{"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": hcm}]}],
            }]},
        }))
        admin = workdir / "agent.admin"
        super().__init__(
            [ENVOY, "-c", workdir / "agent.yaml", "--concurrency", 1, "--disable-hot-restart", "--log-level", "warning",
             "--admin-address-path", admin], workdir / "agent.log")
        try:
            self.port = eventually(lambda: listening_port(admin), lambda: f"the agent; {self.log()}", 60, 0.05)
        except BaseException:
            self.stop()
            raise

    def close(self):
        self.stop()
