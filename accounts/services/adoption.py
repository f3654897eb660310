"""A visitor's scans move to the account in which the visitor signs up or in."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

from django.db import transaction
from django.utils import timezone

from accounts.models import Adoption, User
from predictions.services.ownership import adopt

# Longer than any upload takes from its first byte to its row.
UPLOADS_END = timedelta(hours=1)


@transaction.atomic
def adopt_visitor(*, visitor: UUID, user: User) -> int:
    """Give a browser session's scans to `user`, now and for uploads that are still on their way.

    The first account that takes a session over keeps it, so doing this twice changes nothing.

    Returns:
        How many scans moved.
    """
    adoption, _ = Adoption.objects.get_or_create(visitor=visitor, defaults={"user": user})
    return adopt(visitor=visitor, user=adoption.user)


def adopt_late(*, visitor: UUID) -> int:
    """Move what a visitor's upload has stored after they had signed in."""
    adoption = Adoption.objects.select_related("user").filter(visitor=visitor).first()
    return adopt(visitor=visitor, user=adoption.user) if adoption else 0


def adopt_strays() -> int:
    """Move scans that were stored after their visitor had signed in, and forget old sessions."""
    moved = 0
    for adoption in Adoption.objects.select_related("user"):
        moved += adopt(visitor=adoption.visitor, user=adoption.user)
    Adoption.objects.filter(at__lt=timezone.now() - UPLOADS_END).delete()
    return moved
