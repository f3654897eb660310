"""Submit, wait, result, history: with mouse, keyboard, drop, paste, and without scripts."""

from __future__ import annotations

import re
from datetime import datetime, timedelta

import numpy as np
import pytest
from playwright.sync_api import Route, expect

from tests.browser import acts
from tests.browser.conftest import Visit
from tests.support.pictures import mri_png, png
from tests.support.site import Site

pytestmark = [pytest.mark.browser, pytest.mark.timeout(900)]


def test_from_upload_to_history_and_back(visit: Visit) -> None:
    page, content = visit(), mri_png(seed=1)
    address = acts.submit(page, content, "first.png")
    assert np.array_equal(acts.shown(page), acts.uploaded(content))
    expect(page.get_by_text("not a diagnosis", exact=False).first).to_be_visible()
    page.goto("/scans/")
    expect(page.get_by_text("first.png").first).to_be_visible()
    page.locator("a.record-link").first.click()
    page.wait_for_url(address)
    expect(page.locator("h1")).to_have_text(acts.ANSWER)


def test_the_page_waits_without_reload_and_becomes_the_result(visit: Visit, site: Site) -> None:
    child = site.child()
    child.suspend()
    page = visit()
    page.set_input_files("#images", [acts.payload(mri_png(seed=2))])
    page.wait_for_url("**/results/**")
    expect(page.locator("[data-heading]")).to_have_text("Waiting")
    page.evaluate("() => { window.stayed = true; }")
    page.wait_for_timeout(1500)
    assert page.evaluate("() => window.stayed") is True
    expect(page.locator("[data-late]")).to_be_visible()
    assert page.locator("main").inner_text().count("You may leave") == 1
    expect(page.locator("[data-usual]")).to_be_hidden()
    expect(page.locator("[data-announce]")).not_to_be_empty()
    address = page.url
    child.resume()
    acts.see_answer(page)
    assert page.url == address


def test_a_waiting_run_can_be_cancelled(visit: Visit, site: Site) -> None:
    child = site.child()
    child.suspend()
    page = visit()
    page.set_input_files("#images", [acts.payload(mri_png(seed=3))])
    page.wait_for_url("**/results/**")
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator("h1")).to_have_text("The analysis was cancelled")
    child.resume()
    page.get_by_role("button", name="Run again").click()
    acts.see_answer(page)


@pytest.mark.parametrize("way", ["drop", "paste"])
def test_a_picture_can_be_dropped_and_pasted(visit: Visit, way: str) -> None:
    page, content = visit(), mri_png(seed=4)
    acts.hand_over(page, way, [("handed.png", content)])
    acts.see_answer(page)
    assert np.array_equal(acts.shown(page), acts.uploaded(content))


