"""The table of a data folder, and what dataset.json beside it says of that table."""

from __future__ import annotations

import csv
import difflib
import hashlib
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mltasks.classes import LABELS

FORMAT = 1
MANIFEST, INFO = "manifest.csv", "dataset.json"
# What an import has taken, and what it has left out.
REPORT = "import.json"
# A manifest that is about to take the place of the old one.
NEXT = "manifest.csv.next"


# As spreadsheets save it where the comma parts decimals.
PARTED = 'columns are parted by ";": save it with commas'


# What to do where there is no data folder.
IMPORT = "; make one of a download with manage.py dataset import"


class DataError(ValueError):
    """The data folder is missing something; the message says what."""


class RowError(ValueError):
    """A row of the manifest cannot be used.

    Attributes:
        reason: why, in words that are the same for all rows of which it is true.
    """

    def __init__(self, message: str, reason: str = "") -> None:
        super().__init__(message)
        self.reason = reason or message


def read_rows(
    folder: Path, columns: Sequence[str], *, absent: str, remedy: str = ""
) -> list[dict[str, str]]:
    """The manifest's rows, see `read_table`; refused if dataset.json names another manifest.

    Raises:
        DataError: it cannot be read, lacks a column, or was changed by hand.
    """
    finish_replacement(folder)
    path = folder / MANIFEST
    content, rows = read_table(path, columns, absent=absent, remedy=remedy)
    if why := mismatch(read_info(folder), content):
        raise DataError(f"{path}: {why}")
    return rows


def mismatch(info: Mapping[str, Any], content: bytes) -> str:
    """Why this is not the manifest that dataset.json names; empty if it is, or none is named.

    Args:
        info: content of dataset.json; empty if there is none.
        content: of manifest.csv.
    """
    digest = hashlib.sha256(content).hexdigest()
    named = info.get("digest")
    if not named or named == digest:
        return ""
    return (
        f"its digest is {digest[:12]}…, {INFO} says {str(named)[:12]}…: the "
        "manifest was changed by hand; import the folder anew to accept the change"
    )


def read_table(
    path: Path, columns: Sequence[str], *, absent: str, remedy: str = ""
) -> tuple[bytes, list[dict[str, str]]]:
    """The content of a CSV file, and its rows by the names in its first line.

    A row with too few columns has None in those it lacks, one with too many has them under None.

    Args:
        columns: that it must have.
        absent, remedy: what is said before and after, if it cannot be read.

    Raises:
        DataError: it cannot be read, is no such table, has no rows, or lacks a column.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{absent}: cannot read {path} ({error.strerror}){remedy}") from None
    try:
        # Excel puts a mark before the first column's name.
        rows = list(csv.DictReader(io.StringIO(content.decode("utf-8-sig"), newline="")))
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} is not a CSV table in UTF-8: {error}") from None
    if not rows:
        raise DataError(f"{path} has no rows")
    missing = [column for column in columns if column not in rows[0]]
    if missing and parted_otherwise(rows[0]):
        raise DataError(f"{path}: {PARTED}")
    if missing:
        raise DataError(f"{path} lacks the columns {', '.join(missing)}")
    return content, rows


class Checked(NamedTuple):
    """What a row says of its fold and mask; the fold is None if it is in none."""

    fold: int | None
    has_mask: bool


def parse_row(cells: Mapping[str, str], seen: set[str]) -> Checked:
    """Check a row as every reader of a manifest does, and read what is no text in it.

    Args:
        cells: of the row, see `read_table`; `id`, `label` and `has_mask` among them.
        seen: ids of the rows before it, to which its own is added.

    Raises:
        ValueError: the row cannot be used; the message says why.
    """
    name = cells["id"]
    if None in cells.values() or None in cells:
        raise ValueError(f"the row of {name!r} has too few or too many columns")
    if not _is_file_name(name):
        raise ValueError(f"{name!r} cannot be an id: it names the picture's file")
    file = cells.get("file", "")
    if file and not _is_file_name(file):
        raise ValueError(f"{file!r} of {name} cannot be the name of a file; rename it")
    if cells["label"] not in LABELS:
        label, advice = f"unknown label {cells['label']!r}", _label_meant(cells["label"])
        raise RowError(f"{label} of {name}; {advice}", f"{label}; {advice}")
    # Read as "no", a "True" would lose the mask.
    if cells["has_mask"] not in {"0", "1"}:
        must = f"must be 0 or 1, not {cells['has_mask']!r}"
        raise RowError(f"has_mask of {name} {must}", f"has_mask {must}")
    checked = Checked(whole_number(cells, "fold"), cells["has_mask"] == "1")
    if name in seen:
        raise ValueError(f"{name} is listed twice; remove one of its rows")
    seen.add(name)
    return checked


def _label_meant(label: str) -> str:
    """What to write instead of an unknown label."""
    near = difflib.get_close_matches(label.lower(), LABELS, 1)
    return f"did you mean {near[0]!r}?" if near else f"use {', '.join(LABELS)}"


def whole_number(cells: Mapping[str, str], column: str) -> int | None:
    """The number in a cell; None if it is empty, or there is no such column.

    Raises:
        RowError: something else than a whole number, 0 or more, is in it.
    """
    text = cells.get(column, "").strip()
    if text and not text.isdecimal():
        what = f"{column} {text!r}"
        raise RowError(
            f"{what} of {cells['id']} is not a whole number", f"{what} is not a whole number"
        )
    return int(text) if text else None


def _is_file_name(name: str) -> bool:
    """Whether it names a file in its folder, and nothing outside it."""
    return (
        bool(name) and not name.startswith(".") and not set(name) & set("/\\\0") and len(name) < 200
    )


def parted_otherwise(header: Iterable[str]) -> bool:
    """Whether the names of columns hold what other tables part them with."""
    return any(name is not None and ";" in name for name in header)


def read_info(folder: Path) -> dict[str, Any]:
    """The content of dataset.json; empty if there is none, or one of another program's.

    Raises:
        DataError: it cannot be read, or is of another format.
    """
    path = folder / INFO
    try:
        info = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise DataError(f"cannot read {path}: {error}") from None
    # Others call a file of theirs so, too; ours state a format.
    if isinstance(info, dict) and "format" not in info:
        return {}
    if not isinstance(info, dict) or info["format"] != FORMAT:
        raise DataError(
            f"{path} is not of format {FORMAT}: it was written by another version of this project"
        )
    return info


def finish_replacement(folder: Path) -> None:
    """Step 3 of `datasets.form.replace_rows`, if it was not reached.

    Raises:
        DataError: the folder cannot be written.
    """
    waiting = folder / NEXT
    try:
        content = waiting.read_bytes()
    except OSError:
        return
    if read_info(folder).get("digest") == hashlib.sha256(content).hexdigest():
        try:
            waiting.replace(folder / MANIFEST)
        except FileNotFoundError:
            return  # Another reader was faster.
        except OSError as error:
            raise DataError(
                f"{waiting} is to take the place of {MANIFEST}, and cannot: {error.strerror}"
            ) from None
