"""Traces by OpenTelemetry: a few spans from a request through the queue to the engine.

Nothing of it is imported unless OTEL_EXPORTER_OTLP_ENDPOINT is set. Each process makes its
provider, which has a thread, on its first span: a fork before that is safe.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Any

from django.core.cache import cache

from tumorsite.observability import context
from tumorsite.settings.values import values

HEADER = "traceparent"
# Where a queued prediction's trace goes on: one message may serve rows of many others.
_KEY, _KEPT_SECONDS = "trace:{}", 3600
EXPORT_SECONDS = 5

_pid = 0
_provider: Any = None


def enabled() -> bool:
    return bool(values.OTEL_EXPORTER_OTLP_ENDPOINT)


def _tracer() -> Any:
    global _pid, _provider  # noqa: PLW0603  # one for each process
    if _pid != os.getpid():
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        endpoint = values.OTEL_EXPORTER_OTLP_ENDPOINT.rstrip("/")
        exporter = OTLPSpanExporter(
            endpoint=f"{endpoint}/v1/traces",
            headers=values.OTEL_EXPORTER_OTLP_HEADERS or None,
            timeout=EXPORT_SECONDS,
        )
        resource = Resource.create({"service.name": f"tumorsite-{context.part()}"})
        _provider = TracerProvider(resource=resource)
        _provider.add_span_processor(BatchSpanProcessor(exporter))
        _pid = os.getpid()
    return _provider.get_tracer("tumorsite")


def flush() -> None:
    """Send what is left; a process of a pool ends without asking."""
    if _provider is not None and _pid == os.getpid():
        _provider.shutdown()


def _parent(traceparent: str | None) -> Any:
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    return TraceContextTextMapPropagator().extract({HEADER: traceparent} if traceparent else {})


def current() -> str | None:
    """The span that is open here, as a header says it."""
    if not enabled():
        return None
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    carrier: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(carrier)
    return carrier.get(HEADER)


@contextlib.contextmanager
def _span(name: str, kind: str, traceparent: str | None, **attributes: Any) -> Iterator[Any]:
    from opentelemetry.trace import SpanKind, Status, StatusCode

    with _tracer().start_as_current_span(
        name,
        context=_parent(traceparent) if traceparent else None,
        kind=SpanKind[kind],
        attributes=attributes,
        # Messages of exceptions may name people or files.
        record_exception=False,
        set_status_on_exception=False,
    ) as span:
        try:
            yield span
        except BaseException as error:
            span.set_status(Status(StatusCode.ERROR, type(error).__name__))
            raise


def span(
    name: str, *, kind: str = "INTERNAL", traceparent: str | None = None, **attributes: Any
) -> AbstractContextManager[Any]:
    """A span around a block; None in its place while there are no traces."""
    if not enabled():
        return contextlib.nullcontext()
    return _span(name, kind, traceparent, **attributes)


def keep(prediction_id: object) -> None:
    """Note where the trace of a queued prediction goes on."""
    if enabled() and (here := current()):
        cache.set(_KEY.format(prediction_id), here, _KEPT_SECONDS)


def kept(prediction_ids: Iterable[object]) -> Mapping[str, str]:
    """The open end of each prediction's trace, where one was noted."""
    if not enabled():
        return {}
    found = cache.get_many([_KEY.format(pk) for pk in prediction_ids])
    return {key.partition(":")[2]: value for key, value in found.items()}


def nanoseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1_000_000) * 1000


def record(
    name: str, *, start: int, end: int, traceparent: str | None = None, **attributes: Any
) -> None:
    """A span that is over, by its nanoseconds since 1970; below the open one without a parent."""
    if not enabled():
        return
    tracer = _tracer()
    parent = _parent(traceparent) if traceparent else None
    tracer.start_span(name, context=parent, start_time=start, attributes=attributes).end(
        max(start, end)
    )
