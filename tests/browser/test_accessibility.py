"""Nothing for axe to find, in light and dark; nothing to scroll sideways for on a phone."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from tests.browser import acts
from tests.browser.conftest import Visit
from tests.support.browser import accessibility_faults
from tests.support.pictures import mri_png, png
from tests.support.site import Site

pytestmark = [pytest.mark.browser, pytest.mark.timeout(900)]

PUBLIC = (
    "/",
    "/how-it-works/",
    "/model/",
    "/privacy/",
    "/terms/",
    "/learn/",
    "/account/login/",
    "/account/signup/",
    "/account/password/reset/",
    "/no-such-page/",
)


# Django's own frame around the admin's pages keeps to WCAG, but not to every best practice. Its
# sheets import others, which axe could read only where the content policy allows inline styles.
ADMIN = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"], "preload": False}


def sideways(page: Page) -> list[str]:
    """The page, if it is wider than its window."""
    wide, window = page.evaluate("() => [document.documentElement.scrollWidth, window.innerWidth]")
    return [f"{page.url} is {wide} wide in a window of {window}"] if wide > window else []


def pages_of_a_visit(page: Page, site: Site) -> list[str]:
    """The pages that only someone with two results has."""
    one = acts.submit(page, mri_png(seed=400), "one.png")
    two = acts.submit(page, mri_png(seed=401), "two.png")
    ids = [address.rstrip("/").rsplit("/", 1)[1] for address in (one, two)]
    return [
        one,
        "/scans/",
        "/scans/?q=none",
        f"/scans/compare/?result={ids[0]}&result={ids[1]}",
        f"{one}delete/",
    ]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(visit: Visit, site: Site, scheme: str) -> None:
    page = visit(color_scheme=scheme)
    found: list[str] = []
    for path in (*PUBLIC, *pages_of_a_visit(page, site)):
        page.goto(path)
        found += accessibility_faults(page)
    acts.submit(page, png(64, 64, seed=1), "no-brain.png")
    found += accessibility_faults(page)
    page.goto("/")
    bad = [("text.png", b"no picture"), ("notes.txt", b"hello")]
    page.set_input_files("#images", [acts.payload(content, name) for name, content in bad])
    expect(page.locator("[data-uploads] li")).to_have_count(2)
    found += accessibility_faults(page)
    child = site.child()
    child.suspend()
    page.goto("/")
    page.set_input_files("#images", [acts.payload(mri_png(seed=402))])
    page.wait_for_url("**/results/**")
    found += accessibility_faults(page)
    page.get_by_role("button", name="Cancel").click()
    expect(page.get_by_role("button", name="Cancel")).to_have_count(0)
    found += accessibility_faults(page)
    child.resume()
    assert found == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_in_the_admin_s_pages_of_records(
    visit: Visit, site: Site, scheme: str
) -> None:
    page = visit(color_scheme=scheme)
    acts.sign_in(page, site)
    one = acts.submit(page, mri_png(seed=403)).rstrip("/").rsplit("/", 1)[1]
    with site.database() as database:
        [network] = database.execute(
            "SELECT id FROM predictions_modelversion WHERE stage = 'production'"
        ).fetchone()
    scan = site.predictions()[one]["scan_id"]
    found: list[str] = []
    for path in (
        "modelversion/",
        f"modelversion/{network}/change/",
        "prediction/",
        f"prediction/{one}/change/",
        "scan/",
        f"scan/{scan}/change/",
    ):
        page.goto(f"/admin/predictions/{path}")
        found += accessibility_faults(page, ADMIN)
        if path in {"prediction/", "scan/"}:
            wide = page.locator("#changelist .results").evaluate(
                "e => e.scrollWidth - e.clientWidth"
            )
            assert wide == 0, f"{path} is cut off in a window of 1280 pixels"
    assert found == []


def test_a_phone_shows_two_pictures_one_below_the_other(visit: Visit, site: Site) -> None:
    page = visit(viewport={"width": 375, "height": 800}, has_touch=True, is_mobile=True)
    page.goto(pages_of_a_visit(page, site)[3])
    films = page.locator(".film:visible")
    boxes = [films.nth(number).bounding_box() for number in range(films.count())]
    assert len(boxes) == 2
    assert all(box and box["width"] > 300 for box in boxes)
    captions = page.locator(".pane:visible figcaption").all_inner_texts()
    assert [caption.split(":")[0] for caption in captions] == ["A", "B"]
    # What was found stands above, out of sight by the time that the second picture is looked at.
    assert all(acts.ANSWER.search(caption) for caption in captions)
    assert all(name in said for name, said in zip(("one", "two"), captions, strict=True))
    # Fingers have no keys, and need room.
    expect(page.get_by_text("pinch to zoom")).to_be_visible()
    expect(page.get_by_text("arrow keys move")).to_be_hidden()
    for button in page.locator(".viewer-controls button:visible").all():
        box = button.bounding_box()
        assert box
        assert box["height"] >= 44


def test_filters_are_folded_where_they_would_fill_the_screen(visit: Visit, site: Site) -> None:
    page = visit(viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    pages_of_a_visit(page, site)
    page.goto("/scans/")
    search, fold = page.get_by_label("File name"), page.get_by_text("Search and filter")
    expect(page.locator(".record").first).to_be_in_viewport()
    expect(search).to_be_hidden()
    fold.click()
    search.fill("one")
    search.press("Enter")
    page.wait_for_url("**q=one**")
    expect(search).to_have_value("one")
    expect(search).to_be_visible()
    dates = [page.get_by_label(name, exact=True).bounding_box() for name in ("From", "To")]
    assert all(dates)
    assert len({box["y"] for box in dates if box}) == 1, "one below the other"
    page.set_viewport_size({"width": 1280, "height": 800})
    page.goto("/scans/")
    expect(search).to_be_visible()
    expect(fold).to_be_hidden()
    assert accessibility_faults(page) == []
    page.set_viewport_size({"width": 390, "height": 844})
    page.goto("/scans/")
    assert accessibility_faults(page) == []


def test_a_phone_needs_no_scrolling_sideways(visit: Visit, site: Site) -> None:
    page = visit(viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    found: list[str] = []
    for path in (*PUBLIC, *pages_of_a_visit(page, site)):
        page.goto(path)
        found += sideways(page)
    page.set_viewport_size({"width": 320, "height": 640})
    for path in ("/", "/scans/", "/model/"):
        page.goto(path)
        found += sideways(page)
    assert found == []
