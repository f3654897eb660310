"""Asks the site for its health, without making the supervisor wait for the answer."""

from __future__ import annotations

import json
import socket
import time
from contextlib import suppress

ANSWER_SECONDS = 15.0


class HealthProbe:
    """One request at a time to `/health/`; `step` never blocks."""

    def __init__(self, address: tuple[str, int], host: str) -> None:
        self._address = address
        self._request = (
            f"GET /health/ HTTP/1.0\r\nHost: {host}\r\nUser-Agent: supervisor\r\n\r\n".encode()
        )
        self._link: socket.socket | None = None
        self._answer = b""
        self._asked_at = 0.0
        self.healthy = False
        self.wrong: dict[str, str] = {}

    def step(self) -> None:
        """Ask if no question is open; take what has come of the answer."""
        if self._link is None:
            self._ask()
            return
        with suppress(BlockingIOError):
            try:
                while piece := self._link.recv(4096):
                    self._answer += piece
            except ConnectionError:
                self._answer = b""
            self._understand()
            self.close()
        if time.monotonic() - self._asked_at > ANSWER_SECONDS:
            self.close()

    def close(self) -> None:
        if self._link is not None:
            self._link.close()
            self._link = None

    def _ask(self) -> None:
        self._answer, self._asked_at = b"", time.monotonic()
        with suppress(OSError):
            # On the same machine: connected, or refused, at once.
            self._link = socket.create_connection(self._address, timeout=1)
            self._link.sendall(self._request)
            self._link.settimeout(0)

    def _understand(self) -> None:
        head, _, body = self._answer.partition(b"\r\n\r\n")
        status = head.split(b" ", 2)[1:2]
        self.healthy = status == [b"200"]
        try:
            parts = json.loads(body)["parts"]
            self.wrong = {name: state for name, state in parts.items() if state != "ok"}
        except (ValueError, KeyError, TypeError):
            code = status[0].decode("ascii", "replace") if status else "nothing"
            self.wrong = {"web": f"answers {code} instead of its health"}
