"""Training as a task on its own queue, for workers that have TensorFlow."""

from __future__ import annotations

import logging
import time
from typing import Any
from uuid import UUID

from django.conf import settings

from mltasks.engines import ModelError
from mltasks.training.config import parse_recipe
from predictions.services import registry
from predictions.storage import StorageUnavailableError
from predictions.task import project_task
from training import services
from training.models import TrainingRun

logger = logging.getLogger(__name__)
# Seconds between two notes of progress in the row.
_NOTE_EVERY = 2.0


@project_task(queue="training", bind=True, name=services.TRAIN, hours=settings.TRAINING_HOURS)
def train(self: Any, run_id: str) -> None:
    """Follow one run to its end.

    It lasts longer than the broker waits for an acknowledgement, so its message comes again
    while it runs; the row says then that it is taken, and the message is dropped.
    """
    run = services.claim(run_id=UUID(run_id), task_id=self.request.id)
    if run is None:
        return
    try:
        _follow(run)
    except services.RunStoppedError:
        logger.info("training run %s was stopped", run.pk)
    except StorageUnavailableError:
        services.fail(run=run, message="The store did not take the network; go on once it is back.")
    except (ValueError, ModelError, OSError) as error:
        services.fail(run=run, message=str(error))
        logger.warning("training run %s failed: %s", run.pk, type(error).__name__)


def _follow(run: TrainingRun) -> None:
    import tomllib

    from mltasks import pipeline
    from mltasks.data import DataError
    from mltasks.training import Progress

    if settings.TRAINING_DATA is None:
        raise DataError("no training data: set TRAINING_DATA on the training worker")
    noted = 0.0

    def watch(progress: Progress) -> None:
        nonlocal noted
        if time.monotonic() - noted >= _NOTE_EVERY or progress.step == progress.steps:
            services.note(run=run, share=progress.share, progress=progress.sentence()[:200])
            noted = time.monotonic()
        if len(progress.history) > len(run.history):
            _note_history(run, progress.history)

    output = services.folder_of(run.pk) / "model"
    request = pipeline.TrainingRequest(
        recipe=parse_recipe(tomllib.loads(run.recipe_text), name=run.recipe),
        data=settings.TRAINING_DATA,
        output=output,
        negatives=settings.TRAINING_NEGATIVES,
        resume=True,
        tracking_uri=settings.MLFLOW_TRACKING_URI,
    )
    card = pipeline.train_model(
        request,
        watch=watch,
        report=lambda line: services.note(run=run, progress=line[:200]),
    )
    _note_history(run, card["training"]["history"])
    services.note(run=run, progress="storing the network")
    registry.register(folder=output, by=run.started_by, actor=f"training run {run.pk}")
    services.finish(
        run=run,
        digest=card["files"]["model.onnx"],
        metrics={
            "accuracy": card["metrics"]["validation"]["accuracy"],
            "dice": card["metrics"]["validation"]["dice"]["median"],
        },
    )


def _note_history(run: TrainingRun, history: list[dict[str, float]]) -> None:
    from mltasks.training.curves import draw_curves

    run.history = list(history)
    services.note(run=run, history=run.history, curves=draw_curves(run.history).decode())


@project_task()
def sweep() -> None:
    services.sweep()
