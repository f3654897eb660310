"""The whole site under its supervisor, in a folder of its own, as an operator starts it."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import psutil

from tests.support.http import Answer, Browser
from tests.support.processes import PATIENCE, free_port, wait_until

ROOT = Path(__file__).parent.parent.parent
KEPT = ("PATH", "HOME", "LANG", "COVERAGE_PROCESS_START", "COVERAGE_PROCESS_CONFIG")


class Supervised:
    """One data folder, and the supervisor that runs in it or has run in it."""

    def __init__(self, folder: Path, **settings: str) -> None:
        self.folder = folder
        self.port = free_port()
        self.settings = settings
        self.output = folder.with_name(f"{folder.name}.output")

    def start(self, *, nohup: bool = False) -> subprocess.Popen[bytes]:
        env = {
            **{name: os.environ[name] for name in KEPT if name in os.environ},
            "DATA_DIR": str(self.folder),
            "PORT": str(self.port),
            "WEB_WORKERS": "1",
            "INFERENCE_THREADS": "1",
            **self.settings,
        }
        # What is ignored is inherited, and the tests themselves may run under nohup.
        before = signal.signal(signal.SIGHUP, signal.SIG_IGN if nohup else signal.SIG_DFL)
        try:
            with self.output.open("wb") as output:
                self.process = subprocess.Popen(
                    [sys.executable, "-m", "tumorsite.supervisor"],
                    cwd=ROOT,
                    env=env,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    start_new_session=True,
                )
        finally:
            signal.signal(signal.SIGHUP, before)
        return self.process

    def start_and_wait(self) -> None:
        self.start()
        wait_until(
            lambda: "TumorSite is ready" in self.text() or self.process.poll() is not None,
            seconds=110,
            what="the site",
            pause=0.1,
        )
        assert self.process.poll() is None, self.text()

    def text(self) -> str:
        return self.output.read_text(errors="replace")

    def get(self, path: str) -> Answer:
        return Browser(f"http://127.0.0.1:{self.port}").get(path)

    def family(self) -> list[psutil.Process]:
        """The supervisor and every process that it has started, directly or not."""
        supervisor = psutil.Process(self.process.pid)
        return [supervisor, *supervisor.children(recursive=True)]

    def titled(self, title: str) -> list[psutil.Process]:
        """The processes whose title, in the list of processes, holds these words."""
        found = []
        for one in self.family():
            # One may end, or be a zombie, between two looks.
            with suppress(psutil.NoSuchProcess):
                if title in " ".join(one.cmdline()):
                    found.append(one)
        return found

    def end(self, number: signal.Signals) -> int:
        """Send a signal to the supervisor alone; returns its exit code."""
        self.process.send_signal(number)
        return self.process.wait(timeout=25 * PATIENCE)

    def kill(self) -> None:
        """Clean up after a test that failed."""
        if self.process.poll() is None:
            for one in self.family():
                one.kill()
            self.process.wait()

    def database_is_sound(self) -> bool:
        with sqlite3.connect(self.folder / "db.sqlite3") as database:
            return database.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def survivors(family: list[psutil.Process]) -> list[psutil.Process]:
    """Those that still live; a process is known by its pid and its start."""
    return [one for one in family if _lives(one)]


def _lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
