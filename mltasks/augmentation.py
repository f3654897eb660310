"""Random changes to training pictures: small functions from pixels to pixels.

They act on the uploaded picture, before preprocessing, as real sources differ there. Several are
there to remove what would otherwise give a class away (margins, proportions, turning, contrast),
see docs/model.md.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from mltasks.preprocessing import Box, Floats, Pixels, find_head, letterbox, mask_cells, place

Rng = np.random.Generator


def _affine(width: int, height: int, rng: Rng) -> tuple[tuple[int, int], tuple[float, ...]]:
    """A random canvas size, and the matrix from its pixels to the picture's."""
    aspect = math.exp(rng.uniform(-0.3, 0.3)) if rng.random() < 0.4 else 1.0
    turned = int(rng.integers(1, 4)) if rng.random() < 0.35 else 0
    out_width, out_height = (height, width) if turned % 2 else (width, height)
    canvas = (max(16, round(out_width * aspect**0.5)), max(16, round(out_height / aspect**0.5)))
    angle = math.radians(90 * turned + rng.normal(0, 9))
    zoom = math.exp(rng.uniform(-0.15, 0.2))
    stretch = math.exp(rng.normal(0, 0.06))
    flip_x = -1 if rng.random() < 0.5 else 1
    flip_y = -1 if rng.random() < 0.15 else 1
    cos, sin = math.cos(angle), math.sin(angle)
    a, b = flip_x * cos * zoom * stretch, -flip_x * sin * zoom
    d, e = flip_y * sin * zoom, flip_y * cos * zoom / stretch
    shift_x, shift_y = rng.normal(0, 0.03, 2) * (width, height)
    c = width / 2 + shift_x - a * canvas[0] / 2 - b * canvas[1] / 2
    f = height / 2 + shift_y - d * canvas[0] / 2 - e * canvas[1] / 2
    return canvas, (a, b, c, d, e, f)


def warp(pixels: Pixels, mask: Pixels | None, rng: Rng) -> tuple[Pixels, Pixels | None]:
    """Flip, turn, zoom, shift and stretch picture and mask alike; the canvas changes shape too."""
    canvas, matrix = _affine(pixels.shape[1], pixels.shape[0], rng)

    def draw(values: Pixels) -> Pixels:
        image = Image.fromarray(values).transform(
            canvas, Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR
        )
        return np.array(image)

    return draw(pixels), None if mask is None else draw(mask)


def tone(pixels: Pixels, rng: Rng) -> Pixels:
    """Gamma, contrast and brightness."""
    levels = np.arange(256, dtype=np.float32) / 255
    levels = levels ** np.float32(math.exp(rng.normal(0, 0.25)))
    levels = (levels - 0.25) * math.exp(rng.normal(0, 0.2)) + 0.25 + rng.normal(0, 0.02)
    # Black stays nearly black, so that the background does not tell the change.
    levels *= math.exp(rng.normal(0.1, 0.3))
    return np.rint(np.clip(levels, 0, 1) * 255).astype(np.uint8)[pixels]


def remap(pixels: Pixels, rng: Rng) -> Pixels:
    """Another order of the tissues' brightness, as other sequences have it.

    A random smooth curve over the grey levels that need not rise, as global intensity
    augmentation draws them (Ouyang et al., 2022); it is blended with the picture as it was.
    What is nearly black stays so: air gives no signal in any sequence.
    """
    knots = np.concatenate(
        [[0.0], np.sort(rng.uniform(0.12, 0.95, int(rng.integers(2, 5)))), [1.0]]
    )
    values = np.concatenate([[0.0], rng.uniform(0.05, 1.0, len(knots) - 1)])
    levels = np.arange(256) / 255
    curve = np.interp(levels, knots, values)
    curve = np.convolve(np.pad(curve, 12, mode="edge"), np.ones(25) / 25, mode="valid")
    curve[:13] = np.minimum(curve[:13], levels[:13] * 2)
    share = rng.uniform(0.5, 1.0)
    mixed = share * curve + (1 - share) * levels
    return np.rint(np.clip(mixed, 0, 1) * 255).astype(np.uint8)[pixels]


