"""Pictures made of an analysis, ready to lie over the scan in a browser."""

from __future__ import annotations

import functools
import io
import re
import zlib
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mltasks.images import encode_png
from predictions import outlines

if TYPE_CHECKING:
    from mltasks.inference import Analysis

THUMBNAIL_SIDE = 240
# Attention is coarse by nature, nine cells a side; more pixels than this would only pretend to know
# more. The page and the report lay the picture over the whole scan, whatever its size.
ATTENTION_SIDE, ATTENTION_SHORT = 96, 24
AREA_COLOUR = (255, 122, 0)
OUTLINE_COLOUR = (255, 214, 0)
CONTOUR_COLOUR = (255, 255, 255)
# Shorter lines, as shares of the picture's longer side, have too few dashes to be known by them.
_DASHED = 0.15
# Steps of a drawn line's coordinates in a pixel.
_GRAIN = 20
_PATH = re.compile(r'<path id="(whole|dashed)"[^>]* d="([^"]*)"/>')
_NUMBER = re.compile(r"-?\d+")

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


def _palette_png(
    indices: NDArray[np.uint8], colours: bytes, alpha: bytes, *, compress_type: int = -1
) -> bytes:
    image = Image.fromarray(indices)
    image.putpalette(colours)
    target = io.BytesIO()
    image.save(target, "PNG", transparency=alpha, compress_level=3, compress_type=compress_type)
    return target.getvalue()


def area_png(mask: NDArray[np.bool_]) -> bytes:
    """The affected area, filled, on the scan's own grid.

    Args:
        mask: bool, (height, width).
    """
    # Entry 0 of the palette is transparent, entry 1 the colour: runs, and little else.
    colours, alpha = bytes((0, 0, 0, *AREA_COLOUR)), bytes((0, 255))
    return _palette_png(mask.astype(np.uint8), colours, alpha, compress_type=zlib.Z_RLE)


def area_of(png: BinaryIO) -> NDArray[np.bool_]:
    """The mask that `area_png` was given: bool, (height, width).

    Raises:
        OSError, ValueError, SyntaxError: it is damaged; Pillow has no one error for that.
    """
    with Image.open(png, formats=["PNG"]) as image:
        return np.asarray(image.convert("RGBA"))[..., 3] > 0


def _path(loop: outlines.Loop) -> str:
    """A closed curve along `loop`, of arcs from between two of its points to between the next two.

    Whole numbers, `_GRAIN` of them a pixel: short, and finer than anyone can see.
    """
    points = loop[:: max(1, min(2, len(loop) // 16))]
    # Arcs stay on the inner side of the points that they are drawn to; these lie as far outside.
    around = np.roll(points, 1, axis=0) + np.roll(points, -1, axis=0)
    points = np.rint(_GRAIN * (1.25 * points - around / 8)).astype(np.int64)
    ends = (points + np.roll(points, -1, axis=0)) // 2
    begins = np.roll(ends, 1, axis=0)
    arcs = np.stack((points - begins, ends - begins), axis=1).ravel().tolist()
    x, y = begins[0].tolist()
    # The list's own way of writing itself is the fastest there is.
    return f"M{x} {y}q{str(arcs)[1:-1].replace(',', '')}z"


def _svg(
    shape: tuple[int, int], colour: tuple[int, int, int], **kinds: list[outlines.Loop]
) -> bytes:
    """Lines on nothing, as wide on the screen however large the picture is shown.

    Each lies on a dark one that is a little wider, so that it can be seen on bright tissue.

    Args:
        kinds: loops by how they are drawn, `whole` or `dashed`.
    """
    paths, uses = [], []
    for kind, loops in kinds.items():
        if not loops:
            continue
        # The dark ones of dashes reach as far beyond their ends as beyond their sides.
        dark, light = (
            (' stroke-dasharray="8 4" stroke-dashoffset=".5"', ' stroke-dasharray="7 5"')
            if kind == "dashed"
            else ("", "")
        )
        paths.append(
            f'<path id="{kind}" transform="scale({1 / _GRAIN})" vector-effect="non-scaling-stroke" '
            f'd="{"".join(map(_path, loops))}"/>'
        )
        uses.append(
            f'<use href="#{kind}" stroke="#000" stroke-opacity=".6" stroke-width="2.75"{dark}/>'
            f'<use href="#{kind}" stroke="#{bytes(colour).hex()}" stroke-width="1.5"{light}/>'
        )
    height, width = shape
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" fill="none" stroke-linejoin="round">'
        f"<defs>{''.join(paths)}</defs>{''.join(uses)}</svg>"
    ).encode()


def _least(shape: tuple[int, int]) -> float:
    """How many pixels a line has to go around: with fewer it would be a crumb."""
    return max(4.0, (max(shape) / 100) ** 2)


def outline_svg(mask: NDArray[np.bool_]) -> bytes:
    """The border of the affected area.

    Args:
        mask: bool, (height, width).
    """
    height, width = mask.shape
    loops = outlines.lines(mask, least=_least((height, width)))
    return _svg((height, width), OUTLINE_COLOUR, whole=loops)


def contours_svg(inner: NDArray[np.bool_], outer: NDArray[np.bool_]) -> bytes:
    """The bounds of the affected area: the inner as a whole line, the outer as a dashed one.

    Parts of the outer one that are too small for dashes have a whole line.

    Args:
        inner: bool, (height, width), surely affected.
        outer: bool, (height, width), possibly affected.
    """
    height, width = outer.shape
    least = _least((height, width))
    whole = outlines.lines(inner, least=least)
    dashed: list[outlines.Loop] = []
    for loop in outlines.lines(outer, least=least):
        (dashed if len(loop) >= _DASHED * max(height, width) else whole).append(loop)
    return _svg((height, width), CONTOUR_COLOUR, dashed=dashed, whole=whole)


def arcs_of(svg: bytes) -> dict[str, list[NDArray[np.float64]]]:
    """What `outline_svg` or `contours_svg` drew.

    Returns:
        Of `whole` and `dashed` lines, each with its arcs: float, (n, 3, 2), where an arc begins,
        which way it goes and where it ends, (x, y) in pixels of the scan.

    Raises:
        ValueError: it is damaged.
    """
    if not svg.endswith(b"</svg>"):
        raise ValueError("this drawing has no end")
    drawn: dict[str, list[NDArray[np.float64]]] = {}
    for kind, lines in _PATH.findall(svg.decode()):
        drawn[kind] = []
        for line in lines.split("M")[1:]:
            numbers = np.array(_NUMBER.findall(line), np.float64).reshape(-1, 2) / _GRAIN
            ends = np.cumsum(numbers[::2], axis=0)
            drawn[kind].append(np.stack((ends[:-1], ends[:-1] + numbers[1::2], ends[1:]), axis=1))
    return drawn


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


def pictures(analysis: Analysis) -> dict[str, bytes]:
    """The pictures of an answer by their file names: none if it is a refusal."""
    if analysis.status == "rejected":
        return {}
    made = {"attention.png": attention_png(analysis.attention)}
    if analysis.area.any():
        made["area.png"] = area_png(analysis.area)
        made["outline.svg"] = outline_svg(analysis.area)
        made["contours.svg"] = contours_svg(analysis.inner, analysis.outer)
    return made


def thumbnail_png(pixels: NDArray[np.uint8]) -> bytes:
    """A small picture for lists, longest side `THUMBNAIL_SIDE` at most."""
    image = Image.fromarray(pixels)
    image.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE), Image.Resampling.LANCZOS)
    return encode_png(np.asarray(image))
