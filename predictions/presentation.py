"""A result in words, for page and report: what was found, how sure the network is, how it errs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

from predictions.model_figures import model_figures
from predictions.models import Label, Prediction, Status
from predictions.templatetags.figures import percent

# Words for the share of the calibrated probability that lies on the answer.
VERY_SURE = 0.95
_SURENESS = (
    (VERY_SURE, "very sure"),
    (0.8, "fairly sure"),
    (0.6, "not very sure"),
    (0.0, "unsure"),
)

# From here on a picture that is not flagged is still said to be less usual.
LESS_USUAL = 0.3
UNLIKE = (
    "This picture is unlike those the network learnt from – another kind of MRI perhaps, other "
    "colours, or not a brain. Do not rely on this answer."
)

NOT_A_DIAGNOSIS = (
    "A network can miss a tumour, and can see one where there is none. Only a doctor who knows you "
    "and all of your images can tell what they mean."
)
# What the set of answers promises is an average over all slices. A set of its own may do worse.
COVERAGE = (
    "Over all slices like those tested, its set contains the right answer in 95 of 100. "
    "For this set alone, nothing is promised."
)
NO_DOUBT = (
    "Nothing in this picture gave it a reason to doubt. It can still be wrong: it saw one slice, "
    "knows four answers, and knows nothing about you."
)

_FOUND = {
    Label.GLIOMA: "The network sees signs of a glioma",
    Label.MENINGIOMA: "The network sees signs of a meningioma",
    Label.PITUITARY: "The network sees signs of a pituitary tumour",
    Label.NO_TUMOR: "The network sees no sign of a tumour",
}


@dataclass(frozen=True, slots=True)
class Box:
    """The rectangle around the affected area, in pixels of the picture.

    Attributes:
        place: where its middle lies in the picture, in words.
    """

    left: int
    top: int
    width: int
    height: int
    place: str


@dataclass(frozen=True, slots=True)
class Finding:
    """What the result page says.

    Attributes:
        headline: the finding as a sentence.
        sureness: how sure the network is, in words.
        percent: probability of the answer, 0–100.
        rows: (label, name, probability 0–1) of each class, most probable first.
        warning: why the answer is not to be relied on at all; empty if there is no such reason.
        leaning: the answer in words, where the network does not stand by it; empty otherwise.
        among: what the network narrows its answer down to, as "glioma or meningioma"; empty where
            that is one, or comes with no promise, as on pictures unlike those learnt from.
        coverage: what such sets promise.
        doubts: why it is not surer, a sentence each; if nothing speaks for it, one that says so.
        area_range: share of the picture within the inner and the outer contour, 0–100, or None.
        area_percent: the affected area's share of the picture, 0–100, or None.
        box: the rectangle around the affected area, or None.
    """

    headline: str
    sureness: str = ""
    percent: float = 0.0
    rows: list[tuple[str, str, float]] = field(default_factory=list)
    doubts: list[str] = field(default_factory=list)
    warning: str = ""
    leaning: str = ""
    among: str = ""
    coverage: ClassVar[str] = COVERAGE
    area_percent: float | None = None
    area_range: tuple[float, float] | None = None
    box: Box | None = None


def _side(middle: float, names: tuple[str, str], band: float) -> str:
    """On which side of the picture's middle, by more than `band` of its side; "" if on neither."""
    return "" if abs(middle - 0.5) <= band else names[middle > 0.5]


def _box(prediction: Prediction) -> Box | None:
    if not prediction.bounding_box or not prediction.area_key:
        return None
    left, top, right, bottom = prediction.bounding_box
    # A head is much the same on both sides, so a little to one of them is said; not so up and down.
    across = _side((left + right) / 2 / prediction.scan.width, ("left", "right"), 0.05)
    down = _side((top + bottom) / 2 / prediction.scan.height, ("upper", "lower"), 1 / 6)
    return Box(
        left=left,
        top=top,
        width=right - left,
        height=bottom - top,
        place=" ".join(filter(None, (down, across))) or "middle",
    )


def _among(prediction: Prediction) -> str:
    return " or ".join(Label(label).label.lower() for label in prediction.prediction_set)


def _headline(prediction: Prediction) -> str:
    """The finding, unless the network does not stand by it: then it must not look like one."""
    if prediction.flagged:
        return "No reliable answer: the picture is unlike those the network learnt from"
    if prediction.committed is not False:
        return _FOUND[Label(prediction.label)]
    if len(prediction.prediction_set) < 2:
        return f"The network does not commit itself; it leans towards {_among(prediction)}"
    return f"The network does not commit itself: {_among(prediction)}"


