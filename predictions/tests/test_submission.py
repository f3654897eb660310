"""From a file to a queued prediction, with the process ending between any two writes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import uuid4

import numpy as np
import pytest
from django.db import DatabaseError
from PIL import Image
from pytest_django import DjangoCaptureOnCommitCallbacks, Settings

from mltasks.images import ImageError
from predictions import storage
from predictions.models import ModelVersion, Prediction, Scan, Status
from predictions.services import submission, sweeping
from predictions.services.registry import NoModelError
from predictions.services.submission import display_name, run_again
from predictions.storage import StorageUnavailableError
from tests.settings import TEST_VALKEY
from tests.support.pictures import grey, opened, png, saved
from tests.support.records import finish, make_model, make_user, start, submit

pytestmark = [pytest.mark.data_layer, pytest.mark.django_db]

Capture = DjangoCaptureOnCommitCallbacks


def messages() -> int:
    return int(TEST_VALKEY.client().llen("inference"))


def objects() -> set[str]:
    return {name for name, _ in storage.walk("scans/")}


def orphans_removed(monkeypatch: pytest.MonkeyPatch) -> int:
    """What the orphan check removes once the objects are old enough."""
    monkeypatch.setattr(sweeping, "ORPHAN_AGE", timedelta(seconds=-5))
    return sweeping.check_orphans()["removed"]


@pytest.mark.usefixtures("model", "object_store")
class TestSubmit:
    def test_stores_records_and_sends(self, django_capture_on_commit_callbacks: Capture) -> None:
        visitor = uuid4()
        pixels = grey(50, 30, seed=3)
        with django_capture_on_commit_callbacks(execute=True):
            made = submit(content=png(50, 30, seed=3), name="a/b/slice 1.png", visitor=visitor)
        row = Prediction.objects.select_related("scan").get(pk=made.pk)
        scan = row.scan
        assert (row.status, row.attempt) == (Status.QUEUED, 0)
        assert (scan.visitor, scan.owner, scan.name) == (visitor, None, "slice 1.png")
        assert (scan.width, scan.height) == (50, 30)
        assert objects() == {scan.image_key, scan.thumbnail_key}
        assert scan.image_key == f"scans/{scan.pk}/image.png"
        assert np.array_equal(np.asarray(opened(storage.get(scan.image_key))), pixels)
        assert scan.sha256 == hashlib.sha256(b"(30, 50)" + pixels.tobytes()).hexdigest()
        assert messages() == 1

    def test_nothing_of_the_file_but_its_pixels_is_kept(self) -> None:
        exif = Image.Exif()
        exif[0x010E] = "Ada Lovelace"
        picture = Image.fromarray(grey(50, 30))
        scan = submit(content=saved(picture, "JPEG", exif=exif, comment=b"Ada")).scan
        stored = opened(storage.get(scan.image_key))
        assert stored.format == "PNG"
        assert stored.info == {}
        assert not stored.getexif()
        assert scan.facts == {
            "format": "JPEG", "orientation": 1, "stored_size": [50, 30], "colour": False
        }  # fmt: skip

    def test_an_account_owns_what_it_submits(self) -> None:
        user = make_user()
        scan = submit(owner=user).scan
        assert (scan.owner, scan.visitor) == (user, None)

    def test_the_same_file_twice_is_two_scans(self) -> None:
        one, two = submit(), submit()
        assert one.scan.sha256 == two.scan.sha256
        assert not {one.scan.image_key, one.scan.thumbnail_key} & {
            two.scan.image_key, two.scan.thumbnail_key
        }  # fmt: skip

    def test_a_bad_picture_leaves_nothing(self) -> None:
        with pytest.raises(ImageError):
            submit(content=b"no picture")
        assert Scan.objects.count() == 0
        assert objects() == set()


def test_without_a_model_nothing_is_taken(db: None) -> None:
    with pytest.raises(NoModelError):
        submit()
    assert objects() == set()


class ProcessEndedError(BaseException):
    """Stands for the end of the process: no handler of ours may catch and mend it."""


def _end(*args: Any, **kwargs: Any) -> None:
    raise ProcessEndedError


def _at_put(number: int) -> Callable[[pytest.MonkeyPatch], None]:
    def arrange(patch: pytest.MonkeyPatch) -> None:
        calls = iter(range(1, 10))
        put = storage.put

        def counted(name: str, content: bytes) -> None:
            if next(calls) == number:
                _end()
            put(name, content)

        patch.setattr(storage, "put", counted)

    return arrange


POINTS: dict[str, Callable[[pytest.MonkeyPatch], None]] = {
    "before the first object": _at_put(1),
    "before the second object": _at_put(2),
    "before the scan's row": lambda patch: patch.setattr(Scan, "save", _end),
    "before the prediction's row": lambda patch: patch.setattr(Prediction.objects, "create", _end),
    "before the message": lambda patch: patch.setattr(submission, "enqueue", _end),
}


@pytest.mark.usefixtures("model")
@pytest.mark.parametrize("point", POINTS)
class TestInterruptedSubmit:
    def test_nobody_is_left_to_tidy_up(self, point: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """The process is gone at once: no row, and what was stored is found as orphaned."""
        with monkeypatch.context() as patch:
            POINTS[point](patch)
            patch.setattr(submission, "_remove_unrecorded", lambda scan: None)
            with pytest.raises(ProcessEndedError):
                submit()
        assert Scan.objects.count() == Prediction.objects.count() == 0
        left = objects()
        assert len(left) == {"before the first object": 0, "before the second object": 1}.get(
            point, 2
        )
        assert orphans_removed(monkeypatch) == len(left)
        assert objects() == set()

    def test_a_fault_tidies_up_at_once(self, point: str, monkeypatch: pytest.MonkeyPatch) -> None:
        with monkeypatch.context() as patch:
            POINTS[point](patch)
            with pytest.raises(ProcessEndedError):
                submit()
        assert Scan.objects.count() == Prediction.objects.count() == 0
        assert objects() == set()


@pytest.mark.usefixtures("model")
class TestFaultsOfTheStore:
    def test_a_store_that_is_down_leaves_no_row(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(name: str, content: bytes) -> None:
            raise StorageUnavailableError

        monkeypatch.setattr(storage, "put", refuse)
        with pytest.raises(StorageUnavailableError):
            submit()
        assert Scan.objects.count() == 0

    def test_objects_that_cannot_be_removed_now_are_orphans(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(prefix: str) -> int:
            raise StorageUnavailableError

        with monkeypatch.context() as patch:
            POINTS["before the message"](patch)
            patch.setattr(storage, "delete_prefix", refuse)
            with pytest.raises(ProcessEndedError):
                submit()
        assert len(objects()) == 2
        assert orphans_removed(monkeypatch) == 2

    def test_when_the_database_cannot_tell_the_objects_stay(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(*args: Any, **kwargs: Any) -> None:
            raise DatabaseError

        with monkeypatch.context() as patch:
            # Django's own check of the new row is the first to find the database gone.
            patch.setattr(Scan.objects, "filter", refuse)
            with pytest.raises(DatabaseError):
                submit()
        assert len(objects()) == 2


@pytest.mark.usefixtures("model")
def test_a_broker_that_is_away_does_not_stop_an_upload(
    monkeypatch: pytest.MonkeyPatch, django_capture_on_commit_callbacks: Capture
) -> None:
    def refuse(*args: Any, **kwargs: Any) -> None:
        raise ConnectionError

    monkeypatch.setattr("celery.app.task.Task.apply_async", refuse)
    with django_capture_on_commit_callbacks(execute=True):
        made = submit()
    assert Prediction.objects.get(pk=made.pk).status == Status.QUEUED


class TestRunAgain:
    def test_after_a_failure_there_is_a_new_row(self, model: ModelVersion) -> None:
        row = submit()
        Prediction.objects.filter(pk=row.pk).update(status=Status.FAILED)
        again = run_again(prediction=row)
        assert again.pk != row.pk
        assert (again.scan, again.status) == (row.scan, Status.QUEUED)

    def test_an_answer_that_stands_is_given_back(self, model: ModelVersion) -> None:
        row = finish(submit())
        assert run_again(prediction=row) == row
        assert Prediction.objects.count() == 1

    def test_a_run_under_way_is_given_back(self, model: ModelVersion) -> None:
        row = submit()
        start(row)
        assert run_again(prediction=row).pk == row.pk

    def test_a_new_model_gives_a_new_answer_and_the_old_one_stays(
        self, model: ModelVersion
    ) -> None:
        old = finish(submit())
        ModelVersion.objects.filter(pk=model.pk).update(stage="retired")
        newer = make_model("2")
        again = run_again(prediction=old)
        assert again.model_version == newer
        finish(again, label="pituitary")
        old.refresh_from_db()
        assert (old.label, old.status) == ("glioma", Status.SUCCEEDED)

    def test_a_deleted_scan_is_gone(self, model: ModelVersion) -> None:
        row = submit()
        Scan.objects.update(deleted_at=row.queued_at)
        with pytest.raises(Scan.DoesNotExist):
            run_again(prediction=row)


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("brain.png", "brain.png"),
        ("../../etc/passwd.png", "passwd.png"),
        ("C:\\Users\\Ada\\scan.png", "scan.png"),
        ("/home/ada/scan.png", "scan.png"),
        ("C:scan.png", "scan.png"),
        ("..", ".."),
        ("", ""),
        ("brain 🧠.png", "brain 🧠.png"),
        ("👩‍⚕️.png", "👩⚕️.png"),
        ("gnp.\u202egpj.exe", "gnp.gpj.exe"),
        ("\u200f\u200ename\u2066.png", "name.png"),
        ("a\x00b\x07\n\tc.png", "abc.png"),
        ("a \u00a0\u2003 b.png", "a b.png"),
        ("e\u0301.png", "é.png"),
        ("\ud800.png", ".png"),
    ],
)
def test_names_are_shown_without_path_and_marks(given: str, shown: str) -> None:
    assert display_name(given) == shown


def test_a_long_name_keeps_its_end() -> None:
    shown = display_name("x" * 296 + ".png")
    assert len(shown) == submission.NAME_LENGTH == Scan._meta.get_field("name").max_length
    assert shown.endswith("….png".replace("…", "x" * 8))
    assert "…" in shown


@pytest.mark.usefixtures("model")
def test_any_name_is_only_a_label(settings: Settings) -> None:
    for name in ("../../x.png", "🧠" * 300, "\u202e" * 5, "", "a" * 300):
        scan = submit(name=name).scan
        scan.refresh_from_db()
        assert scan.image_key == f"scans/{scan.pk}/image.png"
