"""Is the background light, as where black and white are exchanged?

MRI has a black background; with black for white the network still sees a head, and errs. Features
tell such pictures apart in part only, the corners nearly always.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

from mltasks.preprocessing import Pixels, to_grey

# Looked at in a copy no larger than this.
_SIDE = 256
# A line of the picture belongs to a frame if its values vary less than this.
_FLAT = 6.0
# Corners are squares of this share of the picture without its frame.
_CORNER = 0.08
# Light: at least this share of the brightest parts, and so much lighter than the middle.
_SHARE, _LIGHTER = 0.75, 1.2


def _within_frame(grey: Pixels) -> Pixels:
    """The picture without lines of one brightness around it."""
    rows = np.flatnonzero(grey.std(axis=1) > _FLAT)
    columns = np.flatnonzero(grey.std(axis=0) > _FLAT)
    if len(rows) < 16 or len(columns) < 16:
        return grey
    return grey[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def is_light(pixels: Pixels) -> bool:
    """Whether the corners are as light as the lightest parts, and lighter than the middle.

    A light frame around a picture with dark corners does not count.

    Args:
        pixels: uint8 (height, width) or (height, width, 3).
    """
    image = Image.fromarray(to_grey(pixels))
    image.thumbnail((_SIDE, _SIDE), Image.Resampling.BOX)
    grey = _within_frame(np.asarray(image))
    height, width = grey.shape
    y, x = max(1, round(_CORNER * height)), max(1, round(_CORNER * width))
    corners = [grey[:y, :x], grey[:y, -x:], grey[-y:, :x], grey[-y:, -x:]]
    # One corner may hold letters, or the neck.
    light = float(np.sort([np.median(corner) for corner in corners])[1])
    inner = grey[height // 4 : height - height // 4, width // 4 : width - width // 4]
    middle = float(np.median(inner))
    return light > _SHARE * float(np.quantile(grey, 0.99)) and light > _LIGHTER * middle
