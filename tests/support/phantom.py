"""Drawn heads: pictures that anyone may have, for benchmarks and tests.

A phantom of ellipses after the idea of Shepp and Logan (1974, doi 10.1109/TNS.1974.6499235), with
folds, uneven receiver gain and Rician-like noise. It shows nobody, and its tumour is known to the
pixel. It says nothing about how well a network reads real pictures.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from mltasks.preprocessing import Pixels

SIDE = 512
_MIDDLE = SIDE / 2
_ROWS, _COLUMNS = np.mgrid[0:SIDE, 0:SIDE].astype(np.float64)

Field = NDArray[np.float64]


def _waves(random: np.random.Generator, slow: float, fast: float) -> Field:
    """Noise of unit variance whose waves number from `slow` to `fast` across the picture."""
    steps = np.fft.fftfreq(SIDE) * SIDE
    frequency = np.hypot(steps[:, None], steps[None])
    share = np.exp(-(((frequency - (slow + fast) / 2) / ((fast - slow) / 2)) ** 2))
    noise = np.fft.ifft2(np.fft.fft2(random.normal(size=(SIDE, SIDE))) * share).real
    return np.asarray(noise / noise.std())


def _distance(x: float, y: float, wide: float, tall: float) -> Field:
    """Distance from a middle, 1 on the ellipse of these radii."""
    return np.hypot((_COLUMNS - x) / wide, (_ROWS - y) / tall)


def _head(random: np.random.Generator, edge: Field, outline: Field) -> Field:
    """Scalp, skull, fluid, folded cortex, white matter and ventricles."""
    grey = np.full((SIDE, SIDE), 4.0)
    for radius, value in ((1.0, 150), (0.965, 60), (0.94, 18), (0.895, 28)):
        grey[outline < radius] = value
    depth = np.clip((0.87 - outline) / 0.87, 0, 1)
    folds = _waves(random, 14, 22)
    brain = (outline + 0.012 * folds) < 0.87
    grey[brain] = (96 + 14 * np.tanh(12 * depth + 1.05 * folds - 1.65))[brain]
    grey[brain & (np.abs(folds) < 0.16) & (depth < 0.3)] = 45
    fissure = np.abs(_COLUMNS - _MIDDLE + 160 * edge) < 2.2
    away = (_ROWS < _MIDDLE - 60) | (_ROWS > _MIDDLE + 70)
    grey[fissure & away & (outline < 0.87)] = 38
    for side in (-1, 1):
        for across, down, wide, tall, value in (
            (24, -42, 17, 44, 34),
            (34, 48, 15, 38, 34),
            (52, -2, 24, 34, 92),
        ):
            nucleus = _distance(_MIDDLE + side * across, _MIDDLE + down, wide, tall) + edge
            grey[nucleus < 1] = value
    return grey


def drawn_head(seed: int) -> tuple[Pixels, NDArray[np.bool_]]:
    """One axial head with one bright tumour; the same seed draws the same head.

    Returns:
        Pixels, uint8 (512, 512), and the tumour's mask, bool (512, 512).
    """
    random = np.random.default_rng(seed)
    edge = 0.02 * _waves(random, 2, 5)
    wide, tall = random.uniform(165, 185), random.uniform(205, 222)
    outline = _distance(_MIDDLE, _MIDDLE, wide, tall) + edge / 2
    grey = _head(random, edge, outline)

    angle, reach = random.uniform(0, 2 * np.pi), random.uniform(0.35, 0.6)
    x, y = _MIDDLE + wide * reach * np.cos(angle), _MIDDLE + tall * reach * np.sin(angle)
    radius = random.uniform(38, 56)
    lumps = 0.13 * _waves(random, 4, 12)
    swelling = _distance(x, y, radius * 1.6, radius * 1.5) + lumps
    grey[(swelling < 1) & (outline < 0.87)] *= 0.8
    tumour = _distance(x, y, radius, radius * random.uniform(0.8, 1.1)) + lumps
    mask = (tumour < 1) & (outline < 0.87)
    texture = 185 + 16 * _waves(random, 6, 24) - 45 * np.clip(0.45 - tumour, 0, 1)
    grey[mask] = texture[mask]

    grey *= 1 + 0.07 * _waves(random, 0.5, 2)
    image = Image.fromarray(np.clip(grey, 0, 255).astype(np.uint8))
    soft = np.asarray(image.filter(ImageFilter.GaussianBlur(1.6)), np.float64)
    noise = random.normal(0, 4, soft.shape) * (1 + (soft > 10))
    return np.clip(soft + noise, 0, 255).astype(np.uint8), mask
