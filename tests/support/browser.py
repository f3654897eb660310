"""A real Chromium."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Error, Page, expect, sync_playwright

# Milliseconds until something that should be seen counts as missing; see `processes.PATIENCE`.
WAIT = 120_000
# The one rule of WCAG 2.2 AA, which axe leaves out unless it is asked for.
_TARGET_SIZE = {"target-size": {"enabled": True}}


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


def accessibility_faults(page: Page, options: dict[str, Any] | None = None) -> list[str]:
    """What axe finds on the page as it is.

    Args:
        options: axe's own; without them every rule is tried.
    """
    # Transitions between themes would be measured half-way.
    page.wait_for_timeout(200)
    asked = {"rules": _TARGET_SIZE, **(options or {})}
    found: dict[str, Any] = Axe().run(page, options=asked).response
    return [
        f"{page.url} {violation['id']}: {violation['help']} {node['html'][:120]}"
        for violation in found["violations"]
        for node in violation["nodes"]
    ]
