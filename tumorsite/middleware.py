"""What every request passes: an id for the logs, the throttle and the upload limit."""

import logging
import uuid
from collections.abc import Callable
from contextvars import ContextVar

from django.conf import settings
from django.http import HttpRequest, HttpResponse

from tumorsite.http import problem
from tumorsite.throttle import client_address, retry_after

GetResponse = Callable[[HttpRequest], HttpResponse]

_request_id: ContextVar[str] = ContextVar("request_id", default="-")


class RequestIdFilter(logging.Filter):
    """Puts the id of the current request into each log record."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.request_id = _request_id.get()
        return True


class RequestIdMiddleware:
    """Names each request, in the logs and in the response, so that people can quote it."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        token = _request_id.set(uuid.uuid4().hex[:12])
        try:
            response = self.get_response(request)
            response["X-Request-ID"] = _request_id.get()
            return response
        finally:
            _request_id.reset(token)


class ThrottleMiddleware:
    """Answers 429 once an address has used up its requests of the minute."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if not request.path.startswith("/health/"):
            wait = retry_after("requests", client_address(request), settings.REQUESTS_PER_MINUTE)
            if wait:
                message = f"Too many requests. Please wait {wait} seconds and try again."
                response = problem(request, 429, message)
                response["Retry-After"] = str(wait)
                return response
        return self.get_response(request)


class UploadLimitMiddleware:
    """Refuses a body that is too large by its announced length, before any of it is parsed."""

    # Room for the other fields of a form and for several files at once.
    FILES_AT_ONCE = 10
    # A browser shows no answer while it is still sending, so a small excess is read to its end.
    DRAIN_BYTES = 256 * 1024 * 1024

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        try:
            length = int(request.META.get("CONTENT_LENGTH") or 0)
        except ValueError:
            length = 0
        if length <= settings.MAX_UPLOAD_BYTES * self.FILES_AT_ONCE:
            return self.get_response(request)
        left = min(length, self.DRAIN_BYTES)
        while left > 0 and (chunk := request.read(min(left, 1024 * 1024))):
            left -= len(chunk)
        megabytes = settings.MAX_UPLOAD_BYTES // (1024 * 1024)
        return problem(
            request, 413, f"That upload is too large: a file may have up to {megabytes} MB."
        )
