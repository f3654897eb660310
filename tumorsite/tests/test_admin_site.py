"""What the addresses of the admin's lists let through, of every model in it."""

from __future__ import annotations

import html
import re

import pytest
from django.contrib import admin
from django.contrib.auth.models import Group
from django.db.models import Model
from django.test import Client
from django.urls import reverse

from accounts.models import User
from predictions.models import ModelVersion, Prediction
from tests.support.records import finish, make_user, submit

pytestmark = pytest.mark.django_db

MODELS = sorted(admin.site._registry, key=lambda model: model._meta.label)


@pytest.fixture
def root(client: Client) -> User:
    user = make_user("root@example.org", is_staff=True, is_superuser=True)
    client.force_login(user)
    return user


@pytest.fixture
def answer(model: ModelVersion, root: User) -> Prediction:
    return finish(submit(owner=root))


def _list(model: type[Model]) -> str:
    return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")


def _filtered(page: str) -> set[str]:
    """The addresses of a list's filters."""
    sidebar = page.partition('id="changelist-filter"')[2]
    return {html.unescape(found) for found in re.findall(r'href="(\?[^"]+)"', sidebar)}


@pytest.mark.parametrize("kind", MODELS, ids=lambda kind: kind._meta.label)
def test_a_list_is_narrowed_by_its_filters_alone(
    client: Client, answer: Prediction, kind: type[Model]
) -> None:
    Group.objects.create(name="Reviewers of old")
    place = _list(kind)
    links = _filtered(client.get(place).content.decode())
    filters = admin.site._registry[kind].list_filter
    offered = {one[0] if isinstance(one, tuple) else one for one in filters}
    assert {client.get(place + link).status_code for link in links} <= {200}
    for field in kind._meta.get_fields():
        if field.name not in offered:
            asked = {f"{field.name}__startswith": "a"}
            assert client.get(place, asked).status_code == 400, field.name


@pytest.mark.parametrize(
    ("name", "lookup"),
    [
        ("usersessions_usersession", "session_key__startswith"),
        ("usersessions_usersession", "user__password__startswith"),
        ("predictions_scan", "name__startswith"),
        ("predictions_prediction", "model_version__note__startswith"),
        ("predictions_prediction", "model_version__promoted_by__email__startswith"),
        ("accounts_user", "groups__user__password__startswith"),
    ],
)
def test_nothing_hidden_is_read_letter_by_letter(
    client: Client, root: User, name: str, lookup: str
) -> None:
    answer = client.get(reverse(f"admin:{name}_changelist"), {lookup: "a"})
    assert answer.status_code == 400


def test_a_list_is_sorted_searched_and_narrowed_by_age(client: Client, answer: Prediction) -> None:
    place = reverse("admin:predictions_prediction_changelist")
    asked = {"q": str(answer.pk), "days": "7", "reviewed": "no", "o": "-2", "_popup": "1"}
    assert f"{str(answer.pk)[-8:]}" in client.get(place, asked).content.decode()
