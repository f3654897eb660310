"""What a model card says of the network's errors, in the order in which people ask for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from predictions.models import Label

# Of fewer pictures than these no share is told.
FEW = 20


@dataclass(frozen=True, slots=True)
class Share:
    """A measured share of 0–1 with its 95% interval."""

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, stated: dict[str, Any], key: str = "value") -> Share:
        # Of a single group there is no interval: anything is possible.
        low, high = stated["ci95"] or (0.0, 1.0)
        return cls(float(stated[key]), float(low), float(high))

    @property
    def rest(self) -> Share:
        """The share of the others."""
        return Share(1 - self.value, 1 - self.high, 1 - self.low)


@dataclass(frozen=True, slots=True)
class Cell:
    """How many slices of one class were given one answer."""

    answer: str
    count: int
    share: float
    right: bool


@dataclass(frozen=True, slots=True)
class Foreign:
    """What became of other pictures of one source: answered with a warning, without, or refused.

    Attributes:
        names: of the sources that are summed in it; empty if it is one.
    """

    name: str
    n: int
    warned: int
    taken: int
    names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """What became of slices of other people, scanners and sequences, of one source or of all.

    Attributes:
        right, wrong_and_sure: shares of those of a known kind that it named rightly, and wrongly
            with 90% or more; None if no kind is known.
        known: how many of them are of a known kind.
        names: of the sources that are summed in it; empty if it is one.
    """

    name: str
    n: int
    right: float | None
    refused: float | None
    warned: float | None
    wrong_and_sure: float | None
    known: int
    names: tuple[str, ...] = ()


# A row of a table by source.
P = TypeVar("P", Foreign, Elsewhere)


@dataclass(frozen=True, slots=True)
class ClassFigures:
    """How the network did on the slices of one class.

    Attributes:
        found: share of them that it recognised.
        false_alarms: share of all other slices that it gave this name.
        groups: of look-alikes that they are of; None in cards from before these were counted.
        few_groups: whether these are too few for the interval.
    """

    label: str
    name: str
    n: int
    found: Share
    false_alarms: Share
    answers: list[Cell]
    groups: int | None
    few_groups: bool


@dataclass(frozen=True, slots=True)
class Count:
    """How many of `n` something happened to."""

    count: int
    n: int
    share: Share | None = None


@dataclass(frozen=True, slots=True)
class Doubt:
    """How the network's own doubt held on groups it was not fitted to.

    Attributes:
        covered: share of slices whose true class was in the 95% prediction set.
        committed: share of slices whose answer it stood by.
        wrong_if_committed: share of these that were wrong, None if there were none.
        flagged: share of real slices that got the warning.
        error: mean distance between its probabilities and how often it is right.
        error_corrupted: the same on slices made worse.
        intervals: 95% intervals of what is stated of unchanged slices, by its name in the card;
            empty in cards from before they were stated.
    """

    covered: float
    committed: float
    wrong_if_committed: float | None
    flagged: float
    error: float
    error_corrupted: float
    intervals: dict[str, tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Worsened:
    """Accuracy when slices arrive worse, in one way, at three strengths."""

    name: str
    mild: Share
    middle: Share
    strong: Share


@dataclass(frozen=True, slots=True)
class Figures:
    """The measured errors of one network.

    Attributes:
        missed: slices with a tumour that it called free of one.
        refused: real MRI slices that it refused.
        warned: real slices that it answered with the warning not to rely on it; none by a network
            from before there was one, likewise `taken_warned`.
        taken: other pictures that it answered without a warning; `sources` says which.
        bodies_taken: likewise of medical pictures of other parts of the body or by other means,
            which `bodies` names; drawn ones and, in newer cards, real ones.
        bodies_warned: those of them that it answered with one.
        scans_taken, scans_warned: likewise of those that are real MRI slices; of none in cards
            that do not tell them apart.
        taken_warned: those that it answered with one.
        overlap: median Dice of its area with the experts'; None if these drew none.
        misplaced: share of areas that do not touch the experts' at all; its interval is None in
            cards from before it was stated.
        calibration_error: mean distance between its probabilities and how often it is right.
        doubt: None for networks from before it was measured; likewise `worsened` is empty.
        calibrated_here: whether these slices also served to calibrate.
        worsened_n, unworsened: how many slices were made worse, and its accuracy on these before.
        worsened_classes: how many of these show each finding; empty in cards from before they
            were chosen finding by finding.
        elsewhere: by source, then of all; empty in cards that do not state it.
        elsewhere_right: share of all of them that it named rightly.
        elsewhere_tumors: how many of those slices show a tumour.
    """

    n: int
    groups: int
    accuracy: Share
    classes: list[ClassFigures]
    missed: Count
    refused: Count
    warned: Count
    taken: Count
    taken_warned: Count
    sources: list[Foreign]
    overlap: Share | None
    overlap_n: int
    misplaced: float
    misplaced_interval: tuple[float, float] | None
    calibration_error: float
    calibrated_here: bool
    doubt: Doubt | None
    worsened: list[Worsened]
    worsened_n: int
    worsened_classes: list[tuple[str, int]]
    unworsened: Share | None
    bodies: list[Foreign]
    bodies_taken: Count
    bodies_warned: int
    scans_taken: Count
    scans_warned: int
    elsewhere: list[Elsewhere]
    elsewhere_right: Share | None
    elsewhere_tumors: int

    @property
    def groups_stated(self) -> bool:
        """Whether the card says of how many groups the slices of each class are."""
        return all(own.groups is not None for own in self.classes)

    @property
    def few_groups(self) -> bool:
        """Whether the slices of any class are of too few groups."""
        return any(own.few_groups for own in self.classes)

    @property
    def worst(self) -> Worsened | None:
        """What makes it err most when strong."""
        return min(self.worsened, key=lambda own: own.strong.value, default=None)

    @property
    def everywhere(self) -> Elsewhere | None:
        """All slices from elsewhere together."""
        return self.elsewhere[-1] if self.elsewhere else None

    def of_label(self, label: str) -> ClassFigures | None:
        return next((figures for figures in self.classes if figures.label == label), None)


# What the collections of other pictures hold, by the name under which they are measured.
_SOURCES = {
    "gimp-help-en": "pages of a program's manual",
    "mypaint-data-extras": "paint brushes and paper",
    "scikit-image": "photographs, drawings and microscopy",
    "scikit-learn": "photographs of a temple and a flower",
}


def _source(name: str) -> str:
    # As a package calls its folder, in cards from before: by the name it is installed as.
    name = name.replace("_", "-")
    if name.rstrip("-.0123456789").endswith(("wallpapers", "backgrounds")):
        return f"wallpapers ({name.partition('-')[0]})"
    return _SOURCES.get(name, name)


def _class(metrics: dict[str, Any], label: str) -> ClassFigures:
    stated, order = metrics["per_class"][label], metrics["confusion"]["order"]
    counts = metrics["confusion"]["counts"][order.index(label)]
    by_answer = dict(zip(order, counts, strict=True))
    total = max(1, sum(counts))
    return ClassFigures(
        label=label,
        name=Label(label).label,
        n=stated["n"],
        found=Share.of(stated["sensitivity"]),
        false_alarms=Share.of(stated["specificity"]).rest,
        answers=[
            Cell(
                answer=Label(answer).label,
                count=by_answer[answer],
                share=by_answer[answer] / total,
                right=answer == label,
            )
            for answer in Label.values
        ],
        groups=stated.get("groups"),
        few_groups=bool(stated.get("few_groups")),
    )


def _doubt(card: dict[str, Any]) -> Doubt | None:
    crossed = card.get("calibration", {}).get("cross_fitted", {})
    plain, corrupted = crossed.get("plain", {}), crossed.get("corrupted", {})
    if not plain.get("n") or not corrupted.get("n"):
        return None
    return Doubt(
        covered=plain["set_coverage"],
        committed=plain["committed"],
        wrong_if_committed=plain["error_when_committed"],
        flagged=plain["flagged"],
        error=plain["calibration_error"],
        error_corrupted=corrupted["calibration_error"],
        intervals=_intervals(plain),
    )


def _intervals(stated: dict[str, Any]) -> dict[str, tuple[float, float]]:
    """Intervals that stand beside plain figures, by name."""
    known = {name: own for name, own in stated.get("ci95", {}).items() if own}
    return {name: (float(low), float(high)) for name, (low, high) in known.items()}


def _worsened(metrics: dict[str, Any]) -> list[Worsened]:
    return [
        Worsened(
            name,
            *(Share.of(own[strength]["accuracy"]) for strength in ("mild", "middle", "strong")),
        )
        for name, own in metrics.get("robustness", {}).get("corruptions", {}).items()
    ]


def _elsewhere(stated: dict[str, Any]) -> list[Elsewhere]:
    if not stated:
        return []
    parts = [_apart(name, own) for name, own in stated["by_source"].items()]
    return [*_folded(parts, _summed_elsewhere), _apart("all of them", stated)]


def _apart(name: str, own: dict[str, Any]) -> Elsewhere:
    return Elsewhere(
        name,
        own["n"],
        right=own["accuracy"]["value"],
        refused=own["refused"]["value"],
        warned=own["flagged"]["value"],
        wrong_and_sure=own["confidently_wrong"]["value"],
        known=own.get("kind_known", own["n"]),
    )


def _foreign(by_source: dict[str, Any]) -> list[Foreign]:
    parts = [
        Foreign(_source(name), own["n"], own.get("flagged", 0), own["accepted"])
        for name, own in by_source.items()
    ]
    return _folded(parts, _summed_foreign)


def _folded(parts: list[P], summed: Callable[[list[P]], P]) -> list[P]:
    """Sources of few pictures in one row at the end: shares of so few say nothing."""
    few = [part for part in parts if part.n < FEW]
    if len(few) < 2:
        return parts
    return [part for part in parts if part.n >= FEW] + [summed(few)]


def _summed_foreign(parts: list[Foreign]) -> Foreign:
    return Foreign(
        "other",
        sum(part.n for part in parts),
        sum(part.warned for part in parts),
        sum(part.taken for part in parts),
        tuple(part.name for part in parts),
    )


def _summed_elsewhere(parts: list[Elsewhere]) -> Elsewhere:
    of_all, of_known = [part.n for part in parts], [part.known for part in parts]
    return Elsewhere(
        "other",
        sum(of_all),
        right=_mean([part.right for part in parts], of_known),
        refused=_mean([part.refused for part in parts], of_all),
        warned=_mean([part.warned for part in parts], of_all),
        wrong_and_sure=_mean([part.wrong_and_sure for part in parts], of_known),
        known=sum(of_known),
        names=tuple(part.name for part in parts),
    )


def _mean(shares: list[float | None], weights: list[int]) -> float | None:
    """Of those that are known; None if none is."""
    pairs = [
        (share, weight)
        for share, weight in zip(shares, weights, strict=True)
        if share is not None and weight
    ]
    if not pairs:
        return None
    return sum(share * weight for share, weight in pairs) / sum(weight for _, weight in pairs)


def _scans(by_source: dict[str, Any], outcome: str) -> Count:
    """How many real MRI slices of other parts of the body met with an outcome."""
    scans = [own for name, own in by_source.items() if name.startswith("MR ")]
    return Count(sum(own[outcome] for own in scans), sum(own["n"] for own in scans))


def _known(strangers: dict[str, Any]) -> bool:
    return bool(strangers) and strangers["accuracy"]["value"] is not None


def model_figures(card: dict[str, Any]) -> Figures | None:
    """The figures of a model card; None if it states none, as that of an unfinished network."""
    metrics = card.get("metrics") or {}
    slices, others = metrics.get("validation"), metrics.get("other_pictures")
    if not slices or not others:
        return None
    doubt = _doubt(card)
    missed, refused = slices["tumor_called_no_tumor"], slices["refused"]
    changed, dice = metrics.get("robustness", {}), slices["dice"]
    strangers, bodies = metrics.get("elsewhere", {}), metrics.get("other_bodies", {})
    return Figures(
        n=slices["n"],
        groups=slices["groups"],
        accuracy=Share.of(slices["accuracy"]),
        classes=[_class(slices, label) for label in Label.values],
        missed=Count(
            missed["count"],
            missed["n"],
            Share.of(missed, "share") if "ci95" in missed else None,
        ),
        refused=Count(refused["count"], refused["n"], Share.of(refused, "share")),
        warned=Count(slices["flagged"]["count"], slices["n"]),
        taken_warned=Count(others["flagged"], others["n"]),
        taken=Count(others["accepted"], others["n"], Share.of(others, "share")),
        sources=_foreign(others["by_source"]),
        bodies=_foreign(bodies.get("by_source", {})),
        bodies_taken=Count(bodies.get("accepted", 0), bodies.get("n", 0)),
        bodies_warned=bodies.get("flagged", 0),
        scans_taken=_scans(bodies.get("by_source", {}), "accepted"),
        scans_warned=_scans(bodies.get("by_source", {}), "flagged").count,
        overlap=Share.of(dice["median"]) if dice["n"] else None,
        overlap_n=dice["n"],
        misplaced=float(dice["empty_or_disjoint"] or 0.0),
        misplaced_interval=_intervals(dice).get("empty_or_disjoint"),
        calibration_error=float(doubt.error if doubt else slices["calibration_error"]["value"]),
        calibrated_here=bool(metrics.get("data", {}).get("groups_calibrated_on")),
        doubt=doubt,
        worsened=_worsened(metrics),
        worsened_n=int(changed.get("n", 0)),
        worsened_classes=[
            (Label(label).label, count) for label, count in changed.get("classes", {}).items()
        ],
        unworsened=Share.of(changed["plain"]["accuracy"]) if "plain" in changed else None,
        elsewhere=_elsewhere(strangers),
        elsewhere_right=Share.of(strangers["accuracy"]) if _known(strangers) else None,
        elsewhere_tumors=strangers.get("tumors", 0),
    )
