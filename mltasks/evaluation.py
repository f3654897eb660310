"""Honest figures: what users would be shown, against the experts, with intervals by group."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mltasks.classes import CLASSES, NO_TUMOR
from mltasks.data import Sample
from mltasks.inference import Analyzer
from mltasks.preprocessing import Pixels

Array = NDArray[Any]
Metric = Callable[["Results"], float]
_BINS = 15
_RESAMPLES = 1000


@dataclass(frozen=True, slots=True)
class Results:
    """Per-slice results, all arrays of the same length n.

    Attributes:
        target: int, index of the true class.
        probabilities: float64 (n, 4).
        accepted: bool, not refused as "no brain MRI".
        brain_score: float64.
        dice: float64; NaN where there is no expert mask.
        group: the slices' groups.
    """

    target: Array
    probabilities: Array
    accepted: Array
    brain_score: Array
    dice: Array
    group: Array

    @property
    def predicted(self) -> Array:
        """Index of the most likely class, refused or not."""
        return np.asarray(self.probabilities.argmax(axis=1))

    def take(self, index: Array) -> Results:
        """The same for some of the slices, possibly repeated."""
        return Results(*(getattr(self, name)[index] for name in self.__slots__))


def dice_score(area: Array, truth: Array) -> float:
    """Overlap of two boolean masks, 0 to 1 (Dice, 1945); 1 if both are empty."""
    total = int(area.sum()) + int(truth.sum())
    return 2 * int((area & truth).sum()) / total if total else 1.0


def run(analyzer: Analyzer, samples: Sequence[Sample], *, batch: int = 16) -> Results:
    """Analyse the slices exactly as the site does."""
    rows: dict[str, list[Any]] = defaultdict(list)
    for start in range(0, len(samples), batch):
        chunk = samples[start : start + batch]
        for sample, found in zip(chunk, analyzer.analyze([s.pixels for s in chunk]), strict=True):
            rows["target"].append(sample.record.target)
            rows["probabilities"].append([found.probabilities[name] for name in CLASSES])
            rows["accepted"].append(found.status == "ok")
            rows["brain_score"].append(found.brain_score)
            rows["dice"].append(
                np.nan if sample.mask is None else dice_score(found.area, sample.mask > 127)
            )
            rows["group"].append(sample.record.group)
    return Results(**{name: np.asarray(values) for name, values in rows.items()})


def refusals(
    analyzer: Analyzer, pictures: Iterable[tuple[str, Pixels]], *, batch: int = 16
) -> dict[str, Array]:
    """Brain scores, as the site would compute them, of other pictures, by source.

    A refused picture is given as a score of at most 0, so that rules beside the score count too.
    """
    scores: dict[str, list[float]] = defaultdict(list)
    waiting: list[tuple[str, Pixels]] = []

    def flush() -> None:
        for (source, _), found in zip(
            waiting, analyzer.analyze([pixels for _, pixels in waiting]), strict=True
        ):
            scores[source].append(found.brain_score if found.status == "ok" else 0.0)
        waiting.clear()

    for item in pictures:
        waiting.append(item)
        if len(waiting) == batch:
            flush()
    flush()
    return {source: np.asarray(values) for source, values in scores.items()}


def accuracy(results: Results) -> float:
    """Share of slices whose most likely class is right."""
    return float((results.predicted == results.target).mean())


def answered_accuracy(results: Results) -> float:
    """Share of slices that are neither refused nor given the wrong class."""
    return float((results.accepted & (results.predicted == results.target)).mean())


def macro_f1(results: Results) -> float:
    """Mean over the classes of the harmonic mean of precision and sensitivity."""
    scores = []
    for index in range(len(CLASSES)):
        predicted, actual = results.predicted == index, results.target == index
        total = predicted.sum() + actual.sum()
        scores.append(2 * (predicted & actual).sum() / total if total else 1.0)
    return float(np.mean(scores))


def median_dice(results: Results) -> float:
    """Median over the slices with an expert mask; a missed tumour counts 0."""
    scores = results.dice[~np.isnan(results.dice)]
    return float(np.median(scores)) if scores.size else 0.0


def calibration_error(results: Results) -> float:
    """Expected calibration error (Guo et al., 2017) with 15 bins of equal width."""
    confidence = results.probabilities.max(axis=1)
    correct = results.predicted == results.target
    bins = np.minimum((confidence * _BINS).astype(int), _BINS - 1)
    error = 0.0
    for index in np.unique(bins):
        inside = bins == index
        error += inside.mean() * abs(confidence[inside].mean() - correct[inside].mean())
    return float(error)


def sensitivity(index: int) -> Metric:
    """Share of the class's slices that are given this class."""

    def metric(results: Results) -> float:
        actual = results.target == index
        return float((results.predicted[actual] == index).mean()) if actual.any() else 0.0

    return metric


