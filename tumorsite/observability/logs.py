"""Log lines for people or for machines, with the ids they belong to and without identities."""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from http import HTTPStatus
from typing import Any

from tumorsite.observability import context
from tumorsite.observability.privacy import cleaned

# What a record may carry besides its message: the names of `extra` that get into JSON.
EXTRA = ("prediction_id", "route", "method", "status", "seconds", "attempt")


class ContextFilter(logging.Filter):
    """Puts the ids of the present work into each log record."""

    def filter(self, record: logging.LogRecord) -> bool:
        job = context.job.get()
        record.request_id = context.request_id.get()
        record.task_id, record.task = job.task_id, job.task
        if not hasattr(record, "prediction_id"):
            record.prediction_id = job.prediction_id
        return True


class PathFilter(logging.Filter):
    """Puts the template of an address in place of the address, which may name a person.

    Django tells of refused requests with the path, or the host, that somebody has typed.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        request = getattr(record, "request", None)
        path = getattr(request, "path", None)
        if path is None:
            return True
        if record.name.startswith("django.security.") and record.name != "django.security.csrf":
            record.msg, record.args = "a request was refused: %s", (record.name[16:],)
            record.exc_info = record.exc_text = None
        elif isinstance(record.args, tuple):
            route = route_of(request)
            record.args = tuple(route if arg == path else arg for arg in record.args)
        return True


class FloodFilter(logging.Filter):
    """Drops what Django says of each throttled request: a flood would fill the disk with it.

    The metrics count them.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        return getattr(record, "status_code", None) != HTTPStatus.TOO_MANY_REQUESTS


class HealthFilter(logging.Filter):
    """Drops what Django says of each 503 of the health page: that is asked again and again.

    `tumorsite.health` says once which part does not answer, and when it does again. An exception
    of the page's own is told.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        match = getattr(getattr(record, "request", None), "resolver_match", None)
        return bool(record.exc_info) or getattr(match, "view_name", None) != "health"


def route_of(request: Any) -> str:
    """The template of the address that was asked for; there are few of them."""
    match = getattr(request, "resolver_match", None)
    if match is not None:
        return f"/{match.route}"
    return "/static/" if request.path.startswith("/static/") else "(none)"


class TextFormatter(logging.Formatter):
    """A line for people."""

    def format(self, record: logging.LogRecord) -> str:
        return cleaned(super().format(record))


class JsonFormatter(logging.Formatter):
    """One JSON object a line; fields that have nothing to say are left out."""

    def format(self, record: logging.LogRecord) -> str:
        seconds, milliseconds = int(record.created), int(record.msecs)
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
        fields: dict[str, Any] = {
            "time": f"{moment}.{milliseconds:03}Z",
            "level": record.levelname,
            "part": context.part(),
            "logger": record.name,
            "message": cleaned(record.getMessage()),
            "pid": os.getpid(),
        }
        for name in ("request_id", "task_id", "task", *EXTRA):
            value = getattr(record, name, context.NONE)
            if value not in {context.NONE, ""}:
                fields[name] = value
        if record.exc_info and not record.exc_text:
            record.exc_text = self.formatException(record.exc_info)
        if record.exc_text:
            fields["exception"] = cleaned(record.exc_text)
        return json.dumps(fields, ensure_ascii=False, default=str)


FORMATTERS: dict[str, dict[str, Any]] = {
    "text": {
        "()": TextFormatter,
        "fmt": "{asctime} {levelname} {name} [{request_id}] {message}",
        "style": "{",
    },
    "json": {"()": JsonFormatter},
}


def handler(kind: str) -> logging.Handler:
    """A handler as the settings make it, for servers that speak before there are settings."""
    options = dict(FORMATTERS[kind])
    made = logging.StreamHandler(sys.stderr)
    made.setFormatter(options.pop("()")(**options))
    made.addFilter(ContextFilter())
    made.addFilter(PathFilter())
    return made
