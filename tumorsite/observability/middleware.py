"""The outermost middleware: names each request, and tells how long it took."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from django.conf import settings
from django.http import HttpRequest, HttpResponse

from tumorsite.observability import context, metrics, tracing
from tumorsite.observability.logs import route_of

requests = logging.getLogger("tumorsite.requests")

GetResponse = Callable[[HttpRequest], HttpResponse]


class ObservabilityMiddleware:
    """An id for the logs, which people can quote; time by route; the root of a trace.

    An id or a trace that comes with the request counts only where there are proxies, as anybody
    could invent one otherwise.
    """

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        given = request.headers if settings.PROXY_COUNT else {}
        name = context.accepted(given.get("X-Request-ID")) or context.new_id()
        # Stays until the response is closed: Django logs refusals after all middleware.
        context.request_id.set(name)
        with tracing.span(
            f"{request.method}",
            kind="SERVER",
            traceparent=given.get("traceparent"),
            **{"http.request.method": f"{request.method}", "tumorsite.request_id": name},
        ) as span:
            response = self._timed(request)
            if span is not None:
                route = route_of(request)
                span.update_name(f"{request.method} {route}")
                span.set_attribute("http.route", route)
                span.set_attribute("http.response.status_code", response.status_code)
        response["X-Request-ID"] = name
        return response

    def _timed(self, request: HttpRequest) -> HttpResponse:
        start = time.perf_counter()
        response = self.get_response(request)
        seconds, route = time.perf_counter() - start, route_of(request)
        method, status = str(request.method), response.status_code
        metrics.request_took(method=method, route=route, status=status, seconds=seconds)
        if requests.isEnabledFor(logging.INFO):
            fields = {"method": method, "route": route, "status": status}
            requests.info(
                "%s %s %d in %.3f s",
                method,
                route,
                status,
                seconds,
                extra={**fields, "seconds": round(seconds, 6)},
            )
        return response
