"""People in the admin."""

from __future__ import annotations

import pytest
from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from allauth.usersessions.models import UserSession
from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.test import Client
from django.urls import reverse

from accounts.models import User
from accounts.services.erasure import finish_erasures
from accounts.tests.support import add_second_factor, sign_in, verified
from predictions.models import ModelVersion, Scan
from tests.support.records import make_user, submit

pytestmark = pytest.mark.django_db


@pytest.fixture
def root(client: Client) -> User:
    user = verified("root@example.org", is_staff=True, is_superuser=True)
    sign_in(client, user.email)
    return user


@pytest.mark.parametrize("name", [model._meta.label_lower for model in admin.site._registry])
def test_every_list_opens_and_searches(client: Client, root: User, name: str) -> None:
    add_second_factor(root)
    place = reverse(f"admin:{name.replace('.', '_')}_changelist")
    assert client.get(place).status_code == 200
    assert client.get(place, {"q": "root@example.org"}).status_code == 200


def test_making_a_user(client: Client, root: User) -> None:
    form = {
        "email": "New@Example.org", "usable_password": "true", "password1": "a long password",
        "password2": "a long password",
    }  # fmt: skip
    assert client.post(reverse("admin:accounts_user_add"), form).status_code == 302
    made = User.objects.get(email="new@example.org")
    page = client.get(reverse("admin:accounts_user_change", args=[made.pk]))
    assert page.status_code == 200
    assert (
        "already exists" in client.post(reverse("admin:accounts_user_add"), form).content.decode()
    )


def test_an_address_is_written_small_and_changed_by_its_owner_alone(
    client: Client, root: User
) -> None:
    made = {"email": "New@Example.ORG", "groups": []}
    assert client.post(reverse("wagtailusers_users:add"), made).status_code == 302
    new = User.objects.get(email="new@example.org")
    for place in (
        reverse("admin:accounts_user_change", args=[new.pk]),
        reverse("wagtailusers_users:edit", args=[new.pk]),
    ):
        assert "People change their address themselves" in client.get(place).content.decode()
        changed = {"email": "Other@example.org", "is_active": "on"}
        assert client.post(place, changed).status_code == 302
        new.refresh_from_db()
        assert new.email == "new@example.org"


def test_deleting_people_erases_them(client: Client, root: User, model: ModelVersion) -> None:
    ada, bob = make_user(), make_user("bob@example.org")
    submit(owner=ada)
    place = reverse("admin:accounts_user_delete", args=[ada.pk])
    assert "Scans: 1" in client.get(place).content.decode()
    client.post(place, {"post": "yes"})
    assert Scan.objects.get().deleted_at
    client.post(
        reverse("admin:accounts_user_changelist"),
        {"action": "delete_selected", "_selected_action": [bob.pk], "post": "yes"},
    )
    listed = client.get(reverse("admin:accounts_user_changelist")).content.decode()
    assert "root@example.org" in listed
    assert "erased.invalid" not in listed
    assert {entry.object_repr for entry in LogEntry.objects.all()} == {
        f"user {ada.pk}", f"user {bob.pk}",
    }  # fmt: skip
    assert finish_erasures() == 1
    assert not User.objects.filter(pk=bob.pk).exists()


def test_one_administrator_stays(client: Client, root: User) -> None:
    place = reverse("admin:accounts_user_delete", args=[root.pk])
    client.post(place, {"post": "yes"})
    assert User.objects.get(pk=root.pk).is_active
    make_user("second@example.org", is_superuser=True, is_staff=True)
    client.post(place, {"post": "yes"})
    assert not User.objects.get(pk=root.pk).is_active


@pytest.mark.parametrize("lost", ["is_active", "is_staff", "is_superuser"])
def test_the_last_administrator_keeps_all_rights(client: Client, root: User, lost: str) -> None:
    place = reverse("admin:accounts_user_change", args=[root.pk])
    rights = {"is_active": "on", "is_staff": "on", "is_superuser": "on"}
    fewer = {name: value for name, value in rights.items() if name != lost}
    assert "only administrator" in client.post(place, fewer).content.decode()
    assert getattr(User.objects.get(pk=root.pk), lost)
    assert client.post(place, rights).status_code == 302
    make_user("second@example.org", is_superuser=True, is_staff=True)
    assert client.post(place, fewer).status_code == 302
    assert not getattr(User.objects.get(pk=root.pk), lost)


