"""Files of far more parts than a picture needs, each of which costs its readers time or memory."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mltasks.images import ImageError, Limits, decode

LIMITS = Limits(max_bytes=20 * 2**20, max_pixels=40_000_000)
NOISE = np.random.default_rng(0).integers(0, 255, (64, 64), dtype=np.uint8)


def saved(kind: str, pixels: np.ndarray[Any, Any] = NOISE, **options: Any) -> bytes:
    target = io.BytesIO()
    Image.fromarray(pixels).save(target, kind, **options)
    return target.getvalue()


def refusal(content: bytes) -> str:
    """The code of the error."""
    with pytest.raises(ImageError) as caught:
        decode(content, LIMITS)
    return caught.value.code


def chunk(kind: bytes, data: bytes = b"") -> bytes:
    """A part of a PNG."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def with_chunks(*chunks: bytes) -> bytes:
    """A PNG with these behind its header."""
    whole = saved("PNG")
    return whole[:33] + b"".join(chunks) + whole[33:]


def with_segments(*segments: bytes) -> bytes:
    """A JPEG with these behind its first mark."""
    whole = saved("JPEG")
    return whole[:2] + b"".join(segments) + whole[2:]


def segment(mark: int, data: bytes = b"") -> bytes:
    """A part of a JPEG."""
    return bytes((0xFF, mark)) + struct.pack(">H", 2 + len(data)) + data


EXIF = segment(0xE1, b"Exif\0\0MM\0*\0\0\0\x08\0\0")


def tiff(*, pages: int = 1, **tags: int) -> bytes:
    """Grey pixels in one strip, and that many directories, the others as short as can be."""
    numbers = {
        "width": 256, "height": 257, "bits": 258, "compression": 259, "photometric": 262,
        "strip": 273, "samples": 277, "rows": 278, "bytes": 279,
        "tile_width": 322, "tile_height": 323, "tile": 324, "tile_bytes": 325,
    }  # fmt: skip
    values = {
        "width": 64, "height": 64, "bits": 8, "compression": 1, "photometric": 1, "strip": 8,
        "samples": 1, "rows": 64, "bytes": 4096, **tags,
    }  # fmt: skip
    start = 8 + 4096
    following = start + 2 + 12 * len(values) + 4
    entries = b"".join(
        struct.pack("<HHII", numbers[name], 4, 1, value) for name, value in values.items()
    )
    content = b"II*\0" + struct.pack("<I", start) + NOISE.tobytes()
    content += struct.pack("<H", len(values)) + entries
    offsets = [following + 6 * n for n in range(pages - 1)]
    content += struct.pack("<I", offsets[0] if offsets else 0)
    for offset in [*offsets[1:], 0][: len(offsets)]:
        content += struct.pack("<HI", 0, offset)
    return content


@pytest.mark.parametrize(
    "content",
    [
        with_chunks(chunk(b"prVt") * 20_000),
        with_chunks(chunk(b"tEXt", b"k\0v") * 20_000),
        with_chunks(chunk(b"iCCP", b"k\0\0" + zlib.compress(bytes(1000))) * 11),
        with_segments(segment(0xE5) * 20_000),
        with_segments(EXIF * 11),
    ],
    ids=["chunks", "texts", "profiles", "segments", "exif"],
)
def test_too_many_parts(content: bytes) -> None:
    assert refusal(content) == "overloaded"


@pytest.mark.parametrize("filling", [b"\xff", b"no mark "])
def test_bytes_between_parts(filling: bytes) -> None:
    few, many = (with_segments(EXIF, filling * n) for n in (10, 5000))
    assert decode(few, LIMITS).pixels.shape == (64, 64)
    assert refusal(many) == "corrupt"


def test_scans_without_end() -> None:
    """Each takes as long as the whole picture, and may be a dozen bytes."""
    whole = saved("JPEG", np.full((64, 64), 90, np.uint8), progressive=True)
    last = whole[whole.rindex(b"\xff\xda") : -2]
    assert refusal(whole[:-2] + last * 200 + whole[-2:]) == "overloaded"


def test_pages_are_not_counted_one_by_one() -> None:
    assert decode(tiff(), LIMITS).pixels.shape == (64, 64)
    assert refusal(tiff(pages=2)) == "several_pages"
    assert refusal(tiff(pages=50_000)) == "several_pages"


def test_a_tile_much_larger_than_the_picture() -> None:
    """It would be unpacked whole, to gigabytes."""
    tile = {"strip": 8, "tile_width": 20_480, "tile_height": 20_480, "tile": 8, "tile_bytes": 4096}
    assert refusal(tiff(compression=8, **tile)) == "corrupt"


def packed_bmp(width: int, height: int) -> bytes:
    """Runs of one value, the end of each row, and that of the picture."""
    rows = (b"".join(bytes((min(255, width - x), 80)) for x in range(0, width, 255)) + b"\0\0") * 16
    palette, packed = bytes(range(256)) * 4, rows + b"\0\1"
    start = 14 + 40 + len(palette)
    header = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, 1, len(packed), 0, 0, 256, 0)
    return (
        b"BM" + struct.pack("<IHHI", start + len(packed), 0, 0, start) + header + palette + packed
    )


def test_a_large_bmp_that_only_python_unpacks() -> None:
    assert decode(packed_bmp(64, 16), LIMITS).pixels.shape[:2] == (16, 64)
    assert refusal(packed_bmp(2_400_000, 16)) == "unknown_kind"


@pytest.mark.parametrize(
    "content",
    [
        saved("PNG", np.repeat(NOISE, 40, axis=0)),
        saved("PNG", icc_profile=bytes(100_000)),
        saved("JPEG", progressive=True, quality=95),
        saved("JPEG", np.repeat(NOISE, 40, axis=0), restart_marker_blocks=1),
        saved("JPEG", icc_profile=bytes(500_000), exif=EXIF[4:]),
        with_segments(EXIF, b"\xff" * 16, segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0")),
        with_chunks(*[chunk(b"tEXt", b"Comment\0a word")] * 100),
    ],
    ids=["png", "profile", "progressive", "restarts", "camera", "padded", "comments"],
)
def test_what_programs_write_is_read(content: bytes) -> None:
    assert decode(content, LIMITS).pixels.shape[1] == 64
