"""Reading pictures that strangers upload: strict about what they are, exact about their pixels."""

from __future__ import annotations

import io
import re
import warnings
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image, TiffImagePlugin, UnidentifiedImageError

from mltasks.containers import excess
from mltasks.preprocessing import Pixels, to_grey

# What a picture of each format starts with.
_SIGNATURES: tuple[tuple[bytes, str], ...] = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"II*\x00", "TIFF"),
    (b"MM\x00*", "TIFF"),
    (b"BM", "BMP"),
)
_ORIENTATION, _TILE_WIDTH, _TILE_LENGTH = 0x0112, 0x0142, 0x0143
# What libjpeg says of damage: data that ends early, codes that are none, bytes left over at the end
# of a scan. Those between other parts of the header do no harm.
_DAMAGE = re.compile(
    r"(?i)premature end|bad (huffman|arithmetic)|bogus|invalid|unsupported marker|inconsistent|"
    r"instead of RST|extraneous bytes before marker 0x(c4|d[0-79a])"
)
# The start of a scan, up to three bytes that mean nothing unless the JPEG is progressive. Phones
# leave them zero, where the standard wants 0, 63, 0; libjpeg warns of it before it looks further.
_SCAN = re.compile(
    rb"(\xff\xda\x00(?:\x08\x01..|\x0a\x02.{4}|\x0c\x03.{6}|\x0e\x04.{8}))...", re.DOTALL
)
_WHOLE_SCAN = b"\\1\x00\x3f\x00"
# What Pillow says of files that are whole, but of a kind that it does not know.
_UNKNOWN_KIND = re.compile(r"(?i)unsupported|cannot handle|unknown (pixel mode|data organization)")
# A browser that is made to read one of these as a page would run what follows.
_ACTIVE_CONTENT = (b"<script", b"<html>", b"<html ", b"<!doctype", b"<iframe", b"javascript:")
_SHORTEST_SIDE = 16
# Differences between colour channels up to here, but for a few pixels, are noise of JPEG.
_GREY_TOLERANCE, _FEW = 12, 0.005
# A picture of more pixels needs much memory while it is read, up to some twenty bytes for each.
LARGE = 4_000_000
# Of 16 bits a colour Pillow reads the upper 8. Below this, too little of a picture is among them.
_DARK = 64
# Rows that are looked at together, where looking at all of them would take a copy or more.
_BAND = 256


