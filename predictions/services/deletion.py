"""Deleting scans so that neither rows nor objects stay behind, whatever happens in between."""

from __future__ import annotations

import logging
from uuid import UUID

from django.db import DatabaseError, transaction
from django.db.models import QuerySet
from django.utils import timezone

from predictions import storage
from predictions.models import Scan
from predictions.queueing import ERASE, send_on_commit
from predictions.services.lifecycle import cancel_all

logger = logging.getLogger(__name__)


def delete_scans(*, scans: QuerySet[Scan]) -> int:
    """Hide scans from everyone at once, stop their runs, and have them erased.

    Objects are removed before the rows that name them, so a crash leaves rows marked as deleted,
    which the scheduled erasure finds again, and never an object that nobody knows of.
    """
    now = timezone.now()
    with transaction.atomic():
        ids = list(scans.filter(deleted_at__isnull=True).values_list("pk", flat=True))
        for start in range(0, len(ids), 500):
            some = ids[start : start + 500]
            Scan.objects.filter(pk__in=some).update(deleted_at=now)
            cancel_all(scan_ids=some)
        if ids:
            send_on_commit(ERASE)
    return len(ids)


def erase(*, scan_id: UUID) -> None:
    """Remove the objects of a deleted scan, then its rows.

    Raises:
        predictions.storage.StorageUnavailableError: some objects are still there; try again.
    """
    scan = Scan.objects.filter(pk=scan_id, deleted_at__isnull=False).first()
    if scan is None:
        return
    storage.delete_prefix(scan.prefix)
    scan.delete()
    logger.info("scan %s erased", scan_id)


def erase_deleted() -> int:
    """Erase every scan that is marked as deleted. One that cannot be erased now is left."""
    erased = 0
    marked = Scan.objects.filter(deleted_at__isnull=False).order_by("deleted_at")
    for pk in list(marked.values_list("pk", flat=True)):
        try:
            erase(scan_id=pk)
            erased += 1
        except (storage.StorageUnavailableError, DatabaseError) as error:
            logger.warning("scan %s could not be erased: %s", pk, error)
    return erased
