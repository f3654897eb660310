"""What Pillow does not tell of a WebP file."""

from __future__ import annotations

from typing import IO, Any

# The two kinds of chunk that hold a picture; before them there may be others.
_LOSSY, _LOSSLESS = b"VP8 ", b"VP8L"


def is_lossless(file: IO[bytes] | Any) -> bool:
    """Whether it is a WebP file that keeps every pixel as it was. Read from its beginning."""
    file.seek(0)
    head = file.read(12)
    if head[:4] != b"RIFF" or head[8:] != b"WEBP":
        return False
    while len(chunk := file.read(8)) == 8:
        if chunk[:4] in {_LOSSY, _LOSSLESS}:
            return bool(chunk[:4] == _LOSSLESS)
        size = int.from_bytes(chunk[4:], "little")
        file.seek(size + size % 2, 1)
    return False