def repaint(pixels: Pixels, mask: Pixels, rng: Rng, *, bright: bool) -> Pixels:
    """The tumour in another brightness than its own, as its texture and borders stay.

    In contrast T1, from which the tumours come, most are bright because they take up contrast
    agent. One that does not is dark there, and bright in T2 and FLAIR, whatever the tissues around
    it are: no curve over the grey levels of the whole picture can show that.

    Args:
        mask: uint8 of the picture's size, 0 or 255.
        bright: brighter than the tissue around it (1.2 to 2.4 times), or darker (0.35 to 0.9).

    Returns:
        The picture as it was if it shows no tumour, or no tissue around it.
    """
    inside = mask > 127
    rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
    if not rows.size:
        return pixels
    side = 1 + int(max(rows[-1] - rows[0], columns[-1] - columns[0]))
    image = Image.fromarray(mask)
    near = np.asarray(image.filter(ImageFilter.GaussianBlur(2 + 0.15 * side)))
    ring = (near > 25) & ~inside & (pixels > 20)
    if np.count_nonzero(ring) < 20:
        return pixels
    low, high = (1.2, 2.4) if bright else (0.35, 0.9)
    factor = math.exp(rng.uniform(math.log(low), math.log(high)))
    level = min(245.0, float(np.median(pixels[ring])) * factor)
    # A rim that took up contrast agent around a dark core may be the other way round.
    texture = rng.uniform(0.2, 0.8) * (-1 if rng.random() < 0.3 else 1)
    values = level + np.float32(texture) * (pixels - np.float32(np.median(pixels[inside])))
    softness = max(0.8, float(rng.uniform(0.01, 0.05)) * side)
    soft = image.filter(ImageFilter.GaussianBlur(softness))
    weight = np.asarray(soft, np.float32) / np.float32(255)
    mixed = weight * values + (1 - weight) * pixels
    return np.rint(np.clip(mixed, 0, 255)).astype(np.uint8)


def invert(pixels: Pixels, rng: Rng) -> Pixels:
    """Black for white, as some viewers show pictures."""
    return 255 - pixels


def shade(pixels: Pixels, rng: Rng) -> Pixels:
    """Uneven sensitivity of the receiving coil: a smooth factor of 0.6 to 1.4."""
    coarse = rng.uniform(0.6, 1.4, (3, 3)).astype(np.float32)
    height, width = pixels.shape
    field = np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))
    return np.clip(pixels * field, 0, 255).astype(np.uint8)


def noise(pixels: Pixels, rng: Rng) -> Pixels:
    """Rician noise, as magnitude images have it."""
    sigma = np.float32(rng.uniform(2, 14))
    real, imaginary = rng.standard_normal((2, *pixels.shape), dtype=np.float32) * sigma
    return np.clip(np.hypot(pixels + real, imaginary), 0, 255).astype(np.uint8)


def blur(pixels: Pixels, rng: Rng) -> Pixels:
    """Out of focus by 0.1% to 1.2% of the longer side; weak blur is the more frequent."""
    radius = math.exp(rng.uniform(math.log(0.001), math.log(0.012))) * max(pixels.shape)
    return np.array(Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(radius)))


def coarsen(pixels: Pixels, rng: Rng) -> Pixels:
    """Shrunk to 15% to 80% and enlarged again, as small pictures on web pages are."""
    image = Image.fromarray(pixels)
    factor = math.exp(rng.uniform(math.log(0.15), math.log(0.8)))
    small = image.resize((max(8, int(image.width * factor)), max(8, int(image.height * factor))))
    return np.array(small.resize(image.size, Image.Resampling.BICUBIC))


