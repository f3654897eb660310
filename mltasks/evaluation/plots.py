"""Plots as SVG that takes the page's own text colour, so that it suits light and dark alike.

Colours are those of Okabe and Ito (2008), which colour-blind people can tell apart; lines differ
by dashes too.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from mltasks.classes import CLASSES, DISPLAY_NAMES as NAMES
from mltasks.engines import ModelError

_INK = "#010203"
_COLOURS = ("#3b8fd4", "#e69f00", "#009e73", "#cc79a7", "#d55e00")
_DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1)))
_MARKERS = ("o", "s", "^", "D")


_STYLE = {
    "svg.fonttype": "none",
    "font.size": 10,
    "text.color": _INK,
    "axes.labelcolor": _INK,
    "axes.edgecolor": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
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


def _pyplot() -> Any:
    try:
        import matplotlib as mpl
    except ImportError as error:
        raise ModelError(
            "matplotlib is not installed: pip install -r requirements/train.txt"
        ) from error
    mpl.use("Agg")
    from matplotlib import pyplot as plt

    return plt


def _drawn(title: str, alt: str, draw: Callable[[Any], None]) -> Plot:
    plt, buffer = _pyplot(), io.StringIO()
    # Other pictures of the same process have a style of their own.
    with plt.rc_context(_STYLE | {"svg.hashsalt": title}):
        figure, axes = plt.subplots(figsize=(5.2, 4.2))
        draw(axes)
        figure.savefig(buffer, format="svg", bbox_inches="tight", metadata={"Date": None})
        plt.close(figure)
    text = buffer.getvalue()
    svg = text[text.index("<svg") :].replace(_INK, "currentColor")
    # The page says what it shows; drawings on one page must not share names.
    prefix = re.sub(r"\W+", "-", title.lower())
    svg = re.sub(r'id="([^"]+)"', rf'id="{prefix}-\1"', svg)
    svg = re.sub(r'(href="#|url\(#)', rf"\1{prefix}-", svg)
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(
        r'width="[\d.]+pt" height="[\d.]+pt"', 'width="100%" aria-hidden="true"', svg, count=1
    )
    return Plot(title, svg, alt)


def _lines(curves: dict[str, Any], axes: Any, x: str, y: str) -> None:
    for number, (name, points) in enumerate(curves.items()):
        axes.plot(
            [p[0] for p in points],
            [p[1] for p in points],
            color=_COLOURS[number % 5],
            linestyle=_DASHES[number % 5],
            label=NAMES[name],
        )
    axes.set(xlabel=x, ylabel=y, xlim=(-0.01, 1.01), ylim=(-0.01, 1.01))
    axes.legend()


def _reliability(bins: list[dict[str, float]], axes: Any) -> None:
    axes.plot([0, 1], [0, 1], color=_INK, linewidth=0.8, linestyle=":")
    most = max((own["n"] for own in bins), default=1)
    for own in bins:
        axes.scatter(
            own["confidence"],
            own["accuracy"],
            s=20 + 180 * own["n"] / most,
            color=_COLOURS[0],
            edgecolor=_INK,
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
                color=_COLOURS[index],
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
        color=_COLOURS[0],
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
            color=_COLOURS[number],
            marker=_MARKERS[number],
            label=strength,
        )
    axes.axvline(100 * figures["plain"]["accuracy"]["value"], color=_INK, linewidth=0.8)
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.set(xlabel="right class, % (line: unchanged)")
    axes.legend(loc="lower left")


def plots(figures: dict[str, Any]) -> dict[str, Plot]:
    """The drawings of a report by name; those without data are left out.

    Raises:
        ModelError: matplotlib is not installed.
    """
    curves, drawn = figures["curves"], {}
    if curves["roc"]:
        drawn["roc"] = _drawn(
            "ROC curves",
            "Sensitivity against false alarms, a line for each class against the rest; "
            "the areas under the curves are in the tables.",
            lambda axes: _lines(curves["roc"], axes, "1 − specificity", "sensitivity"),
        )
        drawn["precision_recall"] = _drawn(
            "Precision and recall",
            "Precision against recall, a line for each class against the rest.",
            lambda axes: _lines(curves["precision_recall"], axes, "recall", "precision"),
        )
    if curves["reliability"]:
        drawn["reliability"] = _drawn(
            "Reliability",
            "How often answers of each probability are right; on the dotted line probabilities "
            "are exact, below it the network is too sure. Dots are as large as their number.",
            lambda axes: _reliability(curves["reliability"], axes),
        )
    if curves["dice_by_size"]:
        drawn["size"] = _drawn(
            "Dice against tumour size",
            "A dot for each tumour: its share of the picture, and how well the marked area fits.",
            lambda axes: _sizes(curves["dice_by_size"], axes),
        )
    if figures["validation"]["doubt"]["curve"]:
        drawn["coverage"] = _drawn(
            "Answers against errors",
            "The share of wrong answers when only the surest slices are answered.",
            lambda axes: _coverage(figures["validation"]["doubt"]["curve"], axes),
        )
    accuracy = figures.get("robustness", {}).get("plain", {}).get("accuracy", {})
    if accuracy.get("value") is not None:
        drawn["robustness"] = _drawn(
            "Accuracy under corruption",
            "For each of twelve corruptions the share of right classes at three strengths; "
            "the table beside it has the values.",
            lambda axes: _corruptions(figures["robustness"], axes),
        )
    return drawn
