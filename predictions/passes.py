"""The work of an inference worker: forward passes over what waits, saving beside the next pass."""

from __future__ import annotations

import functools
import logging
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from django.conf import settings
from django.db import OperationalError
from numpy.typing import NDArray
from PIL import Image

from mltasks.inference import Analysis
from predictions import storage, worker
from predictions.models import Prediction
from predictions.services import lifecycle
from predictions.task import drop_connection

logger = logging.getLogger(__name__)

# Long enough for a short outage to pass, short enough for a person to wait through.
OUTAGE_WAIT = 5.0

IMAGE_LOST = "The stored picture can no longer be read. Please upload it again."
STORAGE_THREADS = 8


@dataclass(frozen=True, slots=True)
class _Answer:
    """One analysed row, whose pictures a thread is storing."""

    row: Prediction
    analysis: Analysis
    keys: Future[dict[str, str]]


def answer_waiting(*, prediction_id: str, task_id: str) -> None:
    """Answer a prediction, and then whatever else waits, until little of the task's time is left.

    While one pass is computed, threads store the pictures of the one before. A row that has been
    tried before shares this with no other: should its picture kill the worker, only it loses.
    """
    until = time.monotonic() + settings.TASK_SOFT_LIMIT / 3
    claimed: list[Prediction] = []
    saving: list[_Answer] = []
    try:
        while rows := lifecycle.claim(
            prediction_id=prediction_id,
            model_version=worker.model_version(),
            task_id=task_id,
            limit=settings.INFERENCE_BATCH,
        ):
            claimed += rows
            alone = rows[0].attempt > 1
            if alone:
                _record(saving)
                saving = []
            answers = _analyze(rows)
            _record(saving)
            saving = answers
            if alone:
                _record(saving)
                saving = []
            if time.monotonic() > until:
                break
        _record(saving)
    except Exception as error:
        drop_connection()
        logger.exception("a pass over %d predictions was broken off", len(claimed))
        for row in claimed:
            lifecycle.requeue(prediction=row, outage=isinstance(error, OperationalError))


@functools.cache
def _threads() -> ThreadPoolExecutor:
    """Threads for what waits for storage; the database stays with the task's own thread."""
    return ThreadPoolExecutor(max_workers=STORAGE_THREADS, thread_name_prefix="storage")


def _read(key: str) -> NDArray[np.uint8]:
    with Image.open(storage.stream(key), formats=["PNG"]) as image:
        return np.asarray(image)


def _give_up(row: Prediction, error: Exception) -> None:
    """Decide what a fault of storage or database means for a row."""
    if isinstance(error, storage.StorageUnavailableError | OperationalError):
        logger.warning("prediction %s must wait: %s", row.pk, type(error).__name__)
        lifecycle.requeue(prediction=row, outage=True, wait=OUTAGE_WAIT)
    elif isinstance(error, OSError | ValueError | SyntaxError):
        lifecycle.fail(prediction=row, code="image_lost", message=IMAGE_LOST)
    else:
        raise error


def _analyze(rows: list[Prediction]) -> list[_Answer]:
    """One forward pass over the rows whose pictures can be read."""
    readable: list[tuple[Prediction, NDArray[np.uint8]]] = []
    reads = [_threads().submit(_read, row.scan.image_key) for row in rows]
    for row, read in zip(rows, reads, strict=True):
        try:
            readable.append((row, read.result()))
        except Exception as error:
            _give_up(row, error)
    analyses = worker.analyzer().analyze([pixels for _, pixels in readable])
    return [
        _Answer(
            row,
            analysis,
            _threads().submit(lifecycle.store_pictures, prediction=row, analysis=analysis),
        )
        for (row, _), analysis in zip(readable, analyses, strict=True)
    ]


def _record(answers: list[_Answer]) -> None:
    """Record each answer whose pictures are stored."""
    for answer in answers:
        try:
            lifecycle.complete(
                prediction=answer.row, analysis=answer.analysis, keys=answer.keys.result()
            )
        except Exception as error:
            _give_up(answer.row, error)
