"""Fits what makes answers of raw outputs: calibration, thresholds, reference features.

All of it is fitted on slices that the network has not learnt from, except the reference, which
says what it has learnt from. docs/model.md says why each is chosen as it is.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from mltasks import calibration, conformal, corruptions
from mltasks.background import is_light
from mltasks.batching import batched
from mltasks.classes import CLASSES
from mltasks.data import Sample
from mltasks.doubt import REFERENCE_NAME, Assessment, Doubt, Reference, relative_distance, tempered
from mltasks.engines import OUTPUTS, Engine, Outputs, open_engine
from mltasks.evaluation import bootstrap
from mltasks.lazy import need
from mltasks.postprocessing import sigmoid
from mltasks.preprocessing import Floats, Pixels, mask_cells, preprocess
from mltasks.progress import Tick, silent

Array = np.ndarray[Any, Any]
Report = Callable[[str], None]
# Dimensions of the reference: of 64, 128 and 256 the middle one kept foreign pictures furthest.
DIMENSIONS = 128
# Every so many training slices make the reference; it has five times fewer dimensions yet.
REFERENCE_STEP = 5
# Every so many held-out slices are shown in another form, too.
CHANGED_STEP = 2
# Share of held-out slices that may be flagged (measured false alarms must stay under 2%).
_FLAG_SHARE = 0.012
# Held-out slices that may be refused by the brain head, and its highest threshold; and the score
# from which no distance refuses. docs/model.md says on which heads the last two were chosen.
_REFUSE_SHARE, _BRAIN_CEILING, _SURELY_BRAIN = 0.002, 0.5, 0.9
# A flagged answer claims no more than this.
_FLAGGED_CAP = 0.85
COVERAGE = 0.95
# The network stands by its answers from a probability on, so that of these at most so many err.
_COMMITTED_ERROR = 0.02
_MASK_THRESHOLDS = tuple(np.arange(0.3, 0.65, 0.05).round(2))
_CONTOUR_THRESHOLDS = tuple(np.r_[0.005, 0.01, 0.02, 0.03, np.arange(0.05, 1, 0.05), 0.97, 0.98,
                                  0.99, 0.995].round(3))  # fmt: skip
# The inner contour is to be at least this much tumour, and the outer to hold this much of it …
CONTOUR_SHARE = 0.9
# … in this share of the tumours.
CONTOUR_RATE = 0.8
_BATCH = 16


@dataclass(frozen=True, slots=True)
class Raw:
    """Raw outputs for n pictures, with what is known of them.

    Attributes:
        logits, brain, features: (n, 4), (n,) and (n, 1280), as `engines.Outputs`.
        target: (n,) index of the class. group: (n,) str.
        kind: (n,) str, how the picture was changed; "" if not.
        light: (n,) bool, see `background.is_light`.
    """

    logits: Array
    brain: Array
    features: Array
    target: Array
    group: Array
    kind: Array
    light: Array

    def take(self, index: Array) -> Raw:
        """The same for some of the pictures."""
        return Raw(*(getattr(self, field.name)[index] for field in fields(self)))


def forward(
    engine: Engine, pictures: Iterable[Pixels], size: int, progress: Tick = silent
) -> Outputs:
    """Raw outputs of any number of pictures; the attention maps are left out to save memory."""
    parts: dict[str, list[Array]] = {name: [] for name in OUTPUTS}
    for inputs in batched((preprocess(pixels, size)[0] for pixels in pictures), _BATCH):
        outputs = engine.forward(np.stack(inputs))
        for name in OUTPUTS:
            value = getattr(outputs, name)
            parts[name].append(value[:, :0] if name == "attention" else value)
        progress(len(inputs))
    return Outputs(**{name: np.concatenate(values) for name, values in parts.items()})


def changed(sample: Sample, number: int) -> tuple[str, Pixels]:
    """The slice in one of its other forms, in turn: twelve corruptions, mild and middle.

    Every third slice looks like another sequence instead, so that distance means doubt.
    """
    seed = sample.record.id
    if number % 3 == 2:
        names = tuple(corruptions.UNLIKE)
        name = names[number // 3 % len(names)]
        return name, corruptions.unlike(sample.pixels, name, seed)
    turn = number - number // 3
    name = corruptions.CORRUPTIONS[turn % len(corruptions.CORRUPTIONS)]
    strength = 1 + turn // len(corruptions.CORRUPTIONS) % 2
    return name, corruptions.corrupt(sample.pixels, None, name, strength, seed)[0]


def fit_reference(features: Floats, dimensions: int = DIMENSIONS) -> Reference:
    """The subspace of most variance of features (n, 1280) scaled to unit length."""
    wide = np.asarray(features, np.float64)
    unit = wide / np.maximum(np.linalg.norm(wide, axis=1, keepdims=True), 1e-12)
    mean = unit.mean(axis=0)
    variance, vectors = np.linalg.eigh((unit - mean).T @ (unit - mean))
    basis = vectors[:, np.argsort(-variance)[: min(dimensions, len(unit) - 1)]]
    reference = Reference(mean.astype(np.float32), basis.astype(np.float32))
    # Thresholds are fitted to what will be read back, not to what was not yet rounded.
    return Reference.from_bytes(reference.to_bytes())


def _distances(home: Array, others: Array) -> dict[str, float]:
    """From which distances a picture is flagged, and refused if the brain head is not sure of it.

    Refused from halfway between the farthest held-out slice and the hundredth part of the other
    pictures that comes nearest: MRI from elsewhere lies farther than any slice from home, much of
    it beyond that, too.
    """
    # Rounded before anything follows from them, and so that no more are flagged or refused.
    centre = round(float(np.median(home)), 6)
    flag = calibration.rounded_up(float(np.quantile(home, 1 - _FLAG_SHARE)), 6)
    flag = max(flag, round(centre + 1e-6, 6))
    near = float(np.quantile(others, 0.01)) if len(others) else np.inf
    refuse = (float(home.max()) + near) / 2 if near > home.max() else float(home.max()) * 1.05
    return {
        "centre": centre,
        "flag": flag,
        "refuse": max(calibration.rounded_up(min(refuse, 10.0), 6), round(flag + 1e-6, 6)),
        "surely_brain": _SURELY_BRAIN,
    }


def fit_doubt(raw: Raw, distance: Array, others: Array) -> dict[str, Any]:
    """The card's section `doubt`, but for the contours.

    Args:
        raw: held-out slices, plain and changed.
        distance: (n,), theirs.
        others: distances of pictures that are no brain MRI and were learnt as such.
    """
    plain = raw.kind == ""
    at = _distances(distance[plain], others)
    relative = relative_distance(distance, at["centre"], at["flag"])
    # Flagged pictures are capped anyhow: they must not cost the others their sureness. Slices weigh
    # the same: by group, hundreds of easy ones would outweigh the few large groups with tumours.
    weight = ((distance < at["flag"]) & ~raw.light).astype(np.float64)
    # What follows is fitted to the temperature that will be read back, not to what was rounded.
    base, slope = (
        round(value, 4)
        for value in calibration.fit_temperature(raw.logits, raw.target, relative, weight)
    )
    probabilities = tempered(raw.logits, base, slope, relative)
    least = conformal.least_probabilities(
        probabilities[plain], raw.target[plain], raw.group[plain], coverage=COVERAGE
    )
    usual = plain & (distance < at["flag"])
    return {
        "temperature": {"base": base, "slope": slope},
        "distance": at,
        "sets": {
            name: calibration.rounded_down(own, 6) for name, own in zip(CLASSES, least, strict=True)
        },
        "answer": {
            "commit": calibration.commit_threshold(
                probabilities[usual], raw.target[usual], _COMMITTED_ERROR
            ),
            "flagged_cap": _FLAGGED_CAP,
        },
    }


def fit_brain(raw: Raw) -> float:
    """The card's threshold of the brain head, from plain slices only."""
    return calibration.brain_threshold(
        sigmoid(raw.brain[raw.kind == ""]), refuse=_REFUSE_SHARE, ceiling=_BRAIN_CEILING
    )


