"""Lesions moved between slices, so that a picture's source does not give away its class.

In the training data the slices without a tumour come from other sources and sequences than those
with one. A network can tell them apart by that alone. Here the tumour of one slice, with its
surroundings, is laid over a slice without one: the class then hangs on what lies in the head and
not on who recorded it. As the seam must not become a sign of its own, patches of healthy tissue
are laid over slices without a tumour in the same way.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageFilter

from mltasks.classes import NO_TUMOR
from mltasks.data import Sample
from mltasks.preprocessing import Box, Floats, Pixels, find_head

Rng = np.random.Generator
# Surroundings that move along, and the softness of the seam, as shares of the lesion's longer side.
_AROUND, _SEAM = 0.12, 0.06
# A lesion larger than this share of the picture would bring its whole source along.
_LARGEST = 0.2
# Brightness is matched by a factor up to this; beyond it black would become white.
_UNLIKE = 1.8


def _fitting(values: Pixels, source: Box, target: Box, shape: tuple[int, int]) -> Pixels:
    """`values` moved and scaled so that the head's frame `source` falls upon `target`."""
    scale_x = (source[2] - source[0]) / (target[2] - target[0])
    scale_y = (source[3] - source[1]) / (target[3] - target[1])
    matrix = (
        *(scale_x, 0.0, source[0] - target[0] * scale_x),
        *(0.0, scale_y, source[1] - target[1] * scale_y),
    )
    image = Image.fromarray(values).transform(
        shape[::-1], Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR
    )
    return np.array(image)


def _seam(mask: Pixels) -> Floats:
    """Weight of the moved patch: 1 on the mask, which marks something, falling softly around it."""
    rows, columns = np.nonzero(mask > 127)
    side = 1 + int(max(np.ptp(rows), np.ptp(columns)))
    grown = Image.fromarray(mask)
    grown = grown.filter(ImageFilter.GaussianBlur(_AROUND * side))
    wide = (np.asarray(grown) > 20).astype(np.uint8) * 255
    soft = Image.fromarray(wide).filter(ImageFilter.GaussianBlur(max(1.0, _SEAM * side)))
    return np.asarray(soft, np.float32) / np.float32(255)


def _matched(patch: Pixels, host: Pixels, weight: Floats) -> Floats | None:
    """The patch with the host's brightness around the seam, where both show ordinary tissue.

    None where there is no such tissue, or the two are too unlike to be matched.
    """
    ring = (weight > 0.1) & (weight < 0.9) & (host > 20) & (patch > 20)
    if ring.sum() < 20:
        return None
    factor = float(np.median(host[ring])) / max(1.0, float(np.median(patch[ring])))
    return patch * np.float32(factor) if 1 / _UNLIKE < factor < _UNLIKE else None


def lay_over(host: Pixels, donor: Pixels, mask: Pixels) -> tuple[Pixels, Pixels] | None:
    """Lay the part of `donor` under `mask` over the same place of the host's head.

    Args:
        host: uint8 (height, width), the slice that receives.
        donor: uint8 of any size, the slice that gives.
        mask: uint8 of the donor's size, 0 or 255.

    Returns:
        The new slice and the mask on it, both of the host's size; None where they do not fit:
        the lesion is too large, or would fall outside the host's head.
    """
    source, target = find_head(donor), find_head(host)
    if min(target[2] - target[0], target[3] - target[1]) < 32:
        return None
    patch = _fitting(donor, source, target, host.shape)
    moved = _fitting(mask, source, target, host.shape)
    inside = moved > 127
    if not inside.any() or inside.mean() > _LARGEST or (host[inside] > 20).mean() < 0.8:
        return None
    weight = _seam(moved)
    matched = _matched(patch, host, weight)
    if matched is None:
        return None
    mixed = weight * matched + (1 - weight) * host
    return np.rint(np.clip(mixed, 0, 255)).astype(np.uint8), inside.astype(np.uint8) * 255


class Transplants:
    """Draws what a slice without a tumour becomes in training.

    Args:
        samples: the training slices. Tumours are taken from those with a mask, healthy tissue
            from those labelled free of a tumour: one without a mask may still show one.
        lesion, healthy: how often such a slice gets another one's tumour, or only a patch of
            healthy tissue in the shape of a tumour.
    """

    def __init__(self, samples: Sequence[Sample], *, lesion: float, healthy: float) -> None:
        self._lesion, self._healthy = lesion, healthy
        self._donors: dict[str, list[tuple[Pixels, Pixels, int]]] = {}
        self._controls: dict[str, list[Pixels]] = {}
        for sample in samples:
            record = sample.record
            if record.label == NO_TUMOR:
                self._controls.setdefault(record.plane, []).append(sample.pixels)
            elif sample.mask is not None:
                donor = (sample.pixels, sample.mask, record.target)
                self._donors.setdefault(record.plane, []).append(donor)

    def __call__(self, sample: Sample, rng: Rng) -> tuple[Pixels, Pixels | None, int]:
        """Pixels, mask and target of the slice to train on, changed or as it was."""
        record = sample.record
        donors = self._donors.get(record.plane, [])
        luck = rng.random()
        healthy = record.label == NO_TUMOR
        if not healthy or not donors or luck >= self._lesion + self._healthy:
            return sample.pixels, sample.mask, record.target
        donor, mask, target = donors[int(rng.integers(len(donors)))]
        if luck < self._lesion:
            laid = lay_over(sample.pixels, donor, mask)
            if laid is not None:
                return *laid, target
            return sample.pixels, sample.mask, record.target
        controls = self._controls[record.plane]
        control = controls[int(rng.integers(len(controls)))]
        shape = _fitting(mask, find_head(donor), find_head(control), control.shape)
        laid = lay_over(sample.pixels, control, shape)
        return (sample.pixels if laid is None else laid[0]), None, record.target
