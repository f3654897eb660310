"""What the metrics say of the database, and that a million rows do not make it slower."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from predictions import gauges
from predictions.ids import first_uuid7
from predictions.models import DriftRecord, ModelVersion, Prediction
from tests.support.records import conclude, rejection, start, submit

pytestmark = [pytest.mark.django_db, pytest.mark.data_layer]


def test_counts_by_status(model: ModelVersion) -> None:
    assert set(gauges.counts().values()) == {0}
    conclude(start(submit(seed=1)), rejection())
    start(submit(seed=2))
    submit(seed=3)
    found = gauges.counts()
    assert (found["queued"], found["running"], found["rejected"]) == (1, 1, 1)
    # Uploaded long ago: what waits still counts, what has ended no longer does.
    for number, row in enumerate(Prediction.objects.all()):
        old = first_uuid7(timezone.now() - timedelta(hours=2, seconds=number))
        Prediction.objects.filter(pk=row.pk).update(id=old)
    found = gauges.counts()
    assert (found["queued"], found["running"], found["rejected"]) == (1, 1, 0)


def test_the_age_of_the_oldest(model: ModelVersion) -> None:
    assert gauges.oldest_active_seconds() == 0
    first = submit(seed=1)
    submit(seed=2)
    Prediction.objects.filter(pk=first.pk).update(queued_at=timezone.now() - timedelta(minutes=5))
    assert 299 < gauges.oldest_active_seconds() < 400
    start(Prediction.objects.get(pk=first.pk))
    assert gauges.oldest_active_seconds() > 299


def test_the_drift_is_that_of_the_network_in_production(model: ModelVersion) -> None:
    assert list(gauges.of_drift()) == []
    record = {"n": 60, "parts": [], "alarm": False}
    DriftRecord.objects.create(model_version=model, score=0.25, **record)
    candidate = ModelVersion.objects.get(pk=model.pk)
    candidate.pk, candidate.stage = None, ModelVersion.Stage.CANDIDATE
    candidate.digest, candidate.version = "0" * 64, "other"
    candidate.save()
    DriftRecord.objects.create(model_version=candidate, score=3, **record)
    (family,) = gauges.of_drift()
    assert [sample.value for sample in family.samples] == [0.25]


def test_each_question_is_answered_by_the_index(model: ModelVersion) -> None:
    with CaptureQueriesContext(
        connection,
    ) as queries:
        gauges.counts()
        gauges.oldest_active_seconds()
    asked = [query["sql"] for query in queries if "predictions_prediction" in query["sql"]]
    assert len(asked) == 8
    if connection.vendor != "sqlite":
        # PostgreSQL plans by its statistics, which say here that the table is empty.
        return
    with connection.cursor() as cursor:
        for sql in asked:
            cursor.execute(f"EXPLAIN QUERY PLAN {sql}")
            plan = " ".join(str(row) for row in cursor.fetchall())
            assert "prediction_status" in plan, plan
            assert "SEARCH" in plan, plan
            assert "TEMP B-TREE" not in plan, plan
