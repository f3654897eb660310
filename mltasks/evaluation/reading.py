"""Reads any labelled set for evaluation, also one that knows less than the training data.

Needed are `id` and `label`; the label may also be `tumor`, for a tumour of unknown kind. Where
`group`, `plane`, `fold`, `source`, `has_mask` or `sha256` are not stated, each slice is a group
of its own, the source is what stands before the number in its id, a mask is looked for, and the
file's digest is not checked.
"""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from mltasks.classes import CLASSES
from mltasks.data import PICTURE_SUFFIXES, DataError, Record, Sample

TUMOR = "tumor"


def read_records(folder: Path, fold: int | None) -> list[Record]:
    """The slices of a manifest, or of one fold of it.

    Raises:
        DataError: the manifest is missing or malformed, or there are no such slices.
    """
    path = folder / "manifest.csv"
    try:
        with path.open(newline="", encoding="utf-8") as stream:
            rows = list(csv.DictReader(stream))
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"no data to evaluate: cannot read {path} ({error})") from None
    if not rows:
        raise DataError(f"{path} has no rows")
    missing = [column for column in ("id", "label") if column not in rows[0]]
    if missing:
        raise DataError(f"{path} lacks the columns {', '.join(missing)}")
    if fold is not None and "fold" not in rows[0]:
        raise DataError(f"{path} has no column fold: evaluate it without --fold")
    if fold is not None:
        rows = [row for row in rows if (row["fold"] or "").strip() == str(fold)]
        if not rows:
            raise DataError(f"{path}: the data has no slices in fold {fold}")
    return [_record(path, row) for row in rows]


def _record(path: Path, row: dict[str, str]) -> Record:
    identity, label = row["id"] or "", row["label"] or ""
    if label not in {*CLASSES, TUMOR}:
        raise DataError(
            f"{path}: unknown label {label!r} of {identity}; it must be one of "
            f"{', '.join((*CLASSES, TUMOR))}"
        )
    if not identity or Path(identity).name != identity:
        raise DataError(f"{path}: {identity!r} cannot be an id: it names the picture's file")
    stated = row.get("has_mask")
    has_mask = (
        (path.parent / "masks" / f"{identity}.png").exists() if stated is None else stated == "1"
    )
    return Record(
        id=identity,
        label=label,
        plane=row.get("plane") or "",
        fold=int(row["fold"]) if (row.get("fold") or "").isdigit() else 0,
        group=row.get("group") or identity,
        has_mask=has_mask,
        sha256=row.get("sha256") or "",
        source=row.get("source") or "",
    )


def _picture(folder: Path, record: Record) -> Path:
    images = folder / "images"
    for suffix in (".jpg", *sorted(PICTURE_SUFFIXES)):
        path = images / f"{record.id}{suffix}"
        if path.exists():
            return path
    raise DataError(f"the picture of {record.id} is missing in {images}")


def load(folder: Path, record: Record) -> Sample:
    """Decode one slice and its mask.

    Raises:
        DataError: a file is missing, damaged, not the manifest's, or the sizes differ.
    """
    path = _picture(folder, record)
    try:
        if record.sha256 and hashlib.sha256(path.read_bytes()).hexdigest() != record.sha256:
            raise DataError(f"{path} is not the file of the manifest: its digest differs")
        with Image.open(path) as image:
            pixels = np.array(image.convert("L"))
        mask = None
        if record.has_mask:
            path = folder / "masks" / f"{record.id}.png"
            with Image.open(path) as image:
                mask = np.array(image.convert("L"))
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise DataError(f"cannot read {path}: {error}") from None
    if mask is not None and mask.shape != pixels.shape:
        raise DataError(f"{path} has another size than its image")
    return Sample(record, pixels, mask)


def load_all(folder: Path, records: Sequence[Record]) -> Iterator[Sample]:
    """Decode them one after the other, so that one picture is in memory at a time."""
    for record in records:
        yield load(folder, record)
