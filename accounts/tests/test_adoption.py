"""A visitor's scans follow them into their account."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID, uuid4

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from accounts.models import Adoption, User
from accounts.services.adoption import adopt_strays, adopt_visitor
from accounts.tasks import adopt_strays as adopt_strays_task
from accounts.tests.support import PASSWORD, SECRET, add_second_factor, sign_in, totp
from predictions.models import ModelVersion, Scan
from predictions.owners import SESSION_KEY
from tests.support.pictures import png
from tests.support.records import make_user, submit

pytestmark = [pytest.mark.data_layer, pytest.mark.django_db]


@pytest.fixture
def visitor(client: Client, model: ModelVersion) -> UUID:
    """The id of a browser session that holds one scan."""
    visitor = uuid4()
    session = client.session
    session[SESSION_KEY] = str(visitor)
    session.save()
    submit(visitor=visitor)
    return visitor


def owners() -> list[User | None]:
    return [scan.owner for scan in Scan.objects.select_related("owner")]


def test_scans_move_at_sign_in(client: Client, visitor: UUID) -> None:
    user = make_user()
    sign_in(client)
    assert owners() == [user]
    assert SESSION_KEY not in client.session


def test_scans_move_at_sign_up(client: Client, visitor: UUID) -> None:
    client.post(
        reverse("account_signup"),
        {"email": "new@example.org", "password1": PASSWORD, "password2": PASSWORD},
    )
    assert owners() == [User.objects.get(email="new@example.org")]


def test_nothing_moves_at_a_wrong_password(client: Client, visitor: UUID) -> None:
    make_user()
    client.post(reverse("account_login"), {"login": "ada@example.org", "password": "wrong"})
    assert owners() == [None]
    assert client.session[SESSION_KEY] == str(visitor)


def test_nothing_moves_before_the_second_factor(client: Client, visitor: UUID) -> None:
    user = make_user()
    add_second_factor(user)
    sign_in(client)
    assert owners() == [None]
    answer = client.post(reverse("mfa_authenticate"), {"code": totp(SECRET)})
    assert answer.status_code == 302
    assert owners() == [user]


def test_signing_out_leaves_nothing_behind(client: Client, visitor: UUID) -> None:
    make_user()
    sign_in(client)
    client.post(reverse("account_logout"))
    assert SESSION_KEY not in client.session
    sign_in(client, make_user("bob@example.org").email)
    assert [owner.email for owner in owners() if owner] == ["ada@example.org"]


def test_the_first_account_keeps_a_session(visitor: UUID) -> None:
    ada, bob = make_user(), make_user("bob@example.org")
    assert adopt_visitor(visitor=visitor, user=ada) == 1
    assert adopt_visitor(visitor=visitor, user=ada) == 0
    submit(visitor=visitor, seed=1)
    assert adopt_visitor(visitor=visitor, user=bob) == 1
    assert owners() == [ada, ada]


def test_an_upload_on_its_way_follows(visitor: UUID) -> None:
    ada = make_user()
    adopt_visitor(visitor=visitor, user=ada)
    submit(visitor=visitor, seed=1)
    submit(visitor=uuid4(), seed=2)
    assert adopt_strays() == 1
    assert owners().count(ada) == 2
    assert adopt_strays() == 0


def test_an_upload_that_ends_after_the_sign_in_follows_at_once(
    client: Client, visitor: UUID
) -> None:
    ada = make_user()
    adopt_visitor(visitor=visitor, user=ada)
    client.post("/scans/", {"images": [SimpleUploadedFile("late.png", png(seed=1))]})
    assert owners() == [ada, ada]


def test_old_sessions_are_forgotten(visitor: UUID) -> None:
    adopt_visitor(visitor=visitor, user=make_user())
    adopt_strays_task()
    assert Adoption.objects.count() == 1
    Adoption.objects.update(at=timezone.now() - timedelta(hours=2))
    adopt_strays_task()
    assert not Adoption.objects.exists()
    assert str(Adoption(visitor=visitor, user_id=7)) == f"Visitor {visitor} is user 7"
