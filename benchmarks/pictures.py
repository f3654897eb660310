"""Pictures to measure with: slices of the training data where there are some, else drawn ones."""

from __future__ import annotations

import csv
from itertools import cycle, islice
from pathlib import Path

import numpy as np
from PIL import Image

from mltasks.phantom import drawn_head


def pictures(count: int, data: Path | None) -> tuple[str, list[np.ndarray]]:
    """`count` pictures and what they are."""
    if data is None:
        return "drawn heads, 512×512", [drawn_head(seed)[0] for seed in range(count)]
    with (data / "manifest.csv").open(encoding="utf-8", newline="") as stream:
        names = [row["id"] for row in csv.DictReader(stream)]
    # Every class in turn: the manifest lists them one after the other.
    spread = islice(cycle(names[:: max(1, len(names) // count)]), count)
    return "slices of the training data", [
        np.asarray(Image.open(data / "images" / f"{name}.jpg").convert("L")) for name in spread
    ]
