"""One slice of MRI from a DICOM file (PS3.10): its pixels as a workstation shows them.

Of everything else in the file, names and dates among it, nothing leaves this module, and no log
sees it. Elements are looked at in the first `_HEAD_BYTES` only, and pixels read only if they are
not compressed: so no file can make much work or take much memory.
"""

from __future__ import annotations

import functools
import io
import logging
import struct
import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mltasks.images import LARGE, ImageError, check_size, windowed
from mltasks.preprocessing import Pixels

# Scanners write some kilobytes before the pixels, and private data, large in few elements.
_HEAD_BYTES = 4 * 2**20
# What the items of sequences begin with, in both byte orders. Each takes a parser long, and pixels
# of one slice come with some dozens of them.
_ITEMS, _MOST_ITEMS = (b"\xfe\xff\x00\xe0", b"\xff\xfe\xe0\x00"), 20_000
# Bytes of a value: numbers of 16 characters, a few of them. A list of millions takes a gigabyte.
_LONGEST_VALUE = 4096
# 128 bytes of anything, then "DICM".
_PREAMBLE = 132
_PIXEL_DATA = 0x7FE00010
# By their meaning: kind of device, size and form of the pixels, how they become shades.
_WANTED = [
    0x00080060, 0x00280002, 0x00280004, 0x00280006, 0x00280008, 0x00280010, 0x00280011, 0x00280100,
    0x00280101, 0x00280102, 0x00280103, 0x00280120, 0x00281050, 0x00281051, 0x00281052, 0x00281053,
]  # fmt: skip
# Implicit and explicit VR, little and big endian.
_NATIVE = {f"1.2.840.10008.1.2{end}" for end in ("", ".1", ".2")}
# "OT" are pictures made of others, such as those sent from a workstation.
_READ = {"MR", "OT", ""}
_OTHERS = {
    "CT": "a CT scan", "PT": "a PET scan", "NM": "a nuclear medicine scan", "US": "an ultrasound",
    "CR": "an X-ray", "DX": "an X-ray", "MG": "a mammogram", "XA": "an angiogram",
}  # fmt: skip

COMPRESSED = (
    "This DICOM file is compressed in a way that cannot be read here. "
    "Export the slice without compression, or as PNG or JPEG."
)
OVERLOADED = (
    "This DICOM file has far more parts than a picture needs. Export the slice as PNG or JPEG."
)
NO_PICTURE = "There is no picture in this DICOM file. Choose one with a slice of MRI."


def read(data: bytes, max_pixels: int) -> Pixels:
    """The slice in a DICOM file.

    Rescale slope and intercept, window, padding and photometric interpretation are heeded (PS3.3
    C.7.6.3 and C.11); without a window, or where it shows nothing, the range of the values is the
    window. Tables (LUT sequences) are not.

    Args:
        data: the file's content.
        max_pixels: rows × columns, checked before decoding; never more than `LARGE`.

    Returns:
        uint8, (rows, columns) if grey or (rows, columns, 3) if coloured.

    Raises:
        ImageError: it is no MRI, has no picture or several, or one that cannot be read.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _read(data, max_pixels)
    except ImageError:
        raise
    # What strangers' bytes make of a parser of such a format has no common class.
    except Exception:
        raise ImageError(
            "corrupt",
            "This DICOM file is damaged or incomplete. Please export or download it again.",
        ) from None


@functools.cache
def _library() -> Any:
    """pydicom, silent: what it says of odd values would carry them into the logs.

    Imported when the first file comes, as most processes never see one.
    """
    import pydicom
    import pydicom.filereader
    import pydicom.pixels

    pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE
    logging.getLogger("pydicom").disabled = True
    return pydicom


def _read(data: bytes, max_pixels: int) -> Pixels:
    start = data[:_HEAD_BYTES]
    if sum(start.count(mark) for mark in _ITEMS) > _MOST_ITEMS:
        raise ImageError("overloaded", OVERLOADED)
    head = io.BytesIO(start)
    syntax = _transfer_syntax(head)
    if syntax not in _NATIVE:
        raise ImageError("compressed", COMPRESSED)
    dataset = _library().filereader.read_dataset(
        head,
        is_implicit_VR=syntax.is_implicit_VR,
        is_little_endian=syntax.is_little_endian,
        stop_when=lambda tag, *_: tag >= _PIXEL_DATA,
        specific_tags=_WANTED,
    )
    # Bytes as they stand in the file: a value is made of them when it is first asked for.
    if any(len(element.value or b"") > _LONGEST_VALUE for element in dataset.values()):
        raise ImageError("overloaded", OVERLOADED)
    _check(dataset, max_pixels)
    dataset.file_meta = _library().dataset.FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.PixelData = _pixel_data(data, head.tell(), syntax)
    stored = np.asarray(_library().pixels.pixel_array(dataset))
    size = (dataset.Rows, dataset.Columns)
    # Where there are more bytes than said, they are taken for further frames.
    if stored.shape not in {size, (*size, 3)}:
        raise ValueError("more pixels than rows and columns")
    return _coloured(stored) if stored.ndim == 3 else _grey(stored, dataset)


def _transfer_syntax(head: io.BytesIO) -> Any:
    """How what follows the file's first group is written; the file stands behind that group."""
    head.seek(_PREAMBLE)
    meta = _library().filereader.read_dataset(
        head,
        is_implicit_VR=False,
        is_little_endian=True,
        stop_when=lambda tag, *_: tag.group != 2,
    )
    return meta.TransferSyntaxUID


