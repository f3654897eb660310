"""What an image looks like, in 1,024 numbers, for finding copies even if they were altered.

The image is shrunk to 32×32 cells, once as a whole and once by the frame of the head, and each
made a vector of mean 0 and length 1. The scalar product of two such vectors is the correlation of
the pictures, which brightness and contrast do not change. Mirroring and quarter turns only
change the order of the cells.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mltasks.preprocessing import Box, Pixels

SIDE = 32
TURNS = 8
Vectors = NDArray[np.float32]
_SEARCH_SIDE = 256
# Cells brighter than this share of the way from dark to bright belong to the head …
_HEAD_SHARE = 0.2
# … and a row or column does if more than this share of its cells does.
_LINE_SHARE = 0.05
# Of SIDE frequencies in each direction, those kept for the first, coarse comparison.
_LOW = 12


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """float32 (1024,) each: the whole picture, and the frame of the head."""

    whole: Vectors
    framed: Vectors


def fingerprint(grey: Pixels) -> Fingerprint:
    """Of uint8 (height, width)."""
    height, width = grey.shape
    return Fingerprint(_vector(grey, (0, 0, width, height)), _vector(grey, head_frame(grey)))


def head_frame(grey: Pixels) -> Box:
    """The tight frame of the bright part: left, top, right, bottom.

    `preprocessing.find_head` leaves a margin that ends at the picture's border, so it differs
    between a picture and its crop. This one does not, and it follows changes of brightness.
    """
    height, width = grey.shape
    step = max(1, -(-max(height, width) // _SEARCH_SIDE))
    small = np.asarray(Image.fromarray(grey).reduce(step)) if step > 1 else grey
    low, high = np.percentile(small, (1, 99))
    bright = small > low + _HEAD_SHARE * (high - low)
    rows = np.flatnonzero(bright.mean(axis=1) > _LINE_SHARE)
    columns = np.flatnonzero(bright.mean(axis=0) > _LINE_SHARE)
    if not rows.size or not columns.size:
        return (0, 0, width, height)
    return (
        int(columns[0]) * step,
        int(rows[0]) * step,
        min(width, (int(columns[-1]) + 1) * step),
        min(height, (int(rows[-1]) + 1) * step),
    )


def _vector(grey: Pixels, box: Box) -> Vectors:
    small = Image.fromarray(grey).resize((SIDE, SIDE), Image.Resampling.BOX, box=box)
    return unit(np.asarray(small, np.float32).reshape(1, -1))[0]


def unit(values: Vectors) -> Vectors:
    """Rows of mean 0 and length 1; a row of one value becomes 0, which is like nothing."""
    centred = values - values.mean(axis=1, keepdims=True)
    length = np.linalg.norm(centred, axis=1, keepdims=True)
    return np.asarray(np.where(length > 1e-3, centred / np.maximum(length, 1e-3), 0), np.float32)


def turned(vectors: Vectors, turn: int) -> Vectors:
    """The fingerprints, (n, 1024), of the pictures turned: `turn` quarters, from 4 on mirrored."""
    cells = turned_pictures(vectors.reshape(-1, SIDE, SIDE), turn)
    return np.ascontiguousarray(cells).reshape(-1, SIDE * SIDE)


def turned_pictures(pictures: NDArray[Any], turn: int) -> NDArray[Any]:
    """Arrays (…, rows, columns), turned as `turned` says."""
    pictures = np.rot90(pictures, turn % 4, axes=(-2, -1))
    return pictures[..., ::-1] if turn >= 4 else pictures


def turn_name(turn: int) -> str:
    """In words: what was done to one picture to get the other."""
    quarters = ("", "a quarter turn left", "half a turn", "a quarter turn right")[turn % 4]
    parts = [part for part in (quarters, "mirrored" if turn >= 4 else "") if part]
    return ", ".join(parts) or "as it is"


@cache
def _cosines() -> Vectors:
    """Orthonormal DCT-II: (_LOW, SIDE)."""
    steps = np.arange(SIDE) + 0.5
    matrix = np.cos(np.pi / SIDE * np.arange(_LOW)[:, None] * steps[None])
    matrix *= np.sqrt(2 / SIDE)
    matrix[0] /= np.sqrt(2)
    return np.asarray(matrix, np.float32)


def coarse(vectors: Vectors) -> Vectors:
    """145 numbers for 1,024 whose scalar products are never below those of the fingerprints.

    They are the low frequencies u₁ and the length |u₂| of the rest. As u·v = u₁·v₁ + u₂·v₂ and
    u₂·v₂ ≤ |u₂||v₂| (Cauchy and Schwarz), a search among them misses no pair.
    """
    matrix = _cosines()
    cells = vectors.reshape(-1, SIDE, SIDE)
    low = (matrix @ cells @ matrix.T).reshape(-1, _LOW * _LOW)
    rest = (vectors**2).sum(axis=1) - (low**2).sum(axis=1)
    return np.hstack([low, np.sqrt(np.maximum(rest, 0))[:, None]]).astype(np.float32)
