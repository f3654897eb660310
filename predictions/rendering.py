"""Pictures made of an analysis, ready to lie over the scan in a browser."""

from __future__ import annotations

import functools
import io
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mltasks.images import encode_png

THUMBNAIL_SIDE = 240
# Attention is coarse by nature, nine cells a side; more pixels than this would only pretend to know
# more. The page and the report lay the picture over the whole scan, whatever its size.
ATTENTION_SIDE, ATTENTION_SHORT = 96, 24
AREA_COLOUR = (255, 122, 0)
OUTLINE_COLOUR = (255, 214, 0)
CONTOUR_COLOUR = (255, 255, 255)
# Fewer on a closed line would look like crumbs.
_FEWEST_DASHES = 4

# Control points of an even, colour-blind-safe map from dark blue over green to yellow, after the
# idea of "viridis" (van der Walt and Smith, 2015); colours between them are interpolated.
_MAP_POINTS = np.array(
    [(38, 18, 92), (58, 62, 140), (42, 107, 142), (32, 148, 138), (70, 187, 110), (253, 231, 37)],
    np.float64,
)


@functools.cache
def colour_map() -> NDArray[np.uint8]:
    """The 256 colours from no attention to most, uint8, (256, 3)."""
    at = np.linspace(0, len(_MAP_POINTS) - 1, 256)
    channels = [np.interp(at, range(len(_MAP_POINTS)), channel) for channel in _MAP_POINTS.T]
    return np.rint(np.stack(channels, axis=1)).astype(np.uint8)


def _palette_png(indices: NDArray[np.uint8], colours: bytes, alpha: bytes) -> bytes:
    image = Image.fromarray(indices)
    image.putpalette(colours)
    target = io.BytesIO()
    image.save(target, "PNG", transparency=alpha, compress_level=3)
    return target.getvalue()


def _flat_png(mask: NDArray[np.bool_], colour: tuple[int, int, int]) -> bytes:
    """`mask` in one colour on nothing: palette entry 0 is transparent, entry 1 is the colour."""
    return _palette_png(mask.astype(np.uint8), bytes((0, 0, 0, *colour)), bytes((0, 255)))


def area_png(mask: NDArray[np.bool_]) -> bytes:
    """The affected area, filled, on the scan's own grid.

    Args:
        mask: bool, (height, width).
    """
    return _flat_png(mask, AREA_COLOUR)


def area_of(png: BinaryIO) -> NDArray[np.bool_]:
    """The mask that `area_png` was given: bool, (height, width).

    Raises:
        OSError, ValueError, SyntaxError: it is damaged; Pillow has no one error for that.
    """
    with Image.open(png, formats=["PNG"]) as image:
        return np.asarray(image.convert("RGBA"))[..., 3] > 0


