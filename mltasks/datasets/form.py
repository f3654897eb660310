"""The form that data has inside the project.

A folder with

- `images/` and, for slices that have one, `masks/<id>.png` (0/255, of the image's size);
- `manifest.csv`, a row for each image, columns as in `COLUMNS`. Only `data.REQUIRED` must be
  there, so that plain manifests of older data can be read as they are;
- `dataset.json`: name, licence, citation, source, the manifest's digest, how it was split.

The digest of a data set is the SHA-256 of manifest.csv. As the manifest holds the digests of
all images and masks, it names every byte that a network can learn from.
"""

from __future__ import annotations

import csv
import hashlib
import hmac
import io
import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from mltasks.data import REQUIRED, DataError
from mltasks.drafts import replacing
from mltasks.manifest import (
    FORMAT,
    IMPORT,
    INFO,
    MANIFEST,
    NEXT,
    PARTED,
    RowError,
    finish_replacement,
    mismatch,
    parse_row,
    parted_otherwise,
    read_info,
    read_table,
    whole_number,
)
from mltasks.progress import Tick, silent

COLUMNS = (
    *("id", "label", "plane", "fold", "group", "width", "height", "has_mask", "sha256"),
    # SHA-256 of the mask's file; name of the image's file below images/.
    *("mask_sha256", "file"),
    # The collection; its licence; the patient's pseudonym; the part (train, test) in which it was
    # published; its path below the folder it was imported from; why it must not be used.
    *("source", "licence", "patient", "part", "origin", "excluded"),
)
# Why a split has excluded an image: its group lies in several of the existing folds.
BRIDGE = "its group lies in several folds"
_PSEUDONYM = 16

# Starts a progress bar for a number of steps and gives the function that advances it.
Progress = Callable[[str, int], AbstractContextManager[Tick]]


def no_progress(what: str, total: int) -> AbstractContextManager[Tick]:
    """Shows no progress."""
    return nullcontext(silent)


@dataclass(frozen=True, slots=True)
class Row:
    """One image; the fields are those of `COLUMNS`.

    Attributes:
        fold: None if it is in none.
        extra: further columns of the manifest, kept as they are.
    """

    id: str
    label: str
    sha256: str
    plane: str = ""
    fold: int | None = None
    group: str = ""
    width: int = 0
    height: int = 0
    has_mask: bool = False
    mask_sha256: str = ""
    file: str = ""
    source: str = ""
    licence: str = ""
    patient: str = ""
    part: str = ""
    origin: str = ""
    excluded: str = ""
    extra: Mapping[str, str] = field(default_factory=dict)

    @property
    def grouped(self) -> bool:
        """Whether a split puts it into a group: unless it was excluded for a reason of its own."""
        return self.excluded in {"", BRIDGE}

    @property
    def image(self) -> str:
        """Path of the image below the folder."""
        return f"images/{self.file or self.id + '.jpg'}"

    @property
    def mask(self) -> str:
        """Path of the mask below the folder, whether or not there is one."""
        return f"masks/{self.id}.png"

    def cells(self) -> dict[str, str]:
        """The row as the manifest has it."""
        cells = {name: str(getattr(self, name)) for name in COLUMNS}
        cells["fold"] = "" if self.fold is None else str(self.fold)
        cells["has_mask"] = str(int(self.has_mask))
        for side in ("width", "height"):
            cells[side] = cells[side] if getattr(self, side) else ""
        return {**self.extra, **cells}


@dataclass(frozen=True, slots=True)
class Fault:
    """Something wrong with one file or row, in words that say what to do.

    Attributes:
        reason: the message in words that are the same for all files and rows of which it is true;
            empty where it has none of its own.
    """

    kind: str
    where: str
    message: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Dataset:
    """A folder in the project's form.

    Attributes:
        info: the content of dataset.json; empty if there is none.
        digest: SHA-256 of manifest.csv, as hexadecimal digits.
        faults: rows that cannot be used, and whatever is inconsistent.
    """

    folder: Path
    rows: Sequence[Row]
    info: Mapping[str, Any]
    digest: str
    faults: Sequence[Fault]

    @property
    def name(self) -> str:
        return str(self.info.get("name") or self.folder.resolve().name)


