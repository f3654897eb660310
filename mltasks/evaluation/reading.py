"""Reads any labelled set for evaluation, also one that knows less than the training data.

Needed are `id` and `label`; the label may also be `tumor`, for a tumour of unknown kind. Where
`group`, `plane`, `fold`, `source`, `has_mask` or `sha256` are not stated, the slices of a patient
are a group or, without `patient`, each slice is one of its own, the source is what stands before
the number in its id, a mask is looked for, and the file's digest is not checked. Rows that say why
they are `excluded` are left out, as in training.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from mltasks.data import (
    MEND,
    PICTURE_SUFFIXES,
    DataError,
    Record,
    Sample,
    decode_sample,
    mask_path,
)
from mltasks.manifest import MANIFEST, Checked, parse_row, read_rows


def read_records(folder: Path, fold: int | None) -> list[Record]:
    """The slices of a manifest, or of one fold of it.

    Raises:
        DataError: the manifest is missing, malformed or not the one that dataset.json names, or
            there are no such slices.
    """
    path = folder / MANIFEST
    rows = read_rows(folder, ("id", "label"), absent="no data to evaluate")
    if fold is not None and "fold" not in rows[0]:
        raise DataError(f"{path} has no column fold: evaluate it without --fold")
    rows = [_filled(folder, row) for row in rows if not row.get("excluded")]
    if not rows:
        raise DataError(f"{path}: every row is excluded, so there is nothing to evaluate")
    seen = set[str]()
    try:
        checked = [(row, parse_row(row, seen)) for row in rows]
    except ValueError as error:
        raise DataError(f"{path}: {error}") from None
    if fold is not None:
        checked = [(row, own) for row, own in checked if own.fold == fold]
        if not checked:
            raise DataError(f"{path}: the data has no slices in fold {fold}")
    return [_record(row, own) for row, own in checked]


def _filled(folder: Path, row: dict[str, str]) -> dict[str, str]:
    """The row with has_mask stated: if the manifest says nothing, by the file."""
    if row.get("has_mask", "") != "":
        return row
    return {**row, "has_mask": str(int((folder / "masks" / f"{row['id']}.png").exists()))}


def _record(row: dict[str, str], checked: Checked) -> Record:
    return Record(
        id=row["id"],
        label=row["label"],
        plane=row.get("plane", ""),
        fold=checked.fold or 0,
        group=row.get("group") or _of_patient(row) or row["id"],
        has_mask=checked.has_mask,
        sha256=row.get("sha256", ""),
        file=row.get("file", ""),
        source=row.get("source", ""),
        mask_sha256=row.get("mask_sha256", ""),
    )


def _of_patient(row: dict[str, str]) -> str:
    """A group for each patient of a source: "1" is the first patient of many."""
    patient = row.get("patient")
    return f"patient {patient} of {row.get('source') or 'this set'}" if patient else ""


def _picture(folder: Path, record: Record) -> Path:
    images = folder / "images"
    if record.file:
        return images / record.file
    for suffix in (".jpg", *sorted(PICTURE_SUFFIXES)):
        path = images / f"{record.id}{suffix}"
        if path.exists():
            return path
    raise DataError(f"the picture of {record.id} is missing in {images}; {MEND}")


def load(folder: Path, record: Record) -> Sample:
    """Decode one slice and its mask; see `mltasks.data.decode_sample`."""
    return decode_sample(record, _picture(folder, record), mask_path(folder, record))


def load_all(folder: Path, records: Sequence[Record]) -> Iterator[Sample]:
    """Decode them one after the other, so that one picture is in memory at a time."""
    for record in records:
        yield load(folder, record)
