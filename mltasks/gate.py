"""The gate of a release: is one network as good as another everywhere, and better somewhere?

Both are measured on the same held-out slices, as these are and changed as scans, screens and files
change them; the differences are drawn again by whole groups (paired bootstrap, Efron, 1979), so
slices that resemble each other do not count as many.

*Not worse* is a test of non-inferiority: the one-sided 95% lower bound of the difference must lie
above minus the margin. All of these tests must pass, so they need no correction. *Better* must
hold for one of several measures only; their confidence is raised (Bonferroni) so that a network
that is better nowhere passes in about 5% of cases at most. None of them rests on probabilities: the
fold may be the one that a network was calibrated on, where its own are too good.

Percentiles of draws from few groups lie too near to the difference: each bound is moved away from
it by as much as Student's t, with the groups that count, asks for more than the normal distribution
(`_widening`). Of made-up pairs of networks that are equally good, 2 to 5.5% were then better
somewhere, with 10, 12, 16, 30 and 60 groups and with those of a real fold; with 12 it was up to 13%
before. Where two or three large groups hold most of a class, t with the number of all is still too
sure: a loss of just the margin passed there in 14 to 20% of cases. docs/model.md has the figures.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mltasks.classes import CLASSES, DISPLAY_NAMES
from mltasks.evaluation import Results, bootstrap

# From results to the measure as a function of weights: how often each slice was drawn.
Metric = Callable[[Results], bootstrap.Metric]
Drawn = NDArray[np.float64]
CONFIDENCE = 0.95
# Groups of each class: a single one is drawn with all of its slices or not at all, so their share
# never changes and the bound is the difference itself, as if it were certain. Three is little, but
# some folds have no more. The same holds for groups with an expert's mask.
FEWEST_CLASS_GROUPS = 3
RESAMPLES = 2000


class GateError(ValueError):
    """Two sets of results that cannot be compared; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What a network answered.

    Attributes:
        plain: to the held-out slices as they are.
        changed: to the same slices, in the same order, each in another form
            (`mltasks.evaluation.robustness.changed_once`).
    """

    plain: Results
    changed: Results


@dataclass(frozen=True, slots=True)
class Margins:
    """How much worse a candidate may be before it counts as worse.

    Attributes:
        share: of a class's sensitivity, of the brain scans accepted, of the accuracy on changed
            slices, and, as a gain, of the calibration error, 0 to 1.
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
        groups: whose slices count for it; 0 in verdicts from before they were counted.
        may_differ: where no draw shows any difference, the share of such groups that may differ all
            the same: so many show none in 5% of cases. A bound of nought would be too sure.
    """

    name: str
    candidate: float
    production: float
    difference: float
    lower: float
    margin: float | None
    passed: bool
    groups: int = 0
    may_differ: float | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the gate says.

    Attributes:
        passed: not worse anywhere and better somewhere.
        reasons: why not, a sentence each; what is better, if it passed.
        n, groups: slices and groups measured.
        resamples: how often groups were drawn.
        class_groups: of the class that has the fewest.
    """

    passed: bool
    reasons: list[str]
    rows: list[Row]
    n: int
    groups: int
    margins: Margins
    resamples: int
    class_groups: int

    def as_dict(self) -> dict[str, Any]:
        """The verdict as it is kept in records."""
        return {**asdict(self), "confidence": CONFIDENCE}


def accuracy(results: Results) -> bootstrap.Metric:
    """Share of slices that are neither refused nor given the wrong class."""
    return bootstrap.proportion(results.accepted & results.right)


def macro_f1(results: Results) -> bootstrap.Metric:
    """Mean over the classes of the harmonic mean of precision and sensitivity.

    A refused slice is none with the right answer, as in `accuracy`.
    """
    answered = np.where(results.accepted, results.predicted, -1)
    return bootstrap.macro_f1(answered, results.target, len(CLASSES))


def median_dice(results: Results) -> bootstrap.Metric:
    """Median over the slices with an expert mask; a missed tumour counts 0."""
    return bootstrap.quantile(results.dice, 0.5)


def mean_dice(results: Results) -> bootstrap.Metric:
    """Mean over the same slices: it sees the tumours that are missed, which a median need not."""
    return bootstrap.mean(results.dice)


def calibration_error(results: Results) -> bootstrap.Metric:
    """Expected calibration error of the probabilities shown to users."""
    return bootstrap.CalibrationError(results.probabilities.max(axis=1), results.right)


def sensitivity(index: int) -> Metric:
    """Share of the class's slices that are accepted and given this class."""

    def metric(results: Results) -> bootstrap.Metric:
        hits = results.accepted & (results.predicted == index)
        return bootstrap.proportion(hits, results.target == index)

    return metric


def accepted(results: Results) -> bootstrap.Metric:
    """Share of slices that are not refused as "no brain MRI"."""
    return bootstrap.proportion(results.accepted)


