"""Whose scans are whose."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

from django.dispatch import Signal

from predictions.models import Scan

if TYPE_CHECKING:
    from accounts.models import User

# Sent with `visitor` once a scan of theirs is recorded: they may have signed in meanwhile.
stored = Signal()


def adopt(*, visitor: UUID, user: User) -> int:
    """Move the scans of a browser session to the account its visitor has signed in to."""
    return Scan.objects.filter(visitor=visitor).update(owner=user, visitor=None)
