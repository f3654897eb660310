"""Second factors for staff, secrets at rest, proxies, sessions, limits and silence in the logs."""

from __future__ import annotations

import io
import logging
import re
from importlib import import_module

import pytest
from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from allauth.mfa.recovery_codes.internal.auth import RecoveryCodes
from allauth.usersessions.models import UserSession
from django.conf import settings as site
from django.contrib.sessions.models import Session
from django.core import mail
from django.core.cache import cache
from django.test import Client, RequestFactory
from django.urls import reverse
from django.utils import timezone
from pytest_django import Settings

from accounts.adapters import UNSENT, AccountAdapter, MFAAdapter
from accounts.checks import staff_second_factor
from accounts.models import User
from accounts.tasks import clear_sessions
from accounts.tests.support import (
    PASSWORD,
    SECRET,
    add_second_factor,
    confirm,
    sign_in,
    totp,
    verified,
)
from predictions.models import ModelVersion
from tests.support.pictures import png
from tests.support.processes import free_port

pytestmark = pytest.mark.django_db


@pytest.fixture
def staff() -> User:
    return verified("staff@example.org", is_staff=True, is_superuser=True)


@pytest.mark.parametrize("address", ["/admin/", "/cms/"])
def test_staff_set_up_a_second_factor_first(
    client: Client, staff: User, settings: Settings, address: str
) -> None:
    settings.STAFF_MFA_REQUIRED = True
    client.force_login(staff)
    answer = client.get(address, follow=True)
    assert answer.redirect_chain == [(reverse("mfa_index"), 302)]
    assert b"Staff need a second factor" in answer.content
    add_second_factor(staff)
    assert client.get(address).status_code == 200


def test_codes_for_recovery_alone_are_no_second_factor(
    client: Client, staff: User, settings: Settings
) -> None:
    """Sign-in does not ask for them while they stand in for nothing."""
    settings.STAFF_MFA_REQUIRED = True
    RecoveryCodes.activate(staff)
    sign_in(client, staff.email)
    assert client.get("/admin/", follow=True).redirect_chain == [(reverse("mfa_index"), 302)]


def test_a_second_factor_is_asked_for_at_sign_in(
    client: Client, staff: User, settings: Settings
) -> None:
    settings.STAFF_MFA_REQUIRED = True
    add_second_factor(staff)
    sign_in(client, staff.email)
    assert client.get("/admin/").status_code == 302
    client.post(reverse("mfa_authenticate"), {"code": "000000"})
    assert client.get("/admin/").status_code == 302
    client.post(reverse("mfa_authenticate"), {"code": totp(SECRET)})
    assert client.get("/admin/").status_code == 200


def test_optional_means_optional(client: Client, staff: User) -> None:
    client.force_login(staff)
    assert client.get("/admin/").status_code == 200


def test_an_address_is_added_with_the_password_alone(client: Client) -> None:
    user = verified()
    client.force_login(user)
    form = {"email": "thief@example.org", "action_add": ""}
    answer = client.post(reverse("account_email"), form, follow=True)
    assert answer.redirect_chain[0][0].startswith(reverse("account_reauthenticate"))
    assert EmailAddress.objects.get() == EmailAddress.objects.get_primary(user)
    again = {"password": PASSWORD, "next": reverse("account_email")}
    client.post(reverse("account_reauthenticate"), again)
    assert EmailAddress.objects.filter(user=user, email="thief@example.org").exists()


def test_who_has_no_password_gives_the_second_factor(client: Client) -> None:
    user = verified()
    user.set_unusable_password()
    user.save()
    add_second_factor(user)
    client.force_login(user)
    asked = client.get(reverse("account_reauthenticate"), {"next": "/account/"}, follow=True)
    assert asked.redirect_chain == [(f"{reverse('mfa_reauthenticate')}?next=%2Faccount%2F", 302)]
    answer = client.post(asked.request["PATH_INFO"], {"code": totp(SECRET), "next": "/account/"})
    assert answer["Location"] == "/account/"


@pytest.mark.parametrize(
    ("address", "required", "warned"),
    [
        ("https://scans.example.org", False, True),
        ("https://scans.example.org", True, False),
        ("http://127.0.0.1:8000", False, False),
    ],
)
def test_the_deploy_check(settings: Settings, address: str, required: bool, warned: bool) -> None:
    settings.SITE_URL = address
    settings.STAFF_MFA_REQUIRED = required
    assert [message.id for message in staff_second_factor()] == ["accounts.W001"] * warned


