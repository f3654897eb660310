"""The figshare collection of Cheng (2017): a MATLAB 7.3 file for each slice.

Such a file is HDF5. `cjdata` holds image (int16), label (1 meningioma, 2 glioma, 3 pituitary
tumour), PID (characters) and tumorMask. MATLAB stores columns first, so both arrays are
transposed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from mltasks.data import DataError
from mltasks.datasets.items import Item, Layout, LeftOut, files_below
from mltasks.images import windowed

_PARTS = ("label", "image", "tumorMask", "PID")
_LABELS: dict[float, str] = {1: "meningioma", 2: "glioma", 3: "pituitary"}
# Larger arrays are not slices, and must not fill the memory.
_LARGEST_SIDE = 4096


def _is_slice(path: Path) -> bool:
    """Whether it is named like a slice; the table of folds beside them is a .mat file, too."""
    return path.suffix.lower() == ".mat" and re.search(r"\d", path.stem) is not None


def _fits(folder: Path) -> bool:
    return any(_is_slice(path) for path in files_below(folder))


def _is_older(path: Path) -> bool:
    """Whether it has the default format of MATLAB's `save`, which is not HDF5."""
    try:
        with path.open("rb") as stream:
            return stream.read(10) == b"MATLAB 5.0"
    except OSError:
        return False


def _hdf5() -> Any:
    try:
        import h5py
    except ImportError as error:
        raise DataError("MATLAB files need h5py: pip install -r requirements/train.txt") from error
    return h5py


def _walk(folder: Path, channel: str) -> Iterator[Item | LeftOut]:
    h5py = _hdf5()
    taken = set[str]()
    for path in files_below(folder):
        where = str(path.relative_to(folder))
        if not _is_slice(path):
            packed = path.suffix.lower() == ".zip"
            reason = "packed: unpack it there, if that is not done yet, and import anew"
            yield LeftOut(where, reason if packed else "not a slice")
            continue
        name = f"cheng_{path.stem.zfill(4)}"
        if name in taken:
            yield LeftOut(where, f"another file has the same number, {path.stem}")
            continue
        taken.add(name)
        try:
            with h5py.File(path, "r") as file:
                data = file["cjdata"]
                folders = [part for part in _PARTS if isinstance(data[part], h5py.Group)]
                if folders:
                    yield LeftOut(where, f"no array, but a group of them: {', '.join(folders)}")
                else:
                    yield _item(data, name, where)
        except KeyError as error:
            yield LeftOut(where, f"a part is missing: {error.args[0]}")
        except (OSError, ValueError, TypeError, LookupError, ArithmeticError) as error:
            if _is_older(path):
                yield LeftOut(where, "a MATLAB 5 file, not 7.3: save it with -v7.3")
                continue
            yield LeftOut(where, f"damaged, or not a MATLAB 7.3 file: {error}")


def _item(data: Any, name: str, where: str) -> Item | LeftOut:
    # Not converted to int: infinity and 1.5 must not pass as a label.
    label = float(np.asarray(data["label"]).ravel()[0])
    if label not in _LABELS:
        return LeftOut(where, f"unknown label {label:g}")
    image, mask = data["image"], data["tumorMask"]
    if image.ndim != 2 or max(image.shape) > _LARGEST_SIDE or min(image.shape) < 16:
        return LeftOut(where, f"not a slice: an array of {image.shape}")
    if mask.shape != image.shape:
        return LeftOut(where, f"its mask has another size: {mask.shape}, not {image.shape}")
    patient = "".join(chr(int(code)) for code in np.asarray(data["PID"]).ravel())
    return Item(
        id=name,
        label=_LABELS[label],
        image=windowed(np.asarray(image, np.float32).T),
        mask=np.asarray(mask).T > 0,
        patient=patient,
        origin=where,
    )


LAYOUT = Layout(
    key="cheng",
    about="figshare/Cheng: .mat files with image, label, PID and tumorMask",
    fits=_fits,
    walk=_walk,
    name="Cheng brain tumor dataset",
    licence="CC BY 4.0",
    citation="Cheng, J., brain tumor dataset, figshare, 2017, doi 10.6084/m9.figshare.1512427",
)
