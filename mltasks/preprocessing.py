"""From an uploaded picture to the network's input, and exactly back.

Training, validation and inference all come through `preprocess`, so the network never sees a
picture prepared in another way than those it learnt from.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]
Box = tuple[int, int, int, int]

# What EfficientNet-Lite was trained with: (value - 127) / 128.
MEAN, SCALE = 127.0, 128.0
# Darker than this share of the picture's bright parts (and than this value) counts as background.
_BACKGROUND_SHARE, _BACKGROUND_VALUE = 0.12, 10.0
# A row or column belongs to the head if more than this share of it is brighter than background.
_LINE_SHARE = 0.01
# Kept around the head, as a share of its longer side.
_MARGIN = 0.03
# The head's frame is looked for in a copy no larger than this, to stay quick on large pictures.
_SEARCH_SIDE = 512


@dataclass(frozen=True, slots=True)
class Geometry:
    """How one picture lies in the network's square input.

    Attributes:
        width, height: size of the uploaded picture, upright, in pixels.
        box: part of the picture that is shown to the network: left, top, right, bottom.
        content: where that part lies in the network's input: left, top, right, bottom.
        size: side of the network's square input.
    """

    width: int
    height: int
    box: Box
    content: Box
    size: int

    def to_input(self, x: float, y: float) -> tuple[float, float]:
        """A point of the picture (pixel edges are whole numbers) in the network's input."""
        scale_x, scale_y = self._scale
        return (
            self.content[0] + (x - self.box[0]) / scale_x,
            self.content[1] + (y - self.box[1]) / scale_y,
        )

    def to_image(self, x: float, y: float) -> tuple[float, float]:
        """The inverse of `to_input`."""
        scale_x, scale_y = self._scale
        return (
            self.box[0] + (x - self.content[0]) * scale_x,
            self.box[1] + (y - self.content[1]) * scale_y,
        )

    @property
    def _scale(self) -> tuple[float, float]:
        left, top, right, bottom = self.box
        return (
            (right - left) / (self.content[2] - self.content[0]),
            (bottom - top) / (self.content[3] - self.content[1]),
        )

    def resample(self, grid: Floats, window: Box | None = None) -> Floats:
        """Lay a map of the network's field of view over the picture's own pixels.

        Args:
            grid: float32 (n, n), any n: a map that covers the whole square input.
            window: left, top, right, bottom in picture pixels, inside `box`; default is `box`.

        Returns:
            float32 (bottom - top, right - left), interpolated bilinearly.
        """
        left, top, right, bottom = self.box if window is None else window
        cell = grid.shape[0] / self.size
        x0, y0 = self.to_input(left, top)
        x1, y1 = self.to_input(right, bottom)
        edge = float(grid.shape[0])
        corners = (x0 * cell, y0 * cell, min(x1 * cell, edge), min(y1 * cell, edge))
        resized = Image.fromarray(grid).resize(
            (right - left, bottom - top), Image.Resampling.BILINEAR, box=corners
        )
        return np.asarray(resized)


def to_grey(pixels: Pixels) -> Pixels:
    """Luminance (ITU-R BT.601) of uint8 pixels, (height, width) or (height, width, 3).

    Raises:
        ValueError: the array is not such a picture, or empty.
    """
    if pixels.dtype != np.uint8 or pixels.ndim not in {2, 3} or not pixels.size:
        raise ValueError(f"not a picture: {pixels.dtype} {pixels.shape}")
    if pixels.ndim == 3 and pixels.shape[2] != 3:
        raise ValueError(f"not grey and not RGB: {pixels.shape}")
    if pixels.ndim == 2:
        return pixels
    return np.asarray(Image.fromarray(pixels).convert("L"))


