"""Celery's side of the house: thin callers of the services."""

from __future__ import annotations

from typing import Any

from predictions import passes
from predictions.services import deletion, lifecycle, sweeping
from predictions.task import ANALYZE, ERASE, project_task


@project_task(queue="inference", bind=True, name=ANALYZE)
def analyze_prediction(self: Any, prediction_id: str) -> None:
    """Answer one queued prediction, and others that wait.

    A message that comes a second time because its worker died first frees the rows it held.
    """
    if self.request.delivery_info.get("redelivered"):
        for row in lifecycle.abandoned_by(task_id=self.request.id):
            lifecycle.requeue(prediction=row)
    passes.answer_waiting(prediction_id=prediction_id, task_id=self.request.id)


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
