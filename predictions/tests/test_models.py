"""What the database itself refuses, and which network is in production."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from uuid import uuid4

import pytest
from django.core.exceptions import ValidationError
from django.core.management import CommandError, call_command
from django.db import IntegrityError, connection, transaction
from django.db.models import ProtectedError
from django.utils import timezone
from pytest_django import Settings

from mltasks.inference import ModelError
from predictions.models import Access, ModelVersion, Prediction, Review, Scan, Status
from predictions.services.models import NoModelError, production_model, register_model
from tests.support.records import finish, make_model, make_user, submit

pytestmark = [pytest.mark.data_layer, pytest.mark.django_db]


def refused(**changes: object) -> None:
    """A row that the database must not take."""
    with pytest.raises(IntegrityError), transaction.atomic():
        Prediction.objects.update(**changes)


class TestConstraints:
    def test_a_scan_belongs_to_a_user_or_to_a_visitor(self, model: ModelVersion) -> None:
        row = submit()
        for owner, visitor in ((make_user(), uuid4()), (None, None)):
            with pytest.raises(IntegrityError), transaction.atomic():
                Scan.objects.filter(pk=row.scan_id).update(owner=owner, visitor=visitor)

    def test_a_status_is_one_of_the_table(self, model: ModelVersion) -> None:
        submit()
        refused(status="nonsense")

    @pytest.mark.parametrize("missing", ["label", "attention_key", "finished_at"])
    def test_a_success_has_its_result(self, model: ModelVersion, missing: str) -> None:
        submit()
        whole = {"label": "glioma", "attention_key": "a", "finished_at": timezone.now()}
        refused(status=Status.SUCCEEDED, **{**whole, missing: None if missing[-2:] == "at" else ""})
        Prediction.objects.update(status=Status.SUCCEEDED, **whole)

    def test_a_model_answers_a_scan_once(self, model: ModelVersion) -> None:
        row = submit()
        for status in Status:
            finished = {"label": "glioma", "attention_key": "a", "finished_at": timezone.now()}
            Prediction.objects.filter(pk=row.pk).update(status=status, **finished)
            try:
                with transaction.atomic():
                    Prediction.objects.create(scan=row.scan, model_version=model).delete()
                taken = True
            except IntegrityError:
                taken = False
            assert taken == (status in {Status.FAILED, Status.CANCELLED}), status

    def test_one_model_is_in_production(self, model: ModelVersion) -> None:
        with pytest.raises(IntegrityError), transaction.atomic():
            make_model("2")
        make_model("3", stage="candidate")
        another = ModelVersion(name="t", version="4", digest="d" * 64, stage="production")
        with pytest.raises(ValidationError, match="retire it first"):
            another.full_clean()

    def test_a_reviewer_reads_a_result_once(self, model: ModelVersion) -> None:
        row, user = finish(submit()), make_user()
        Review.objects.create(prediction=row, reviewer=user)
        with pytest.raises(IntegrityError), transaction.atomic():
            Review.objects.create(prediction=row, reviewer=user)

    @pytest.mark.parametrize(("verdict", "label"), [("agrees", "glioma"), ("corrects", "")])
    def test_a_correction_names_a_label_and_agreement_none(
        self, model: ModelVersion, verdict: str, label: str
    ) -> None:
        row = finish(submit())
        with pytest.raises(IntegrityError), transaction.atomic():
            Review.objects.create(prediction=row, verdict=verdict, corrected_label=label)

    def test_owners_and_models_with_records_cannot_vanish(self, model: ModelVersion) -> None:
        user = make_user()
        submit(owner=user)
        for holder in (user, model):
            with pytest.raises(ProtectedError):
                holder.delete()

    def test_records_say_who_they_are_without_saying_whose(self, model: ModelVersion) -> None:
        row = finish(submit(name="Ada Lovelace.png"))
        review = Review.objects.create(prediction=row)
        entry = Access.objects.create(scan_id=row.scan_id, kind="image")
        said = [str(one) for one in (row, row.scan, review, entry)]
        assert all(str(row.pk) in text or str(row.scan_id) in text for text in said)
        assert "Ada" not in "".join(said)


def test_paging_reads_an_index(model: ModelVersion) -> None:
    """The newest scans of an owner come from an index, not from a sort of the table."""
    visitor = uuid4()
    scans = Scan.objects.filter(visitor=visitor, deleted_at__isnull=True).order_by("-id")[:25]
    plan = scans.explain()
    if connection.vendor == "sqlite":
        assert "scan_visitor" in plan
        assert "TEMP B-TREE" not in plan


def folder(path: Path, *, weights: bytes = b"weights", **changes: object) -> Path:
    """A model folder whose weights are sound by their digest; nothing loads them here."""
    path.mkdir(exist_ok=True)
    (path / "model.onnx").write_bytes(weights)
    card = {
        "format": 1,
        "name": "tumorsite",
        "version": "9",
        "classes": ["glioma", "meningioma", "no_tumor", "pituitary"],
        "files": {"model.onnx": hashlib.sha256(weights).hexdigest()},
        "input": {"size": 224},
        "temperature": 1.0,
        "thresholds": {"brain": 0.5, "mask": 0.5, "speck_share": 0.1},
        "metrics": {"accuracy": 0.96},
        **changes,
    }
    (path / "model.json").write_text(json.dumps(card))
    return path


class TestRegister:
    def test_the_first_goes_into_production(self, tmp_path: Path) -> None:
        version = register_model(folder=folder(tmp_path / "one"))
        assert production_model() == version
        assert version.digest == hashlib.sha256(b"weights").hexdigest()
        assert version.card["metrics"] == {"accuracy": 0.96}

    def test_the_same_again_changes_nothing(self, tmp_path: Path) -> None:
        one = register_model(folder=folder(tmp_path / "one"))
        assert register_model(folder=tmp_path / "one") == one
        assert ModelVersion.objects.count() == 1

    def test_another_retires_the_one_before_and_back_again(self, tmp_path: Path) -> None:
        one = register_model(folder=folder(tmp_path / "one"))
        two = register_model(folder=folder(tmp_path / "two", weights=b"other"))
        one.refresh_from_db()
        assert (one.stage, production_model()) == ("retired", two)
        assert register_model(folder=tmp_path / "one") == one
        two.refresh_from_db()
        assert (two.stage, production_model()) == ("retired", one)

    def test_a_damaged_one_is_refused(self, tmp_path: Path) -> None:
        folder(tmp_path / "one")
        (tmp_path / "one" / "model.onnx").write_bytes(b"weightz")
        with pytest.raises(ModelError, match="damaged"):
            register_model(folder=tmp_path / "one")
        with pytest.raises(NoModelError):
            production_model()

    def test_the_command(
        self, tmp_path: Path, settings: Settings, capsys: pytest.CaptureFixture[str]
    ) -> None:
        settings.MODEL_DIR = folder(tmp_path / "one")
        call_command("register_model")
        assert "In production: tumorsite 9" in capsys.readouterr().out
        settings.MODEL_DIR = tmp_path / "none"
        with pytest.raises(CommandError, match="no model in"):
            call_command("register_model")
