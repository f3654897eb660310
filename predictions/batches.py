"""The work of an inference worker: forward passes over batches of what waits.

While the network computes one batch, the task claims the next and records the one before, and
threads read and prepare the pictures of the next and render and store those of the one before.
They free Python's lock in nearly all they do, so no core waits.
"""

from __future__ import annotations

import functools
import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

from django.conf import settings
from django.db import OperationalError

from mltasks.engines import Outputs
from mltasks.inference import Analysis, Analyzer, Prepared
from predictions import storage, worker
from predictions.models import Prediction
from predictions.queueing import drop_connection
from predictions.services import lifecycle
from predictions.serving import Loaded
from predictions.telemetry import BatchTimer

logger = logging.getLogger(__name__)

# Long enough for a short outage to pass, short enough for a person to wait through.
OUTAGE_WAIT = 5.0
# Shares of a task's time. After the first it claims no further batch, then it waits no
# longer for pictures to be read, then for pictures to be stored. The rest is for recording that.
LAST_CLAIM, LAST_READ, LAST_SAVE = 1 / 3, 1 / 2, 4 / 5

IMAGE_LOST = "The stored picture can no longer be read. Please upload it again."
STORAGE_THREADS = 8

Result = TypeVar("Result")
Saved = tuple[Analysis, dict[str, str]]


@dataclass(frozen=True, slots=True)
class _Batch:
    """Claimed rows, whose pictures threads are reading for this network."""

    network: Loaded
    rows: list[Prediction]
    pictures: list[Future[Prepared]]
    timer: BatchTimer

    @property
    def is_retry(self) -> bool:
        """Whether its row has been tried before and may be what killed a worker."""
        return self.rows[0].attempt > 1


@dataclass(frozen=True, slots=True)
class _Forward:
    """A forward pass that a thread computes, and the rows and pictures it is over."""

    readable: list[tuple[Prediction, Prepared]]
    outputs: Future[Outputs]


@dataclass(frozen=True, slots=True)
class _Answer:
    """One row of a batch, whose pictures a thread is rendering and storing."""

    row: Prediction
    saved: Future[Saved]
    batch: _Batch


def answer_waiting(*, prediction_id: str, task_id: str) -> None:
    """Answer a prediction, then whatever else waits, until little of the task's time is left."""
    loop = _BatchLoop(prediction_id, task_id)
    try:
        loop.run()
    except Exception as error:
        drop_connection()
        logger.exception("work on %d predictions was broken off", len(loop.claimed))
        outage = isinstance(error, OperationalError)
        for row in loop.claimed:
            lifecycle.requeue(prediction=row, outage=outage, wait=OUTAGE_WAIT if outage else 0.0)


