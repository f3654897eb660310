"""The account page, and what people may do with all their data at once."""

from __future__ import annotations

import logging
from typing import cast

from allauth.account.decorators import reauthentication_required
from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from allauth.usersessions.models import UserSession
from django.contrib import messages
from django.contrib.auth import logout
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_safe

from accounts.models import User
from accounts.services.erasure import LastAdministratorError, request_erasure
from accounts.services.export import export_account
from predictions.owners import owner_of
from predictions.selectors import scans_of
from predictions.storage import StorageUnavailableError
from tumorsite.http import problem

logger = logging.getLogger(__name__)

NOT_NOW = (
    "Your data cannot be collected at the moment, because your pictures cannot be read. "
    "Nothing is lost; please try again soon."
)
LAST_ADMINISTRATOR = (
    "Yours is the only administrator's account. Give somebody else these rights first."
)
GOODBYE = (
    "Your account is closed and your address is gone. Your scans are being erased now, "
    "with every picture."
)


def _user(request: HttpRequest) -> User:
    """The signed-in person, which the decorators have made sure of."""
    return cast("User", request.user)


@never_cache
@login_required
@require_safe
def overview(request: HttpRequest) -> HttpResponse:
    user = _user(request)
    factors = Authenticator.objects.filter(user=user)
    context = {
        "address": EmailAddress.objects.filter(user=user, primary=True).first(),
        "has_app": factors.filter(type=Authenticator.Type.TOTP).exists(),
        "passkeys": factors.filter(type=Authenticator.Type.WEBAUTHN).count(),
        "sessions": len(UserSession.objects.purge_and_list(user)),
        "scans": scans_of(owner_of(request)).count(),
    }
    return render(request, "accounts/overview.html", context)


@never_cache
@reauthentication_required
@require_http_methods(["GET", "POST"])
def export(request: HttpRequest) -> HttpResponseBase:
    """GET explains what one gets, POST sends it as it is collected."""
    if request.method == "GET":
        scans = scans_of(owner_of(request)).count()
        return render(request, "accounts/export.html", {"scans": scans})
    try:
        archive = export_account(user=_user(request))
    except StorageUnavailableError as error:
        logger.warning("somebody's data could not be collected: %s", type(error).__name__)
        return problem(request, 503, NOT_NOW)
    logger.info("an account's data were handed out")
    name = f"tumorsite-data-{timezone.now():%Y-%m-%d}.zip"
    response = StreamingHttpResponse(archive, content_type="application/zip")
    response["Content-Disposition"] = f'attachment; filename="{name}"'
    return response


@never_cache
@reauthentication_required
@require_http_methods(["GET", "POST"])
def erase(request: HttpRequest) -> HttpResponse:
    """GET asks, POST closes the account."""
    if request.method == "POST" and "confirmed" in request.POST:
        try:
            request_erasure(user=_user(request))
        except LastAdministratorError:
            messages.error(request, LAST_ADMINISTRATOR)
            return redirect("account")
        logout(request)
        messages.success(request, GOODBYE)
        return redirect("home")
    context = {
        "scans": scans_of(owner_of(request)).count(),
        "unconfirmed": request.method == "POST",
    }
    return render(request, "accounts/erase.html", context)
