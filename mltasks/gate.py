"""The gate of a release: is one network as good as another everywhere, and better somewhere?

Both are measured on the same held-out slices; the differences are drawn again by whole groups
(paired bootstrap, Efron, 1979), so slices that resemble each other do not count as many.

*Not worse* is a test of non-inferiority: the one-sided 95% lower bound of the difference must lie
above minus the margin. All of these tests must pass, so they need no correction. *Better* must
hold for one of several measures only; their confidence is raised (Bonferroni) so that a network
that is better nowhere passes in at most 5% of cases.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mltasks.classes import CLASSES
from mltasks.evaluation import Results, bootstrap

# From results to the measure as a function of weights: how often each slice was drawn.
Metric = Callable[[Results], bootstrap.Metric]
Drawn = NDArray[np.float64]
CONFIDENCE = 0.95
FEWEST_GROUPS = 10
RESAMPLES = 2000


class GateError(ValueError):
    """Two sets of results that cannot be compared; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Margins:
    """How much worse a candidate may be before it counts as worse.

    Attributes:
        share: of a class's sensitivity, of the brain scans accepted, and, as a gain, of the
            calibration error, 0 to 1.
        dice: of the median and of the mean Dice.
    """

    share: float = 0.03
    dice: float = 0.02


@dataclass(frozen=True, slots=True)
class Row:
    """One measure of both networks.

    Attributes:
        name: in words.
        candidate, production: its values.
        difference: candidate's minus production's, signed so that more is better.
        lower: the bound above which the difference lies with the stated confidence.
        margin: the loss that is allowed; None where the measure must show a gain.
        passed: not worse, or, without a margin, better.
    """

    name: str
    candidate: float
    production: float
    difference: float
    lower: float
    margin: float | None
    passed: bool


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the gate says.

    Attributes:
        passed: not worse anywhere and better somewhere.
        reasons: why not, a sentence each; what is better, if it passed.
        n, groups: slices and groups measured.
        resamples: how often groups were drawn.
    """

    passed: bool
    reasons: list[str]
    rows: list[Row]
    n: int
    groups: int
    margins: Margins
    resamples: int

    def as_dict(self) -> dict[str, Any]:
        """The verdict as it is kept in records."""
        return {**asdict(self), "confidence": CONFIDENCE}


def accuracy(results: Results) -> bootstrap.Metric:
    """Share of slices that are neither refused nor given the wrong class."""
    return bootstrap.share(results.accepted & results.right)


def macro_f1(results: Results) -> bootstrap.Metric:
    """Mean over the classes of the harmonic mean of precision and sensitivity."""
    return bootstrap.macro_f1(results.predicted, results.target, len(CLASSES))


def median_dice(results: Results) -> bootstrap.Metric:
    """Median over the slices with an expert mask; a missed tumour counts 0."""
    return bootstrap.quantile(results.dice, 0.5)


def mean_dice(results: Results) -> bootstrap.Metric:
    """Mean over the same slices: it sees the tumours that are missed, which a median need not."""
    return bootstrap.mean(results.dice)


def log_loss(results: Results) -> bootstrap.Metric:
    """Mean negative logarithm of the probability given to the true class."""
    chosen = results.probabilities[np.arange(len(results)), results.target]
    return bootstrap.mean(-np.log(np.maximum(chosen, 1e-12)))


def calibration_error(results: Results) -> bootstrap.Metric:
    """Expected calibration error of the probabilities shown to users."""
    return bootstrap.calibration_error(results.probabilities.max(axis=1), results.right)


def found(index: int) -> Metric:
    """Share of the class's slices that are accepted and given this class."""

    def metric(results: Results) -> bootstrap.Metric:
        hits = results.accepted & (results.predicted == index)
        return bootstrap.share(hits, results.target == index)

    return metric


def accepted(results: Results) -> bootstrap.Metric:
    """Share of slices that are not refused as "no brain MRI"."""
    return bootstrap.share(results.accepted)


def _words(label: str) -> str:
    return label.replace("_", " ").replace("tumor", "tumour")


# Name, metric and whether more of it is better.
_GAINS: tuple[tuple[str, Metric, bool], ...] = (
    ("accuracy", accuracy, True),
    ("macro F1", macro_f1, True),
    ("median Dice of the area", median_dice, True),
    ("mean Dice of the area", mean_dice, True),
    ("log-loss", log_loss, False),
    ("calibration error", calibration_error, False),
)


