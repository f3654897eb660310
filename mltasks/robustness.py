"""How answers hold when a slice arrives in another form than those learnt from."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from PIL import Image

from mltasks import evaluation
from mltasks.data import Sample
from mltasks.inference import Analyzer
from mltasks.preprocessing import Pixels


def inverted(pixels: Pixels) -> Pixels:
    """Black for white, as some viewers show bone."""
    return 255 - pixels


def coloured(pixels: Pixels) -> Pixels:
    """Through a colour map from black over red and yellow to white."""
    heat = pixels.astype(np.float32) * (3 / 255)
    channels = [np.clip(heat - start, 0, 1) for start in (0, 1, 2)]
    return np.rint(np.stack(channels, axis=-1) * 255).astype(np.uint8)


def cropped(pixels: Pixels) -> Pixels:
    """The middle 60% of width and height."""
    height, width = pixels.shape
    return pixels[height // 5 : height - height // 5, width // 5 : width - width // 5]


def framed(pixels: Pixels) -> Pixels:
    """A white border, as on a page."""
    return np.pad(pixels, max(pixels.shape) // 10, constant_values=255)


def turned(pixels: Pixels) -> Pixels:
    """A quarter turn."""
    return np.ascontiguousarray(np.rot90(pixels))


def dim(pixels: Pixels) -> Pixels:
    """A third of the brightness."""
    return pixels // 3


def tiny(pixels: Pixels) -> Pixels:
    """Longest side 96 pixels, as a thumbnail."""
    image = Image.fromarray(pixels)
    image.thumbnail((96, 96))
    return np.array(image)


def compressed(pixels: Pixels) -> Pixels:
    """JPEG of quality 15."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=15)
    with Image.open(buffer) as image:
        return np.array(image)


CHANGES: dict[str, Callable[[Pixels], Pixels]] = {
    change.__name__: change
    for change in (turned, framed, dim, tiny, compressed, cropped, coloured, inverted)
}


def measure(
    analyzer: Analyzer, samples: Sequence[Sample], *, batch: int = 16
) -> dict[str, dict[str, Any]]:
    """Accuracy and refusals on the slices after each change.

    Returns:
        By the name of the change: `n`, `refused` (share), and `accuracy` of the most likely
        class, refused or not.
    """
    figures = {}
    for name, change in CHANGES.items():
        right = refused = 0
        for start in range(0, len(samples), batch):
            chunk = samples[start : start + batch]
            found = analyzer.analyze([change(sample.pixels) for sample in chunk])
            for sample, analysis in zip(chunk, found, strict=True):
                best = max(analysis.probabilities, key=lambda key: analysis.probabilities[key])
                right += best == sample.record.label
                refused += analysis.status != "ok"
        count = len(samples)
        figures[name] = {
            "n": count,
            "accuracy": round(right / count, 4),
            "accuracy_ci95": evaluation.proportion_interval(right, count),
            "refused": round(refused / count, 4),
            "refused_ci95": evaluation.proportion_interval(refused, count),
        }
    return figures
