"""The audit trail of pictures and reports that were handed out."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING
from uuid import UUID

from predictions.models import Access, Prediction, Scan

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


def record_export(*, scans: Iterable[Scan], user: User) -> None:
    """Write down who is about to receive all pictures of these scans: a line for each scan."""
    Access.objects.bulk_create(
        [Access(scan_id=scan.pk, kind="export", user=user) for scan in scans]
    )