class ImageError(ValueError):
    """A file that cannot be used, with a code for programs and a message for people."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


@dataclass(frozen=True, slots=True)
class Limits:
    """What is still read.

    Attributes:
        max_bytes: of a file.
        max_pixels: width × height, checked before decoding.
    """

    max_bytes: int
    max_pixels: int


@dataclass(frozen=True, slots=True)
class Decoded:
    """A picture as people see it.

    Attributes:
        pixels: uint8, (height, width) if grey or (height, width, 3) if coloured, turned upright.
        orientation: EXIF orientation 1–8 of the file (1: its rows are the picture's rows).
        format: "JPEG", "PNG", "WEBP", "TIFF", "BMP" or "DICOM".
        stored_size: width and height of the file's own pixel grid.
    """

    pixels: Pixels
    orientation: int
    format: str
    stored_size: tuple[int, int]

    @property
    def width(self) -> int:
        return int(self.pixels.shape[1])

    @property
    def height(self) -> int:
        return int(self.pixels.shape[0])


def _sniff(data: bytes) -> str:
    """The format by the file's first bytes; its name and announced type prove nothing.

    Raises:
        ImageError: it is none that we read, with a message on what it is instead.
    """
    if not data:
        raise ImageError("empty", "This file is empty.")
    # First, as some scanners write what is a TIFF and DICOM at once.
    if data[128:132] == b"DICM":
        return "DICOM"
    for signature, name in _SIGNATURES:
        if data.startswith(signature):
            return name
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    head = data[:1024].lstrip().lower()
    if data[:6] in {b"GIF87a", b"GIF89a"}:
        raise ImageError(
            "gif", "GIF pictures are not accepted: save one frame as PNG or JPEG instead."
        )
    if b"<svg" in head:
        raise ImageError("svg", "SVG drawings are not accepted: a scan is a PNG, JPEG or TIFF.")
    if data.startswith(b"%PDF"):
        raise ImageError("pdf", "This is a PDF document: export the picture as PNG or JPEG.")
    raise ImageError(
        "not_an_image",
        "This file is not a picture we can read. Please use JPEG, PNG, WebP, TIFF, BMP or DICOM.",
    )


def begins_like_a_picture(data: bytes) -> bool:
    """Whether a file that begins like this is of a format that we read."""
    try:
        _sniff(data)
    except ImageError:
        return False
    return True


def _check_inert(data: bytes) -> None:
    """Refuse files that are a picture and a web page at once.

    The words are long enough to appear by chance in less than one of a million megabytes of
    compressed pixels.
    """
    lowered = data.lower()
    if any(word in lowered for word in _ACTIVE_CONTENT):
        raise ImageError(
            "active_content",
            "This picture has program code hidden in it and was not accepted. "
            "Open it in a picture editor and save it anew as PNG.",
        )


def _to_uint8(image: Image.Image) -> Pixels:
    """Grey or coloured uint8 pixels of any Pillow mode; transparency lies on black."""
    if image.mode in {"I;16", "I;16B", "I;16L", "I;16N"}:
        whole = np.asarray(image).astype(np.uint16, copy=False)
        return _windowed_16(np.invert(whole) if _is_negative(image) else whole)
    if image.mode in {"I", "F"}:
        values = np.asarray(image, dtype=np.float32)
        return windowed(-values if _is_negative(image) else values)
    if image.mode in {"P", "PA"}:
        image = image.convert("RGBA")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        if image.getchannel("A").getextrema() == (0, 0):
            # Some programs leave a fourth channel blank; nobody saves what no one can see.
            image = image.convert("RGB")
        else:
            black = Image.new("RGB", image.size)
            black.paste(image, mask=image)
            image = black
    if image.mode in {"1", "LA", "La"}:
        image = image.convert("L")
    if image.mode == "L":
        return np.asarray(image)
    if image.mode != "RGB":
        image = image.convert("RGB")
    pixels = np.asarray(image)
    return np.asarray(image.convert("L")) if _is_grey(pixels) else pixels


def _is_negative(image: Image.Image) -> bool:
    """Whether 0 is white and still is: Pillow turns round TIFFs of up to 8 bits only."""
    if not isinstance(image, TiffImagePlugin.TiffImageFile):
        return False
    return bool(image.tag_v2.get(TiffImagePlugin.PHOTOMETRIC_INTERPRETATION, 1) == 0)


def _is_grey(pixels: Pixels) -> bool:
    """Whether the channels, (height, width, 3), differ by noise only."""
    coloured = 0
    for top in range(0, len(pixels), _BAND):
        band = pixels[top : top + _BAND]
        coloured += int(np.count_nonzero(band.max(axis=2) - band.min(axis=2) > _GREY_TOLERANCE))
    return coloured <= _FEW * pixels.shape[0] * pixels.shape[1]


def _windowed_16(values: NDArray[np.uint16]) -> Pixels:
    """As `windowed`, by counting: no more than the values and the pixels are in memory."""
    counts = np.zeros(1 << 16, np.int64)
    for top in range(0, len(values), _BAND):
        counts += np.bincount(values[top : top + _BAND].ravel(), minlength=1 << 16)
    below = np.cumsum(counts)
    low, high = (
        int(np.searchsorted(below, share * values.size, side="right")) for share in (0.001, 0.999)
    )
    if high <= low:
        present = np.flatnonzero(counts)
        low, high = int(present[0]), int(present[-1])
    if high <= low:
        return np.zeros(values.shape, np.uint8)
    levels = np.clip((np.arange(1 << 16) - low) / (high - low), 0, 1)
    return np.asarray(np.rint(levels * 255).astype(np.uint8)[values])


def windowed(values: NDArray[np.float32]) -> Pixels:
    """More than 8 bits to 8: the 0.1th to 99.9th percentile fill the range."""
    values = np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0)
    low, high = (float(edge) for edge in np.percentile(values, (0.1, 99.9)))
    if high <= low:
        low, high = float(values.min()), float(values.max())
    if high <= low:
        return np.zeros(values.shape, np.uint8)
    scaled: NDArray[np.float32] = np.clip((values - low) / (high - low), 0, 1)
    return np.rint(scaled * 255).astype(np.uint8)


def _open(data: bytes, format_name: str, max_pixels: int) -> Image.Image:
    """Parse the header only; the pixel count is known before any pixel is made."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            # Decoding alone does not look at a PNG's checksums.
            Image.open(io.BytesIO(data), formats=[format_name]).verify()
            image = Image.open(io.BytesIO(data), formats=[format_name])
    except Image.DecompressionBombError:
        raise _too_many_pixels(max_pixels) from None
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, EOFError, TypeError):
        raise _unread(data, format_name) from None
    check_size(*image.size, max_pixels)
    if format_name == "JPEG":
        # Cameras put previews and depth behind the picture; the first is what people see.
        return image
    if getattr(image, "is_animated", False):
        if format_name != "TIFF":
            raise ImageError(
                "animated", "Animated pictures are not accepted: save one frame as PNG or JPEG."
            )
        raise ImageError(
            "several_pages", "This TIFF holds several pages: save the wanted slice as one picture."
        )
    if _is_larger_tiled(image):
        raise _corrupt(format_name)
    # Pillow unpacks these in Python, a hundred times more slowly than any other.
    if image.tile and image.tile[0][0] == "bmp_rle" and image.width * image.height > LARGE:
        raise _of_unknown_kind(format_name)
    return image


