"""Every figure of a report about slices, as plain JSON values."""

from __future__ import annotations

import itertools
from functools import partial
from typing import Any

import numpy as np

from mltasks.classes import CLASSES, NO_TUMOR
from mltasks.evaluation import bootstrap
from mltasks.evaluation.bootstrap import Metric, proportion_interval
from mltasks.evaluation.results import Array, Results

_NONE = CLASSES.index(NO_TUMOR)
# Thresholds on a class's probability at which sensitivity and specificity are stated.
THRESHOLDS = (0.1, 0.25, 0.5, 0.75, 0.9)
QUANTILES = (0.05, 0.25, 0.75, 0.95)
# Bounds of tumour sizes, as shares of the picture: below 0.5%, 1%, 2%, 4%, or larger.
SIZES = (0.005, 0.01, 0.02, 0.04)
# States a metric of one set of results.
_Stating = partial[dict[str, Any]]


def _stating(results: Results, resamples: int) -> _Stating:
    return partial(bootstrap.with_interval, groups=results.group, resamples=resamples)


def _groups(results: Results) -> dict[str, Any]:
    """How many groups there are, and whether that is too few for the intervals drawn from them."""
    count = len(np.unique(results.group))
    return {"groups": count, "few_groups": count < bootstrap.FEWEST_GROUPS}


def _per_class(results: Results, state: _Stating) -> dict[str, Any]:
    known = results.kind_known.astype(float)
    figures = {}
    for index, name in enumerate(CLASSES):
        actual, answered = results.target == index, results.predicted == index
        others = known * ~actual
        figures[name] = {
            "n": int(actual.sum()),
            **_groups(results.take(actual)),
            "sensitivity": state(bootstrap.proportion(answered, actual)),
            "specificity": state(bootstrap.proportion(~answered, others)),
            "at_thresholds": [
                {
                    "threshold": threshold,
                    "sensitivity": state(
                        bootstrap.proportion(results.probabilities[:, index] >= threshold, actual)
                    ),
                    "specificity": state(
                        bootstrap.proportion(results.probabilities[:, index] < threshold, others)
                    ),
                }
                for threshold in THRESHOLDS
            ],
        }
    return figures


def _confusion(results: Results) -> dict[str, Any]:
    counts = np.zeros((len(CLASSES), len(CLASSES)), int)
    known = results.kind_known
    np.add.at(counts, (results.target[known], results.predicted[known]), 1)
    return {
        "rows": "true",
        "columns": "predicted",
        "order": list(CLASSES),
        "counts": counts.tolist(),
    }


def overlap(results: Results, state: _Stating) -> dict[str, Any]:
    """Dice of the marked area and the expert's; a missed tumour counts as 0."""
    scores = results.dice
    measured = ~np.isnan(scores)
    return {
        "n": int(measured.sum()),
        "median": state(bootstrap.quantile(scores, 0.5)),
        "mean": state(bootstrap.mean(scores)),
        "quantiles": {
            f"{level:g}": state(bootstrap.quantile(scores, level)) for level in QUANTILES
        },
        **bootstrap.values_and_intervals(
            {"empty_or_disjoint": bootstrap.proportion(scores == 0, measured)}, **state.keywords
        ),
    }


def _parts(results: Results) -> dict[str, dict[str, Array]]:
    """Ways to divide the slices: by criterion, the slices of each part."""

    def by(values: Array) -> dict[str, Array]:
        return {str(name): values == name for name in np.unique(values) if str(name)}

    edges = (0.0, *SIZES, 1.01)
    sizes = {
        f"{100 * low:g}–{100 * min(high, 1):g}%": (results.size >= low) & (results.size < high)
        for low, high in itertools.pairwise(edges)
    }
    labels = {name: results.target == index for index, name in enumerate(CLASSES)}
    return {
        "class": {name: part for name, part in labels.items() if part.any()},
        "plane": by(results.plane),
        "tumour_size": {name: part for name, part in sizes.items() if part.any()},
        "source": by(results.source),
    }


