"""The life of a prediction: every transition, and who wins when two are at it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from itertools import product
from uuid import uuid4

import numpy as np
import pytest
from django.db import IntegrityError, connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from pytest_django import DjangoCaptureOnCommitCallbacks, Settings

from predictions import storage
from predictions.models import TRANSITIONS, ModelVersion, Prediction, Scan, Status
from predictions.services import lifecycle
from tests.support.pictures import opened
from tests.support.records import (
    analysis,
    conclude,
    finish,
    make_model,
    rejection,
    start,
    submit,
)

pytestmark = [pytest.mark.data_layer, pytest.mark.django_db]


def fresh(prediction: Prediction) -> Prediction:
    return Prediction.objects.select_related("scan").get(pk=prediction.pk)


def objects() -> set[str]:
    return {name for name, _ in storage.walk("scans/")}


@pytest.fixture
def queued(model: ModelVersion) -> Prediction:
    return submit()


@pytest.mark.parametrize(("before", "after"), list(product(Status, Status)))
def test_only_the_tables_transitions_happen(
    queued: Prediction, before: Status, after: Status
) -> None:
    Prediction.objects.filter(pk=queued.pk).update(
        status=before, label="glioma", attention_key="a", finished_at=timezone.now()
    )
    row = fresh(queued)
    moved = lifecycle._move(row, after)
    assert moved == (after in TRANSITIONS[before])
    assert fresh(queued).status == (after if moved else before)


@pytest.mark.parametrize("ended", sorted(set(Status) - {Status.QUEUED, Status.RUNNING}))
def test_what_has_ended_never_changes(queued: Prediction, ended: Status) -> None:
    if ended == Status.SUCCEEDED:
        finish(queued)
    else:
        Prediction.objects.filter(pk=queued.pk).update(status=ended)
    assert not lifecycle.fail(prediction=fresh(queued), code="late", message="Too late.")
    assert not lifecycle.cancel(prediction=fresh(queued))
    assert not lifecycle.requeue(prediction=fresh(queued))
    lifecycle.cancel_all(scan_ids=[queued.scan_id])
    assert fresh(queued).status == ended


class TestClaim:
    def test_takes_the_row_and_says_so(self, queued: Prediction) -> None:
        row = start(queued, task="t-1")
        assert row.pk == queued.pk
        stored = fresh(queued)
        assert (stored.status, stored.attempt, stored.claimed_by) == (Status.RUNNING, 1, "t-1")
        assert stored.started_at == stored.heartbeat_at is not None

    def test_the_second_finds_nothing(self, queued: Prediction, model: ModelVersion) -> None:
        start(queued)
        again = lifecycle.claim(
            prediction_id=str(queued.pk), model_version=model, task_id="t-2", limit=8
        )
        assert again == []
        assert fresh(queued).attempt == 1

    def test_of_two_who_read_the_same_row_one_wins(self, queued: Prediction) -> None:
        one, other = fresh(queued), fresh(queued)
        assert lifecycle._move(one, Status.RUNNING, attempt=1)
        assert not lifecycle._move(other, Status.RUNNING, attempt=1)

    def test_takes_others_that_wait_up_to_the_limit(self, model: ModelVersion) -> None:
        waiting = [submit(seed=n) for n in range(6)]
        rows = lifecycle.claim(
            prediction_id=str(waiting[3].pk), model_version=model, task_id="t", limit=4
        )
        assert len(rows) == 4
        assert waiting[3].pk in {row.pk for row in rows}
        assert Prediction.objects.filter(status=Status.QUEUED).count() == 2

    def test_never_looks_at_every_row_there_is(self, queued: Prediction) -> None:
        """As of a million rows that have all been answered: then no index seems to help SQLite."""
        if connection.vendor != "sqlite":
            return
        with connection.cursor() as cursor:
            cursor.execute("ANALYZE")
            cursor.execute(
                "UPDATE sqlite_stat1 SET stat = '1000000 ' || "
                "CASE idx WHEN 'prediction_status' THEN '1000000 1' ELSE '1' END "
                "WHERE tbl = 'predictions_prediction'"
            )
            cursor.execute("ANALYZE sqlite_schema")
        with CaptureQueriesContext(connection) as asked:
            start(queued, limit=8)
        with connection.cursor() as cursor:
            for query in asked:
                cursor.execute(f"EXPLAIN QUERY PLAN {query['sql']}")
                assert "SCAN predictions_prediction" not in str(cursor.fetchall()), query["sql"]

    def test_takes_no_more_pixels_than_the_largest_picture_has(
        self, model: ModelVersion, settings: Settings
    ) -> None:
        waiting = [submit(seed=n) for n in range(4)]
        scan = waiting[0].scan
        settings.MAX_PIXELS = 2 * scan.width * scan.height + 1

        def claimed() -> list[Prediction]:
            return lifecycle.claim(
                prediction_id=str(waiting[0].pk), model_version=model, task_id="t", limit=8
            )

        assert [row.pk for row in claimed()] == [row.pk for row in waiting[:2]]
        # Larger than any that is accepted now: it was taken in before the limit was lowered.
        settings.MAX_PIXELS = 1
        assert [row.pk for row in claimed()] == [waiting[2].pk]

    def test_a_message_whose_row_is_done_serves_another(self, model: ModelVersion) -> None:
        done, lost = submit(seed=1), submit(seed=2)
        finish(done)
        [row] = lifecycle.claim(
            prediction_id=str(done.pk), model_version=model, task_id="t", limit=8
        )
        assert row.pk == lost.pk

    def test_a_row_that_was_tried_before_runs_alone(self, model: ModelVersion) -> None:
        tried, fresh_one = submit(seed=1), submit(seed=2)
        lifecycle.requeue(prediction=start(tried))
        rows = lifecycle.claim(
            prediction_id=str(tried.pk), model_version=model, task_id="t", limit=8
        )
        assert [row.pk for row in rows] == [tried.pk]
        assert fresh(fresh_one).status == Status.QUEUED

    def test_a_fresh_row_takes_no_tried_one_with_it(self, model: ModelVersion) -> None:
        tried, fresh_one = submit(seed=1), submit(seed=2)
        lifecycle.requeue(prediction=start(tried))
        rows = lifecycle.claim(
            prediction_id=str(fresh_one.pk), model_version=model, task_id="t", limit=8
        )
        assert [row.pk for row in rows] == [fresh_one.pk]

    @pytest.mark.parametrize("what", ["claimed", "cancelled", "tried"])
    def test_what_happens_to_a_row_while_it_is_claimed_counts(
        self,
        queued: Prediction,
        model: ModelVersion,
        monkeypatch: pytest.MonkeyPatch,
        what: str,
    ) -> None:
        """Between the look at the rows and the statement that takes them."""
        other = submit(seed=1)
        fitting = lifecycle._fitting

        def meanwhile(rows: list[Prediction]) -> list[Prediction]:
            if what == "cancelled":
                assert lifecycle.cancel(prediction=fresh(queued))
            else:
                running = start(queued, task="faster")
                if what == "tried":
                    assert lifecycle.requeue(prediction=running)
            return fitting(rows)

        monkeypatch.setattr(lifecycle, "_fitting", meanwhile)
        rows = lifecycle.claim(
            prediction_id=str(queued.pk), model_version=model, task_id="slower", limit=8
        )
        assert [row.pk for row in rows] == [other.pk]
        row = fresh(queued)
        assert (row.status, row.attempt, row.claimed_by) == {
            "claimed": (Status.RUNNING, 1, "faster"),
            "cancelled": (Status.CANCELLED, 0, ""),
            "tried": (Status.QUEUED, 1, ""),
        }[what]

    def test_rows_that_must_wait_are_left(self, queued: Prediction, model: ModelVersion) -> None:
        lifecycle.requeue(prediction=start(queued), outage=True, wait=60)
        assert (
            lifecycle.claim(prediction_id=str(queued.pk), model_version=model, task_id="t", limit=8)
            == []
        )

    def test_rows_of_another_model_are_left(self, queued: Prediction) -> None:
        other = make_model("2", stage="candidate")
        assert (
            lifecycle.claim(prediction_id=str(queued.pk), model_version=other, task_id="t", limit=8)
            == []
        )


class TestComplete:
    def test_records_the_answer_with_its_pictures(self, queued: Prediction) -> None:
        row = finish(
            queued, label="meningioma", share=0.93, prediction_set=("meningioma", "glioma")
        )
        assert row.status == Status.SUCCEEDED
        assert row.label == "meningioma"
        assert row.prediction_set == ["meningioma", "glioma"]
        assert sum(row.probabilities.values()) == pytest.approx(1)
        assert row.bounding_box == [10, 5, 20, 15]
        assert row.hottest_point == [12, 8]
        assert row.area_fraction == pytest.approx(100 / 1200)
        assert row.ood_score == pytest.approx(0.03)
        assert (row.flagged, row.committed) == (False, True)
        assert row.area_range == pytest.approx([80 / 1200, 144 / 1200])
        assert row.finished_at is not None
        prefix = f"scans/{row.scan_id}/predictions/{row.pk}/1/"
        assert row.area_key == f"{prefix}area.png"
        assert row.outline_key == f"{prefix}outline.svg"
        assert row.contours_key == f"{prefix}contours.svg"
        area = np.array(opened(storage.get(row.area_key)).convert("RGBA"))
        assert area.shape == (30, 40, 4)
        assert (area[..., 3] > 0).sum() == 100
        for key in (row.outline_key, row.attention_key, row.contours_key):
            assert key.startswith(prefix)
            assert storage.exists(key)

    def test_without_a_tumour_there_is_no_area(self, queued: Prediction) -> None:
        row = finish(queued, label="no_tumor")
        assert (row.area_key, row.outline_key, row.bounding_box) == ("", "", None)
        assert (row.contours_key, row.area_range) == ("", None)
        assert storage.exists(row.attention_key)

    def test_a_rejection_has_a_reason_and_no_answer(self, queued: Prediction) -> None:
        before = objects()
        assert conclude(start(queued), rejection())
        row = fresh(queued)
        assert (row.status, row.label) == (Status.REJECTED, "")
        assert (row.error_code, row.message) == ("not_a_brain_mri", "This is not a brain.")
        assert objects() == before

    @pytest.mark.parametrize("how", ["cancel", "requeue", "fail"])
    def test_an_answer_that_comes_too_late_leaves_nothing(
        self, queued: Prediction, how: str
    ) -> None:
        running = start(queued)
        before = objects()
        if how == "cancel":
            assert lifecycle.cancel(prediction=fresh(queued))
        elif how == "requeue":
            assert lifecycle.requeue(prediction=fresh(queued))
        else:
            assert lifecycle.fail(prediction=fresh(queued), code="x", message="y")
        assert not conclude(running)
        assert objects() == before
        assert fresh(queued).label == ""

    def test_of_two_attempts_the_later_one_counts(self, queued: Prediction) -> None:
        first = start(queued, task="first")
        lifecycle.requeue(prediction=fresh(queued))
        second = start(queued, task="second")
        assert second.attempt == 2
        assert not conclude(first, analysis(label="glioma"))
        assert conclude(second, analysis(label="pituitary"))
        row = fresh(queued)
        assert row.label == "pituitary"
        assert "/2/" in row.attention_key
        assert objects() == {
            row.scan.image_key,
            row.scan.thumbnail_key,
            row.attention_key,
            row.area_key,
            row.outline_key,
            row.contours_key,
        }

    def test_an_attempt_that_records_twice_keeps_its_pictures(self, queued: Prediction) -> None:
        """As when the database committed, but its answer was lost with the connection."""
        running = start(queued)
        again = fresh(running)
        assert conclude(running)
        before = objects()
        assert not conclude(again)
        assert objects() == before

    def test_a_scan_deleted_meanwhile_keeps_nothing(self, queued: Prediction) -> None:
        running = start(queued)
        scan = running.scan
        storage.delete_prefix(scan.prefix)
        scan.__class__.objects.filter(pk=scan.pk).delete()
        assert not conclude(running)
        assert objects() == set()

    def test_the_database_takes_no_success_without_a_result(self, queued: Prediction) -> None:
        with pytest.raises(IntegrityError), transaction.atomic():
            Prediction.objects.filter(pk=queued.pk).update(status=Status.SUCCEEDED)


class TestRequeue:
    def test_goes_back_to_the_queue_and_sends_a_message(
        self,
        queued: Prediction,
        django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
    ) -> None:
        running = start(queued)
        with django_capture_on_commit_callbacks() as sent:
            assert lifecycle.requeue(prediction=running)
        assert len(sent) == 1
        row = fresh(queued)
        assert (row.status, row.attempt, row.claimed_by) == (Status.QUEUED, 1, "")
        assert row.heartbeat_at is None

    def test_attempts_are_capped(self, queued: Prediction, settings: Settings) -> None:
        settings.MAX_ATTEMPTS = 3
        for attempt in range(1, 4):
            running = start(queued)
            assert running.attempt == attempt
            assert lifecycle.requeue(prediction=running)
        row = fresh(queued)
        assert (row.status, row.error_code, row.attempt) == (Status.FAILED, "crashed", 3)
        assert "another export" in row.message

    def test_outages_do_not_count(self, queued: Prediction, settings: Settings) -> None:
        settings.MAX_ATTEMPTS = 2
        for _ in range(5):
            assert lifecycle.requeue(prediction=start(queued), outage=True)
        assert fresh(queued).status == Status.QUEUED
        lifecycle.requeue(prediction=start(queued))
        assert fresh(queued).status == Status.QUEUED
        lifecycle.requeue(prediction=start(queued))
        assert fresh(queued).status == Status.FAILED

    def test_an_endless_outage_ends_in_a_failure(self, queued: Prediction) -> None:
        running = start(queued)
        Prediction.objects.filter(pk=queued.pk).update(outages=lifecycle.MAX_OUTAGES)
        running.outages = lifecycle.MAX_OUTAGES
        lifecycle.requeue(prediction=running, outage=True)
        row = fresh(queued)
        assert (row.status, row.error_code) == (Status.FAILED, "outage")
        assert "Nothing is wrong with your picture" in row.message

    @pytest.mark.parametrize(("outages", "wait"), [(0, 5), (2, 20), (90, 60)])
    def test_each_outage_in_a_row_is_waited_out_longer(
        self, queued: Prediction, outages: int, wait: int
    ) -> None:
        running = start(queued)
        running.outages = outages
        lifecycle.requeue(prediction=running, outage=True, wait=5)
        until = fresh(queued).not_before
        assert until is not None
        left = (until - timezone.now()).total_seconds()
        assert wait - 4 < left <= wait

    def test_a_wait_is_kept_and_sends_nothing(
        self,
        queued: Prediction,
        django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
    ) -> None:
        with django_capture_on_commit_callbacks() as sent:
            lifecycle.requeue(prediction=start(queued), outage=True, wait=30)
        assert sent == []
        until = fresh(queued).not_before
        assert until is not None
        assert timedelta(seconds=25) < until - timezone.now() <= timedelta(seconds=30)

    def test_a_row_of_another_attempt_is_left_alone(self, queued: Prediction) -> None:
        old = start(queued)
        lifecycle.requeue(prediction=fresh(queued))
        start(queued)
        assert not lifecycle.requeue(prediction=old)
        assert (fresh(queued).status, fresh(queued).attempt) == (Status.RUNNING, 2)

    def test_a_task_delivered_again_finds_the_rows_it_left(self, model: ModelVersion) -> None:
        mine, other = submit(seed=1), submit(seed=2)
        start(mine, task="mine")
        start(other, task="other")
        assert [row.pk for row in lifecycle.abandoned_by(task_id="mine")] == [mine.pk]


class TestCancel:
    def test_what_waits(self, queued: Prediction) -> None:
        assert lifecycle.cancel(prediction=queued)
        row = fresh(queued)
        assert row.status == Status.CANCELLED
        assert row.message == "You stopped it before there was an answer."
        assert row.finished_at is not None

    def test_what_was_claimed_since_the_page_was_read(self, queued: Prediction) -> None:
        seen = fresh(queued)
        start(queued)
        assert lifecycle.cancel(prediction=seen)
        assert fresh(queued).status == Status.CANCELLED

    def test_what_was_erased_since_the_page_was_read(self, queued: Prediction) -> None:
        seen = fresh(queued)
        Scan.objects.all().delete()
        assert not lifecycle.cancel(prediction=seen)

    def test_what_has_ended_stays(self, queued: Prediction) -> None:
        seen = fresh(queued)
        finish(queued)
        assert not lifecycle.cancel(prediction=seen)
        assert fresh(queued).status == Status.SUCCEEDED

    def test_all_of_some_scans(self, model: ModelVersion) -> None:
        waiting, running, done, other = (submit(seed=n) for n in range(4))
        finish(done)
        start(running)
        ids = [row.scan_id for row in (waiting, running, done)]
        assert lifecycle.cancel_all(scan_ids=ids) == 2
        assert [fresh(row).status for row in (waiting, running, done, other)] == [
            Status.CANCELLED,
            Status.CANCELLED,
            Status.SUCCEEDED,
            Status.QUEUED,
        ]


class TestReassignQueued:
    @pytest.fixture
    def successor(self, model: ModelVersion) -> ModelVersion:
        ModelVersion.objects.filter(pk=model.pk).update(stage="retired")
        return make_model("2")

    def test_queued_rows_go_to_the_model_in_production(
        self, queued: Prediction, successor: ModelVersion
    ) -> None:
        lifecycle.reassign_queued(to=successor)
        assert fresh(queued).model_version == successor

    def test_running_and_finished_rows_keep_theirs(self, model: ModelVersion) -> None:
        running, done = submit(seed=1), submit(seed=2)
        start(running)
        finish(done)
        ModelVersion.objects.filter(pk=model.pk).update(stage="retired")
        lifecycle.reassign_queued(to=make_model("2"))
        assert fresh(running).model_version == fresh(done).model_version == model

    def test_a_scan_that_the_new_model_answers_needs_no_second_run(
        self, queued: Prediction, successor: ModelVersion
    ) -> None:
        Prediction.objects.create(scan=queued.scan, model_version=successor)
        lifecycle.reassign_queued(to=successor)
        row = fresh(queued)
        assert row.status == Status.CANCELLED
        assert "newer network" in row.message


def test_an_empty_area_is_no_picture(queued: Prediction) -> None:
    nothing = replace(
        analysis(), area=np.zeros((30, 40), np.bool_), area_fraction=0.0, bounding_box=None
    )
    assert conclude(start(queued), nothing)
    assert fresh(queued).area_key == ""


def test_ids_of_tasks_fit_their_column() -> None:
    field = Prediction._meta.get_field("claimed_by")
    assert len(str(uuid4())) <= field.max_length  # type: ignore[operator]


def test_no_more_rows_are_reassigned_than_one_pass_takes(model: ModelVersion) -> None:
    rows = [submit(seed=number) for number in range(3)]
    other = make_model("2", stage="candidate")
    lifecycle.reassign_some(to=other, limit=2)
    assert [fresh(row).model_version == other for row in rows] == [True, True, False]
