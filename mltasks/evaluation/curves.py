"""ROC, precision–recall and reliability curves, as plain lists of points for JSON and plots."""

from __future__ import annotations

from typing import Any

import numpy as np

from mltasks.classes import CLASSES
from mltasks.evaluation.bootstrap import BINS
from mltasks.evaluation.results import Array, Results

# Points kept of each curve.
_POINTS = 120
Points = list[list[float]]


def _thin(x: Array, y: Array) -> Points:
    keep = np.unique(np.linspace(0, len(x) - 1, min(_POINTS, len(x))).astype(int))
    return [[round(float(x[k]), 4), round(float(y[k]), 4)] for k in keep]


def roc(score: Array, positive: Array) -> Points:
    """(1 - specificity, sensitivity) from the strictest threshold to the most lenient."""
    from sklearn.metrics import roc_curve

    alarms, hits, _ = roc_curve(positive, score, drop_intermediate=False)
    return _thin(alarms, hits)


def precision_recall(score: Array, positive: Array) -> Points:
    """(recall, precision) from the strictest threshold to the most lenient."""
    from sklearn.metrics import precision_recall_curve

    precision, recall, _ = precision_recall_curve(positive, score)
    # The most lenient threshold comes first; the last point is of no threshold.
    return _thin(recall[-2::-1], precision[-2::-1])


def reliability(results: Results) -> list[dict[str, float]]:
    """For each bin of the answer's probability: count, mean confidence and accuracy."""
    known = results.take(results.kind_known)
    confidence = known.probabilities.max(axis=1)
    index = np.minimum((confidence * BINS).astype(int), BINS - 1)
    return [
        {
            "n": int((index == k).sum()),
            "confidence": round(float(confidence[index == k].mean()), 4),
            "accuracy": round(float(known.right[index == k].mean()), 4),
        }
        for k in np.unique(index)
    ]


def curves(results: Results) -> dict[str, Any]:
    """All curves of a report; those of a class only if some slices have it and some do not."""
    known = results.take(results.kind_known)
    one_against_rest = {
        name: (known.probabilities[:, index], known.target == index)
        for index, name in enumerate(CLASSES)
        if 0 < (known.target == index).sum() < len(known)
    }
    if 0 < results.tumor.sum() < len(results):
        one_against_rest["tumor"] = (results.tumor_probability, results.tumor)
    sized = ~np.isnan(results.size) & ~np.isnan(results.dice)
    return {
        "roc": {name: roc(*pair) for name, pair in one_against_rest.items()},
        "precision_recall": {
            name: precision_recall(*pair) for name, pair in one_against_rest.items()
        },
        "reliability": reliability(results),
        "dice_by_size": [
            [round(float(size), 5), round(float(dice), 4), int(target)]
            for size, dice, target in zip(
                results.size[sized], results.dice[sized], results.target[sized], strict=True
            )
        ],
    }
