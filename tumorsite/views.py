"""The public pages that hold no records, and the pages for errors."""

import sys
from urllib.parse import urlsplit

from django.conf import settings
from django.core.exceptions import DisallowedHost, PermissionDenied, TooManyFilesSent
from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse
from django.templatetags.static import static
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.http import require_safe
from django.views.generic import RedirectView

from tumorsite.http import problem

WRONG_HOST = (
    "The site does not answer to the address that it was called by. Whoever runs it can add the "
    "host name in that address to the setting ALLOWED_HOSTS."
)

NO_DATABASE = (
    "The site cannot reach its records at the moment. What you just asked for may not have been "
    "done: look again in a minute."
)


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    """A form that was open too long, or came from elsewhere."""
    return problem(
        request,
        403,
        "This form has expired, perhaps because you signed in or out in another tab. "
        "Nothing was changed.",
        template="expired_form.html",
        form=_form_of(request),
    )


def _form_of(request: HttpRequest) -> str:
    """The page of this site that a form was sent from, else the address it was sent to."""
    source = request.headers.get("Referer", "")
    if url_has_allowed_host_and_scheme(source, {request.get_host()}):
        parts = urlsplit(source)
        place = parts._replace(scheme="", netloc="", fragment="").geturl()
    else:
        place = request.path
    return place if url_has_allowed_host_and_scheme(place, None) else ""


def bad_request(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    if isinstance(exception, DisallowedHost):
        return problem(request, 400, WRONG_HOST, template="wrong_host.html")
    message = "The site could not make sense of this request. Nothing was changed."
    if isinstance(exception, TooManyFilesSent):
        message = (
            "That was too many files at once. Nothing from this upload was kept. "
            f"Send up to {settings.UPLOADS_AT_ONCE} pictures at once."
        )
    return problem(request, 400, message)


def forbidden(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    return problem(
        request, 403, "It belongs to another account, or needs rights that yours does not have."
    )


def not_found(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    return problem(request, 404, "There is no such page, or it is not yours to see.")


def too_many_requests(request: HttpRequest) -> HttpResponse:
    return problem(request, 429, "That was tried too often. Please wait a few minutes.")


def server_error(request: HttpRequest) -> HttpResponse:
    """A fault of our own; where the database is locked or away, one that passes."""
    if isinstance(sys.exception(), OperationalError | InterfaceError):
        return problem(request, 503, NO_DATABASE)
    return problem(request, 500, "Something went wrong on our side. What was stored is kept.")


PRIVATE = ("account", "admin", "cms", "health", "results", "scans", "training")


@require_safe
def robots(request: HttpRequest) -> HttpResponse:
    """Search engines have no business with records and forms; there they would only find 404s."""
    lines = ["User-agent: *", *(f"Disallow: /{place}/" for place in PRIVATE)]
    return HttpResponse("\n".join(lines) + "\n", content_type="text/plain")


class Favicon(RedirectView):
    """For those who ask for the icon by its old name without having read a page."""

    def get_redirect_url(self) -> str:
        return static("icons/favicon.svg")


class SignIn(RedirectView):
    """Sends to the site's own sign-in where Wagtail asks for one.

    Who has signed in already and lacks the permission would be sent back and forth for ever.
    """

    pattern_name = "account_login"
    query_string = True

    def get_redirect_url(self, permission: str = "") -> str | None:
        user = self.request.user
        if user.is_authenticated and not (permission and user.has_perm(permission)):
            raise PermissionDenied
        return super().get_redirect_url()
