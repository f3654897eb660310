"""A folder for each class, anywhere below: Nickparvar, Sartaj, Navoneel, Br35H and the like.

Training/ and Testing/ become the part, axial/, coronal/ and sagittal/ the plane; any other folder
between the class and the picture is the patient. "yes" says that there is a tumour but not of
which kind: such images get the label "tumor", which can be audited and evaluated as "tumour or
none" but not trained on.

Navoneel's zip holds everything twice, in yes/ and no/ and in brain_tumor_dataset/yes and no; such
repeated files are left out. Copies between parts or under other names are left to the audit.
"""

from __future__ import annotations

import filecmp
import hashlib
import itertools
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePath

from mltasks.classes import NO_TUMOR, TUMOR
from mltasks.datasets.items import Item, Layout, LeftOut, files_below, is_picture, slug

_LABELS = {
    "glioma": "glioma",
    "glioma_tumor": "glioma",
    "meningioma": "meningioma",
    "meningioma_tumor": "meningioma",
    "pituitary": "pituitary",
    "pituitary_tumor": "pituitary",
    "notumor": NO_TUMOR,
    "no_tumor": NO_TUMOR,
    "no": NO_TUMOR,
    "healthy": NO_TUMOR,
    "normal": NO_TUMOR,
    "yes": TUMOR,
}
_PARTS = {
    **dict.fromkeys(("training", "train"), "train"),
    **dict.fromkeys(("testing", "test"), "test"),
    **dict.fromkeys(("validation", "valid", "val"), "validation"),
}
_PLANES = {"axial", "coronal", "sagittal"}
_MASKS = {"mask", "masks", "segmentation", "segmentations"}
# As in 0_mask.png beside 0.jpg; a slice with several tumours may have several.
_MASK_NAME = re.compile(r"[_ -]masks?([_ -]?\d+)?$", re.IGNORECASE)
# Folders below a class that are not named after a patient.
_NO_PATIENT = {
    *_PARTS, *_PLANES, *_MASKS, "image", "images", "slices", "raw", "original", "augmented",
    "png", "jpg", "jpeg", "tif", "tiff", "bmp", "t1", "t1c", "t1ce", "t1gd", "t2", "flair",
}  # fmt: skip
_NAMES = ", ".join(_LABELS)
_NO_CLASS = f"none of its folders is named after a class: {_NAMES}"
_TWO_CLASSES = "its folders are named after two classes: move it below one"


def _key(name: str) -> str:
    return name.lower().replace(" ", "_").replace("-", "_")


def _fits(folder: Path) -> bool:
    """Whether two class folders lie side by side, at most two levels down."""
    for place in (folder, *folder.glob("*/"), *folder.glob("*/*/")):
        if place.is_dir():
            below = [path.name for path in place.iterdir() if path.is_dir()]
            if len({_LABELS[_key(name)] for name in below if _key(name) in _LABELS}) > 1:
                return True
    return False


def _repeated(folder: Path, where: PurePath) -> PurePath | None:
    """A file of equal bytes at the same path less one folder, if there is one.

    That folder must not be a part: an image in two parts is for the audit to find.
    """
    parts = where.parts
    for number, name in enumerate(parts[:-2]):
        other = PurePath(*parts[:number], *parts[number + 1 :])
        # Usually there is no such file.
        with suppress(OSError):
            same = filecmp.cmp(folder / other, folder / where, shallow=False)
            if same and _key(name) not in _PARTS:
                return other
    return None


@dataclass(frozen=True, slots=True)
class _Place:
    """What the folders above a file say.

    Attributes:
        patient: name of the patient's folder; empty if there is none.
        above: the folders above the patient's, or above the file.
    """

    label: str
    part: str
    plane: str
    patient: str
    above: tuple[str, ...]


def _labels(folder: Path, where: PurePath) -> set[str]:
    """The classes that a file's folders are named after, or else the download's own folder."""
    keys = [_key(name) for name in where.parts[:-1]]
    found = {_LABELS[key] for key in keys if key in _LABELS}
    return found or {_LABELS[key] for key in [_key(folder.resolve().name)] if key in _LABELS}


