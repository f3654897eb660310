"""A real Chromium."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, Error, expect, sync_playwright

# Milliseconds until something that should be seen counts as missing; see `processes.PATIENCE`.
WAIT = 120_000


@contextmanager
def launched_chromium() -> Iterator[Browser]:
    """Debian's Chromium, or the one that Playwright has downloaded."""
    expect.set_options(timeout=WAIT)
    with sync_playwright() as playwright:
        path = shutil.which("chromium") or playwright.chromium.executable_path
        try:
            browser = playwright.chromium.launch(
                executable_path=path,
                args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
            )
        except Error as error:
            reason = f"Chromium is missing or does not start: {str(error).splitlines()[0]}"
            if os.environ.get("CI"):
                pytest.fail(reason)
            pytest.skip(reason)
        yield browser
        browser.close()