def cross_assessed(raw: Raw, reference: Reference, others: Array) -> Assessment:
    """What is said of the pictures by what was fitted to the other half of the groups.

    A single group is judged by itself.
    """
    first, distance = calibration.group_halves(raw.group), reference.distance(raw.features)
    parts, places = [], []
    for half in (first, ~first):
        if not half.any():
            continue
        fitted_on = half if half.all() else ~half
        fitted, own = raw.take(fitted_on), raw.take(half)
        doubt = Doubt(fit_doubt(fitted, distance[fitted_on], others), reference, fit_brain(fitted))
        empty = np.zeros((len(own.target), 0), np.float32)
        outputs = Outputs(own.logits, empty, empty, own.brain, own.features)
        parts.append(doubt.assess(outputs, own.light))
        places.append(np.flatnonzero(half))
    order = np.argsort(np.concatenate(places))
    return Assessment(
        **{
            field.name: np.concatenate([getattr(part, field.name) for part in parts])[order]
            for field in fields(Assessment)
        }
    )


def cross_fitted(raw: Raw, reference: Reference, others: Array) -> dict[str, Any]:
    """How the fitted parts do on groups they were not fitted to: each half judges the other."""
    found = cross_assessed(raw, reference, others)
    plain, unlike = raw.kind == "", np.isin(raw.kind, list(corruptions.UNLIKE))
    return {
        "plain": _figures(raw, found, plain),
        "corrupted": _figures(raw, found, ~plain & ~unlike),
        **{name: _figures(raw, found, raw.kind == name) for name in corruptions.UNLIKE},
    }


