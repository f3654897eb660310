"""The network of one worker process, and how it follows the one in production.

A thread asks the registry every few seconds, and fetches, checks, loads and warms up what has
been promoted; it is swapped in between two passes. Until then, and for as long as it cannot be
loaded, the present network goes on answering, under its own name.
"""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass

from django.conf import settings
from django.core.cache import cache
from django.db import connection

from mltasks.engines import ModelError
from mltasks.inference import Analyzer, read_model
from predictions.models import ModelEvent, ModelVersion, Prediction, Status
from predictions.services import artifacts, lifecycle
from predictions.services.registry import NoModelError, note_event, production_model
from predictions.storage import StorageUnavailableError

logger = logging.getLogger(__name__)

POLL_SECONDS = 3.0
# Loading may succeed later: a store comes back, a file is repaired.
RETRY_SECONDS = 30.0
# Read by the health page; expires once no worker writes it any more.
FAULT_KEY, FAULT_SECONDS = "worker:model-fault", 15


@dataclass(frozen=True, slots=True)
class Loaded:
    """A network that is ready, and its record."""

    analyzer: Analyzer
    version: ModelVersion


def load(version: ModelVersion) -> Loaded:
    """Load a network as the settings say; see `artifacts.load`."""
    analyzer = artifacts.load(
        version, engine=settings.INFERENCE_ENGINE, threads=settings.INFERENCE_THREADS
    )
    return Loaded(analyzer, version)


def check_production() -> None:
    """Check that the network in production is available and whole, without loading it.

    Raises:
        ModelError: there is none, or it cannot be used.
        predictions.storage.StorageUnavailableError: its files cannot be fetched at the moment.
    """
    try:
        version = production_model()
    except NoModelError:
        raise ModelError(
            "no network is in production: manage.py model bundled puts that of MODEL_DIR there"
        ) from None
    read_model(artifacts.local(version.artifact))


def _promoted() -> int | None:
    """The key of the network in production, if there is one."""
    rows = ModelVersion.objects.filter(stage=ModelVersion.Stage.PRODUCTION)
    return rows.values_list("pk", flat=True).first()


class Serving:
    """What answers in this process. Only its task thread and its watcher use it."""

    def __init__(self) -> None:
        self._present: Loaded | None = None
        self._next: Loaded | None = None
        self._busy = False
        self._guard = threading.Lock()
        self._wake = threading.Event()
        # The network that could not be loaded, and when to try again.
        self._failed: int | None = None
        self._retry_at = 0.0

    def start(self) -> Loaded:
        """Load the network in production.

        Raises:
            ModelError, NoModelError, StorageUnavailableError: this worker cannot answer.
        """
        self._present = load(production_model())
        return self._present

    @property
    def present(self) -> Loaded:
        """The network that answers, loaded on first use; see `start`."""
        return self._present or self.start()

    def loaded_version(self) -> ModelVersion | None:
        """The record of the network that answers, without loading one."""
        present = self._present
        return present.version if present else None

    def next(self) -> Loaded:
        """The network that answers the next pass, which keeps it: the one after may be another's.

        Called before each pass. One that is ready takes its place here; if another was promoted
        but is not ready yet, the present one answers some of the rows that wait for it.
        """
        promoted = _promoted()
        self._swap_in(promoted, between_passes=True)
        present = self.present
        if promoted not in {None, present.version.pk}:
            self._wake.set()
            lifecycle.reassign_some(to=present.version, limit=settings.INFERENCE_BATCH)
        return present

    def task_started(self) -> None:
        """A task starts: from now on it decides when networks are swapped."""
        with self._guard:
            self._busy = True

    def task_finished(self) -> None:
        """A task has ended; the watcher may swap from now on."""
        with self._guard:
            self._busy = False

    def watch(self) -> None:
        """Follow the network in production in a thread, for as long as this process lives."""
        threading.Thread(target=self._watch, name="model-watch", daemon=True).start()

    def _watch(self) -> None:
        while True:
            self._wake.wait(POLL_SECONDS)
            self._wake.clear()
            try:
                self.poll()
            except Exception as error:
                # The database may be away; the next poll may find it back.
                logger.warning("the registry cannot be asked: %s", type(error).__name__)
            finally:
                connection.close()

    def poll(self) -> None:
        """Load what was promoted, and swap it in if no task runs."""
        promoted = production_model()
        with self._guard:
            # Rolled back before it ever answered.
            dropped = self._next is not None and self._next.version.pk != promoted.pk
            if dropped:
                self._next = None
            ready = self._next or self._present
        if dropped:
            lifecycle.reassign_queued(to=promoted)
            _wake_waiting()
        if ready is not None and ready.version.pk == promoted.pk:
            self._failed = None
        elif self._retry_due(promoted):
            self._prepare(promoted)
        if self._failed is not None:
            cache.set(FAULT_KEY, self._fault_text(promoted), FAULT_SECONDS)
        if self._next is not None:
            # Asked anew: loading takes long enough for a rollback.
            self._swap_in(_promoted())

    def _retry_due(self, version: ModelVersion) -> bool:
        return self._failed != version.pk or time.monotonic() >= self._retry_at

    def _prepare(self, version: ModelVersion) -> None:
        try:
            loaded = load(version)
        except Exception as error:
            self._note_failure(version, error)
            return
        with self._guard:
            self._next = loaded
        self._failed = None
        cache.delete(FAULT_KEY)
        logger.info("%s is loaded and warm, and answers from the next pass on", version)
        _wake_waiting()

    def _note_failure(self, version: ModelVersion, error: Exception) -> None:
        first = self._failed != version.pk
        self._failed, self._retry_at = version.pk, time.monotonic() + RETRY_SECONDS
        known = isinstance(error, ModelError | StorageUnavailableError)
        logger.critical(
            "%s is in production but cannot be loaded; %s goes on answering: %s",
            version,
            self._present.version if self._present else "nothing",
            error,
            exc_info=None if known else error,
        )
        if first:
            note_event(
                version=version,
                kind=ModelEvent.Kind.NOT_LOADED,
                actor="an inference worker",
                note=str(error),
            )

    def _fault_text(self, promoted: ModelVersion) -> str:
        present = self._present.version if self._present else "nothing"
        return f"{promoted} is in production but cannot be loaded; {present} answers instead"

    def _swap_in(self, promoted: int | None, *, between_passes: bool = False) -> None:
        """Put the network that is ready in the present one's place, if it is still promoted.

        Not while a pass is under way.
        """
        with self._guard:
            if self._next is None or self._next.version.pk != promoted:
                return
            if self._busy and not between_passes:
                return
            self._present, self._next = self._next, None
            version = self._present.version
        logger.info("%s answers from now on", version)
        lifecycle.reassign_queued(to=version)


def _wake_waiting() -> None:
    """Rows that waited may have used up their messages; one message serves them all."""
    waiting = Prediction.objects.filter(status=Status.QUEUED).order_by("id")
    pk = waiting.values_list("pk", flat=True).first()
    if pk is not None:
        lifecycle.enqueue(pk)