def _grown(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """`mask` and its four neighbours."""
    grown = mask.copy()
    grown[1:] |= mask[:-1]
    grown[:-1] |= mask[1:]
    grown[:, 1:] |= mask[:, :-1]
    grown[:, :-1] |= mask[:, 1:]
    return grown


def _line(mask: NDArray[np.bool_], width: int) -> tuple[tuple[slice, slice], NDArray[np.bool_]]:
    """The border of `mask`, `width` pixels just outside it.

    Returns:
        The part of the picture that the line lies in, mostly a small one, and the line there.
    """
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not rows.size:
        return np.s_[:0, :0], mask[:0, :0]
    around = np.s_[
        max(0, rows[0] - width) : min(mask.shape[0], rows[-1] + 1 + width),
        max(0, columns[0] - width) : min(mask.shape[1], columns[-1] + 1 + width),
    ]
    grown = mask[around]
    for _ in range(width):
        grown = _grown(grown)
    return around, grown & ~mask[around]


def outline_png(mask: NDArray[np.bool_]) -> bytes:
    """The border of the affected area, just outside it, in a width that suits the picture.

    Args:
        mask: bool, (height, width).
    """
    picture = np.zeros_like(mask)
    around, line = _line(mask, max(1, round(max(mask.shape) / 256)))
    picture[around] = line
    return _flat_png(picture, OUTLINE_COLOUR)


def _loops(mask: NDArray[np.bool_]) -> list[list[tuple[int, int]]]:
    """The closed borders of `mask`, outer ones and those of holes.

    Returns:
        Of each, the pixels (row, column) just outside `mask` in the order of the border. They may
        lie one pixel beyond the edge of `mask`, and one in a corner comes more than once.
    """
    inside = np.pad(mask, 1)
    # Each side of a pixel that ends `mask`, as a step between two corners with `mask` on its right.
    steps: dict[tuple[int, int], list[tuple[int, int, int, int]]] = {}
    for down, right, begin, end in (
        (-1, 0, (0, 0), (0, 1)),
        (0, 1, (0, 1), (1, 1)),
        (1, 0, (1, 1), (1, 0)),
        (0, -1, (1, 0), (0, 0)),
    ):
        ending = inside & ~np.roll(inside, (-down, -right), (0, 1))
        for row, column in np.argwhere(ending).tolist():
            steps.setdefault((row + begin[0], column + begin[1]), []).append(
                (row + end[0], column + end[1], row + down - 1, column + right - 1)
            )
    loops = []
    for start in steps:
        loop, corner = [], start
        while steps[corner]:
            down, right, row, column = steps[corner].pop()
            loop.append((row, column))
            corner = (down, right)
        if loop:
            loops.append(loop)
    return loops


def _dashes(mask: NDArray[np.bool_], width: int) -> NDArray[np.bool_]:
    """Where the border of `mask` has dashes; all along those too short to be known by dashes."""
    period = 12 * width
    dashes = np.zeros((mask.shape[0] + 2, mask.shape[1] + 2), np.bool_)
    for loop in _loops(mask):
        at = np.array(loop) + 1
        count = len(loop) // period
        if count >= _FEWEST_DASHES:
            at = at[np.arange(len(loop)) * count % len(loop) < 0.55 * len(loop)]
        dashes[at[:, 0], at[:, 1]] = True
    for _ in range(width - 1):
        dashes = _grown(dashes)
    return dashes[1:-1, 1:-1]


def contours_png(inner: NDArray[np.bool_], outer: NDArray[np.bool_]) -> bytes:
    """The bounds of the affected area: the inner as a thin line, the outer as a dashed one.

    Parts of the outer one that are too small for dashes have a whole line.

    Args:
        inner: bool, (height, width), surely affected.
        outer: bool, (height, width), possibly affected.
    """
    width = max(1, round(max(outer.shape) / 360))
    picture = np.zeros_like(outer)
    around, line = _line(outer, width)
    picture[around] = line & _dashes(outer[around], width)
    around, line = _line(inner, width)
    picture[around] |= line
    return _flat_png(picture, CONTOUR_COLOUR)


def attention_png(attention: NDArray[np.uint8]) -> bytes:
    """The attention map in colour; little attention is see-through.

    Args:
        attention: uint8, (height, width), 255 where it is strongest.
    """
    image = Image.fromarray(attention)
    # A strip keeps enough rows, or columns, to tell one end of its short side from the other, and
    # its proportions: a browser fits each layer into its place by these.
    scale = max(ATTENTION_SIDE / max(image.size), ATTENTION_SHORT / min(image.size))
    if scale < 1:
        width, height = (max(1, round(scale * side)) for side in image.size)
        image = image.resize((width, height), Image.Resampling.BILINEAR)
    # 64 levels look the same as 256 on a map this smooth, and compress to a quarter.
    indices = (np.asarray(image) >> 2).astype(np.uint8)
    alpha = np.clip(np.arange(64) * 6, 0, 255).astype(np.uint8)
    return _palette_png(indices, colour_map()[::4].tobytes(), alpha.tobytes())


def thumbnail_png(pixels: NDArray[np.uint8]) -> bytes:
    """A small picture for lists, longest side `THUMBNAIL_SIDE` at most."""
    image = Image.fromarray(pixels)
    image.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE), Image.Resampling.LANCZOS)
    return encode_png(np.asarray(image))
