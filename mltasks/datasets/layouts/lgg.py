"""The LGG segmentation collection, kaggle_3m (Buda et al., 2019): a folder for each patient.

`<patient>/<patient>_<n>.tif` has three channels: before contrast, FLAIR, after contrast; its mask
is `<patient>/<patient>_<n>_mask.tif`. All patients have a lower-grade glioma. A slice whose mask
is empty shows no tumour, but comes from someone who has one: it is neither class and is left out.
Channels of sequences that were not acquired hold FLAIR again; those are left out as well.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from mltasks.data import DataError
from mltasks.datasets.items import Item, Layout, LeftOut, files_below

CHANNELS = {"pre": 0, "flair": 1, "post": 2}
FLAIR = CHANNELS["flair"]
_NUMBER = re.compile(r"(.+)_(\d+)")
_MASK = "_mask"


def is_slice(path: Path) -> bool:
    """Whether its suffix is that of a slice or mask; such names begin with the patient's."""
    return path.suffix.lower() in {".tif", ".tiff"}


def holds_patients(folder: Path) -> bool:
    """Whether its subfolders are named like the slices in them, as patients' folders are."""
    return any(
        path.stem.startswith(f"{path.parent.name}_")
        and not path.parent.name.startswith(folder.name)
        for path in folder.glob("**/*.tif")
        if path.parent != folder
    )


def _fits(folder: Path) -> bool:
    return next(folder.glob(f"**/*{_MASK}.tif"), None) is not None


def _walk(folder: Path, channel: str) -> Iterator[Item | LeftOut]:
    if channel not in CHANNELS:
        raise DataError(f"unknown sequence {channel!r}: use {', '.join(CHANNELS)}")
    for path in files_below(folder):
        where = str(path.relative_to(folder))
        stem = path.stem
        if not is_slice(path):
            yield LeftOut(where, "not a slice")
            continue
        if stem.endswith(_MASK):
            if not path.with_stem(stem.removesuffix(_MASK)).exists():
                yield LeftOut(where, "a mask without an image")
            continue
        mask = path.with_stem(stem + _MASK)
        name = _NUMBER.fullmatch(stem)
        if name is None or name[1] != path.parent.name:
            yield LeftOut(where, "not named after its folder, which names the patient")
        elif not mask.exists():
            # Without the file's name, which identifies the patient: reasons are shown unchanged.
            yield LeftOut(where, "its mask is missing")
        else:
            yield Item(
                # {patient} becomes the pseudonym: the name identifies the patient.
                id=f"lgg_{{patient}}_{int(name[2]):03d}_{channel}",
                label="glioma",
                image=path,
                channel=CHANNELS[channel],
                mask=mask,
                patient=name[1],
                plane="axial",
                needs_mask=True,
            )


LAYOUT = Layout(
    key="lgg",
    about="LGG segmentation (kaggle_3m): a folder per patient, .tif with _mask.tif",
    fits=_fits,
    walk=_walk,
    name="LGG segmentation (kaggle_3m)",
    licence="CC BY-NC-SA 4.0",
    citation="Buda et al., Association of genomic subtypes of lower-grade gliomas with shape "
    "features automatically extracted by a deep learning algorithm, 2019, "
    "doi 10.1016/j.compbiomed.2019.05.002",
    patients=True,
)
