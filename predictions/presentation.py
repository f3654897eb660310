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
    (VERY_SURE, "Very sure"),
    (0.8, "Fairly sure"),
    (0.6, "Not very sure"),
    (0.0, "Unsure"),
)

# The page about each finding; no tumour needs none.
_PAGES = {
    Label.GLIOMA: "glioma",
    Label.MENINGIOMA: "meningioma",
    Label.PITUITARY: "pituitary-tumours",
}
_SYMPTOMS = ("symptoms", "Symptoms that need help today")

# From here on a picture that is not flagged is still said to be less usual.
LESS_USUAL = 0.3
UNLIKE = (
    "This picture is unlike those the network learnt from: perhaps another kind of MRI, or not a "
    "brain. Do not rely on the figures below."
)

NOT_A_DIAGNOSIS = (
    "A network can miss a tumour, and can see one where there is none. Only a doctor who knows you "
    "and all of your images can tell what they mean."
)
# What the set of answers promises is an average over all slices. A set of its own may do worse.
COVERAGE = (
    "On slices like those tested, the right answer is among those left 95 times in 100 on average; "
    "for this picture alone that promises nothing."
)
LINES = (
    "Within the thin white line: certainly affected, as far as the network can tell. Within the "
    "dashed one: possibly."
)
SEE_A_DOCTOR = "With new or worse symptoms see a doctor today."
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
        place: where its middle lies in the picture, as "at the upper left".
        sided: whether that names a side, which depends on who looks.
    """

    left: int
    top: int
    width: int
    height: int
    place: str
    sided: bool


@dataclass(frozen=True, slots=True)
class Finding:
    """What the result page says.

    Attributes:
        headline: the finding as a sentence.
        lead: how sure the network is, as a sentence; empty where the figures are not to be
            relied on.
        rows: (label, name, probability 0–1) of each class, most probable first.
        warning: why the answer is not to be relied on at all; empty if there is no such reason.
        among: what the network could not rule out and what is promised of such sets of answers;
            empty where it left one, or nothing is promised, as on pictures unlike those learnt
            from.
        doubts: why it is not surer, a sentence each; if nothing speaks for it, one that says so.
            On a picture with a warning only what adds to that.
        area_range: share of the picture within the inner and the outer contour, 0–1, or None.
        area_share: the affected area's share of the picture, 0–1, or None.
        box: the rectangle around the affected area, or None.
        advice: what to do now, in words.
        reading: (slug, words) of the pages to read now.
        lines: what the lines of inner and outer contour mean.
    """

    headline: str
    lead: str = ""
    rows: list[tuple[str, str, float]] = field(default_factory=list)
    doubts: list[str] = field(default_factory=list)
    warning: str = ""
    among: str = ""
    area_share: float | None = None
    area_range: tuple[float, float] | None = None
    box: Box | None = None
    advice: str = ""
    reading: list[tuple[str, str]] = field(default_factory=list)
    lines: ClassVar[str] = LINES

    @property
    def where(self) -> str:
        if self.box is None:
            return "No area was marked."
        looked = ", as you look at it," if self.box.sided else ""
        told = (
            f"The marked area is {self.box.place} of the picture{looked} and covers "
            f"{percent(self.area_share)} of it"
        )
        if self.area_range is None:
            return f"{told}."
        low, high = (percent(share) for share in self.area_range)
        return f"{told} ({low.removesuffix('%')}–{high}, depending on how sure one wants to be)."

    @property
    def measured(self) -> str:
        if self.box is None:
            return ""
        return (
            f"The marked area lies in a box of {self.box.width} × {self.box.height} pixels whose "
            f"upper left corner is at ({self.box.left}, {self.box.top})."
        )


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
    if down and across:
        place = f"at the {down} {across}"
    elif down:
        place = f"in the {down} part"
    else:
        place = f"on the {across}" if across else "in the middle"
    return Box(
        left=left,
        top=top,
        width=right - left,
        height=bottom - top,
        place=place,
        sided=bool(across),
    )


def _headline(prediction: Prediction, rows: list[tuple[str, str, float]]) -> str:
    """The finding, unless the network does not stand by it: then it must not look like one."""
    if prediction.flagged:
        return "No reliable answer"
    if prediction.committed:
        return _FOUND[Label(prediction.label)]
    left = [name.lower() for label, name, _ in rows if label in prediction.prediction_set]
    if len(left) < 2:
        return f"The network is unsure: perhaps {prediction.get_label_display().lower()}"
    return f"The network is unsure: {' or '.join(left)}"


def _lead(prediction: Prediction) -> str:
    if prediction.flagged:
        return ""
    name, share = prediction.get_label_display(), prediction.probabilities[prediction.label]
    if not prediction.committed:
        return f"Its best guess is {name.lower()} ({percent(share)}), too unsure to rely on."
    sureness = next(words for least, words in _SURENESS if share >= least)
    return f"{sureness}: {percent(share)} for {name.lower()}."


def _rivals(
    prediction: Prediction, rows: list[tuple[str, str, float]]
) -> list[tuple[str, str, float]]:
    """What the network could not rule out beside its answer."""
    return [
        row for row in rows if row[0] in prediction.prediction_set and row[0] != prediction.label
    ]


def _among(prediction: Prediction, rows: list[tuple[str, str, float]]) -> str:
    rivals = [name.lower() for _, name, _ in _rivals(prediction, rows)]
    # On a picture unlike those learnt from the set of answers promises nothing.
    if prediction.flagged or not rivals:
        return ""
    return f"It could not rule out {' or '.join(rivals)}. {COVERAGE}"


def _doubts(prediction: Prediction, rows: list[tuple[str, str, float]]) -> list[str]:
    if prediction.flagged:
        return _of_the_picture(prediction)
    doubts = []
    (_, _, share), (_, runner, next_share) = rows[:2]
    rivals = _rivals(prediction, rows)
    if not prediction.committed:
        doubts.append(
            "It is less sure here than it was on the slices where its answers proved reliable."
        )
        if not rivals:
            doubts.append(f"Next comes {runner.lower()}, with {percent(next_share)}.")
    if rivals:
        shares = [f"{percent(share)} to {name.lower()}" for _, name, share in rivals]
        doubts.append(f"It gives {' and '.join(shares)}.")
    doubts += _of_the_picture(prediction)
    if not doubts and share < VERY_SURE:
        doubts.append(
            f"It leaves {percent(1 - share)} to other answers, the largest part to "
            f"{runner.lower()}."
        )
    return doubts or [NO_DOUBT]


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


def _rate(share: float, n: int) -> tuple[str, str]:
    """Of how many, and how many of them: of 100, unless it was none of all `n`."""
    # A card states shares in four digits; halves go up, where Python takes them to the even one.
    count = round(share * n)
    of_100 = int(100 * count / n + 0.5) if n else 0
    if not count:
        return str(n), "none"
    return "100", f"about {of_100}" if of_100 else "fewer than 1"


def error_rates(prediction: Prediction) -> list[str]:
    """How often the version that answered errs, for this answer, a sentence each."""
    figures = model_figures(prediction.model_version.card)
    if figures is None:
        return ["No errors have been measured for this version. Do not rely on it at all."]
    own = figures.of_label(prediction.label)
    of, wrong = _rate(figures.accuracy.rest.value, figures.n)
    told = [f"Of {of} test slices it names {wrong} wrongly."]
    if prediction.label == Label.NO_TUMOR:
        of, wrong = _rate(figures.missed.count / max(1, figures.missed.n), figures.missed.n)
        told.append(
            f"Of {of} slices with a tumour it calls {wrong} “no tumour”. That is its least tested "
            "answer all the same: slices without one came from other sources."
        )
    elif own:
        name, others = own.name.lower(), figures.n - own.n
        of, wrong = _rate(own.found.rest.value, own.n)
        without, called = _rate(own.false_alarms.value, others)
        told.append(
            f"Of {of} slices with a {name} it gives {wrong} another name; "
            f"of {without} without one it calls {called} a {name}."
        )
    if figures.elsewhere_right:
        of, wrong = _rate(figures.elsewhere_right.rest.value, figures.elsewhere[-1].known)
        healthy = "" if figures.elsewhere_tumors else ", healthy as far as is known,"
        told.append(
            f"Of {of} slices of heads from other scanners{healthy} {wrong} were named wrongly."
        )
    return told


def _advice(prediction: Prediction) -> str:
    sure = prediction.committed and not prediction.flagged
    missed = "This does not rule a tumour out. "
    return (
        f"{missed if sure and prediction.label == Label.NO_TUMOR else ''}"
        f"Take the original scan, not this page, to your doctor. {SEE_A_DOCTOR}"
    )


def _reading(prediction: Prediction) -> list[tuple[str, str]]:
    """What to read now: no finding's page where there is no reliable answer."""
    about = [prediction.label]
    if prediction.flagged:
        about = []
    elif not prediction.committed:
        about += [label for label in prediction.prediction_set if label != prediction.label]
    return [
        _SYMPTOMS,
        ("questions", "Questions to ask"),
        *(
            (_PAGES[label], f"About {label.label.lower()}")
            for label in map(Label, about)
            if label in _PAGES
        ),
    ]