@dataclass(frozen=True, slots=True)
class _Measure:
    """One question of the gate.

    Attributes:
        higher_is_better: whether more of it is better.
        changed: whether it is asked of the changed slices.
        margin: the loss that is allowed; None where there must be a gain.
    """

    name: str
    metric: Metric
    higher_is_better: bool = True
    changed: bool = False
    margin: float | None = None

    def of(self, measured: Measured) -> bootstrap.Metric:
        return self.metric(measured.changed if self.changed else measured.plain)


_GAINS = (
    _Measure("accuracy", accuracy),
    _Measure("macro F1", macro_f1),
    _Measure("median Dice of the area", median_dice),
    _Measure("mean Dice of the area", mean_dice),
    _Measure("accuracy on changed slices", accuracy, changed=True),
    _Measure("mean Dice on changed slices", mean_dice, changed=True),
)


def _losses(margins: Margins) -> list[_Measure]:
    share, dice = margins.share, margins.dice
    return [
        *(
            _Measure(f"sensitivity for {DISPLAY_NAMES[label]}", sensitivity(index), margin=share)
            for index, label in enumerate(CLASSES)
        ),
        _Measure("share of brain scans accepted", accepted, margin=share),
        _Measure("median Dice of the area", median_dice, margin=dice),
        _Measure("mean Dice of the area", mean_dice, margin=dice),
        _Measure("calibration error", calibration_error, higher_is_better=False, margin=share),
        _Measure("accuracy on changed slices", accuracy, changed=True, margin=share),
        _Measure("mean Dice on changed slices", mean_dice, changed=True, margin=dice),
    ]


def _same(one: Results, two: Results) -> bool:
    return len(one) == len(two) and all(
        np.array_equal(getattr(one, name), getattr(two, name)) for name in ("target", "group")
    )


def _check(measured: Measured, against: Measured) -> None:
    candidate = measured.plain
    if not all(
        _same(candidate, other) for other in (measured.changed, against.plain, against.changed)
    ):
        raise GateError("the two networks were measured on different slices: measure both again")
    if np.isnan(candidate.dice).all():
        raise GateError("the data holds no expert masks, so areas cannot be compared")
    for index, label in enumerate(CLASSES):
        if not (candidate.target == index).any():
            raise GateError(
                f"the data holds no slices of {DISPLAY_NAMES[label]}, so its sensitivity cannot be "
                "compared: give a fold with all four classes"
            )
    masked = len(np.unique(candidate.group[~np.isnan(candidate.dice)]))
    if masked < FEWEST_CLASS_GROUPS:
        raise GateError(
            f"groups with an expert's mask: {masked}; whether areas are as good cannot be told "
            f"from fewer than {FEWEST_CLASS_GROUPS}: give another fold, or more masks"
        )
    groups = len(np.unique(candidate.group))
    if groups < bootstrap.FEWEST_GROUPS:
        raise GateError(
            f"the data holds {groups} groups; intervals need at least "
            f"{bootstrap.FEWEST_GROUPS}: give more held-out data"
        )
    label, fewest = _fewest_groups(candidate)
    if fewest < FEWEST_CLASS_GROUPS:
        raise GateError(
            f"groups with slices of {DISPLAY_NAMES[label]}: {fewest}; whether it is found as well "
            f"cannot be told from fewer than {FEWEST_CLASS_GROUPS}: give another fold, or more "
            "held-out data"
        )


def _fewest_groups(results: Results) -> tuple[str, int]:
    """The class whose slices are of the fewest groups, and how many these are."""
    counts = {
        label: len(np.unique(results.group[results.target == index]))
        for index, label in enumerate(CLASSES)
    }
    return min(counts.items(), key=lambda pair: pair[1])


def _differences(
    candidate: Measured,
    production: Measured,
    measures: Sequence[_Measure],
    *,
    resamples: int,
) -> dict[str, Drawn]:
    """Candidate's minus production's, float64 (resamples,), on the same drawn groups."""
    draws, member_of = bootstrap.group_draws(candidate.plain.group, resamples=resamples)
    weights = draws[:, member_of].astype(np.float64)
    # A measure that is asked for both a loss and a gain is drawn once.
    return {
        name: np.asarray(one.of(candidate)(weights) - one.of(production)(weights))
        for name, one in {one.name: one for one in measures}.items()
    }


def compare(
    candidate: Measured,
    production: Measured,
    *,
    margins: Margins | None = None,
    resamples: int = RESAMPLES,
) -> Verdict:
    """Hold a candidate against the network in production.

    Args:
        candidate, production: answers of both to the same slices, in the same order.
        margins: the losses that are allowed.
        resamples: how often groups are drawn.

    Raises:
        GateError: they cannot be compared.
    """
    margins = margins or Margins()
    _check(candidate, production)
    measures = [*_losses(margins), *_GAINS]
    drawn = _differences(candidate, production, measures, resamples=resamples)
    rows = []
    for one in measures:
        tail = 1 - CONFIDENCE if one.margin is not None else (1 - CONFIDENCE) / len(_GAINS)
        rows.append(_row(one, candidate, production, drawn[one.name], tail))
    worse = [row for row in rows if row.margin is not None and not row.passed]
    better = [row for row in rows if row.margin is None and row.passed]
    return Verdict(
        passed=bool(better) and not worse,
        reasons=_reasons(worse, better),
        rows=rows,
        n=len(candidate.plain),
        groups=len(np.unique(candidate.plain.group)),
        margins=margins,
        resamples=resamples,
        class_groups=_fewest_groups(candidate.plain)[1],
    )


