"""Which images are neighbours in a series, judging by their names.

Collections number the slices of a scan consecutively. Neighbours by number that also resemble
each other are slices of one head, and must not be split between training and test.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from mltasks.datasets.copies import FingerprintStore, likeness_within
from mltasks.datasets.form import Row

# Least likeness of neighbours in one series, as whole pictures or within the frame of the head.
ALIKE = 0.80
_NUMBER = re.compile(r"\d+")


def _split(name: str) -> tuple[str, int, str] | None:
    """The text around the longest number in a name, and the number."""
    numbers = list(_NUMBER.finditer(name))
    if not numbers:
        return None
    chosen = max(numbers, key=lambda found: (found.end() - found.start(), found.start()))
    return name[: chosen.start()], int(chosen[0]), name[chosen.end() :]


def neighbours_by_name(rows: Sequence[Row]) -> list[tuple[int, int]]:
    """Places of rows of one part, label and plane whose numbers in the name differ by one.

    Rows whose patient is known are left out: for them nothing needs to be guessed.
    """
    places: dict[tuple[str, ...], dict[int, int]] = {}
    for place, row in enumerate(rows):
        parts = _split(row.id)
        if parts is not None and not row.patient:
            before, number, after = parts
            key = before, after, row.part, row.label, row.plane, row.source
            places.setdefault(key, {})[number] = place
    return [
        (place, numbers[number + 1])
        for numbers in places.values()
        for number, place in numbers.items()
        if number + 1 in numbers
    ]


def blocks(
    rows: Sequence[Row], store: FingerprintStore, numbers: Sequence[int]
) -> Iterator[tuple[int, int]]:
    """Places of neighbours that resemble each other.

    If both images came with groups, those decide: whoever made them knew more than the names
    say, and chains of likeness between large groups would join everything into one.

    Args:
        numbers: of the rows' fingerprints in `store`; negative where there is none.
    """
    pairs = [
        (a, b)
        for a, b in neighbours_by_name(rows)
        if numbers[a] >= 0 and numbers[b] >= 0 and not (_grouped(rows[a]) and _grouped(rows[b]))
    ]
    for start in range(0, len(pairs), 1024):
        some = pairs[start : start + 1024]
        found = likeness_within(store, [(numbers[a], numbers[b]) for a, b in some])
        for pair, whole, framed in zip(some, found.whole, found.framed, strict=True):
            if max(whole, framed) >= ALIKE:
                yield pair


def _grouped(row: Row) -> bool:
    """Whether someone put it into a group with others."""
    return row.group not in {"", row.id}
