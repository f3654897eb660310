"""Where in a downloaded folder a collection lies, and which of the known layouts it has."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mltasks.data import DataError
from mltasks.datasets.form import MANIFEST, missing_columns
from mltasks.datasets.items import Layout, zips_below
from mltasks.datasets.layouts import brisc, cheng, classes, lgg, manifest

LAYOUTS = {
    layout.key: layout
    for layout in (
        *(manifest.LAYOUT, brisc.LAYOUT, lgg.LAYOUT, cheng.LAYOUT),
        classes.LAYOUT,
    )
}
# Those recognised by what lies directly in the folder.
_MARKED = (manifest.LAYOUT, brisc.LAYOUT)
# Archives unpack into a folder of their own, some into a folder within that.
_DEEPEST = 2
# More packed files are not named in a message.
_MOST_NAMED = 8


@dataclass(frozen=True, slots=True)
class Found:
    """Where in a download the collection lies, and how it is laid out.

    Attributes:
        place: the folder given, or the only one in it, or the only one in that.
    """

    layout: Layout
    place: Path


def find_layout(source: Path, key: str) -> Found:
    """The layout asked for, or the first that fits, in the first folder that it fits.

    Raises:
        DataError: the folder is missing, looks like none of them, or holds several collections.
    """
    if not source.is_dir():
        raise DataError(f"no folder {source}: give the folder into which the download was unpacked")
    places = list(_places(source))
    for place in places:
        for layout in [LAYOUTS[key]] if key else LAYOUTS.values():
            if layout.fits(place):
                # The others look into subfolders, too, and might see only one of several.
                if not key and layout not in _MARKED:
                    _refuse_several(place)
                return Found(layout, place)
    if key:  # reading it will say what is wrong
        return Found(LAYOUTS[key], source)
    _refuse_several(places[-1])
    known = "; ".join(f"{layout.key}: {layout.about}" for layout in LAYOUTS.values())
    lacking = [
        f"; {place / MANIFEST} lacks the columns {', '.join(missing_columns(place))}"
        for place in places
        if (place / MANIFEST).is_file()
    ]
    raise DataError(
        f"{source} is laid out like none of the known collections ({known})"
        f"{''.join(lacking)}{packed(source)}"
    )


def _refuse_several(place: Path) -> None:
    """Refuse a folder whose subfolders have different layouts, or of which several are `_MARKED`.

    The parts, patients and numbered folders of one collection look alike and belong together.

    Raises:
        DataError: names them.
    """
    found = [
        (child, layout)
        for child in sorted(place.glob("*/"))
        if not is_litter(child) and (layout := _layout_in(child)) is not None
    ]
    marked = sum(layout in _MARKED for _, layout in found)
    if len({layout.key for _, layout in found}) > 1 or marked > 1:
        named = ", ".join(f"{layout.key} in {child}" for child, layout in found[:_MOST_NAMED])
        raise DataError(f"{place} holds several collections ({named}): give one of them")


def _layout_in(folder: Path) -> Layout | None:
    places = list(_places(folder))
    fitting = (layout for place in places for layout in LAYOUTS.values() if layout.fits(place))
    return next(fitting, None)


def _places(source: Path) -> Iterator[Path]:
    """The folder; then, as long as it holds exactly one other folder, that one."""
    yield source
    for _ in range(_DEEPEST):
        below = [path for path in source.glob("*/") if path.is_dir() and not is_litter(path)]
        if len(below) != 1:
            return
        source = below[0]
        yield source


def is_litter(path: Path) -> bool:
    """Whether operating systems leave such files in folders and archives."""
    return path.name.startswith(".") or path.name == "__MACOSX"


def packed(source: Path) -> str:
    """What to do about zip files in a download; empty if there are none."""
    names = zips_below(source)
    if not names:
        return ""
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return (
        f"; it holds zip files, unpack them there and import again: "
        f"{', '.join(names[:_MOST_NAMED])}{more}"
    )
