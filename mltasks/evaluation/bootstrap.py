"""Intervals by drawing whole groups, for all draws at once.

A metric here is a function of weights: how often each slice was drawn. One matrix product then
serves a thousand draws, where resampling the slices would take a thousand passes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
# From weights (draws, n) to the metric of each draw (draws,); NaN where it is not defined.
Metric = Callable[[Array], Array]
RESAMPLES = 1000
# Drawing fewer groups than these gives too narrow an interval: five hold the truth about 79 times
# in a hundred, not 95 times.
FEWEST_GROUPS = 10
# Of the probabilities, in a calibration error and in the drawing of it.
BINS = 15
# At most so many weights at a time.
_CHUNK = 4_000_000


def _ratio(part: Array, whole: Array) -> Array:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.where(whole > 0, part / whole, np.nan))


@dataclass(frozen=True, slots=True)
class Proportion:
    """A metric from 0 to 1 that knows where drawing groups says nothing of its error.

    Attributes:
        value: the metric of each draw.
        trials: from each slice's group to the number of independent trials. Slices of one group
            resemble each other, so a group is one trial, if any slice of it counts.
    """

    value: Metric
    trials: Callable[[Array], int]

    def __call__(self, weights: Array) -> Array:
        return self.value(weights)

    def extreme_interval(self, groups: Array) -> list[float] | None:
        """95% interval where the metric is exactly 0 or 1; None elsewhere, or of a single trial.

        Every draw would say the same there, as if it were certain: it is Wilson's, of as many
        trials as `trials` says.
        """
        value = float(self(np.ones((1, len(groups))))[0])
        count = self.trials(groups)
        if value not in {0.0, 1.0} or count < 2:
            return None
        return proportion_interval(count if value else 0, count)


def _count(groups: Array, among: Array) -> int:
    return len(np.unique(groups[among]))


def proportion(hits: Array, among: Array | None = None) -> Proportion:
    """Share of the slices `among` which are hits.

    Args:
        hits, among: bool (n,); `among` may also weigh them.
    """
    inside = np.ones(len(hits)) if among is None else np.asarray(among, np.float64)
    good = np.asarray(hits, np.float64) * inside
    return Proportion(
        lambda weights: _ratio(weights @ good, weights @ inside),
        lambda groups: _count(groups, inside > 0),
    )


def mean(values: Array) -> Metric:
    """Mean of the values that are not NaN."""
    known = ~np.isnan(values)
    filled = np.where(known, values, 0.0)
    return lambda weights: _ratio(weights @ filled, weights @ known.astype(np.float64))


def quantile(values: Array, level: float) -> Metric:
    """Quantile of the values that are not NaN; between two values, their mean."""
    known = np.flatnonzero(~np.isnan(values))
    order = known[np.argsort(values[known], kind="stable")]
    ordered = values[order]

    def metric(weights: Array) -> Array:
        if not len(order):
            return np.full(len(weights), np.nan)
        sums = np.cumsum(weights[:, order], axis=1)
        wanted = level * sums[:, -1:]
        last = len(order) - 1
        # A hair of slack, so that rounding does not move past a value that fits exactly.
        low = np.minimum((sums < wanted - 1e-9).sum(axis=1), last)
        high = np.minimum((sums < wanted + 1e-9).sum(axis=1), last)
        middle = (ordered[low] + ordered[high]) / 2
        return np.where(sums[:, -1] > 0, middle, np.nan)

    return metric


def macro_f1(predicted: Array, target: Array, count: int) -> Metric:
    """Mean over the classes that occur of the harmonic mean of precision and sensitivity."""
    both = np.stack([(predicted == k) & (target == k) for k in range(count)], axis=1)
    sums = np.stack([(predicted == k).astype(float) + (target == k) for k in range(count)], axis=1)
    occurs = np.stack([target == k for k in range(count)], axis=1).astype(float)

    def metric(weights: Array) -> Array:
        total, present = weights @ sums, weights @ occurs > 0
        scores = np.where(
            total > 0, 2 * (weights @ both.astype(float)) / np.maximum(total, 1e-9), 0
        )
        return _ratio((scores * present).sum(axis=1), present.sum(axis=1).astype(float))

    return metric


class CalibrationError:
    """Expected calibration error (Guo et al., 2017) with bins of equal width.

    It is how far the probabilities of bins lie from how often they are right, bins by their
    weight.

    Args:
        confidence: (n,) probability of the answer. right, among: bool (n,), see `proportion`.
    """

    def __init__(self, confidence: Array, right: Array, among: Array | None = None) -> None:
        self._inside = np.ones(len(right)) if among is None else np.asarray(among, np.float64)
        self._right = np.asarray(right, np.bool_)
        index = np.minimum((confidence * BINS).astype(int), BINS - 1)
        self._off = np.eye(BINS)[index] * (self._inside * (confidence - right))[:, None]

    def _gaps(self, weights: Array) -> Array:
        """Of each draw and bin, (draws, bins)."""
        return _ratio(weights @ self._off, (weights @ self._inside)[:, None])

    def __call__(self, weights: Array) -> Array:
        return np.asarray(np.abs(self._gaps(weights)).sum(axis=1))

    def interval(self, groups: Array, *, resamples: int = RESAMPLES) -> list[float] | None:
        """About 95%: the error ± the 95% quantile of how far bins of draws lie from those found.

        Percentiles of a bootstrapped error are biased upwards, and may leave out the figure itself:
        chance moves bins apart and never together. The L1 distance between the bins' gaps resampled
        and observed is what the error may be off by, as it cannot differ by more than its bins do.
        Where all answers are right, or none, draws say the same: there it is at least Wilson's
        bound by the groups.
        """
        found = self._gaps(np.ones((1, len(groups))))
        moved = _resampled(lambda weights: np.abs(self._gaps(weights) - found).sum(axis=1), groups,
                       resamples=resamples)  # fmt: skip
        inside = self._inside > 0
        if not moved.size or _count(groups, inside) < 2:
            return None
        value, by = float(np.abs(found).sum()), float(np.quantile(moved, 0.95))
        if len(set(self._right[inside].tolist())) == 1:
            by = max(by, proportion_interval(0, _count(groups, inside))[1])
        return [round(max(0.0, value - by), 4), round(min(1.0, value + by), 4)]


def area_under_roc(score: Array, positive: Array) -> Proportion:
    """Probability that a positive scores above a negative; a tie counts half.

    That is the share of right pairs of one positive and one negative (Hanley and McNeil, 1982).
    Where all are right, or all wrong, as many of them are independent as there are pairs that
    have no group in common with another: at most the groups of the side that has fewer.
    """
    chosen = np.asarray(positive, np.bool_)
    order = np.argsort(score, kind="stable")
    positives = chosen[order].astype(np.float64)
    starts = np.flatnonzero(np.r_[True, np.diff(score[order]) > 0])

    def value(weights: Array) -> Array:
        drawn = weights[:, order]
        up = np.add.reduceat(drawn * positives, starts, axis=1)
        down = np.add.reduceat(drawn * (1 - positives), starts, axis=1)
        below = np.cumsum(down, axis=1) - down
        wins = (up * (below + down / 2)).sum(axis=1)
        return _ratio(wins, up.sum(axis=1) * down.sum(axis=1))

    return Proportion(value, lambda groups: min(_count(groups, chosen), _count(groups, ~chosen)))


def sensitivity_at(score: Array, positive: Array, specificity: float) -> Proportion:
    """Share of positives above the score that leaves this share of negatives at or below it.

    Where that is none or all of them, each group with a positive is a trial.
    """
    chosen = np.asarray(positive, np.bool_)
    order = np.argsort(score, kind="stable")
    positives, ordered = chosen[order].astype(np.float64), score[order]
    # Scores that tie are on one side of any threshold: count up to the last of each tie.
    last = np.searchsorted(ordered, ordered, side="right") - 1

    def value(weights: Array) -> Array:
        drawn = weights[:, order]
        negatives = np.cumsum(drawn * (1 - positives), axis=1)[:, last]
        hits = np.cumsum(drawn * positives, axis=1)[:, last]
        reached = negatives >= specificity * negatives[:, -1:] - 1e-9
        first = reached.argmax(axis=1)
        rows = np.arange(len(weights))
        return np.where(
            negatives[:, -1] > 0, _ratio(hits[:, -1] - hits[rows, first], hits[:, -1]), np.nan
        )

    return Proportion(value, lambda groups: _count(groups, chosen))


def group_draws(groups: Array, *, resamples: int = RESAMPLES) -> tuple[Array, Array]:
    """How often each group is drawn, int (draws, groups), and each slice's group, int (n,)."""
    names, member_of = np.unique(groups, return_inverse=True)
    rng = np.random.default_rng(0)
    return rng.multinomial(len(names), np.full(len(names), 1 / len(names)), resamples), member_of


