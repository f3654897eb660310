"""Someone who keeps the result page open while things break."""

from __future__ import annotations

import hashlib
import io
import threading
import time
from types import TracebackType

import numpy as np
from PIL import Image

from tests.support.http import Browser


def pixels_of(content: bytes) -> str:
    with Image.open(io.BytesIO(content)) as image:
        pixels = np.asarray(image)
    return hashlib.sha256(repr(pixels.shape).encode() + pixels.tobytes()).hexdigest()


class Watcher:
    """Reads page, state and picture of one result over and over, and notes what is wrong.

    Args:
        pictures: False where the store itself is taken away, as then no picture can be shown.
    """

    def __init__(
        self, browser: Browser, prediction: str, uploaded: bytes, *, pictures: bool = True
    ) -> None:
        self.faults: list[str] = []
        self.states: list[str] = []
        self.rounds = 0
        self._browser = browser
        self._path = f"/results/{prediction}/"
        self._wanted = pixels_of(uploaded)
        self._pictures = pictures
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Watcher:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ended.set()
        self._thread.join(60)
        if kind is None:
            self._look()
            assert self.rounds > 0, "nothing was read"
            assert self.faults == []

    def _watch(self) -> None:
        while not self._ended.is_set():
            try:
                self._look()
            except Exception as error:
                self.faults.append(repr(error))
            self.rounds += 1
            time.sleep(0.3)

    def _look(self) -> None:
        state = self._browser.get(f"{self._path}state.json")
        page = self._browser.get(self._path, Accept="text/html")
        if (state.status, page.status) != (200, 200):
            self.faults.append(f"state {state.status}, page {page.status}: {page.text[:300]}")
            return
        if not self.states or self.states[-1] != state.json()["status"]:
            self.states.append(state.json()["status"])
        if self._pictures:
            picture = self._browser.get(f"{self._path}images/image.png")
            if picture.status != 200:
                self.faults.append(f"picture {picture.status}")
            elif pixels_of(picture.body) != self._wanted:
                self.faults.append("a foreign picture")