def _check(dataset: Any, max_pixels: int) -> None:
    """Refuse what is no single slice of an MRI, before any pixel is read."""
    modality = str(dataset.get("Modality", "") or "").strip().upper()
    if modality not in _READ:
        # No more of what stands there than is known: it may be anything.
        what = _OTHERS.get(modality, "not an MRI")
        raise ImageError("not_mri", f"This DICOM file is {what}. Only MRI of the brain is read.")
    if "Rows" not in dataset or "Columns" not in dataset:
        raise ImageError("no_picture", NO_PICTURE)
    frames = int(dataset.get("NumberOfFrames", 1) or 1)
    if frames > 1:
        raise ImageError(
            "several_slices",
            f"This DICOM file holds {frames} slices: export the wanted one as one picture.",
        )
    check_size(int(dataset.Columns), int(dataset.Rows), min(max_pixels, LARGE))


def _pixel_data(data: bytes, start: int, syntax: Any) -> bytes:
    """The value of the element that begins at `start`."""
    order = "<" if syntax.is_little_endian else ">"
    if data[start : start + 4] != struct.pack(f"{order}HH", *divmod(_PIXEL_DATA, 1 << 16)):
        raise ImageError("no_picture", NO_PICTURE)
    # Behind the tag, unless implied: two letters of its VR and two bytes that mean nothing.
    start += 4 if syntax.is_implicit_VR else 8
    (length,) = struct.unpack_from(f"{order}I", data, start)
    # A value without a length is in pieces, as those of compressed pixels are.
    if start + 4 + length > len(data):
        raise ValueError("the pixels end early")
    return data[start + 4 : start + 4 + length]


def _coloured(stored: NDArray[Any]) -> Pixels:
    """uint8 of colours, of which 16 bits keep the upper 8."""
    return stored if stored.dtype == np.uint8 else (stored >> 8).astype(np.uint8)


def _grey(stored: NDArray[Any], dataset: Any) -> Pixels:
    """Shades as they are meant to be seen, black where there is nothing (padding)."""
    padding = stored == dataset.get("PixelPaddingValue")
    slope = _number(dataset, "RescaleSlope", 1.0)
    intercept = _number(dataset, "RescaleIntercept", 0.0)
    values = stored.astype(np.float32) * np.float32(slope) + np.float32(intercept)
    shades = _in_window(values, dataset)
    if shades is None or len(np.unique(shades[~padding])) < 2:
        values[padding] = values[~padding].min(initial=np.inf)
        shades = windowed(values)
    if dataset.get("PhotometricInterpretation") == "MONOCHROME1":
        shades = np.invert(shades)
    shades[padding] = 0
    return shades


def _in_window(values: NDArray[np.float32], dataset: Any) -> Pixels | None:
    """The shades of the file's first window (PS3.3 C.11.2.1.2.1); None if it has none."""
    centre, width = (_number(dataset, f"Window{name}", 0.0) for name in ("Center", "Width"))
    if not width >= 1:
        return None
    low, range_ = centre - 0.5 - (width - 1) / 2, max(width - 1, 1e-6)
    return np.rint(np.clip((values - low) / range_, 0, 1) * 255).astype(np.uint8)


def _number(dataset: Any, name: str, default: float) -> float:
    """A number, the first if there are several."""
    value = dataset.get(name)
    if value is None or value == "":
        return default
    return float(value if isinstance(value, str | float | int) else value[0])
