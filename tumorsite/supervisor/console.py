"""What each part says, on the terminal and in one log file, with the part's name before it."""

from __future__ import annotations

import logging
import os
import select
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from logging.handlers import RotatingFileHandler
from pathlib import Path

LOG_BYTES = 5_000_000
LOG_FILES = 5
# A pipe or terminal that reports room takes this much without blocking.
PIECE = 512

COLOURS = {
    "tumorsite": "1",
    "prepare": "36",
    "broker": "35",
    "web": "32",
    "inference": "34",
    "general": "33",
    "scheduler": "90",
}


class _File(RotatingFileHandler):
    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  # logging's name
        """A full disk must not stop the supervisor; the terminal still has the line."""


@contextmanager
def _output() -> Iterator[int]:
    """Standard output; a terminal so that writing to it never waits.

    A terminal that has room for one character says that it can be written to, and then keeps a
    longer write waiting. It is opened once more, as the flag would hold for all who have it open.
    """
    try:
        terminal = os.open(os.ttyname(1), os.O_WRONLY | os.O_NOCTTY | os.O_NONBLOCK)
    except OSError:
        yield 1
        return
    try:
        yield terminal
    finally:
        os.close(terminal)


class Console:
    """Where all output goes. It never blocks on a terminal that has been stopped or closed."""

    def __init__(self, log: Path) -> None:
        self._file = _File(
            log, maxBytes=LOG_BYTES, backupCount=LOG_FILES - 1, encoding="utf-8", errors="replace"
        )
        self._colour = sys.stdout.isatty() and "NO_COLOR" not in os.environ

    def say(self, line: str, *, part: str = "tumorsite") -> None:
        """One line, to the terminal and the log file."""
        self.record(line, part=part)
        head = f"{part:<11} |"
        if self._colour:
            head = f"\x1b[{COLOURS.get(part.partition('-')[0], '0')}m{head}\x1b[0m"
        self._write(f"{head} {line}\n")

    def record(self, text: str, *, part: str = "tumorsite") -> None:
        """Text for the log file alone."""
        for line in text.splitlines():
            self._file.handle(logging.makeLogRecord({"msg": f"{part:<11} | {line}"}))

    def show(self, text: str) -> None:
        """Text for the operator's eyes only, as it holds passwords."""
        self._write(f"{text}\n")

    def close(self) -> None:
        self._file.close()

    def _write(self, text: str) -> None:
        """Write what the terminal takes now; the rest of the line is in the log file."""
        left = text.encode("utf-8", "replace")
        with suppress(OSError), _output() as output:
            while left and select.select([], [output], [], 0.2)[1]:
                left = left[os.write(output, left[:PIECE]) :]
