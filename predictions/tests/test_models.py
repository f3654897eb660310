"""What the database itself refuses, and which network is in production."""

from __future__ import annotations

from uuid import uuid4

import pytest
from django.core.exceptions import ValidationError
from django.db import IntegrityError, connection, transaction
from django.db.models import ProtectedError
from django.utils import timezone

from predictions.models import Access, ModelVersion, Prediction, Review, Scan, Status
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

    def test_a_network_has_an_artifact(self) -> None:
        with pytest.raises(ValidationError) as refused:
            ModelVersion(name="t", version="4", digest="d" * 64).full_clean()
        assert "artifact" in refused.value.message_dict

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
