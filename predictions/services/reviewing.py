"""Staff's readings of results."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from django.core.cache import cache
from django.db import transaction

from predictions.models import Prediction, Review, Status

if TYPE_CHECKING:
    from accounts.models import User


# How many results wait for a review, kept for a few seconds.
WAITING_KEY = "admin:waiting-for-review"


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
    _count_anew()
    return first


@transaction.atomic
def save_review(*, review: Review, reviewer: User) -> None:
    """Record a reading that somebody has written or changed; a new one is `reviewer`'s.

    Raises:
        django.db.IntegrityError: they have another reading of the same answer.
    """
    if review.pk is None:
        review.reviewer = reviewer
    review.save()
    _count_anew()


def _count_anew() -> None:
    """Have the results that wait counted again once the present transaction is committed."""
    transaction.on_commit(partial(cache.delete, WAITING_KEY))
