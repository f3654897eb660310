"""The life of a training run: the only code that changes its status.

As with predictions, each change is one conditional update; whoever comes second stops.
"""

from __future__ import annotations

import logging
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from mltasks.training.config import named_recipe, read_recipe
from predictions.queueing import Queue, messages_waiting, send_on_commit
from training.models import TrainingRun

if TYPE_CHECKING:
    from accounts.models import User

logger = logging.getLogger(__name__)
Status = TrainingRun.Status

TRAIN = "training.tasks.train"
# Evaluation at the end says nothing for minutes; longer silence means the worker is gone.
SILENCE = timedelta(minutes=15)
MAX_DEATHS = 10
# A healthy queue takes a message long before this.
PATIENCE = timedelta(minutes=2)


class RunStoppedError(Exception):
    """The run was cancelled, or another worker has taken it over."""


def folder_of(run_id: UUID) -> Path:
    """Where a run keeps its checkpoints and, in the end, its model folder."""
    return Path(settings.DATA_DIR) / "training" / str(run_id)


def request_run(*, recipe: str, user: User | None = None) -> TrainingRun:
    """Queue a run.

    Raises:
        RecipeError: there is no such recipe, or it cannot be followed.
    """
    path = named_recipe(recipe)
    read_recipe(path)
    run = TrainingRun(recipe=recipe, recipe_text=path.read_text(encoding="utf-8"), started_by=user)
    run.full_clean()
    with transaction.atomic():
        run.save(force_insert=True)
        send_on_commit(TRAIN, str(run.pk))
    return run


def claim(*, run_id: UUID, task_id: str) -> TrainingRun | None:
    """Take a queued run.

    One that runs is left alone, also by a message that comes again: the broker sends it anew
    while its first worker is at work, as training outlasts every wait for an acknowledgement.
    Whether that worker still lives, only its silence says, see `sweep`.
    """
    now = timezone.now()
    run = TrainingRun.objects.filter(pk=run_id, status=Status.QUEUED).first()
    if run is None:
        return None
    if run.deaths >= MAX_DEATHS:
        fail(run=run, message=f"Given up after {MAX_DEATHS} workers died over it.")
        return None
    changed = _held(run).update(
        status=Status.RUNNING,
        attempt=run.attempt + 1,
        claimed_by=task_id,
        started_at=run.started_at or now,
        heartbeat_at=now,
    )
    return TrainingRun.objects.get(pk=run_id) if changed else None


def _held(run: TrainingRun) -> Any:
    return TrainingRun.objects.filter(pk=run.pk, status=run.status, attempt=run.attempt)


def note(*, run: TrainingRun, **values: Any) -> None:
    """Write down progress, which is also the sign of life.

    Raises:
        RunStoppedError: the run is no longer this worker's.
    """
    if not _held(run).update(heartbeat_at=timezone.now(), **values):
        raise RunStoppedError


def give_back(*, run_id: UUID, task_id: str) -> bool:
    """Queue a run again that its worker must leave, if it still holds it."""
    held = TrainingRun.objects.filter(pk=run_id, status=Status.RUNNING, claimed_by=task_id)
    return bool(held.update(status=Status.QUEUED, claimed_by=""))


def _end(run: TrainingRun, to: Status, **values: Any) -> bool:
    ended = {"finished_at": timezone.now(), "progress": "", "seconds_left": None}
    return bool(_held(run).update(status=to, **ended, **values))


def finish(*, run: TrainingRun, digest: str, metrics: dict[str, Any], message: str = "") -> bool:
    """Record the network that came of it."""
    values = {"digest": digest, "metrics": metrics, "message": message[:500]}
    return _end(run, Status.SUCCEEDED, share=1.0, **values)


def fail(*, run: TrainingRun, message: str) -> bool:
    """Record why nothing came of it."""
    return _end(run, Status.FAILED, message=message[:500])


def cancel(*, run: TrainingRun) -> bool:
    """Stop a run; its worker notices within seconds. What has ended stays as it is."""
    if run.status not in {Status.QUEUED, Status.RUNNING}:
        return False
    return _end(run, Status.CANCELLED)


def resume(*, run: TrainingRun) -> bool:
    """Queue a failed or cancelled run again: it goes on after its last checkpoint."""
    if run.status not in {Status.FAILED, Status.CANCELLED}:
        return False
    with transaction.atomic():
        changed = _held(run).update(
            status=Status.QUEUED, deaths=0, claimed_by="", message="", finished_at=None
        )
        if changed:
            send_on_commit(TRAIN, str(run.pk))
    return bool(changed)


def sweep() -> None:
    """Bring stuck runs on their way again: workers gone silent, messages lost."""
    now = timezone.now()
    for run in TrainingRun.objects.filter(status=Status.RUNNING, heartbeat_at__lt=now - SILENCE):
        if _held(run).update(status=Status.QUEUED, claimed_by="", deaths=run.deaths + 1):
            logger.warning("training run %s goes to another worker", run.pk)
    queued = TrainingRun.objects.filter(status=Status.QUEUED)
    waiting = queued.filter(queued_at__lt=now - PATIENCE).order_by("queued_at")
    # A message too many does no harm, whoever comes second finds the run taken; but their number
    # is what workers are started by.
    missing = waiting.count() and waiting.count() - messages_waiting(Queue.TRAINING)[0]
    for pk in list(waiting.values_list("pk", flat=True)[: max(0, missing)]):
        send_on_commit(TRAIN, str(pk))
