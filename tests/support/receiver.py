"""A collector of traces and of reports of errors, on loopback, that keeps what it is sent."""

from __future__ import annotations

import gzip
import json
import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


@dataclass(frozen=True, slots=True)
class Span:
    """What a test needs of a span."""

    name: str
    service: str
    trace: str
    id: str
    parent: str
    start: int
    end: int
    attributes: dict[str, str]


class Receiver(ThreadingHTTPServer):
    """Takes OTLP over HTTP at /v1/traces and Sentry's envelopes at /api/1/envelope/."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.bodies: list[tuple[str, bytes]] = []
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    @property
    def dsn(self) -> str:
        return f"http://key@127.0.0.1:{self.server_port}/1"

    def sent_to(self, path: str) -> list[bytes]:
        return [body for where, body in list(self.bodies) if where == path]

    def spans(self) -> list[Span]:
        found = []
        for body in self.sent_to("/v1/traces"):
            for of_resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                service = _attributes(of_resource.resource)["service.name"]
                for of_scope in of_resource.scope_spans:
                    found += [_span(one, service) for one in of_scope.spans]
        return found

    def events(self) -> list[dict[str, Any]]:
        """Reports of errors; an envelope is a header, then a header and a body for each item."""
        found = []
        for body in self.sent_to("/api/1/envelope/"):
            lines = body.split(b"\n")
            for head, content in zip(lines[1::2], lines[2::2], strict=False):
                if head and json.loads(head)["type"] == "event":
                    found.append(json.loads(content))
        return found


def _attributes(holder: Any) -> dict[str, str]:
    return {
        one.key: one.value.string_value or str(one.value.int_value) for one in holder.attributes
    }


def _span(one: Any, service: str) -> Span:
    return Span(
        name=one.name,
        service=service,
        trace=one.trace_id.hex(),
        id=one.span_id.hex(),
        parent=one.parent_span_id.hex(),
        start=one.start_time_unix_nano,
        end=one.end_time_unix_nano,
        attributes=_attributes(one),
    )


class _Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        self.server.bodies.append((self.path, body))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the library's name
        """Nothing."""
