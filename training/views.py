"""Pages for data scientists: what is being trained, how it went, what the gate says of it."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any
from uuid import UUID

from django.conf import settings
from django.core.cache import cache
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from predictions import storage
from predictions.services import artifacts, drift, registry, shadowing
from predictions.shadow_report import shadow_report
from predictions.storage import StorageUnavailableError
from training.models import TrainingRun
from training.presentation import run_view
from training.triggers import LOOK_KEY
from tumorsite.http import problem

View = Callable[..., HttpResponse]
# Runs on one page; the admin has all of them.
SHOWN = 50
# What neither list nor page of runs shows.
LARGE = ("curves", "recipe_text", "candidate__card")


def for_data_scientists(view: View) -> View:
    """To staff who may see training runs; for all others there is no such page."""

    @never_cache
    @require_safe
    @wraps(view)
    def guarded(request: HttpRequest, **arguments: Any) -> HttpResponse:
        user = request.user
        if not (user.is_active and user.is_staff and user.has_perm("training.view_trainingrun")):
            raise Http404
        return view(request, **arguments)

    return guarded


@for_data_scientists
def runs(request: HttpRequest) -> HttpResponse:
    rows = TrainingRun.objects.select_related("candidate").defer(*LARGE)[:SHOWN]
    context = {
        "runs": [run_view(run) for run in rows],
        "production": registry.in_production(),
        "look": cache.get(LOOK_KEY),
        "live": any(run.status in TrainingRun.ACTIVE for run in rows),
    }
    return render(request, "training/runs.html", context | _production())


def _production() -> dict[str, Any]:
    """What is known of the network that answers, and of the one in its shadow."""
    shadowed = shadowing.in_shadow()
    return {
        "drift": drift.latest(),
        "DRIFT_HOURS": settings.DRIFT_HOURS,
        "shadow": shadow_report(shadowed) if shadowed else None,
        "SHADOW_PERCENT": settings.SHADOW_PERCENT,
    }


@for_data_scientists
def run(request: HttpRequest, *, run_id: UUID) -> HttpResponse:
    # Asked for every few seconds while it runs; what is large is shown by other addresses.
    rows = TrainingRun.objects.select_related("candidate").defer(*LARGE)
    row = get_object_or_404(rows, pk=run_id)
    context = {"view": run_view(row), "run": row, "live": row.status in TrainingRun.ACTIVE}
    return render(request, "training/run.html", context)


@for_data_scientists
def curves(request: HttpRequest, *, run_id: UUID) -> HttpResponse:
    row = get_object_or_404(TrainingRun.objects.only("curves"), pk=run_id)
    if not row.curves:
        raise Http404
    return HttpResponse(row.curves, content_type="image/svg+xml")


@for_data_scientists
def card(request: HttpRequest, *, run_id: UUID) -> HttpResponse:
    """The model card as it lies beside the network."""
    row = get_object_or_404(TrainingRun.objects.select_related("candidate"), pk=run_id)
    if row.candidate is None or not row.candidate.artifact:
        raise Http404
    try:
        text = storage.get(artifacts.key(row.candidate.artifact, "MODEL_CARD.md")).decode()
    except FileNotFoundError:
        raise Http404 from None
    except StorageUnavailableError:
        return problem(request, 503, "The card cannot be fetched now. Please try again soon.")
    return render(request, "training/card.html", {"run": row, "text": text})
