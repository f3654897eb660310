"""Drift: how often it is called for nothing, which shifts it sees, and whom it tells how often."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from uuid import uuid4

import numpy as np
import pytest
from django.conf import settings as site
from django.utils import timezone
from pytest_django import Settings

from predictions.models import DriftRecord, Label, ModelVersion, Prediction, Scan, Status
from predictions.services import drift
from tests.support.mailbox import Mailbox, open_mailbox, text_of
from tests.support.records import make_model

# Of labels, as the bundled network has given them to the slices it was measured on.
CARD: dict[str, Any] = json.loads((site.MODEL_DIR / "model.json").read_text())


@pytest.fixture
def measured(db: None) -> ModelVersion:
    return make_model(card=CARD)


@pytest.fixture
def mailbox(settings: Settings) -> Iterator[Mailbox]:
    with open_mailbox() as box:
        settings.NOTIFY_URLS = [box.address]
        yield box


def answers(version: ModelVersion, counts: dict[str, int], **values: Any) -> None:
    """Finished predictions with so many of each label."""
    scan = Scan.objects.create(
        visitor=uuid4(), sha256="a" * 64, width=1, height=1, image_key="i", thumbnail_key="t"
    )
    for label, count in counts.items():
        for number in range(count):
            scan.pk = uuid4()
            scan.save(force_insert=True)
            Prediction.objects.create(
                **{
                    "scan": scan,
                    "model_version": version,
                    "status": Status.SUCCEEDED,
                    "label": label,
                    "attention_key": "a",
                    "finished_at": timezone.now(),
                    # As often as it was when the network was measured.
                    "committed": number % 15 != 0,
                    "flagged": number % 80 == 79,
                    **values,
                }
            )


USUAL = {"glioma": 24, "meningioma": 25, "no_tumor": 21, "pituitary": 29}


class TestMeasure:
    def test_false_alarms_are_as_rare_as_stated(self) -> None:
        reference = drift.reference_of(CARD)
        assert reference is not None
        rng = np.random.default_rng(5)
        tables = [reference.labels, reference.likeness, reference.stands]
        alarms, trials = 0, 6000
        for _ in range(trials):
            scores = []
            for table in tables:
                shares = np.array(list(table.values())) / sum(table.values())
                # Both are drawn from one source, each slice by itself.
                first, second = rng.multinomial(900, shares), rng.multinomial(300, shares)
                part = drift.compare(
                    "x",
                    dict(zip(table, map(float, first), strict=True)),
                    dict(zip(table, map(float, second), strict=True)),
                    size=1.0,
                    tests=3,
                )
                scores.append(part.score)
            alarms += max(scores) >= 1
        # 2 expected; more than 10 would come in fewer than one of ten thousand such trials.
        assert alarms <= 10

    def test_slices_that_come_in_groups_are_no_alarm(self) -> None:
        reference = drift.reference_of(CARD)
        assert reference is not None
        rng, alarms = np.random.default_rng(6), 0
        shares = np.array(list(reference.labels.values())) / sum(reference.labels.values())
        for _ in range(1000):
            # Four slices of each head, all with one label.
            first, second = 4 * rng.multinomial(225, shares), 4 * rng.multinomial(50, shares)
            part = drift.compare(
                "x",
                dict(zip(reference.labels, map(float, first), strict=True)),
                dict(zip(reference.labels, map(float, second), strict=True)),
                size=reference.size,
                tests=3,
            )
            alarms += part.score >= 1
        assert alarms <= 4

    def test_the_bound_is_that_of_chi_squared(self) -> None:
        # Tables: 95% of 1 and 3 degrees of freedom, 99.9% of 3.
        assert drift.critical(1, 0.05) == pytest.approx(3.841, rel=0.03)
        assert drift.critical(3, 0.05) == pytest.approx(7.815, rel=0.03)
        assert drift.critical(3, 0.001) == pytest.approx(16.266, rel=0.03)

    def test_a_card_without_figures_gives_no_reference(self, model: ModelVersion) -> None:
        assert drift.reference_of({}) is None
        answers(model, USUAL)
        assert drift.check() is None
        assert not DriftRecord.objects.exists()


class TestCheck:
    def test_the_same_pictures_as_ever(self, measured: ModelVersion, mailbox: Mailbox) -> None:
        assert drift.check() is None, "no answers, no figure"
        answers(measured, USUAL)
        record = drift.check()
        assert record is not None
        assert (record.n, record.alarm) == (99, False)
        assert record.score < drift.OVER
        assert drift.latest() == record
        assert mailbox.mails == []

    @pytest.mark.parametrize(
        ("counts", "values", "part"),
        [
            ({"no_tumor": 90, "glioma": 10}, {}, "Labels"),
            (USUAL, {"flagged": True}, "Likeness to the training data"),
            (USUAL, {"committed": False}, "Certainty"),
        ],
    )
    def test_other_pictures(
        self,
        measured: ModelVersion,
        mailbox: Mailbox,
        counts: dict[str, int],
        values: dict[str, Any],
        part: str,
    ) -> None:
        answers(measured, counts, **values)
        record = drift.check()
        assert record is not None
        assert record.alarm
        assert max(record.parts, key=lambda one: one["score"])["name"] == part
        [(receivers, mail)] = mailbox.mails
        assert receivers == ["ada@example.org"]
        assert mail["Subject"] == "TumorSite: the pictures for tumorsite 1 have changed"
        assert part in text_of(mail)

    def test_people_are_told_once(self, measured: ModelVersion, mailbox: Mailbox) -> None:
        answers(measured, {"no_tumor": 90, "glioma": 10})
        for _ in range(3):
            assert drift.check() is not None
        assert len(mailbox.mails) == 1
        # Over, then again: a second message.
        Prediction.objects.all().delete()
        answers(measured, USUAL)
        assert not drift.check().alarm  # type: ignore[union-attr]  # there are enough answers
        Prediction.objects.all().delete()
        answers(measured, {"no_tumor": 90, "glioma": 10})
        drift.check()
        assert len(mailbox.mails) == 2

    def test_old_answers_do_not_count(self, measured: ModelVersion) -> None:
        answers(measured, {"no_tumor": 60}, finished_at=timezone.now() - timedelta(hours=30))
        assert drift.check() is None

    def test_a_record_names_nobody(self, measured: ModelVersion) -> None:
        answers(measured, USUAL)
        record = drift.check()
        assert record is not None
        kept = json.dumps(record.parts)
        assert not any(str(pk) in kept for pk in Scan.objects.values_list("pk", flat=True))
        assert set(record.parts[0]["recent"]) == set(Label.values)
