"""A folder that already has a manifest: taken over as it is, ids, folds and groups included."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from mltasks.datasets.form import MANIFEST, Row, missing_columns, read_dataset
from mltasks.datasets.items import Item, Layout, LeftOut, files_below

_KEPT = (
    *("fold", "group", "licence", "source", "part", "origin", "excluded", "extra"),
    *("sha256", "mask_sha256"),
)


def _fits(folder: Path) -> bool:
    """Whether the manifest is of the project's form: collections ship tables of that name, too."""
    return (folder / MANIFEST).is_file() and not missing_columns(folder)


def _walk(folder: Path, channel: str) -> Iterator[Item | LeftOut]:
    data = read_dataset(folder)
    named = set[str]()
    for fault in data.faults:
        yield LeftOut(fault.where, fault.reason or fault.message)
    for row in data.rows:
        named |= {row.image, row.mask} if row.has_mask else {row.image}
        yield _item(folder, row)
    for place in ("images", "masks"):
        if (folder / place).is_dir():
            for path in files_below(folder / place):
                where = path.relative_to(folder).as_posix()
                if where not in named:
                    yield LeftOut(where, "no row of the manifest that can be used names it")


def _item(folder: Path, row: Row) -> Item | LeftOut:
    for path in (row.image, row.mask) if row.has_mask else (row.image,):
        if not (folder / path).is_file():
            return LeftOut(path, "the manifest names it, but it is missing")
    return Item(
        id=row.id,
        label=row.label,
        image=folder / row.image,
        mask=folder / row.mask if row.has_mask else None,
        patient=row.patient,
        plane=row.plane,
        part=row.part,
        origin=row.origin,
        known={name: getattr(row, name) for name in _KEPT},
    )


LAYOUT = Layout(
    key="manifest",
    about="manifest.csv with images/ and masks/",
    fits=_fits,
    walk=_walk,
)