def _figures(raw: Raw, found: Assessment, chosen: Array) -> dict[str, Any]:
    """What the card states of some of the pictures, bool (n,)."""
    if not chosen.any():
        return {"n": 0}
    target, group, stands = raw.target[chosen], raw.group[chosen], found.committed[chosen]
    in_set, top = found.in_set[chosen], found.probabilities[chosen].max(axis=1)
    right = found.probabilities[chosen].argmax(axis=1) == target
    held = in_set[np.arange(len(target)), target]
    return {"n": len(target)} | bootstrap.values_and_intervals(
        {
            "accuracy": bootstrap.proportion(right),
            "calibration_error": bootstrap.CalibrationError(top, right),
            "set_coverage": bootstrap.proportion(held),
            "set_coverage_by_group": bootstrap.proportion(held, conformal.group_weights(group)),
            "mean_set_size": bootstrap.mean(in_set.sum(axis=1)),
            "flagged": bootstrap.proportion(found.flagged[chosen]),
            "refused": bootstrap.proportion(found.refused[chosen]),
            "committed": bootstrap.proportion(stands),
            "error_when_committed": bootstrap.proportion(~right, stands),
            "confidently_wrong": bootstrap.proportion((top >= 0.9) & ~right),
        },
        group,
    )


def _dice_at(areas: Floats, truth: list[Array], threshold: float) -> Array:
    """Dice of each slice's area from a probability on, (n,)."""
    scores = []
    for own, mask in zip(areas, truth, strict=True):
        area = own >= threshold
        total = area.sum() + mask.sum()
        scores.append(2 * (area * mask).sum() / total if total else 1.0)
    return np.array(scores, np.float64)


def _contours_at(areas: Floats, truth: list[Array], threshold: float) -> tuple[Array, Array]:
    """Whether each slice's area does as inner contour and as outer one, bool (n,) each."""
    inside, found = [], []
    for own, mask in zip(areas, truth, strict=True):
        area = own >= threshold
        common = (mask * area).sum()
        # No contour is none that is right.
        inside.append(common / area.sum() if area.any() else 0.0)
        found.append(common / mask.sum() if mask.any() else 1.0)
    return np.array(inside) >= CONTOUR_SHARE, np.array(found) >= CONTOUR_SHARE


def fit_masks(logits: Floats, truth: list[Array]) -> tuple[float, dict[str, Any]]:
    """The mask threshold of highest mean Dice, and the contours' thresholds.

    The rates stated with them are those of the slices they are fitted to.

    Args:
        logits: (n, side, side) of slices with an expert mask.
        truth: n masks (side, side), the tumour's share of each cell, 0 to 1.
    """
    if not len(logits):
        return 0.5, {"inner": 0.9, "outer": 0.1, "n": 0}
    areas = sigmoid(logits)
    best = max(_MASK_THRESHOLDS, key=lambda at: float(_dice_at(areas, truth, at).mean()))
    precise, held = {}, {}
    for at in _CONTOUR_THRESHOLDS:
        inside, found = _contours_at(areas, truth, at)
        precise[at], held[at] = float(inside.mean()), float(found.mean())
    inner = [at for at in _CONTOUR_THRESHOLDS if at >= best]
    outer = [at for at in _CONTOUR_THRESHOLDS if at <= best and held[at] >= CONTOUR_RATE]
    # Where no threshold reaches the rate wanted, the one that comes nearest.
    reached = [at for at in inner if precise[at] >= CONTOUR_RATE]
    chosen_inner = min(reached) if reached else max(inner, key=lambda at: precise[at])
    chosen_outer = max(outer) if outer else min(_CONTOUR_THRESHOLDS)
    return float(best), {
        "inner": float(chosen_inner),
        "outer": float(chosen_outer),
        "share": CONTOUR_SHARE,
        "wanted_rate": CONTOUR_RATE,
        "inner_rate": round(precise[chosen_inner], 4),
        "outer_rate": round(held[chosen_outer], 4),
        "n": len(logits),
    }


