"""The throttle and the upload limit."""

import logging
from collections.abc import Callable
from contextlib import suppress

from django.conf import settings
from django.contrib.sessions.middleware import SessionMiddleware
from django.http import HttpRequest, HttpResponse, UnreadablePostError
from django.utils.cache import patch_vary_headers

from tumorsite.http import problem
from tumorsite.throttle import client_address, retry_after

logger = logging.getLogger(__name__)

NO_ROOM = "The site cannot take files at the moment. Nothing was saved; please try again soon."
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
    """Refuses a body whose announced length is too large, or for which there is no room on disk."""

    # A browser shows no answer while it is still sending, so a small excess is read to its end.
    DRAIN_BYTES = 256 * 1024 * 1024

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        try:
            length = int(request.META.get("CONTENT_LENGTH") or 0)
        except ValueError:
            length = 0
        if length <= settings.MAX_UPLOAD_BYTES * settings.UPLOADS_AT_ONCE:
            return self.get_response(request)
        self._drain(request, length)
        megabytes = settings.MAX_UPLOAD_BYTES // (1024 * 1024)
        return problem(
            request, 413, f"That upload is too large: a file may have up to {megabytes} MB."
        )

    def process_view(
        self, request: HttpRequest, view: object, args: object, kwargs: object
    ) -> HttpResponse | None:
        """Read a form here, as the disk to which large files of it are written may be full.

        Otherwise the check of its CSRF token, which comes next, would be the first to read it.
        """
        if request.content_type != "multipart/form-data":
            return None
        try:
            _ = request.POST
        except UnreadablePostError:
            # Whoever sent it is gone.
            return None
        except OSError:
            logger.exception("a form could not be received")
            self._drain(request, self.DRAIN_BYTES)
            return problem(request, 503, NO_ROOM)
        return None

    def _drain(self, request: HttpRequest, left: int) -> None:
        left = min(left, self.DRAIN_BYTES)
        with suppress(UnreadablePostError):  # Whoever sends may give up.
            self._read(request, left)

    @staticmethod
    def _read(request: HttpRequest, left: int) -> None:
        while left > 0 and (chunk := request.read(min(left, 1024 * 1024))):
            left -= len(chunk)


class SteadySessionMiddleware(SessionMiddleware):
    """Leaves the cookie of a session that has ended to the request that ended it.

    Signing in gives the browser a new session. Requests that were under way with the one before
    may be answered later, and Django's own would then take away the new cookie.
    """

    def process_response(self, request: HttpRequest, response: HttpResponse) -> HttpResponse:
        session = request.session
        if session.accessed and session.is_empty() and not session.modified:
            patch_vary_headers(response, ("Cookie",))
            return response
        answered: HttpResponse = super().process_response(request, response)
        return answered
