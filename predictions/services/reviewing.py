"""Staff's readings of results."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING
from uuid import UUID

from django.core.cache import cache
from django.db import transaction
from django.db.models import QuerySet

from predictions.models import Prediction, Review, Status

if TYPE_CHECKING:
    from accounts.models import User


# How many results wait for a review, kept for a few seconds.
WAITING_KEY = "admin:waiting-for-review"
# Who has a result open in order to read it: until the reading is saved, or for so long.
OPEN_SECONDS = 600
# Results of which one is offered. There are fewer reviewers than that at a time.
OFFERED = 20


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


@transaction.atomic
def withdraw_reviews(*, reviews: QuerySet[Review]) -> None:
    """Delete readings. A result of which none is left waits for one again."""
    reviews.delete()
    _count_anew()


def take_up(*, prediction: Prediction, reviewer: User) -> None:
    """Note that `reviewer` has a result open, unless somebody else had it open before."""
    cache.add(_open_key(prediction.pk), reviewer.pk, OPEN_SECONDS)


def next_to_review(*, rows: QuerySet[Prediction], reviewer: User) -> UUID | None:
    """The first of `rows` that nobody else has open, so that two reviewers do not read the same.

    If others have all of them open, the first. None if there is none.
    """
    first = list(rows.values_list("pk", flat=True)[:OFFERED])
    taken = cache.get_many([_open_key(pk) for pk in first])
    free = (pk for pk in first if taken.get(_open_key(pk), reviewer.pk) == reviewer.pk)
    return next(free, first[0] if first else None)


def _open_key(prediction_id: UUID) -> str:
    return f"admin:open-for-review:{prediction_id}"


def _count_anew() -> None:
    """Have the results that wait counted again once the present transaction is committed."""
    transaction.on_commit(partial(cache.delete, WAITING_KEY))
