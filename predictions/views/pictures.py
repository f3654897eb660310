"""Pictures and reports: permission, audit row, then the bytes."""

from __future__ import annotations

import hashlib
import logging
from contextlib import nullcontext
from uuid import UUID

from django.db import DatabaseError
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils.cache import get_conditional_response
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from mltasks.images import LARGE
from predictions import storage
from predictions.models import Prediction
from predictions.owners import owner_of
from predictions.report import PictureLostError, report_pdf
from predictions.services.auditing import record_access
from predictions.services.submission import BusyError, turn_of_large
from predictions.views.results import owned_or_404
from predictions.views.submission import BUSY
from tumorsite.http import problem

logger = logging.getLogger(__name__)

FOREVER = "private, max-age=31536000, immutable"
DRAWING_ONLY = "default-src 'none'; sandbox"
NOT_NOW = "The picture cannot be fetched at the moment. It is not lost; please try again soon."
GONE = (
    "A picture of this result can no longer be read, so there is no report. "
    "Upload the scan again for a new result."
)


def _disposition(request: HttpRequest, prediction: Prediction, name: str) -> str:
    """Names a download by the record, as the person's own file name may say who they are."""
    way = "attachment" if "download" in request.GET else "inline"
    return f'{way}; filename="tumorsite-{str(prediction.pk)[-12:]}-{name}"'


def _record(request: HttpRequest, prediction: Prediction, kind: str) -> None:
    owner = owner_of(request)
    record_access(prediction=prediction, kind=kind, user=owner.user, visitor=owner.visitor)


@require_safe
def picture(request: HttpRequest, prediction_id: UUID, kind: str, suffix: str) -> HttpResponse:
    """One picture of one's own result."""
    return deliver(request, owned_or_404(request, prediction_id), kind, suffix)


def deliver(request: HttpRequest, prediction: Prediction, kind: str, suffix: str) -> HttpResponse:
    """Hand out a picture to someone who has been found to be allowed to see it."""
    key = prediction.picture_key(kind)
    if not key.endswith(f".{suffix}"):
        raise Http404
    try:
        _record(request, prediction, kind)
    except DatabaseError:
        # A full disk, perhaps. Nothing is handed out that is not written down.
        logger.exception("a picture could not be handed out")
        return problem(request, 503, NOT_NOW)
    disposition = _disposition(request, prediction, f"{kind}.{suffix}")
    try:
        signed = storage.signed_url(
            key,
            ResponseCacheControl=FOREVER,
            ResponseContentType=storage.content_type(key),
            ResponseContentDisposition=disposition,
        )
        if signed:
            response: HttpResponse = redirect(signed)
            response["Cache-Control"] = "private, no-store"
            return response
        content = storage.get(key)
    except FileNotFoundError:
        raise Http404 from None
    except storage.StorageUnavailableError:
        return problem(request, 503, NOT_NOW)
    etag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
    response = HttpResponse(content, content_type=storage.content_type(key))
    response["Content-Disposition"] = disposition
    response["ETag"] = etag
    response["Cache-Control"] = FOREVER
    response = get_conditional_response(request, etag=etag, response=response) or response
    if suffix == "svg":
        # Opened by itself a drawing is a page; ours needs nothing that a page may have.
        response["Content-Security-Policy"] = DRAWING_ONLY
    return response


@never_cache
@require_safe
def report(request: HttpRequest, prediction_id: UUID) -> HttpResponse:
    """The one-page PDF of a result."""
    prediction = owned_or_404(request, prediction_id)
    if not prediction.label:
        raise Http404
    scan = prediction.scan
    large = scan.width * scan.height > LARGE
    try:
        _record(request, prediction, "report")
        with turn_of_large() if large else nullcontext():
            content = report_pdf(prediction)
    except BusyError:
        return problem(request, 503, BUSY)
    except (DatabaseError, storage.StorageUnavailableError):
        logger.exception("a report could not be handed out")
        return problem(request, 503, NOT_NOW)
    except PictureLostError as error:
        logger.warning("no report of %s: %s cannot be read", prediction.pk, error)
        return problem(request, 410, GONE)
    response = HttpResponse(content, content_type="application/pdf")
    name = f"tumorsite-{str(prediction.pk)[-12:]}.pdf"
    response["Content-Disposition"] = f'attachment; filename="{name}"'
    return response
