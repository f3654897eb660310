"""Releases by staff: who may, what they see, and that nothing can be edited."""

from __future__ import annotations

from pathlib import Path

import pytest
from django.contrib.auth.models import Permission
from django.test import Client
from django.urls import reverse

from accounts.models import User
from predictions.models import ModelVersion
from predictions.services import registry
from predictions.services.registry import production_model
from tests.support.networks import write_network
from tests.support.records import make_user, submit

pytestmark = pytest.mark.django_db
LIST = reverse("admin:predictions_modelversion_changelist")


@pytest.fixture
def root(client: Client) -> User:
    user = User.objects.create_superuser("root@example.org", "a long password")
    client.force_login(user)
    return user


@pytest.fixture
def pair(tmp_path: Path) -> tuple[ModelVersion, ModelVersion]:
    """The network in production, and one that has passed the gate."""
    one, two = (
        registry.register(folder=write_network(tmp_path / name, b"weights", version=name))
        for name in ("1", "2")
    )
    registry.promote(version=one, actor="ada at a shell", override="the first")
    two.gate = {
        "passed": True,
        "against": "tumorsite 1",
        "against_id": one.pk,
        "reasons": ["The accuracy is better: 0.980 against 0.960."],
        "rows": [
            {"name": "accuracy", "candidate": 0.98, "production": 0.96, "difference": 0.02,
             "lower": 0.01, "margin": None, "passed": True},
            {"name": "sensitivity for glioma", "candidate": 0.97, "production": 0.97,
             "difference": 0.0, "lower": -0.01, "margin": 0.03, "passed": True},
        ],
    }  # fmt: skip
    two.save()
    return one, two


Pair = tuple[ModelVersion, ModelVersion]


def act(client: Client, name: str, *versions: ModelVersion) -> str:
    """Choose an action and say yes where it asks."""
    form = {"action": name, "_selected_action": [row.pk for row in versions]}
    answer = client.post(LIST, form, follow=True)
    if "With a yes, " in answer.content.decode():
        answer = client.post(LIST, form | {"confirmed": "yes"}, follow=True)
    assert answer.status_code == 200
    return answer.content.decode()


def test_the_list_and_the_page_say_what_a_release_needs(
    client: Client, root: User, pair: Pair
) -> None:
    submit()
    page = client.get(LIST).content.decode()
    for words in ("tumorsite 2", "passed against tumorsite 1", "In production"):
        assert words in page
    assert '<td class="field-predictions">1</td>' in page
    page = client.get(
        reverse("admin:predictions_modelversion_change", args=[pair[1].pk])
    ).content.decode()
    for words in (
        "The accuracy is better",
        "+0.0200, surely over +0.0100",
        "-0.0100 (at least -0.03)",
        "Not worse (95%)",
    ):
        assert words in page
    page = client.get(
        reverse("admin:predictions_modelversion_change", args=[pair[0].pk])
    ).content.decode()
    assert "Put into production against the gate, by ada at a shell" in page
    assert 'name="_save"' not in page


def test_a_card_is_shown_without_the_digests_of_its_files(
    client: Client, root: User, tmp_path: Path
) -> None:
    training = {"learnt_prefixes": "0123456789" * 1200}
    folder = write_network(tmp_path / "1", b"weights", version="1", training=training)
    version = registry.register(folder=folder)
    page = client.get(
        reverse("admin:predictions_modelversion_change", args=[version.pk])
    ).content.decode()
    assert "of 1,200 files" in page
    assert "0123456789" * 2 not in page
    # It is thousands of lines long, and folded away.
    assert "<details>" in page.partition("model-card")[0].rpartition("<fieldset")[2]


def test_promote_and_roll_back(client: Client, root: User, pair: Pair) -> None:
    one, two = pair
    assert "In production: tumorsite 2." in act(client, "promote", two)
    two.refresh_from_db()
    assert (two.stage, two.promoted_by) == ("production", root)
    assert "Choose the network in production" in act(client, "roll_back", one)
    assert "Back in production: tumorsite 1." in act(client, "roll_back", two)
    assert production_model() == one
    page = client.get(reverse("admin:predictions_modelversion_change", args=[one.pk]))
    assert "Put back into production, by root@example.org" in page.content.decode()


def test_another_network_answers_only_after_a_yes(client: Client, root: User, pair: Pair) -> None:
    one, two = pair
    for action, chosen, new, old in (("promote", two, two, one), ("roll_back", two, one, two)):
        form = {"action": action, "_selected_action": [chosen.pk]}
        question = " ".join(client.post(LIST, form).content.decode().split())
        assert f"With a yes, <strong>{new}</strong>" in question
        assert f"in place of <strong>{old}</strong>" in question
        assert f'name="_selected_action" value="{chosen.pk}"' in question
        assert production_model() == old
        client.post(LIST, form | {"confirmed": "yes"})
        assert production_model() == new


def test_the_gate_holds_here_too(client: Client, root: User, pair: Pair) -> None:
    one, two = pair
    ModelVersion.objects.filter(pk=two.pk).update(gate=None)
    said = act(client, "promote", two)
    assert "Refused: tumorsite 2 has not been compared with tumorsite 1" in said
    assert "--override" in said
    assert "Choose exactly one" in act(client, "promote", one, two)
    assert "nothing to go back to" in act(client, "roll_back", one)
    assert production_model() == one


def test_only_those_who_may_release(client: Client, pair: Pair) -> None:
    staff = make_user("staff@example.org", is_staff=True)
    staff.user_permissions.add(Permission.objects.get(codename="view_modelversion"))
    client.force_login(staff)
    page = client.get(LIST).content.decode()
    assert "Put into production" not in page
    act(client, "promote", pair[1])
    assert production_model() == pair[0]
    staff.user_permissions.add(Permission.objects.get(codename="release_modelversion"))
    assert "In production: tumorsite 2." in act(client, "promote", pair[1])
