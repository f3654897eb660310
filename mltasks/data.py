"""The training data: a folder with manifest.csv, images/<id>.jpg and masks/<id>.png."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from mltasks.classes import CLASSES
from mltasks.preprocessing import Pixels

_COLUMNS = ("id", "label", "plane", "fold", "group", "has_mask", "sha256")
PICTURE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"})


class DataError(ValueError):
    """The data folder is missing something; the message says what."""


@dataclass(frozen=True, slots=True)
class Record:
    """One slice, as the manifest describes it."""

    id: str
    label: str
    plane: str
    fold: int
    group: str
    has_mask: bool
    sha256: str
    source: str = ""

    @property
    def target(self) -> int:
        """Index of the label in `CLASSES`."""
        return CLASSES.index(self.label)


@dataclass(frozen=True, slots=True)
class Sample:
    """One slice in memory: uint8 (height, width), and a 0/255 mask of the same size if any."""

    record: Record
    pixels: Pixels
    mask: Pixels | None


def read_manifest(folder: Path) -> list[Record]:
    """Read and check the manifest.

    Raises:
        DataError: the folder, the file or a column is missing, or a row is malformed.
    """
    path = folder / "manifest.csv"
    try:
        with path.open(newline="", encoding="utf-8") as stream:
            rows = list(csv.DictReader(stream))
    except OSError as error:
        raise DataError(f"no training data: cannot read {path} ({error.strerror})") from None
    if not rows:
        raise DataError(f"{path} has no rows")
    missing = [column for column in _COLUMNS if column not in rows[0]]
    if missing:
        raise DataError(f"{path} lacks the columns {', '.join(missing)}")
    try:
        return [_record(row) for row in rows]
    except ValueError as error:
        raise DataError(f"{path}: {error}") from None


def _record(row: dict[str, str]) -> Record:
    if row["label"] not in CLASSES:
        raise ValueError(f"unknown label {row['label']!r} of {row['id']}")
    return Record(
        id=row["id"],
        label=row["label"],
        plane=row["plane"],
        fold=int(row["fold"]),
        group=row["group"],
        has_mask=row["has_mask"] == "1",
        sha256=row["sha256"],
    )


def data_digest(records: Iterable[Record]) -> str:
    """SHA-256 over the sorted lines `id label group sha256`: names exactly this data."""
    lines = sorted(f"{r.id} {r.label} {r.group} {r.sha256}\n" for r in records)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def load_sample(folder: Path, record: Record) -> Sample:
    """Decode one slice and its mask.

    Raises:
        DataError: a file is missing, damaged, not the manifest's, or the sizes differ.
    """
    path = folder / "images" / f"{record.id}.jpg"
    try:
        content = path.read_bytes()
        if hashlib.sha256(content).hexdigest() != record.sha256:
            raise DataError(f"{path} is not the file of the manifest: its digest differs")
        with Image.open(path) as image:
            pixels = np.array(image.convert("L"))
        mask = None
        if record.has_mask:
            with Image.open(folder / "masks" / f"{record.id}.png") as image:
                mask = np.array(image.convert("L"))
    except OSError as error:
        raise DataError(f"cannot read the image or mask of {record.id}: {error}") from None
    if mask is not None and mask.shape != pixels.shape:
        raise DataError(f"the mask of {record.id} has another size than its image")
    return Sample(record, pixels, mask)


def load_samples(folder: Path, records: Sequence[Record]) -> list[Sample]:
    """Decode all of them; see `load_sample`."""
    return [load_sample(folder, record) for record in records]


def picture_files(folder: Path) -> Iterator[Path]:
    """Every picture file below the folder, in a stable order."""
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in PICTURE_SUFFIXES and path.is_file():
            yield path