def test_a_phone_can_take_the_picture(visit: Visit) -> None:
    page = visit(viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    camera, content = page.locator("#camera"), mri_png(seed=10)
    expect(camera).to_have_attribute("capture", "environment")
    with page.expect_file_chooser() as asked:
        page.get_by_text("Take a photo").tap()
    assert asked.value.element.get_attribute("id") == "camera"
    asked.value.set_files([acts.payload(content, "photo.png")])
    acts.see_answer(page)
    assert np.array_equal(acts.shown(page), acts.uploaded(content))


def test_several_at_once_with_a_bad_one_among_them(visit: Visit) -> None:
    page = visit()
    page.set_input_files(
        "#images",
        [
            acts.payload(mri_png(seed=5), "one.png"),
            acts.payload(b"not a picture at all", "two.png"),
            acts.payload(mri_png(seed=6), "three.png"),
            acts.payload(b"hello", "notes.txt", "text/plain"),
        ],
    )
    items = page.locator("[data-uploads] li")
    expect(items).to_have_count(4)
    for number in (1, 3):
        expect(items.nth(number)).to_contain_text("not a picture we can read")
        expect(items.nth(number).locator(".upload-film")).to_have_text("Not accepted")
    for number in (0, 2):
        expect(items.nth(number).get_by_role("link", name=re.compile("Open"))).to_be_visible()
        expect(items.nth(number)).to_contain_text(acts.ANSWER)
    expect(page.locator("[data-upload-summary]")).to_have_text(
        re.compile("^4 files: 2 answered, 2 not accepted$")
    )
    page.get_by_role("link", name="See them in your history").click()
    page.wait_for_url("**/scans/")
    expect(page.locator("a.record-link")).to_have_count(2)


def test_more_than_one_request_takes_wait_in_line(visit: Visit) -> None:
    page = visit()
    names = [f"{number}.png" for number in range(52)]
    page.set_input_files("#images", [acts.payload(png(64, 64, seed=1), name) for name in names])
    expect(page.locator("[data-uploads] li.error")).to_have_text(re.compile("Left out.* 51.png"))
    expect(page.locator("[data-upload-summary]")).to_have_text("50 files: 50 not a brain MRI")


def test_times_are_the_visitor_s_own(visit: Visit) -> None:
    page = visit(timezone_id="Asia/Kolkata")
    acts.submit(page, mri_png(seed=11))
    page.goto("/scans/")
    time = page.locator(".record-facts time")
    assert re.fullmatch(r"\d+ \w+ \d{4}, \d\d:\d\d UTC", time.get_attribute("title") or "")
    assert re.fullmatch(r"\d+ \w+ \d{4}, \d\d:\d\d", time.inner_text())
    shown, kept = (
        datetime.strptime(f"{text.removesuffix(' UTC')} +0000", "%d %b %Y, %H:%M %z")
        for text in (time.inner_text(), time.get_attribute("title") or "")
    )
    assert shown - kept == timedelta(hours=5, minutes=30)
    # So are the days that can be asked for.
    page.fill("[name=since]", f"{shown:%Y-%m-%d}")
    page.get_by_role("button", name="Show").click()
    page.wait_for_url("**zone=Asia%2F*")
    expect(page.locator("a.record-link")).to_have_count(1)


def test_a_file_is_checked_and_shown_before_any_of_it_is_sent(visit: Visit) -> None:
    page = visit()
    posted: list[str] = []
    page.on("request", lambda request: posted.append(request.method))
    page.set_input_files("#images", [acts.payload(b"\0" * 21 * 2**20, "large.png")])
    item = page.locator("[data-uploads] li").first
    expect(item).to_contain_text("up to 20 MB are possible")
    page.set_input_files("#images", [acts.payload(b"hello", "notes.txt", "text/plain")])
    expect(page.locator("[data-uploads] li").nth(1)).to_contain_text("not a picture we can read")
    expect(page.locator("[data-upload-summary]")).to_have_text("2 files: 2 not accepted")
    assert "POST" not in posted
    held: list[Route] = []
    page.route("**/scans/", lambda route: held.append(route), times=1)  # noqa: PLW0108  # Playwright marks its handlers, and a built-in one cannot be
    with page.expect_request("**/scans/"):
        page.set_input_files("#images", [acts.payload(mri_png(seed=41), "good.png")])
    good = page.locator("[data-uploads] li").nth(2)
    assert good.locator("img").evaluate("(image) => image.decode().then(() => image.naturalWidth)")
    expect(good.get_by_role("progressbar", name="Upload of good.png")).to_be_visible()
    held[0].continue_()
    acts.see_answer(page)


def test_a_picture_added_while_the_first_is_sent_is_not_lost(visit: Visit) -> None:
    page = visit()
    held: list[Route] = []

    def hold(route: Route) -> None:
        held.append(route)

    page.route("**/scans/", hold, times=1)
    with page.expect_request("**/scans/"):
        page.set_input_files("#images", [acts.payload(mri_png(seed=21), "early.png")])
    page.set_input_files("#images", [acts.payload(mri_png(seed=22), "late.png")])
    items = page.locator("[data-uploads] li")
    expect(items).to_have_count(2)
    held[0].continue_()
    for number in range(2):
        expect(items.nth(number)).to_contain_text(acts.ANSWER)
    page.goto("/scans/")
    expect(page.locator("a.record-link")).to_have_count(2)


def test_what_the_site_asks_to_send_later_is_sent_by_itself(visit: Visit) -> None:
    """Two, each chosen alone: neither may lead away from the other."""
    page = visit()

    def busy(route: Route) -> None:
        route.fulfill(status=429, headers={"Retry-After": "4"}, json={"error": "Wait."})

    page.route("**/scans/", busy, times=2)
    items = page.locator("[data-uploads] li")
    for number in range(2):
        name = f"{number}.png"
        page.set_input_files("#images", [acts.payload(mri_png(seed=31 + number), name)])
        expect(items.nth(number)).to_contain_text("sent automatically in 4 seconds")
        expect(page.locator("[data-upload-status]")).to_contain_text(f"{name}: The site accepts")
    for number in range(2):
        expect(items.nth(number)).to_contain_text(acts.ANSWER)


def test_signing_in_elsewhere_takes_the_uploads_along(visit: Visit, site: Site) -> None:
    page, held = visit(), list[Route]()
    names = [f"{number}.png" for number in range(8)]
    files = [acts.payload(mri_png(seed=50 + n), name) for n, name in enumerate(names)]
    page.set_input_files("#images", files[:2])
    items = page.locator("[data-uploads] li")
    expect(items.nth(1)).to_contain_text(acts.ANSWER)
    page.route("**/scans/", lambda route: held.append(route), times=2)  # noqa: PLW0108  # as above
    page.set_input_files("#images", files[2:])
    expect(items).to_have_count(8)
    other = page.context.new_page()
    acts.sign_in(other, site)
    page.route(
        "**/scans/",
        lambda route: route.fulfill(status=409, json={"error": "", "code": "session_gone"}),
        times=2,
    )
    for route in held:
        route.continue_()
    for number in range(8):
        expect(items.nth(number)).to_contain_text(acts.ANSWER)
    other.goto("/scans/")
    expect(other.locator("main")).not_to_contain_text("belong to this browser")
    for name in names:
        expect(other.get_by_text(name).first).to_be_visible()


def test_what_is_missed_for_a_moment_is_not_called_deleted(visit: Visit) -> None:
    page = visit()
    page.route("**/state.json", lambda route: route.fulfill(status=404), times=1)
    files = [acts.payload(mri_png(seed=60 + n), f"{n}.png") for n in range(2)]
    page.set_input_files("#images", files)
    for number in range(2):
        expect(page.locator("[data-uploads] li").nth(number)).to_contain_text(acts.ANSWER)


def test_what_is_no_brain_is_told_so(visit: Visit) -> None:
    page = visit()
    page.set_input_files("#images", [acts.payload(png(64, 64, seed=1))])
    page.wait_for_url("**/results/**")
    expect(page.locator("h1")).to_have_text(acts.REFUSAL)


def test_deleting_from_result_and_history(visit: Visit) -> None:
    page = visit()
    address = acts.submit(page, mri_png(seed=7))
    page.get_by_role("link", name="Delete").click()
    page.locator("main form button[type=submit]").first.click()
    page.wait_for_url("**/scans/")
    answer = page.goto(address)
    assert answer is not None
    assert answer.status == 404


def test_a_selection_outlasts_the_page_it_was_made_on(visit: Visit) -> None:
    page = visit()
    for batch in range(3):
        names = [f"{batch}-{number}.png" for number in range(9)]
        page.goto("/")
        page.set_input_files("#images", [acts.payload(png(64, 64, seed=1), name) for name in names])
        items = page.locator("[data-uploads] li")
        expect(items.get_by_role("link", name=re.compile("Open"))).to_have_count(9)
    page.goto("/scans/")
    choices, said = page.locator("[name=scan]"), page.locator("[data-count]")
    expect(choices).to_have_count(24)
    choices.first.check()
    page.get_by_role("link", name="Older").click()
    expect(choices).to_have_count(3)
    choices.first.check()
    expect(said).to_have_text("2 selected, 1 of them on other pages")
    page.get_by_role("button", name="Compare").click()
    page.wait_for_url("**/compare/**")
    page.go_back()
    expect(choices.first).to_be_checked()
    page.get_by_role("button", name="Select none").click()
    expect(said).to_have_text("Select scans to compare two or to delete.")
    choices.last.check()
    page.get_by_role("link", name="Newer").click()
    expect(said).to_have_text("1 selected, 1 of them on other pages")
    choices.last.check()
    # Other filters, another selection.
    page.goto("/scans/?q=png")
    expect(said).to_have_text("Select scans to compare two or to delete.")
    page.goto("/scans/")
    choices.first.check()
    page.get_by_role("button", name="Delete").click()
    expect(page.get_by_role("heading", name="Delete")).to_be_visible()


def test_without_scripts(visit: Visit, site: Site) -> None:
    child = site.child()
    child.suspend()
    page, content = visit(java_script_enabled=False), mri_png(seed=8)
    page.set_input_files("#images", [acts.payload(content, "plain.png")])
    page.locator("noscript button, form[data-upload] button[type=submit]").first.click()
    page.wait_for_url("**/results/**")
    expect(page.locator("h1")).to_have_text("Waiting")
    # The waiting page refreshes itself until the answer is there.
    with page.expect_event("framenavigated"):
        pass
    expect(page.locator("h1")).to_have_text("Waiting")
    child.resume()
    expect(page.locator("h1")).to_have_text(acts.ANSWER)
    pictures = page.locator(".pane img[src$='image.png']")
    expect(pictures.first).to_be_visible()
    page.goto("/scans/")
    expect(page.get_by_text("plain.png").first).to_be_visible()
    page.goto("/scans/?q=nothing-like-it")
    expect(page.locator("a.record-link")).to_have_count(0)


def test_by_keyboard_alone(visit: Visit) -> None:
    page = visit()
    page.wait_for_load_state("load")
    acts.tab_to(page, "#images")
    # The key asks for the file dialog, which belongs to the system: here it is not opened.
    page.evaluate(
        """document.querySelector("#images").addEventListener("click", (event) => {
            event.preventDefault(); document.body.dataset.asked = "yes";
        })"""
    )
    page.keyboard.press("Space")
    expect(page.locator("body")).to_have_attribute("data-asked", "yes")
    page.set_input_files("#images", [acts.payload(mri_png(seed=9))])
    acts.see_answer(page)
    acts.tab_to(page, "[data-strength]")
    before = page.locator("[data-strength-value]").text_content()
    page.keyboard.press("ArrowRight")
    assert page.locator("[data-strength-value]").text_content() != before
    acts.tab_to(page, "[data-zoom=in]")
    page.keyboard.press("Enter")
    expect(page.locator("[data-zoom-value]")).not_to_have_text("100%")
    page.locator(".film:visible").focus()
    page.keyboard.press("+")
    # Drawn above the picture, which covers the film's own outline as soon as it is zoomed.
    ring = page.locator(".film:visible").evaluate(
        "(film) => getComputedStyle(film, '::after').borderStyle"
    )
    assert ring == "solid"
    page.goto("/scans/")
    acts.tab_to(page, "[name=scan]")
    page.keyboard.press("Space")
    acts.tab_to(page, "[data-delete]")
    page.keyboard.press("Enter")
    page.wait_for_url("**/scans/delete/")
    acts.tab_to(page, "main form button[type=submit]")
    page.keyboard.press("Enter")
    page.wait_for_url("**/scans/")
    expect(page.locator("a.record-link")).to_have_count(0)


def test_focus_can_be_seen_and_content_skipped_to(visit: Visit) -> None:
    page = visit()
    page.keyboard.press("Tab")
    assert page.evaluate("() => document.activeElement.matches('.skip')")
    outline = page.evaluate(
        "() => { const s = getComputedStyle(document.activeElement);"
        " return s.outlineStyle !== 'none' || s.boxShadow !== 'none'; }"
    )
    assert outline is True
    page.keyboard.press("Enter")
    assert page.evaluate("() => location.hash") == "#content"


def test_lines_stay_on_the_picture_and_thin_when_it_is_zoomed(visit: Visit) -> None:
    page = visit()
    acts.submit(page, mri_png(seed=12))
    line = page.locator(".film:visible [data-layer=outline]")
    picture = page.locator(".film:visible .stack > img").first
    expect(line).to_be_visible()
    widths = []
    for _ in range(3):
        there, here = picture.bounding_box(), line.bounding_box()
        assert there is not None
        assert here is not None
        assert here == pytest.approx(there, abs=0.5)
        # A stroke is as wide as it is told to be at the size that the drawing is laid out in.
        widths.append(line.evaluate("(line) => line.offsetWidth") / here["width"])
        page.locator("[data-zoom=in]").click()
        page.locator("[data-zoom=in]").click()
    assert widths == pytest.approx([1, 1, 1], abs=0.01)
