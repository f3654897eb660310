"""What the present thread works on: the ids that logs, traces and reports of errors carry."""

from __future__ import annotations

import re
import uuid
from contextvars import ContextVar
from dataclasses import dataclass

NONE = "-"
# The name of the id in the headers of a message. Never an argument: those are the task's own.
MESSAGE_HEADER = "x_request_id"
# Hexadecimal, as proxies make them: an id that may hold words may hold somebody's name.
_ACCEPTED = re.compile(r"[0-9A-Fa-f-]{8,64}", re.ASCII)

request_id: ContextVar[str] = ContextVar("request_id", default=NONE)


@dataclass(frozen=True, slots=True)
class Job:
    """A task that is being run."""

    task_id: str = NONE
    task: str = NONE
    prediction_id: str = NONE


NO_JOB = Job()
job: ContextVar[Job] = ContextVar("job", default=NO_JOB)

_part = "manage"


def set_part(name: str) -> None:
    """Name this process, and those it will fork: web, inference, general, training or beat."""
    global _part  # noqa: PLW0603  # a process is one part for all its life
    _part = name


def part() -> str:
    return _part


def new_id() -> str:
    return uuid.uuid4().hex[:12]


def accepted(value: object) -> str | None:
    """An id that came from elsewhere, if it is one."""
    return value if isinstance(value, str) and _ACCEPTED.fullmatch(value) else None


def begin_job(value: object, begun: Job) -> None:
    """A task starts that a request with this id has caused."""
    request_id.set(accepted(value) or NONE)
    job.set(begun)


def end_request(**_: object) -> None:
    """The response is closed: what this thread says next is no part of it."""
    request_id.set(NONE)


def end_job() -> None:
    request_id.set(NONE)
    job.set(NO_JOB)
