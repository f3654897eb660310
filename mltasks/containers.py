"""Of how many parts a picture's file is made, counted before anything reads it.

Readers take time for each part: for some of them the time of all parts before, for others that of
the whole picture. A small file of nothing but parts would keep a processor busy for hours.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from PIL.JpegImagePlugin import MARKER

# Cameras and editors write some dozens, and pixels come in parts of 4 kB or more.
_FEW_PARTS, _BYTES_A_PART = 1000, 1000
# Of a progressive JPEG, each of which goes through all pixels: programs make 10, at most 64.
_MOST_SCANS = 100
# Colour profiles of a PNG are unpacked, and Exif of a JPEG is joined, one by one. One is usual.
_MOST_BLOCKS = 10
# Bytes between the parts of a JPEG's header that belong to none of them.
_MOST_FILLING = 4096

_EOI, _SOS, _APP1 = 0xFFD9, 0xFFDA, 0xFFE1
_MARKER = re.compile(rb"\xff+([\x01-\xfe])")
# Among a scan's data there are marks of restarts, too.
_AFTER_SCAN = re.compile(rb"\xff+([\x01-\xcf\xd8-\xfe])")


def excess(data: bytes, format_name: str) -> str:
    """What there is too much of: "parts", "filling" between them, or "" if nothing."""
    walk = {"JPEG": _jpeg, "PNG": _png}.get(format_name)
    if walk is None:
        # Those of the other formats are read at once, or not at all.
        return ""
    most = _FEW_PARTS + len(data) // _BYTES_A_PART
    counts: dict[str, int] = {"scan": _MOST_SCANS, "block": _MOST_BLOCKS, "": most}
    for number, kind in enumerate(walk(data), 1):
        if kind == "filling":
            return kind
        counts[kind] -= 1
        if number > most or counts[kind] < 0:
            return "parts"
    return ""


def _jpeg(data: bytes) -> Iterator[str]:
    """The kind of each part of the first picture: "scan", "block", "filling" or ""."""
    at, scans, in_scan = 2, 0, False
    while found := (_AFTER_SCAN if in_scan else _MARKER).search(data, at):
        if not in_scan and found.end() - at > _MOST_FILLING:
            yield "filling"
        code, at = 0xFF00 | found[1][0], found.end()
        if code == _EOI and scans:
            return
        in_scan = code == _SOS
        scans += in_scan
        exif = code == _APP1 and data.startswith(b"Exif\0\0", at + 2)
        yield "scan" if in_scan else "block" if exif else ""
        # By Pillow's own table, so that it steps from part to part as Pillow does.
        if code in MARKER and MARKER[code][2] is not None:
            at += max(2, int.from_bytes(data[at : at + 2]))
    if not in_scan and len(data) - at > _MOST_FILLING:
        yield "filling"


def _png(data: bytes) -> Iterator[str]:
    """The kind of each part: "block" or ""."""
    at, kind = 8, b""
    while at + 8 <= len(data) and kind != b"IEND":
        length, kind = int.from_bytes(data[at : at + 4]), data[at + 4 : at + 8]
        yield "block" if kind == b"iCCP" else ""
        at += 12 + length
