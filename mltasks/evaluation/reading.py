"""Reads any labelled set for evaluation, also one that knows less than the training data.

Needed are `id` and `label`; the label may also be `tumor`, for a tumour of unknown kind. Where
`group`, `plane`, `fold`, `source`, `has_mask` or `sha256` are not stated, each slice is a group
of its own, the source is what stands before the number in its id, a mask is looked for, and the
file's digest is not checked. Rows that say why they are `excluded` are left out, as in training.

Pictures are read as the site reads them: 16 bits fill the range of 8, and what a camera stored
turned is upright. So are masks, each by its own tag: one without a tag lies on the upright picture.
"""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from mltasks.classes import LABELS
from mltasks.data import (
    PICTURE_SUFFIXES,
    DataError,
    Record,
    Sample,
    is_file_name,
    mask_flag,
)
from mltasks.images import ImageError, decode
from mltasks.preprocessing import Pixels, to_grey

# Whoever evaluates knows the files: more than a visitor may send, less than fills the memory.
_MAX_BYTES, _MAX_PIXELS = 2**28, 100_000_000


def read_records(folder: Path, fold: int | None) -> list[Record]:
    """The slices of a manifest, or of one fold of it.

    Raises:
        DataError: the manifest is missing or malformed, or there are no such slices.
    """
    path = folder / "manifest.csv"
    try:
        with path.open(newline="", encoding="utf-8") as stream:
            rows = list(csv.DictReader(stream))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"no data to evaluate: cannot read {path} ({error})") from None
    if not rows:
        raise DataError(f"{path} has no rows")
    missing = [column for column in ("id", "label") if column not in rows[0]]
    if missing:
        raise DataError(f"{path} lacks the columns {', '.join(missing)}")
    if fold is not None and "fold" not in rows[0]:
        raise DataError(f"{path} has no column fold: evaluate it without --fold")
    rows = [row for row in rows if not row.get("excluded")]
    if not rows:
        raise DataError(f"{path}: every row is excluded, so there is nothing to evaluate")
    if fold is not None:
        rows = [row for row in rows if (row["fold"] or "").strip() == str(fold)]
        if not rows:
            raise DataError(f"{path}: the data has no slices in fold {fold}")
    return [_record(path, row) for row in rows]


def _record(path: Path, row: dict[str, str]) -> Record:
    identity, label = row["id"] or "", row["label"] or ""
    if label not in LABELS:
        raise DataError(
            f"{path}: unknown label {label!r} of {identity}; it must be one of {', '.join(LABELS)}"
        )
    if not is_file_name(identity):
        raise DataError(f"{path}: {identity!r} cannot be an id: it names the picture's file")
    file = row.get("file") or ""
    if file and not is_file_name(file):
        raise DataError(f"{path}: {file!r} of {identity} cannot be the name of a file; rename it")
    return Record(
        id=identity,
        label=label,
        plane=row.get("plane") or "",
        fold=int(row["fold"]) if (row.get("fold") or "").isdigit() else 0,
        group=row.get("group") or identity,
        has_mask=_has_mask(path, row.get("has_mask") or "", identity),
        sha256=row.get("sha256") or "",
        file=file,
        source=row.get("source") or "",
    )


def _has_mask(path: Path, stated: str, identity: str) -> bool:
    """Whether there is a mask: as the manifest says or, if it says nothing, by its file."""
    if not stated:
        return (path.parent / "masks" / f"{identity}.png").exists()
    try:
        return mask_flag(stated, identity)
    except ValueError as error:
        raise DataError(f"{path}: {error}") from None


def _picture(folder: Path, record: Record) -> Path:
    images = folder / "images"
    if record.file:
        return images / record.file
    for suffix in (".jpg", *sorted(PICTURE_SUFFIXES)):
        path = images / f"{record.id}{suffix}"
        if path.exists():
            return path
    raise DataError(f"the picture of {record.id} is missing in {images}")


def _read(path: Path, sha256: str = "") -> Pixels:
    """A file's grey pixels, uint8 (height, width), upright."""
    try:
        content = path.read_bytes()
        if sha256 and hashlib.sha256(content).hexdigest() != sha256:
            raise DataError(f"{path} is not the file of the manifest: its digest differs")
        picture = decode(content, max_bytes=_MAX_BYTES, max_pixels=_MAX_PIXELS)
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from None
    except ImageError as error:
        raise DataError(f"cannot read {path}: {error.message}") from None
    return np.array(to_grey(picture.pixels))


def load(folder: Path, record: Record) -> Sample:
    """Decode one slice and its mask.

    Raises:
        DataError: a file is missing, damaged, not the manifest's, or the sizes differ.
    """
    pixels = _read(_picture(folder, record), record.sha256)
    if not record.has_mask:
        return Sample(record, pixels, None)
    path = folder / "masks" / f"{record.id}.png"
    mask = _read(path)
    if mask.shape != pixels.shape:
        (height, width), (rows, columns) = mask.shape, pixels.shape
        raise DataError(
            f"{path} has another size than its image: {width}×{height} instead of {columns}×{rows}"
        )
    return Sample(record, pixels, mask)


def load_all(folder: Path, records: Sequence[Record]) -> Iterator[Sample]:
    """Decode them one after the other, so that one picture is in memory at a time."""
    for record in records:
        yield load(folder, record)