def test_secrets_of_second_factors_are_not_readable(staff: User, settings: Settings) -> None:
    adapter = MFAAdapter()
    kept = adapter.encrypt(SECRET)
    assert SECRET not in kept
    settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY]
    settings.SECRET_KEY = "another key, " * 5
    assert adapter.decrypt(kept) == SECRET
    add_second_factor(staff)
    rows = Authenticator.objects.values_list("data", flat=True)
    assert not any(SECRET in str(row) for row in rows)
    assert adapter.generate_authenticator_name(staff, Authenticator.Type.WEBAUTHN) == "Passkey 1"


def test_the_address_behind_a_proxy(settings: Settings) -> None:
    request = RequestFactory().get("/", headers={"X-Forwarded-For": "203.0.113.9, 198.51.100.7"})
    assert AccountAdapter().get_client_ip(request) == "127.0.0.1"
    settings.PROXY_COUNT = 1
    assert AccountAdapter().get_client_ip(request) == "198.51.100.7"


def test_sessions_are_noted_once_in_a_while(
    client: Client, staff: User, django_assert_num_queries: object
) -> None:
    sign_in(client, staff.email)
    client.get(reverse("account"))
    before = UserSession.objects.get().last_seen_at
    client.get(reverse("account"))
    assert UserSession.objects.get().last_seen_at == before
    cache.clear()
    client.get(reverse("account"))
    assert UserSession.objects.get().last_seen_at > before


def test_old_sessions_are_removed() -> None:
    store = import_module(site.SESSION_ENGINE).SessionStore()
    store.create()
    Session.objects.update(expire_date=timezone.now())
    clear_sessions()
    assert not Session.objects.exists()


def test_where_a_session_was_used_is_known_no_longer_than_it_lasts(staff: User) -> None:
    old, new = Client(), Client()
    sign_in(old, staff.email)
    sign_in(new, staff.email)
    assert UserSession.objects.count() == 2
    ended = old.session.session_key
    Session.objects.filter(pk=ended).update(expire_date=timezone.now())
    clear_sessions()
    assert UserSession.objects.get().session_key == new.session.session_key


def _move_back(client: Client, seconds: float) -> None:
    """As if all that the session remembers of signing in were that much longer ago."""
    session = client.session
    for record in session["account_authentication_methods"]:
        record["at"] -= seconds
    session.save()


@pytest.mark.parametrize(
    "name",
    [
        "account_export", "account_erase", "mfa_activate_totp", "mfa_deactivate_totp",
        "mfa_generate_recovery_codes", "mfa_view_recovery_codes", "mfa_add_webauthn",
    ],
)  # fmt: skip
def test_the_password_is_asked_for_again_after_a_quarter_of_an_hour(
    client: Client, staff: User, name: str
) -> None:
    if name != "mfa_activate_totp":
        add_second_factor(staff)
    client.force_login(staff)
    asks = f"{reverse('account_reauthenticate')}?next={reverse(name)}".replace("/", "%2F")

    def asked() -> bool:
        answer = client.get(reverse(name))
        return answer.status_code == 302 and answer["Location"].replace("/", "%2F") == asks

    assert asked()
    confirm(client)
    assert not asked()
    _move_back(client, 14 * 60)
    assert not asked()
    _move_back(client, 60)
    assert asked()
    confirm(client)
    assert not asked()


def test_what_is_asked_of_an_old_session_is_not_done(client: Client, staff: User) -> None:
    """Forms can be sent without the pages that ask."""
    ada = verified("ada@example.org")
    add_second_factor(ada)
    client.force_login(ada)
    confirm(client)
    _move_back(client, 15 * 60)
    for name, form in (
        ("account_erase", {"confirmed": "on"}), ("account_export", {}), ("mfa_deactivate_totp", {}),
    ):  # fmt: skip
        answer = client.post(reverse(name), form)
        assert answer.status_code == 302
        assert answer["Location"].startswith(reverse("account_reauthenticate"))
    ada.refresh_from_db()
    assert ada.is_active
    assert Authenticator.objects.filter(user=ada, type=Authenticator.Type.TOTP).exists()


def _signed_in(client: Client) -> bool:
    return client.get(reverse("account")).status_code == 200


