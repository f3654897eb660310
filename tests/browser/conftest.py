"""A real Chromium, and visitors who note everything the browser complains about."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, BrowserContext, Page

from tests.support.browser import WAIT, launched_chromium
from tests.support.site import Site

Visit = Callable[..., Page]


@pytest.fixture(scope="package")
def chromium() -> Iterator[Browser]:
    with launched_chromium() as browser:
        yield browser


@pytest.fixture
def visit(chromium: Browser, site: Site) -> Iterator[Visit]:
    """Makes visitors, each with a page of their own; none may see a complaint of the browser."""
    contexts: list[BrowserContext] = []
    complaints: list[str] = []

    def arrive(path: str = "/", **options: Any) -> Page:
        context = chromium.new_context(base_url=site.url, **options)
        context.set_default_timeout(WAIT)
        contexts.append(context)
        page = context.new_page()
        note_complaints(page, site.url, complaints)
        page.goto(path)
        return page

    yield arrive
    for context in contexts:
        context.close()
    assert complaints == []


def note_complaints(page: Page, own: str, complaints: list[str]) -> None:
    """Write down errors of scripts, of the console and of the content policy, and strange hosts."""
    host = urlsplit(own).netloc

    def requested(request: Any) -> None:
        parts = urlsplit(request.url)
        if parts.scheme not in {"data", "blob"} and parts.netloc != host:
            complaints.append(f"request to {request.url}")

    def said(message: Any) -> None:
        # Pages not found and pictures refused are answers, which tests look at themselves.
        expected = re.match(r"Failed to load resource: .* (403|404|409|422|429) ", message.text)
        if message.type in {"error", "warning"} and not expected:
            complaints.append(f"{message.type} on {page.url}: {message.text}")

    page.on("request", requested)
    page.on("console", said)
    page.on("pageerror", lambda error: complaints.append(f"script error on {page.url}: {error}"))
