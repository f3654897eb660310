"""A network of its own for processes that are to meet as the containers of a pod do."""

from __future__ import annotations

import subprocess
from pathlib import Path


class Pod:
    """A network of its own with nothing but a loopback, which containers share."""

    def __init__(self) -> None:
        self._holder = subprocess.Popen(
            ["unshare", "--net", "sh", "-c", "ip link set lo up; echo up; exec sleep 3600"],
            stdout=subprocess.PIPE,
        )
        assert self._holder.stdout is not None
        assert self._holder.stdout.readline() == b"up\n"

    def enter(self) -> list[str]:
        return ["nsenter", "--target", str(self._holder.pid), "--net"]

    def run(self, *command: str | Path, timeout: float = 60) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*self.enter(), *command], capture_output=True, text=True, timeout=timeout
        )

    def close(self) -> None:
        self._holder.kill()
        self._holder.wait()