def specificity(index: int) -> Metric:
    """Share of the other classes' slices that are not given this class."""

    def metric(results: Results) -> float:
        others = results.target != index
        return float((results.predicted[others] != index).mean()) if others.any() else 0.0

    return metric


def interval(results: Results, metric: Metric, *, seed: int = 0) -> list[float]:
    """95% percentile interval from drawing whole groups with replacement (Efron, 1979).

    Slices of one group resemble each other; drawing single slices would give too narrow an
    interval.
    """
    rng = np.random.default_rng(seed)
    names, inverse = np.unique(results.group, return_inverse=True)
    members = [np.flatnonzero(inverse == number) for number in range(len(names))]
    values = []
    for _ in range(_RESAMPLES):
        drawn = rng.integers(0, len(names), len(names))
        values.append(metric(results.take(np.concatenate([members[i] for i in drawn]))))
    return [round(float(value), 4) for value in np.percentile(values, (2.5, 97.5))]


def proportion_interval(hits: int, count: int) -> list[float]:
    """95% interval of a share of independent trials (Wilson, 1927)."""
    if not count:
        return [0.0, 1.0]
    z = 1.959964
    share, spread = hits / count, z * z / count
    centre = (share + spread / 2) / (1 + spread)
    half = z / (1 + spread) * float(np.sqrt(share * (1 - share) / count + spread / (4 * count)))
    return [round(max(0.0, centre - half), 4), round(min(1.0, centre + half), 4)]


def summary(results: Results) -> dict[str, Any]:
    """Everything the model card states about slices."""

    def stated(metric: Metric) -> dict[str, Any]:
        return {"value": round(metric(results), 4), "ci95": interval(results, metric)}

    scores = results.dice[~np.isnan(results.dice)]
    confusion = np.zeros((len(CLASSES), len(CLASSES)), int)
    np.add.at(confusion, (results.target, results.predicted), 1)
    per_class = {
        name: {
            "n": int((results.target == index).sum()),
            "sensitivity": stated(sensitivity(index)),
            "specificity": stated(specificity(index)),
        }
        for index, name in enumerate(CLASSES)
    }
    refused = int((~results.accepted).sum())
    return {
        "n": len(results.target),
        "groups": len(np.unique(results.group)),
        "accuracy": stated(accuracy),
        "accuracy_refusals_count_as_errors": stated(answered_accuracy),
        "macro_f1": stated(macro_f1),
        "per_class": per_class,
        "confusion": {
            "rows": "true",
            "columns": "predicted",
            "order": list(CLASSES),
            "counts": confusion.tolist(),
        },
        "calibration_error": stated(calibration_error),
        "dice": {
            "n": len(scores),
            "median": stated(median_dice),
            "mean": round(float(scores.mean()), 4) if scores.size else 0.0,
            "quantiles": {
                f"{share:g}": round(float(np.quantile(scores, share)), 4) if scores.size else 0.0
                for share in (0.05, 0.25, 0.75, 0.95)
            },
            "empty_or_disjoint": round(float((scores == 0).mean()), 4) if scores.size else 0.0,
        },
        "tumor_called_no_tumor": {
            "n": int((results.target != CLASSES.index(NO_TUMOR)).sum()),
            "count": int(
                (
                    (results.target != CLASSES.index(NO_TUMOR))
                    & (results.predicted == CLASSES.index(NO_TUMOR))
                ).sum()
            ),
        },
        "refused": {
            "n": len(results.target),
            "count": refused,
            "share": round(refused / len(results.target), 4),
            "ci95": proportion_interval(refused, len(results.target)),
        },
    }


def refusal_summary(scores: dict[str, Array], threshold: float) -> dict[str, Any]:
    """How many other pictures are taken for brain MRI, in all and by source."""

    def stated(values: Array) -> dict[str, Any]:
        taken = int((values >= threshold).sum())
        return {
            "n": len(values),
            "accepted": taken,
            "share": round(taken / len(values), 4) if len(values) else 0.0,
            "ci95": proportion_interval(taken, len(values)),
        }

    everything = np.concatenate([*scores.values(), np.zeros(0)])
    return {**stated(everything), "by_source": {k: stated(v) for k, v in sorted(scores.items())}}
