"""Staff need a second factor where the operator says so; people see where they are signed in."""

import hashlib
from collections.abc import Callable

from allauth.mfa.utils import is_mfa_enabled
from allauth.usersessions.models import UserSession
from django.conf import settings
from django.contrib import messages
from django.core.cache import cache
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect

from tumorsite.throttle import client_address

GetResponse = Callable[[HttpRequest], HttpResponse]


class StaffSecondFactorMiddleware:
    """Sends staff without a second factor to set one up, before any page of theirs."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        guarded = request.path.startswith(("/admin/", "/cms/", "/training/"))
        if (
            guarded
            and settings.STAFF_MFA_REQUIRED
            and request.user.is_authenticated
            and not is_mfa_enabled(request.user)
        ):
            messages.warning(request, "Staff need a second factor. Please set one up first.")
            return redirect("mfa_index")
        return self.get_response(request)


class SessionActivityMiddleware:
    """Notes when and from where each session was last used, at most once in five minutes.

    Not for every request: a page with thirty pictures makes thirty of them.
    """

    SECONDS = 300

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if request.user.is_authenticated:
            place = f"{request.session.session_key} {client_address(request)}"
            # Hashed: whoever reads the cache must not learn the keys of sessions.
            key = f"session-seen:{hashlib.sha256(place.encode()).hexdigest()}"
            if cache.add(key, 1, self.SECONDS):
                UserSession.objects.create_from_request(request)
        return self.get_response(request)
