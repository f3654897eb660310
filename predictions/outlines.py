"""The borders of masks as smooth closed lines."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Loop = NDArray[np.float64]

# How far a line may leave the border that it was smoothed from, in pixels.
MOST_STRAY = 0.5
# Steps of the border that are averaged, twice over: enough to make a slope of its stairs.
_WINDOW = 9


def _steps(mask: NDArray[np.bool_]) -> tuple[NDArray[np.intp], NDArray[np.intp], int]:
    """Each side of a pixel that ends `mask`, as a step between corners with `mask` on its right.

    Returns:
        Of each step four times the corner that it begins at, and its way (0–3: right, down, left,
        up); which step follows it; and how many corners a row has.
    """
    inside = np.pad(mask, 1)
    upper_left, upper_right = inside[:-1, :-1], inside[:-1, 1:]
    lower_left, lower_right = inside[1:, :-1], inside[1:, 1:]
    width = upper_left.shape[1]
    begins = np.stack(
        (
            lower_right & ~upper_right,
            lower_left & ~lower_right,
            upper_left & ~lower_left,
            upper_right & ~upper_left,
        ),
        axis=-1,
    ).ravel()
    steps = np.flatnonzero(begins)
    ways = steps & 3
    ends = (steps >> 2) + np.array((1, width, -1, -width))[ways]
    # Where two pixels touch at a corner only, the line goes around both.
    left, right = (ways + 3) & 3, (ways + 1) & 3
    onward = np.where(begins[4 * ends + ways], ways, right)
    onward = np.where(begins[4 * ends + left], left, onward)
    number = np.empty(len(begins), np.intp)
    number[steps] = np.arange(len(steps))
    return steps, number[4 * ends + onward], width


def borders(mask: NDArray[np.bool_]) -> list[Loop]:
    """The closed borders of `mask`, outer ones and those of holes.

    Returns:
        Of each, the middles (x, y) of the sides of pixels that it consists of, in their order.
    """
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not rows.size:
        return []
    top, left = rows[0], columns[0]
    steps, following, width = _steps(mask[top : rows[-1] + 1, left : columns[-1] + 1])
    down, right = np.divmod(steps >> 2, width)
    way = steps & 3
    middles = np.stack(
        (
            left + right + np.array((0.5, 0, -0.5, 0))[way],
            top + down + np.array((0, 0.5, 0, -0.5))[way],
        ),
        axis=1,
    )
    after, fresh = following.tolist(), [True] * len(steps)
    loops = []
    for start in range(len(after)):
        loop, at = [], start
        while fresh[at]:
            fresh[at] = False
            loop.append(at)
            at = after[at]
        if loop:
            loops.append(middles[loop])
    return loops


def enclosed(loop: Loop) -> float:
    """The area within a loop, less than nothing if it is the border of a hole."""
    x, y = loop[:, 0], loop[:, 1]
    return float(x[:-1] @ y[1:] - x[1:] @ y[:-1] + x[-1] * y[0] - x[0] * y[-1]) / 2


def _averaged(loop: Loop, window: int) -> Loop:
    """Each point as the mean of as many of its neighbours on the loop, itself in their middle."""
    half = window // 2
    sums = np.cumsum(np.concatenate((loop[-half - 1 :], loop, loop[:half])), axis=0)
    return (sums[window:] - sums[:-window]) / window


def smoothed(loop: Loop) -> Loop:
    """The loop without its stairs, no point further from where it was than `MOST_STRAY`."""
    window = min(_WINDOW, len(loop) // 6 | 1)
    if window < 3:
        return loop
    mean = _averaged(_averaged(loop, window), window)
    # Averages lie within each bend. What they left out, averaged as well, brings them back.
    rest = loop - mean
    moved = _averaged(_averaged(rest, window), window) - rest
    far = np.hypot(moved[:, 0], moved[:, 1])
    return loop + moved * np.minimum(1, MOST_STRAY / np.maximum(far, MOST_STRAY))[:, None]


def lines(mask: NDArray[np.bool_], *, least: float) -> list[Loop]:
    """Smooth lines along the borders of `mask`.

    Args:
        least: loops around fewer pixels are left out, unless there is no larger one.
    """
    loops = sorted(borders(mask), key=lambda loop: -abs(enclosed(loop)))
    return [smoothed(loop) for n, loop in enumerate(loops) if not n or abs(enclosed(loop)) >= least]