def test_a_lost_second_factor_can_be_removed_but_not_read(client: Client, root: User) -> None:
    ada = make_user()
    add_second_factor(ada)
    factor = Authenticator.objects.get(user=ada, type="totp")
    page = client.get(reverse("admin:mfa_authenticator_change", args=[factor.pk])).content.decode()
    assert factor.data["secret"] not in page
    assert client.get(reverse("admin:mfa_authenticator_add")).status_code == 403
    place = reverse("admin:mfa_authenticator_delete", args=[factor.pk])
    client.post(place, {"post": "yes"})
    assert not Authenticator.objects.filter(user=ada).exists(), "codes stand in for nothing"


def test_codes_stay_while_a_passkey_is_left(client: Client, root: User) -> None:
    ada = make_user()
    add_second_factor(ada)
    Authenticator.objects.create(user=ada, type="webauthn", data={})
    app = Authenticator.objects.get(user=ada, type="totp")
    client.post(
        reverse("admin:mfa_authenticator_changelist"),
        {"action": "delete_selected", "_selected_action": [app.pk], "post": "yes"},
    )
    left = Authenticator.objects.filter(user=ada).values_list("type", flat=True)
    assert set(left) == {"recovery_codes", "webauthn"}


@pytest.mark.parametrize("many", [False, True])
def test_a_removed_session_is_over(client: Client, root: User, many: bool) -> None:
    ada = verified()
    browser = Client()
    sign_in(browser)
    assert browser.get(reverse("account")).status_code == 200
    session = UserSession.objects.get(user=ada)
    if many:
        place, asked = reverse("admin:usersessions_usersession_changelist"), {
            "action": "delete_selected", "_selected_action": str(session.pk),
        }  # fmt: skip
    else:
        place = reverse("admin:usersessions_usersession_delete", args=[session.pk])
        asked = {}
    client.post(place, {**asked, "post": "yes"})
    assert not UserSession.objects.filter(user=ada).exists()
    assert browser.get(reverse("account")).status_code == 302


def test_ones_own_session_can_be_removed(client: Client, root: User) -> None:
    own = UserSession.objects.get(user=root)
    place = reverse("admin:usersessions_usersession_delete", args=[own.pk])
    assert client.post(place, {"post": "yes"}).status_code == 302
    assert client.get(reverse("account")).status_code == 302


def test_addresses_are_verified_and_removed_but_not_written(client: Client, root: User) -> None:
    ada = verified()
    other = EmailAddress.objects.create(user=ada, email="other@example.org")
    first = EmailAddress.objects.get(user=ada, primary=True)
    change = reverse("admin:account_emailaddress_change", args=[first.pk])
    assert "People change their address themselves" in client.get(change).content.decode()
    assert client.post(change, {"email": "bad@example.org"}).status_code == 403
    assert client.get(reverse("admin:account_emailaddress_add")).status_code == 403
    listed = reverse("admin:account_emailaddress_changelist")
    client.post(listed, {"action": "make_verified", "_selected_action": [other.pk]})
    other.refresh_from_db()
    assert other.verified
    both = {"action": "delete_selected", "_selected_action": [first.pk, other.pk], "post": "yes"}
    assert client.post(listed, both).status_code == 403
    assert EmailAddress.objects.filter(user=ada).count() == 2
    client.post(listed, {**both, "_selected_action": [other.pk]})
    assert [row.email for row in EmailAddress.objects.filter(user=ada)] == [ada.email]


def test_the_log_keeps_no_address_of_what_was_removed(client: Client, root: User) -> None:
    ada = verified("ada@example.org")
    address = EmailAddress.objects.create(user=ada, email="old@example.org")
    session = UserSession.objects.create(
        user=ada, ip="203.0.113.9", session_key="k", user_agent="x"
    )
    for row, name in (
        (address, "account_emailaddress"),
        (session, "usersessions_usersession"),
    ):
        place = reverse(f"admin:{name}_delete", args=[row.pk])
        assert client.post(place, {"post": "yes"}).status_code == 302
    assert {entry.object_repr for entry in LogEntry.objects.all()} == {
        f"email address of user {ada.pk}",
        f"user session of user {ada.pk}",
    }


def test_the_page_editor_sends_deletions_here(client: Client, root: User) -> None:
    ada = make_user()
    answer = client.post(reverse("wagtailusers_users:delete", args=[ada.pk]))
    assert answer["Location"] == reverse("admin:accounts_user_delete", args=[ada.pk])
    bulk = reverse("wagtail_bulk_action", args=["accounts", "user", "delete"])
    answer = client.post(f"{bulk}?id={ada.pk}&next=/cms/")
    assert answer["Location"] == reverse("admin:accounts_user_changelist")
    other = reverse("wagtail_bulk_action", args=["accounts", "user", "set_active_state"])
    assert client.get(f"{other}?id={ada.pk}&next=/cms/").status_code == 200
    assert User.objects.filter(pk=ada.pk).exists()
