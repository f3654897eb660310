"""From an uploaded file to a stored scan and a queued prediction."""

from __future__ import annotations

import hashlib
import logging
import threading
import unicodedata
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import PureWindowsPath
from typing import TYPE_CHECKING, BinaryIO
from uuid import UUID

from django.conf import settings
from django.db import DatabaseError, transaction

from mltasks.images import Decoded, Limits, decode, encode_png
from predictions import storage
from predictions.ids import uuid7
from predictions.models import Prediction, Scan
from predictions.rendering import thumbnail_png
from predictions.services.lifecycle import blocking_runs, enqueue
from predictions.services.registry import production_model
from tumorsite.observability import tracing

if TYPE_CHECKING:
    from accounts.models import User

logger = logging.getLogger(__name__)

NAME_LENGTH = 120  # as in `Scan.name`
# A small file may hold a large picture, so memory has a bound only if these take turns.
_large_turn = threading.Lock()
LARGE_WAIT = 20.0


class BusyError(Exception):
    """Other large pictures are being read, and this one has waited long enough."""


@contextmanager
def turn_of_large() -> Iterator[None]:
    """Let this process read one large picture at a time, be it an upload or one for a report.

    Raises:
        BusyError: the others took too long.
    """
    if not _large_turn.acquire(timeout=LARGE_WAIT):
        raise BusyError
    try:
        yield
    finally:
        _large_turn.release()


def display_name(name: str) -> str:
    """The file's name as its owner sees it: no path, no control or direction marks.

    Django has already dropped unprintable characters from an upload's name, including no-break
    spaces and the marks that join emoji.
    """
    # Browsers write a quotation mark in this way.
    base = PureWindowsPath(name.replace("\0", "").replace("%22", '"')).name
    kept = "".join(
        " " if unicodedata.category(letter)[0] == "Z" else letter
        for letter in unicodedata.normalize("NFC", base)
        if unicodedata.category(letter) not in {"Cc", "Cf", "Cs", "Co", "Cn"}
    )
    kept = " ".join(kept.split())
    if len(kept) > NAME_LENGTH:
        kept = f"{kept[: NAME_LENGTH - 13]}…{kept[-12:]}"
    return kept


def _facts(picture: Decoded) -> Mapping[str, object]:
    """All that is kept of the file besides its pixels."""
    return {
        "format": picture.format,
        "orientation": picture.orientation,
        "stored_size": list(picture.stored_size),
        "colour": picture.pixels.ndim == 3,
    }


def _digest(picture: Decoded) -> str:
    """SHA-256 of size and pixels, whatever the file format was."""
    digest = hashlib.sha256(repr(picture.pixels.shape).encode())
    digest.update(picture.pixels.data)
    return digest.hexdigest()


def submit_scan(
    *, file: BinaryIO, name: str, owner: User | None = None, visitor: UUID | None = None
) -> Prediction:
    """Store one uploaded picture and queue its analysis.

    1. decode, check and keep nothing but the pixels;
    2. store the objects under the new scan's own id;
    3. record scan and prediction in one transaction;
    4. send the task on commit.

    A fault before 3 leaves no row; objects already written are removed, or found by the orphan
    check if the process ends there. A fault after 3 leaves a queued row, which the sweeper sends.

    Raises:
        mltasks.images.ImageError: the file cannot be used.
        BusyError: it is large, and so are others that came before.
        predictions.services.registry.NoModelError: no network is in production.
        predictions.storage.StorageUnavailableError: the object store is down.
    """
    with ExitStack() as held:
        return _submitted(file, name, owner, visitor, held)


def _submitted(
    file: BinaryIO, name: str, owner: User | None, visitor: UUID | None, held: ExitStack
) -> Prediction:
    model = production_model()
    picture = decode(
        file,
        Limits(max_bytes=settings.MAX_UPLOAD_BYTES, max_pixels=settings.MAX_PIXELS),
        before_large=lambda: held.enter_context(turn_of_large()),
    )
    scan = Scan(
        id=uuid7(),
        owner=owner,
        visitor=None if owner else visitor,
        name=display_name(name),
        sha256=_digest(picture),
        width=picture.width,
        height=picture.height,
        facts=_facts(picture),
    )
    scan.image_key = f"{scan.prefix}image.png"
    scan.thumbnail_key = f"{scan.prefix}thumbnail.png"
    try:
        storage.put(scan.image_key, encode_png(picture.pixels))
        storage.put(scan.thumbnail_key, thumbnail_png(picture.pixels))
        with transaction.atomic():
            scan.full_clean()
            scan.save(force_insert=True)
            prediction = Prediction.objects.create(scan=scan, model_version=model)
            tracing.keep(prediction.pk)
            enqueue(prediction.pk)
    except BaseException:
        _remove_unrecorded(scan)
        raise
    about = {"prediction_id": str(prediction.pk)}
    logger.info("scan %s queued as prediction %s", scan.pk, prediction.pk, extra=about)
    return prediction


def _remove_unrecorded(scan: Scan) -> None:
    """Remove the objects of a scan that did not become a record.

    The fault may have come just after the commit, and then the objects must stay. Where the
    database cannot tell, they stay as well, for the orphan check.
    """
    try:
        if not Scan.objects.filter(pk=scan.pk).exists():
            storage.delete_prefix(scan.prefix)
    except (storage.StorageUnavailableError, DatabaseError):
        logger.warning("objects of scan %s are left to the orphan check", scan.pk)


def run_again(*, prediction: Prediction) -> Prediction:
    """Queue a new run of the production model on the same scan.

    Returns the run that is there if this model has already answered the scan, or is about to.
    """
    model = production_model()
    with transaction.atomic():
        scan = Scan.objects.select_for_update().get(pk=prediction.scan_id, deleted_at__isnull=True)
        blocking = blocking_runs(scan, model).first()
        if blocking:
            return blocking
        again = Prediction.objects.create(scan=scan, model_version=model)
        tracing.keep(again.pk)
        enqueue(again.pk)
    return again
