"""One result: its page, its state while it waits, and what its owner may do with it."""

from __future__ import annotations

import math
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_safe

from predictions.answer_diff import changes
from predictions.models import WITHOUT_RESULT, Prediction, Scan, Status
from predictions.owners import owner_of
from predictions.presentation import NOT_A_DIAGNOSIS, describe, error_rates
from predictions.selectors import (
    newer_model,
    other_runs,
    place_in_line,
    prediction_for,
    with_latest,
)
from predictions.services.deletion import delete_scans
from predictions.services.lifecycle import cancel as cancel_prediction
from predictions.services.registry import NoModelError
from predictions.services.submission import run_again
from predictions.views.submission import throttled
from tumorsite.http import problem

GONE = "It has been deleted already, perhaps in another tab, or it is not yours to see."
# Longer than this, and whoever waits is told that it is not as usual.
LATE_SECONDS = 10


def owned_or_404(request: HttpRequest, prediction_id: UUID) -> Prediction:
    """The prediction, if it is this visitor's; whose it is otherwise is nobody's business."""
    try:
        return prediction_for(owner_of(request), prediction_id)
    except Prediction.DoesNotExist:
        raise Http404 from None


def _state(prediction: Prediction) -> dict[str, Any]:
    return {
        "status": prediction.status,
        "standing": prediction.display_status,
        "text": prediction.display_status_words,
        "place": place_in_line(prediction),
        "attempt": prediction.attempt,
        "finished": not prediction.is_active,
        "message": prediction.message,
        "label": prediction.get_label_display(),
        "short": prediction.short_answer,
        "prediction_set": prediction.prediction_set,
        "flagged": prediction.flagged,
        "committed": prediction.committed,
        "finding": "" if prediction.is_active else describe(prediction).headline,
        "url": prediction.get_absolute_url(),
    }


@never_cache
@require_safe
def result(request: HttpRequest, prediction_id: UUID) -> HttpResponse:
    """The answer, or while there is none yet, the state of its making."""
    prediction = owned_or_404(request, prediction_id)
    context: dict[str, Any] = {"prediction": prediction, "scan": prediction.scan}
    if prediction.is_active:
        context["state"] = _state(prediction)
        waited = (timezone.now() - prediction.queued_at).total_seconds()
        context["late_after"] = max(0, math.ceil(LATE_SECONDS - waited))
        return render(request, "predictions/wait.html", context)
    context["runs"] = runs = list(other_runs(prediction))
    context["finding"] = describe(prediction)
    context["not_a_diagnosis"] = NOT_A_DIAGNOSIS
    if prediction.status == Status.SUCCEEDED:
        context["error_rates"] = error_rates(prediction)
        # The last answer that another network gave before this one.
        before = next(
            (
                run
                for run in runs
                if run.status == Status.SUCCEEDED
                and run.pk < prediction.pk
                and run.model_version_id != prediction.model_version_id
            ),
            None,
        )
        context["changes"] = changes(before, prediction) if before else None
    context["newer"] = newer = newer_model(prediction)
    context["newer_run"] = next(
        (
            run
            for run in runs
            if newer and run.model_version_id == newer.pk and run.status not in WITHOUT_RESULT
        ),
        None,
    )
    return render(request, "predictions/result.html", context)


@never_cache
@require_safe
def state(request: HttpRequest, prediction_id: UUID) -> JsonResponse:
    return JsonResponse(_state(owned_or_404(request, prediction_id)))


@require_http_methods(["GET", "POST"])
def cancel(request: HttpRequest, prediction_id: UUID) -> HttpResponse:
    prediction = owned_or_404(request, prediction_id)
    if request.method == "GET":
        # The address of a form, opened anew.
        return redirect(prediction)
    if not cancel_prediction(prediction=prediction):
        messages.info(request, "The analysis had already ended.")
    return redirect(prediction)


@require_http_methods(["GET", "POST"])
def again(request: HttpRequest, prediction_id: UUID) -> HttpResponse:
    prediction = owned_or_404(request, prediction_id)
    if request.method == "GET":
        return redirect(prediction)
    refused = throttled(request, 1)
    if refused is not None:
        return refused
    try:
        return redirect(run_again(prediction=prediction))
    except NoModelError:
        messages.error(request, "No network is in service at the moment.")
        return redirect(prediction)
    except Scan.DoesNotExist:
        # Deleted in another tab since it was looked up.
        raise Http404 from None


@never_cache
@require_http_methods(["GET", "POST"])
def delete(request: HttpRequest, prediction_id: UUID) -> HttpResponse:
    """GET asks, POST deletes the scan with every run on it."""
    try:
        prediction = owned_or_404(request, prediction_id)
    except Http404:
        return problem(request, 404, GONE)
    if request.method == "GET":
        shown = with_latest([prediction.scan])
        if not shown:
            # Deleted in another tab since it was looked up.
            return problem(request, 404, GONE)
        context = {
            "scans": shown,
            "action": request.path,
            "back": reverse("result", args=[prediction.pk]),
        }
        return render(request, "predictions/confirm_delete.html", context)
    delete_scans(scans=Scan.objects.filter(pk=prediction.scan_id))
    messages.success(request, "The scan and its results were deleted.")
    return redirect("history")
