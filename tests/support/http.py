"""A visitor without a browser: cookies, forms and nothing else."""

from __future__ import annotations

import http.cookiejar
import json
import urllib.error
import urllib.request
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import uuid4


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    body: bytes
    headers: Mapping[str, str]

    @property
    def text(self) -> str:
        return self.body.decode(errors="replace")

    def json(self) -> Any:
        return json.loads(self.body)


class Browser:
    """One visitor's session."""

    def __init__(self, url: str, *, timeout: float = 120) -> None:
        self.url = url
        self.timeout = timeout
        self._cookies = http.cookiejar.CookieJar()
        self._opener = urllib.request.build_opener(
            urllib.request.HTTPCookieProcessor(self._cookies)
        )

    def get(self, path: str, **headers: str) -> Answer:
        return self._send(urllib.request.Request(self.url + path, headers=headers))  # noqa: S310

    def upload(self, files: Sequence[tuple[str, bytes]]) -> Answer:
        """Send pictures as the upload form does, and ask for JSON as its script does."""
        if not self._token():
            self.get("/")
        boundary = uuid4().hex
        parts = [
            f"--{boundary}\r\n"
            f'Content-Disposition: form-data; name="images"; filename="{name}"\r\n'
            "Content-Type: application/octet-stream\r\n\r\n".encode()
            + content
            + b"\r\n"
            for name, content in files
        ]
        return self.post(
            "/scans/",
            b"".join(parts) + f"--{boundary}--\r\n".encode(),
            f"multipart/form-data; boundary={boundary}",
        )

    def post(
        self,
        path: str,
        body: bytes | Iterable[bytes] = b"",
        content_type: str = "application/x-www-form-urlencoded",
        **headers: str,
    ) -> Answer:
        headers = {
            **headers,
            "Accept": "application/json",
            "Content-Type": content_type,
            "X-CSRFToken": self._token(),
        }
        return self._send(
            urllib.request.Request(self.url + path, body, headers, method="POST")  # noqa: S310
        )

    def submit(self, *contents: bytes, name: str = "slice.png") -> list[str]:
        """Upload pictures and give the ids of their predictions."""
        answer = self.upload([(name, content) for content in contents])
        assert answer.status == 201, f"{answer.status}: {answer.text[:500]}"
        return [result["id"] for result in answer.json()["results"]]

    def _token(self) -> str:
        return next(
            (str(cookie.value) for cookie in self._cookies if cookie.name == "csrftoken"), ""
        )

    def _send(self, request: urllib.request.Request) -> Answer:
        try:
            with self._opener.open(request, timeout=self.timeout) as answer:
                return Answer(answer.status, answer.read(), dict(answer.headers))
        except urllib.error.HTTPError as error:
            with error:
                return Answer(error.code, error.read(), dict(error.headers))
