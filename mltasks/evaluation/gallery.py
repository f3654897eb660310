"""The worst misses as pictures, with the expert's outline, the network's outline and answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageFilter

from mltasks.classes import CLASSES
from mltasks.data import Record, Sample
from mltasks.evaluation.results import KIND_UNKNOWN, Array, Results
from mltasks.inference import Analyzer

_SHOWN, _SIDE = 24, 360
# Blue and orange differ for colour-blind people, too; the orange line is also dashed.
_EXPERT, _NETWORK = (86, 180, 233), (230, 159, 0)


def worst(results: Results, count: int) -> list[int]:
    """Indices of the worst misses: half are wrong classes, most confident first, half bad outlines.

    Tumours called no tumour come first.
    """
    wrong = results.kind_known & ~results.right
    missed = results.tumor & (results.predicted == CLASSES.index("no_tumor"))
    badness = results.probabilities.max(axis=1) + missed
    names = [int(k) for k in np.argsort(-badness, kind="stable") if wrong[k] or missed[k]]
    scored = np.flatnonzero(~np.isnan(results.dice))
    areas = [int(k) for k in scored[np.argsort(results.dice[scored], kind="stable")]]
    chosen = names[: (count + 1) // 2]
    return chosen + [k for k in areas if k not in chosen][: count - len(chosen)]


def _outline(mask: Array) -> Array:
    grown = np.asarray(Image.fromarray(mask.astype(np.uint8)).filter(ImageFilter.MaxFilter(5)))
    return np.asarray((grown > 0) & ~mask)


def _picture(sample: Sample, area: Array) -> Image.Image:
    """The slice with both outlines, longest side `_SIDE`."""
    scale = _SIDE / max(sample.pixels.shape)
    size = tuple(max(1, round(side * scale)) for side in sample.pixels.shape[::-1])

    def scaled(mask: Array) -> Array:
        image = Image.fromarray(mask.astype(np.uint8) * 255)
        return np.asarray(image.resize((size[0], size[1]), Image.Resampling.BILINEAR)) > 127

    base = Image.fromarray(sample.pixels).resize((size[0], size[1]), Image.Resampling.BICUBIC)
    drawn = np.array(base.convert("RGB"))
    if sample.mask is not None:
        drawn[_outline(scaled(sample.mask > 127))] = _EXPERT
    rows, columns = np.indices(drawn.shape[:2])
    dashes = (rows + columns) % 12 < 8
    drawn[_outline(scaled(area)) & dashes] = _NETWORK
    return Image.fromarray(drawn)


def write(
    analyzer: Analyzer,
    results: Results,
    records: Sequence[Record],
    load: Callable[[Record], Sample],
    folder: Path,
) -> list[dict[str, Any]]:
    """Write the pictures of the worst misses; return what a report says of each.

    Args:
        records: those of the results, in the same order.
        folder: for the pictures; it exists.
    """
    misses = []
    for rank, index in enumerate(worst(results, _SHOWN), start=1):
        sample = load(records[index])
        (found,) = analyzer.analyze([sample.pixels])
        name = f"miss-{rank:02d}.png"
        _picture(sample, found.area).save(folder / name)
        target = int(results.target[index])
        dice = float(results.dice[index])
        answer = CLASSES[int(results.predicted[index])]
        misses.append(
            {
                "picture": f"{folder.name}/{name}",
                "id": records[index].id,
                "true": "tumor" if target == KIND_UNKNOWN else CLASSES[target],
                "answer": answer,
                "probability": round(float(results.probabilities[index].max()), 4),
                "dice": None if np.isnan(dice) else round(dice, 4),
                "flagged": bool(results.flagged[index]),
                "committed": bool(results.committed[index]),
            }
        )
    return misses
