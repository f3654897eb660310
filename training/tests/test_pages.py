"""The pages of training runs: who sees them, and what they say at each stage."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.auth.models import Permission
from django.core.cache import cache
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone
from pytest_django import Settings

from accounts.models import User
from predictions import storage
from predictions.models import ModelVersion
from tests.support.records import make_model
from training.models import TrainingRun
from training.presentation import time_left
from training.tests.test_training_runs import make_run
from training.triggers import LOOK_KEY

pytestmark = pytest.mark.django_db
Status = TrainingRun.Status
GATE = {
    "passed": False,
    "reasons": ["The sensitivity for glioma may be worse."],
    "rows": [
        {
            "name": "sensitivity for glioma", "candidate": 0.5, "production": 0.9,
            "difference": -0.4, "lower": -0.55, "margin": 0.03, "passed": False,
        }
    ],
    "n": 90, "groups": 30, "resamples": 2000, "against": "tumorsite 1", "against_id": 1,
}  # fmt: skip


@pytest.fixture
def scientist(client: Client) -> Client:
    """Staff with the one right that the pages ask for."""
    user = User.objects.create_user("data@example.org", "secret", is_staff=True)
    user.user_permissions.add(Permission.objects.get(codename="view_trainingrun"))
    client.force_login(user)
    return client


def page(client: Client, name: str, *arguments: Any) -> str:
    answer = client.get(reverse(name, args=arguments))
    assert answer.status_code == 200
    assert "no-store" in answer["Cache-Control"]
    return answer.content.decode()


def ended(model: ModelVersion) -> TrainingRun:
    model.gate, model.artifact = GATE, "c" * 64
    model.save()
    return make_run(
        status=Status.SUCCEEDED,
        share=1.0,
        digest=model.digest,
        candidate=model,
        history=[{"epoch": 1.0, "classes": 0.75, "mask": 0.5, "brain": 0.25}],
        curves="<svg></svg>",
        metrics={"accuracy": {"value": 0.875}, "dice": {"value": 0.625}},
    )


class TestWhoSeesThem:
    def test_nobody_else(self, client: Client) -> None:
        run = make_run(curves="<svg></svg>")
        plain = User.objects.create_user("plain@example.org", "secret")
        staff = User.objects.create_user("staff@example.org", "secret", is_staff=True)
        # The right alone is for nobody who is not staff.
        former = User.objects.create_user("former@example.org", "secret")
        former.user_permissions.add(Permission.objects.get(codename="view_trainingrun"))
        for user in (None, plain, staff, former):
            if user:
                client.force_login(user)
            for name, arguments in (
                ("training", []),
                ("training_run", [run.pk]),
                ("training_curves", [run.pk]),
                ("training_card", [run.pk]),
            ):
                assert client.get(reverse(name, args=arguments)).status_code == 404
            assert reverse("training") not in client.get("/").content.decode()

    def test_second_factor_first(self, scientist: Client, settings: Settings) -> None:
        settings.STAFF_MFA_REQUIRED = True
        assert scientist.get(reverse("training"))["Location"] == reverse("mfa_index")


class TestPages:
    def test_nothing_yet(self, scientist: Client) -> None:
        text = page(scientist, "training")
        assert "Nothing has been trained here yet" in text
        assert "No network is in production" in text
        assert reverse("training") in scientist.get("/").content.decode()

    def test_a_run_on_its_way(self, scientist: Client) -> None:
        run = make_run(
            status=Status.RUNNING,
            share=0.25,
            seconds_left=600,
            progress="epoch 1/4, step 4/4",
            automatic=True,
            dataset="d" * 64,
        )
        cache.set(LOOK_KEY, {"at": timezone.now() - timedelta(minutes=1), "found": "No bucket."})
        listed = page(scientist, "training")
        assert 'value="25"' in listed
        assert "about 10 minutes left" in listed
        assert "No bucket." in listed
        text = page(scientist, "training_run", run.pk)
        for words in ("about 10 minutes left", "step 4/4", "by itself", "d" * 64, "No epoch has"):
            assert words in text
        assert "live.js" in text
        # Without JavaScript, a link does the same.
        assert "Look again" in text

    def test_no_card_of_a_network_is_read_for_the_list(self, scientist: Client) -> None:
        ended(make_model())
        make_run(candidate=make_model("2", stage="candidate", shadow=True))
        with CaptureQueriesContext(connection) as queries:
            text = page(scientist, "training")
        assert "tumorsite 2 is asked about" in text
        assert not [query for query in queries if '."card"' in query["sql"]]

    def test_the_page_of_a_run_reads_nothing_large(self, scientist: Client) -> None:
        run = ended(make_model())
        with CaptureQueriesContext(connection) as queries:
            assert "refused against tumorsite 1" in page(scientist, "training_run", run.pk)
        columns = ('."card"', '."curves"', '."recipe_text"')
        assert not [query for query in queries if any(name in query["sql"] for name in columns)]

    def test_it_looks_again_often_only_while_something_runs(self, scientist: Client) -> None:
        ended(make_model())
        assert "data-running" not in page(scientist, "training")
        make_run(status=Status.RUNNING)
        assert "data-running" in page(scientist, "training")

    def test_a_run_that_has_ended(self, scientist: Client) -> None:
        run = ended(make_model())
        assert "refused against tumorsite 1" in page(scientist, "training")
        text = page(scientist, "training_run", run.pk)
        for words in ("0.7500", "0.875", "0.625", "may be worse", "-0.5500", "90 held-out slices"):
            assert words in text
        assert "live.js" not in text, "nothing changes any more"
        assert f"{reverse('training_curves', args=[run.pk])}?epochs=1" in text
        # Releasing needs a right of its own, and the link to it, too.
        assert "/admin/predictions/" not in text
        curves = scientist.get(reverse("training_curves", args=[run.pk]))
        assert curves["Content-Type"] == "image/svg+xml"

    def test_the_card_of_its_network(self, scientist: Client) -> None:
        run = ended(make_model())
        place = reverse("training_card", args=[run.pk])
        assert scientist.get(place).status_code == 404, "the store has lost it"
        storage.put(f"models/{'c' * 64}/MODEL_CARD.md", b"# How it <errs>")
        assert "# How it &lt;errs&gt;" in page(scientist, "training_card", run.pk)

    def test_what_is_not_there(self, scientist: Client) -> None:
        run = make_run()
        for name, pk in (
            ("training_run", uuid4()),
            ("training_curves", run.pk),
            ("training_card", run.pk),
        ):
            assert scientist.get(reverse(name, args=[pk])).status_code == 404


def test_time_left_in_words() -> None:
    assert [time_left(value) for value in (None, 30, 1800, 7200)] == [
        "",
        "about a minute",
        "about 30 minutes",
        "about 2 hours",
    ]
