"""The one way to declare and to send a task. A lint rule bans Celery's own decorators."""

from __future__ import annotations

import logging
from collections.abc import Callable
from enum import StrEnum
from typing import Any, cast

from celery import current_app, shared_task
from celery.contrib.django.task import DjangoTask
from django.conf import settings
from django.db import close_old_connections, connection, transaction

logger = logging.getLogger(__name__)

ANALYZE = "predictions.tasks.analyze_prediction"
ERASE = "predictions.tasks.erase_deleted"
SHADOW = "predictions.tasks.run_shadow"
BROKER_SECONDS = 2


class Queue(StrEnum):
    """The queues; CELERY_TASK_ROUTES says which task goes to which."""

    INFERENCE = "inference"
    GENERAL = "general"
    SHADOW = "shadow"
    TRAINING = "training"


def messages_waiting(*queues: Queue) -> list[int]:
    """How many messages each queue has that no worker has taken yet.

    Raises:
        kombu.exceptions.OperationalError: the broker does not answer.
    """
    with current_app.connection_for_read(connect_timeout=BROKER_SECONDS) as link:
        link.ensure_connection(max_retries=1, timeout=BROKER_SECONDS)
        channel: Any = link.default_channel
        return [int(channel.queue_declare(queue.value).message_count) for queue in queues]


def drop_connection() -> None:
    """Close the database's connection after a task was broken off.

    A time limit may strike just after a transaction was begun and before Django knows of it;
    the connection, kept for the next task, would hold its lock for ever.
    """
    if not connection.in_atomic_block:
        connection.close()


class ProjectTask(DjangoTask):
    """A task whose sending may fail without harm: the sweeper sends what is missing."""

    abstract = True

    def before_start(self, task_id: str, args: Any, kwargs: Any) -> None:
        """Celery keeps the worker's connections; one that has broken or aged is let go here."""
        close_old_connections()

    def on_failure(self, exc: Exception, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
        drop_connection()

    def delay_on_commit(  # type: ignore[override]  # the stub promises a result that cannot be
        self, *args: Any, **kwargs: Any
    ) -> None:
        """Send once the present transaction has been committed, at once if there is none."""

        def send() -> None:
            try:
                self.delay(*args, **kwargs)
            except Exception as error:
                logger.warning(
                    "%s was not sent (%s); the sweeper will", self.name, type(error).__name__
                )

        transaction.on_commit(send)


def project_task(*, hours: int = 0, **options: Any) -> Callable[[Callable[..., Any]], Any]:
    """Declare a task with the project's queue rules; CELERY_TASK_ROUTES says its queue.

    The settings have every task acknowledged after it ends, delivered again if its worker dies, and
    keep no result: the database row is the truth. Soft and hard time limits are set here.

    Args:
        hours: limit of a task that takes hours. The broker sends its message again meanwhile,
            so it must find out from its row that it is already being worked on.
    """
    hard = 3600 * hours or settings.TASK_HARD_LIMIT
    return shared_task(
        base=ProjectTask,
        soft_time_limit=hard - (settings.TASK_HARD_LIMIT - settings.TASK_SOFT_LIMIT),
        time_limit=hard,
        **options,
    )


def send_on_commit(name: str, *args: Any) -> None:
    """Send a task by name, so that services need not import the tasks that call them."""
    cast("ProjectTask", current_app.tasks[name]).delay_on_commit(*args)
