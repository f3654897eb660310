"""Training as a task on its own queue, for workers that have TensorFlow."""

from __future__ import annotations

import logging
from typing import Any
from uuid import UUID

from django.conf import settings

from mltasks.data import DataError
from mltasks.engines import ModelError
from mltasks.training.config import RecipeError
from predictions.storage import StorageUnavailableError
from predictions.task import project_task
from training import checkpoints, services, triggers

logger = logging.getLogger(__name__)


@project_task(queue="training", bind=True, name=services.TRAIN, hours=settings.TRAINING_HOURS)
def train(self: Any, run_id: str) -> None:
    """Follow one run to its end.

    It lasts longer than the broker waits for an acknowledgement, so its message comes again
    while it runs; the row says then that it is taken, and the message is dropped.
    """
    take_up(run_id=UUID(run_id), task_id=self.request.id)


def take_up(*, run_id: UUID, task_id: str) -> bool:
    """Claim a run and follow it; whether it was there to be claimed."""
    run = services.claim(run_id=run_id, task_id=task_id)
    if run is None:
        return False
    # What it needs takes a moment to load, which only training workers need to wait for.
    from training.following import follow

    try:
        follow(run)
    except services.RunStoppedError:
        logger.info("training run %s was stopped", run.pk)
    except StorageUnavailableError:
        services.fail(run=run, message="The store does not answer; go on once it is back.")
    except (ValueError, ModelError, OSError) as error:
        services.fail(run=run, message=str(error))
        logger.warning("training run %s failed: %s", run.pk, type(error).__name__)
    return True


@project_task()
def sweep() -> None:
    services.sweep()


@project_task()
def look() -> None:
    """Start a training if data, recipe or code are new."""
    try:
        triggers.check()
    except (DataError, RecipeError) as error:
        logger.error("training cannot start by itself: %s", error)


@project_task()
def tidy() -> None:
    checkpoints.tidy()
