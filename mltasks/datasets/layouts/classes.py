"""A folder for each class, anywhere below: Nickparvar, Sartaj, Navoneel, Br35H and the like.

Training/ and Testing/ become the part, axial/, coronal/ and sagittal/ the plane; what else lies
between the class and the picture is the patient. "yes" says that there is a tumour
but not of which kind: such images get the label "tumor", which can be audited and evaluated as
"tumour or none" but not trained on.

Navoneel's zip holds all of it twice, yes/ and no/ and again brain_tumor_dataset/yes and no; what a
folder only repeats is left out. Copies between parts or under other names are for the audit.
"""

from __future__ import annotations

import filecmp
import hashlib
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePath

from mltasks.classes import NO_TUMOR, TUMOR
from mltasks.datasets.items import Item, Layout, LeftOut, Options, files_below, is_picture, slug

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
_PARTS = {"training": "train", "train": "train", "testing": "test", "test": "test"}
_PLANES = {"axial", "coronal", "sagittal"}
_MASKS = {"mask", "masks", "segmentation", "segmentations"}
# Folders below a class that are not called after a patient.
_NO_PATIENT = {*_PARTS, *_PLANES, *_MASKS, "image", "images", "slices"}
_NAMES = ", ".join(_LABELS)
_NO_CLASS = f"none of its folders is named after a class: {_NAMES}"


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
    """The file of equal bytes whose place is the same but for one folder less, if there is one.

    Parts do not count: that an image is in two of them is what an audit has to find.
    """
    parts = where.parts
    for number, name in enumerate(parts[:-2]):
        other = PurePath(*parts[:number], *parts[number + 1 :])
        # Mostly, there is no such file.
        with suppress(OSError):
            same = filecmp.cmp(folder / other, folder / where, shallow=False)
            if same and _key(name) not in _PARTS:
                return other
    return None


@dataclass(frozen=True, slots=True)
class _Place:
    """What the folders above a file tell.

    Attributes:
        patient: as the folder is called; empty if none is there.
        above: the folders over that of the patient, or over the file.
    """

    label: str
    part: str
    plane: str
    patient: str
    above: tuple[str, ...]


def _place(folder: Path, where: PurePath) -> _Place | None:
    """What the folders above a file tell; None if none of them is named after a class.

    The nearest class counts. The first folder between it and the picture is the patient, whatever
    lies below: a patient's series must not be taken for patients of their own.
    """
    names = where.parts[:-1]
    found = [number for number, name in enumerate(names) if _key(name) in _LABELS]
    at = found[-1] if found else -1
    label = _LABELS.get(_key(names[at] if found else folder.resolve().name))
    if label is None:
        return None
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


def _walk(folder: Path, options: Options) -> Iterator[Item | LeftOut]:
    taken = set[str]()
    # How many files of a patient there were so far.
    counts = Counter[tuple[str, str]]()
    for path in files_below(folder):
        where = path.relative_to(folder)
        place = _place(folder, where)
        if place is None:
            yield LeftOut(str(where), _NO_CLASS)
            continue
        if place.patient:
            # Names of a patient's files may be of the patient, too: a number takes their place.
            own = slug("/".join(place.above)), place.patient
            counts[own] += 1
            name = f"{own[0]}_{{patient}}_{counts[own]:04d}".lstrip("_")
            shown = "/".join((*place.above, "{patient}", f"{counts[own]}{path.suffix}"))
        else:
            name, shown = _free_name(where, taken), str(where)
        if why := _unfit(where):
            yield LeftOut(shown, why, patient=place.patient)
        elif original := _repeated(folder, where):
            what = "one in a folder less" if place.patient else str(original)
            yield LeftOut(shown, f"an exact copy of {what}", copy=True, patient=place.patient)
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


def _unfit(where: PurePath) -> str:
    """Why a file is no picture to learn from; empty if it may be one."""
    if not is_picture(Path(where)):
        return "not a picture"
    if _MASKS.intersection(map(_key, where.parts[:-1])):
        return "in a folder of masks, which this layout does not take"
    return ""


def _free_name(where: PurePath, taken: set[str]) -> str:
    """An id made of the path, as names repeat from class to class.

    What an id cannot hold, and what is too long, may be all that tells two paths apart: then a
    digest of the path does.
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
