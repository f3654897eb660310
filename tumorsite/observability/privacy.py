"""Takes out of a text what may tell who somebody is. The second line of defence.

The first is that nothing of the kind is logged. This one is for what others write: exceptions of
the database that quote a row, addresses in messages of servers.
"""

from __future__ import annotations

import re

# Up to the next paragraph: the database quotes whole rows.
_ROW = re.compile(r"(?:DETAIL|CONTEXT):.*?(?=\n\n|\n\[|\Z)|Key \([^)]*\)=\(.*?\)", re.DOTALL)
_EMAIL = re.compile(r"[\w.+%-]+@[\w-]+(?:\.[\w-]+)+")
_IPV4 = re.compile(r"(?<![\w.])(?!127\.0\.0\.1\b|0\.0\.0\.0\b)\d{1,3}(?:\.\d{1,3}){3}(?![\w.]\d)")
_GROUP = "[0-9A-Fa-f]{1,4}"
_IPV6 = re.compile(
    rf"(?<![\w:])(?:(?:{_GROUP}:){{7}}{_GROUP}|(?:{_GROUP}:){{1,6}}(?::{_GROUP}){{0,6}}:?)(?![\w:])"
)
_HAS_GAP = re.compile("::|(?:[^:]*:){7}")
# Our own keys of pictures hold ids only, and are needed to find what is wrong with them.
_PICTURE = re.compile(
    r"(?P<path>[^\s'\"<>()\[\]]*)\.(?:png|jpe?g|tiff?|webp|bmp|gif|dcm|nii|pdf)\b", re.IGNORECASE
)
_QUOTED_PICTURE = re.compile(
    r"(?P<quote>['\"])(?P<path>[^'\"\n]{1,300})\.(?:png|jpe?g|tiff?|webp|bmp|gif|dcm|nii|pdf)"
    r"(?P=quote)",
    re.IGNORECASE,
)
_OURS = re.compile(
    r"(?:.*/)?(?:scans/[0-9a-f-]{36}/.*|image|thumbnail|attention|area|outline|contours)"
)


def _address(found: re.Match[str]) -> str:
    # Times have colons, too.
    return "[address]" if _HAS_GAP.search(found[0]) else found[0]


def _picture(found: re.Match[str]) -> str:
    return found[0] if _OURS.fullmatch(found["path"]) else "[file]"


def cleaned(text: str) -> str:
    """The text without e-mail and network addresses, rows of the database and names of files."""
    if "DETAIL" in text or "CONTEXT" in text or "Key (" in text:
        text = _ROW.sub("[row]", text)
    if "@" in text:
        text = _EMAIL.sub("[e-mail]", text)
    if "." in text:
        text = _IPV4.sub("[address]", text)
        text = _PICTURE.sub(_picture, _QUOTED_PICTURE.sub(_picture, text))
    if ":" in text:
        text = _IPV6.sub(_address, text)
    return text
