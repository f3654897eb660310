"""The whole site under its supervisor, in a folder of its own, for a benchmark."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.cookies import SimpleCookie
from pathlib import Path
from uuid import uuid4

import psutil

START_SECONDS = 180


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass(frozen=True)
class Site:
    """A running site."""

    port: int
    supervisor: psutil.Process

    def memory(self) -> list[tuple[str, float]]:
        """Role and proportional memory, in MiB, of each process.

        Pages that several processes share, as after a fork, are divided among them.
        """
        rows = []
        for process in [self.supervisor, *self.supervisor.children(recursive=True)]:
            try:
                rows.append((_role(process), process.memory_full_info().pss / 2**20))
            except psutil.NoSuchProcess:
                continue
        return sorted(rows)

    def processor_seconds(self, role: str) -> float:
        """Processor time that the processes of a role have used so far; roles as in `memory`."""
        total = 0.0
        for process in self.supervisor.children(recursive=True):
            try:
                if _role(process) == role:
                    times = process.cpu_times()
                    total += times.user + times.system
            except psutil.NoSuchProcess:
                continue
        return total


def _role(process: psutil.Process) -> str:
    command = " ".join(process.cmdline())
    for mark, role in (
        ("inference@", "inference worker"),
        ("general@", "general worker"),
        (" beat", "scheduler"),
        ("gunicorn", "web"),
        ("valkey", "Valkey"),
        ("supervisor", "supervisor"),
    ):
        if mark in command:
            return role
    return process.name()


@contextmanager
def running_site(folder: Path, **environment: str) -> Iterator[Site]:
    """Start the site with its data in `folder` and wait until it is healthy."""
    port = free_port()
    log = (folder / "site.log").open("wb")
    process = subprocess.Popen(
        [sys.executable, "-m", "tumorsite.supervisor"],
        env={
            **os.environ,
            "DATA_DIR": str(folder),
            "PORT": str(port),
            "REQUESTS_PER_MINUTE": "1000000",
            "SUBMISSIONS_PER_MINUTE": "100000",
            **environment,
        },
        stdout=log,
        stderr=subprocess.STDOUT,
    )
    try:
        _wait_until_healthy(process, port, folder / "site.log")
        yield Site(port, psutil.Process(process.pid))
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=30)
        log.close()


def _wait_until_healthy(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end and process.poll() is None:
        try:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
            connection.request("GET", "/health/")
            if connection.getresponse().status == 200:
                return
        except OSError:
            pass
        time.sleep(0.5)
    raise SystemExit(f"The site did not start:\n{log.read_text(errors='replace')[-2000:]}")


class Visitor:
    """A client with cookies, the form's token, and one connection that stays open."""

    def __init__(self, port: int, session: str = "") -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        self._cookies: dict[str, str] = {"sessionid": session} if session else {}
        self._token = ""

    def get(self, path: str) -> bytes:
        return self._send("GET", path)

    def upload(self, name: str, content: bytes) -> dict[str, str]:
        """Submit a picture as the page's script does and return the result's addresses."""
        if not self._token:
            page = self.get("/").decode()
            found = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page)
            self._token = found.group(1) if found else ""
        mark = uuid4().hex
        body = b"".join(
            (
                f"--{mark}\r\nContent-Disposition: form-data; ".encode(),
                f'name="images"; filename="{name}"\r\n'.encode(),
                b"Content-Type: image/png\r\n\r\n",
                content,
                f"\r\n--{mark}--\r\n".encode(),
            )
        )
        headers = {
            "Content-Type": f"multipart/form-data; boundary={mark}",
            "X-CSRFToken": self._token,
        }
        answer = json.loads(self._send("POST", "/scans/", body, headers))
        result: dict[str, str] = answer["results"][0]
        return result

    def _send(
        self, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None
    ) -> bytes:
        cookies = "; ".join(f"{key}={value}" for key, value in self._cookies.items())
        accept = "application/json" if method == "POST" or path.endswith(".json") else "text/html"
        self._connection.request(
            method, path, body, {"Accept": accept, "Cookie": cookies, **(headers or {})}
        )
        response = self._connection.getresponse()
        content = response.read()
        for value in response.headers.get_all("Set-Cookie", []):
            self._cookies.update({key: item.value for key, item in SimpleCookie(value).items()})
        if response.status >= 400:
            raise RuntimeError(f"{method} {path} answered {response.status}")
        return content
