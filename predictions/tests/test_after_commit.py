"""A process that ends just after a commit. In a file of its own, as it empties the database."""

from __future__ import annotations

from typing import Any

import pytest

from predictions import storage
from predictions.models import Prediction, Status
from predictions.services import submission
from tests.support.records import make_model, submit

pytestmark = pytest.mark.data_layer


class ProcessEndedError(BaseException):
    """In place of the end of the process."""


def _end(*args: Any, **kwargs: Any) -> None:
    raise ProcessEndedError


@pytest.mark.django_db(transaction=True)
def test_an_end_just_after_the_commit_loses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    make_model()
    with monkeypatch.context() as patch:
        patch.setattr(submission, "enqueue", lambda pk: submission.transaction.on_commit(_end))
        with pytest.raises(ProcessEndedError):
            submit()
    row = Prediction.objects.select_related("scan").get()
    assert row.status == Status.QUEUED
    assert {name for name, _ in storage.walk("scans/")} == {
        row.scan.image_key,
        row.scan.thumbnail_key,
    }
