"""Temperature and thresholds, fitted after training."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mltasks.doubt import tempered

Array = NDArray[Any]
# Of the answers, these are kept however often they err.
_LEAST_SHARE = 0.8


def rounded_down(value: float, digits: int) -> float:
    """For thresholds that what they were fitted to must still reach."""
    return math.floor(value * 10**digits) / 10**digits


def rounded_up(value: float, digits: int) -> float:
    """For thresholds that no more may reach than when they were fitted."""
    return math.ceil(value * 10**digits) / 10**digits


def log_loss(probabilities: Array, target: Array, weight: Array) -> float:
    """Weighted negative log-likelihood; the weights add up to 1."""
    chosen = probabilities[np.arange(len(target)), target]
    return float(-(weight * np.log(np.maximum(chosen, 1e-12))).sum())


def fit_temperature(
    logits: Array, target: Array, relative: Array, weight: Array
) -> tuple[float, float]:
    """Base and slope of the temperature of least log-loss (after Guo et al., 2017).

    The base lies between 0.2 and 5; the slope between 0 and 1.5, so that a picture farther from
    those learnt from never gets a surer answer for it. A slope that gains nothing is none.

    Args:
        logits: (n, classes). target: (n,), index of the true class. weight: (n,).
        relative: (n,), see `doubt.relative_distance`.
    """
    # Only where networks are made; the site answers without it.
    from scipy.optimize import minimize

    weight = np.asarray(weight, np.float64) / np.sum(weight)

    def loss(at: Array) -> float:
        return log_loss(
            tempered(logits, float(np.exp(at[0])), float(at[1]), relative), target, weight
        )

    def least(steepest: float) -> Any:
        bounds = ((math.log(0.2), math.log(5)), (0.0, steepest))
        return minimize(loss, (0.0, 0.0), bounds=bounds, options={"ftol": 1e-12, "gtol": 1e-8})

    level, sloped = least(0.0), least(1.5)
    base, slope = level.x if level.fun <= sloped.fun + 1e-6 else sloped.x
    return float(np.exp(base)), float(slope)


def commit_threshold(probabilities: Array, target: Array, error: float) -> float:
    """The lowest probability of the answer from which answers err at most so often.

    Never higher than what keeps four of five answers, however often these err.
    """
    if not len(target):
        return 1.0
    top, wrong = probabilities.max(axis=1), probabilities.argmax(axis=1) != target
    order = np.argsort(-top, kind="stable")
    kept = np.arange(1, len(order) + 1)
    errors = np.cumsum(wrong[order]) / kept
    # From the least sure answer upwards, the first place where the error is low enough.
    fits = np.flatnonzero((errors <= error) | (kept <= _LEAST_SHARE * len(order)))
    return rounded_down(float(top[order][fits[-1]]), 4) if fits.size else 1.0


def group_halves(groups: Array) -> Array:
    """Bool (n,): the slices of a random half of the groups."""
    names = np.unique(groups)
    chosen = np.random.default_rng(0).permutation(names)[: len(names) // 2]
    return np.isin(groups, chosen)


def brain_threshold(scores: Array, *, refuse: float, ceiling: float) -> float:
    """The score below which a picture is flagged, and refused if it is also far.

    Args:
        scores: of real brain MRI slices.
        refuse: share of them that may be refused.
        ceiling: not higher than this, so as to be lenient with MRI from unseen sources.
    """
    return rounded_down(min(ceiling, float(np.quantile(scores, refuse))), 4)
