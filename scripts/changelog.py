#!/usr/bin/env python3
"""Prints what CHANGELOG.md says of one version: the notes of its release.

    changelog.py v1.2.0

Ends with 1 and a sentence if there is no such section, or an empty one.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

CHANGELOG = Path(__file__).resolve().parents[1] / "CHANGELOG.md"
# Of semantic versioning: three numbers, then perhaps a pre-release.
_VERSION = re.compile(r"v?(\d+\.\d+\.\d+(?:-[0-9A-Za-z.-]+)?)")
_HEADING = re.compile(r"^## +\[?v?([^\]\s]+)\]?(?:\s.*)?$", re.MULTILINE)


class NotesError(Exception):
    """There are no notes to release with; the message says what to do."""


def notes(text: str, tag: str) -> str:
    """The section of a version, without its heading.

    Raises:
        NotesError: the tag is no version, or its section is missing, twice there or empty.
    """
    match = _VERSION.fullmatch(tag)
    if match is None:
        raise NotesError(f"{tag!r} is not a version: name the tag like v1.2.0")
    version = match[1]
    headings = list(_HEADING.finditer(text))
    found = [place for place, one in enumerate(headings) if one[1] == version]
    if not found:
        raise NotesError(
            f"CHANGELOG.md has no section of {version}: put the lines under “Unreleased” below "
            f"“## {version}” and tag that commit"
        )
    if len(found) > 1:
        raise NotesError(f"CHANGELOG.md has {len(found)} sections of {version}: leave one")
    start = headings[found[0]].end()
    after = headings[found[0] + 1 :]
    section = text[start : after[0].start() if after else len(text)].strip()
    if not re.search(r"^[-*] +\S", section, re.MULTILINE):
        raise NotesError(f"the section of {version} in CHANGELOG.md says nothing: list the changes")
    return section


def main(arguments: list[str]) -> int:
    if len(arguments) != 1:
        print("usage: changelog.py TAG", file=sys.stderr)
        return 2
    try:
        print(notes(CHANGELOG.read_text(encoding="utf-8"), arguments[0]))
    except NotesError as error:
        print(f"No release: {error}.", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
