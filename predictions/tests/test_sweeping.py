"""What is stuck goes on, what is lost is sent again, what nobody owns is removed."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from django.conf import settings as configured
from django.core.files.storage import storages
from django.db.models import F
from django.utils import timezone
from pytest_django import DjangoCaptureOnCommitCallbacks, Settings

from predictions import storage
from predictions.models import ModelVersion, Prediction, Scan, Status
from predictions.queueing import Queue, messages_waiting
from predictions.services import lifecycle, sweeping
from predictions.services.deletion import delete_scans
from tests.support.records import conclude, finish, make_model, start, submit

pytestmark = [pytest.mark.data_layer, pytest.mark.django_db]

Capture = DjangoCaptureOnCommitCallbacks


def age(**by: float) -> None:
    """Let the rows be older than they are."""
    past = timedelta(**by)
    Prediction.objects.update(queued_at=F("queued_at") - past)
    Prediction.objects.filter(heartbeat_at__isnull=False).update(
        heartbeat_at=F("heartbeat_at") - past
    )


def swept(capture: Capture) -> int:
    """Messages in the queue after a sweep."""
    with capture(execute=True):
        sweeping.sweep()
    return messages_waiting(Queue.INFERENCE)[0]


class TestSilentWorkers:
    def test_a_row_silent_for_longer_than_the_limit_goes_to_another_attempt(
        self, model: ModelVersion, django_capture_on_commit_callbacks: Capture
    ) -> None:
        running = start(submit())
        age(seconds=configured.TASK_HARD_LIMIT + 1)
        swept(django_capture_on_commit_callbacks)
        running.refresh_from_db()
        assert (running.status, running.attempt) == (Status.QUEUED, 1)
        assert start(running).attempt == 2

    def test_a_row_within_the_limit_is_left(
        self, model: ModelVersion, django_capture_on_commit_callbacks: Capture
    ) -> None:
        running = start(submit())
        age(seconds=configured.TASK_HARD_LIMIT - 2)
        swept(django_capture_on_commit_callbacks)
        running.refresh_from_db()
        assert running.status == Status.RUNNING

    def test_a_picture_that_always_kills_its_worker_fails_in_the_end(
        self,
        model: ModelVersion,
        settings: Settings,
        django_capture_on_commit_callbacks: Capture,
    ) -> None:
        settings.MAX_ATTEMPTS = 2
        poison = submit()
        for _ in range(2):
            start(poison)
            age(seconds=configured.TASK_HARD_LIMIT + 1)
            swept(django_capture_on_commit_callbacks)
        poison.refresh_from_db()
        assert (poison.status, poison.error_code) == (Status.FAILED, "crashed")

    def test_the_late_answer_of_the_silent_worker_does_not_count(
        self, model: ModelVersion, django_capture_on_commit_callbacks: Capture
    ) -> None:
        row = submit()
        silent = start(row)
        age(seconds=configured.TASK_HARD_LIMIT + 1)
        swept(django_capture_on_commit_callbacks)
        second = start(row)
        assert second.attempt == 2
        assert not conclude(silent)
        assert conclude(second)


class TestLostMessages:
    def test_every_row_gets_a_message_again(
        self, model: ModelVersion, django_capture_on_commit_callbacks: Capture
    ) -> None:
        for seed in range(3):
            submit(seed=seed)
        age(seconds=60)
        assert messages_waiting(Queue.INFERENCE) == [0]
        assert swept(django_capture_on_commit_callbacks) == 3

    def test_messages_that_wait_are_not_doubled(
        self, model: ModelVersion, django_capture_on_commit_callbacks: Capture
    ) -> None:
        with django_capture_on_commit_callbacks(execute=True):
            submit(seed=1)
        submit(seed=2)
        age(seconds=60)
        assert swept(django_capture_on_commit_callbacks) == 2
        assert swept(django_capture_on_commit_callbacks) == 2

    def test_young_rows_are_left_to_their_own_message(
        self, model: ModelVersion, django_capture_on_commit_callbacks: Capture
    ) -> None:
        submit()
        assert swept(django_capture_on_commit_callbacks) == 0

    def test_rows_that_must_wait_are_sent_when_their_time_has_come(
        self, model: ModelVersion, django_capture_on_commit_callbacks: Capture
    ) -> None:
        row = submit()
        lifecycle.requeue(prediction=start(row), outage=True, wait=30)
        age(seconds=60)
        assert swept(django_capture_on_commit_callbacks) == 0
        Prediction.objects.update(not_before=timezone.now())
        assert swept(django_capture_on_commit_callbacks) == 1


class TestModels:
    def test_rows_of_a_retired_model_go_to_its_successor(
        self, model: ModelVersion, django_capture_on_commit_callbacks: Capture
    ) -> None:
        row = submit()
        ModelVersion.objects.update(stage="retired")
        newer = make_model("2")
        swept(django_capture_on_commit_callbacks)
        row.refresh_from_db()
        assert row.model_version == newer

    def test_without_a_model_rows_wait(
        self, model: ModelVersion, django_capture_on_commit_callbacks: Capture
    ) -> None:
        row = submit()
        age(seconds=60)
        ModelVersion.objects.update(stage="retired")
        assert swept(django_capture_on_commit_callbacks) == 0
        row.refresh_from_db()
        assert row.status == Status.QUEUED


def make_old(*, days: int = 1) -> None:
    """Let every object of the local store be a day old, or several."""
    root = Path(storages["scans"].location)  # type: ignore[attr-defined]  # the folder's
    past = time.time() - days * 86400
    for entry in root.rglob("*"):
        if entry.is_file():
            os.utime(entry, (past, past))


class TestOrphans:
    def test_objects_without_a_row_go_and_others_stay(self, model: ModelVersion) -> None:
        kept = finish(submit(seed=1))
        strangers = {
            f"scans/{uuid4()}/image.png",
            f"{kept.scan.prefix}predictions/{kept.pk}/7/attention.png",
            "scans/not-an-id/image.png",
            "scans/stray.png",
        }
        for name in strangers:
            storage.put(name, b"x")
        before = {name for name, _ in storage.walk("scans/")}
        make_old()
        assert sweeping.check_orphans(chunk=2) == {"removed": 4, "lost": 0}
        assert {name for name, _ in storage.walk("scans/")} == before - strangers

    def test_what_a_killed_check_of_the_store_has_left_goes(self, db: None) -> None:
        storage.put("health/old", b"ok")
        make_old()
        storage.put("health/young", b"ok")
        assert sweeping.check_orphans() == {"removed": 1, "lost": 0}
        assert [name for name, _ in storage.walk("health/")] == ["health/young"]

    @pytest.mark.parametrize(("theirs", "removed"), [(100, 100), (101, 0)])
    def test_a_store_of_another_database_is_left_alone(
        self,
        model: ModelVersion,
        caplog: pytest.LogCaptureFixture,
        theirs: int,
        removed: int,
    ) -> None:
        """As of a site that was started before its database was restored."""
        finish(submit(seed=1))
        for _ in range(theirs):
            storage.put(f"scans/{uuid4()}/image.png", b"x")
        make_old()
        assert sweeping.check_orphans() == {"removed": removed, "lost": 0}
        assert ("as if this were not their database" in caplog.text) == (not removed)

    def test_young_objects_may_still_get_their_row(self, model: ModelVersion) -> None:
        storage.put(f"scans/{uuid4()}/image.png", b"x")
        assert sweeping.check_orphans() == {"removed": 0, "lost": 0}

    def test_rows_whose_image_is_gone_are_counted_and_named(
        self, model: ModelVersion, caplog: pytest.LogCaptureFixture
    ) -> None:
        row, other = submit(seed=1), submit(seed=2)
        storage.delete(row.scan.image_key)
        assert sweeping.check_orphans() == {"removed": 0, "lost": 1}
        assert str(row.scan_id) in caplog.text
        assert str(other.scan_id) not in caplog.text

    @pytest.mark.parametrize("kind", ["area", "outline", "attention", "contours"])
    def test_a_lost_picture_of_a_result_is_named_with_its_kind(
        self, model: ModelVersion, caplog: pytest.LogCaptureFixture, kind: str
    ) -> None:
        row, other = finish(submit(seed=1)), finish(submit(seed=2))
        storage.delete(getattr(row, f"{kind}_key"))
        assert sweeping.check_orphans() == {"removed": 0, "lost": 1}
        assert f"{row} has lost its {kind}" in caplog.text
        assert str(other.pk) not in caplog.text

    def test_a_lost_thumbnail_is_named_and_counted_beside_the_image(
        self, model: ModelVersion, caplog: pytest.LogCaptureFixture
    ) -> None:
        scan = finish(submit()).scan
        storage.delete(scan.thumbnail_key)
        assert sweeping.check_orphans() == {"removed": 0, "lost": 1}
        assert f"{scan} has lost its thumbnail" in caplog.text
        storage.delete(scan.image_key)
        assert sweeping.check_orphans() == {"removed": 0, "lost": 2}

    def test_what_a_result_does_not_have_is_not_lost(self, model: ModelVersion) -> None:
        row = finish(submit(), label="no_tumor")
        assert row.area_key == ""
        assert sweeping.check_orphans() == {"removed": 0, "lost": 0}

    def test_objects_of_a_scan_that_waits_for_erasure_are_left_to_it(
        self, model: ModelVersion
    ) -> None:
        row = submit()
        delete_scans(scans=Scan.objects.filter(pk=row.scan_id))
        make_old()
        assert sweeping.check_orphans() == {"removed": 0, "lost": 0}

    def test_a_check_that_runs_out_of_time_goes_on_where_it_stopped(
        self, model: ModelVersion
    ) -> None:
        strangers = [f"scans/{uuid4()}/image.png" for _ in range(5)]
        for name in strangers:
            storage.put(name, b"x")
        submit(seed=1)
        bereft = submit(seed=2)
        storage.delete(bereft.scan.image_key)
        make_old()
        found = [sweeping.check_orphans(seconds=0) for _ in range(9)]
        assert [one["removed"] for one in found].count(1) == 5
        assert [one["lost"] for one in found[:2]] == [0, 1]
        assert not any(storage.exists(name) for name in strangers)

    def test_a_scan_deleted_during_the_check_is_not_missed(
        self, model: ModelVersion, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        row = submit()

        def deleted_meanwhile(prefix: str, *, after: str = "") -> Iterator[tuple[str, datetime]]:
            if prefix == row.scan.prefix:
                delete_scans(scans=Scan.objects.filter(pk=row.scan_id))
            return iter(())

        monkeypatch.setattr(storage, "walk", deleted_meanwhile)
        assert sweeping.check_orphans()["lost"] == 0
