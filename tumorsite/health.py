"""Whether the site works: every part is asked, and the one that fails is named."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from uuid import uuid4

from celery import current_app
from django.core.cache import cache
from django.core.files.base import ContentFile
from django.core.files.storage import storages
from django.db import connection
from django.http import HttpRequest, JsonResponse
from django.views.decorators.cache import never_cache
from kombu import Connection

from predictions.serving import FAULT_KEY

logger = logging.getLogger(__name__)

# An answer is given again for this long, so that a flood of requests asks the parts only once.
FRESH_SECONDS = 1.0
# One that says what is wrong, only so long: another process of the site may just have said that all
# is well, on which somebody relies.
BAD_SECONDS = 0.1
# While one request asks the parts, others get the last answer, if it is no older than this.
STALE_SECONDS = 10.0
ANSWER_SECONDS, ALL_SECONDS = 2, 0.8
LONGEST_WAIT = 3.0


class NoWorkerError(RuntimeError):
    """The broker answers, but no inference worker with a loaded model does."""


def _database() -> None:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    finally:
        # This thread serves no requests, so nothing else would ever close it.
        connection.close()


def _storage() -> None:
    """Writes, reads and removes a small object, so that a full disk is noticed before people do."""
    storage = storages["scans"]
    name = storage.save(f"health/{uuid4().hex}", ContentFile(b"ok"))
    try:
        with storage.open(name) as stream:
            if stream.read() != b"ok":
                raise OSError("storage returned other bytes than were written")
    finally:
        storage.delete(name)


def _broker() -> None:
    with current_app.connection_for_write(connect_timeout=ANSWER_SECONDS) as link:
        link.ensure_connection(max_retries=1, timeout=ANSWER_SECONDS)


def _loaded(link: Connection, seconds: float, limit: int | None = None) -> list[bool]:
    """Whether workers have their model loaded: the first to answer, or all that do in time."""
    replies = current_app.control.broadcast(
        "loaded_model",
        reply=True,
        timeout=seconds,
        limit=limit,
        pattern="inference@*",
        matcher="glob",  # type: ignore[arg-type]  # a matcher's name, says Celery's code
        connection=link,
    )
    return [bool(answer.get("ready")) for reply in replies or [] for answer in reply.values()]


def _worker() -> None:
    """Asks the inference workers, over the broker, whether one has its model loaded."""
    with current_app.connection_for_write(connect_timeout=ANSWER_SECONDS) as link:
        loaded = _loaded(link, ANSWER_SECONDS, limit=1)
        # The first to answer may be one that has just started, and has none yet.
        if loaded == [False]:
            loaded = _loaded(link, ALL_SECONDS)
        if not any(loaded):
            raise NoWorkerError("no inference worker with a loaded model answers")


class Probe:
    """Asks one part, in a thread of its own, so that a part that hangs delays no other."""

    def __init__(self, name: str, question: Callable[[], None]) -> None:
        self._name, self._question = name, question
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"health-{name}")
        self._asked: Future[None] | None = None
        self._state = "ok"

    def ask(self) -> None:
        """Put the question, unless the last one is still open."""
        if self._asked is None or self._asked.done():
            self._asked = self._thread.submit(self._question)

    def answer(self, limit: float) -> str:
        """Wait until `limit` on the monotonic clock: "ok", or what is wrong, without addresses."""
        state = "ok"
        try:
            if self._asked is not None:
                self._asked.result(max(0.0, limit - time.monotonic()))
        except TimeoutError:
            state = "does not answer in time"
        except NoWorkerError as error:
            state = str(error)
        except Exception as error:
            state = f"does not answer ({type(error).__name__})"
        if state != self._state:
            logger.warning("health: %s: %s", self._name, state)
        self._state = state
        return state


@dataclass
class Health:
    """The parts and the last answer, for all requests of this process."""

    probes: dict[str, Probe]
    states: dict[str, str] = field(default_factory=dict)
    asked_at: float = float("-inf")
    _asking: threading.Lock = field(default_factory=threading.Lock)

    def check(self) -> dict[str, str]:
        """Each part's state, at most a moment old."""
        if self._is_fresh():
            return self.states
        stale = time.monotonic() - self.asked_at > STALE_SECONDS
        if not self._asking.acquire(blocking=stale):
            return self.states
        try:
            if not self._is_fresh():
                self.states = self._ask()
                self.asked_at = time.monotonic()
            return self.states
        finally:
            self._asking.release()

    def _is_fresh(self) -> bool:
        good = all(state == "ok" for state in self.states.values())
        return time.monotonic() - self.asked_at < (FRESH_SECONDS if good else BAD_SECONDS)

    def _ask(self) -> dict[str, str]:
        limit = time.monotonic() + LONGEST_WAIT
        for probe in self.probes.values():
            probe.ask()
        states = {name: probe.answer(limit) for name, probe in self.probes.items()}
        if states["broker"] != "ok":
            states["worker"] = "unknown while the broker is away"
        return states


current = Health(
    {
        "database": Probe("database", _database),
        "storage": Probe("storage", _storage),
        "broker": Probe("broker", _broker),
        "worker": Probe("worker", _worker),
    }
)


def _notes() -> list[str]:
    """What somebody should look at although the site works; workers leave it in the cache."""
    fault = cache.get(FAULT_KEY)
    return [fault] if fault else []


@never_cache
def health(request: HttpRequest) -> JsonResponse:
    """200 when every part answers, else 503 with the part that does not."""
    states = current.check()
    healthy = all(state == "ok" for state in states.values())
    answer: dict[str, object] = {"status": "ok" if healthy else "unavailable", "parts": states}
    # The cache is on the broker's server: no waiting for one that is away.
    if states.get("broker") == "ok" and (notes := _notes()):
        answer["notes"] = notes
    return JsonResponse(answer, status=200 if healthy else 503)


@never_cache
def live(request: HttpRequest) -> JsonResponse:
    """Only that this process lives."""
    return JsonResponse({"status": "alive"})
