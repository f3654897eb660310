"""A folder for each class, anywhere below: Nickparvar, Sartaj, Navoneel, Br35H and the like.

Training/ and Testing/ above the class folders become the part. "yes" says that there is a tumour
but not of which kind: such images get the label "tumor", which can be audited and evaluated as
"tumour or none" but not trained on.

Navoneel's zip holds all of it twice, yes/ and no/ and again brain_tumor_dataset/yes and no; what a
folder only repeats is left out. Copies between parts or under other names are for the audit.
"""

from __future__ import annotations

import filecmp
from collections.abc import Iterator
from contextlib import suppress
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
    "yes": TUMOR,
}
_PARTS = {"training": "train", "train": "train", "testing": "test", "test": "test"}


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


def _walk(folder: Path, options: Options) -> Iterator[Item | LeftOut]:
    taken: dict[str, PurePath] = {}
    for path in files_below(folder):
        where = path.relative_to(folder)
        label = _LABELS.get(_key(path.parent.name)) if len(where.parts) > 1 else None
        if label is None:
            yield LeftOut(str(where), "its folder is not named after a class")
            continue
        if not is_picture(path):
            yield LeftOut(str(where), "not a picture")
            continue
        if original := _repeated(folder, where):
            yield LeftOut(str(where), f"an exact copy of {original}", copy=True)
            continue
        # Names repeat from class to class: the folders become part of the id.
        name = slug(str(where.with_suffix("")))
        if name in taken:
            name = slug(f"{name}_{path.suffix}")
        if name in taken:
            yield LeftOut(str(where), f"its name cannot be told from that of {taken[name]}")
            continue
        taken[name] = where
        parts = [_PARTS[_key(part)] for part in where.parts[:-2] if _key(part) in _PARTS]
        yield Item(
            id=name,
            label=label,
            image=path,
            part=parts[-1] if parts else "",
            origin=str(where),
        )


LAYOUT = Layout(
    key="classes",
    about="a folder per class (Nickparvar, Sartaj, Navoneel, Br35H)",
    fits=_fits,
    walk=_walk,
)
