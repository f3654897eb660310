"""Training as a task on its own queue, for workers that have TensorFlow."""

from __future__ import annotations

import logging
from typing import Any
from uuid import UUID

from celery.exceptions import SoftTimeLimitExceeded
from django.conf import settings
from django.db import DatabaseError

from mltasks.data import DataError
from mltasks.engines import ModelError
from mltasks.training.config import RecipeError
from predictions.queueing import project_task
from predictions.storage import StorageUnavailableError
from training import checkpoints, services, triggers

logger = logging.getLogger(__name__)

GO_ON = "the action “Go on after the last checkpoint” takes it up again"


@project_task(bind=True, name=services.TRAIN, hours=settings.TRAINING_HOURS)
def train(self: Any, run_id: str) -> None:
    """Follow one run to its end.

    It lasts longer than the broker waits for an acknowledgement, so its message comes again
    while it runs; the row says then that it is taken, and that message does nothing.
    """
    take_up(run_id=UUID(run_id), task_id=self.request.id)


def take_up(*, run_id: UUID, task_id: str) -> bool:
    """Claim a run and follow it; whether it was there to be claimed."""
    run = services.claim(run_id=run_id, task_id=task_id)
    if run is None:
        return False
    # What it needs takes a moment to load, which only training workers need to wait for.
    from training.runner import follow

    try:
        follow(run)
    except services.RunStoppedError:
        logger.info("training run %s was stopped", run.pk)
    except StorageUnavailableError:
        services.fail(run=run, message=f"The store does not answer; once it is back, {GO_ON}.")
    except (ValueError, ModelError, OSError) as error:
        services.fail(run=run, message=str(error))
        logger.warning("training run %s failed: %s", run.pk, type(error).__name__)
    except SoftTimeLimitExceeded:
        hours = settings.TRAINING_HOURS
        services.fail(run=run, message=f"It took more than {hours} h; {GO_ON}.")
    except DatabaseError:
        # Nobody could be told now; the sweeper gives the run to a worker later.
        raise
    except Exception as error:
        logger.exception("training run %s failed", run.pk)
        kind = type(error).__name__
        services.fail(run=run, message=f"A fault of the program ({kind}): see the worker's log.")
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