def _widening(groups: int, tail: float) -> float:
    """By how much a percentile of draws lies too near to the difference that was found.

    The mean of G groups varies more than its draws do, by sqrt(G / (G - 1)), and its error follows
    Student's t with G - 1 degrees of freedom. Hesterberg (2015) takes a farther percentile for
    that; draws of a few groups hardly have any so far out, so here the bound itself is moved.
    """
    free, z = groups - 1, -NormalDist().inv_cdf(tail)
    return float(student(free, tail) / z * np.sqrt(groups / free))


def student(free: int, tail: float) -> float:
    """What Student's t with `free` degrees of freedom exceeds with the probability `tail`.

    With the angle arctan(t / sqrt(free)), the probability within ±t is a finite sum (Abramowitz and
    Stegun, 26.7.3 and 26.7.4). Halving the angles left turns it round; the networks of a site are
    compared where there is no SciPy.
    """
    odd = free % 2

    def within(angle: float) -> float:
        cosine, total = math.cos(angle), 0.0
        term = cosine if odd else 1.0
        for number in range(2 + odd, free + 1, 2):
            total += term
            term *= cosine**2 * (number - 1) / number
        part = math.sin(angle) * total
        return 2 / math.pi * (angle + part) if odd else part

    low, high = 0.0, math.pi / 2
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if within(middle) < 1 - 2 * tail else (low, middle)
    return math.sqrt(free) * math.tan(low)


def _row(
    measure: _Measure, candidate: Measured, production: Measured, drawn: Drawn, tail: float
) -> Row:
    once, margin = np.ones((1, len(candidate.plain))), measure.margin
    one, two = (float(measure.of(measured)(once)[0]) for measured in (candidate, production))
    difference = one - two if measure.higher_is_better else two - one
    # Undefined, and left out, where a draw holds no slice that counts.
    percentile = float(np.nanquantile(drawn if measure.higher_is_better else -drawn, tail))
    groups = bootstrap.groups_with_value(measure.of(candidate), candidate.plain.group)
    lower = difference - _widening(groups, tail) * max(0.0, difference - percentile)
    return Row(
        name=measure.name,
        candidate=round(one, 4),
        production=round(two, 4),
        difference=round(difference, 4),
        lower=round(lower, 4),
        margin=margin,
        # A tiny difference is rounding.
        passed=lower > 1e-9 if margin is None else lower >= -margin - 1e-9,
        groups=groups,
        # The rule of three, by groups.
        may_differ=None
        if difference or np.nan_to_num(drawn).any()
        else round(1 - (1 - CONFIDENCE) ** (1 / groups), 4),
    )


def blocks(rows: Sequence[Mapping[str, Any]]) -> list[tuple[str, list[Mapping[str, Any]]]]:
    """The rows of a verdict under the two questions of the gate, each with its heading.

    Args:
        rows: as `Verdict.as_dict` has them.
    """
    better = 1 - (1 - CONFIDENCE) / len(_GAINS)
    found = [
        (f"Not worse ({CONFIDENCE:.0%})", [row for row in rows if row["margin"] is not None]),
        (f"Better ({better:.1%})", [row for row in rows if row["margin"] is None]),
    ]
    return [(heading, those) for heading, those in found if those]


def bound_words(row: Mapping[str, Any]) -> str:
    """What is known of the difference, of a row as `Verdict.as_dict` has it."""
    if row.get("may_differ") is not None:
        return (
            f"no difference seen in {row['groups']} groups: up to {row['may_differ']:.1%} of such "
            "groups may differ"
        )
    return f"difference {row['difference']:+.4f}, surely over {row['lower']:+.4f}"


def _reasons(worse: list[Row], better: list[Row]) -> list[str]:
    reasons = [
        f"The {row.name} may be worse: {row.candidate:.3f} against {row.production:.3f}, and a "
        f"loss of up to {-row.lower:.3f} cannot be ruled out, where {row.margin:.3f} is allowed."
        for row in worse
    ]
    if not better:
        reasons.append(
            "It is not better anywhere with 95% confidence: not in "
            f"{', '.join(one.name for one in _GAINS[:-1])} or {_GAINS[-1].name}."
        )
    if not worse:
        reasons += [
            f"The {row.name} is better: {row.candidate:.3f} against {row.production:.3f}."
            for row in better
        ]
    return reasons
