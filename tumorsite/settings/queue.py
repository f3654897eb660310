"""Celery and the cache, both on one Redis-protocol server."""

from typing import Any
from urllib.parse import urlsplit, urlunsplit

from tumorsite.settings.values import values

_announced = values.DATA_DIR / "run" / "broker-url"


def _broker_url() -> str:
    """The address given, or that of the server `make run` has started in this data folder."""
    if values.BROKER_URL:
        return str(values.BROKER_URL)
    try:
        return _announced.read_text(encoding="ascii").strip()
    except OSError:
        return "redis://127.0.0.1:6379/0"


def _cache_url(broker: str) -> str:
    """The same server, next database: flushing the cache must not touch the queue."""
    parts = urlsplit(broker)
    number = int(parts.path.strip("/") or 0)
    return urlunsplit(parts._replace(path=f"/{number + 1}"))


CELERY_BROKER_URL = _broker_url()

TASK_HARD_LIMIT = values.TASK_HARD_LIMIT
TASK_SOFT_LIMIT = max(1, TASK_HARD_LIMIT - 5)

CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_DEFAULT_QUEUE = "general"
CELERY_TASK_ROUTES = {
    "predictions.tasks.analyze_prediction": {"queue": "inference"},
    "predictions.tasks.run_shadow": {"queue": "shadow"},
    "training.tasks.train": {"queue": "training"},
}
CELERY_TASK_ACKS_LATE = True
CELERY_TASK_REJECT_ON_WORKER_LOST = True
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
# Without it, each task would open the database anew, which costs more than a forward pass.
CELERY_DB_REUSE_MAX = 10_000
# Loading a network takes longer than the four seconds after which a child is thought dead.
CELERY_WORKER_PROC_ALIVE_TIMEOUT = 120
# SIGTERM waits for as long as the task takes; SIGQUIT (or SIGTERM with REMAP_SIGTERM=SIGQUIT)
# this long. Then the child ends and its message goes back to the queue.
CELERY_WORKER_SOFT_SHUTDOWN_TIMEOUT = float(values.SOFT_SHUTDOWN_SECONDS)
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_CONNECTION_MAX_RETRIES = None
CELERY_BROKER_CHANNEL_ERROR_RETRY = True
CELERY_BROKER_TRANSPORT_OPTIONS = {
    # Above the hard limit, or a running task would be delivered a second time.
    "visibility_timeout": 4 * TASK_HARD_LIMIT + 60,
    "socket_timeout": 10,
    "socket_connect_timeout": 2,
    "socket_keepalive": True,
    "health_check_interval": 10,
    "retry_on_timeout": True,
}
# Nobody waits for a broker that is away or hangs: the sweeper sends the message later.
CELERY_TASK_PUBLISH_RETRY = False
PUBLISH_OPTIONS = {
    "socket_timeout": 1,
    "socket_connect_timeout": 1,
    "retry_on_timeout": False,
    "max_retries": 1,
    "interval_start": 0,
}
CELERY_BEAT_SCHEDULE_FILENAME = str(values.DATA_DIR / "run" / "schedule")
CELERY_BEAT_SCHEDULE: dict[str, dict[str, Any]] = {
    "sweep": {"task": "predictions.tasks.sweep", "schedule": values.SWEEP_SECONDS},
    "training": {"task": "training.tasks.sweep", "schedule": 60},
    "leftovers": {"task": "training.tasks.tidy", "schedule": 86400},
    "shadow": {"task": "predictions.tasks.ask_shadow", "schedule": 10},
    "erase": {"task": "predictions.tasks.erase_deleted", "schedule": 60},
    "orphans": {"task": "predictions.tasks.check_orphans", "schedule": 3600},
    "retention": {"task": "predictions.tasks.expire_anonymous", "schedule": 3600},
    "accesses": {"task": "predictions.tasks.expire_accesses", "schedule": 3600},
    "sessions": {"task": "accounts.tasks.clear_sessions", "schedule": 86400},
    "strays": {"task": "accounts.tasks.adopt_strays", "schedule": 60},
    "erasures": {"task": "accounts.tasks.finish_erasures", "schedule": 60},
    "pages": {"task": "tumorsite.tasks.publish_scheduled", "schedule": 60},
}
if values.DRIFT_HOURS:
    CELERY_BEAT_SCHEDULE["drift"] = {"task": "predictions.tasks.check_drift", "schedule": 3600}
if values.TRAINING_DATASET and values.TRAINING_RECIPE:
    CELERY_BEAT_SCHEDULE["look"] = {
        "task": "training.tasks.look",
        "schedule": values.TRAINING_CHECK_SECONDS,
    }
# While no worker listens, the last message of each is enough: those before it are void by then. Not
# in less than a minute, as the clocks of two machines may differ by seconds.
for _entry in CELERY_BEAT_SCHEDULE.values():
    _entry["options"] = {"expires": max(60, _entry["schedule"])}

CACHES = {
    "default": {
        "BACKEND": "tumorsite.cache.ForgivingRedisCache",
        "LOCATION": _cache_url(CELERY_BROKER_URL),
        "KEY_FUNCTION": "tumorsite.cache.hidden_key",
        "OPTIONS": {"socket_timeout": 1, "socket_connect_timeout": 0.5},
    }
}
