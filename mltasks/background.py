"""Is the background light, as where black and white are exchanged?

MRI has a black background; with black for white the network still sees a head, and errs. Features
tell such pictures apart in part only, the corners nearly always.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mltasks.preprocessing import Pixels

# Looked at in a copy no larger than this.
_SIDE = 256
# A line of the picture belongs to a frame if its values vary less than this.
_FLAT = 6.0
# Corners are squares of this share of the picture without its frame.
_CORNER = 0.08
# Light: at least this share of the brightest parts, and so much lighter than the middle.
_SHARE, _LIGHTER = 0.75, 1.2


def _spread(grey: NDArray[np.float32], axis: int) -> NDArray[np.float32]:
    """Standard deviation along an axis."""
    mean = grey.mean(axis=axis)
    return np.sqrt(np.maximum(np.square(grey).mean(axis=axis) - mean * mean, 0))


def _within_frame(grey: Pixels) -> Pixels:
    """The picture without lines of one brightness around it."""
    levels = grey.astype(np.float32)
    rows = np.flatnonzero(_spread(levels, 1) > _FLAT)
    columns = np.flatnonzero(_spread(levels, 0) > _FLAT)
    if len(rows) < 16 or len(columns) < 16:
        return grey
    return grey[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def _quantile(grey: Pixels, share: float) -> float:
    """The grey level below which this share of the pixels lies, by counting them."""
    counts = np.cumsum(np.bincount(grey.ravel(), minlength=256))
    return float(np.searchsorted(counts, share * counts[-1]))


def is_light(grey: Pixels) -> bool:
    """Whether the corners are as light as the lightest parts, and lighter than the middle.

    A light frame around a picture with dark corners does not count.

    Args:
        grey: uint8 (height, width).
    """
    image = Image.fromarray(grey)
    image.thumbnail((_SIDE, _SIDE), Image.Resampling.BOX)
    grey = _within_frame(np.asarray(image))
    height, width = grey.shape
    y, x = max(1, round(_CORNER * height)), max(1, round(_CORNER * width))
    corners = [grey[:y, :x], grey[:y, -x:], grey[-y:, :x], grey[-y:, -x:]]
    # One corner may hold letters, or the neck.
    light = float(np.sort([np.median(corner) for corner in corners])[1])
    inner = grey[height // 4 : height - height // 4, width // 4 : width - width // 4]
    middle = _quantile(inner, 0.5)
    return light > _SHARE * _quantile(grey, 0.99) and light > _LIGHTER * middle
