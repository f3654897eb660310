"""What keeps jobs from being lost or stuck, and storage from filling with what nobody owns."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from datetime import timedelta
from uuid import UUID

from django.conf import settings
from django.core.cache import cache
from django.db.models import Prefetch
from django.utils import timezone

from predictions import storage
from predictions.ids import first_uuid7
from predictions.models import (
    RESULT_PICTURES,
    SCAN_PICTURES,
    Access,
    ModelVersion,
    Prediction,
    Scan,
    Status,
)
from predictions.queueing import Queue, messages_waiting
from predictions.services import artifacts, lifecycle
from predictions.services.deletion import delete_scans
from predictions.services.registry import NoModelError, production_model

logger = logging.getLogger(__name__)

# Younger objects may belong to an upload whose row is about to be written.
ORPHAN_AGE = timedelta(hours=1)
# A folder of a network is large, and may be sent over a slow line.
MODEL_ORPHAN_AGE = timedelta(days=1)
# More unrecorded objects at once, and hardly a recorded one among them, are no orphans: the store
# is another database's, or the database is yet to be restored.
MOST_ORPHANS = 100
# In a healthy queue a row is claimed long before this.
PATIENCE = timedelta(seconds=5)
# When the sweeper last went through.
SWEPT_KEY = "sweep:last"
# Where the check for orphans goes on. If the cache has lost it, the check starts over.
LAST_KEY, LAST_SCAN = "orphans:key", "orphans:scan"
# Where /health/ writes, reads and removes an object of its own.
HEALTH = "health/"
# Fields of records that name objects.
SCAN_KEYS = tuple(f"{kind}_key" for kind in SCAN_PICTURES)
RESULT_KEYS = tuple(f"{kind}_key" for kind in RESULT_PICTURES)


def sweep() -> None:
    """Set every stuck row going again.

    1. Rows claimed longer ago than the hard limit of a task go to another attempt: the task that
       held them has ended without recording anything.
    2. Queued rows of a retired model go to the model in production.
    3. If fewer messages wait than rows, the broker has lost some: those are sent again.
    """
    now = timezone.now()
    silent = now - timedelta(seconds=settings.TASK_HARD_LIMIT)
    for row in Prediction.objects.filter(status=Status.RUNNING, heartbeat_at__lt=silent):
        lifecycle.requeue(prediction=row)
    try:
        lifecycle.reassign_queued(to=production_model())
    except NoModelError:
        logger.error("no model is in production; queued predictions wait")
        return
    waiting = Prediction.objects.filter(
        lifecycle.due(now),
        status=Status.QUEUED,
        queued_at__lt=now - PATIENCE,
    ).order_by("id")
    [messages] = messages_waiting(Queue.INFERENCE)
    missing = waiting.count() - messages
    for pk in list(waiting.values_list("pk", flat=True)[: max(0, missing)]):
        lifecycle.enqueue(pk)
    if missing > 0:
        logger.warning("%d lost messages were sent again", missing)
    cache.set(SWEPT_KEY, time.time(), None)


def expire_anonymous(*, chunk: int = 1000) -> int:
    """Delete visitors' scans after the retention time, for as long as this task has time.

    Args:
        chunk: scans deleted in one transaction; others write meanwhile.
    """
    limit = timezone.now() - timedelta(days=settings.ANONYMOUS_RETENTION_DAYS)
    # Ids are in the order of time, and have an index.
    stale = Scan.objects.filter(
        owner__isnull=True, deleted_at__isnull=True, pk__lt=first_uuid7(limit)
    ).order_by("pk")
    expired, hidden = _deadline(settings.TASK_SOFT_LIMIT / 2), 0
    while not expired() and (ids := list(stale.values_list("pk", flat=True)[:chunk])):
        # An owner may have come to them since.
        hidden += delete_scans(scans=stale.filter(pk__in=ids))
    return hidden


def expire_accesses(*, chunk: int = 1000) -> int:
    """Delete audit rows older than the retention time, for as long as this task has time.

    Args:
        chunk: rows deleted at once; others write to the table meanwhile.
    """
    limit = timezone.now() - timedelta(days=settings.ACCESS_RETENTION_DAYS)
    old = Access.objects.filter(at__lt=limit).order_by("at")
    expired, removed = _deadline(settings.TASK_SOFT_LIMIT / 2), 0
    while not expired() and (ids := list(old.values_list("pk", flat=True)[:chunk])):
        removed += Access.objects.filter(pk__in=ids).delete()[0]
    return removed


def _recorded_keys(scan_ids: list[UUID]) -> set[str]:
    keys: set[str] = set()
    for row in Scan.objects.filter(pk__in=scan_ids).values_list(*SCAN_KEYS):
        keys.update(row)
    predictions = Prediction.objects.filter(scan_id__in=scan_ids)
    for names in predictions.values_list(*RESULT_KEYS):
        keys.update(names)
    return keys


def _scan_id(key: str) -> UUID | None:
    try:
        return UUID(key.split("/")[1])
    except (IndexError, ValueError):
        return None


def _delete_unrecorded(keys: list[str]) -> int:
    recorded = _recorded_keys([pk for key in keys if (pk := _scan_id(key))])
    orphans = [key for key in keys if key not in recorded]
    if len(orphans) > max(MOST_ORPHANS, 0.9 * len(keys)):
        logger.error(
            "%d of %d objects have no record, as if this were not their database: none is removed. "
            "Is it yet to be restored, or are DATABASE_URL and the store of different sites?",
            len(orphans),
            len(keys),
        )
        return 0
    for key in orphans:
        storage.delete(key)
    return len(orphans)


def _deadline(seconds: float) -> Callable[[], bool]:
    """A function that returns whether so many seconds have passed."""
    end = time.monotonic() + seconds
    return lambda: time.monotonic() > end


def _delete_orphans(chunk: int, expired: Callable[[], bool]) -> int:
    """Remove old objects that no record names, going on where the last check ran out of time."""
    limit = timezone.now() - ORPHAN_AGE
    removed, keys = 0, []
    for key, changed in storage.walk("scans/", after=cache.get(LAST_KEY, "")):
        if changed < limit:
            keys.append(key)
        if len(keys) >= chunk:
            removed += _delete_unrecorded(keys)
            keys = []
        if expired():
            cache.set(LAST_KEY, key, None)
            return removed + _delete_unrecorded(keys)
    cache.delete(LAST_KEY)
    return removed + _delete_unrecorded(keys)


def _delete_health_objects() -> int:
    """Remove the objects of health checks that were killed before they could."""
    limit = timezone.now() - ORPHAN_AGE
    left = [key for key, changed in storage.walk(HEALTH) if changed < limit]
    for key in left:
        storage.delete(key)
    return len(left)


def _missing(scan: Scan) -> list[str]:
    """A sentence for each object of a scan and its results that is gone from the store."""
    # One listing: to ask for each object by itself would be up to half a dozen requests a result.
    stored = {key for key, _ in storage.walk(scan.prefix)}
    named: list[tuple[Scan | Prediction, tuple[str, ...]]] = [(scan, SCAN_KEYS)]
    named += [(run, RESULT_KEYS) for run in scan.predictions.all()]
    return [
        f"{record} has lost its {field.removesuffix('_key')}"
        for record, fields in named
        for field in fields
        if (key := getattr(record, field)) and key not in stored
    ]


def _count_missing(chunk: int, expired: Callable[[], bool]) -> int:
    """Count the objects of scans that are gone, going on where the last check ran out of time."""
    scans = Scan.objects.filter(deleted_at__isnull=True).order_by("pk")
    after = cache.get(LAST_SCAN)
    if after:
        scans = scans.filter(pk__gt=after)
    runs = Prediction.objects.only("scan", *RESULT_KEYS)
    read = scans.only(*SCAN_KEYS).prefetch_related(Prefetch("predictions", runs))
    lost = 0
    for scan in read.iterator(chunk_size=chunk):
        missing = _missing(scan)
        # It may have been deleted since it was read.
        if missing and scans.filter(pk=scan.pk).exists():
            lost += len(missing)
            for words in missing:
                logger.error("%s", words)
        if expired():
            cache.set(LAST_SCAN, scan.pk, None)
            return lost
    cache.delete(LAST_SCAN)
    return lost


def _delete_orphan_models() -> int:
    """Remove what unfinished uploads of networks left long ago."""
    removed = 0
    for artifact, changed in list(artifacts.stored()):
        old = changed < timezone.now() - MODEL_ORPHAN_AGE
        if old and not ModelVersion.objects.filter(artifact=artifact).exists():
            removed += artifacts.remove(artifact)
    return removed


def _count_missing_models() -> int:
    """Count the networks whose files are gone."""
    stored = {artifact for artifact, _ in artifacts.stored()}
    lost = 0
    for version in ModelVersion.objects.exclude(artifact=""):
        # Registered since the store was looked through, perhaps.
        if version.artifact not in stored and not artifacts.is_listed(version.artifact):
            lost += 1
            logger.error("the files of network %s are gone from the store", version)
    return lost


def check_orphans(*, chunk: int = 500, seconds: float | None = None) -> dict[str, int]:
    """Compare storage with records, both ways.

    Objects that no record names are removed once they are old enough. Objects that a record names
    but that are gone cannot be mended, so they are counted and logged for the operator.

    Args:
        seconds: how long it may take; the next check goes on where this one stops.
    """
    share = (settings.TASK_SOFT_LIMIT if seconds is None else seconds) / 3
    removed = (
        _delete_health_objects()
        + _delete_orphan_models()
        + _delete_orphans(chunk, _deadline(share))
    )
    lost = _count_missing_models() + _count_missing(chunk, _deadline(share))
    if removed:
        logger.warning("%d orphaned objects were removed", removed)
    return {"removed": removed, "lost": lost}
