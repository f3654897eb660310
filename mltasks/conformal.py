"""Prediction sets by split conformal prediction (Vovk et al., 2005), with whole groups as units.

Slices of one group resemble each other, so not slices but groups are taken as exchangeable, and
each group weighs the same (Dunn, Wasserman & Ramdas, 2022; Lee, Barber & Willett, 2023). The
guarantee: for a slice of a new group, drawn like those of the calibration, the set holds the true
label with at least the stated probability – on average over all groups and classes, and not for
pictures from elsewhere. The probabilities come out of a temperature fitted to these same slices,
where split conformal prediction wants others: the guarantee holds up to what its two parameters,
base and slope, adapt to them.

Where few large groups hold most slices of a class, the easy classes of many small groups would
earn that average alone. So each class gets a threshold of its own besides, over its slices (Vovk,
2012), and the lower of the two counts: the guarantee by group stays, and the slices of each class
are covered as well as far as slices are exchangeable, which neighbours are not quite.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def group_weights(groups: Array) -> Array:
    """Weights (n,) that add up to 1 and give each group the same."""
    _, inverse, counts = np.unique(groups, return_inverse=True, return_counts=True)
    return np.asarray(1 / (len(counts) * counts[inverse]))


def threshold(scores: Array, groups: Array, coverage: float) -> float:
    """The score that a slice of a new group stays at or below with probability `coverage`.

    Args:
        scores: (n,), the higher the less the true label fits.
        groups: (n,).
        coverage: 0 to 1.

    Returns:
        A quantile of the scores; infinity where there are too few groups to promise it.
    """
    count = len(np.unique(groups))
    # The new group's own share lies at infinity.
    weights = group_weights(groups) * count / (count + 1)
    order = np.argsort(scores, kind="stable")
    reached = np.cumsum(weights[order]) >= coverage - 1e-12
    return float(scores[order][reached.argmax()]) if reached.any() else float("inf")


def least_probabilities(
    probabilities: Array, target: Array, groups: Array, *, coverage: float = 0.95
) -> list[float]:
    """For each class the probability from which it belongs to the set.

    A label is in the set if its own probability is high enough (Sadinle, Lei & Wasserman, 2019).

    Args:
        probabilities: (n, classes), calibrated.
        target: (n,), index of the true class.
        groups: (n,).

    Returns:
        0 to 1 by class; 0 puts the label into every set.
    """
    scores = 1 - probabilities[np.arange(len(target)), target]
    marginal = threshold(scores, groups, coverage)
    least = []
    for index in range(probabilities.shape[1]):
        own = scores[target == index]
        # A class without a slice to learn from can be ruled out by nobody.
        of_class = threshold(own, np.arange(len(own)), coverage) if len(own) else np.inf
        least.append(max(0.0, 1 - max(marginal, of_class)))
    return least