def _doubts(prediction: Prediction, rows: list[tuple[str, str, float]]) -> list[str]:
    doubts = []
    (_, _, share), (second, runner, next_share) = rows[:2]
    if prediction.flagged:
        # On such a picture the set of answers promises nothing.
        doubts.append("The picture is unlike those it learnt from.")
    else:
        if prediction.committed is False:
            doubts.append(
                "It is less sure here than it was on the slices where its answers proved reliable."
            )
            if second not in prediction.prediction_set:
                doubts.append(f"Next comes {runner.lower()}, with {percent(next_share)}.")
        doubts += _not_ruled_out(prediction, rows)
    doubts += _of_the_picture(prediction)
    if not doubts and share < VERY_SURE:
        doubts.append(
            f"It leaves {percent(1 - share)} to other answers, the largest part to "
            f"{runner.lower()}."
        )
    return doubts or [NO_DOUBT]


def _not_ruled_out(prediction: Prediction, rows: list[tuple[str, str, float]]) -> list[str]:
    runners = [name.lower() for label, name, _ in rows[1:] if label in prediction.prediction_set]
    if not runners:
        return []
    told = f"It cannot rule out {' or '.join(runners)}"
    if prediction.committed is not None:
        return [f"{told}."]
    return [f"{told}: together with the answer these reach 95% of the probability."]


def _of_the_picture(prediction: Prediction) -> list[str]:
    doubts = []
    if not prediction.flagged and (prediction.ood_score or 0) > LESS_USUAL:
        doubts.append(
            "The picture is not quite like the MRI slices the network learnt from, "
            "so its probabilities may be off."
        )
    if prediction.label != Label.NO_TUMOR and not prediction.area_key:
        doubts.append("It found no clear border of an affected area in this slice.")
    if min(prediction.scan.width, prediction.scan.height) < 128:
        doubts.append("The picture is small; fine detail is missing.")
    if prediction.scan.facts.get("colour"):
        doubts.append("The picture is in colour, while the network learnt from grey slices.")
    return doubts


def error_rates(prediction: Prediction) -> list[str]:
    """How often the version that answered errs, for this answer, a sentence each."""
    figures = model_figures(prediction.model_version.card)
    if figures is None:
        return ["No errors have been measured for this version. Do not rely on it at all."]
    accuracy, own = figures.accuracy, figures.of_label(prediction.label)
    between = f"95% interval {percent(accuracy.low)}–{percent(accuracy.high)}"
    told = []
    told.append(
        f"On {figures.n} slices it had not learnt from, it named the right one of four in "
        f"{percent(accuracy.value)} ({between})."
    )
    if prediction.label == Label.NO_TUMOR:
        missed, between = figures.missed, ""
        if missed.share:
            between = f" (95% interval {percent(missed.share.low)}–{percent(missed.share.high)})"
        told.append(
            f"It overlooked the tumour in {missed.count} of {missed.n} slices that had one"
            f"{between}. “No tumour” is its least tested answer all the same: slices without one "
            "came from other sources."
        )
    elif own:
        told.append(
            f"It recognised {percent(own.found.value)} of the {own.n} slices with "
            f"{own.name.lower()} ({percent(own.found.low)}–{percent(own.found.high)}), and gave "
            f"that name to {percent(own.false_alarms.value)} of the others."
        )
        if figures.overlap:
            told.append(
                f"Half of its areas overlap the expert’s by {figures.overlap.value:.2f} or more "
                f"(Dice: 0 is apart, 1 the same); {percent(figures.misplaced)} miss it altogether."
            )
    told.append(
        f"Of {figures.refused.n} real slices it refused {figures.refused.count} and warned of "
        f"{figures.warned.count}. Of {figures.taken.n} pictures of other things it answered "
        f"{figures.taken_warned.count} with a warning not to rely on it and {figures.taken.count} "
        "without one, and refused the rest."
    )
    return told


def describe(prediction: Prediction) -> Finding:
    """The words for a finished prediction."""
    if prediction.status != Status.SUCCEEDED:
        headline = {
            Status.REJECTED: "This does not look like a brain MRI",
            Status.CANCELLED: "The analysis was cancelled",
            Status.QUEUED: "No answer yet",
            Status.RUNNING: "No answer yet",
        }.get(Status(prediction.status), "The analysis failed")
        return Finding(headline=headline)
    shares: dict[str, Any] = prediction.probabilities
    rows = [
        (label, Label(label).label, float(share))
        for label, share in sorted(shares.items(), key=lambda item: -item[1])
    ]
    top = shares[prediction.label]
    return Finding(
        headline=_headline(prediction),
        warning=UNLIKE if prediction.flagged else "",
        leaning=(
            Label(prediction.label).label.lower()
            if prediction.flagged or prediction.committed is False
            else ""
        ),
        among=(
            _among(prediction)
            if prediction.committed is not None
            and not prediction.flagged
            and len(prediction.prediction_set) > 1
            else ""
        ),
        sureness=next(words for least, words in _SURENESS if top >= least),
        percent=100 * top,
        rows=rows,
        doubts=_doubts(prediction, rows),
        area_percent=(
            100 * prediction.area_fraction
            if prediction.area_fraction is not None and prediction.label != Label.NO_TUMOR
            else None
        ),
        area_range=(
            (100 * prediction.area_range[0], 100 * prediction.area_range[1])
            if prediction.area_range and prediction.contours_key
            else None
        ),
        box=_box(prediction),
    )