def _resampled(metric: Metric, groups: Array, *, resamples: int) -> Array:
    """The metric of each draw of whole groups, but of those where it is not defined."""
    draws, member_of = group_draws(groups, resamples=resamples)
    step = max(1, _CHUNK // max(1, len(member_of)))
    values = np.concatenate(
        [
            metric(draws[start : start + step][:, member_of].astype(np.float64))
            for start in range(0, resamples, step)
        ]
    )
    return np.asarray(values[~np.isnan(values)])


def groups_with_value(metric: Metric, groups: Array) -> int:
    """Groups whose slices alone would give the measure a value: those of a class, say."""
    names, member_of = np.unique(groups, return_inverse=True)
    # As many at a time as there are draws, which are in memory as well.
    parts = np.array_split(np.arange(len(names)), -(-len(names) // RESAMPLES))
    alone = (np.equal.outer(part, member_of).astype(np.float64) for part in parts)
    return sum(int(np.count_nonzero(~np.isnan(metric(weights)))) for weights in alone)


def interval(metric: Metric, groups: Array, *, resamples: int = RESAMPLES) -> list[float] | None:
    """95% percentile interval from drawing whole groups with replacement (Efron, 1979).

    Slices of one group resemble each other; drawing single slices would give too narrow an
    interval. None if the metric is not defined in any draw, or in one group only: of that every
    draw says the same, and nothing of others.
    """
    known = _resampled(metric, groups, resamples=resamples)
    # But for rounding: draws weigh the one group differently.
    if not known.size or (np.ptp(known) < 1e-9 and groups_with_value(metric, groups) < 2):
        return None
    return [round(float(value), 4) for value in np.percentile(known, (2.5, 97.5))]


def with_interval(metric: Metric, groups: Array, *, resamples: int = RESAMPLES) -> dict[str, Any]:
    """A figure as reports state it: `value` and `ci95`, both None where it is not defined.

    Of a single group there is a value without an interval. The interval is that of `interval`, or
    of `Proportion.extreme_interval` where the metric knows that all draws would say the same; a
    calibration error has its own.
    """
    value = float(metric(np.ones((1, len(groups))))[0]) if len(groups) else float("nan")
    if np.isnan(value):
        return {"value": None, "ci95": None}
    if isinstance(metric, CalibrationError):
        return {
            "value": round(value, 4),
            "ci95": metric.interval(groups, resamples=resamples),
        }
    extreme = metric.extreme_interval(groups) if isinstance(metric, Proportion) else None
    bounds = extreme or interval(metric, groups, resamples=resamples)
    return {"value": round(value, 4), "ci95": bounds}


def values_and_intervals(
    metrics: Mapping[str, Metric], groups: Array, *, resamples: int = RESAMPLES
) -> dict[str, Any]:
    """Figures as plain numbers by name, and their intervals beside them as `ci95`, by name too.

    So those who read a card from before there were intervals read a newer one as well.
    """
    found = {
        name: with_interval(metric, groups, resamples=resamples) for name, metric in metrics.items()
    }
    return {
        **{name: own["value"] for name, own in found.items()},
        "ci95": {name: own["ci95"] for name, own in found.items()},
    }


def proportion_interval(hits: int, count: int) -> list[float]:
    """95% interval of a share of independent trials (Wilson, 1927)."""
    if not count:
        return [0.0, 1.0]
    z = 1.959964
    portion, spread = hits / count, z * z / count
    centre = (portion + spread / 2) / (1 + spread)
    half = z / (1 + spread) * float(np.sqrt(portion * (1 - portion) / count + spread / (4 * count)))
    return [round(max(0.0, centre - half), 4), round(min(1.0, centre + half), 4)]
