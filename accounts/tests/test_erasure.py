"""Closing an account leaves nothing by which a person could be recognised."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace
from uuid import uuid4

import pytest
from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from allauth.usersessions.models import UserSession
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.auth.models import Group, Permission
from django.contrib.contenttypes.models import ContentType
from django.contrib.sessions.models import Session
from django.core.mail import send_mail
from django.test import Client
from django.urls import reverse
from pytest_django import DjangoCaptureOnCommitCallbacks, Settings
from wagtail.models import ModelLogEntry, Page

from accounts.models import User
from accounts.services import erasure
from accounts.services.erasure import (
    LastAdministratorError,
    finish_erasures,
    request_erasure,
)
from accounts.tasks import finish_erasures as finish_task
from accounts.tests.support import PASSWORD, add_second_factor, confirm, sign_in, verified
from predictions import storage
from predictions.models import Access, ModelVersion, Prediction, Review, Scan
from predictions.services import deletion
from predictions.services.auditing import record_access
from tests.support.records import finish, make_user, submit

pytestmark = [pytest.mark.data_layer, pytest.mark.django_db]


@pytest.fixture
def ada() -> User:
    return verified()


@pytest.fixture
def answered(ada: User, model: ModelVersion) -> Prediction:
    return finish(submit(owner=ada))


def test_mails_that_lie_in_a_folder_go_too(
    ada: User,
    settings: Settings,
    tmp_path: Path,
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
) -> None:
    settings.EMAIL_BACKEND = "django.core.mail.backends.filebased.EmailBackend"
    settings.EMAIL_FILE_PATH = tmp_path
    EmailAddress.objects.create(user=ada, email="Lovelace@example.org")
    others = ["bob@example.org", f"m{ada.email}", f"{ada.email}.au"]
    receivers = [ada.email, "lovelace@example.org", *others]
    for receiver in receivers:
        send_mail("Verify your address", "https://…", None, [receiver])
    mails = b"".join(file.read_bytes() for file in tmp_path.iterdir())
    (tmp_path / "together.log").write_bytes(mails)
    with django_capture_on_commit_callbacks(execute=True):
        request_erasure(user=ada)
    left = "".join(file.read_text() for file in tmp_path.iterdir())
    assert set(re.findall(r"^To: (.*)$", left, re.MULTILINE)) == set(others)
    assert left.count("https://") == 2 * len(others)


def test_the_whole_way(
    client: Client,
    ada: User,
    answered: Prediction,
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
) -> None:
    elsewhere = Client()
    sign_in(elsewhere)
    sign_in(client)
    page = client.get(reverse("account_erase"))
    assert page.status_code == 302
    assert reverse("account_reauthenticate") in page["Location"]
    confirm(client)
    assert b"cannot be undone" in client.get(reverse("account_erase")).content
    assert b"Tick the box" in client.post(reverse("account_erase")).content
    assert User.objects.get(pk=ada.pk).is_active
    answer = client.post(reverse("account_erase"), {"confirmed": "on"}, follow=True)
    assert answer.redirect_chain == [(reverse("home"), 302)]
    assert b"Your account is closed" in answer.content
    assert elsewhere.get(reverse("account")).status_code == 302
    closed = User.objects.get(pk=ada.pk)
    assert not closed.is_active
    assert closed.email == f"{ada.pk}@erased.invalid"
    assert not closed.has_usable_password()
    assert not UserSession.objects.exists()
    assert not EmailAddress.objects.exists()
    assert not [row for row in Session.objects.all() if "_auth_user_id" in row.get_decoded()]
    # Not yet: the scan is hidden, its row and objects are still there.
    assert finish_erasures() == 0
    deletion.erase_deleted()
    assert list(storage.walk("scans/")) == []
    finish_task()
    assert not User.objects.filter(pk=ada.pk).exists()


def test_the_name_goes_and_the_task_is_sent(
    ada: User,
    monkeypatch: pytest.MonkeyPatch,
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
) -> None:
    User.objects.filter(pk=ada.pk).update(first_name="Ada", last_name="Lovelace")
    ada.refresh_from_db()
    sent: list[str] = []
    monkeypatch.setattr(erasure, "send_on_commit", sent.append)
    with django_capture_on_commit_callbacks():
        request_erasure(user=ada)
    closed = User.objects.get(pk=ada.pk)
    assert (closed.first_name, closed.last_name) == ("", "")
    assert erasure.FINISH in sent


def test_the_address_is_free_again_at_once(ada: User, answered: Prediction) -> None:
    request_erasure(user=ada)
    assert make_user("ada@example.org").pk != ada.pk


def test_nothing_has_happened_if_the_transaction_fails(
    ada: User, answered: Prediction, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_second_factor(ada)

    def broken(**kwargs: object) -> None:
        raise OSError("power cut")

    monkeypatch.setattr(erasure, "delete_scans", broken)
    with pytest.raises(OSError, match="power cut"):
        request_erasure(user=ada)
    assert User.objects.get(pk=ada.pk).is_active
    assert Authenticator.objects.filter(user=ada).exists()
    assert Scan.objects.filter(deleted_at__isnull=True).exists()


def test_an_upload_on_its_way_is_erased_too(ada: User, answered: Prediction) -> None:
    request_erasure(user=ada)
    submit(owner=User.objects.get(pk=ada.pk), seed=1)
    assert finish_erasures() == 0
    deletion.erase_deleted()
    assert finish_erasures() == 1
    assert not Scan.objects.exists()


def test_a_scan_that_comes_at_the_last_moment_keeps_the_row(
    ada: User, answered: Prediction, monkeypatch: pytest.MonkeyPatch
) -> None:
    request_erasure(user=ada)
    deletion.erase_deleted()

    submit(owner=User.objects.get(pk=ada.pk), seed=1)
    # As if the upload had come just after the erasure had looked.
    seen = SimpleNamespace(objects=SimpleNamespace(filter=lambda **kwargs: Scan.objects.none()))
    monkeypatch.setattr(erasure, "Scan", seen)
    assert finish_erasures() == 0
    assert User.objects.filter(pk=ada.pk).exists()


def test_what_staff_did_stays_without_their_name(
    ada: User, answered: Prediction, model: ModelVersion
) -> None:
    scan_of_another = finish(submit(visitor=uuid4(), seed=1))
    Review.objects.create(prediction=scan_of_another, reviewer=ada)
    record_access(prediction=scan_of_another, kind="image", user=ada, visitor=None)
    root = Page.objects.first()
    assert root
    Page.objects.filter(pk=root.pk).update(owner=ada)
    root.save_revision(user=ada)
    kind = ContentType.objects.get_for_model(User)
    other = make_user("root@example.org", is_superuser=True)
    LogEntry.objects.create(
        user=other, content_type=kind, object_id=str(ada.pk), object_repr=ada.email,
        action_flag=CHANGE,
    )  # fmt: skip
    # Of the time before a change of address, and of the row that names the address.
    LogEntry.objects.create(
        user=other, content_type=kind, object_id=str(ada.pk), object_repr="old@example.org",
        action_flag=CHANGE,
    )  # fmt: skip
    address, gone = (
        EmailAddress.objects.create(user=ada, email=f"{name}@example.org")
        for name in ("second", "gone")
    )
    LogEntry.objects.create(
        user=other, content_type=ContentType.objects.get_for_model(EmailAddress),
        object_id=str(gone.pk), object_repr=gone.email, action_flag=CHANGE,
    )  # fmt: skip
    gone.delete()
    LogEntry.objects.create(
        user=other, content_type=ContentType.objects.get_for_model(EmailAddress),
        object_id=str(address.pk), object_repr=address.email, action_flag=CHANGE,
    )  # fmt: skip
    ModelLogEntry.objects.log_action(ada, "wagtail.edit", user=other)
    request_erasure(user=ada)
    deletion.erase_deleted()
    assert finish_erasures() == 1
    assert Review.objects.get().reviewer is None
    assert Access.objects.get().user is None
    assert LogEntry.objects.count() == 4
    assert {entry.object_repr for entry in LogEntry.objects.all()} == {
        f"user {ada.pk}",
        f"email address of user {ada.pk}",
    }
    assert ModelLogEntry.objects.get().label == f"user {ada.pk}"
    root.refresh_from_db()
    assert root.owner is None


def test_a_closed_account_has_no_rights_left(ada: User, model: ModelVersion) -> None:
    """Its row is still there until its scans have been erased."""
    User.objects.filter(pk=ada.pk).update(is_staff=True)
    ada.refresh_from_db()
    ada.groups.add(Group.objects.create(name="helpers"))
    ada.user_permissions.add(Permission.objects.get(codename="view_scan"))
    add_second_factor(ada)
    request_erasure(user=ada)
    closed = User.objects.get(pk=ada.pk)
    assert not closed.is_staff
    assert not closed.groups.exists()
    assert not closed.user_permissions.exists()
    assert not Authenticator.objects.filter(user=closed).exists()


def test_what_logs_call_a_row_that_is_gone_goes_too(ada: User) -> None:
    other = make_user("root@example.org", is_superuser=True)
    LogEntry.objects.create(
        user=other, content_type=ContentType.objects.get_for_model(EmailAddress),
        object_id="0", object_repr="Ada@example.org", action_flag=CHANGE,
    )  # fmt: skip
    entry = ModelLogEntry.objects.log_action(ada, "wagtail.delete", user=other)
    ModelLogEntry.objects.filter(pk=entry.pk).update(object_id="0", label="Ada@example.org")
    session = UserSession.objects.create(
        user=ada, session_key="a key", ip="203.0.113.9", user_agent="A browser"
    )
    assert "203.0.113.9" in ModelLogEntry.objects.log_action(session, "wagtail.edit").label
    request_erasure(user=ada)
    assert LogEntry.objects.get().object_repr == f"user {ada.pk}"
    assert set(ModelLogEntry.objects.values_list("label", flat=True)) == {f"user {ada.pk}"}


def test_the_last_administrator_stays(client: Client, model: ModelVersion) -> None:
    root = verified("root@example.org", is_staff=True, is_superuser=True)
    make_user("gone@example.org", is_superuser=True, is_active=False)
    with pytest.raises(LastAdministratorError):
        request_erasure(user=root)
    sign_in(client, root.email)
    confirm(client)
    answer = client.post(reverse("account_erase"), {"confirmed": "on"}, follow=True)
    assert b"only administrator" in answer.content
    make_user("second@example.org", is_superuser=True)
    request_erasure(user=root)
    assert not User.objects.get(pk=root.pk).is_superuser


def test_a_closed_account_cannot_sign_in(client: Client, ada: User) -> None:
    request_erasure(user=ada)
    sign_in(client, f"{ada.pk}@erased.invalid", PASSWORD)
    assert "_auth_user_id" not in client.session
