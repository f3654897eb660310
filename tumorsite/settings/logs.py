"""One line a record on standard error, with the request it belongs to; no identities."""

from typing import Any

from tumorsite.observability.logs import FORMATTERS
from tumorsite.settings.values import values

LOGGING: dict[str, Any] = {
    "version": 1,
    "disable_existing_loggers": False,
    "filters": {
        "context": {"()": "tumorsite.observability.logs.ContextFilter"},
        "path": {"()": "tumorsite.observability.logs.PathFilter"},
        "flood": {"()": "tumorsite.observability.logs.FloodFilter"},
        "health": {"()": "tumorsite.observability.logs.HealthFilter"},
    },
    "formatters": {"line": FORMATTERS[values.LOG_FORMAT]},
    "handlers": {
        "stderr": {
            "class": "logging.StreamHandler",
            "formatter": "line",
            "filters": ["context", "path"],
        }
    },
    "root": {"handlers": ["stderr"], "level": values.LOG_LEVEL},
    "loggers": {
        "django": {"handlers": [], "propagate": True},
        "django.request": {"filters": ["flood", "health"]},
        "django.server": {"handlers": [], "propagate": True},
        # A line for every request is for machines: a page that waits asks each second.
        "tumorsite.requests": {"level": "INFO" if values.LOG_FORMAT == "json" else "WARNING"},
        # fontTools tells of every glyph table it subsets for a report.
        "fontTools": {"level": "WARNING"},
        "botocore": {"level": "WARNING"},
        # It tells of each build of it for other processors that it looks for and does not find.
        "faiss": {"level": "WARNING"},
        # It names addresses, with the people and sometimes the passwords in them.
        "apprise": {"level": "CRITICAL"},
        # Two lines for every task, the sweeper's every few seconds among them.
        "celery.worker.strategy": {"level": "WARNING"},
        "celery.app.trace": {"level": "WARNING"},
        # Each task that it sends, likewise.
        "celery.beat": {"level": "WARNING"},
        # Wagtail indexes each saved page in tasks that tell of every state they pass.
        "django_tasks": {"level": "WARNING"},
    },
}
