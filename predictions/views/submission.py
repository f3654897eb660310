"""The front page with its drop zone, the upload, and the page about the network."""

from __future__ import annotations

import logging
from typing import Any

from django.conf import settings
from django.contrib import messages
from django.core.files.uploadedfile import UploadedFile
from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.middleware.csrf import get_token
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from mltasks.images import ImageError
from predictions.front_figures import front_figures
from predictions.model_figures import model_figures
from predictions.models import Prediction
from predictions.owners import SessionGoneError, begin_visit, owner_of, session_is_gone
from predictions.selectors import recent_scans
from predictions.services.ownership import stored
from predictions.services.registry import NoModelError, in_production
from predictions.services.submission import BusyError, display_name, submit_scan
from predictions.storage import StorageUnavailableError
from tumorsite.http import problem, wants_json
from tumorsite.throttle import client_address, retry_after

logger = logging.getLogger(__name__)

FIELD = "images"
# With scripts each picture is a request of its own, so that more can be chosen than come in one.
MOST_IN_LINE = 50

NOT_NOW = "The site cannot store pictures at the moment. Nothing was saved; please try again soon."
NO_MODEL = "No network is in service at the moment. Please try again later."
BUSY = "Many large pictures are being read at the moment. Please try again in a minute."
SESSION_GONE = (
    "You have signed in or out meanwhile, perhaps in another tab. Nothing was saved: reload the "
    "page and send the picture again."
)
NO_RECORDS = "The site cannot record pictures at the moment. Please try again in a minute."
# Faults of the site that pass, and what is said of each.
PASSING: dict[type[Exception], str] = {
    StorageUnavailableError: NOT_NOW,
    NoModelError: NO_MODEL,
    BusyError: BUSY,
    OperationalError: NO_RECORDS,
    InterfaceError: NO_RECORDS,
}


@never_cache
@require_safe
def home(request: HttpRequest) -> HttpResponse:
    return render(request, "predictions/home.html", _home_context(request))


def _home_context(request: HttpRequest) -> dict[str, Any]:
    return {
        "recent": recent_scans(owner_of(request)),
        "most_at_once": settings.UPLOADS_AT_ONCE,
        "most_in_line": MOST_IN_LINE,
        "figures": front_figures(),
    }


@require_safe
def about_model(request: HttpRequest) -> HttpResponse:
    """What the network in service is, and how often it errs."""
    model = in_production()
    figures = model_figures(model.card) if model else None
    return render(request, "predictions/about_model.html", {"model": model, "figures": figures})


def submit(request: HttpRequest) -> HttpResponse:
    """Take the uploaded files one by one; a bad one does not stop the others."""
    files = request.FILES.getlist(FIELD)
    refused = throttled(request, len(files))
    if refused is not None:
        return refused
    if not files:
        return _answer(request, [], [("", "No picture was chosen. Choose one or more first.")], 400)
    if len(files) > settings.UPLOADS_AT_ONCE:
        fault = f"Please send up to {settings.UPLOADS_AT_ONCE} pictures at once."
        return _answer(request, [], [("", fault)], 400)
    queued: list[Prediction] = []
    faults: list[tuple[str, str]] = []
    # Without an answer, the gravest of the faults: waiting helps if it is the store's.
    status = 0
    try:
        # A new session in its place could undo a sign-in, whose cookie the browser has by now. A
        # page without scripts has its session once more.
        if wants_json(request) and session_is_gone(request):
            raise SessionGoneError
        owner = begin_visit(request)
    except SessionGoneError:
        return _session_gone(request)
    for file in files:
        try:
            queued.append(_submit_one(file, owner.user, owner.visitor))
        except ImageError as error:
            faults.append((display_name(file.name or ""), error.message))
            status = max(status, 413 if error.code == "too_large" else 422)
        except tuple(PASSING) as error:
            logger.warning("an upload has to come again", exc_info=True)
            said = next(words for kind, words in PASSING.items() if isinstance(error, kind))
            faults.append((display_name(file.name or ""), said))
            status = max(status, 503)
    if owner.visitor and queued:
        stored.send(sender=submit, visitor=owner.visitor)
    return _answer(request, queued, faults, 201 if queued else status)


@never_cache
@require_safe
def visit(request: HttpRequest) -> HttpResponse:
    """What the page's script asks for before it sends pictures: a session, and the form's token.

    The session is there within milliseconds. Begun with the first upload, it would take seconds,
    in which the same browser may sign in elsewhere.
    """
    try:
        begin_visit(request)
    except SessionGoneError:
        return _session_gone(request)
    return JsonResponse({"token": get_token(request)})


def _session_gone(request: HttpRequest) -> HttpResponse:
    if wants_json(request):
        return JsonResponse({"error": SESSION_GONE, "code": "session_gone"}, status=409)
    return _answer(request, [], [("", SESSION_GONE)], 409)


def _submit_one(file: UploadedFile, user: Any, visitor: Any) -> Prediction:
    return submit_scan(file=file, name=file.name or "", owner=user, visitor=visitor)  # type: ignore[arg-type]  # an upload reads like a file


def throttled(request: HttpRequest, count: int) -> HttpResponse | None:
    """The answer to whoever asks for more analyses a minute than is allowed, else None.

    Counted by address and, signed in, by account.
    """
    who = [client_address(request)]
    if request.user.is_authenticated:
        who.append(f"user-{request.user.pk}")
    limit = settings.SUBMISSIONS_PER_MINUTE
    wait = max(retry_after("submissions", name, limit, max(1, count)) for name in who)
    if not wait:
        return None
    response = problem(request, 429, f"That was a lot of scans. Please wait {wait} seconds.")
    response["Retry-After"] = str(wait)
    return response


def _answer(
    request: HttpRequest, queued: list[Prediction], faults: list[tuple[str, str]], status: int
) -> HttpResponse:
    if wants_json(request):
        results = [
            {
                "id": str(prediction.pk),
                "name": prediction.scan.name,
                "url": prediction.get_absolute_url(),
                "state_url": reverse("state", args=[prediction.pk]),
            }
            for prediction in queued
        ]
        errors = [{"name": name, "message": message} for name, message in faults]
        return JsonResponse({"results": results, "errors": errors}, status=status)
    if not queued:
        context = {**_home_context(request), "faults": faults}
        return render(request, "predictions/home.html", context, status=status)
    for name, message in faults:
        messages.error(request, f"{name}: {message}" if name else message)
    # The page that waits reloads itself at once, and would show the faults for moments only.
    if len(queued) == 1 and not faults:
        return redirect(queued[0])
    return redirect("history")