def recompress(pixels: Pixels, rng: Rng) -> Pixels:
    """Through JPEG of low quality."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=int(rng.integers(25, 80)))
    with Image.open(buffer) as image:
        return np.array(image)


def annotate(pixels: Pixels, rng: Rng) -> Pixels:
    """Letters near the edges, as viewers print them."""
    image = Image.fromarray(pixels)
    draw = ImageDraw.Draw(image)
    for _ in range(int(rng.integers(1, 6))):
        word = "".join(rng.choice(list("ABRLPHTE0123456789:."), int(rng.integers(1, 12))))
        x = rng.choice((0.01, 0.4, 0.8)) * image.width
        y = rng.choice((0.01, 0.05, 0.5, 0.9, 0.95)) * image.height
        draw.text((float(x), float(y)), word, fill=int(rng.integers(120, 256)))
    return np.array(image)


def crop(pixels: Pixels, mask: Pixels | None, rng: Rng) -> tuple[Pixels, Pixels | None]:
    """A window of 55% to 95% of width and height; as it was if that would cut the tumour away."""
    height, width = pixels.shape
    share = rng.uniform(0.55, 0.95)
    rows, columns = max(16, round(height * share)), max(16, round(width * share))
    if rows > height or columns > width:
        return pixels, mask
    # Drawn twice and averaged: what people cut out lies near the middle.
    top, left = (
        round(float(rng.uniform(0, 1, 2).mean()) * (side - kept))
        for side, kept in ((height, rows), (width, columns))
    )
    window = slice(top, top + rows), slice(left, left + columns)
    if mask is not None and _lost(mask, mask[window]):
        return pixels, mask
    kept = np.ascontiguousarray(pixels[window])
    return kept, None if mask is None else np.ascontiguousarray(mask[window])


def _lost(mask: Pixels, kept: Pixels) -> bool:
    """Whether more than half of a tumour is no longer there."""
    return int(np.count_nonzero(kept)) * 2 < int(np.count_nonzero(mask))


def strip(pixels: Pixels, mask: Pixels | None, rng: Rng) -> tuple[Pixels, Pixels | None]:
    """The brain without scalp and skull, roughly, as research collections show it.

    The head is filled, and a rim of about 7% to 15% of its smaller side, uneven as tools leave
    it, is made black. As it was if that would cut the tumour away.
    """
    return peel(pixels, mask, float(rng.uniform(0.07, 0.15)), rng)


def peel(
    pixels: Pixels, mask: Pixels | None, share: float, rng: Rng
) -> tuple[Pixels, Pixels | None]:
    """`strip` with a rim of this share of the head's smaller side."""
    left, top, right, bottom = find_head(pixels)
    inside = pixels > 0.12 * float(np.quantile(pixels, 0.98))
    filled = _between(inside) & _between(inside.T).T
    radius = max(1.0, share * min(right - left, bottom - top))
    height, width = pixels.shape
    near = Image.fromarray(filled.astype(np.uint8) * 255).filter(ImageFilter.BoxBlur(radius))
    uneven = Image.fromarray(rng.uniform(200, 252, (6, 6)).astype(np.float32))
    edge = np.asarray(uneven.resize((width, height), Image.Resampling.BILINEAR))
    kept = np.asarray(near, np.float32) >= edge
    cut = None if mask is None else np.where(kept, mask, 0).astype(np.uint8)
    if not kept.any() or (mask is not None and cut is not None and _lost(mask, cut)):
        return pixels, mask
    return np.where(kept, pixels, 0).astype(np.uint8), cut


