"""Celery's side of the house: thin callers of the services."""

from __future__ import annotations

import functools
import logging
from typing import Any

from django.conf import settings

from mltasks.engines import ModelError
from mltasks.inference import Analyzer
from predictions import batches
from predictions.models import ModelVersion
from predictions.queueing import ANALYZE, ERASE, SHADOW, Queue, messages_waiting, project_task
from predictions.services import artifacts, deletion, drift, lifecycle, shadowing, sweeping
from predictions.storage import StorageUnavailableError

logger = logging.getLogger(__name__)


@project_task(bind=True, name=ANALYZE)
def analyze_prediction(self: Any, prediction_id: str) -> None:
    """Answer one queued prediction, and others that wait.

    A message that comes a second time because its worker died first frees the rows it held.
    """
    if self.request.delivery_info.get("redelivered"):
        for row in lifecycle.abandoned_by(task_id=self.request.id):
            lifecycle.requeue(prediction=row)
    batches.answer_waiting(prediction_id=prediction_id, task_id=self.request.id)


@project_task()
def sweep() -> None:
    sweeping.sweep()


@project_task(name=ERASE)
def erase_deleted() -> None:
    deletion.erase_deleted()


@project_task()
def check_orphans() -> None:
    sweeping.check_orphans()


@project_task()
def expire_anonymous() -> None:
    sweeping.expire_anonymous()


@project_task()
def expire_accesses() -> None:
    sweeping.expire_accesses()


@project_task()
def check_drift() -> None:
    drift.check()


@project_task()
def ask_shadow() -> None:
    """Wake the shadow worker if there is work; its queue never holds more than one message."""
    version = shadowing.in_shadow()
    if version is not None and messages_waiting(Queue.SHADOW) == [0]:
        run_shadow.delay()


@functools.lru_cache(maxsize=1)
def _shadow_analyzer(version: ModelVersion) -> Analyzer:
    # On one thread: others need the cores.
    return artifacts.load(version, engine=settings.INFERENCE_ENGINE, threads=1)


@project_task(name=SHADOW)
def run_shadow() -> None:
    """Let the candidate answer what production has answered; see `shadowing`."""
    try:
        shadowing.follow(_shadow_analyzer, seconds=settings.TASK_SOFT_LIMIT / 2)
    except (ModelError, StorageUnavailableError) as error:
        logger.warning("nothing runs in the shadow at the moment: %s", error)