def find_head(grey: Pixels) -> Box:
    """The frame of what is not dark background: left, top, right, bottom.

    Sources leave very different black margins around the head. Without them the network sees
    small tumours larger and cannot tell the classes by the margin. A picture without dark
    margins is kept whole.
    """
    height, width = grey.shape
    step = max(1, -(-max(height, width) // _SEARCH_SIDE))
    small = grey if step == 1 else np.asarray(Image.fromarray(grey).reduce(step))
    below = np.cumsum(Image.fromarray(small).histogram())
    bright_value = int(np.searchsorted(below, 0.99 * small.size))
    level = max(_BACKGROUND_VALUE, _BACKGROUND_SHARE * bright_value)
    bright = small > level
    lines, width_of_line = bright.shape
    rows = np.flatnonzero(np.count_nonzero(bright, axis=1) > _LINE_SHARE * width_of_line)
    columns = np.flatnonzero(np.count_nonzero(bright, axis=0) > _LINE_SHARE * lines)
    if not rows.size or not columns.size:
        return (0, 0, width, height)
    left, right = int(columns[0]) * step, (int(columns[-1]) + 1) * step
    top, bottom = int(rows[0]) * step, (int(rows[-1]) + 1) * step
    margin = round(_MARGIN * max(right - left, bottom - top))
    return (
        max(0, left - margin),
        max(0, top - margin),
        min(width, right + margin),
        min(height, bottom + margin),
    )


def place(width: int, height: int, box: Box, size: int) -> Geometry:
    """Fit `box` of a picture into a square of side `size`, centred, its proportions kept."""
    box_width, box_height = box[2] - box[0], box[3] - box[1]
    scale = size / max(box_width, box_height)
    content_width = max(1, round(box_width * scale))
    content_height = max(1, round(box_height * scale))
    left, top = (size - content_width) // 2, (size - content_height) // 2
    content = (left, top, left + content_width, top + content_height)
    return Geometry(width, height, box, content, size)


def letterbox(grey: Pixels, geometry: Geometry) -> Pixels:
    """Draw the picture's `box` into the black square input: uint8 (size, size).

    Shrinking averages areas, so that nothing thin is lost or doubled; enlarging is bilinear.
    """
    left, top, right, bottom = geometry.content
    target = (right - left, bottom - top)
    shrinks = target[0] * target[1] < (geometry.box[2] - geometry.box[0]) * (
        geometry.box[3] - geometry.box[1]
    )
    method = Image.Resampling.BOX if shrinks else Image.Resampling.BILINEAR
    canvas = np.zeros((geometry.size, geometry.size), np.uint8)
    canvas[top:bottom, left:right] = np.asarray(
        Image.fromarray(grey).resize(target, method, box=geometry.box)
    )
    return canvas


def mask_cells(mask: Pixels, geometry: Geometry) -> Floats:
    """Which share of each cell of the network's mask is marked.

    Args:
        mask: uint8 (height, width) of the picture's size, 255 where it is marked, else 0.

    Returns:
        float32 (size / 2, size / 2), 0 to 1.
    """
    half = geometry.size // 2
    cells = letterbox(mask, geometry).reshape(half, 2, half, 2).mean(axis=(1, 3))
    return np.asarray(cells / 255, np.float32)


def normalise(canvas: Pixels) -> Floats:
    """uint8 (…, size, size) to the network's float32 (…, size, size, 1), about -1 to 1."""
    return ((canvas.astype(np.float32) - MEAN) / SCALE)[..., None]


def preprocess(pixels: Pixels, size: int) -> tuple[Floats, Geometry]:
    """Prepare one picture for the network.

    Args:
        pixels: uint8 (height, width) or (height, width, 3), upright.
        size: side of the network's square input.

    Returns:
        float32 (size, size, 1), and the geometry that leads back to the picture's pixels.

    Raises:
        ValueError: the array is not such a picture, or empty.
    """
    grey = to_grey(pixels)
    height, width = grey.shape
    geometry = place(width, height, find_head(grey), size)
    return normalise(letterbox(grey, geometry)), geometry
