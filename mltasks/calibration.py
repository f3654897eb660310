"""Temperature and thresholds, fitted after training."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mltasks.postprocessing import softmax

Array = NDArray[Any]
_GOLDEN = (5**0.5 - 1) / 2


def log_loss(logits: Array, target: Array, temperature: float) -> float:
    """Mean negative log-likelihood of float (n, classes) logits at a temperature."""
    probabilities = softmax(logits / temperature)
    chosen = probabilities[np.arange(len(target)), target]
    return float(-np.log(np.maximum(chosen, 1e-12)).mean())


def fit_temperature(logits: Array, target: Array) -> float:
    """The temperature of least log-loss (Guo et al., 2017), between 0.2 and 5.

    Golden-section search over its logarithm, in which the loss has one minimum.
    """
    low, high = np.log(0.2), np.log(5.0)
    while high - low > 1e-4:
        inner = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
        first, second = (log_loss(logits, target, float(np.exp(value))) for value in inner)
        if first < second:
            high = inner[1]
        else:
            low = inner[0]
    return float(np.exp((low + high) / 2))


def group_halves(groups: Array, *, seed: int = 0) -> Array:
    """Bool (n,): the slices of a random half of the groups."""
    names = np.unique(groups)
    chosen = np.random.default_rng(seed).permutation(names)[: len(names) // 2]
    return np.isin(groups, chosen)


def cross_fitted(logits: Array, target: Array, groups: Array) -> Array:
    """Probabilities of each half of the groups, with the temperature of the other half.

    So the calibration error that is reported was not fitted to the slices it is measured on.
    """
    first = group_halves(groups)
    probabilities = np.empty(np.shape(logits), np.float64)
    for half in (first, ~first):
        if half.any():
            rest = ~half if (~half).any() else half
            temperature = fit_temperature(logits[rest], target[rest])
            probabilities[half] = softmax(logits[half] / temperature)
    return probabilities


def brain_threshold(scores: Array, *, refuse: float, ceiling: float) -> float:
    """The score below which a picture is refused.

    Args:
        scores: of real brain MRI slices.
        refuse: share of them that may be refused.
        ceiling: not higher than this, so as to be lenient with MRI from unseen sources.
    """
    return round(min(ceiling, float(np.quantile(scores, refuse))), 4)