def read_dataset(folder: Path) -> Dataset:
    """Read a data folder; rows that cannot be used are left out and become faults.

    Raises:
        DataError: there is no manifest, or it is no such table.
    """
    finish_replacement(folder)
    path = folder / MANIFEST
    content, table = read_table(
        path,
        REQUIRED,
        absent="no data set",
        remedy=IMPORT,
    )
    rows, faults, seen = list[Row](), list[Fault](), set[str]()
    for number, cells in enumerate(table, start=2):
        where = f"{MANIFEST}, line {number}"
        try:
            rows.append(_row(cells, seen))
        except RowError as error:
            faults.append(Fault("manifest", where, str(error), error.reason))
        except ValueError as error:
            faults.append(Fault("manifest", where, str(error)))
    info = read_info(folder)
    if why := mismatch(info, content):
        faults.append(Fault("digest", MANIFEST, why))
    return Dataset(folder, rows, info, hashlib.sha256(content).hexdigest(), faults)


def collections(info: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The collections that make up a set, each with its name, licence and citation.

    Args:
        info: content of dataset.json, whose own licence is that of the collection added last;
            if it is empty, no collection is stated.
    """
    return list(info.get("parts") or ([info] if info else []))


def is_unstated(info: Mapping[str, Any], sources: Iterable[str]) -> bool:
    """Whether some images are of no collection that dataset.json states.

    The collection imported onto a folder without a dataset.json says nothing of what was there.

    Args:
        info: content of dataset.json.
        sources: of all images.
    """
    return not info or ("parts" in info and not all(sources))


def missing_columns(folder: Path) -> list[str]:
    """Those of `REQUIRED` that the first line of the folder's manifest does not name.

    Raises:
        DataError: the manifest cannot be read, or its columns are not parted by commas.
    """
    path = folder / MANIFEST
    try:
        with path.open(newline="", encoding="utf-8-sig", errors="replace") as stream:
            header = next(csv.reader(stream), [])
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from None
    except csv.Error:  # no table at all
        header = []
    if parted_otherwise(header):
        raise DataError(f"{path}: {PARTED}")
    return [name for name in REQUIRED if name not in header]


def _row(cells: Mapping[str, str], seen: set[str]) -> Row:
    checked = parse_row(cells, seen)
    texts = {
        column: cells.get(column, "")
        for column in COLUMNS
        if column not in {"fold", "width", "height", "has_mask"}
    }
    return Row(
        **texts,
        fold=checked.fold,
        width=whole_number(cells, "width") or 0,
        height=whole_number(cells, "height") or 0,
        has_mask=checked.has_mask,
        extra={column: text for column, text in cells.items() if column not in COLUMNS},
    )


def manifest_bytes(rows: Iterable[Row]) -> bytes:
    """manifest.csv of these rows, sorted by id, so that equal data has equal digests."""
    ordered = sorted(rows, key=lambda row: row.id)
    extra = sorted({name for row in ordered for name in row.extra})
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, [*COLUMNS, *extra], restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(row.cells() for row in ordered)
    return text.getvalue().encode("utf-8")


def info_bytes(info: Mapping[str, Any]) -> bytes:
    """dataset.json."""
    return (json.dumps(info, indent=2, ensure_ascii=False) + "\n").encode("utf-8")


def write_file(path: Path, content: bytes) -> None:
    """Write a file atomically, so that it survives a power cut."""
    with replacing(path) as draft, draft.open("wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())


def replace_rows(data: Dataset, rows: Sequence[Row], info: Mapping[str, Any]) -> Dataset:
    """Give a data folder another manifest, in steps that can be interrupted anywhere.

    1. The new manifest is laid beside the old one.
    2. dataset.json names the new one's digest.
    3. The new manifest takes the old one's place; after an interruption the next reader does it.

    Raises:
        DataError: the folder cannot be written.
    """
    content = manifest_bytes(rows)
    digest = hashlib.sha256(content).hexdigest()
    info = {**info, "format": FORMAT, "digest": digest}
    try:
        write_file(data.folder / NEXT, content)
        write_file(data.folder / INFO, info_bytes(info))
        with suppress(FileNotFoundError):  # A reader may have done it already.
            (data.folder / NEXT).replace(data.folder / MANIFEST)
    except OSError as error:
        raise DataError(f"cannot write to {data.folder}: {error.strerror}") from error
    return replace(data, rows=tuple(rows), info=info, digest=digest)


def pseudonym(patient: str, key: str) -> str:
    """A name for a patient that cannot be turned back without the key: 16 hexadecimal digits.

    The same patient and key give the same name, so an import can be repeated and two sets of one
    hospital can be compared. With a public or empty key, known patient ids can be tried out.
    """
    return hmac.new(key.encode(), patient.encode(), hashlib.sha256).hexdigest()[:_PSEUDONYM]


def is_pseudonym(text: str) -> bool:
    """Whether it looks like one of ours."""
    return len(text) == _PSEUDONYM and set(text) <= set("0123456789abcdef")
