"""Run one service and end the process, as `kill -9` would, just before its nth write.

Writes are objects stored, rows written, commits and messages sent. Each n runs in a forked
process of its own; the last one reaches the end. Prints how many ended early.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch
from uuid import UUID, uuid4

import django

ENDED, REACHED = 9, 0


class Countdown:
    """Ends the process just before the nth write."""

    def __init__(self, number: int) -> None:
        self.left = number

    def tick(self) -> None:
        self.left -= 1
        if self.left == 0:
            os._exit(ENDED)

    def before(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*args: Any, **kwargs: Any) -> Any:
            self.tick()
            return function(*args, **kwargs)

        return counted

    def before_writes(
        self, execute: Callable[..., Any], sql: str, params: Any, many: bool, context: Any
    ) -> Any:
        if sql.lstrip().upper().startswith(("INSERT", "UPDATE", "DELETE")):
            self.tick()
        return execute(sql, params, many, context)


def _arm(number: int) -> None:
    from celery.app.task import Task
    from django.db import connection

    from predictions import storage

    countdown = Countdown(number)
    connection.ensure_connection()
    connection.execute_wrappers.append(countdown.before_writes)
    for owner, name in ((storage, "put"), (connection, "_commit"), (Task, "apply_async")):
        patch.object(owner, name, countdown.before(getattr(owner, name))).start()


def _submit(number: int) -> None:
    from predictions.services.submission import submit_scan
    from tests.support.pictures import mri_png

    content = mri_png(seed=number)
    _arm(number)
    submit_scan(file=io.BytesIO(content), name=f"{number}.png", visitor=uuid4())


def _complete(number: int, prediction_id: str) -> None:
    from predictions.models import Prediction
    from predictions.services import lifecycle
    from tests.support.records import analysis

    row = Prediction.objects.select_related("model_version", "scan").get(pk=UUID(prediction_id))
    _arm(number)
    [claimed] = lifecycle.claim(
        prediction_id=prediction_id,
        model_version=row.model_version,
        task_id=f"interrupted-{number}",
        limit=1,
    )
    answer = analysis(width=row.scan.width, height=row.scan.height)
    keys = lifecycle.store_pictures(prediction=claimed, analysis=answer)
    lifecycle.complete(prediction=claimed, analysis=answer, keys=keys)


def _register(number: int, folder: str) -> None:
    from predictions.services import registry
    from tests.support.networks import write_network

    made = write_network(Path(folder) / str(number), b"weights", version=f"cut-{number}")
    _arm(number)
    registry.register(folder=made)


def main(service: str, *ids: str) -> None:
    django.setup()
    if service == "register":
        # Before the forks, as it takes a while.
        import tests.support.networks  # noqa: F401
    for number in range(1, 40):
        pid = os.fork()
        if pid == 0:
            if service == "submit":
                _submit(number)
            elif service == "register":
                _register(number, ids[0])
            else:
                _complete(number, ids[number - 1])
            os._exit(REACHED)
        _, status = os.waitpid(pid, 0)
        if os.waitstatus_to_exitcode(status) == REACHED:
            print(number - 1)
            return
        assert os.waitstatus_to_exitcode(status) == ENDED, status
    raise SystemExit("it never reached the end")


if __name__ == "__main__":
    main(*sys.argv[1:])
