"""The second port, on which Prometheus asks. Each process of a part may answer for all of them."""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

from django.db import connections

from tumorsite.observability import context, metrics

logger = logging.getLogger(__name__)

SLOW_CLIENT_SECONDS = 5
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_listener: socket.socket | None = None
_port: int | None = None


def use_port(port: int) -> None:
    """Take this port in place of METRICS_PORT; 0 means none."""
    global _port  # noqa: PLW0603  # a process has one
    _port = port


def begin(part: str) -> None:
    """Take the port and start measuring. In the process that forks the others, before it does.

    Raises:
        SystemExit: the port cannot be had.
    """
    global _listener  # noqa: PLW0603  # handed on to the processes that answer
    from tumorsite.settings.values import values

    port = values.METRICS_PORT if _port is None else _port
    if not port:
        return
    family = socket.AF_INET6 if ":" in values.METRICS_HOST else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((values.METRICS_HOST, port))
        listener.listen(16)
    except OSError as error:
        listener.close()
        raise SystemExit(
            f"METRICS_PORT {port} on {values.METRICS_HOST} cannot be used: {error.strerror}. "
            "Each process needs a port of its own."
        ) from None
    # Several processes wait on it; those that come second must not hang.
    listener.settimeout(0)
    metrics.begin(values.DATA_DIR / "run" / "metrics" / f"{part}-{port}")
    _listener = listener


def serve() -> None:
    """Answer from a thread of this process, for the rest of its life."""
    if _listener is None:
        return
    server = HTTPServer(("", 0), _Handler, bind_and_activate=False)
    server.socket.close()
    server.socket = _listener
    threading.Thread(target=server.serve_forever, name="metrics", daemon=True).start()


class _Handler(BaseHTTPRequestHandler):
    timeout = SLOW_CLIENT_SECONDS
    server_version, sys_version = "tumorsite", ""

    def do_GET(self) -> None:
        if self.path.partition("?")[0] != "/metrics":
            self._answer(404, b"Only /metrics is here.\n")
            return
        try:
            self._answer(200, exposition(context.part()))
        except Exception:
            logger.exception("the metrics could not be put together")
            self._answer(500, b"The metrics could not be put together; the log says why.\n")

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", CONTENT_TYPE)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the library's name
        """Nothing: it would name the address that asks."""


class _Gauges:
    """Metrics that are looked up now. What cannot be looked up is left out, not made up."""

    def __init__(self, look: Callable[[], Iterable[Any]]) -> None:
        self._look = look

    def collect(self) -> Iterator[Any]:
        try:
            yield from list(self._look())
        except Exception as error:
            logger.warning("some metrics cannot be had: %s", type(error).__name__)


def exposition(part: str) -> bytes:
    """All metrics of this part in Prometheus' text format."""
    from prometheus_client import CollectorRegistry, generate_latest
    from prometheus_client.multiprocess import MultiProcessCollector

    registry = CollectorRegistry(auto_describe=False)
    MultiProcessCollector(registry)
    for look in metrics.gauges_of(part):
        registry.register(_Gauges(look))
    try:
        return generate_latest(registry)
    finally:
        # This thread serves no requests, so nothing else would ever close them.
        connections.close_all()
