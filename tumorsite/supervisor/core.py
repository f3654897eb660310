"""The supervisor's loop: start parts, pass on what they say, restart what ends, stop all."""

from __future__ import annotations

import os
import selectors
import signal
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

import psutil

from tumorsite.supervisor import StartError, processes
from tumorsite.supervisor.console import Console
from tumorsite.supervisor.parts import READY, Part
from tumorsite.supervisor.watchdog import Watchdog

# A part that ends this often before it was ever ready will not become ready.
START_ATTEMPTS = 3
BROKER_STOP_SECONDS = 2.0
LONGEST_LINE = 16_384


@dataclass
class _Output:
    part: Part
    unfinished: bytes = b""


class Supervisor:
    """Runs parts as child processes. One thread; every wait is in `step`.

    Args:
        stop_seconds: that parts have to end by themselves.
    """

    def __init__(self, console: Console, lock: int, stop_seconds: float) -> None:
        self.console = console
        self._stop_seconds = stop_seconds
        self.parts: list[Part] = []
        self.stopping = 0
        self._ended: dict[int, int] = {}
        self._selector = selectors.DefaultSelector()
        self._watchdog = Watchdog(lock)

    def open(self) -> None:
        """Take charge of signals and children. Call before the first part starts."""
        processes.adopt_orphans()
        self._wake_reader, self._wake_writer = os.pipe()
        for descriptor in (self._wake_reader, self._wake_writer):
            os.set_blocking(descriptor, False)
        self._selector.register(self._wake_reader, selectors.EVENT_READ, None)
        signal.set_wakeup_fd(self._wake_writer, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._on_stop)
        # Under nohup it is ignored: the end of the terminal's session is not meant to end the site.
        if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
            signal.signal(signal.SIGHUP, self._on_stop)
        self._watchdog.start()

    def _on_stop(self, *_: object) -> None:
        self.stopping += 1

    def start(self, part: Part) -> None:
        reader, writer = os.pipe()
        part.pid = processes.fork(part.run, name=part.name, output=writer, keep=part.keep)
        os.close(writer)
        os.set_blocking(reader, False)
        part.started_at, part.ready = time.monotonic(), False
        self._watchdog.note(part.pid)
        self._selector.register(reader, selectors.EVENT_READ, _Output(part))
        if part not in self.parts:
            self.parts.append(part)

    def run_once(self, part: Part) -> int | None:
        """Run a part that is to end by itself. Returns its exit code, None if told to stop."""
        self.start(part)
        pid = part.pid
        while pid not in self._ended:
            if self.stopping:
                return None
            self.step(0.5)
        return self._ended.pop(pid)

    def step(self, seconds: float) -> None:
        """Wait for at most this long for something to happen, and deal with it."""
        for key, _ in self._selector.select(self._until_restart(seconds)):
            if key.data is None:
                with suppress(BlockingIOError):
                    os.read(self._wake_reader, 512)
            else:
                self._read(key.fd, key.data)
        self._reap()
        if not self.stopping:
            self._start_again()

    def _until_restart(self, seconds: float) -> float:
        """At most this long: a part that waits for its restart says nothing that would wake us."""
        if self.stopping:
            return seconds
        now = time.monotonic()
        waits = [part.start_again_at - now for part in self.parts if not part.pid]
        return max(0.0, min([seconds, *waits]))

    def _read(self, descriptor: int, output: _Output) -> None:
        try:
            piece = os.read(descriptor, 65_536)
        except BlockingIOError:
            return
        if not piece:
            if output.unfinished:
                self._heard(output.part, output.unfinished)
            self._selector.unregister(descriptor)
            os.close(descriptor)
            return
        *lines, output.unfinished = (output.unfinished + piece).split(b"\n")
        if len(output.unfinished) > LONGEST_LINE:
            lines.append(output.unfinished)
            output.unfinished = b""
        for line in lines:
            self._heard(output.part, line)

    def _heard(self, part: Part, line: bytes) -> None:
        if line == READY:
            part.ready = part.was_ready = True
            return
        text = line.decode("utf-8", "replace").rstrip()
        if text:
            part.last_words = text
            self.console.say(text, part=part.name)

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            if pid == self._watchdog.pid:
                self._watchdog.start()
                continue
            part = next((part for part in self.parts if part.pid == pid), None)
            if part is not None:
                self._lost(part, os.waitstatus_to_exitcode(status))

    def _lost(self, part: Part, code: int) -> None:
        """A part's leader has ended: what it leaves behind ends too, and its pipe is read out."""
        pid = part.pid
        processes.kill({pid})
        self._watchdog.forget(pid)
        for key in list(self._selector.get_map().values()):
            if key.data is not None and key.data.part is part:
                self._read(key.fd, key.data)
        part.pid = 0
        self._ended[pid] = code
        if part.once:
            self.parts.remove(part)
        if self.stopping or part.once:
            return
        wait = part.ended()
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        if not part.was_ready and part.failures >= START_ATTEMPTS:
            raise StartError(
                f"The part '{part.name}' does not start ({how}, {part.failures} times): "
                f"{part.last_words or 'it said nothing'}"
            )
        self.console.say(f"{part.name} has ended ({how}); it starts again in {wait:.0f} s")

    def _start_again(self) -> None:
        now = time.monotonic()
        for part in self.parts:
            if not part.pid and part.start_again_at <= now:
                self.start(part)

    def stop(self, last: Sequence[Part] = ()) -> None:
        """End every part and all they have started; those in `last` after all others."""
        self.stopping = max(self.stopping, 1)
        self._end([part for part in self.parts if part not in last], self._stop_seconds)
        self._end(list(last), BROKER_STOP_SECONDS)
        with suppress(psutil.NoSuchProcess):
            for child in psutil.Process().children(recursive=True):
                if child.pid != self._watchdog.pid:
                    processes.send(child.pid, signal.SIGKILL)
        self._reap()
        self._watchdog.stop()

    def _end(self, parts: Sequence[Part], seconds: float) -> None:
        sessions = {part.pid for part in parts if part.pid}
        for session in sessions:
            processes.send(session, signal.SIGTERM)
        limit, told = time.monotonic() + seconds, self.stopping
        while processes.members(sessions) and time.monotonic() < limit and self.stopping <= told:
            self.step(0.1)
        processes.kill(sessions)
        limit = time.monotonic() + 1
        while processes.members(sessions) and time.monotonic() < limit:
            self.step(0.05)