def _between(inside: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Each row filled from its first to its last pixel that is set."""
    forward = np.logical_or.accumulate(inside, axis=1)
    backward = np.logical_or.accumulate(inside[:, ::-1], axis=1)[:, ::-1]
    return np.asarray(forward & backward)


def frame(pixels: Pixels, mask: Pixels | None, rng: Rng) -> tuple[Pixels, Pixels | None]:
    """A border of one brightness, as in figures cut from papers and pages."""
    widths = [(int(a), int(b)) for a, b in rng.integers(0, 1 + max(pixels.shape) // 8, (2, 2))]
    value = int(rng.choice((0, 0, 128, 240, 255)))
    framed = np.pad(pixels, widths, constant_values=value)
    return framed, None if mask is None else np.pad(mask, widths)


_TONAL: tuple[Callable[[Pixels, Rng], Pixels], ...] = (
    tone,
    shade,
    blur,
    coarsen,
    noise,
    recompress,
    annotate,
    invert,
)
# How often each change is made; a recipe may say otherwise.
CHANCES: dict[str, float] = {
    "warp": 1.0,
    "strip": 0.1,
    "crop": 0.12,
    "remap": 0.35,
    "repaint": 0.0,
    "tone": 0.8,
    "shade": 0.2,
    "blur": 0.15,
    "coarsen": 0.15,
    "noise": 0.25,
    # Not shown to help (docs/experiments.md): strong compression is read well without it.
    "recompress": 0.0,
    "annotate": 0.08,
    "invert": 0.03,
    "frame": 0.08,
    "jitter": 1.0,
}


def augment(
    pixels: Pixels,
    mask: Pixels | None,
    rng: Rng,
    chances: Mapping[str, float] = CHANCES,
    *,
    hidden: bool = False,
) -> tuple[Pixels, Pixels | None]:
    """Change one picture at random.

    Args:
        pixels: uint8 (height, width).
        mask: uint8 (height, width), 0 or 255, or None.
        chances: of each change by its name; those left out have that of `CHANCES`.
        hidden: there is a tumour and no mask says where, so nothing is done that might cut it
            away and leave its name.

    Returns:
        The changed picture and mask, of one size, which may differ from the given one.
    """
    chances = {**CHANCES, **chances}
    if rng.random() < chances["warp"]:
        pixels, mask = warp(pixels, mask, rng)
    for reshape in (strip, crop):
        if rng.random() < chances[reshape.__name__] and not hidden:
            pixels, mask = reshape(pixels, mask, rng)
    other_sequence = rng.random() < chances["remap"]
    if other_sequence:
        pixels = remap(pixels, rng)
    if mask is not None and rng.random() < chances["repaint"]:
        pixels = repaint(pixels, mask, rng, bright=other_sequence)
    for change in _TONAL:
        if rng.random() < chances[change.__name__]:
            pixels = change(pixels, rng)
    if rng.random() < chances["frame"]:
        pixels, mask = frame(pixels, mask, rng)
    return pixels, mask


def jitter(box: Box, width: int, height: int, rng: Rng) -> Box:
    """Move the edges of the head's frame, or drop it, as other sources will."""
    if rng.random() < 0.2:
        return (0, 0, width, height)
    moves = rng.normal(0, 0.04, 4) * np.tile([box[2] - box[0], box[3] - box[1]], 2)
    left, top = max(0, round(box[0] + moves[0])), max(0, round(box[1] + moves[1]))
    right = min(width, round(box[2] + moves[2]))
    bottom = min(height, round(box[3] + moves[3]))
    return (left, top, right, bottom) if right - left > 16 and bottom - top > 16 else box


def draw_training_pair(
    pixels: Pixels,
    mask: Pixels | None,
    size: int,
    rng: Rng,
    chances: Mapping[str, float] = CHANCES,
    *,
    hidden: bool = False,
) -> tuple[Pixels, Floats]:
    """One augmented input and its target.

    Args:
        pixels, mask, rng, chances, hidden: see `augment`.
        size: side of the input.

    Returns:
        uint8 (size, size), not yet normalised, and float32 (size / 2, size / 2): which share
        of each cell is tumour, 0 without a mask.
    """
    pixels, mask = augment(pixels, mask, rng, chances, hidden=hidden)
    height, width = pixels.shape
    box = find_head(pixels)
    if rng.random() < chances.get("jitter", CHANCES["jitter"]):
        box = jitter(box, width, height, rng)
    geometry = place(width, height, box, size)
    canvas = letterbox(pixels, geometry)
    if mask is None:
        return canvas, np.zeros((size // 2, size // 2), np.float32)
    return canvas, mask_cells(mask, geometry)
