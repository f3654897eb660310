"""How often the search for copies errs, measured on pairs whose truth is known.

Pairs that are copies are made: an image is turned or mirrored, resized, re-windowed, re-framed,
recompressed, and all of this at once. Pairs that are not are found: the most similar image of
another class or plane, and the next image of a series by name if its mask shows another tumour.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mltasks.datasets.copies import FingerprintStore, Views, likeness
from mltasks.datasets.fingerprints import TURNS, fingerprint, turned
from mltasks.preprocessing import Pixels

Rng = np.random.Generator
# How many images are compared with all others at once.
_BLOCK = 64


def _turn(pixels: Pixels, rng: Rng) -> Pixels:
    pixels = np.rot90(pixels, int(rng.integers(0, 4)))
    return np.ascontiguousarray(pixels[:, ::-1] if rng.random() < 0.5 else pixels)


def _resize(pixels: Pixels, rng: Rng) -> Pixels:
    height, width = pixels.shape
    share = rng.uniform(0.4, 1.2)
    size = max(16, round(width * share)), max(16, round(height * share))
    method = Image.Resampling.BICUBIC if rng.random() < 0.5 else Image.Resampling.BILINEAR
    return np.asarray(Image.fromarray(pixels).resize(size, method))


def _window(pixels: Pixels, rng: Rng) -> Pixels:
    values = (pixels / 255.0) ** np.exp(rng.uniform(-0.3, 0.3))
    values = values * rng.uniform(0.75, 1.25) + rng.uniform(-0.03, 0.03)
    return np.asarray(np.clip(values, 0, 1) * 255, np.uint8)


def _frame(pixels: Pixels, rng: Rng) -> Pixels:
    sides = rng.uniform(0, 0.08, 4) * np.repeat(pixels.shape, 2)
    top, bottom, left, right = sides.astype(int)
    return np.pad(pixels, ((top, bottom), (left, right)), constant_values=int(pixels.min()))


def _recompress(pixels: Pixels, rng: Rng) -> Pixels:
    target = io.BytesIO()
    Image.fromarray(pixels).save(target, "JPEG", quality=int(rng.integers(40, 95)))
    with Image.open(target) as image:
        return np.array(image.convert("L"))


def _all(pixels: Pixels, rng: Rng) -> Pixels:
    for change in (_turn, _resize, _window):
        pixels = change(pixels, rng)
    if rng.random() < 0.3:
        pixels = _frame(pixels, rng)
    return _recompress(pixels, rng)


CHANGES: dict[str, Callable[[Pixels, Rng], Pixels]] = {
    "turned or mirrored": _turn,
    "resized to 40–120%": _resize,
    "windowed anew": _window,
    "black border of up to 8%": _frame,
    "JPEG quality 40–94": _recompress,
    "all at once": _all,
}


def altered(
    store: FingerprintStore, numbers: Sequence[int], pictures: Sequence[Pixels], *, seed: int = 0
) -> dict[str, Views]:
    """Likeness of images to altered versions of themselves, by alteration."""
    rng = np.random.default_rng(seed)
    found = {}
    for name, change in CHANGES.items():
        other = FingerprintStore()
        for picture in pictures:
            other.add(fingerprint(change(picture, rng)))
        found[name] = likeness(store, numbers, other, range(len(pictures)))
    return found


def strangers(store: FingerprintStore, numbers: Sequence[int], kinds: Sequence[Any]) -> Views:
    """Likeness of each image to the most similar one of another kind (class or plane)."""
    codes = np.unique([str(kind) for kind in kinds], return_inverse=True)[1]
    scores = {}
    for view in ("whole", "framed"):
        everything = store.vectors(view, slice(None))
        best = np.full(len(numbers), -1.0)
        for start in range(0, len(numbers), _BLOCK):
            block = list(numbers[start : start + _BLOCK])
            for turn in range(TURNS):
                values = turned(store.vectors(view, block), turn) @ everything.T
                values[codes[block][:, None] == codes[None]] = -1
                place = slice(start, start + len(block))
                best[place] = np.maximum(best[place], values.max(axis=1))
        scores[view] = best
    return Views(**scores)


def small_mask(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """A mask at 64×64, for comparing two."""
    image = Image.fromarray(mask.astype(np.uint8) * 255)
    return np.asarray(image.resize((64, 64), Image.Resampling.BOX)) > 127