def _place(folder: Path, where: PurePath) -> _Place | None:
    """What the folders above a file say; None if they name no class, or two.

    The first folder between class and picture is the patient's, whatever lies below it: a
    patient's series must not be taken for further patients.
    """
    names = where.parts[:-1]
    found = [number for number, name in enumerate(names) if _key(name) in _LABELS]
    labels = _labels(folder, where)
    if len(labels) != 1:
        return None
    at, label = found[-1] if found else -1, labels.pop()
    telling = (
        number for number in range(at + 1, len(names)) if _key(names[number]) not in _NO_PATIENT
    )
    first = next(telling, None)
    return _Place(
        label=label,
        part=next((_PARTS[_key(name)] for name in reversed(names) if _key(name) in _PARTS), ""),
        plane=next((_key(name) for name in reversed(names) if _key(name) in _PLANES), ""),
        patient="" if first is None else names[first],
        above=names[:first],
    )


def _walk(folder: Path, channel: str) -> Iterator[Item | LeftOut]:
    taken = set[str]()
    for path in files_below(folder):
        where = path.relative_to(folder)
        place = _place(folder, where)
        if place is None:
            why = _TWO_CLASSES if _labels(folder, where) else _NO_CLASS
            yield LeftOut(_vague(path, where), why, path=str(where))
            continue
        if place.patient:
            # A patient's files may be named after the patient, too. A number from the content stays
            # the same when files are added, so that nothing is imported a second time.
            number = _digest(path)
            name = f"{slug('/'.join(place.above))}_{{patient}}_{number}".lstrip("_")
            shown = "/".join((*place.above, "{patient}", f"{number}{path.suffix}"))
        else:
            name, shown = _free_name(where, taken), str(where)
        if why := _unfit(where):
            yield LeftOut(shown, why, patient=place.patient, path=str(where))
        elif original := _repeated(folder, where):
            what = "one in a folder less" if place.patient else str(original)
            reason = f"an exact copy of {what}"
            yield LeftOut(shown, reason, copy=True, patient=place.patient, path=str(where))
        else:
            taken.add(name)
            yield Item(
                id=name,
                label=place.label,
                image=path,
                patient=place.patient,
                plane=place.plane,
                part=place.part,
                origin=shown,
            )


def _digest(path: Path) -> str:
    """The beginning of a file's SHA-256; a file that cannot be read is reported on decoding."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()[:12]
    except OSError:
        return "unread"


def _vague(path: Path, where: PurePath) -> str:
    """A file's path, without what lies deep enough to be named after a patient."""
    folders = where.parts[:-1]
    known = itertools.takewhile(lambda name: _key(name) in _NO_PATIENT, folders)
    shown = folders[: sum(1 for _ in known) + 1]
    if shown == folders:
        return str(where)
    return "/".join((*shown, "…", f"{_digest(path)}{path.suffix}"))


def _unfit(where: PurePath) -> str:
    """Why a file is not a picture to learn from; empty if it may be one."""
    if not is_picture(Path(where)):
        return "not a picture"
    if _MASKS.intersection(map(_key, where.parts[:-1])):
        return "in a folder of masks, which this layout does not take"
    if _MASK_NAME.search(where.stem):
        return "named as a mask, which this layout does not take"
    return ""


def _free_name(where: PurePath, taken: set[str]) -> str:
    """An id made from the path, as names repeat from class to class.

    If two paths differ only in characters that an id cannot hold, or beyond its length, a digest of
    the path is added.
    """
    name = slug(str(where.with_suffix("")))
    if name in taken:
        name += "_" + hashlib.sha256(str(where).encode(errors="surrogateescape")).hexdigest()[:12]
    return name


LAYOUT = Layout(
    key="classes",
    about="a folder per class (Nickparvar, Sartaj, Navoneel, Br35H), called "
    f"{_NAMES}, with pictures or a folder per patient in it; one class alone is not guessed, but "
    "taken when asked for",
    fits=_fits,
    walk=_walk,
)