def _divided(results: Results, resamples: int) -> dict[str, Any]:
    """Refusals, accuracy and Dice of each part."""
    figures: dict[str, Any] = {}
    for way, parts in _parts(results).items():
        figures[way] = {}
        for name, part in parts.items():
            own = results.take(part)
            state = _stating(own, resamples)
            figures[way][name] = {
                "n": len(own),
                "kind_known": int(own.kind_known.sum()),
                **_groups(own),
                "refused": state(bootstrap.proportion(~own.accepted)),
                "flagged": state(bootstrap.proportion(own.flagged)),
                "accuracy": state(bootstrap.proportion(own.right, own.kind_known)),
                "dice_n": int((~np.isnan(own.dice)).sum()),
                "dice_median": state(bootstrap.quantile(own.dice, 0.5)),
                "dice_5": state(bootstrap.quantile(own.dice, 0.05)),
            }
    return figures


def elsewhere(results: Results, *, resamples: int = bootstrap.RESAMPLES) -> dict[str, Any]:
    """Results on slices from elsewhere: on all of them, and `by_source`."""

    def part(own: Results) -> dict[str, Any]:
        state = _stating(own, resamples)
        sure = own.probabilities.max(axis=1) >= 0.9
        return {
            "n": len(own),
            **_groups(own),
            "tumors": int(own.tumor.sum()),
            "kind_known": int(own.kind_known.sum()),
            "accuracy": state(bootstrap.proportion(own.right, own.kind_known)),
            "refused": state(bootstrap.proportion(~own.accepted)),
            "flagged": state(bootstrap.proportion(own.flagged)),
            "committed": state(bootstrap.proportion(own.committed)),
            "error_when_committed": state(
                bootstrap.proportion(~own.right, own.kind_known & own.committed)
            ),
            "confidently_wrong": state(bootstrap.proportion(~own.right & sure, own.kind_known)),
        }

    sources = _parts(results)["source"]
    return part(results) | {
        "by_source": {name: part(results.take(chosen)) for name, chosen in sources.items()}
    }


def _tumor_or_none(results: Results, state: _Stating) -> dict[str, Any]:
    score, positive = results.tumor_probability, results.tumor
    return {
        "n": len(results),
        "tumors": int(positive.sum()),
        "auc": state(bootstrap.area_under_roc(score, positive)),
        "sensitivity_at_95_specificity": state(bootstrap.sensitivity_at(score, positive, 0.95)),
        "called_tumor_of_tumors": state(bootstrap.proportion(results.predicted != _NONE, positive)),
        "called_tumor_of_none": state(bootstrap.proportion(results.predicted != _NONE, ~positive)),
        "calibration_error": state(
            bootstrap.CalibrationError(np.maximum(score, 1 - score), (score >= 0.5) == positive)
        ),
    }


def coverage_curve(results: Results) -> list[dict[str, float]]:
    """Error among the slices of highest confidence, in steps of a twentieth of all slices.

    Flagged and refused slices come last: the network never commits itself on them.
    """
    known = results.take(results.kind_known)
    if not len(known):
        return []
    standing = known.accepted & ~known.flagged
    confidence = known.probabilities.max(axis=1) + standing
    wrong = ~known.right[np.argsort(-confidence, kind="stable")]
    counts = [max(1, round(len(wrong) * step / 20)) for step in range(1, 21)]
    return [
        {
            "coverage": round(count / len(wrong), 4),
            "error": round(float(wrong[:count].mean()), 4),
        }
        for count in counts
    ]


