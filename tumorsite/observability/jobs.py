"""Celery's side: ids and traces in the headers of messages, and what a worker needs at its start.

Connected before the other apps' handlers, so that what they say and measure is counted already.
"""

from __future__ import annotations

import logging
from contextlib import AbstractContextManager
from logging.config import dictConfig
from typing import Any

from celery import signals
from django.conf import settings

from tumorsite import heartbeats
from tumorsite.observability import context, exposition, sentry, tracing

logger = logging.getLogger(__name__)

_node = ""
_open: AbstractContextManager[Any] | None = None


def connect() -> None:
    """Hook into Celery; harmless in every other process."""
    for signal, handler in (
        (signals.setup_logging, _set_up_logs),
        (signals.celeryd_init, _before_fork),
        (signals.beat_init, _beat_starts),
        (signals.worker_process_init, _after_fork),
        (signals.worker_process_shutdown, _child_ends),
        (signals.before_task_publish, _before_publish),
        (signals.task_prerun, _before_task),
        (signals.task_postrun, _after_task),
    ):
        signal.connect(handler, weak=False, dispatch_uid=f"tumorsite.{handler.__name__}")


def _set_up_logs(**_: Any) -> None:
    """Celery would add handlers of its own, in another form."""
    dictConfig(settings.LOGGING)


def _before_fork(sender: str = "", **_: Any) -> None:
    global _node  # noqa: PLW0603  # the children learn it by inheriting this
    _node = sender
    context.set_part(sender.partition("@")[0] or "worker")
    exposition.begin(context.part())
    heartbeats.starting(settings.DATA_DIR, _node)


def _beat_starts(**_: Any) -> None:
    context.set_part("beat")
    heartbeats.touch(settings.DATA_DIR / "run" / "beat")


def _after_fork(**_: Any) -> None:
    sentry.begin()
    exposition.serve()
    if context.part() != "inference":
        say_ready()


def say_ready() -> None:
    """This child may take tasks."""
    if _node:
        heartbeats.ready(settings.DATA_DIR, _node)


def _child_ends(**_: Any) -> None:
    tracing.flush()


def _before_publish(headers: dict[str, Any] | None = None, **_: Any) -> None:
    if context.part() == "beat":
        heartbeats.touch(settings.DATA_DIR / "run" / "beat")
    if headers is None:
        return
    if (request_id := context.request_id.get()) != context.NONE:
        headers[context.MESSAGE_HEADER] = request_id
    if here := tracing.current():
        headers[tracing.HEADER] = here


def _before_task(task_id: str = "", task: Any = None, args: Any = (), **_: Any) -> None:
    global _open  # noqa: PLW0603  # a child runs one task at a time
    request = task.request
    job = context.Job(
        task_id=task_id,
        task=task.name,
        prediction_id=str(args[0]) if args and task.name.startswith("predictions.") else "-",
    )
    context.begin_job(request.get(context.MESSAGE_HEADER), job)
    if tracing.enabled():
        _open = tracing.span(
            task.name,
            kind="CONSUMER",
            traceparent=request.get(tracing.HEADER),
            **{"messaging.system": "celery", "messaging.message.id": task_id},
        )
        _open.__enter__()


def _after_task(**_: Any) -> None:
    global _open  # noqa: PLW0603
    if _open is not None:
        _open.__exit__(None, None, None)
        _open = None
    context.end_job()
