"""What a layout yields: images to take, and files left out, each with a reason."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mltasks.data import PICTURE_SUFFIXES, DataError
from mltasks.postprocessing import Mask
from mltasks.preprocessing import Pixels


@dataclass(frozen=True, slots=True)
class Item:
    """One image of a download.

    Attributes:
        id: its name in the set, unique there.
        image: its file, or uint8 (height, width) if the layout has to read the file itself.
        channel: which colour channel of the file is the image; None for all, as grey.
        mask: file of its mask, or bool (height, width); None if it has none.
        patient: the patient as the download names them; only a pseudonym is kept.
        origin: the file's path in the download; empty where it names a patient. As in the id,
            {patient} stands for the pseudonym.
        needs_mask: whether the image is left out if its mask is empty.
        known: further fields of `form.Row` that the layout knows.
    """

    id: str
    label: str
    image: Path | Pixels
    channel: int | None = None
    mask: Path | Mask | None = None
    patient: str = ""
    plane: str = ""
    part: str = ""
    origin: str = ""
    needs_mask: bool = False
    known: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A file that was not taken, and why.

    Attributes:
        copy: whether an image with the same bytes and label was taken.
        patient: the patient as the download names them; {patient} stands for them in `where`.
        path: the full path where `where` hides it; shown on request, never stored.
    """

    where: str
    reason: str
    copy: bool = False
    patient: str = ""
    path: str = ""


@dataclass(frozen=True, slots=True)
class Layout:
    """One way in which downloads are organised.

    Attributes:
        fits: whether a folder looks like it.
        walk: yields what the folder holds; its second argument is the sequence to take of images
            that have several.
        name, licence, citation: of the collection, where the layout belongs to just one.
        patients: whether file names identify patients, so that no report may repeat them.
    """

    key: str
    about: str
    fits: Callable[[Path], bool]
    walk: Callable[[Path, str], Iterator[Item | LeftOut]]
    name: str = ""
    licence: str = ""
    citation: str = ""
    patients: bool = False


def files_below(folder: Path) -> Iterator[Path]:
    """Every file below a folder, in a stable order; links to folders are not followed.

    Raises:
        DataError: a folder cannot be listed.
    """

    def refuse(error: OSError) -> None:
        raise DataError(f"cannot read {error.filename}: {error.strerror}")

    for place, folders, names in os.walk(folder, onerror=refuse):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            yield Path(place, name)


def is_picture(path: Path) -> bool:
    """Whether the file name has a picture's suffix."""
    return path.suffix.lower() in PICTURE_SUFFIXES


def zips_below(folder: Path) -> list[str]:
    """The zip files anywhere below a folder, as paths from there.

    Raises:
        DataError: a folder cannot be listed.
    """
    return [
        str(path.relative_to(folder))
        for path in files_below(folder)
        if path.suffix.lower() == ".zip"
    ]


def slug(text: str) -> str:
    """A name of letters, digits, dots and underscores, for ids."""
    return re.sub(r"[^A-Za-z0-9.-]+", "_", text).strip("_.").lower()[:150]
