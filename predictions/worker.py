"""An inference worker: one network in its one child process, ready before it takes a task.

Nothing here runs in the parent but a check of the model folder: a network, or its threads,
must not be there when the pool forks.
"""

from __future__ import annotations

import functools
import logging
import mmap
import os
import signal
from typing import Any

from celery.signals import celeryd_init, worker_process_init
from django.conf import settings

from mltasks.inference import Analyzer, ModelError, load_analyzer, read_model
from predictions.models import ModelVersion

logger = logging.getLogger(__name__)

NODE_PREFIX = "inference@"

# Memory that the child shares with the parent that forked it: the child's pid once it is ready.
_ready = mmap.mmap(-1, 8)
_is_inference_node = False


@functools.cache
def analyzer() -> Analyzer:
    """This process's network, loaded on first use.

    Raises:
        mltasks.inference.ModelError: the model folder holds no sound model.
    """
    return load_analyzer(
        settings.MODEL_DIR, engine=settings.INFERENCE_ENGINE, threads=settings.INFERENCE_THREADS
    )


@functools.cache
def model_version() -> ModelVersion:
    """The record of this process's network.

    Raises:
        ModelVersion.DoesNotExist: it has not been registered with this site.
    """
    return ModelVersion.objects.get(digest=analyzer().digest)


def ready_pid() -> int:
    """The child that has a network loaded, 0 if there is none yet."""
    return int.from_bytes(_ready[:8], "little")


def _before_fork(sender: str = "", **_: Any) -> None:
    global _is_inference_node  # noqa: PLW0603  # the child learns its role by inheriting this
    _is_inference_node = sender.startswith(NODE_PREFIX)
    if not _is_inference_node:
        return
    from predictions import control  # noqa: F401  # registers the remote command

    try:
        read_model(settings.MODEL_DIR)
    except ModelError as error:
        raise SystemExit(f"The inference worker cannot start: {error}") from None


def _after_fork(**_: Any) -> None:
    if not _is_inference_node:
        return
    try:
        analyzer().warm_up()
        model_version()
    except Exception as error:
        logger.critical("the network cannot be used, the worker stops: %s", error)
        os.kill(os.getppid(), signal.SIGTERM)
        os._exit(1)
    _ready[:8] = os.getpid().to_bytes(8, "little")
    logger.info("%s is loaded and warm", analyzer().name)


def connect() -> None:
    """Hook into Celery's start; harmless in every other process."""
    celeryd_init.connect(_before_fork, weak=False, dispatch_uid="predictions.before_fork")
    worker_process_init.connect(_after_fork, weak=False, dispatch_uid="predictions.after_fork")
