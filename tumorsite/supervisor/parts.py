"""The parts of the site, each as what its child process does."""

from __future__ import annotations

import hashlib
import os
import socket
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

# What a part writes, alone on a line, once it is ready.
READY = b"\x06"

FIRST_WAIT, LONGEST_WAIT = 1.0, 30.0
# A part that has lived this long before it crashed starts again without a long wait.
SETTLED_SECONDS = 60.0


@dataclass
class Part:
    """One child process and what the supervisor knows of it."""

    name: str
    run: Callable[[], object]
    keep: tuple[int, ...] = ()
    pid: int = 0
    ready: bool = False
    was_ready: bool = False
    once: bool = False
    failures: int = 0
    started_at: float = 0.0
    start_again_at: float = 0.0
    last_words: str = ""

    def ended(self) -> float:
        """Note an unexpected end; returns the seconds to wait before the next start."""
        if self.was_ready and time.monotonic() - self.started_at > SETTLED_SECONDS:
            self.failures = 0
        self.pid, self.ready = 0, False
        self.failures += 1
        wait = min(LONGEST_WAIT, FIRST_WAIT * 2 ** (self.failures - 1))
        self.start_again_at = time.monotonic() + wait
        return wait


def load_code() -> None:
    """Import all that the parts need, once, so that every fork has it already."""
    import django

    django.setup()

    import gunicorn.app.wsgiapp
    import gunicorn.workers.gthread  # noqa: F401
    from django.urls import get_resolver

    from tumorsite.celery import app

    app.loader.import_default_modules()
    app.finalize()
    _ = get_resolver().url_patterns


def site_parts(listener: socket.socket) -> list[Part]:
    """Web, inference workers, general worker and scheduler, by the settings."""
    from django.conf import settings

    from tumorsite.settings.values import values

    level = ["--loglevel", values.LOG_LEVEL]
    # Several sites may share a broker, where a node's name must be its own.
    folder = hashlib.sha256(str(settings.DATA_DIR).encode()).hexdigest()[:6]
    host = f"{socket.gethostname()}-{folder}"

    def worker(name: str, queue: str, node: str, number: int) -> Part:
        pool = ["--pool", "prefork", "--concurrency", "1", "--without-gossip", "--without-mingle"]
        arguments = ["worker", *pool, *level, "-Q", queue, "-n", node]
        # Each has its own port for metrics, the ones after that of the web.
        port = values.METRICS_PORT + number if values.METRICS_PORT else 0
        return Part(name, partial(_celery, arguments, metrics_port=port))

    count = values.INFERENCE_WORKERS

    return [
        Part("web", partial(_gunicorn, listener.fileno()), keep=(listener.fileno(),)),
        *(
            worker(f"inference-{number}", "inference", f"inference@{host}-{number}", number)
            for number in range(1, count + 1)
        ),
        worker("general", "general", f"general@{host}", count + 1),
        Part("scheduler", partial(_celery, ["beat", *level, "--pidfile", ""])),
    ]


def preparation() -> Part:
    return Part("prepare", _prepare, once=True)


def _say_ready(sender: object = None, **_: Any) -> None:
    os.write(1, READY + b"\n")


def _ask_broker() -> None:
    """Queue and cache, as without them no part would ever be ready, nor say why.

    Raises:
        SystemExit: one of them does not answer; says what the server or its absence says.
    """
    from django.conf import settings
    from redis import Redis
    from redis.exceptions import RedisError

    for url in (settings.CELERY_BROKER_URL, settings.CACHES["default"]["LOCATION"]):
        try:
            with Redis.from_url(str(url), socket_connect_timeout=5, socket_timeout=5) as server:
                server.ping()
        except RedisError as error:
            raise SystemExit(f"The server of BROKER_URL cannot be used: {error}") from None


def _prepare() -> None:
    from django.core.management import call_command
    from django.core.management.base import CommandError

    _ask_broker()
    try:
        call_command("prepare")
    except CommandError as error:
        raise SystemExit(str(error)) from None


def _celery(arguments: list[str], *, metrics_port: int = 0) -> None:
    import celery.bin.celery
    from celery.exceptions import SecurityWarning
    from celery.signals import beat_init, worker_ready

    from tumorsite.observability import exposition

    exposition.use_port(metrics_port)

    # It warns of root because of pickled messages; this site takes JSON only.
    warnings.simplefilter("ignore", SecurityWarning)
    worker_ready.connect(_say_ready, weak=False)
    beat_init.connect(_say_ready, weak=False)
    arguments = ["--app", "tumorsite", "--quiet", *arguments]
    # Celery shows these in the list of processes.
    sys.argv = ["celery", *arguments]
    celery.bin.celery.celery.main(args=arguments, prog_name="celery", standalone_mode=False)


def _gunicorn(listener: int) -> None:
    from django.contrib.staticfiles.storage import staticfiles_storage
    from gunicorn.app.wsgiapp import WSGIApplication

    static: Any = staticfiles_storage
    # The code was loaded before static files were collected, and with it the list of them.
    static.hashed_files, static.manifest_hash = static.load_manifest()

    class Web(WSGIApplication):
        def load_config(self) -> None:
            super().load_config()
            self.cfg.set("when_ready", lambda _: _say_ready())

    arguments = ["--config", "python:tumorsite.gunicorn", "--bind", f"fd://{listener}"]
    sys.argv = ["gunicorn", *arguments, "tumorsite.wsgi"]
    Web("%(prog)s [OPTIONS] [APP_MODULE]").run()
