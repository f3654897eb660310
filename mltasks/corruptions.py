"""Twelve ways in which a picture of the same head may arrive worse, each at three strengths.

Named after ImageNet-C (Hendrycks & Dietterich, 2019) where it has them, and after the faults of
MRI. All act on the upload, as uploads differ there. The same seed gives the same change.

Beside them stand pictures of other sequences, made from T1 slices by tone curves that are not
monotone, and black for white: these are not to be withstood but to be noticed.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from mltasks.preprocessing import Pixels

Rng = np.random.Generator
Pair = tuple[Pixels, Pixels | None]
STRENGTHS = (1, 2, 3)
STRENGTH_NAMES = {1: "mild", 2: "middle", 3: "strong"}


def _to_pixels(values: NDArray[np.floating]) -> Pixels:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def noise(pixels: Pixels, strength: int, rng: Rng) -> Pixels:
    """Rician noise, as magnitude images have it."""
    sigma = np.float32((6, 14, 28)[strength - 1])
    real, imaginary = rng.standard_normal((2, *pixels.shape), dtype=np.float32) * sigma
    return _to_pixels(np.hypot(pixels + real, imaginary))


def blur(pixels: Pixels, strength: int, rng: Rng) -> Pixels:
    """Out of focus, in proportion to the picture's size."""
    radius = (0.003, 0.006, 0.011)[strength - 1] * max(pixels.shape)
    return np.array(Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(radius)))


def motion(pixels: Pixels, strength: int, rng: Rng) -> Pixels:
    """Ghosts along one axis, from a head that moved with a period during the scan."""
    share, axis = (0.12, 0.25, 0.45)[strength - 1], int(rng.integers(0, 2))
    lines = np.fft.fft(pixels.astype(np.float32), axis=axis)
    side = pixels.shape[axis]
    # Every few lines of k-space were taken with the head displaced: a phase ramp on these.
    shift, period = rng.uniform(0.02, 0.06) * side, int(rng.integers(3, 6))
    phase = np.exp(-2j * np.pi * np.fft.fftfreq(side) * shift)
    weight = np.where(np.arange(side) % period == 0, 2 * share, share / 2)
    factor = (1 - weight) + weight * phase
    return _to_pixels(
        np.abs(np.fft.ifft(lines * (factor[:, None] if axis == 0 else factor[None]), axis=axis))
    )


def bias_field(pixels: Pixels, strength: int, rng: Rng) -> Pixels:
    """Uneven sensitivity of the receiving coil: a smooth factor across the picture."""
    spread = (0.3, 0.55, 0.8)[strength - 1]
    coarse = rng.uniform(1 - spread, 1 + spread, (3, 3)).astype(np.float32)
    height, width = pixels.shape
    field = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
    return _to_pixels(pixels * np.asarray(field))


def low_resolution(pixels: Pixels, strength: int, rng: Rng) -> Pixels:
    """Shrunk to a longest side of 160, 96 or 64 pixels."""
    image = Image.fromarray(pixels)
    side = (160, 96, 64)[strength - 1]
    image.thumbnail((side, side))
    return np.array(image)


