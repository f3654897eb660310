"""Pictures to measure with: slices of the training data if available, else drawn heads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path

from mltasks.data import Record, image_path, load_sample, read_manifest
from mltasks.images import encode_png
from mltasks.preprocessing import Pixels
from tests.support.phantom import drawn_head

# The fold that the released networks were not trained on.
HELD_OUT = 0


@dataclass(frozen=True, slots=True)
class Slices:
    """Pictures to compare engines with.

    Attributes:
        kind: what they are.
        calibration: from the training folds, to measure the ranges of 8-bit integers on.
        held_out: from the held-out fold.
        tumours: files with a tumour from the held-out fold, as people upload them.
    """

    kind: str
    calibration: list[Pixels]
    held_out: list[Pixels]
    tumours: list[bytes]


def pictures(count: int, data: Path | None) -> tuple[str, list[Pixels]]:
    """`count` pictures and what they are.

    Raises:
        DataError: a file of the training data is missing or damaged.
    """
    if data is None:
        return "drawn heads, 512×512", [drawn_head(seed)[0] for seed in range(count)]
    records = read_manifest(data)
    # Evenly spaced, as the manifest is ordered by class.
    spread = islice(cycle(records[:: max(1, len(records) // count)]), count)
    return "slices of the training data", [load_sample(data, one).pixels for one in spread]


def _spread(records: Sequence[Record], count: int) -> list[Record]:
    """`count` records, or all if there are fewer, evenly spaced through the manifest."""
    count = min(count, len(records))
    return [records[index * len(records) // count] for index in range(count)]


def slices(data: Path | None, *, count: int = 100, files: int = 24) -> Slices:
    """Slices of the training data, or drawn heads without.

    Args:
        count: for calibration, and as many held out.
        files: number of files with a tumour.

    Raises:
        DataError: a file of the training data is missing or damaged.
    """
    if data is None:
        heads = [drawn_head(seed)[0] for seed in range(2 * count)]
        tumours = [encode_png(head) for head in heads[count : count + files]]
        return Slices("drawn heads, 512×512", heads[:count], heads[count:], tumours)
    records = read_manifest(data)
    training = _spread([one for one in records if one.fold != HELD_OUT], count)
    held_out = [one for one in records if one.fold == HELD_OUT]
    affected = _spread([one for one in held_out if one.has_mask], files)
    return Slices(
        "slices of the training data's held-out fold",
        [load_sample(data, one).pixels for one in training],
        [load_sample(data, one).pixels for one in _spread(held_out, count)],
        [image_path(data, one).read_bytes() for one in affected],
    )
