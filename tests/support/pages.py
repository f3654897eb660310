"""The pages alone: Django's own server in a process, for tests that need a browser but no queue."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.request import urlopen

from django.conf import settings

from tests.support.processes import Process, free_port, wait_until


@contextmanager
def served_pages(migrated: Path, folder: Path, *commands: list[str]) -> Iterator[int]:
    """Serve the pages with their data in `folder`.

    Args:
        migrated: a data folder to begin with a copy of.
        commands: of manage.py, run before the server.

    Yields:
        The port.
    """
    shutil.copytree(migrated, folder, dirs_exist_ok=True)
    port = free_port()
    env = {
        **{name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ},
        "DJANGO_SETTINGS_MODULE": "tumorsite.settings",
        "DATA_DIR": str(folder),
        "BROKER_URL": os.environ["BROKER_URL"],
        "DEBUG": "true",  # static files without collecting them
        "REQUESTS_PER_MINUTE": "1000000",
        "LOG_LEVEL": "WARNING",
        "PORT": str(port),
    }
    manage = [sys.executable, str(settings.BASE_DIR / "manage.py")]
    for command in commands:
        subprocess.run([*manage, *command], env=env, check=True, stdout=subprocess.DEVNULL)
    server = Process(
        [*manage, "runserver", "--noreload", f"127.0.0.1:{port}"], log=folder / "log", env=env
    )
    server.start()

    def answers() -> bool:
        try:
            with urlopen(f"http://127.0.0.1:{port}/health/live/", timeout=2) as response:  # http
                return bool(response.status == 200)
        except OSError:
            return False

    try:
        wait_until(answers, seconds=60, what="the site to answer")
        yield port
    finally:
        server.kill()