def check_size(width: int, height: int, max_pixels: int) -> None:
    """Refuse a picture for its size, before any pixel is made.

    Raises:
        ImageError: it is too large or too small.
    """
    if width * height > max_pixels:
        raise _too_many_pixels(max_pixels)
    if min(width, height) < _SHORTEST_SIDE:
        raise ImageError(
            "too_small",
            f"This picture is only {width}×{height} pixels: "
            f"each side needs {_SHORTEST_SIDE} or more.",
        )


def _check_parts(data: bytes, format_name: str) -> None:
    """Refuse a file on whose parts a reader would spend minutes."""
    found = excess(data, format_name)
    if found == "filling":
        raise _corrupt(format_name)
    if found:
        raise ImageError(
            "overloaded",
            f"This {format_name} file has far more parts than a picture needs. "
            "Please open it in a picture editor and save it anew as PNG.",
        )


def _is_larger_tiled(image: Image.Image) -> bool:
    """Whether a TIFF's tiles, each read as a whole, are much larger than the picture."""
    if not isinstance(image, TiffImagePlugin.TiffImageFile):
        return False
    sides = (image.tag_v2.get(tag, 0) for tag in (_TILE_WIDTH, _TILE_LENGTH))
    width, height = (side if isinstance(side, int) else 0 for side in sides)
    return width * height > max(LARGE, 1.25 * image.width * image.height)


def _check_whole(data: bytes) -> None:
    """Refuse a JPEG whose data is damaged.

    Pillow shows what libjpeg makes of it, grey areas or torn rows, and hides that libjpeg warned.
    Here the same library is asked to be strict, at an eighth of the size: all data is read, and
    few pixels are made.
    """
    complaint = _complaint(data)
    if "Invalid SOS parameters for sequential" in complaint:
        complaint = _complaint(_SCAN.sub(_WHOLE_SCAN, data))
    # What else it says is of kinds of JPEG that it does not read and Pillow may.
    if _DAMAGE.search(complaint):
        raise _corrupt("JPEG")


def _complaint(data: bytes) -> str:
    """The first thing that libjpeg finds wrong with a JPEG, or nothing."""
    try:
        simplejpeg.decode_jpeg(data, "GRAY", min_height=1, min_width=1, strict=True)
    except ValueError as error:
        return str(error)
    return ""


def _unread(data: bytes, format_name: str) -> ImageError:
    """Why a file cannot be opened: its kind is none that Pillow knows, or it is damaged."""
    try:
        # `Image.open` hides what the reader of the format says.
        Image.OPEN[format_name][0](io.BytesIO(data), "")
    except Exception as error:
        if _UNKNOWN_KIND.search(str(error)):
            return _of_unknown_kind(format_name)
    return _corrupt(format_name)


def _of_unknown_kind(format_name: str) -> ImageError:
    return ImageError(
        "unknown_kind",
        f"{format_name} pictures of this kind cannot be read. "
        "Please save it as PNG with 8 bits, or 16 bits of grey.",
    )


def _corrupt(format_name: str) -> ImageError:
    return ImageError(
        "corrupt",
        f"This {format_name} file is damaged or incomplete. Please export or download it again.",
    )


def _too_many_pixels(max_pixels: int) -> ImageError:
    return ImageError(
        "too_many_pixels",
        f"This picture is larger than {max_pixels / 1e6:g} megapixels. Please reduce its size.",
    )


