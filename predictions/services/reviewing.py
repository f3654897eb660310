"""Staff's readings of results."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db import transaction

from predictions.models import Prediction, Review, Status

if TYPE_CHECKING:
    from accounts.models import User


class NothingToReviewError(Exception):
    """The prediction has no answer."""


@transaction.atomic
def mark_reviewed(*, prediction: Prediction, reviewer: User) -> bool:
    """Record that `reviewer` agrees with an answer. Their earlier reading of it stands.

    Returns:
        Whether this is their first reading of it.

    Raises:
        NothingToReviewError: the prediction has no answer.
    """
    if prediction.status != Status.SUCCEEDED:
        raise NothingToReviewError
    _, first = Review.objects.get_or_create(prediction=prediction, reviewer=reviewer)
    return first
