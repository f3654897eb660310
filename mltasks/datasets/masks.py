"""Looks for masks that cannot be right: empty, nearly full, outside the head, shifted or flipped.

A tumour differs in brightness from its surroundings. If the rim of a mask differs from its
surroundings much less than it would after a flip, a quarter turn or a shift, it is misplaced.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from mltasks.datasets.fingerprints import head_frame
from mltasks.datasets.items import Mask
from mltasks.evaluation import dice_score
from mltasks.preprocessing import Floats, Pixels

# Longer side of the copies that are examined.
_SIDE = 128
_FULL_SHARE, _OUTSIDE_SHARE = 0.6, 0.5
# Widths of the inner rim and of the surroundings, as sizes of a square filter.
_RIM, _AROUND = 5, 7
_LEAST_POINTS = 5
# How far masks are shifted, as a share of the longer side.
_SHIFT = 0.08
# Other positions that overlap the given one by more than this are not compared.
_OVERLAP = 0.5
# A mask is reported if its contrast, relative to that of the best other position, is below this.
SUSPICIOUS = 0.4
# Brightness differences due to noise, so that flat regions have no contrast.
_NOISE = 4.0

Points = NDArray[np.int64]
MESSAGES = {
    "empty": "the mask is empty",
    "full": "the mask covers nearly all of the head",
    "outside": "more than half of the mask lies outside the head",
    "misplaced": "the mask would fit far better {}",
}


def check_mask(grey: Pixels, mask: Mask) -> tuple[str, str] | None:
    """What is wrong with a mask, as a key of `MESSAGES` and a sentence; None if nothing is found.

    Args:
        grey: uint8 (height, width).
        mask: bool of the same size.
    """
    if not mask.any():
        return "empty", MESSAGES["empty"]
    left, top, right, bottom = head_frame(grey)
    inside = np.zeros_like(mask)
    inside[top:bottom, left:right] = True
    if mask.sum() > _FULL_SHARE * inside.sum():
        return "full", MESSAGES["full"]
    if (mask & ~inside).sum() > _OUTSIDE_SHARE * mask.sum():
        return "outside", MESSAGES["outside"]
    ratio, where = fit(grey, mask)
    if ratio < SUSPICIOUS:
        return "misplaced", MESSAGES["misplaced"].format(where)
    return None


def fit(grey: Pixels, mask: Mask) -> tuple[float, str]:
    """Ratio of the contrast at the mask's rim to that of the best other position, and its name.

    Infinite where no other position differs enough.
    """
    small, shape = _reduced(grey, mask)
    rim, around, points = (_points(part) for part in _rings(shape))
    if len(points) < _LEAST_POINTS:
        return float("inf"), ""
    given = _contrast(small, rim, around)
    best, where = 0.0, ""
    for name, moved in _places(small.shape):
        if _overlap(shape, points, moved) > _OVERLAP:
            continue
        contrast = _contrast(small, moved(rim), moved(around))
        if contrast > best:
            best, where = contrast, name
    return (given / best if best > 0 else float("inf")), where


def _reduced(grey: Pixels, mask: Mask) -> tuple[Floats, Mask]:
    height, width = grey.shape
    scale = _SIDE / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    method = Image.Resampling.BOX
    small = Image.fromarray(grey).resize(size, method)
    shape = Image.fromarray(mask.astype(np.uint8) * 255).resize(size, method)
    return np.asarray(small, np.float32), np.asarray(shape) > 127


def _rings(shape: Mask) -> tuple[Mask, Mask, Mask]:
    """The inner rim, the surroundings, and the shape itself."""
    image = Image.fromarray(shape.astype(np.uint8) * 255)
    wide = np.asarray(image.filter(ImageFilter.MaxFilter(_AROUND))) > 0
    core = np.asarray(image.filter(ImageFilter.MinFilter(_RIM))) > 0
    rim = shape & ~core
    return (rim if rim.sum() >= _LEAST_POINTS else shape), wide & ~shape, shape


def _points(shape: Mask) -> Points:
    return np.argwhere(shape)


class _Move:
    """Another position of a mask: flipped, turned or shifted."""

    def __init__(self, shape: tuple[int, ...], kind: str, shift: tuple[int, int] = (0, 0)) -> None:
        self._limit = np.array(shape) - 1
        self._kind, self._shift = kind, np.array(shift)

    def __call__(self, points: Points) -> Points:
        moved = points[:, ::-1] if "t" in self._kind else points
        for axis, letter in enumerate("vh"):
            if letter in self._kind:
                moved = moved.copy()
                moved[:, axis] = self._limit[axis] - moved[:, axis]
        return np.asarray(moved + self._shift)


def _places(shape: tuple[int, ...]) -> Iterator[tuple[str, _Move]]:
    yield "mirrored left to right", _Move(shape, "h")
    yield "upside down", _Move(shape, "v")
    yield "after half a turn", _Move(shape, "hv")
    if shape[0] == shape[1]:
        yield "with rows and columns exchanged", _Move(shape, "t")
        yield "mirrored about the other diagonal", _Move(shape, "thv")
        yield "after a quarter turn left", _Move(shape, "tv")
        yield "after a quarter turn right", _Move(shape, "th")
    step = round(_SHIFT * max(shape))
    for down in (-step, 0, step):
        for right in (-step, 0, step):
            if down or right:
                yield f"shifted {_shift_name(down, right)}", _Move(shape, "", (down, right))


def _shift_name(down: int, right: int) -> str:
    """By how much and where to, as people read it."""
    vertical = "" if not down else "down" if down > 0 else "up"
    sideways = "" if not right else "to the right" if right > 0 else "to the left"
    ways = " and ".join(way for way in (vertical, sideways) if way)
    return f"by {_SHIFT:.0%} of the longer side {ways}"


def _overlap(shape: Mask, points: Points, move: _Move) -> float:
    """Dice of the shape and the shape moved."""
    moved = _inside(move(points), shape.shape)
    shared = int(shape[moved[:, 0], moved[:, 1]].sum())
    return 2 * shared / (len(points) + len(moved))


def _inside(points: Points, shape: tuple[int, ...]) -> Points:
    kept = ((points >= 0) & (points < np.array(shape))).all(axis=1)
    return np.asarray(points[kept])


def _contrast(grey: Floats, rim: Points, around: Points) -> float:
    """Difference of mean brightness over the spread; 0 if most of it lies outside the picture."""
    rim_in, around_in = _inside(rim, grey.shape), _inside(around, grey.shape)
    if len(rim_in) < max(_LEAST_POINTS, len(rim) / 2) or len(around_in) < _LEAST_POINTS:
        return 0.0
    one = grey[rim_in[:, 0], rim_in[:, 1]]
    other = grey[around_in[:, 0], around_in[:, 1]]
    spread = float(np.sqrt((one.var() + other.var()) / 2)) + _NOISE
    return abs(float(one.mean() - other.mean())) / spread


def misplaced(mask: Mask, rng: np.random.Generator) -> Mask:
    """The mask flipped or shifted to a wrong position, for measuring the check."""
    moves = [
        np.asarray(mask[:, ::-1]),
        np.asarray(mask[::-1]),
        np.asarray(mask[::-1, ::-1]),
        *(_rolled(mask, rng) for _ in range(2)),
    ]
    wrong = [moved for moved in moves if dice_score(mask, moved) <= _OVERLAP]
    return wrong[int(rng.integers(len(wrong)))] if wrong else mask


def _rolled(mask: Mask, rng: np.random.Generator) -> Mask:
    angle, reach = rng.uniform(0, 2 * np.pi), rng.uniform(0.08, 0.2) * max(mask.shape)
    return np.roll(mask, (round(reach * np.sin(angle)), round(reach * np.cos(angle))), (0, 1))
