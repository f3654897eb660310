"""The history of one's own scans."""

from __future__ import annotations

from urllib.parse import urlencode
from uuid import UUID

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse, StreamingHttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_safe

from predictions.answer_diff import changes
from predictions.history_csv import csv_lines
from predictions.ids import as_uuid
from predictions.models import Label, Prediction
from predictions.owners import Owner, owner_of
from predictions.presentation import NOT_A_DIAGNOSIS, describe
from predictions.selectors import (
    LOOK_AT,
    STATES,
    Filters,
    export_rows,
    history_page,
    latest_runs,
    prediction_for,
    predictions_of,
    scans_of,
    with_latest,
)
from predictions.services.deletion import delete_scans
from predictions.views.submission import submit


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def scans(request: HttpRequest) -> HttpResponse:
    """GET: a page of the history. POST: submit scans."""
    if request.method == "POST":
        return submit(request)
    filters = Filters.from_query(request.GET)
    page = history_page(
        owner_of(request),
        filters,
        older_than=as_uuid(request.GET.get("older")),
        newer_than=as_uuid(request.GET.get("newer")),
    )
    query = request.GET.copy()
    paged = [query.pop(key, None) for key in ("older", "newer")]
    if any(paged) and not page.scans and not page.stopped_at:
        # What stood on this page has been deleted in another tab.
        return redirect(f"{request.path}?{query.urlencode()}")
    context = {
        "page": page,
        # Without scripts the page reloads itself until all have their answers; not where somebody
        # is looking for something, whose choices would be lost.
        "waiting": not query and any(scan.latest.is_active for scan in page.scans),  # type: ignore[attr-defined]  # set by the selector
        "filters": filters,
        "filtered": filters != Filters(),
        "query": query.urlencode(),
        "states": STATES,
        "labels": Label.choices,
        "looked_at": LOOK_AT,
    }
    return render(request, "predictions/history.html", context)


@never_cache
@require_safe
def export(request: HttpRequest) -> StreamingHttpResponse:
    """The filtered history as CSV, a line a prediction, sent as it is read."""
    rows = export_rows(owner_of(request), Filters.from_query(request.GET))
    lines = csv_lines(rows.iterator(chunk_size=500))
    response = StreamingHttpResponse(lines, content_type="text/csv; charset=utf-8")
    response["Content-Disposition"] = 'attachment; filename="tumorsite-history.csv"'
    return response


@never_cache
@require_http_methods(["GET", "POST"])
def delete_many(request: HttpRequest) -> HttpResponse:
    """Ask first, then delete the chosen scans."""
    if request.method == "GET":
        # The question's address, opened anew.
        return redirect("history")
    ids = [pk for value in request.POST.getlist("scan") if (pk := as_uuid(value))]
    chosen = scans_of(owner_of(request)).filter(pk__in=ids)
    shown = with_latest(chosen)
    if not shown:
        # Said of strangers' scans as well, so it tells nothing of them.
        gone = "They are not in your history any more." if ids else "No scan was chosen."
        messages.info(request, gone)
        return redirect("history")
    if "confirmed" not in request.POST:
        return render(request, "predictions/confirm_delete.html", {"scans": shown})
    count = delete_scans(scans=chosen)
    messages.success(request, f"{count} scan{'s' if count != 1 else ''} deleted.")
    return redirect("history")


def _latest_of(owner: Owner, scan_ids: list[UUID]) -> list[UUID]:
    """The predictions that stand for the owner's scans."""
    runs = predictions_of(owner).filter(scan__in=scan_ids).order_by("id")
    return [run.pk for run in latest_runs(runs).values()]


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def compare(request: HttpRequest) -> HttpResponse:
    """Two results side by side. POST: those of two scans chosen in the history."""
    owner = owner_of(request)
    if request.method == "POST":
        scan_ids = [pk for value in request.POST.getlist("scan") if (pk := as_uuid(value))]
        chosen = _latest_of(owner, scan_ids)
        if len(chosen) == 2:
            query = urlencode({"result": chosen}, doseq=True)
            return redirect(f"{reverse('compare')}?{query}")
    else:
        chosen = [pk for value in request.GET.getlist("result") if (pk := as_uuid(value))]
    if len(chosen) != 2:
        messages.info(request, "Choose exactly two results to compare.")
        return redirect("history")
    try:
        pair = [prediction_for(owner, pk) for pk in chosen]
    except Prediction.DoesNotExist:
        raise Http404 from None
    findings = [(prediction, describe(prediction)) for prediction in pair]
    context = {
        "findings": findings,
        "not_a_diagnosis": NOT_A_DIAGNOSIS,
        "shares": _shares_by_label(pair),
        # Of one picture, seen by two networks: how far the areas agree.
        "changes": changes(*sorted(pair, key=lambda run: run.pk)),
    }
    return render(request, "predictions/compare.html", context)


def _shares_by_label(
    pair: list[Prediction],
) -> list[tuple[str, list[tuple[float | None, bool]]]]:
    """Of each class, its name and its probability in each result, None where there is no answer.

    With each, whether it is not to be relied on.
    A refused picture has numbers too, but they say nothing: the network knows brains only.
    """
    answers = [run.probabilities if run.label else {} for run in pair]
    return [
        (
            name,
            [(shares.get(label), run.flagged) for run, shares in zip(pair, answers, strict=True)],
        )
        for label, name in Label.choices
    ]
