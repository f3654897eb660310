"""One line a record on standard error, with the request it belongs to; no identities."""

from typing import Any

from tumorsite.settings.values import values

LOGGING: dict[str, Any] = {
    "version": 1,
    "disable_existing_loggers": False,
    "filters": {"request_id": {"()": "tumorsite.middleware.RequestIdFilter"}},
    "formatters": {
        "line": {
            "format": "{asctime} {levelname} {name} [{request_id}] {message}",
            "style": "{",
        }
    },
    "handlers": {
        "stderr": {
            "class": "logging.StreamHandler",
            "formatter": "line",
            "filters": ["request_id"],
        }
    },
    "root": {"handlers": ["stderr"], "level": values.LOG_LEVEL},
    "loggers": {
        "django": {"handlers": [], "propagate": True},
        "django.server": {"handlers": [], "propagate": True},
        # fontTools tells of every glyph table it subsets for a report.
        "fontTools": {"level": "WARNING"},
        "botocore": {"level": "WARNING"},
        # It names addresses, with the people and sometimes the passwords in them.
        "apprise": {"level": "CRITICAL"},
        # Two lines for every task, the sweeper's every few seconds among them.
        "celery.worker.strategy": {"level": "WARNING"},
        "celery.app.trace": {"level": "WARNING"},
        # Wagtail indexes each saved page in tasks that tell of every state they pass.
        "django_tasks": {"level": "WARNING"},
    },
}
