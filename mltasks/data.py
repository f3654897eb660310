"""Labelled data: a folder with manifest.csv, images/ and masks/<id>.png.

`read_manifest` reads what can be trained on. `read_records` reads any labelled set for evaluation,
also one that knows less: needed are `id` and `label`, and the label may also be `tumor`, for a
tumour of unknown kind.

A manifest may have more columns; `mltasks.datasets.form` describes them. Those that matter here:
`file`, the image's name if it is not `<id>` with a picture's suffix, and `excluded`, why a row
must not be used.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mltasks.classes import CLASSES, NO_TUMOR, TUMOR
from mltasks.images import Decoded, ImageError, Limits, decode, orient
from mltasks.manifest import IMPORT, MANIFEST, Checked, DataError, parse_row, read_rows
from mltasks.preprocessing import Pixels, to_grey

REQUIRED = ("id", "label", "plane", "fold", "group", "has_mask", "sha256")
# Whoever has the data knows its files: more than a visitor may send, less than fills the memory.
FILE_LIMITS = Limits(max_bytes=2**28, max_pixels=100_000_000)
# What to do about a file that is missing or not as it should be.
MEND = (
    "restore it, or exclude its row and import anew (docs/data.md, “Mend or take out what it "
    "shows”)"
)
# A mask of no more values than this, none of them higher, is one of labels.
_MOST_LABELS, _HIGHEST_LABEL = 16, 127
PICTURE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"})


@dataclass(frozen=True, slots=True)
class Record:
    """One slice, as the manifest describes it.

    Attributes:
        group: as stated; else the slices of a patient are one or, without `patient`, each slice.
        sha256: of the image's file; empty if nothing states it.
        file: name of the image below images/; empty if nothing states it, see `image_path`.
        source: name of the collection it came from.
        mask_sha256: of the mask's file; empty if nothing states it.
    """

    id: str
    label: str
    plane: str
    fold: int
    group: str
    has_mask: bool
    sha256: str
    file: str = ""
    source: str = ""
    mask_sha256: str = ""

    @property
    def target(self) -> int:
        """Index of the label in `CLASSES`.

        Raises:
            ValueError: the label is "tumor", which is no class.
        """
        return CLASSES.index(self.label)


@dataclass(frozen=True, slots=True)
class Sample:
    """One slice in memory: uint8 (height, width), and a 0/255 mask of the same size if any."""

    record: Record
    pixels: Pixels
    mask: Pixels | None


def read_manifest(folder: Path) -> list[Record]:
    """Read and check the manifest. Rows that were excluded are left out.

    So are tumours of no stated kind, of which nothing can be learnt; see `unnamed_tumors`.

    Raises:
        DataError: the folder, the file or a column is missing, a row is malformed or in no fold
            or group, or the manifest is not the one that dataset.json names.
    """
    path, seen = folder / MANIFEST, set[str]()
    rows = _in_use(folder)
    try:
        checked = [(row, parse_row(row, seen)) for row in rows]
        known = [(row, own) for row, own in checked if row["label"] != TUMOR]
        if rows and not known:
            raise ValueError(
                "every row is a tumour of no stated kind: the data can be audited and serve to "
                "evaluate tumour or none, but not to train"
            )
        for row, own in known:
            if own.fold is None:
                raise ValueError(
                    f"{row['id']} is in no fold: split the data with manage.py dataset split"
                )
            if not row["group"]:
                raise ValueError(
                    f"{row['id']} is in no group: split the data with manage.py dataset split"
                )
        return [_record(row, own) for row, own in known]
    except ValueError as error:
        raise DataError(f"{path}: {error}") from None


def unnamed_tumors(folder: Path) -> int:
    """How many slices of the manifest show a tumour of no stated kind.

    Raises:
        DataError: the manifest cannot be read.
    """
    return sum(row["label"] == TUMOR for row in _in_use(folder))


def _in_use(folder: Path) -> list[dict[str, str]]:
    """The rows of the manifest that were not excluded."""
    rows = read_rows(folder, REQUIRED, absent="no training data", remedy=IMPORT)
    return [row for row in rows if not row.get("excluded")]


def read_records(folder: Path, fold: int | None) -> list[Record]:
    """The slices of a manifest, or of one fold of it, for evaluation.

    Rows that were excluded are left out. Where `has_mask` is not stated, a mask is looked for.

    Raises:
        DataError: the manifest is missing, malformed or not the one that dataset.json names, or
            there are no such slices.
    """
    path = folder / MANIFEST
    rows = read_rows(folder, ("id", "label"), absent="no data to evaluate", remedy=IMPORT)
    if fold is not None and "fold" not in rows[0]:
        raise DataError(f"{path} has no column fold: evaluate it without --fold")
    rows = [_with_has_mask(folder, row) for row in rows if not row.get("excluded")]
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


def _with_has_mask(folder: Path, row: dict[str, str]) -> dict[str, str]:
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


def data_digest(records: Iterable[Record]) -> str:
    """SHA-256 over the sorted lines `id label group sha256`: names exactly these slices.

    Their masks have a digest of their own, `masks_digest`: who has learnt from these slices has
    done so whatever masks they have by now.
    """
    lines = sorted(f"{r.id} {r.label} {r.group} {r.sha256}\n" for r in records)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def masks_digest(folder: Path, records: Iterable[Record]) -> str:
    """SHA-256 over the sorted lines `id sha256` of the masks' files; empty if there are none.

    Raises:
        DataError: a mask cannot be read.
    """
    found = ((record.id, mask_path(folder, record)) for record in records)
    lines = sorted(f"{name} {file_digest(path)}\n" for name, path in found if path is not None)
    return hashlib.sha256("".join(lines).encode()).hexdigest() if lines else ""


def file_digest(path: Path) -> str:
    """SHA-256 of a file.

    Raises:
        DataError: it cannot be read.
    """
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}; {MEND}") from None


def with_digest(folder: Path, record: Record) -> Record:
    """The record with its image's digest: as stated or, where nothing is, that of the file.

    Raises:
        DataError: the file cannot be read.
    """
    if record.sha256:
        return record
    return replace(record, sha256=file_digest(image_path(folder, record)))


def load_sample(folder: Path, record: Record) -> Sample:
    """Decode one slice of a data folder, and its mask, as the site reads them.

    16 bits fill the range of 8, and what a camera stored turned is upright. So are masks, each by
    its own tag: one without a tag lies on the upright picture. One that marks nothing is none: it
    says that nobody has outlined the tumour, not that there is none.

    Args:
        record: the digests it states are checked.

    Raises:
        DataError: a file is missing, damaged, not the manifest's, or the sizes differ; or the mask
            marks a tumour where the manifest says that there is none.
    """
    _, picture = _read(image_path(folder, record), record.sha256)
    mask = mask_path(folder, record)
    pixels = np.array(to_grey(picture.pixels))
    if mask is None:
        return Sample(record, pixels, None)
    area = marked(*_read(mask, record.mask_sha256))
    if area.shape != pixels.shape:
        (height, width), (rows, columns) = area.shape, pixels.shape
        raise DataError(
            f"{mask} has another size than its image: {width}×{height} instead of "
            f"{columns}×{rows}; {MEND}"
        )
    if not area.any():
        return Sample(record, pixels, None)
    if record.label == NO_TUMOR:
        raise DataError(
            f"{mask} marks a tumour, but the manifest says {NO_TUMOR}: change the label, set "
            "has_mask 0, or exclude the row"
        )
    return Sample(record, pixels, np.where(area, np.uint8(255), np.uint8(0)))


def marked(content: bytes, picture: Decoded) -> NDArray[np.bool_]:
    """Where a mask's file says tumour: bool (height, width), upright.

    A few small values, up to 127, are labels, of which 0 is the background and any other tumour.
    All else is shades, 0 to 255 or less, of which the brighter half is tumour. So whatever is not
    all zero marks something.

    Of a palette with colours, entry 0 is the background and any other tumour: the colours are for
    people, and the first may be a dark red. A palette of greys is a picture like any other; tools
    that make files smaller write it, with white as entry 0 if they like.

    Args:
        content: of the file.
        picture: what `decode` has read from it.
    """
    with Image.open(io.BytesIO(content)) as image:
        area = _area_as_stored(image)
    if area is None:
        return _area(to_grey(picture.pixels))
    # As in decoding: Pillow turns TIFF upright by itself.
    turn = 1 if picture.format == "TIFF" else picture.orientation
    return np.asarray(orient(area.astype(np.uint8), turn) > 0)


def _area(values: NDArray[Any]) -> NDArray[np.bool_]:
    """Which of a mask's values, 0 or more, mean tumour."""
    highest = values.max()
    # Tools write 0 and 1, or a number for each kind of tissue; JPEG leaves shades between.
    is_labels = highest <= _HIGHEST_LABEL and len(np.unique(values)) <= _MOST_LABELS
    return np.asarray(values > (0 if is_labels else highest / 2))


