"""Accounts in a real browser, under the site's content security policy."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from zipfile import ZipFile

import pytest
from playwright.sync_api import Browser, Page, expect

from accounts.tests.support import PASSWORD, totp
from tests.support.browser import WAIT, accessibility_faults, launched_chromium
from tests.support.pages import served_pages
from tests.support.pictures import png

pytestmark = pytest.mark.browser

PREPARE = """
from accounts.tests.support import verified
from tests.support.records import make_model
make_model()
verified("root@example.org", is_staff=True, is_superuser=True)
"""


@dataclass
class Site:
    """A running site.

    Attributes:
        url: its address. Browsers know passkeys for names only, so it is not a number.
        folder: its data folder.
    """

    url: str
    folder: Path

    def newest_mail(self, address: str) -> str:
        """The mail that was last sent to an address."""
        files = (self.folder / "mail").iterdir()
        for file in sorted(files, key=lambda file: file.stat().st_mtime_ns, reverse=True):
            text = file.read_text()
            if f"To: {address}" in text:
                return text[text.rindex(f"To: {address}") :]
        raise AssertionError(f"no mail to {address}")

    def link_in_mail(self, address: str) -> str:
        found = re.search(rf"{re.escape(self.url)}/\S+", self.newest_mail(address))
        assert found
        return found.group()


@pytest.fixture(scope="module")
def site(migrated: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("accounts")
    with served_pages(migrated, folder, ["shell", "-v0", "-c", PREPARE]) as port:
        yield Site(f"http://localhost:{port}", folder)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with launched_chromium() as chromium:
        yield chromium


@dataclass
class Visit:
    """One person at the site, and what their browser complains of."""

    site: Site
    page: Page
    complaints: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on(
            "console",
            lambda message: (
                self.complaints.append(f"{message.text} {message.location}")
                if message.type == "error"
                else None
            ),
        )

    def open(self, path: str) -> None:
        self.page.goto(f"{self.site.url}{path}")

    def fill(self, **values: str) -> None:
        for name, value in values.items():
            self.page.locator(f"main input[name={name}]").fill(value)

    def press(self, name: str) -> None:
        self.page.get_by_role("button", name=name, exact=True).click()

    def see(self, heading: str) -> None:
        """Wait for a page by its heading, and let axe look at it."""
        expect(self.page.get_by_role("heading", level=1)).to_have_text(heading)
        assert accessibility_faults(self.page) == []

    def sign_up(self, email: str) -> None:
        self.open("/account/signup/")
        self.see("Sign up")
        self.fill(email=email, password1=PASSWORD, password2=PASSWORD)
        self.press("Sign up")
        self.page.wait_for_url("**/scans/")

    def verify(self, email: str) -> None:
        self.page.goto(self.site.link_in_mail(email))
        self.see("Is this your address?")
        self.press("Yes, it is mine")

    def prove(self) -> None:
        """Give the password again if asked."""
        if "reauthenticate" in self.page.url:
            self.see("Please confirm it is you")
            self.fill(password=PASSWORD)
            self.press("Continue")

    def sign_out(self) -> None:
        self.open("/account/logout/")
        self.see("Sign out?")
        self.page.get_by_role("main").get_by_role("button", name="Sign out").click()
        self.page.wait_for_url(f"{self.site.url}/")

    def sign_in(self, email: str) -> None:
        self.open("/account/login/")
        self.see("Sign in")
        self.fill(login=email, password=PASSWORD)
        self.press("Sign in")


@pytest.fixture
def visit(site: Site, browser: Browser) -> Iterator[Visit]:
    context = browser.new_context()
    context.set_default_timeout(WAIT)
    visit = Visit(site, context.new_page())
    yield visit
    context.close()
    assert not visit.complaints


def test_sign_up_verify_and_use_an_authenticator_app(visit: Visit) -> None:
    email = "totp@example.org"
    page = visit.page
    visit.open("/")
    page.set_input_files(
        "input[type=file]", {"name": "a.png", "mimeType": "image/png", "buffer": png(64, 64)}
    )
    page.wait_for_url("**/results/**")
    result = page.url
    visit.sign_up(email)
    assert page.goto(result).status == 200  # type: ignore[union-attr]  # the scan came along
    visit.open("/account/2fa/totp/activate/")
    expect(page.get_by_text("First verify all your addresses")).to_be_visible()
    visit.verify(email)
    visit.open("/account/2fa/")
    visit.see("Two-factor sign-in")
    page.get_by_role("link", name="Set up an app").click()
    visit.prove()
    visit.see("Set up an authenticator app")
    assert page.locator("img.qr").evaluate("image => image.complete && image.naturalWidth > 0")
    page.get_by_text("No camera?").click()
    secret = page.locator("code.key").inner_text()
    visit.fill(code=totp(secret))
    visit.press("Switch it on")
    visit.see("Recovery codes")
    codes = page.locator(".codes code").all_inner_texts()
    assert len(codes) == 10
    visit.sign_out()
    visit.sign_in(email)
    visit.see("Your second factor")
    visit.fill(code="000000")
    visit.press("Sign in")
    expect(page.get_by_text("Incorrect code")).to_be_visible()
    code = page.locator("[name=code]")
    expect(code).to_be_focused()
    assert code.evaluate("field => getComputedStyle(field).borderColor") == "rgb(165, 44, 27)"
    visit.fill(code=codes[0])
    visit.press("Sign in")
    page.wait_for_url("**/scans/")
    visit.open("/account/2fa/totp/deactivate/")
    if "reauthenticate" in page.url:
        visit.prove()
    visit.see("Switch off the authenticator app?")
    visit.press("Switch it off")
    visit.see("Two-factor sign-in")


def test_a_passkey(visit: Visit) -> None:
    email = "passkey@example.org"
    page = visit.page
    devtools = page.context.new_cdp_session(page)
    devtools.send("WebAuthn.enable")
    device = devtools.send(
        "WebAuthn.addVirtualAuthenticator",
        {
            "options": {
                "protocol": "ctap2",
                "transport": "internal",
                "hasResidentKey": True,
                "hasUserVerification": True,
                "isUserVerified": True,
                "automaticPresenceSimulation": True,
            }
        },
    )
    visit.sign_up(email)
    visit.verify(email)
    visit.open("/account/2fa/webauthn/add/")
    visit.prove()
    visit.see("Add a passkey")
    page.get_by_label("Let me sign in with it alone").check()
    visit.press("Add")
    visit.see("Recovery codes")
    visit.open("/account/2fa/webauthn/")
    visit.see("Your passkeys")
    expect(page.get_by_role("row", name="Passkey 1")).to_be_visible()
    page.get_by_role("link", name="Rename").click()
    visit.see("Rename this passkey")
    visit.fill(name="My laptop")
    visit.press("Save")
    expect(page.get_by_role("row", name="My laptop")).to_be_visible()

    visit.sign_out()
    visit.open("/account/login/")
    visit.press("Use a passkey")
    page.wait_for_url("**/scans/")

    # As a second factor, after the password.
    visit.sign_out()
    visit.sign_in(email)
    visit.see("Your second factor")
    visit.press("Use a passkey")
    page.wait_for_url("**/scans/")

    # As the proof before a sensitive page.
    visit.open("/account/2fa/webauthn/reauthenticate/?next=/account/")
    visit.see("Please confirm it is you")
    visit.press("Use a passkey")
    page.wait_for_url("**/account/")
    visit.see("Your account")
    expect(page.get_by_text("1 passkey")).to_be_visible()

    # A person who turns the question down is told what to do.
    visit.sign_out()
    devtools.send(
        "WebAuthn.setUserVerified",
        {"authenticatorId": device["authenticatorId"], "isUserVerified": False},
    )
    visit.open("/account/login/")
    visit.press("Use a passkey")
    expect(page.get_by_role("alert")).to_contain_text("No passkey was used")


def test_where_passkeys_do_not_work_there_is_a_way_to_where_they_do(visit: Visit) -> None:
    there = f"{visit.site.url}/account/login/?next=/learn/"
    visit.page.goto(there.replace("localhost", "127.0.0.1"))
    visit.press("Use a passkey")
    expect(visit.page.get_by_role("alert")).to_contain_text("the site’s own address")
    visit.page.get_by_role("link", name="Open this page at localhost").click()
    visit.page.wait_for_url(there)


def test_password_reset(visit: Visit) -> None:
    email = "forgetful@example.org"
    page = visit.page
    visit.sign_up(email)
    visit.sign_out()
    visit.open("/account/password/reset/")
    visit.see("Forgotten your password?")
    visit.fill(email=email)
    visit.press("Send the link")
    visit.see("Check your e-mail")
    link = visit.site.link_in_mail(email)
    page.goto(link)
    visit.see("Choose a new password")
    visit.fill(password1="short", password2="short")
    visit.press("Save")
    expect(page.get_by_text("too short")).to_be_visible()
    visit.see("Choose a new password")
    visit.fill(password1=PASSWORD + "!", password2=PASSWORD + "!")
    visit.press("Save")
    visit.see("Your password has been changed")
    page.goto(link)
    visit.see("This link no longer works")


def test_sessions_export_and_erasure(visit: Visit, browser: Browser) -> None:
    email = "leaving@example.org"
    page = visit.page
    visit.sign_up(email)
    with browser.new_context() as elsewhere:
        other = Visit(visit.site, elsewhere.new_page())
        other.sign_in(email)
        other.page.wait_for_url("**/scans/")
        visit.open("/account/sessions/")
        visit.see("Where you are signed in")
        assert page.locator(".sessions li").count() == 2
        visit.press("Sign out everywhere else")
        other.open("/account/")
        other.see("Sign in")
    visit.open("/account/email/")
    visit.see("E-mail addresses")
    visit.open("/account/password/change/")
    visit.see("Change your password")
    visit.open("/account/export/")
    visit.prove()
    visit.see("Export all your data")
    with page.expect_download() as download:
        visit.press("Download the zip file")
    with ZipFile(download.value.path()) as archive:
        assert email in archive.read("tumorsite-data/data.json").decode()
    visit.open("/account/erase/")
    visit.see("Erase your account?")
    page.get_by_label("Yes, erase everything").check()
    visit.press("Erase my account")
    page.wait_for_url(f"{visit.site.url}/")
    expect(page.get_by_text("Your account is closed")).to_be_visible()
    visit.sign_in(email)
    expect(page.get_by_text("not correct")).to_be_visible()


def test_the_admin_works_under_the_policy(visit: Visit) -> None:
    page = visit.page
    visit.open("/")
    page.set_input_files(
        "input[type=file]",
        {"name": "a.png", "mimeType": "image/png", "buffer": png(64, 64, seed=7)},
    )
    page.wait_for_url("**/results/**")
    result = page.url.rstrip("/").rpartition("/")[2]
    visit.open("/admin/")
    visit.fill(login="root@example.org", password=PASSWORD)
    visit.press("Sign in")
    page.wait_for_url("**/admin/")
    for model in ("scan", "prediction"):
        visit.open(f"/admin/predictions/{model}/")
        picture = page.locator("img.scan-thumbnail").first
        picture.scroll_into_view_if_needed()
        page.wait_for_function("[...document.images].some(image => image.naturalWidth > 0)")
        box = picture.bounding_box()
        assert box
        assert (box["width"], box["height"]) == (64, 64)
    visit.open(f"/admin/predictions/prediction/{result}/change/")
    page.wait_for_load_state("networkidle")
    assert page.locator(".scan-layers img").first.evaluate("image => image.naturalWidth") == 64
    visit.open("/admin/predictions/review/add/")
    page.locator("#lookup_id_prediction").wait_for()
