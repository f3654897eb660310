"""The plots of an evaluation, and the means to draw those of any report.

They are SVG in the page's own text colour, so that they suit light and dark pages alike.

Colours are those of Okabe and Ito (2008), which colour-blind people can tell apart; lines differ
by dashes too.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mltasks.classes import CLASSES, DISPLAY_NAMES as NAMES
from mltasks.engines import ModelError

# Becomes the colour of the page's text.
INK = "#010203"
COLOURS = ("#3b8fd4", "#e69f00", "#009e73", "#cc79a7", "#d55e00")
_DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1)))
_MARKERS = ("o", "s", "^", "D")
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "font.size": 10,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "legend.frameon": False,
}


@dataclass(frozen=True, slots=True)
class Plot:
    """One drawing.

    Attributes:
        title: above it.
        svg: for the page.
        alt: what it shows, in words.
    """

    title: str
    svg: str
    alt: str


def drawn(title: str, alt: str, draw: Callable[[Any], None], *, height: float = 4.2) -> Plot:
    """A plot for the page of a report.

    Args:
        title: unique on the page.
        alt: what it shows, in words.
        draw: draws on the axes that it is given.
        height: in inches; the width is 5.2.

    Raises:
        ModelError: matplotlib is not installed.
    """
    try:
        from matplotlib import rc_context
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ModelError(
            "matplotlib is not installed: pip install -r requirements/train.txt"
        ) from error
    buffer = io.StringIO()
    # In a context, as other plots of the same process have another style.
    with rc_context(_STYLE | {"svg.hashsalt": title}):
        figure = Figure(figsize=(5.2, height))
        draw(figure.subplots())
        figure.savefig(buffer, format="svg", bbox_inches="tight", metadata={"Date": None})
    text = buffer.getvalue()
    svg = text[text.index("<svg") :].replace(INK, "currentColor")
    # The page has its own title and text; ids must be unique among the drawings of a page.
    prefix = re.sub(r"\W+", "-", title.lower())
    svg = re.sub(r'id="([^"]+)"', rf'id="{prefix}-\1"', svg)
    svg = re.sub(r'(href="#|url\(#)', rf"\1{prefix}-", svg)
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(
        r'width="[\d.]+pt" height="[\d.]+pt"', 'width="100%" aria-hidden="true"', svg, count=1
    )
    return Plot(title, svg, alt)


def lines(curves: Mapping[str, Sequence[Sequence[float]]], axes: Any, **texts: Any) -> None:
    """A line of shares for each name; lines differ by colour and dashes.

    Args:
        curves: points (x, share) by name.
        texts: labels of the axes, and what else `axes.set` takes.
    """
    for number, (name, points) in enumerate(curves.items()):
        axes.plot(
            [point[0] for point in points],
            [point[1] for point in points],
            color=COLOURS[number % len(COLOURS)],
            linestyle=_DASHES[number % len(_DASHES)],
            label=name,
        )
    axes.set(ylim=(-0.01, 1.01), **texts)
    axes.legend()


def _by_class(curves: dict[str, Any], axes: Any, x: str, y: str) -> None:
    named = {NAMES[label]: points for label, points in curves.items()}
    lines(named, axes, xlabel=x, ylabel=y, xlim=(-0.01, 1.01))


def _reliability(bins: list[dict[str, float]], axes: Any) -> None:
    axes.plot([0, 1], [0, 1], color=INK, linewidth=0.8, linestyle=":")
    most = max((own["n"] for own in bins), default=1)
    for own in bins:
        axes.scatter(
            own["confidence"],
            own["accuracy"],
            s=20 + 180 * own["n"] / most,
            color=COLOURS[0],
            edgecolor=INK,
            linewidth=0.5,
        )
        axes.annotate(str(own["n"]), (own["confidence"], own["accuracy"]), fontsize=7)
    axes.set(xlabel="probability of the answer", ylabel="share that is right")


def _sizes(points: list[list[float]], axes: Any) -> None:
    for index, name in enumerate((*CLASSES, "tumor")):
        own = [p for p in points if p[2] == (index if index < len(CLASSES) else -1)]
        if own:
            axes.scatter(
                [100 * p[0] for p in own],
                [p[1] for p in own],
                s=9,
                alpha=0.6,
                color=COLOURS[index],
                marker=_MARKERS[index % 4],
                label=NAMES[name],
            )
    axes.set_xscale("log")
    axes.set(xlabel="tumour, % of the picture", ylabel="Dice with the expert's area")
    axes.legend(loc="lower right")


def _coverage(points: list[dict[str, float]], axes: Any) -> None:
    axes.plot(
        [100 * p["coverage"] for p in points],
        [100 * p["error"] for p in points],
        color=COLOURS[0],
        marker="o",
        markersize=3,
    )
    axes.set(xlabel="slices answered, %, the surest first", ylabel="of these wrong, %")


def _corruptions(figures: dict[str, Any], axes: Any) -> None:
    names = list(figures["corruptions"])
    for number, strength in enumerate(("mild", "middle", "strong")):
        axes.scatter(
            [100 * figures["corruptions"][name][strength]["accuracy"]["value"] for name in names],
            range(len(names)),
            color=COLOURS[number],
            marker=_MARKERS[number],
            label=strength,
        )
    axes.axvline(100 * figures["plain"]["accuracy"]["value"], color=INK, linewidth=0.8)
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.set(xlabel="right class, % (line: unchanged)")
    axes.legend(loc="lower left")


def plots(figures: dict[str, Any]) -> dict[str, Plot]:
    """The drawings of a report by name; those without data are left out.

    Raises:
        ModelError: matplotlib is not installed.
    """
    curves, found = figures["curves"], dict[str, Plot]()
    if curves["roc"]:
        found["roc"] = drawn(
            "ROC curves",
            "Sensitivity against false alarms, a line for each class against the rest; "
            "the areas under the curves are in the tables.",
            lambda axes: _by_class(curves["roc"], axes, "1 − specificity", "sensitivity"),
        )
        found["precision_recall"] = drawn(
            "Precision and recall",
            "Precision against recall, a line for each class against the rest.",
            lambda axes: _by_class(curves["precision_recall"], axes, "recall", "precision"),
        )
    if curves["reliability"]:
        found["reliability"] = drawn(
            "Reliability",
            "How often answers of each probability are right; on the dotted line probabilities "
            "are exact, below it the network is too sure. Dots are as large as their number.",
            lambda axes: _reliability(curves["reliability"], axes),
        )
    if curves["dice_by_size"]:
        found["size"] = drawn(
            "Dice against tumour size",
            "A dot for each tumour: its share of the picture, and how well the marked area fits.",
            lambda axes: _sizes(curves["dice_by_size"], axes),
        )
    if figures["validation"]["doubt"]["curve"]:
        found["coverage"] = drawn(
            "Answers against errors",
            "The share of wrong answers when only the surest slices are answered.",
            lambda axes: _coverage(figures["validation"]["doubt"]["curve"], axes),
        )
    accuracy = figures.get("robustness", {}).get("plain", {}).get("accuracy", {})
    if accuracy.get("value") is not None:
        found["robustness"] = drawn(
            "Accuracy under corruption",
            "For each of twelve corruptions the share of right classes at three strengths; "
            "the table beside it has the values.",
            lambda axes: _corruptions(figures["robustness"], axes),
        )
    return found
