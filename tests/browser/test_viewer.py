"""The pictures of a result: what is marked, where zooming goes, what fits on a screen."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser import acts
from tests.browser.conftest import Visit
from tests.support.pictures import mri_png

pytestmark = [pytest.mark.browser, pytest.mark.timeout(900)]


def answered(visit: Visit, seed: int, **options: Any) -> Page:
    """A result with a marked area."""
    page = visit(**options)
    acts.submit(page, mri_png(seed=seed))
    page.wait_for_load_state("networkidle")
    expect(page.locator("[data-area]")).to_have_count(1)
    return page


def compared(visit: Visit, **options: Any) -> Page:
    """Two results beside each other."""
    page = answered(visit, 608, **options)
    results = [page.url.rstrip("/").rpartition("/")[2]]
    acts.submit(page, mri_png(seed=609))
    results.append(page.url.rstrip("/").rpartition("/")[2])
    page.goto(f"/scans/compare/?result={results[0]}&result={results[1]}")
    page.wait_for_load_state("networkidle")
    return page


def layer(page: Page, name: str) -> Locator:
    return page.locator(f'[data-pane="overlay"] [data-layer="{name}"]')


def middle(page: Page) -> tuple[float, float]:
    """Where the middle of the affected area's box is in its pane."""
    page.get_by_label("Box").check()
    film = page.locator(".film:visible").bounding_box()
    box = page.locator('[data-layer="box"] rect').bounding_box()
    assert film
    assert box
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    return x - film["x"], y - film["y"]


def test_what_explains_a_layer_comes_and_goes_with_it(visit: Visit) -> None:
    page = answered(visit, 601)
    line, map_of = page.locator("p[data-while=contours]"), page.get_by_text("two things")
    expect(layer(page, "outline")).to_be_visible()
    expect(layer(page, "area")).to_be_visible()
    for label, name, words in (
        ("Certain and possible extent", "contours", line),
        ("Attention", "attention", map_of),
    ):
        expect(layer(page, name)).to_be_hidden()
        expect(words).to_be_hidden()
        page.get_by_label(label, exact=True).check()
        expect(layer(page, name)).to_be_visible()
        expect(words).to_be_visible()


def test_without_scripts_every_layer_is_explained(visit: Visit) -> None:
    page = answered(visit, 602)
    address = page.url
    plain = page.context.browser.new_context(  # type: ignore[union-attr]  # it was launched
        java_script_enabled=False, storage_state=page.context.storage_state()
    )
    page = plain.new_page()
    page.goto(address)
    expect(page.get_by_text("two things")).to_be_visible()
    expect(page.locator('[data-layer="attention"]')).to_be_visible()
    expect(page.locator(".caption-lines")).to_be_visible()
    plain.close()


def test_marks_are_hidden_for_a_look_at_the_picture(visit: Visit) -> None:
    page = answered(visit, 603)
    button = page.get_by_role("button", name="Hide marks")
    button.click()
    expect(button).to_have_attribute("aria-pressed", "true")
    expect(layer(page, "outline")).to_be_hidden()
    expect(page.get_by_label("Outline")).to_be_checked()
    page.locator(".film:visible").focus()
    page.keyboard.press("h")
    expect(layer(page, "outline")).to_be_visible()
    expect(button).to_have_attribute("aria-pressed", "false")
    page.keyboard.press("H")
    expect(layer(page, "area")).to_be_hidden()
    # Whoever asks for a layer wants to see it.
    page.get_by_label("Attention", exact=True).check()
    expect(layer(page, "area")).to_be_visible()
    expect(button).to_have_attribute("aria-pressed", "false")


