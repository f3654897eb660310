"""An inference worker: one network in its one child process, ready before it takes a task.

Nothing here runs in the parent but a check of the model's files: a network, or its threads,
must not be there when the pool forks.
"""

from __future__ import annotations

import logging
import mmap
import os
import signal
from typing import Any

from celery.signals import (
    celeryd_init,
    task_postrun,
    task_prerun,
    worker_process_init,
    worker_shutting_down,
)
from django.db import DatabaseError, connections

from mltasks.inference import ModelError
from predictions import serving
from predictions.models import ModelVersion
from predictions.storage import StorageUnavailableError
from tumorsite.observability import jobs

logger = logging.getLogger(__name__)

NODE_PREFIX = "inference@"

# Memory that the child shares with the parent that forked it: the child's pid once it is ready.
_ready = mmap.mmap(-1, 8)
# The same, from the parent to the child: 1 once the worker was told to stop.
_stopping = mmap.mmap(-1, 1)
_is_inference_node = False
_serving = serving.Serving()


def next_network() -> serving.Loaded:
    """The network that answers the next pass; see `Serving.next`.

    Raises:
        mltasks.inference.ModelError: it cannot be used.
    """
    return _serving.next()


def loaded_version() -> ModelVersion | None:
    """The record of the network that is loaded in this process, if there is one."""
    return _serving.loaded_version()


def ready_pid() -> int:
    """The child that has a network loaded, 0 if there is none yet."""
    return int.from_bytes(_ready[:8], "little")


def stopping() -> bool:
    """Whether the worker was told to stop: what it has begun is to be its last."""
    return _stopping[0] == 1


def _on_stop(**_: Any) -> None:
    _stopping[0] = 1


def _before_fork(sender: str = "", **_: Any) -> None:
    global _is_inference_node  # noqa: PLW0603  # the child learns its role by inheriting this
    _is_inference_node = sender.startswith(NODE_PREFIX)
    if not _is_inference_node:
        return
    from predictions import control  # noqa: F401  # registers the remote command

    try:
        serving.check_production()
    except (ModelError, StorageUnavailableError) as error:
        raise SystemExit(f"The inference worker cannot start: {error}") from None
    except DatabaseError as error:
        reason = " ".join(str(error).split())
        raise SystemExit(
            f"The inference worker cannot start: the database cannot be used: {reason}"
        ) from None
    finally:
        # The child must not share a connection with its parent.
        connections.close_all()


def _after_fork(**_: Any) -> None:
    if not _is_inference_node:
        return
    try:
        loaded = _serving.start()
    except Exception as error:
        logger.critical("the network cannot be used, the worker stops: %s", error)
        os.kill(os.getppid(), signal.SIGTERM)
        os._exit(1)
    _serving.watch()
    _ready[:8] = os.getpid().to_bytes(8, "little")
    jobs.say_ready()
    logger.info("%s is loaded and warm", loaded.version)


def _before_task(**_: Any) -> None:
    if _is_inference_node:
        _serving.task_started()


def _after_task(**_: Any) -> None:
    if _is_inference_node:
        _serving.task_finished()


def connect() -> None:
    """Hook into Celery's start; harmless in every other process."""
    celeryd_init.connect(_before_fork, weak=False, dispatch_uid="predictions.before_fork")
    worker_process_init.connect(_after_fork, weak=False, dispatch_uid="predictions.after_fork")
    worker_shutting_down.connect(_on_stop, weak=False, dispatch_uid="predictions.on_stop")
    task_prerun.connect(_before_task, weak=False, dispatch_uid="predictions.before_task")
    task_postrun.connect(_after_task, weak=False, dispatch_uid="predictions.after_task")
