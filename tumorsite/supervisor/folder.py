"""The data folder: that it can be written, that one supervisor has it, what is announced in it."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import time
from pathlib import Path

from tumorsite.supervisor import StartError
from tumorsite.supervisor.processes import alive

# Less than this and the first upload, or the database's log, would fail.
LEAST_FREE_BYTES = 64 * 1024 * 1024
# After the death of a supervisor its watchdog keeps the lock until all parts have ended.
HANDOVER_SECONDS = 12.0
FOLDERS = ("run", "logs", "valkey")


class DataFolder:
    """DATA_DIR, for as long as one supervisor runs in it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.log = path / "logs" / "tumorsite.log"
        self._broker_url = path / "run" / "broker-url"
        self._lock_file = path / "run" / "supervisor.lock"
        self.lock = -1

    def prepare(self) -> None:
        """Make the folder and prove that it can be written.

        Raises:
            StartError: it cannot, or its disk is full.
        """
        probe = self.path / "run" / ".probe"
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            for name in FOLDERS:
                (self.path / name).mkdir(exist_ok=True)
            for name in ("", *FOLDERS):
                if not os.access(self.path / name, os.W_OK | os.X_OK):
                    raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
            probe.write_bytes(b"x" * 4096)
            probe.unlink()
            free = shutil.disk_usage(self.path).free
        except OSError as error:
            raise StartError(f"{self._said(error)}.") from None
        if free < LEAST_FREE_BYTES:
            raise StartError(
                f"The disk of DATA_DIR ({self.path}) is full: {free // 2**20} MB are free, and "
                f"the site needs {LEAST_FREE_BYTES // 2**20} MB."
            )

    def _said(self, error: OSError) -> str:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            return f"The disk of DATA_DIR ({self.path}) is full"
        reason = (error.strerror or str(error)).lower()
        return f"DATA_DIR ({self.path}) cannot be written: {reason}"

    def take(self) -> None:
        """Take the lock that makes this the folder's only supervisor.

        Raises:
            StartError: another one has it.
        """
        self.lock = os.open(self._lock_file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        limit = time.monotonic() + HANDOVER_SECONDS
        while True:
            try:
                fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError:
                holder = self._holder()
                if alive(holder) or time.monotonic() > limit:
                    raise StartError(
                        f"TumorSite already runs with this data folder (process {holder}); stop "
                        f"it first, or give another DATA_DIR. The folder is {self.path}."
                    ) from None
                time.sleep(0.1)
        os.ftruncate(self.lock, 0)
        os.pwrite(self.lock, str(os.getpid()).encode("ascii"), 0)

    def _holder(self) -> int:
        content = os.pread(self.lock, 20, 0).decode("ascii", "replace")
        return int(content) if content.isdigit() else 0

    def announce_broker(self, url: str) -> None:
        """Tell management commands where the embedded broker is, for as long as it runs."""
        draft = self._broker_url.with_suffix(".new")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as stream:
            stream.write(url)
        draft.replace(self._broker_url)

    def withdraw_broker(self) -> None:
        self._broker_url.unlink(missing_ok=True)