def describe(prediction: Prediction) -> Finding:
    """The words for a finished prediction."""
    if prediction.status != Status.SUCCEEDED:
        headline = {
            Status.REJECTED: "This does not look like a brain MRI",
            Status.CANCELLED: "The analysis was cancelled",
            Status.QUEUED: "No answer yet",
            Status.RUNNING: "No answer yet",
        }.get(Status(prediction.status), "The analysis failed")
        refused = prediction.status == Status.REJECTED
        return Finding(headline=headline, reading=[_SYMPTOMS] if refused else [])
    shares: dict[str, Any] = prediction.probabilities
    rows = [
        (label, Label(label).label, float(share))
        for label, share in sorted(shares.items(), key=lambda item: -item[1])
    ]
    return Finding(
        headline=_headline(prediction, rows),
        lead=_lead(prediction),
        warning=UNLIKE if prediction.flagged else "",
        among=_among(prediction, rows),
        rows=rows,
        doubts=_doubts(prediction, rows),
        area_share=prediction.area_fraction if prediction.label != Label.NO_TUMOR else None,
        area_range=(
            (prediction.area_range[0], prediction.area_range[1])
            if prediction.area_range and prediction.contours_key
            else None
        ),
        box=_box(prediction),
        advice=_advice(prediction),
        reading=_reading(prediction),
    )
