"""BRISC 2025 as downloaded (Fateh et al., 2025, arXiv 2506.14318).

classification_task/train|test/<class>/*.jpg holds every image; segmentation_task/train|test/images
repeats those with a tumour, and masks/ holds their masks. Names are like
`brisc2025_train_00001_gl_ax_t1.jpg`: part, number, class, plane, sequence.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from mltasks.classes import NO_TUMOR
from mltasks.datasets.items import Item, Layout, LeftOut, files_below, is_picture

_NAME = re.compile(r"brisc2025_(train|test)_\d+_(gl|me|no|pi)_(ax|co|sa)_\w+")
_LABELS = {"gl": "glioma", "me": "meningioma", "no": NO_TUMOR, "pi": "pituitary"}
_PLANES = {"ax": "axial", "co": "coronal", "sa": "sagittal"}
_CLASSES, _MASKS = "classification_task", "segmentation_task"


def _fits(folder: Path) -> bool:
    return (folder / _CLASSES).is_dir()


def _walk(folder: Path, channel: str) -> Iterator[Item | LeftOut]:
    masks: dict[str, Path] = {}
    copies: dict[str, Path] = {}
    for path in files_below(folder / _MASKS) if (folder / _MASKS).is_dir() else ():
        (masks if path.parent.name == "masks" else copies)[path.stem] = path
    # Left out or taken: why an image is left out is said once, and goes for its copy and mask.
    there = set[str]()
    for path in files_below(folder):
        where = path.relative_to(folder)
        if where.parts[0] == _MASKS:
            continue
        if where.parts[0] == _CLASSES:
            there.add(path.stem)
            yield _item(path, where, masks)
        else:
            yield _foreign(where)
    for path in copies.values():
        where = path.relative_to(folder)
        if not is_picture(path):
            yield LeftOut(str(where), "not a picture")
        elif path.stem not in there:
            yield LeftOut(str(where), f"it has no counterpart in {_CLASSES}, which tells the class")
    for stem, path in masks.items():
        if stem not in there:
            yield LeftOut(str(path.relative_to(folder)), "a mask without an image")


def _foreign(where: Path) -> LeftOut:
    return LeftOut(str(where), "not part of BRISC 2025")


def _item(path: Path, where: Path, masks: dict[str, Path]) -> Item | LeftOut:
    name = _NAME.fullmatch(path.stem)
    if not is_picture(path) or name is None or len(where.parts) != 4:
        return _foreign(where)
    part, code, plane = name.groups()
    label = _LABELS[code]
    if where.parts[2] != label or where.parts[1] != part:
        return LeftOut(
            str(where),
            f"its name says {part}, {label}, its folder {where.parts[1]}, {where.parts[2]}",
        )
    mask = masks.get(path.stem)
    if label != NO_TUMOR and mask is None:
        return LeftOut(str(where), f"its mask is missing in {_MASKS}/{part}/masks")
    return Item(
        id=path.stem,
        label=label,
        image=path,
        mask=mask,
        plane=_PLANES[plane],
        part=part,
        origin=str(where),
    )


LAYOUT = Layout(
    key="brisc",
    about="BRISC 2025 as downloaded: classification_task/ and segmentation_task/",
    fits=_fits,
    walk=_walk,
    name="BRISC 2025",
    licence="CC BY 4.0",
    citation="Fateh et al., BRISC: Annotated Dataset for Brain Tumor Segmentation and "
    "Classification, 2025, arXiv 2506.14318",
)
