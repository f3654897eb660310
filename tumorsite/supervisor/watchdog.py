"""Ends the parts if the supervisor itself is killed."""

from __future__ import annotations

import os
import signal
from contextlib import suppress

from tumorsite.supervisor import processes

GRACE_SECONDS = 6.0


class Watchdog:
    """A small process that hears, over a pipe, which sessions live, and outlives the supervisor.

    The pipe has one writer, the supervisor; its end is therefore the supervisor's end, however
    that came. The watchdog also holds the data folder's lock until the last part has gone.
    """

    def __init__(self, lock: int) -> None:
        self._lock = lock
        self._sessions: set[int] = set()
        self._writer = -1
        self.pid = 0

    def start(self) -> None:
        if self._writer >= 0:
            os.close(self._writer)
        reader, self._writer = os.pipe()
        with open(os.devnull, "wb") as nowhere:  # noqa: PTH123  # a descriptor is wanted
            self.pid = processes.fork(
                lambda: _watch(reader),
                name="watchdog",
                output=nowhere.fileno(),
                keep=(reader, self._lock),
                mortal=False,
            )
        os.close(reader)
        for session in self._sessions:
            self._tell(f"+{session}")

    def note(self, session: int) -> None:
        self._sessions.add(session)
        self._tell(f"+{session}")

    def forget(self, session: int) -> None:
        self._sessions.discard(session)
        self._tell(f"-{session}")

    def stop(self) -> None:
        """Call last: whatever starts after this is unwatched."""
        processes.send(self.pid, signal.SIGKILL)
        with suppress(ChildProcessError):
            os.waitpid(self.pid, 0)

    def _tell(self, line: str) -> None:
        # A dead watchdog is started again as soon as its end is noticed.
        with suppress(BrokenPipeError):
            os.write(self._writer, f"{line}\n".encode("ascii"))


def _watch(reader: int) -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    sessions: set[int] = set()
    with os.fdopen(reader, encoding="ascii") as stream:
        for line in stream:
            change = sessions.add if line[0] == "+" else sessions.discard
            change(int(line[1:]))
    processes.end(sessions, GRACE_SECONDS)
