"""An OTLP receiver for traces: gRPC with the official servicer, and HTTP with protobuf bodies.

Listens on 127.0.0.1 only. Every request is answered as the protocol wants it
(https://opentelemetry.io/docs/specs/otlp/): an `ExportTraceServiceResponse` of the same encoding,
or over HTTP a `google.rpc.Status` with a 4xx.
"""

import socket
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from types import TracebackType
from typing import Final, Self

import grpc
from google.protobuf.message import DecodeError, Message  # type: ignore[import-untyped]
from google.rpc.status_pb2 import Status  # type: ignore[import-untyped]
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import (
    TraceServiceServicer,
    add_TraceServiceServicer_to_server,
)

HOST: Final = "127.0.0.1"
OnRequest = Callable[[ExportTraceServiceRequest], None]

_MAX_REQUEST_BYTES: Final = 64 * 1024 * 1024  # what the SDK's HTTP exporter sends at most
_PROTOBUF: Final = "application/x-protobuf"
_STOP_GRACE_S: Final = 0.5


class PortTakenError(Exception):
    """Another program listens on the port already."""

    def __init__(self, port: int, option: str) -> None:
        super().__init__(
            f"port {port} on {HOST} is taken, perhaps by another collector; "
            f"choose a different one with {option}"
        )


class Receiver:
    """Listens while it is entered; `on_request` is called on the receiver's own threads."""

    def __init__(self, grpc_port: int, http_port: int, on_request: OnRequest) -> None:
        """Port 0 takes a free one. Raises PortTakenError, holding no port then."""
        self._http = _http_server(http_port, on_request)
        try:
            self._grpc, self.grpc_port = _grpc_server(grpc_port, on_request)
        except PortTakenError:
            self._http.server_close()
            raise
        self.http_port: int = self._http.server_address[1]
        self._http_thread = Thread(
            target=self._http.serve_forever, args=(0.05,), name="otlp-http", daemon=True
        )

    def __enter__(self) -> Self:
        self._grpc.start()
        self._http_thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._http.shutdown()
        self._http_thread.join()
        self._http.server_close()
        self._grpc.stop(_STOP_GRACE_S).wait()


class _Servicer(TraceServiceServicer):
    def __init__(self, on_request: OnRequest) -> None:
        self._on_request = on_request

    def Export(  # the protocol's name
        self, request: ExportTraceServiceRequest, context: grpc.ServicerContext
    ) -> ExportTraceServiceResponse:
        self._on_request(request)
        return ExportTraceServiceResponse()


def _grpc_server(port: int, on_request: OnRequest) -> tuple[grpc.Server, int]:
    _require_free(port)
    server = grpc.server(
        ThreadPoolExecutor(2, "otlp-grpc"),
        # gRPC shares ports by default: two receivers would split the spans between them.
        options=[
            ("grpc.so_reuseport", 0),
            ("grpc.max_receive_message_length", _MAX_REQUEST_BYTES),
        ],
    )
    add_TraceServiceServicer_to_server(_Servicer(on_request), server)  # type: ignore[no-untyped-call]
    try:
        bound_port = server.add_insecure_port(f"{HOST}:{port}")
    except RuntimeError as error:
        server.stop(None)
        raise PortTakenError(port, "--grpc-port") from error
    return server, bound_port


def _require_free(port: int) -> None:
    """Try the port with a plain socket first: gRPC writes lines of its own about a taken one."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise PortTakenError(port, "--grpc-port") from error


def _http_server(port: int, on_request: OnRequest) -> ThreadingHTTPServer:
    class Handler(_HttpHandler):
        receive = staticmethod(on_request)

    try:
        return ThreadingHTTPServer((HOST, port), Handler)
    except OSError as error:
        raise PortTakenError(port, "--http-port") from error


class _HttpHandler(BaseHTTPRequestHandler):
    """POST /v1/traces and nothing else."""

    protocol_version = "HTTP/1.1"
    receive: Callable[[ExportTraceServiceRequest], None]

    def do_POST(self) -> None:
        body = self._body()
        if body is None:
            return
        request = ExportTraceServiceRequest()
        try:
            request.ParseFromString(body)
        except DecodeError as error:
            self._refused(HTTPStatus.BAD_REQUEST, str(error))
            return
        self.receive(request)
        self._answer(HTTPStatus.OK, ExportTraceServiceResponse())

    def _body(self) -> bytes | None:
        """The decompressed body, or None after a refusal."""
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal():
            return self._refused(HTTPStatus.LENGTH_REQUIRED, "Content-Length is missing")
        if int(length) > _MAX_REQUEST_BYTES:
            return self._refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "the body is too large")
        body = self.rfile.read(int(length))  # always, so that the connection can go on
        if self.path.partition("?")[0] != "/v1/traces":
            return self._refused(HTTPStatus.NOT_FOUND, "only /v1/traces is served")
        if self.headers.get_content_type() != _PROTOBUF:
            return self._refused(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"only {_PROTOBUF} is read")
        encoding = self.headers.get("Content-Encoding", "identity").lower()
        if encoding not in {"gzip", "deflate", "identity"}:
            return self._refused(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"{encoding} is not read")
        return body if encoding == "identity" else self._decompressed(body)

    def _decompressed(self, body: bytes) -> bytes | None:
        # 32 + 15: zlib finds out itself whether it is gzip or deflate.
        inflater = zlib.decompressobj(wbits=32 + zlib.MAX_WBITS)
        try:
            plain = inflater.decompress(body, _MAX_REQUEST_BYTES)
        except zlib.error as error:
            return self._refused(HTTPStatus.BAD_REQUEST, str(error))
        if not inflater.eof:
            return self._refused(HTTPStatus.BAD_REQUEST, "the body is cut short or too large")
        return plain

    def _refused(self, status: HTTPStatus, message: str) -> bytes | None:
        if status in {HTTPStatus.LENGTH_REQUIRED, HTTPStatus.REQUEST_ENTITY_TOO_LARGE}:
            self.close_connection = True  # the body was not read
        self._answer(status, Status(message=message))
        return None

    def _answer(self, status: HTTPStatus, message: Message) -> None:
        body = message.SerializeToString()
        self.send_response(status)
        self.send_header("Content-Type", _PROTOBUF)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Silent: the terminal belongs to the traces."""