@pytest.mark.parametrize("width", [1366, 375])
def test_zooming_keeps_the_area_in_sight(visit: Visit, width: int) -> None:
    page = answered(visit, 604, viewport={"width": width, "height": 768})
    before = middle(page)
    for _ in range(3):
        page.locator("[data-zoom=in]").click()
    expect(page.locator("[data-zoom-value]")).to_have_text("195%")
    # Half a pixel may be lost to rounding, wherever the picture has bars beside it.
    assert middle(page) == pytest.approx(before, abs=1.5)
    page.get_by_role("button", name="Zoom to the area").click()
    film = page.locator(".film:visible").bounding_box()
    assert film
    x, y = middle(page)
    assert x / film["width"] == pytest.approx(0.5, abs=0.02)
    assert y / film["height"] == pytest.approx(0.5, abs=0.02)
    page.locator(".film:visible").focus()
    near = middle(page)
    page.locator(".film:visible").focus()
    page.keyboard.press("-")
    assert middle(page) == pytest.approx(near, abs=1.5)


@pytest.mark.parametrize("size", [(1366, 768), (1280, 800)])
def test_picture_and_controls_fit_on_one_screen(visit: Visit, size: tuple[int, int]) -> None:
    page = answered(visit, 605, viewport={"width": size[0], "height": size[1]})
    page.get_by_label("Certain and possible extent").check()
    controls = page.locator(".viewer-controls").bounding_box()
    assert controls
    assert controls["y"] + controls["height"] <= size[1]


@pytest.mark.parametrize("size", [(1366, 768), (1280, 800)])
def test_two_pictures_and_their_controls_fit_on_one_screen(
    visit: Visit, size: tuple[int, int]
) -> None:
    page = compared(visit, viewport={"width": size[0], "height": size[1]})
    page.get_by_label("Certain and possible extent").check()
    controls = page.locator(".viewer-controls").bounding_box()
    picture = page.locator(".film:visible").first.bounding_box()
    assert controls
    assert picture
    assert controls["y"] + controls["height"] <= size[1]
    assert picture["height"] > 0.45 * size[1]


def test_full_screen_says_how_to_leave_it(visit: Visit) -> None:
    page = answered(visit, 606)
    page.get_by_role("button", name="Full screen", exact=True).click()
    page.get_by_role("button", name="Leave full screen").click()
    expect(page.get_by_role("button", name="Full screen", exact=True)).to_be_visible()


def test_on_paper_each_picture_says_what_it_is(visit: Visit) -> None:
    page = answered(visit, 607)
    page.get_by_role("button", name="Hide marks").click()
    page.emulate_media(media="print")
    captions = page.locator(".pane figcaption")
    expect(captions).to_have_count(3)
    for number in range(3):
        expect(captions.nth(number)).to_be_visible()
    expect(layer(page, "outline")).to_be_visible()
    expect(page.get_by_text("The marked area lies in a box")).to_be_visible()
    for gone in ("Download report", "Download the pictures", "Read on", "Delete"):
        expect(page.get_by_text(gone).first).to_be_hidden()


def places(page: Page, selector: str) -> list[tuple[float, ...]]:
    """Left, top, right and bottom of each of these that is there to be seen."""
    found: list[tuple[float, ...]] = page.locator(selector).evaluate_all(
        """(all) => all.map((one) => one.getBoundingClientRect())
            .filter((box) => box.width)
            .map((box) => [box.left, box.top, box.right, box.bottom])"""
    )
    return found


def test_on_paper_a_zoomed_picture_is_whole(visit: Visit) -> None:
    page = answered(visit, 610)
    page.get_by_label("Certain and possible extent").check()
    page.get_by_label("Box").check()
    page.get_by_role("button", name="Zoom to the area").click()
    expect(page.locator("[data-zoom-value]")).not_to_have_text("100%")
    page.emulate_media(media="print")
    films = places(page, ".film")
    assert len(films) == 3
    # The picture fills its film, and so does all that is drawn over it.
    for number in range(3):
        shown = places(page, f".film >> nth={number} >> .stack > *")
        assert shown
        for place in shown:
            assert place == pytest.approx(films[number], abs=1)
    assert len(places(page, '[data-pane="overlay"] .stack > *')) == 5


def test_on_paper_each_of_two_results_has_a_row(visit: Visit) -> None:
    page = compared(visit)
    page.emulate_media(media="print")
    films = places(page, ".film")
    assert len(films) == 6
    tops = [round(top) for _, top, _, _ in films]
    assert tops[:3] == [tops[0]] * 3
    assert tops[3:] == [tops[3]] * 3
    assert tops[3] > tops[0]