def _area_as_stored(image: Image.Image) -> NDArray[np.bool_] | None:
    """Where a mask says tumour by values that decoding changes; None if it changes none.

    These are more than 8 bits, whose range it stretches, and entries of a palette with colours.
    """
    if image.mode.startswith(("I", "F")):
        return _area(np.maximum(np.nan_to_num(np.asarray(image)), 0))
    labels = _labels(image)
    return None if labels is None else np.asarray(labels > 0)


def _labels(image: Image.Image) -> Pixels | None:
    """The entries that a picture has of a palette with colours; None if it has none."""
    if image.mode != "P":
        return None
    entries = np.asarray(image)
    palette = np.array(image.getpalette("RGB")).reshape(-1, 3)
    used = np.unique(entries)
    return entries if np.ptp(palette[used[used < len(palette)]], axis=1).any() else None


def _read(path: Path, sha256: str) -> tuple[bytes, Decoded]:
    """A file's content, and the picture in it."""
    try:
        content = path.read_bytes()
        if sha256 and hashlib.sha256(content).hexdigest() != sha256:
            raise DataError(f"{path} is not the file of the manifest: its digest differs; {MEND}")
        return content, decode(content, FILE_LIMITS)
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}; {MEND}") from None
    except ImageError as error:
        raise DataError(f"cannot read {path}: {error.message} – {MEND}") from None


def image_path(folder: Path, record: Record) -> Path:
    """Where the image of a slice lies: as stated, else under its id with any picture's suffix.

    Raises:
        DataError: nothing is stated, and there is no such file.
    """
    images = folder / "images"
    if record.file:
        return images / record.file
    for suffix in (".jpg", *sorted(PICTURE_SUFFIXES)):
        path = images / f"{record.id}{suffix}"
        if path.exists():
            return path
    raise DataError(f"the picture of {record.id} is missing in {images}; {MEND}")


def mask_path(folder: Path, record: Record) -> Path | None:
    """Where the mask of a slice lies, if it has one."""
    return folder / "masks" / f"{record.id}.png" if record.has_mask else None


def load_samples(folder: Path, records: Sequence[Record]) -> list[Sample]:
    """Decode all of them; see `load_sample`."""
    return [load_sample(folder, record) for record in records]


def picture_files(folder: Path) -> Iterator[Path]:
    """Every picture file below the folder, in a stable order."""
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in PICTURE_SUFFIXES and path.is_file():
            yield path
