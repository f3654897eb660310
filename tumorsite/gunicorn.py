"""How gunicorn serves the site: `gunicorn --config python:tumorsite.gunicorn tumorsite.wsgi`."""

from pathlib import Path
from typing import Any

from tumorsite.observability import context, exposition, sentry, tracing
from tumorsite.settings.values import values

_host = f"[{values.HOST}]" if ":" in values.HOST else values.HOST

bind = [f"{_host}:{values.PORT}"]
proc_name = "tumorsite"
worker_class = "gthread"
workers = values.WEB_WORKERS
threads = values.WEB_THREADS
# The code is loaded once and shared: a new worker is there at once, in less memory.
preload_app = True
timeout = 60
graceful_timeout = values.STOP_SECONDS
keepalive = 5
max_requests = 5000
max_requests_jitter = 500
# The address of the peer counts unless the operator says that proxies stand before the site.
forwarded_allow_ips = "*" if values.PROXY_COUNT else ""
# Heartbeats of the workers belong in memory, or a slow disk makes them look dead.
worker_tmp_dir = "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108  # not a file's name
logger_class = "tumorsite.observability.gunicorn_logs.GunicornLogs"
loglevel = values.LOG_LEVEL.lower()
# Its socket would lie in the user's home.
control_socket_disable = True


context.set_part("web")


def on_starting(server: Any) -> None:
    """Before workers are forked."""
    exposition.begin("web")


def post_fork(server: Any, worker: Any) -> None:
    sentry.begin()
    exposition.serve()


def worker_exit(server: Any, worker: Any) -> None:
    tracing.flush()
