"""What every request passes beside its id for the logs: the throttle and the upload limit."""

from collections.abc import Callable

from django.conf import settings
from django.http import HttpRequest, HttpResponse

from tumorsite.http import problem
from tumorsite.throttle import client_address, retry_after

GetResponse = Callable[[HttpRequest], HttpResponse]


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