def _doubt(results: Results, state: _Stating) -> dict[str, Any]:
    known = results.kind_known
    true_in_set = np.zeros(len(results), np.bool_)
    true_in_set[known] = results.in_set[np.flatnonzero(known), results.target[known]]
    sure = results.probabilities.max(axis=1) >= 0.9
    sizes = results.in_set.sum(axis=1)
    return {
        "prediction_sets": {
            "coverage": state(bootstrap.proportion(true_in_set, known)),
            "mean_size": state(bootstrap.mean(sizes.astype(float))),
            "single": state(bootstrap.proportion(sizes == 1)),
        },
        "committed": state(bootstrap.proportion(results.committed)),
        "error_when_committed": state(
            bootstrap.proportion(~results.right, known & results.committed)
        ),
        "error_when_not": state(bootstrap.proportion(~results.right, known & ~results.committed)),
        "confidently_wrong": state(bootstrap.proportion(~results.right & sure, known)),
        "curve": coverage_curve(results),
        "contours": {
            "inner_inside_expert_area": state(bootstrap.mean(results.inner_right)),
            # Where none is drawn it does not hold.
            "inner_at_least_90": state(
                bootstrap.proportion(results.inner_right >= 0.9, ~np.isnan(results.size))
            ),
            "expert_area_inside_outer": state(bootstrap.mean(results.outer_found)),
            "outer_at_least_90": state(
                bootstrap.proportion(results.outer_found >= 0.9, ~np.isnan(results.outer_found))
            ),
        },
    }


def _counted(hits: Array, state: _Stating, among: Array | None = None) -> dict[str, Any]:
    """How many of the slices in `among` are hits, and their share with an interval by group."""
    among = np.ones(len(hits), np.bool_) if among is None else among
    stated = state(bootstrap.proportion(hits, among))
    return {
        "n": int(among.sum()),
        "count": int((hits & among).sum()),
        "share": stated["value"] or 0.0,
        "ci95": stated["ci95"] or [0.0, 1.0],
    }


def _hit_share(values: Array) -> Metric:
    """Share of ones among values that are 0, 1 or NaN; NaN does not count."""
    return bootstrap.proportion(values == 1, ~np.isnan(values))


def summary(results: Results, *, resamples: int = bootstrap.RESAMPLES) -> dict[str, Any]:
    """Everything a report states about slices."""
    state = _stating(results, resamples)
    known, tumor = results.kind_known, results.tumor
    right = results.right
    return {
        "n": len(results),
        **_groups(results),
        # Only for these can it be said whether the kind is right.
        "kind_known": {"n": int(known.sum()), "tumors": int((known & tumor).sum())},
        "tumor_free": int((~tumor).sum()),
        "accuracy": state(bootstrap.proportion(right, known)),
        "accuracy_refusals_count_as_errors": state(
            bootstrap.proportion(right & results.accepted, known)
        ),
        "macro_f1": state(
            bootstrap.macro_f1(np.where(known, results.predicted, -2), results.target, len(CLASSES))
        ),
        "per_class": _per_class(results, state),
        "confusion": _confusion(results),
        "calibration_error": state(
            bootstrap.CalibrationError(results.probabilities.max(axis=1), right, known)
        ),
        "tumor_or_none": _tumor_or_none(results, state),
        "dice": overlap(results, state),
        "hottest_inside": state(_hit_share(results.pointing_hit)),
        "attention_peak_inside": state(_hit_share(results.peak_hit)),
        "area_on_tumor_free": state(bootstrap.proportion(results.area > 0, ~tumor)),
        "by": _divided(results, resamples),
        "doubt": _doubt(results, state),
        "tumor_called_no_tumor": _counted(results.predicted == _NONE, state, tumor),
        "refused": _counted(~results.accepted, state),
        "flagged": _counted(results.flagged, state),
    }


def refusal_summary(outcomes: dict[str, Array]) -> dict[str, Any]:
    """How many other pictures are taken for brain MRI, in all and by source.

    Args:
        outcomes: see `results.refusals`. These are single pictures, not slices of groups, so
            each counts as a trial of its own.
    """

    def counted(values: Array) -> dict[str, Any]:
        taken, flagged = int((values == 2).sum()), int((values == 1).sum())
        return {
            "n": len(values),
            "accepted": taken,
            "flagged": flagged,
            "share": round(taken / len(values), 4) if len(values) else 0.0,
            "ci95": proportion_interval(taken, len(values)),
        }

    everything = np.concatenate([*outcomes.values(), np.zeros(0, int)])
    return {
        **counted(everything),
        "by_source": {k: counted(v) for k, v in sorted(outcomes.items())},
    }
