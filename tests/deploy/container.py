"""Runs an unpacked image as a container runtime would, with nothing but the kernel's own means.

The root file system is read-only; /tmp and /data can be written; the user, environment, folder
and command are the image's; there are no capabilities and no way to new ones; the command is
process 1 of its own process namespace.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.deploy.images import Image

_MOUNTS = """
set -eu
mount --make-rprivate /
mount --bind {root} {root}
mount -o remount,bind,ro {root}
mount -t proc proc {root}/proc
mount -t tmpfs -o mode=1777,size=256m tmpfs {root}/tmp
mount --bind {data} {root}/data
mount -t tmpfs -o mode=755,size=64k tmpfs {root}/dev
for device in null zero urandom random; do
    touch {root}/dev/$device
    mount --bind /dev/$device {root}/dev/$device
done
mkdir {root}/dev/shm
mount -t tmpfs -o mode=1777,size=64m tmpfs {root}/dev/shm
exec chroot {root} {command}
"""


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


def _as_user(user: str, environment: Mapping[str, str], command: Sequence[str]) -> list[str]:
    uid, gid = user.split(":")
    return [
        *("/usr/bin/setpriv", f"--reuid={uid}", f"--regid={gid}", "--clear-groups"),
        *("--no-new-privs", "--bounding-set=-all", "--inh-caps=-all"),
        *("/usr/bin/env", "--ignore-environment", "--chdir=/app"),
        *(f"{name}={value}" for name, value in environment.items()),
        *command,
    ]


class Container:
    """One image at work."""

    def __init__(
        self,
        image: Image,
        pod: Pod,
        data: Path,
        log: Path,
        *,
        command: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._image, self._pod, self.log = image, pod, log
        self._environment = {**image.environment(), **(environment or {})}
        inside = _as_user(image.config["User"], self._environment, command or image.config["Cmd"])
        script = _MOUNTS.format(root=image.root, data=data, command=shlex.join(inside))
        with log.open("wb") as output:
            self._unshare = subprocess.Popen(
                [
                    *pod.enter(),
                    *("unshare", "--mount", "--pid", "--fork", "--kill-child"),
                    *("sh", "-c", script),
                ],
                stdout=output,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
            )

    @property
    def first(self) -> int:
        """The host's number of process 1."""
        children = Path(f"/proc/{self._unshare.pid}/task/{self._unshare.pid}/children")
        end = time.monotonic() + 10
        while not (found := children.read_text().split()):
            assert time.monotonic() < end, self.text()
            time.sleep(0.02)
        return int(found[0])

    def text(self) -> str:
        return self.log.read_text(errors="replace")

    def alive(self) -> bool:
        return self._unshare.poll() is None

    def run(self, *command: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
        """A further command in the container, as its health check is."""
        target = ["nsenter", "--target", str(self.first), "--mount", "--pid", "--net", "--root"]
        inside = _as_user(self._image.config["User"], self._environment, command)
        return subprocess.run([*target, *inside], capture_output=True, text=True, timeout=timeout)

    def health(self) -> subprocess.CompletedProcess[str]:
        """The image's own health check."""
        kind, *command = self._image.config["Healthcheck"]["Test"]
        assert kind == "CMD", "a health check takes no shell"
        return self.run(*command)

    def signal(self, name: str) -> None:
        subprocess.run(["kill", f"-{name}", str(self.first)], check=True)

    def wait(self, seconds: float) -> int:
        return self._unshare.wait(seconds)

    def zombies(self) -> list[str]:
        """Names of the processes within that have ended and were not collected."""
        listed = self.run(
            "python",
            "-c",
            "import glob\n"
            "for name in glob.glob('/proc/[0-9]*/stat'):\n"
            "    try: print(open(name).read())\n"
            "    except OSError: pass",
        )
        assert listed.returncode == 0, listed.stderr
        return re.findall(r"^\d+ \((.*)\) Z ", listed.stdout, re.MULTILINE)

    def kill(self) -> None:
        if self.alive():
            self._unshare.kill()
        self._unshare.wait()
