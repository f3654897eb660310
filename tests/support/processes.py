"""Processes that end with the tests, whatever happens to them."""

from __future__ import annotations

import contextlib
import ctypes
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

# Waits are given for a quiet machine; a busy one may take so many times as long. A wait ends as
# soon as it can, so this costs nothing but in a test that fails.
PATIENCE = 5

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None) if sys.platform == "linux" else None


def _die_with_parent() -> None:
    if _libc is not None:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


class Process:
    """A command in a process group of its own.

    Attributes:
        log: file that receives its output.
    """

    def __init__(
        self, command: Sequence[str | Path], *, log: Path, env: Mapping[str, str] | None = None
    ) -> None:
        self.command = [str(part) for part in command]
        self.log = log
        self.env = dict(env) if env is not None else None
        self._running: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._running is not None, "not started"
        return self._running.pid

    def start(self) -> None:
        with self.log.open("ab") as log:
            self._running = subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self.env,
                start_new_session=True,
                preexec_fn=_die_with_parent,  # noqa: PLW1509  # tests start it from one thread
            )

    def alive(self) -> bool:
        return self._running is not None and self._running.poll() is None

    @property
    def code(self) -> int | None:
        """What it has ended with, None while it runs."""
        return None if self._running is None else self._running.poll()

    def signal(self, number: int) -> None:
        """Send a signal to the whole group."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, number)

    def terminate(self) -> None:
        """Ask the command itself to end, as whoever runs containers does."""
        assert self._running is not None, "not started"
        self._running.terminate()

    def stop(self, *, grace: float = 3.0) -> None:
        """SIGTERM, then SIGKILL for the whole group."""
        if self._running is None:
            return
        self.signal(signal.SIGCONT)
        if grace and self.alive():
            self._running.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._running.wait(grace)
        self.kill()

    def kill(self) -> None:
        """SIGKILL for the whole group, as a power cut would."""
        if self._running is None:
            return
        self.signal(signal.SIGKILL)
        self._running.wait()
        self._running = None

    def text(self) -> str:
        return self.log.read_text(errors="replace") if self.log.exists() else ""


def free_port(*, also: int = 0) -> int:
    """A port nobody listens on, for which `port + also` is free as well.

    Both lie below those that outgoing connections are given (from 32768 on): such a one would
    keep a server from taking its port again after a stop.
    """
    for _ in range(200):
        port = random.randint(12000, 32000 - also)  # noqa: S311  # not a secret
        if _free(port) and (not also or _free(port + also)):
            return port
    raise RuntimeError("no free port")


def _free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def wait_until(
    condition: Callable[[], object], *, seconds: float, what: str, pause: float = 0.05
) -> None:
    """Wait for a condition.

    Args:
        seconds: how long it may take on a quiet machine; see `PATIENCE`.

    Raises:
        TimeoutError: it did not come true in time.
    """
    end = time.monotonic() + PATIENCE * seconds
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"waited {PATIENCE * seconds:g} s in vain: {what}")
        time.sleep(pause)


def assert_ends(process: Process, *, seconds: float) -> None:
    """The process ends in that time, and as one that is content."""
    wait_until(lambda: process.code is not None, seconds=seconds, what=f"{process.log.name}'s end")
    assert process.code == 0, process.text()[-2000:]