def _content(source: bytes | Path | BinaryIO, most: int) -> bytes:
    """The bytes of a file, if there are not too many."""
    if isinstance(source, bytes):
        data = source
    elif isinstance(source, Path):
        with source.open("rb") as stream:
            data = stream.read(most + 1)
    else:
        data = source.read(most + 1)
    if len(data) > most:
        raise ImageError("too_large", f"This file is larger than {most / 2**20:g} MB.")
    return data


def decode(
    source: bytes | Path | BinaryIO,
    limits: Limits,
    *,
    before_large: Callable[[], None] | None = None,
) -> Decoded:
    """Read one picture.

    Args:
        source: the file's content, its path, or an open binary file at its start.
        limits: of what is accepted.
        before_large: called before a picture of more than `LARGE` pixels is decoded; may wait
            until there is room, or raise what it likes.

    Raises:
        ImageError: the file is empty, too large, not a still picture of these formats,
            of a kind that cannot be read, damaged, or carries active content. The message tells
            people what to do.
        OSError: the path cannot be read.
    """
    data = _content(source, limits.max_bytes)
    format_name = _sniff(data)
    if format_name == "DICOM":
        return _dicom(data, limits.max_pixels)
    _check_inert(data)
    _check_parts(data, format_name)
    image = _open(data, format_name, limits.max_pixels)
    # Reading the EXIF of a PNG may decode all of it, and forgets how its pixels were stored.
    if before_large is not None and image.width * image.height > LARGE:
        before_large()
    deep = len(image.getbands()) > 1 and ";16" in str(getattr(image, "tile", ""))
    try:
        orientation = int(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # a broken tag must not cost the picture
        orientation = 1
    orientation = orientation if 1 <= orientation <= 8 else 1
    # Pillow turns TIFF upright by itself, and only TIFF.
    turned = format_name == "TIFF"
    stored_size = image.size[::-1] if turned and orientation >= 5 else image.size
    if format_name == "JPEG":
        _check_whole(data)
    try:
        image.load()
        pixels = orient(_to_uint8(image), 1 if turned else orientation)
    except MemoryError:
        raise _too_many_pixels(limits.max_pixels) from None
    except (OSError, ValueError, SyntaxError, EOFError, IndexError, TypeError):
        raise _corrupt(format_name) from None
    if deep and int(pixels.max()) < _DARK:
        raise ImageError(
            "dark_colours",
            "This picture has 16 bits for each colour, too dark for the 8 that can be read. "
            "Please save it as PNG with 8 bits, or 16 bits of grey.",
        )
    return Decoded(np.ascontiguousarray(pixels), orientation, format_name, stored_size)


def _dicom(data: bytes, max_pixels: int) -> Decoded:
    # Imported here, as it builds upon what is above.
    from mltasks import dicom

    pixels = dicom.read(data, max_pixels)
    stored_size = (pixels.shape[1], pixels.shape[0])
    if pixels.ndim == 3 and _is_grey(pixels):
        pixels = to_grey(pixels)
    return Decoded(np.ascontiguousarray(pixels), 1, "DICOM", stored_size)


def orient(pixels: Pixels, orientation: int) -> Pixels:
    """Turn stored rows and columns upright, as the EXIF orientation (TIFF 6.0, tag 274) says."""
    if orientation in {5, 6, 7, 8}:
        pixels = pixels.swapaxes(0, 1)
    if orientation in {2, 3, 6, 7}:
        pixels = pixels[:, ::-1]
    if orientation in {3, 4, 7, 8}:
        pixels = pixels[::-1]
    return pixels


def unorient(pixels: Pixels, orientation: int) -> Pixels:
    """The inverse of `orient`: from the upright picture back to the file's own grid."""
    if orientation in {3, 4, 7, 8}:
        pixels = pixels[::-1]
    if orientation in {2, 3, 6, 7}:
        pixels = pixels[:, ::-1]
    if orientation in {5, 6, 7, 8}:
        pixels = pixels.swapaxes(0, 1)
    return pixels


def encode_png(pixels: Pixels, *, level: int = 3) -> bytes:
    """A PNG of uint8 pixels, (height, width) or (height, width, 3), with nothing but the pixels."""
    target = io.BytesIO()
    # Filtered pixels of a scan hardly repeat. Looking for runs only is faster than looking for
    # any repetition, and leaves more to the code lengths: the files are smaller, too.
    image = Image.fromarray(pixels)
    image.save(target, "PNG", compress_level=level, compress_type=zlib.Z_RLE)
    return target.getvalue()
