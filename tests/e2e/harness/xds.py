"""Management servers that serve one resource, the filter's configuration: by REST in JSON, and by gRPC."""

import json
import os
import threading
import time
from concurrent import futures

# Envoy is forked from this process; the child execs at once, and gRPC must not prepare for anything else.
os.environ.update(GRPC_ENABLE_FORK_SUPPORT="0", GRPC_VERBOSITY="ERROR")

import grpc
from envoy.extensions.filters.http.wasm.v3 import wasm_pb2  # noqa: F401 (known to json_format by being imported)
from envoy.config.core.v3 import extension_pb2
from envoy.service.discovery.v3 import discovery_pb2
from envoy.service.extension.v3 import config_discovery_pb2_grpc
from google.protobuf import json_format, struct_pb2, wrappers_pb2  # noqa: F401

from .server import LoopbackServer, QuietHandler

TYPE = "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig"
PATH = "/v3/discovery:extension_configs"


class _Handler(QuietHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        self.server.owner.serve(self, json.loads(body))


class RestXds(LoopbackServer):
    """`POST /v3/discovery:extension_configs`; `asked` keeps the requests."""

    handler = _Handler
    snippet = "rest.yaml"

    def __init__(self, **kwargs):
        self._lock = threading.Lock()
        self._resource, self.version = None, 0
        self.asked = []
        super().__init__(**kwargs)

    def publish(self, resource):
        with self._lock:
            self._resource, self.version = resource, self.version + 1
        return time.monotonic()

    def serve(self, request, question):
        with self._lock:
            self.asked.append(question)
            resource, version = self._resource, self.version
        if request.path != PATH or resource is None:
            return request.answer(404, b"")
        answer = {"version_info": str(version), "type_url": TYPE, "resources": [resource]}
        return request.answer(200, json.dumps(answer).encode(), [("Content-Type", "application/json")])

    def refusals(self):
        """REST has no way to say no."""
        return []


class GrpcXds(config_discovery_pb2_grpc.ExtensionConfigDiscoveryServiceServicer):
    """`StreamExtensionConfigs`: what is published goes out at once; `refusals()` is what Envoy said against it."""

    snippet = "grpc.yaml"

    def __init__(self):
        self._changed = threading.Condition()
        self._resource, self.version = None, 0
        self._refusals, self._closed = [], False
        self._server = grpc.server(futures.ThreadPoolExecutor(max_workers=8))
        config_discovery_pb2_grpc.add_ExtensionConfigDiscoveryServiceServicer_to_server(self, self._server)
        self.port = self._server.add_insecure_port("127.0.0.1:0")
        self._server.start()

    def publish(self, resource):
        with self._changed:
            self._resource, self.version = resource, self.version + 1
            self._changed.notify_all()
            return time.monotonic()

    def refusals(self):
        """The error of each version that was refused, in order."""
        with self._changed:
            return list(self._refusals)

    def StreamExtensionConfigs(self, requests, context):
        threading.Thread(target=self._listen, args=(requests, context), daemon=True).start()
        sent = 0
        while context.is_active():
            with self._changed:
                self._changed.wait_for(lambda: self._closed or self.version > sent or not context.is_active(), 1)
                if self._closed:
                    return
                if self.version == sent or self._resource is None:
                    continue
                resource, sent = self._resource, self.version
            yield self._response(resource, sent)

    def _listen(self, requests, context):
        try:
            for request in requests:
                assert list(request.resource_names) == ["portcullis"], request
                if request.HasField("error_detail"):
                    with self._changed:
                        self._refusals.append(request.error_detail.message)
        except grpc.RpcError:
            pass  # the stream's end

    @staticmethod
    def _response(resource, version):
        extension = extension_pb2.TypedExtensionConfig()
        body = {k: v for k, v in resource.items() if k != "@type"}
        json_format.ParseDict(body, extension)
        response = discovery_pb2.DiscoveryResponse(version_info=str(version), type_url=TYPE, nonce=str(version))
        response.resources.add().Pack(extension)
        return response

    def close(self):
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._server.stop(0.2).wait(5)
