"""A small number for each living process, so that files named by it do not grow in number.

Counters of processes that have ended must go on counting, and web processes end every few
thousand requests. Each takes the first free number, and goes on with what lies there.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

MOST = 4096


class Slots:
    """Numbers in one folder; a process that ends, however it ends, frees its own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._pid = 0
        self._number = -1
        self._held: int | None = None

    def mine(self) -> int:
        """This process's number; cheap, as every count asks for it."""
        if self._pid != os.getpid():
            self._take()
        return self._number

    def _take(self) -> None:
        if self._held is not None:
            # The parent's: it keeps its lock, as locks of this kind are not inherited.
            os.close(self._held)
            self._held = None
        for number in range(MOST):
            lock = os.open(self._folder / f"slot-{number}", os.O_RDWR | os.O_CREAT, 0o600)
            try:
                fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                os.close(lock)
                continue
            self._held, self._number, self._pid = lock, number, os.getpid()
            return
        raise RuntimeError(f"more than {MOST} processes count in {self._folder}")