def cross_fitted_areas(logits: Floats, truth: list[Array], group: Array) -> dict[str, Any]:
    """How areas and contours do on groups their thresholds were not fitted to.

    Each half of the groups judges the other. Only `n` where there are no two groups.

    Args:
        logits, truth: see `fit_masks`.
        group: (n,) str.
    """
    names = np.unique(group)
    figures = {"n": len(group), "groups": len(names)}
    if len(names) < 2:
        return figures
    first, areas = calibration.group_halves(group), sigmoid(logits)
    dice, inner, outer = np.zeros((3, len(group)))
    for half in (first, ~first):
        at, contours = fit_masks(
            logits[~half], [mask for mask, own in zip(truth, half, strict=True) if not own]
        )
        own = [mask for mask, chosen in zip(truth, half, strict=True) if chosen]
        dice[half] = _dice_at(areas[half], own, at)
        inner[half] = _contours_at(areas[half], own, contours["inner"])[0]
        outer[half] = _contours_at(areas[half], own, contours["outer"])[1]
    return figures | bootstrap.values_and_intervals(
        {
            "dice_mean": bootstrap.mean(dice),
            "inner_rate": bootstrap.proportion(inner),
            "outer_rate": bootstrap.proportion(outer),
        },
        group,
    )


def _truth(sample: Sample, size: int) -> Array:
    """The share of tumour in each cell of the mask's grid."""
    assert sample.mask is not None  # noqa: S101 - asked for slices with a mask only
    _, geometry = preprocess(sample.pixels, size)
    return mask_cells(sample.mask, geometry)


def complete(
    card: dict[str, Any],
    content: bytes,
    *,
    learnt: Iterable[Pixels],
    held_out: Sequence[Sample],
    others: Sequence[Pixels],
    threads: int = 0,
    report: Report = silent,
    progress: Tick = silent,
) -> dict[str, bytes]:
    """Fit everything that stands between raw outputs and answers, and fill it into the card.

    Args:
        card: of the model; `thresholds`, `doubt`, `files` and `calibration` are written.
        content: of model.onnx.
        learnt: training slices; one in `REFERENCE_STEP` of them is enough.
        held_out: slices of groups the network has not learnt from.
        others: pictures that are no brain MRI, which it has learnt as such.

    Returns:
        The files to lie beside the weights, by name.

    Raises:
        ModelError: SciPy is not installed.
    """
    need("scipy")
    engine, size = open_engine("onnx", content, threads=threads), card["input"]["size"]
    report("reference features")
    reference = fit_reference(forward(engine, learnt, size, progress).features)
    report("held-out slices")
    plain = forward(engine, (s.pixels for s in held_out), size, progress)
    report("the same in other forms")
    again = held_out[::CHANGED_STEP]
    forms = [changed(sample, number) for number, sample in enumerate(again)]
    shaken = forward(engine, (pixels for _, pixels in forms), size, progress)
    report("other pictures")
    foreign = forward(engine, others, size, progress)
    target = np.array([sample.record.target for sample in held_out])
    group = np.array([str(sample.record.group) for sample in held_out])
    raw = Raw(
        logits=np.concatenate([plain.class_logits, shaken.class_logits]),
        brain=np.concatenate([plain.brain, shaken.brain]),
        features=np.concatenate([plain.features, shaken.features]),
        target=np.concatenate([target, target[::CHANGED_STEP]]),
        group=np.concatenate([group, group[::CHANGED_STEP]]),
        kind=np.array([""] * len(held_out) + [name for name, _ in forms]),
        light=np.array([is_light(s.pixels) for s in held_out] + [is_light(p) for _, p in forms]),
    )
    masked = [number for number, sample in enumerate(held_out) if sample.mask is not None]
    return fit(
        card,
        reference,
        raw,
        foreign.features,
        masks=plain.mask[masked],
        truth=[_truth(held_out[number], size) for number in masked],
        mask_groups=group[masked],
    )


def fit(
    card: dict[str, Any],
    reference: Reference,
    raw: Raw,
    foreign: Floats,
    *,
    masks: Floats,
    truth: list[Array],
    mask_groups: Array,
) -> dict[str, bytes]:
    """Everything of `complete` that needs no forward pass.

    Args:
        card: see `complete`.
        reference: of the training slices.
        raw: held-out slices, plain and changed.
        foreign: features (n, 1280) of pictures that are no brain MRI.
        masks: logits (n, side, side) of the plain slices with an expert mask.
        truth: theirs, see `fit_masks`.
        mask_groups: (n,) str, theirs, too.
    """
    far = reference.distance(foreign)
    plain = raw.kind == ""
    mask_threshold, contours = fit_masks(masks, truth)
    files = {REFERENCE_NAME: reference.to_bytes()}
    card["thresholds"] |= {"brain": fit_brain(raw), "mask": mask_threshold}
    card["doubt"] = fit_doubt(raw, reference.distance(raw.features), far) | {"contours": contours}
    card["files"] |= {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    card["calibration"] = {
        "slices": int(plain.sum()),
        "groups": sorted(set(raw.group)),
        "cross_fitted": cross_fitted(raw, reference, far),
        "cross_fitted_areas": cross_fitted_areas(masks, truth, mask_groups),
    }
    return files
