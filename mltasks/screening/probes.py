"""The probes of a screening: held-out slices in several forms, shown to each network."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mltasks import corruptions
from mltasks.augmentation import peel, repaint
from mltasks.classes import CLASSES, NO_TUMOR
from mltasks.data import Sample
from mltasks.engines import Engine
from mltasks.evaluation import bootstrap
from mltasks.evaluation.results import dice_score
from mltasks.preprocessing import Pixels, find_head, letterbox, mask_cells, normalise, place
from mltasks.transplant import Transplants

Array = np.ndarray[Any, Any]
# What is shown, its mask, its class, and the group of the slice it was made of.
Shown = tuple[Pixels, Pixels | None, int, str]
PLAIN, STRIPPED, MOVED, OUTLINES = "unchanged", "skull stripped", "moved tumours", "outlines"
DARK, BRIGHT = "dark tumours", "FLAIR-like, bright tumours"
# Results of other probes are not mixed with these; one more whenever a probe changes.
VERSION = 2
_BATCH = 32
_RESAMPLES = 400
_NONE = CLASSES.index(NO_TUMOR)
# A cell is tumour from a mean brightness above 127 of 255.
_MARKED = np.float32(127 / 255)


@dataclass(frozen=True, slots=True)
class Probe:
    """Held-out slices in one form, ready for the network.

    Attributes:
        images: uint8 (n, size, size), not yet normalised.
        target: (n,) index of the class.
        masks: n masks bool (size / 2, size / 2), None for slices without a tumour.
        group: (n,) str, of the slice that it was made of.
    """

    images: Pixels
    target: Array
    masks: list[Array | None]
    group: Array


def outline(pixels: Pixels) -> Pixels:
    """The head as a uniform ellipse: only framing, size and proportions are left, no brain."""
    inside = pixels > 0.12 * float(np.quantile(pixels, 0.98))
    grey = float(pixels[inside].mean()) if inside.any() else 0.0
    left, top, right, bottom = find_head(pixels)
    y, x = np.mgrid[: pixels.shape[0], : pixels.shape[1]]
    across = (x + 0.5 - (left + right) / 2) / ((right - left) / 2)
    along = (y + 0.5 - (top + bottom) / 2) / ((bottom - top) / 2)
    return np.where(across**2 + along**2 <= 1, grey, 0).astype(np.uint8)


def _own_rng(sample: Sample) -> np.random.Generator:
    """The same for a slice in every probe and every run."""
    return np.random.default_rng(zlib.crc32(sample.record.id.encode()))


def _stripped(sample: Sample) -> Shown:
    pixels, mask = peel(sample.pixels, sample.mask, 0.11, _own_rng(sample))
    return pixels, mask, sample.record.target, sample.record.group


def _moved(samples: Sequence[Sample]) -> Iterator[Shown]:
    """Slices without a tumour, given another held-out slice's tumour or healthy tissue."""
    rng = np.random.default_rng(0)
    for lesion, healthy in ((1.0, 0.0), (0.0, 1.0)):
        move = Transplants(samples, lesion=lesion, healthy=healthy)
        for sample in samples:
            if sample.record.target != _NONE:
                continue
            pixels, mask, target = move(sample, rng)
            if pixels is not sample.pixels:
                yield pixels, mask, target, sample.record.group


def _repainted(samples: Sequence[Sample], *, bright: bool) -> Iterator[Shown]:
    """Tumours darker than the tissue around them, or brighter and on a FLAIR-like slice."""
    for sample in samples:
        if sample.mask is None or not sample.mask.any():
            continue
        pixels = sample.pixels
        if bright:
            pixels = corruptions.unlike(pixels, "FLAIR-like", sample.record.id)
        painted = repaint(pixels, sample.mask, _own_rng(sample), bright=bright)
        yield painted, sample.mask, sample.record.target, sample.record.group


def _probe(shown: Iterator[Shown], size: int) -> Probe:
    images, targets, groups = [], [], []
    masks: list[Array | None] = []
    for pixels, mask, target, group in shown:
        geometry = place(pixels.shape[1], pixels.shape[0], find_head(pixels), size)
        images.append(letterbox(pixels, geometry))
        targets.append(target)
        groups.append(group)
        masks.append(None if mask is None else mask_cells(mask, geometry) > _MARKED)
    shape = (len(images), size, size)
    return Probe(np.reshape(images, shape), np.array(targets), masks, np.array(groups))


def build(samples: Sequence[Sample], size: int) -> dict[str, Probe]:
    """The probes by name: unchanged, twelve corruptions (middle and strong), other sequences,
    without a skull, with tumours moved into healthy slices, with tumours of another brightness,
    and as mere outlines. Empty probes, as of data without masks, are left out.

    Args:
        samples: held-out slices; every form of them is kept in memory, size² bytes each.
    """

    def corrupted(name: str) -> Iterator[Shown]:
        for strength in (2, 3):
            for sample in samples:
                identity = sample.record.id
                changed = corruptions.corrupt(sample.pixels, sample.mask, name, strength, identity)
                yield *changed, sample.record.target, sample.record.group

    def unlike(name: str) -> Iterator[Shown]:
        for sample in samples:
            changed = corruptions.unlike(sample.pixels, name, sample.record.id)
            yield changed, sample.mask, sample.record.target, sample.record.group

    shown = {
        PLAIN: ((s.pixels, s.mask, s.record.target, s.record.group) for s in samples),
        **{name: corrupted(name) for name in corruptions.CORRUPTIONS},
        **{name: unlike(name) for name in corruptions.UNLIKE},
        STRIPPED: map(_stripped, samples),
        MOVED: _moved(samples),
        DARK: _repainted(samples, bright=False),
        BRIGHT: _repainted(samples, bright=True),
        OUTLINES: ((outline(s.pixels), None, s.record.target, s.record.group) for s in samples),
    }
    probes = {name: _probe(slices, size) for name, slices in shown.items()}
    return {name: probe for name, probe in probes.items() if len(probe.target)}


def score(engine: Engine, probe: Probe) -> dict[str, Any]:
    """Scores of a network on a probe.

    Returns:
        `accuracy`: share of right classes. `dice`: mean over the tumours, on the mask's grid, at
        a threshold of one half. `told`: area under the ROC curve of tumour against none. Each has
        `value` and `ci95`, the interval from drawing groups; both are None where there is nothing
        to measure.
    """
    right, scores, dice = [], [], []
    for start in range(0, len(probe.images), _BATCH):
        outputs = engine.forward(normalise(probe.images[start : start + _BATCH]))
        logits, target = outputs.class_logits, probe.target[start : start + _BATCH]
        right.append(logits.argmax(axis=1) == target)
        wide = logits.astype(np.float64)
        others = np.delete(wide, _NONE, axis=1)
        scores.append(np.logaddexp.reduce(others, axis=1) - wide[:, _NONE])
        for area, truth in zip(outputs.mask > 0, probe.masks[start : start + _BATCH], strict=True):
            empty = truth is None or not truth.any()
            dice.append(np.nan if empty else dice_score(area, np.asarray(truth)))
    tumor = probe.target != _NONE
    metrics: dict[str, bootstrap.Metric] = {
        "accuracy": bootstrap.proportion(np.concatenate(right)),
        "dice": bootstrap.mean(np.array(dice)),
        "told": bootstrap.area_under_roc(np.concatenate(scores), tumor),
    }
    return {
        name: bootstrap.with_interval(metric, probe.group, resamples=_RESAMPLES)
        for name, metric in metrics.items()
    }
