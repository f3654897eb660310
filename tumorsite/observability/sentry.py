"""Reports of errors to Sentry, if SENTRY_DSN is set: where in the code, of what type, with ids.

What is reported is chosen, not what is left out: a new field of the library's stays here until
somebody has seen that it names nobody.
"""

from __future__ import annotations

import re
from typing import Any

from tumorsite.observability import context

_KEPT = ("event_id", "timestamp", "level", "platform", "release", "environment", "logger", "sdk")
_FRAME = ("filename", "function", "module", "lineno", "in_app")
_OURS = {"tumorsite", "predictions", "accounts", "education", "mltasks", "training"}
_NAME = re.compile(r"[\w.]+", re.ASCII)


def begin() -> None:
    """Report errors from now on. Opens no connection and starts no thread before the first.

    A process that was forked begins anew: its parent may have been sending a report, that of the
    child it replaces, say, and the lock its thread held would be held in the child for ever.
    """
    from tumorsite.settings.values import values

    if not values.SENTRY_DSN:
        return
    import logging

    import sentry_sdk
    from sentry_sdk.integrations.atexit import AtexitIntegration
    from sentry_sdk.integrations.celery import CeleryIntegration
    from sentry_sdk.integrations.dedupe import DedupeIntegration
    from sentry_sdk.integrations.django import DjangoIntegration
    from sentry_sdk.integrations.logging import LoggingIntegration

    sentry_sdk.init(
        dsn=values.SENTRY_DSN,
        environment=values.SENTRY_ENVIRONMENT,
        send_default_pii=False,
        include_local_variables=False,
        include_source_context=False,
        max_request_body_size="never",
        max_breadcrumbs=0,
        auto_session_tracking=False,
        enable_backpressure_handling=False,
        default_integrations=False,
        integrations=[
            DjangoIntegration(
                transaction_style="function_name",
                middleware_spans=False,
                signals_spans=False,
                cache_spans=False,
            ),
            CeleryIntegration(propagate_traces=False),
            LoggingIntegration(level=None, event_level=logging.ERROR),
            DedupeIntegration(),
            AtexitIntegration(callback=lambda _pending, _timeout: None),
        ],
        before_send=scrubbed,
    )


def scrubbed(event: Any, hint: Any) -> Any:
    """The report without who, what file, what was sent and what was said."""
    kept: dict[str, Any] = {name: event[name] for name in _KEPT if name in event}
    if _NAME.fullmatch(str(event.get("transaction", ""))):
        kept["transaction"] = event["transaction"]
    if "exception" in event:
        kept["exception"] = {"values": [_error(one) for one in event["exception"]["values"]]}
    if "message" in (event.get("logentry") or {}) and _is_ours(event):
        # The words of our code, without what was put into them. Others put it in beforehand.
        kept["logentry"] = {"message": event["logentry"]["message"]}
    job = context.job.get()
    kept["tags"] = {
        name: value
        for name, value in (
            ("part", context.part()),
            ("request_id", context.request_id.get()),
            ("task_id", job.task_id),
            ("task", job.task),
            ("prediction_id", job.prediction_id),
        )
        if value != context.NONE
    }
    return kept


def _is_ours(event: Any) -> bool:
    return str(event.get("logger", "")).partition(".")[0] in _OURS


def _error(error: dict[str, Any]) -> dict[str, Any]:
    """Type and place of an exception; its message may quote anything."""
    kept = {name: error[name] for name in ("type", "module") if error.get(name)}
    frames = (error.get("stacktrace") or {}).get("frames") or []
    kept["stacktrace"] = {
        "frames": [{name: frame[name] for name in _FRAME if name in frame} for frame in frames]
    }
    return kept