def jpeg(pixels: Pixels, strength: int, rng: Rng) -> Pixels:
    """JPEG of quality 30, 15 or 7."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=(30, 15, 7)[strength - 1])
    with Image.open(buffer) as image:
        return np.array(image)


def contrast(pixels: Pixels, strength: int, rng: Rng) -> Pixels:
    """Flat: values drawn together towards their mean."""
    factor = np.float32((0.6, 0.4, 0.25)[strength - 1])
    mean = np.float32(pixels.mean())
    return _to_pixels((pixels - mean) * factor + mean)


def tone(pixels: Pixels, strength: int, rng: Rng) -> Pixels:
    """A gamma curve, upwards or downwards."""
    gamma = (1.5, 2.1, 3.0)[strength - 1]
    if rng.random() < 0.5:
        gamma = 1 / gamma
    levels = (np.arange(256, dtype=np.float32) / 255) ** np.float32(gamma)
    return _to_pixels(levels * 255)[pixels]


def darkness(pixels: Pixels, strength: int, rng: Rng) -> Pixels:
    """A half, three tenths or three twentieths of the brightness."""
    return _to_pixels(pixels * np.float32((0.5, 0.3, 0.15)[strength - 1]))


def rotation(pixels: Pixels, mask: Pixels | None, strength: int, rng: Rng) -> Pair:
    """Turned by 15, 45 or 90 degrees to either side; the canvas grows."""
    angle = (15, 45, 90)[strength - 1] * int(rng.choice((-1, 1)))

    def turn(values: Pixels, method: Image.Resampling) -> Pixels:
        return np.array(Image.fromarray(values).rotate(angle, method, expand=True))

    turned = turn(pixels, Image.Resampling.BILINEAR)
    return turned, None if mask is None else turn(mask, Image.Resampling.NEAREST)


def crop(pixels: Pixels, mask: Pixels | None, strength: int, rng: Rng) -> Pair:
    """The middle 85%, 70% or 55% of width and height."""
    share = (0.85, 0.7, 0.55)[strength - 1]
    top, left = (round(side * (1 - share) / 2) for side in pixels.shape)
    window = slice(top, pixels.shape[0] - top), slice(left, pixels.shape[1] - left)
    cut = np.ascontiguousarray(pixels[window])
    return cut, None if mask is None else np.ascontiguousarray(mask[window])


def letters(pixels: Pixels, mask: Pixels | None, strength: int, rng: Rng) -> Pair:
    """A border and letters, as screens and pages put around a slice."""
    width = round((0.03, 0.07, 0.13)[strength - 1] * max(pixels.shape))
    value = int(rng.choice((0, 90, 255)))
    image = Image.fromarray(np.pad(pixels, width, constant_values=value))
    draw = ImageDraw.Draw(image)
    ink = 20 if value > 128 else 235
    for _ in range(3 * strength):
        word = "".join(rng.choice(list("ABRLPHTE0123456789:."), int(rng.integers(3, 14))))
        x = rng.choice((0.01, 0.4, 0.75)) * image.width
        y = rng.choice((0.01, 0.05, 0.5, 0.9, 0.95)) * image.height
        draw.text((float(x), float(y)), word, fill=ink)
    return np.array(image), None if mask is None else np.pad(mask, width)


_TONAL: dict[str, Callable[[Pixels, int, Rng], Pixels]] = {
    "noise": noise,
    "blur": blur,
    "motion": motion,
    "bias field": bias_field,
    "low resolution": low_resolution,
    "JPEG": jpeg,
    "contrast": contrast,
    "tone curve": tone,
    "darkness": darkness,
}
_SPATIAL: dict[str, Callable[[Pixels, Pixels | None, int, Rng], Pair]] = {
    "rotation": rotation,
    "crop": crop,
    "letters": letters,
}
CORRUPTIONS = (*_TONAL, *_SPATIAL)


def _rng(name: str, strength: int, seed: str) -> Rng:
    return np.random.default_rng(zlib.crc32(f"{name}/{strength}/{seed}".encode()))


def corrupt(pixels: Pixels, mask: Pixels | None, name: str, strength: int, seed: str) -> Pair:
    """Change one picture, and its mask with it.

    Args:
        pixels: uint8 (height, width).
        mask: uint8 of the same size, or None.
        name: one of `CORRUPTIONS`.
        strength: 1 (mild) to 3 (strong).
        seed: names the picture, so that each differs and each repeats.

    Returns:
        The changed picture, and a mask of its size.
    """
    rng = _rng(name, strength, seed)
    if name in _SPATIAL:
        return _SPATIAL[name](pixels, mask, strength, rng)
    changed = _TONAL[name](pixels, strength, rng)
    if mask is not None and changed.shape != mask.shape:
        small = Image.fromarray(mask).resize(changed.shape[::-1], Image.Resampling.BOX)
        mask = np.where(np.asarray(small) > 127, 255, 0).astype(np.uint8)
    return changed, mask


def _remapped(pixels: Pixels, points: tuple[tuple[float, float], ...], rng: Rng) -> Pixels:
    """A curve through points (quantile of the head's brightness, new value), slightly shaken."""
    head = pixels[pixels > max(10, 0.1 * np.quantile(pixels, 0.99))]
    levels = np.quantile(head, [at for at, _ in points]) if head.size else np.zeros(len(points))
    values = np.array([value for _, value in points]) * 255 + rng.normal(0, 8, len(points))
    # Background stays black; equal quantiles are parted so that the curve stays one.
    at = np.maximum.accumulate(levels + np.arange(len(points)) * 1e-3)
    curve = np.interp(np.arange(256), np.r_[0, at], np.r_[0, values]).astype(np.float32)
    soft = Image.fromarray(_to_pixels(curve)[pixels]).filter(ImageFilter.GaussianBlur(0.7))
    return np.array(soft)


def flair_like(pixels: Pixels, rng: Rng) -> Pixels:
    """Dark fluid, and grey matter brighter than white: the order of a FLAIR slice."""
    points = ((0.05, 0.05), (0.15, 0.15), (0.35, 0.62), (0.65, 0.34), (0.85, 0.6), (0.97, 0.9))
    return _remapped(pixels, points, rng)


def t2_like(pixels: Pixels, rng: Rng) -> Pixels:
    """Bright fluid, white matter darker than grey: the order of a T2 slice."""
    points = ((0.02, 0.5), (0.1, 0.95), (0.35, 0.6), (0.65, 0.3), (0.9, 0.5), (0.98, 0.7))
    return _remapped(pixels, points, rng)


def inverted(pixels: Pixels, rng: Rng) -> Pixels:
    """Black for white."""
    return 255 - pixels


UNLIKE: dict[str, Callable[[Pixels, Rng], Pixels]] = {
    "FLAIR-like": flair_like,
    "T2-like": t2_like,
    "black for white": inverted,
}


def unlike(pixels: Pixels, name: str, seed: str) -> Pixels:
    """The slice as another sequence or viewer might show it: one of `UNLIKE`."""
    return UNLIKE[name](pixels, _rng(name, 0, seed))