def _losses(margins: Margins) -> list[tuple[str, Metric, bool, float]]:
    return [
        *(
            (f"sensitivity for {_words(label)}", found(index), True, margins.share)
            for index, label in enumerate(CLASSES)
        ),
        ("share of brain scans accepted", accepted, True, margins.share),
        ("median Dice of the area", median_dice, True, margins.dice),
        ("mean Dice of the area", mean_dice, True, margins.dice),
        ("calibration error", calibration_error, False, margins.share),
    ]


def _check(candidate: Results, production: Results) -> None:
    same = len(candidate.target) == len(production.target) and all(
        np.array_equal(getattr(candidate, name), getattr(production, name))
        for name in ("target", "group")
    )
    if not same:
        raise GateError("the two networks were measured on different slices: measure both again")
    if np.isnan(candidate.dice).all():
        raise GateError("the data holds no expert masks, so areas cannot be compared")
    for index, label in enumerate(CLASSES):
        if not (candidate.target == index).any():
            raise GateError(
                f"the data holds no slices of {_words(label)}, so its sensitivity cannot be "
                "compared: give a fold with all four classes"
            )
    groups = len(np.unique(candidate.group))
    if groups < FEWEST_GROUPS:
        raise GateError(
            f"the data holds {groups} groups; intervals need at least {FEWEST_GROUPS}: give "
            "more held-out data"
        )


def _differences(
    candidate: Results,
    production: Results,
    metrics: dict[str, Metric],
    *,
    resamples: int,
    seed: int,
) -> dict[str, Drawn]:
    """Candidate's minus production's, float64 (resamples,), on the same drawn groups."""
    draws, member_of = bootstrap.group_draws(candidate.group, resamples=resamples, seed=seed)
    weights = draws[:, member_of].astype(np.float64)
    return {
        name: np.asarray(metric(candidate)(weights) - metric(production)(weights))
        for name, metric in metrics.items()
    }


def compare(
    candidate: Results,
    production: Results,
    *,
    margins: Margins | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Verdict:
    """Hold a candidate against the network in production.

    Args:
        candidate, production: results of both on the same slices, in the same order.
        margins: the losses that are allowed.
        resamples: how often groups are drawn.
        seed: of the draws.

    Raises:
        GateError: they cannot be compared.
    """
    margins = margins or Margins()
    _check(candidate, production)
    losses = _losses(margins)
    measures: list[tuple[str, Metric, bool, float | None]] = [
        *losses,
        *((name, metric, more, None) for name, metric, more in _GAINS),
    ]
    metrics = {name: metric for name, metric, _, _ in measures}
    drawn = _differences(candidate, production, metrics, resamples=resamples, seed=seed)
    rows = []
    for name, metric, more, margin in measures:
        tail = 1 - CONFIDENCE if margin is not None else (1 - CONFIDENCE) / len(_GAINS)
        # Undefined, and left out, where a draw holds no slice that counts.
        lower = float(np.nanquantile(drawn[name] if more else -drawn[name], tail))
        once = np.ones((1, len(candidate)))
        values = float(metric(candidate)(once)[0]), float(metric(production)(once)[0])
        rows.append(_row(name, *values, lower=lower, margin=margin, more=more))
    worse = [row for row in rows if row.margin is not None and not row.passed]
    better = [row for row in rows if row.margin is None and row.passed]
    return Verdict(
        passed=bool(better) and not worse,
        reasons=_reasons(worse, better),
        rows=rows,
        n=len(candidate.target),
        groups=len(np.unique(candidate.group)),
        margins=margins,
        resamples=resamples,
    )


def _row(
    name: str, one: float, two: float, *, lower: float, margin: float | None, more: bool
) -> Row:
    return Row(
        name=name,
        candidate=round(one, 4),
        production=round(two, 4),
        difference=round(one - two if more else two - one, 4),
        lower=round(lower, 4),
        margin=margin,
        # A tiny difference is rounding.
        passed=lower > 1e-9 if margin is None else lower >= -margin - 1e-9,
    )


def _reasons(worse: list[Row], better: list[Row]) -> list[str]:
    reasons = [
        f"The {row.name} may be worse: {row.candidate:.3f} against {row.production:.3f}, and a "
        f"loss of up to {-row.lower:.3f} cannot be ruled out, where {row.margin:.3f} is allowed."
        for row in worse
    ]
    if not better:
        reasons.append(
            "It is not better anywhere with 95% confidence: not in "
            f"{', '.join(name for name, _, _ in _GAINS[:-1])} or {_GAINS[-1][0]}."
        )
    if not worse:
        reasons += [
            f"The {row.name} is better: {row.candidate:.3f} against {row.production:.3f}."
            for row in better
        ]
    return reasons
