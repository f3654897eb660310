"""Forking, sessions, and making sure that nothing outlives its supervisor."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Collection
from contextlib import suppress

import psutil
from setproctitle import setproctitle

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36

_libc = ctypes.CDLL(None, use_errno=True)


def adopt_orphans() -> None:
    """Become the parent of grandchildren whose own parent dies. Linux only."""
    if sys.platform == "linux":
        _libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _die_with(parent: int) -> None:
    """Have the kernel end this process when its parent dies. Linux only; see also the watchdog."""
    if sys.platform == "linux":
        _libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)


def _forget_parent(output: int, keep: Collection[int]) -> None:
    """Drop what a fork inherits and must not share: signals, files, the terminal."""
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(output, 1)
    os.dup2(output, 2)
    # Or what is said on stdout would come after a later word on stderr.
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]  # a text file
    low = 3
    for descriptor in sorted(keep):
        os.closerange(low, descriptor)
        low = descriptor + 1
    os.closerange(low, os.sysconf("SC_OPEN_MAX"))


def fork(
    run: Callable[[], object],
    *,
    name: str,
    output: int,
    keep: Collection[int] = (),
    mortal: bool = True,
) -> int:
    """Run `run` in a child with a session of its own and return the child's pid.

    Args:
        name: how it shows in the list of processes, unless it takes a name of its own.
        output: descriptor that the child writes to as stdout and stderr.
        keep: descriptors that stay open in the child.
        mortal: whether it ends when this process dies.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    parent = os.getpid()
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        setproctitle(f"tumorsite {name}")
        os.setsid()
        if mortal:
            _die_with(parent)
        _forget_parent(output, keep)
        run()
        code = 0
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            code = end.code or 0
        else:
            print(end.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):
                stream.flush()
        # Returning would unwind into the supervisor's own frames.
        os._exit(code)


def alive(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def members(sessions: Collection[int]) -> list[int]:
    """The living processes of these sessions, whatever their process group."""
    found = []
    for pid in psutil.pids():
        with suppress(OSError):
            if os.getsid(pid) in sessions and alive(pid):
                found.append(pid)
    return found


def send(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def kill(sessions: Collection[int]) -> None:
    """End every process of these sessions at once."""
    for pid in members(sessions):
        send(pid, signal.SIGKILL)


def end(sessions: Collection[int], seconds: float) -> None:
    """Ask the leaders of these sessions to end, then kill what is left."""
    for session in sessions:
        send(session, signal.SIGTERM)
    limit = time.monotonic() + seconds
    while time.monotonic() < limit and members(sessions):
        time.sleep(0.05)
    kill(sessions)
