"""Two visitors, the same file name, interleaved: each page shows its own picture, always."""

from __future__ import annotations

import numpy as np
import pytest
from playwright.sync_api import Page

from tests.browser import acts
from tests.browser.conftest import Visit
from tests.support.pictures import mri_png

pytestmark = [pytest.mark.browser, pytest.mark.timeout(900)]


def picture_is(page: Page, content: bytes) -> None:
    assert np.array_equal(acts.shown(page), acts.uploaded(content)), page.url


def test_everyone_sees_their_own_picture_at_every_visit(visit: Visit) -> None:
    ada, bob = visit(), visit()
    contents = {name: mri_png(seed=100 + n) for n, name in enumerate(("a1", "b1", "a2", "b2"))}
    where = {
        name: acts.submit(ada if name[0] == "a" else bob, contents[name], "brain.png")
        for name in contents
    }
    assert len(set(where.values())) == 4

    for page, first, second in ((ada, "a1", "a2"), (bob, "b1", "b2")):
        page.goto(where[first])
        picture_is(page, contents[first])
        page.goto(where[second])
        picture_is(page, contents[second])
        page.go_back()
        picture_is(page, contents[first])
        page.go_forward()
        picture_is(page, contents[second])
        page.reload()
        picture_is(page, contents[second])
        # From the browser's own cache, which holds both by now.
        page.goto(where[first])
        picture_is(page, contents[first])
        sizes = page.evaluate(
            "() => performance.getEntriesByType('resource')"
            ".filter((one) => one.name.endsWith('image.png')).map((one) => one.transferSize)"
        )
        assert sizes
        assert set(sizes) == {0}


def test_layers_and_thumbnails_belong_to_their_own_scan(visit: Visit) -> None:
    page = visit()
    addresses = [acts.submit(page, mri_png(seed=200 + n), "brain.png") for n in range(2)]
    page.goto("/scans/")
    links = page.locator("a.record-link")
    for index, address in enumerate(reversed(addresses)):
        record = links.nth(index)
        path = address[address.index("/results/") :]
        assert record.get_attribute("href") == path
        thumbnail = record.locator("img").get_attribute("src")
        assert thumbnail == f"{path}images/thumbnail.png"


def test_nobody_opens_anybody_elses(visit: Visit) -> None:
    ada, bob = visit(), visit()
    address = acts.submit(ada, mri_png(seed=300))
    for path in ("", "images/image.png", "images/thumbnail.png", "state.json", "report.pdf"):
        answer = bob.request.get(address + path)
        assert answer.status == 404, path
    assert ada.request.get(f"{address}images/image.png").status == 200
