"""The whole site in processes of its own: web, inference worker, general worker, scheduler."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
from django.conf import settings

from tests.support.http import Browser
from tests.support.processes import PATIENCE, Process, free_port, wait_until
from tests.support.servers import S3, Valkey

ROOT = Path(__file__).parent.parent.parent
BIN = Path(sys.executable).parent
# Short, so that what a dead worker held is soon found; long enough for a pass on a busy machine.
HARD_LIMIT = 20


def _environment(folder: Path, **extra: str) -> dict[str, str]:
    # Coverage is not among them: it makes the processes of a site a third slower, and the
    # supervisor's tests measure the same ones.
    return {
        **{name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ},
        "DJANGO_SETTINGS_MODULE": "tumorsite.settings",
        "PYTHONPATH": str(ROOT),
        "DATA_DIR": str(folder),
        # A copy, as training may write a new network while the tests run.
        "MODEL_DIR": str(folder / "model"),
        "TASK_HARD_LIMIT": str(HARD_LIMIT),
        "SWEEP_SECONDS": "1",
        "INFERENCE_THREADS": "1",
        "REQUESTS_PER_MINUTE": "1000000",
        "SUBMISSIONS_PER_MINUTE": "100000",
        **extra,
    }


def _manage(folder: Path, command: str, **extra: str) -> None:
    subprocess.run(
        [sys.executable, ROOT / "manage.py", command],
        env=_environment(folder, **extra),
        check=True,
        stdout=subprocess.DEVNULL,
    )


def migrate(folder: Path) -> None:
    """Make a data folder with an empty database: most of what a first start takes its time for."""
    shutil.copytree(settings.MODEL_DIR, folder / "model")
    _manage(folder, "migrate")


def migrate_server(folder: Path, url: str) -> None:
    """The same in a database of a server, with an empty data folder beside it."""
    _manage(folder, "migrate", DATABASE_URL=url)


def prepare(migrated: Path, folder: Path) -> None:
    """Make a data folder as the site itself does at its first start, for sites to copy."""
    shutil.copytree(migrated, folder, dirs_exist_ok=True)
    _manage(folder, "prepare")


class Site:
    """A running site.

    Attributes:
        web, worker, general, beat: its parts, each a process group.
    """

    def __init__(self, prepared: Path, folder: Path, *, s3: S3 | None = None, **extra: str) -> None:
        self.folder = folder / "data"
        shutil.copytree(prepared, self.folder)
        self.s3 = s3
        self.valkey = Valkey(folder)
        self.port = free_port()
        self.env = _environment(
            self.folder,
            BROKER_URL=self.valkey.url,
            PORT=str(self.port),
            **(s3.environment() if s3 else {}),
            **extra,
        )
        self.logs = folder
        self.schedule = folder / "schedule"
        self.web, self.worker, self.general, self.beat = self.release("test", self.env)
        self.parts = (self.beat, self.general, self.worker, self.web)

    def release(self, name: str, env: dict[str, str]) -> tuple[Process, Process, Process, Process]:
        """Web, inference worker, general worker and scheduler, not started yet.

        Args:
            name: distinguishes them from those of another release.
            env: their settings, which differ between releases.
        """
        mark = "" if name == "test" else f"-{name}"
        return (
            Process(
                [BIN / "gunicorn", "--config", "python:tumorsite.gunicorn", "tumorsite.wsgi"],
                log=self.logs / f"web{mark}.log",
                env=env,
            ),
            self.inference_worker("tumorsite", self.logs / f"worker{mark}.log", name, env),
            self._celery(
                env, "tumorsite", "worker", "-Q", "general", "-n", f"general@{name}", "-c", "1",
                log=self.logs / f"general{mark}.log",
            ),
            self._celery(
                env, "tumorsite", "beat", "-s", str(self.schedule), "--pidfile=",
                log=self.logs / f"beat{mark}.log",
            ),
        )  # fmt: skip

    def _celery(self, env: dict[str, str], app: str, *arguments: str, log: Path) -> Process:
        return Process([BIN / "celery", "-A", app, *arguments], log=log, env=env)

    def inference_worker(
        self, app: str, log: Path, name: str = "test", env: dict[str, str] | None = None
    ) -> Process:
        """A worker of the inference queue, not started yet."""
        return self._celery(
            env or self.env, app, "worker", "-Q", "inference", "-n", f"inference@{name}",
            "--loglevel", "INFO", "--pool", "prefork", "-c", "1",
            "--without-gossip", "--without-mingle", log=log,
        )  # fmt: skip

    def training_worker(self, folder: Path) -> Process:
        """A worker of the training queue on a disk of its own, not started yet."""
        (folder / "data").mkdir(parents=True)
        own = {
            "DATA_DIR": str(folder / "data"),
            "DATABASE_URL": f"sqlite:///{self.folder / 'db.sqlite3'}",
        }
        command = (
            *("-A", "tests.support.training_worker", "worker", "-Q", "training"),
            *("-n", "training@test", "-c", "1"),
        )
        return Process(
            [BIN / "celery", *command], log=folder / "training.log", env={**self.env, **own}
        )

    def start(self) -> None:
        self.valkey.start()
        if self.s3:
            # The folder was prepared without it: its network has to be in this store, too.
            subprocess.run(
                [sys.executable, ROOT / "manage.py", "model", "bundled"],
                env=self.env,
                check=True,
                stdout=subprocess.DEVNULL,
            )
        for part in self.parts:
            part.start()
        wait_until(lambda: self.health()[0] == 200, seconds=90, what="a healthy site", pause=0.3)

    def stop(self) -> None:
        for part in (*self.parts, self.valkey):
            part.kill()

    def health(self) -> tuple[int, str]:
        with contextlib.suppress(OSError):
            answer = Browser(self.url).get("/health/")
            return answer.status, answer.text
        return 0, "no answer"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def run(self, module: str, *arguments: str) -> str:
        """The last line that a test-only process on the site's data folder prints."""
        done = subprocess.run(
            [sys.executable, "-m", module, *arguments],
            env=self.env,
            cwd=ROOT,
            check=True,
            stdout=subprocess.PIPE,
            timeout=600,
        )
        return done.stdout.decode().splitlines()[-1]

    # --- what the database and the store hold -------------------------------------------------

    @contextlib.contextmanager
    def database(self) -> Iterator[sqlite3.Connection]:
        connection = sqlite3.connect(self.folder / "db.sqlite3", timeout=60, isolation_level=None)
        connection.row_factory = sqlite3.Row
        try:
            yield connection
        finally:
            connection.close()

    def predictions(self) -> dict[str, dict[str, Any]]:
        """Every prediction by its id, as the addresses of the site spell it."""
        with self.database() as database:
            rows = database.execute("SELECT * FROM predictions_prediction").fetchall()
        return {_dashed(row["id"]): dict(row) for row in rows}

    def scans(self) -> set[str]:
        """The id of every scan, as the database spells it."""
        with self.database() as database:
            return {row["id"] for row in database.execute("SELECT id FROM predictions_scan")}

    def status(self, prediction_id: str) -> str:
        return str(self.predictions()[prediction_id]["status"])

    def objects(self) -> set[str]:
        root = self.folder / "objects"
        return {
            entry.relative_to(root).as_posix()
            for entry in (root / "scans").rglob("*")
            if entry.is_file()
        }

    def recorded(self) -> set[str]:
        """Every object that a row names."""
        with self.database() as database:
            scans = database.execute(
                "SELECT image_key, thumbnail_key FROM predictions_scan"
            ).fetchall()
            predictions = database.execute(
                "SELECT area_key, outline_key, attention_key, contours_key "
                "FROM predictions_prediction"
            ).fetchall()
        return {key for row in (*scans, *predictions) for key in row if key}

    def wait_for(self, ids: list[str], *, seconds: float = 60) -> None:
        """Wait until all these predictions have ended."""

        def ended() -> bool:
            rows = self.predictions()
            return all(rows[pk]["status"] not in {"queued", "running"} for pk in ids)

        try:
            wait_until(ended, seconds=seconds, what="predictions to end")
        except TimeoutError as error:
            rows = self.predictions()
            states = [(pk, rows[pk]["status"], rows[pk]["attempt"]) for pk in ids]
            logs = "\n".join(f"--- {p.log.name}\n{p.text()[-3000:]}" for p in self.parts)
            raise AssertionError(f"{error}: {states}\n{logs}") from None

    # --- the worker's child -------------------------------------------------------------------

    def child(self, worker: Process | None = None) -> psutil.Process:
        """The process that holds the network."""
        parent = psutil.Process((worker or self.worker).pid)

        # While it starts, a worker also has children that look up system libraries.
        def found() -> psutil.Process | None:
            for one in parent.children():
                with contextlib.suppress(psutil.NoSuchProcess):
                    if any("celery" in part for part in one.cmdline()):
                        return one
            return None

        wait_until(found, seconds=20, what="the worker's child")
        child = found()
        assert child is not None
        return child

    def caught_running(self, ids: list[str], worker: Process | None = None) -> psutil.Process:
        """Stop the worker's child in the middle of a run of one of `ids`.

        Raises:
            AssertionError: all of them ended before it could be stopped.
        """
        child = self.child(worker)
        with self.database() as database:
            end = time.monotonic() + 30 * PATIENCE
            while time.monotonic() < end:
                running = database.execute(
                    "SELECT count(*) FROM predictions_prediction WHERE status = 'running'"
                ).fetchone()[0]
                if running:
                    child.suspend()
                    wait_until(
                        lambda: child.status() == psutil.STATUS_STOPPED,
                        seconds=5,
                        what="the child to stop",
                    )
                    # A write that was under way as it stopped would lock the others out.
                    with contextlib.suppress(sqlite3.OperationalError):
                        database.execute("PRAGMA busy_timeout = 300")
                        database.execute("BEGIN IMMEDIATE")
                        database.execute("ROLLBACK")
                        rows = self.predictions()
                        if any(rows[pk]["status"] == "running" for pk in ids):
                            return child
                    child.resume()
        raise AssertionError("no run was caught")


def _dashed(hexadecimal: str) -> str:
    parts = (hexadecimal[:8], hexadecimal[8:12], hexadecimal[12:16], hexadecimal[16:20])
    return "-".join((*parts, hexadecimal[20:]))


def states(rows: dict[str, dict[str, Any]], ids: list[str]) -> list[tuple[str, int]]:
    return [(rows[pk]["status"], rows[pk]["attempt"]) for pk in ids]