class _BatchLoop:
    """One task's batches, one after another.

    A row that has been tried before is a batch of its own, and no other is computed meanwhile:
    should its picture kill the worker, only that row loses an attempt.

    Attributes:
        claimed: every row it has taken. To requeue one that has ended does nothing.
    """

    def __init__(self, prediction_id: str, task_id: str) -> None:
        self.claimed: list[Prediction] = []
        self._prediction_id, self._task_id = prediction_id, task_id
        self._start = time.monotonic()

    def run(self) -> None:
        saving: list[_Answer] = []
        current = self._claim()
        while current:
            computing = self._start_forward(current)
            # What needs the database is done while the network computes.
            following = None if current.is_retry else self._claim(fresh=True)
            self._record(saving)
            saving = self._start_saving(current, computing)
            if following is None:
                self._record(saving)
                saving = []
                following = self._claim()
            current = following

    def _claim(self, *, fresh: bool = False) -> _Batch | None:
        """Take rows for a batch and have their pictures read.

        None if no rows wait, time is short or the worker is to stop: other workers take the rest.
        """
        if self.claimed and (worker.stopping() or not self._time_until(LAST_CLAIM)):
            return None
        network = worker.next_network()
        rows = lifecycle.claim(
            prediction_id=self._prediction_id,
            model_version=network.version,
            task_id=self._task_id,
            limit=settings.INFERENCE_BATCH,
            fresh=fresh,
        )
        if not rows:
            return None
        self.claimed += rows
        timer = BatchTimer.of(rows)
        reads = [_threads().submit(_read, network.analyzer, row.scan.image_key) for row in rows]
        return _Batch(network, rows, reads, timer)

    def _start_forward(self, current: _Batch) -> _Forward | None:
        """Begin a forward pass over the rows whose pictures can be read; None if there are none."""
        readable: list[tuple[Prediction, Prepared]] = []
        for row, picture in zip(current.rows, current.pictures, strict=True):
            try:
                readable.append((row, self._wait_for(picture, LAST_READ)))
            except Exception as error:
                _requeue_or_fail(row, error)
        if not readable:
            return None

        def forward() -> Outputs:
            with current.timer.engine(len(readable)):
                return current.network.analyzer.forward([prepared for _, prepared in readable])

        return _Forward(readable, _in_daemon_thread(forward))

    def _start_saving(self, current: _Batch, computing: _Forward | None) -> list[_Answer]:
        """Wait for a forward pass, and have the pictures of its answers rendered and stored."""
        if computing is None:
            return []
        outputs = computing.outputs.result()
        return [
            _Answer(
                row,
                _threads().submit(_save, current.network.analyzer, row, prepared, outputs, index),
                current,
            )
            for index, (row, prepared) in enumerate(computing.readable)
        ]

    def _record(self, answers: list[_Answer]) -> None:
        """Record each answer whose pictures are stored."""
        for answer in answers:
            try:
                analysis, keys = self._wait_for(answer.saved, LAST_SAVE)
                if lifecycle.complete(prediction=answer.row, analysis=analysis, keys=keys):
                    answer.batch.timer.answered(answer.row, answer.batch.network.version)
            except Exception as error:
                _requeue_or_fail(answer.row, error)

    def _time_until(self, share: float) -> float:
        """Seconds until this share of the task's time is over."""
        return max(0.0, self._start + share * settings.TASK_SOFT_LIMIT - time.monotonic())

    def _wait_for(self, future: Future[Result], share: float) -> Result:
        """The result of a thread.

        Raises:
            predictions.storage.StorageUnavailableError: it hangs. The task must say so while it
                has time to: its own time limit would count against the picture.
        """
        try:
            return future.result(self._time_until(share))
        except TimeoutError:
            if future.done():
                raise
            future.cancel()
            raise storage.StorageUnavailableError("no answer in time") from None


@functools.cache
def _threads() -> ThreadPoolExecutor:
    """Threads for pictures; the database stays with the task's own thread."""
    return ThreadPoolExecutor(max_workers=STORAGE_THREADS, thread_name_prefix="storage")


def _in_daemon_thread(work: Callable[[], Outputs]) -> Future[Outputs]:
    """Run `work` in a thread of its own, so that the task's thread is free for the database.

    In a daemon thread, as a pass that hangs must not keep the worker from ending.
    """
    future: Future[Outputs] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, name="forward", daemon=True).start()
    return future


def _read(analyzer: Analyzer, key: str) -> Prepared:
    return analyzer.prepare(storage.pixels(key))


def _save(
    analyzer: Analyzer, row: Prediction, prepared: Prepared, outputs: Outputs, index: int
) -> Saved:
    analysis = analyzer.finding(prepared, outputs, index)
    return analysis, lifecycle.store_pictures(prediction=row, analysis=analysis)


def _requeue_or_fail(row: Prediction, error: Exception) -> None:
    """Give a row to another attempt after an outage, or fail it if its picture is lost."""
    if isinstance(error, storage.StorageUnavailableError | OperationalError):
        logger.warning("prediction %s must wait: %s", row.pk, type(error).__name__)
        lifecycle.requeue(prediction=row, outage=True, wait=OUTAGE_WAIT)
    elif isinstance(error, OSError | ValueError | SyntaxError):
        lifecycle.fail(prediction=row, code="image_lost", message=IMAGE_LOST)
    else:
        raise error