def test_a_changed_password_signs_out_everywhere(client: Client, staff: User) -> None:
    """As the page with the form says: this browser, too."""
    elsewhere, somebody = Client(), Client()
    for browser in (client, elsewhere):
        sign_in(browser, staff.email)
    sign_in(somebody, verified("ada@example.org").email)
    page = client.get(reverse("account_change_password")).content
    assert b"This signs you out everywhere" in page
    form = {"oldpassword": "not this", "password1": "correct horse", "password2": "correct horse"}
    client.post(reverse("account_change_password"), form)
    assert _signed_in(client)
    assert _signed_in(elsewhere)
    answer = client.post(reverse("account_change_password"), {**form, "oldpassword": PASSWORD})
    assert answer.status_code == 302
    assert not _signed_in(elsewhere)
    assert not _signed_in(client)
    assert _signed_in(somebody)
    sign_in(client, staff.email)
    assert not _signed_in(client)
    sign_in(client, staff.email, "correct horse")
    assert _signed_in(client)
    assert not _signed_in(elsewhere)


def test_a_password_set_by_mail_signs_out_everywhere(client: Client, staff: User) -> None:
    sign_in(client, staff.email)
    owner = Client()
    owner.post(reverse("account_reset_password"), {"email": staff.email})
    [link] = re.findall(r"https?://[^/\s]+(/\S+)", str(mail.outbox[-1].body))
    page = owner.get(link, follow=True)
    form = {"password1": "correct horse", "password2": "correct horse"}
    owner.post(page.redirect_chain[-1][0], form)
    staff.refresh_from_db()
    assert staff.check_password("correct horse")
    assert not _signed_in(client)


def test_guessing_is_limited(client: Client, staff: User) -> None:
    for _ in range(6):
        sign_in(client, staff.email, "wrong password")
    sign_in(client, staff.email)
    assert "_auth_user_id" not in client.session
    answer = [
        client.post(reverse("account_reset_password"), {"email": f"p{number}@example.org"})
        for number in range(21)
    ][-1]
    assert answer.status_code == 429
    assert b"tried too often" in answer.content


def test_no_identity_in_the_logs(
    client: Client, staff: User, model: ModelVersion, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        client.post(
            reverse("account_signup"),
            {
                "email": "grace@example.org",
                "password1": "correct horse",
                "password2": "correct horse",
            },
        )
        upload = io.BytesIO(png(64, 64))
        upload.name = "Grace Hopper 1906.png"
        client.post(reverse("history"), {"images": upload})
        client.post(reverse("account_logout"))
        sign_in(client, staff.email, "wrong password")
        sign_in(client, staff.email)
        client.post(reverse("account_logout"))
        client.post(reverse("account_reset_password"), {"email": "nobody@example.org"})
    assert User.objects.filter(email="grace@example.org", scans__isnull=False).exists()
    text = "\n".join(
        record.getMessage()
        for record in caplog.records
        # The database's own log of statements, which no operator turns on.
        if record.name != "django.db.backends"
    )
    assert "queued as prediction" in text
    for secret in ("grace", "hopper", "staff@", "nobody", "correct horse"):
        assert secret not in text.lower()
    assert mail.outbox


@pytest.fixture
def no_mail_server(settings: Settings) -> None:
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", free_port()


@pytest.mark.usefixtures("no_mail_server")
def test_sign_up_without_a_mail_server(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    form = {"email": "grace@example.org", "password1": "correct horse"}
    answer = client.post(
        reverse("account_signup"), {**form, "password2": form["password1"]}, follow=True
    )
    assert answer.redirect_chain == [(reverse("history"), 302)]
    page = answer.content.decode()
    assert UNSENT in page
    assert "mail sent to" not in page
    assert client.session["_auth_user_id"]
    assert "a mail could not be sent: ConnectionRefusedError" in caplog.text
    assert "grace" not in caplog.text


@pytest.mark.usefixtures("no_mail_server")
@pytest.mark.parametrize("email", ["staff@example.org", "nobody@example.org"])
def test_a_reset_without_a_mail_server(client: Client, staff: User, email: str) -> None:
    answer = client.post(reverse("account_reset_password"), {"email": email})
    assert answer.status_code == 503
    assert UNSENT in answer.content.decode()


@pytest.mark.usefixtures("no_mail_server")
def test_a_change_without_a_mail_server(client: Client, staff: User) -> None:
    """The change is made; the mail that tells of it is all that is lost."""
    sign_in(client, staff.email)
    form = {"oldpassword": PASSWORD, "password1": "correct horse", "password2": "correct horse"}
    assert client.post(reverse("account_change_password"), form).status_code == 302
    staff.refresh_from_db()
    assert staff.check_password("correct horse")
