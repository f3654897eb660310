"""Wagtail's editor in a real browser, under the site's content security policy."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Browser, ConsoleMessage, Page

from tests.support.browser import WAIT, accessibility_faults, launched_chromium
from tests.support.pages import served_pages

pytestmark = pytest.mark.browser

PASSWORD = "a-long-enough-one"
MAKE_EDITOR = f"""
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group
user = get_user_model().objects.create_user("editor@example.org", "{PASSWORD}")
user.groups.add(Group.objects.get(name="Editors"))
"""


@pytest.fixture(scope="module")
def site(migrated: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The pages and their editor, on a data folder of their own."""
    folder = tmp_path_factory.mktemp("editor")
    commands = ["prepare", "--steps", "seed_pages"], ["shell", "-v0", "-c", MAKE_EDITOR]
    with served_pages(migrated, folder, *commands) as port:
        yield f"http://127.0.0.1:{port}"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with launched_chromium() as chromium:
        yield chromium


@pytest.fixture
def complaints() -> list[str]:
    """What the browser complains of: refused scripts and styles, errors of scripts."""
    return []


@pytest.fixture
def page(browser: Browser, complaints: list[str]) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 1400, "height": 1000})
    context.set_default_timeout(WAIT)
    page = context.new_page()
    page.on("pageerror", lambda error: complaints.append(str(error)))

    def said(message: ConsoleMessage) -> None:
        place = message.location["url"]
        # Wagtail saves by itself what is being written, and is told what a new block still lacks.
        unfinished = place.endswith("/edit/") and "400 (Bad Request)" in message.text
        if message.type == "error" and "favicon" not in place and not unfinished:
            complaints.append(f"{message.text} {place}")

    page.on("console", said)
    yield page
    context.close()


def sign_in(page: Page, site: str) -> None:
    page.goto(f"{site}/cms/")
    page.fill("[name=login]", "editor@example.org")
    page.fill("[name=password]", PASSWORD)
    page.press("[name=password]", "Enter")
    page.wait_for_url(f"{site}/cms/")


def test_editor_works_under_the_policy(
    site: str, page: Page, browser: Browser, complaints: list[str], tmp_path: Path
) -> None:
    sign_in(page, site)

    file = tmp_path / "blue.png"
    Image.new("RGB", (900, 600), (60, 110, 160)).save(file)
    page.goto(f"{site}/cms/images/add/")
    page.set_input_files("input[type=file]", file)
    page.fill("#id_title", "Blue")
    page.fill("[name=credit]", "Drawn by us")
    page.get_by_role("button", name="Upload").click()
    page.wait_for_url(f"{site}/cms/images/")

    page.goto(f"{site}/cms/pages/4/edit/")
    page.locator(".public-DraftEditor-content").first.click()
    page.keyboard.press("Control+Home")
    page.keyboard.type("Quokkas say: ")
    page.locator("#id_last_reviewed").click()
    page.locator(".xdsoft_datetimepicker:visible").wait_for()
    page.keyboard.press("Escape")
    page.locator("button.c-sf-add-button").first.click()
    page.get_by_role("option", name="Picture").first.click()
    page.get_by_role("button", name="Choose an image").first.click()
    page.locator(".modal .image-choice").first.click()
    page.locator("[name$='-image-alt_text']").first.fill("A blue field")

    page.get_by_role("button", name="Toggle preview").click()
    preview = page.frame_locator("iframe[title=Preview]").first
    preview.get_by_text("Quokkas say:").first.wait_for()
    page.get_by_role("button", name="Save draft").first.click()
    page.get_by_text("Page 'Glioma' has been updated").first.wait_for()

    visitor = browser.new_page()
    visitor.goto(f"{site}/learn/glioma/")
    assert "Quokkas" not in visitor.content()

    page.locator("footer [data-w-dropdown-target=toggle]").click()
    page.locator("button[name=action-publish]").click()
    page.wait_for_url("**/cms/pages/3/")
    visitor.reload()
    assert "Quokkas say:" in visitor.content()
    blue = visitor.get_by_alt_text("A blue field")
    assert blue.evaluate("image => image.decode().then(() => image.naturalWidth)") >= 400

    # A chooser that Wagtail starts by an inline script: refused, and started by our own.
    assert complaints == []
    page.goto(f"{site}/cms/pages/4/move/")
    page.locator("[data-chooser-action-choose]").first.evaluate("button => button.click()")
    page.locator(".modal").get_by_text("Search term").wait_for()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pages_are_accessible(browser: Browser, site: str, scheme: str) -> None:
    context = browser.new_context(color_scheme=scheme)  # type: ignore[arg-type]  # a literal
    page = context.new_page()
    for address in (
        "/learn/",
        "/learn/symptoms/",
        "/learn/meningioma/",
        "/learn/glossary/",
        "/learn/how-this-network-works/",
        "/learn/search/?q=headache",
    ):
        page.goto(site + address)
        assert accessibility_faults(page) == []
    context.close()


def test_search_works_by_keyboard(page: Page, site: str, complaints: list[str]) -> None:
    page.goto(f"{site}/learn/")
    page.get_by_role("searchbox").focus()
    page.keyboard.type("headaches")
    page.keyboard.press("Enter")
    page.get_by_role("status").get_by_text("found for “headaches”").wait_for()
    page.get_by_role("searchbox").focus()
    for _ in range(2):
        page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.wait_for_url(f"{site}/learn/symptoms/")
    assert complaints == []
