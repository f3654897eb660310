"""Deleting leaves neither rows nor objects, whatever happens in between."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.db import OperationalError
from django.utils import timezone
from pytest_django import DjangoCaptureOnCommitCallbacks

from predictions import storage
from predictions.models import Access, ModelVersion, Prediction, Scan, Status
from predictions.owners import Owner
from predictions.queueing import Queue, messages_waiting
from predictions.selectors import scans_of
from predictions.services import deletion, sweeping
from predictions.services.auditing import record_access
from predictions.services.ownership import adopt
from tests.support.records import conclude, finish, make_user, start, submit

pytestmark = [pytest.mark.data_layer, pytest.mark.django_db]


def objects() -> set[str]:
    return {name for name, _ in storage.walk("scans/")}


@pytest.mark.usefixtures("object_store")
def test_a_deleted_scan_is_hidden_at_once_and_erased_after(model: ModelVersion) -> None:
    visitor = uuid4()
    gone, kept = submit(visitor=visitor, seed=1), submit(visitor=visitor, seed=2)
    finish(gone)
    finish(kept)
    assert deletion.delete_scans(scans=Scan.objects.filter(pk=gone.scan_id)) == 1
    assert [scan.pk for scan in scans_of(Owner(visitor=visitor))] == [kept.scan_id]
    assert deletion.erase_deleted() == 1
    assert [scan.pk for scan in Scan.objects.all()] == [kept.scan_id]
    assert Prediction.objects.count() == 1
    assert len(objects()) == 6
    assert all(name.startswith(kept.scan.prefix) for name in objects())


def test_runs_are_stopped(model: ModelVersion) -> None:
    waiting, running = submit(seed=1), submit(seed=2)
    held = start(running)
    deletion.delete_scans(scans=Scan.objects.all())
    assert set(Prediction.objects.values_list("status", flat=True)) == {Status.CANCELLED}
    assert not conclude(held)
    deletion.erase_deleted()
    assert objects() == set()
    assert Prediction.objects.filter(pk=waiting.pk).count() == 0


def test_erasure_is_asked_for_at_once(
    model: ModelVersion, django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
) -> None:
    submit()
    for _ in range(2):
        with django_capture_on_commit_callbacks(execute=True):
            deletion.delete_scans(scans=Scan.objects.all())
        # The second time, there is nothing to erase.
        assert messages_waiting(Queue.GENERAL) == [1]


def test_more_than_one_statement_takes_are_all_deleted(model: ModelVersion) -> None:
    scans = Scan.objects.bulk_create(
        Scan(
            visitor=uuid4(),
            name="slice.png",
            sha256="0" * 64,
            width=10,
            height=10,
            image_key=f"scans/{n}/image.png",
            thumbnail_key=f"scans/{n}/thumbnail.png",
        )
        for n in range(1001)
    )
    Prediction.objects.bulk_create(Prediction(scan=scan, model_version=model) for scan in scans)
    assert deletion.delete_scans(scans=Scan.objects.all()) == 1001
    assert not Scan.objects.filter(deleted_at__isnull=True).exists()
    assert not Prediction.objects.exclude(status=Status.CANCELLED).exists()


def test_nothing_to_delete_is_fine(db: None) -> None:
    assert deletion.delete_scans(scans=Scan.objects.all()) == 0
    assert deletion.erase_deleted() == 0
    deletion.erase(scan_id=uuid4())


def test_a_scan_that_is_not_marked_is_never_erased(model: ModelVersion) -> None:
    row = submit()
    deletion.erase(scan_id=row.scan_id)
    assert Scan.objects.filter(pk=row.scan_id).exists()
    assert len(objects()) == 2


class TestCrashes:
    @pytest.fixture
    def marked(self, model: ModelVersion) -> Prediction:
        row = finish(submit())
        deletion.delete_scans(scans=Scan.objects.all())
        return row

    def test_a_store_that_is_away_keeps_the_row_for_later(
        self, marked: Prediction, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(prefix: str) -> int:
            raise storage.StorageUnavailableError

        with monkeypatch.context() as patch:
            patch.setattr(storage, "delete_prefix", refuse)
            assert deletion.erase_deleted() == 0
        assert Scan.objects.filter(pk=marked.scan_id).exists()
        assert deletion.erase_deleted() == 1
        assert objects() == set()

    def test_one_that_cannot_be_erased_does_not_stop_the_others(
        self, marked: Prediction, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        other = submit(seed=5)
        deletion.delete_scans(scans=Scan.objects.filter(pk=other.scan_id))
        real = storage.delete_prefix

        def picky(prefix: str) -> int:
            if prefix == marked.scan.prefix:
                raise storage.StorageUnavailableError
            return real(prefix)

        monkeypatch.setattr(storage, "delete_prefix", picky)
        assert deletion.erase_deleted() == 1
        assert [scan.pk for scan in Scan.objects.all()] == [marked.scan_id]

    def test_a_row_that_cannot_be_deleted_does_not_stop_the_others(
        self, marked: Prediction, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        other = submit(seed=5)
        deletion.delete_scans(scans=Scan.objects.filter(pk=other.scan_id))
        real = Scan.delete

        def picky(scan: Scan) -> Any:
            if scan.pk == marked.scan_id:
                raise OperationalError("database is locked")
            return real(scan)

        monkeypatch.setattr(Scan, "delete", picky)
        assert deletion.erase_deleted() == 1
        assert [scan.pk for scan in Scan.objects.all()] == [marked.scan_id]

    def test_an_end_between_objects_and_row(
        self, marked: Prediction, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        class EndedError(BaseException):
            pass

        def end(*args: Any, **kwargs: Any) -> None:
            raise EndedError

        with monkeypatch.context() as patch:
            patch.setattr(Scan, "delete", end)
            with pytest.raises(EndedError):
                deletion.erase_deleted()
        assert objects() == set()
        assert Scan.objects.filter(pk=marked.scan_id).exists()
        assert deletion.erase_deleted() == 1
        assert Scan.objects.count() == 0


def test_scans_of_visitors_expire_and_those_of_accounts_do_not(
    model: ModelVersion, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.ANONYMOUS_RETENTION_DAYS = 30
    old = time.time_ns() - 31 * 86400 * 10**9
    with monkeypatch.context() as patch:
        patch.setattr(time, "time_ns", lambda: old)
        stale = [submit(seed=seed) for seed in range(5)]
        owned = submit(seed=5, owner=make_user())
    young = submit(seed=6)
    transactions: list[int] = []
    real = deletion.delete_scans

    def counted(**scans: Any) -> int:
        transactions.append(real(**scans))
        return transactions[-1]

    monkeypatch.setattr(sweeping, "delete_scans", counted)
    assert sweeping.expire_anonymous(chunk=2) == 5
    assert transactions == [2, 2, 1]
    assert sweeping.expire_anonymous() == 0
    hidden = Scan.objects.filter(deleted_at__isnull=False)
    assert {scan.pk for scan in hidden} == {row.scan_id for row in stale}
    kept = Scan.objects.filter(deleted_at__isnull=True)
    assert {scan.pk for scan in kept} == {young.scan_id, owned.scan_id}


def test_lines_on_what_was_handed_out_expire(model: ModelVersion, settings: Any) -> None:
    settings.ACCESS_RETENTION_DAYS = 365
    row = submit()
    for _ in range(7):
        record_access(prediction=row, kind="image", user=None, visitor=row.scan.visitor)
    young = Access.objects.order_by("-pk").values_list("pk", flat=True)[:2]
    Access.objects.exclude(pk__in=list(young)).update(at=timezone.now() - timedelta(days=366))
    assert sweeping.expire_accesses(chunk=2) == 5
    assert Access.objects.count() == 2


def test_a_visitors_scans_move_to_their_account(model: ModelVersion) -> None:
    user, visitor = make_user(), uuid4()
    mine, other = submit(visitor=visitor, seed=1), submit(seed=2)
    assert adopt(visitor=visitor, user=user) == 1
    assert [scan.pk for scan in scans_of(Owner(user=user))] == [mine.scan_id]
    assert list(scans_of(Owner(visitor=visitor))) == []
    assert Scan.objects.get(pk=other.scan_id).owner is None


def test_who_received_what_outlives_the_scan(model: ModelVersion) -> None:
    row = finish(submit())
    record_access(prediction=row, kind="image", user=None, visitor=uuid4())
    deletion.delete_scans(scans=Scan.objects.all())
    deletion.erase_deleted()
    entry = Access.objects.get()
    assert (entry.scan_id, entry.prediction_id, entry.kind) == (row.scan_id, row.pk, "image")
