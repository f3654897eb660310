"""What a model card says of the network's errors, in the order in which people ask for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from predictions.models import Label


@dataclass(frozen=True, slots=True)
class Share:
    """A measured share of 0–1 with its 95% interval."""

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, stated: dict[str, Any], key: str = "value") -> Share:
        low, high = stated["ci95"]
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
    """What became of other pictures of one source: answered with a warning, without, or refused."""

    name: str
    n: int
    warned: int
    taken: int


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """What became of slices of other people, scanners and sequences, of one source or of all.

    Attributes:
        right, wrong_and_sure: shares of those of a known kind that it named rightly, and wrongly
            with 90% or more; None if no kind is known.
    """

    name: str
    n: int
    right: float | None
    refused: float | None
    warned: float | None
    wrong_and_sure: float | None


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
    parts = [*stated["by_source"].items(), ("all of them", stated)]
    return [
        Elsewhere(
            name,
            own["n"],
            *(own[key]["value"] for key in ("accuracy", "refused", "flagged", "confidently_wrong")),
        )
        for name, own in parts
    ]


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
        sources=[
            Foreign(_source(name), stated["n"], stated["flagged"], stated["accepted"])
            for name, stated in others["by_source"].items()
        ],
        bodies=[
            Foreign(name, stated["n"], stated["flagged"], stated["accepted"])
            for name, stated in bodies.get("by_source", {}).items()
        ],
        bodies_taken=Count(bodies.get("accepted", 0), bodies.get("n", 0)),
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
