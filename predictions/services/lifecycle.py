"""The life of a prediction: the only code that changes its status.

Each change is one `UPDATE` whose conditions are the status and the attempt as they were read before
(cancelling a whole scan leaves out the attempt); it counts only if it changed a row. Whoever comes
second changes nothing and stops, on SQLite and PostgreSQL alike.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.utils import timezone

from mltasks.inference import Analysis
from predictions import rendering, storage
from predictions.models import (
    ACTIVE,
    TRANSITIONS,
    WITHOUT_RESULT,
    ModelVersion,
    Prediction,
    Scan,
    Status,
)
from predictions.queueing import ANALYZE, send_on_commit
from tumorsite.observability import metrics

logger = logging.getLogger(__name__)

# After this many attempts lost to outages, some eight hours, waiting longer is no help to the
# person who waits.
MAX_OUTAGES = 500
LONGEST_WAIT = 60.0

OUTAGE = (
    "The site could not read or store pictures for hours. Nothing is wrong with your picture: "
    "please run it again."
)
CRASHED = (
    "The analysis stopped several times on this picture. "
    "Please try another export of it, as PNG for example."
)


def _unchanged(prediction: Prediction) -> QuerySet[Prediction]:
    return Prediction.objects.filter(
        pk=prediction.pk, status=prediction.status, attempt=prediction.attempt
    )


def _about(prediction: Prediction) -> dict[str, object]:
    """The fields of a log record that say which job it is about."""
    return {"prediction_id": str(prediction.pk), "attempt": prediction.attempt}


def _move(prediction: Prediction, to: Status, **values: Any) -> bool:
    """Change the status if nobody else has changed it since `prediction` was read."""
    if to not in TRANSITIONS[Status(prediction.status)]:
        return False
    changed = _unchanged(prediction).update(status=to, **values)
    if changed:
        prediction.status = to
        for name, value in values.items():
            setattr(prediction, name, value)
        if to not in ACTIVE:
            metrics.ended(to.value)
    return bool(changed)


def enqueue(prediction_id: UUID) -> None:
    """Send the task once the present transaction has been committed."""
    send_on_commit(ANALYZE, str(prediction_id))


def due(now: datetime) -> Q:
    """Rows that may be claimed by now."""
    return Q(not_before__isnull=True) | Q(not_before__lte=now)


def claim(
    *,
    prediction_id: str,
    model_version: ModelVersion,
    task_id: str,
    limit: int,
    fresh: bool = False,
) -> list[Prediction]:
    """Take a queued prediction, and others that wait, for one forward pass.

    A row that has been tried before comes alone: should its picture kill the worker, no other
    row dies with it. Together the pictures have no more pixels than one upload may have, so a
    worker's memory has a bound.

    Args:
        fresh: take none that has been tried before, as the task still holds other rows.

    Returns:
        The rows that are now this task's to finish, empty if another task was first.
    """
    now = timezone.now()
    queued = (
        Prediction.objects.filter(due(now), status=Status.QUEUED, model_version=model_version)
        .select_related("scan")
        .order_by("id")
    )
    if fresh:
        queued = queued.filter(attempt=0)
    # Most rows were claimed in a batch of another message: their own messages need no lock.
    # Asked for in order, or SQLite may look at every row there is once it has statistics.
    if queued.values("pk").first() is None:
        return []
    with transaction.atomic():
        wanted = queued.filter(pk=prediction_id).first()
        if wanted is None:
            # Its own row is done or taken, but this message may serve one whose message was lost.
            wanted = queued.first()
        if wanted is None:
            return []
        rows = [wanted]
        if wanted.attempt == 0 and limit > 1:
            rows += queued.filter(attempt=0).exclude(pk=wanted.pk)[: limit - 1]
            rows = _fitting(rows)
        # All are at the same attempt: one statement compares and sets each.
        mine = Prediction.objects.filter(pk__in=[row.pk for row in rows])
        taken = mine.filter(status=Status.QUEUED, attempt=wanted.attempt).update(
            status=Status.RUNNING,
            attempt=wanted.attempt + 1,
            claimed_by=task_id,
            started_at=now,
            heartbeat_at=now,
            not_before=None,
        )
        if not taken:
            return []
    # Without those that another task has claimed first, or that were cancelled.
    return list(
        mine.filter(status=Status.RUNNING, attempt=wanted.attempt + 1, claimed_by=task_id)
        .select_related("scan")
        .order_by("id")
    )


def _fitting(rows: list[Prediction]) -> list[Prediction]:
    """The first row, and as many after it as fit beside it into MAX_PIXELS."""
    sizes = itertools.accumulate(row.scan.width * row.scan.height for row in rows)
    fitting = sum(size <= settings.MAX_PIXELS for size in sizes)
    return rows[: max(1, fitting)]


def abandoned_by(*, task_id: str) -> list[Prediction]:
    """The rows that an earlier delivery of this very task left running when its worker died."""
    return list(Prediction.objects.filter(status=Status.RUNNING, claimed_by=task_id))


def requeue(*, prediction: Prediction, outage: bool = False, wait: float = 0.0) -> bool:
    """Give a running prediction to another attempt, or fail it if it has had enough of them.

    Args:
        outage: whether storage or database were at fault rather than this picture.
        wait: seconds before which no worker takes it, more with each outage so far.
    """
    outages = prediction.outages + outage
    if outages > MAX_OUTAGES:
        return fail(prediction=prediction, code="outage", message=OUTAGE)
    if prediction.attempt - outages >= settings.MAX_ATTEMPTS:
        failed = fail(prediction=prediction, code="crashed", message=CRASHED)
        if failed:
            metrics.attempts_exhausted()
        return failed
    wait = min(LONGEST_WAIT, wait * 2 ** min(prediction.outages, 10))
    with transaction.atomic():
        moved = _move(
            prediction,
            Status.QUEUED,
            outages=outages,
            claimed_by="",
            heartbeat_at=None,
            not_before=timezone.now() + timedelta(seconds=wait) if wait else None,
        )
        if moved and not wait:
            enqueue(prediction.pk)
    if moved:
        logger.warning(
            "prediction %s goes to another attempt", prediction.pk, extra=_about(prediction)
        )
    return moved


def store_pictures(*, prediction: Prediction, analysis: Analysis) -> dict[str, str]:
    """Store the pictures of an answer; touches no row, so several may run at once.

    The keys hold the attempt, so two attempts never meet.

    Returns:
        The key of each picture by the name of its field, empty for a rejected scan.

    Raises:
        predictions.storage.StorageUnavailableError: not all are stored; try again.
    """
    pictures = rendering.pictures(analysis)
    folder = _folder(prediction)
    for name, content in pictures.items():
        storage.put(f"{folder}{name}", content)
    return {f"{name.partition('.')[0]}_key": f"{folder}{name}" for name in pictures}


def _folder(prediction: Prediction) -> str:
    return f"{prediction.scan.prefix}predictions/{prediction.pk}/{prediction.attempt}/"


def complete(*, prediction: Prediction, analysis: Analysis, keys: dict[str, str]) -> bool:
    """Record an answer whose pictures are stored.

    If another attempt was first, or the scan was deleted meanwhile, this attempt's pictures are
    removed again.

    Args:
        keys: what `store_pictures` returned.

    Returns:
        Whether this attempt's answer is the one that counts.
    """
    values: dict[str, Any] = {
        "finished_at": timezone.now(),
        "probabilities": dict(analysis.probabilities),
        "uncertainty": analysis.uncertainty,
        "ood_score": analysis.unlikeness,
    }
    if analysis.status == "rejected":
        return _move(
            prediction,
            Status.REJECTED,
            error_code="not_a_brain_mri",
            message=analysis.reason[:300],
            **values,
        )
    recorded = _move(
        prediction,
        Status.SUCCEEDED,
        label=analysis.label,
        prediction_set=list(analysis.prediction_set),
        flagged=analysis.flagged,
        committed=analysis.committed,
        area_range=[float(analysis.inner.mean()), float(analysis.outer.mean())]
        if analysis.area.any()
        else None,
        area_fraction=analysis.area_fraction,
        bounding_box=list(analysis.bounding_box) if analysis.bounding_box else None,
        hottest_point=list(analysis.hottest_point) if analysis.hottest_point else None,
        **keys,
        **values,
    )
    if not recorded:
        logger.info("prediction %s was finished elsewhere", prediction.pk, extra=_about(prediction))
        # Unless it was this very attempt: its first UPDATE may have been committed unnoticed.
        if not Prediction.objects.filter(
            pk=prediction.pk, attention_key=keys["attention_key"]
        ).exists():
            storage.delete_prefix(_folder(prediction))
    return recorded


def fail(*, prediction: Prediction, code: str, message: str) -> bool:
    """End a prediction that will have no answer, with a message fit for its owner."""
    failed = _move(
        prediction, Status.FAILED, error_code=code, message=message, finished_at=timezone.now()
    )
    if failed:
        logger.error("prediction %s failed: %s", prediction.pk, code, extra=_about(prediction))
    return failed


def cancel(
    *, prediction: Prediction, message: str = "You stopped it before there was an answer."
) -> bool:
    """Stop a prediction, whether it waits or runs. Its worker finds it cancelled at the end.

    Returns:
        Whether it was this that ended it; one that has been erased meanwhile has ended by itself.
    """
    while prediction.is_active:
        if _move(prediction, Status.CANCELLED, finished_at=timezone.now(), message=message):
            return True
        try:
            prediction.refresh_from_db(fields=["status", "attempt"])
        except Prediction.DoesNotExist:
            return False
    return False


def cancel_all(*, scan_ids: Sequence[UUID]) -> int:
    """Stop every run of these scans."""
    cancelled = Prediction.objects.filter(scan_id__in=scan_ids, status__in=ACTIVE).update(
        status=Status.CANCELLED, finished_at=timezone.now()
    )
    metrics.ended(Status.CANCELLED.value, count=cancelled)
    return cancelled


def reassign_queued(*, to: ModelVersion) -> None:
    """Give queued rows of a model that is no longer in production to the one that is."""
    stale = Prediction.objects.filter(status=Status.QUEUED).exclude(model_version=to)
    if not stale.exists():
        return
    # All at once, except where another run blocks; those one by one.
    with suppress(IntegrityError), transaction.atomic():
        stale.filter(~Exists(blocking_runs(OuterRef("scan"), to))).update(model_version=to)
    for row in stale:
        try:
            with transaction.atomic():
                _unchanged(row).update(model_version=to)
        except IntegrityError:
            cancel(prediction=row, message="A newer network answers this scan instead.")


def reassign_some(*, to: ModelVersion, limit: int) -> None:
    """Give some queued rows to a model that answers while the one in production cannot.

    A scan that it has answered before goes on waiting: the same answer again is of no use.
    """
    waiting = Prediction.objects.filter(due(timezone.now()), status=Status.QUEUED)
    reassigned = (
        waiting.exclude(model_version=to)
        .filter(~Exists(blocking_runs(OuterRef("scan"), to)))
        .order_by("id")
    )
    for row in reassigned[:limit]:
        with suppress(IntegrityError), transaction.atomic():
            _unchanged(row).update(model_version=to)


def blocking_runs(scan: Scan | OuterRef, model_version: ModelVersion) -> QuerySet[Prediction]:
    """Runs of that model on the scan that rule out another one."""
    runs = Prediction.objects.filter(scan=scan, model_version=model_version)
    return runs.exclude(status__in=WITHOUT_RESULT)
