"""Crude drawn slices of other parts of the body, as MRI might show them.

They only measure the detectors and are never learnt from. They are ellipses and bands with folds
of noise; real slices of knees and bellies look less alike, and nobody should read more into
figures on them than that the detector does not take any grey shape on black for a head.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from mltasks import negatives
from mltasks.preprocessing import Pixels

Rng = np.random.Generator
Field = NDArray[np.float64]
SIDE = 320
_Y, _X = np.mgrid[-1 : 1 : SIDE * 1j, -1 : 1 : SIDE * 1j]


def _clouds(rng: Rng, cells: int) -> Field:
    coarse = rng.normal(size=(cells, cells)).astype(np.float32)
    smooth = Image.fromarray(coarse).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    return np.asarray(smooth, np.float64)


def _ellipse(x: float, y: float, wide: float, tall: float, edge: Field) -> NDArray[np.bool_]:
    return np.asarray(np.hypot((_X - x) / wide, (_Y - y) / tall) + 0.04 * edge < 1)


def _finish(values: Field, rng: Rng) -> Pixels:
    values = values * (1 + 0.1 * _clouds(rng, 4)) + 6 * _clouds(rng, 60) * (values > 5)
    soft = Image.fromarray(np.clip(values, 0, 255).astype(np.uint8)).filter(
        ImageFilter.GaussianBlur(float(rng.uniform(0.8, 1.8)))
    )
    sigma = rng.uniform(2, 8)
    real, imaginary = rng.normal(0, sigma, (2, SIDE, SIDE))
    return np.clip(np.hypot(np.asarray(soft, np.float64) + real, imaginary), 0, 255).astype(
        np.uint8
    )


def knee(rng: Rng) -> Pixels:
    """From the side: two bright bone ends, dark cartilage between, muscle and fat around."""
    edge, values = _clouds(rng, 7), np.zeros((SIDE, SIDE))
    width = rng.uniform(0.5, 0.7)
    values[np.abs(_X + 0.1 * edge) < width] = 190
    values[np.abs(_X + 0.08 * edge) < width - 0.08] = 80
    gap, bone = rng.uniform(0.02, 0.05), rng.uniform(130, 210)
    values[(np.abs(_X) < 0.28) & (_Y < -0.25)] = bone
    values[_ellipse(0.03, -0.25, 0.42, 0.27, edge) & (gap > _Y)] = bone
    values[(np.abs(_X + 0.05) < 0.24) & (gap + 0.1 < _Y)] = bone
    values[_ellipse(0, 0.2, 0.4, 0.2, edge) & (gap < _Y)] = bone
    values[_ellipse(-width + 0.12, -0.2, 0.09, 0.2, edge)] = bone
    values[(np.abs(_Y - gap / 2) < gap) & (np.abs(_X) < 0.4)] = 20
    return _finish(values, rng)


def spine(rng: Rng) -> Pixels:
    """From the side: a column of vertebrae and discs, the cord behind it."""
    edge, values = _clouds(rng, 7), np.zeros((SIDE, SIDE))
    bend = rng.uniform(-0.2, 0.2) * _Y**2 + 0.05 * np.sin(3 * _Y + rng.uniform(0, 6))
    across = _X - bend
    values[np.abs(across - 0.05) < 0.8 + 0.05 * edge] = rng.uniform(40, 90)
    values[across > 0.6 + 0.05 * edge] = 200
    values[across > 0.8 + 0.05 * edge] = 0
    values[np.abs(across + 0.1) < 0.17] = rng.uniform(30, 60)
    height = rng.uniform(0.2, 0.3)
    block = np.mod(_Y + rng.uniform(0, 1), height) / height
    values[(np.abs(across + 0.1) < 0.17) & (block < 0.72)] = rng.uniform(110, 180)
    values[np.abs(across - 0.16) < 0.07] = rng.uniform(10, 40)
    values[np.abs(across - 0.16) < 0.04] = rng.uniform(100, 150)
    return _finish(values, rng)


def abdomen(rng: Rng) -> Pixels:
    """From below: fat, liver, spleen, kidneys, spine, loops of bowel."""
    edge, values = _clouds(rng, 7), np.zeros((SIDE, SIDE))
    tall = rng.uniform(0.6, 0.75)
    values[_ellipse(0, 0, 0.95, tall, edge)] = 210
    values[_ellipse(0, 0, 0.85, tall - 0.1, edge)] = 70
    values[_ellipse(-0.4, -0.08, 0.4, tall - 0.25, edge)] = rng.uniform(100, 140)
    values[_ellipse(0.6, 0.05, 0.15, 0.25, edge)] = rng.uniform(60, 110)
    for x in (-0.33, 0.33):
        values[_ellipse(x, 0.3, 0.12, 0.15, edge)] = rng.uniform(140, 200)
    values[_ellipse(0, 0.35, 0.15, 0.13, edge)] = 150
    values[_ellipse(0, 0.5, 0.05, 0.05, edge)] = 40
    for _ in range(8):
        x, y = rng.uniform(-0.1, 0.5), rng.uniform(-0.4, 0.1)
        values[_ellipse(x, y, 0.09, 0.07, edge)] = rng.uniform(10, 200)
    return _finish(values, rng)


def thighs(rng: Rng) -> Pixels:
    """From below: two round legs with bone, muscle and fat."""
    edge, values = _clouds(rng, 7), np.zeros((SIDE, SIDE))
    fat = rng.uniform(0.05, 0.12)
    for x in (-0.48, 0.48):
        values[_ellipse(x, 0, 0.43, 0.5, edge)] = 210
        values[_ellipse(x, 0, 0.43 - fat, 0.5 - fat, edge)] = 90 + 12 * edge[160, 160]
        values[_ellipse(x, -0.05, 0.11, 0.11, edge)] = 15
        values[_ellipse(x, -0.05, 0.06, 0.06, edge)] = 180
        for _ in range(5):
            dx, dy = rng.uniform(-0.25, 0.25, 2)
            values[_ellipse(x + dx, dy, 0.02, 0.08, edge)] = 190
    return _finish(values, rng)


GENERATORS: dict[str, Callable[[Rng], Pixels]] = {
    "drawn knee": knee,
    "drawn spine": spine,
    "drawn abdomen": abdomen,
    "drawn thighs": thighs,
}


def drawn(count: int, seed: int) -> list[tuple[str, Pixels]]:
    """`count` drawn slices with the name of their kind, the kinds in turn."""
    return negatives.drawn(count, seed, GENERATORS)
