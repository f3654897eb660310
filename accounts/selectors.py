"""What the site holds about a person."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any, TypeVar

from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from allauth.usersessions.models import UserSession
from django.db.models import Model, Prefetch, QuerySet

from accounts.models import User
from predictions.models import Access, Prediction, Review, Scan
from predictions.owners import Owner
from predictions.selectors import scans_of, with_model

CHUNK = 200
M = TypeVar("M", bound=Model)


def in_chunks(rows: QuerySet[M]) -> Iterator[list[M]]:
    """Rows, newest first, some hundred at a time.

    Each chunk is a query of its own: a cursor would stay open for as long as somebody downloads.
    """
    rest = rows
    while chunk := list(rest[:CHUNK]):
        yield chunk
        rest = rows.filter(pk__lt=chunk[-1].pk)


def exported_scans(user: User) -> Iterator[list[Scan]]:
    """The person's scans with their runs and the reviews of these, some hundred at a time."""
    runs = with_model(Prediction.objects.order_by("id"))
    scans = scans_of(Owner(user=user)).prefetch_related(
        Prefetch("predictions", runs), "predictions__reviews"
    )
    yield from in_chunks(scans)


def exported_facts(user: User) -> Iterator[dict[str, Any]]:
    """Each scan with its runs, their reviews, and who received what of it."""
    for scans in exported_scans(user):
        handed_out = defaultdict(list)
        for access in Access.objects.filter(scan_id__in=[scan.pk for scan in scans]).order_by("id"):
            handed_out[access.scan_id].append(access)
        for scan in scans:
            yield _scan_facts(scan, handed_out[scan.pk], user)


def account_facts(user: User) -> dict[str, Any]:
    """The account itself: addresses, second factors (without their secrets), sessions."""
    return {
        "email": user.email,
        "joined": user.date_joined,
        "last_sign_in": user.last_login,
        "staff": user.is_staff,
        "groups": list(user.groups.values_list("name", flat=True)),
        "addresses": list(
            EmailAddress.objects.filter(user=user).values("email", "verified", "primary")
        ),
        "second_factors": [
            {
                "kind": factor.type,
                "name": str(factor),
                "added": factor.created_at,
                "last_used": factor.last_used_at,
            }
            for factor in Authenticator.objects.filter(user=user)
        ],
        "sessions": list(
            UserSession.objects.filter(user=user).values(
                "created_at", "last_seen_at", "ip", "user_agent"
            )
        ),
        "reviews_written": [
            {"prediction": review.prediction_id, **_review_facts(review)}
            for review in Review.objects.filter(reviewer=user)
        ],
    }


def _scan_facts(scan: Scan, handed_out: list[Access], user: User) -> dict[str, Any]:
    return {
        **_fields(scan, "id", "name", "sha256", "modality", "width", "height", "facts"),
        "uploaded": scan.created_at,
        "predictions": [
            {
                **_fields(
                    run, "id", "status", "queued_at", "started_at", "finished_at", "label",
                    "probabilities", "prediction_set", "uncertainty", "ood_score",
                    "flagged", "committed", "area_fraction", "area_range", "bounding_box",
                    "hottest_point", "message",
                ),
                "model": str(run.model_version),
                "model_digest": run.model_version.digest,
                "reviews": [
                    {"by": _who(review.reviewer_id, user), **_review_facts(review)}
                    for review in run.reviews.all()
                ],
            }
            for run in scan.predictions.all()
        ],
        "handed_out": [
            {
                "at": access.at,
                "what": access.kind,
                "prediction": access.prediction_id,
                # As a visitor, before the scan moved to the account, it was the same person.
                "to": "you" if access.visitor else _who(access.user_id, user),
            }
            for access in handed_out
        ],
    }  # fmt: skip


def _fields(record: Scan | Prediction, *names: str) -> dict[str, Any]:
    return {name: getattr(record, name) for name in names}


def _who(user_id: int | None, user: User) -> str:
    return "you" if user_id == user.pk else "staff"


def _review_facts(review: Review) -> dict[str, Any]:
    return {
        "verdict": review.verdict,
        "label": review.corrected_label,
        "box": review.corrected_box,
        "comment": review.comment,
        "at": review.created_at,
    }
