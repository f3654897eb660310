"""The audit trail of pictures and reports that were handed out."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

from predictions.models import Access, Prediction

if TYPE_CHECKING:
    from accounts.models import User


def record_access(
    *, prediction: Prediction, kind: str, user: User | None, visitor: UUID | None
) -> None:
    """Write down who is about to receive what."""
    Access.objects.create(
        scan_id=prediction.scan_id,
        prediction_id=prediction.pk,
        kind=kind,
        user=user,
        visitor=None if user else visitor,
    )
