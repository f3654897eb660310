"""The plots of an audit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mltasks.evaluation.plots import COLOURS, INK, Plot, drawn, lines

# Bin width of the likeness histogram.
_STEP = 0.002
# With more bins than this, the numbers above the bars are written vertically.
_WIDE_BINS = 8


def likeness(counts: Mapping[str, int]) -> Plot:
    """How alike the pairs are.

    Args:
        counts: pairs by the lower edge of the bin, at least one.
    """

    def draw(axes: Any) -> None:
        edges = [float(edge) for edge in counts]
        bars = axes.bar(
            edges, counts.values(), _STEP, align="edge", color=COLOURS[0], edgecolor=INK, lw=0.5
        )
        axes.bar_label(bars, padding=3, fontsize=8, rotation=90 if len(edges) > _WIDE_BINS else 0)
        axes.margins(y=0.15)
        # Nothing is more alike than 1: neither axis nor the last bin goes beyond.
        axes.set_xlim(min(edges) - _STEP, min(1.0, max(edges) + 2 * _STEP))
        axes.ticklabel_format(axis="x", useOffset=False)
        axes.locator_params(axis="x", nbins=5)
        axes.locator_params(axis="y", integer=True)
        axes.set(xlabel="likeness of near copies", ylabel="pairs")

    alt = (
        f"{sum(counts.values())} pairs of near copies whose pixels differ, by their likeness, "
        f"from {min(counts)} on; above each bar stands how many they are."
    )
    return drawn("Pairs by likeness", alt, draw)


def search(curve: Sequence[Mapping[str, float]]) -> Plot:
    """What the search would find with other thresholds.

    Args:
        curve: for each shift of both thresholds, the share called copies of each kind of pair.
    """

    def draw(axes: Any) -> None:
        shares = {
            name: [(point["shift"], point[name]) for point in curve]
            for name in curve[0]
            if name != "shift"
        }
        axes.axvline(0, color=INK, linewidth=0.8, linestyle=":")
        lines(shares, axes, xlabel="both thresholds moved by (0: as used)", ylabel="share")
        axes.legend(loc="upper left", bbox_to_anchor=(-0.1, -0.16))

    alt = (
        "The share of pairs that are called copies if both thresholds are moved; on the dotted "
        "line they are as used. The line of copies should stay high, those of others low."
    )
    return drawn("Share of pairs called copies", alt, draw)


def cues(title: str, figures: Mapping[str, Any], chance: float) -> Plot:
    """How well each cue alone predicts the label.

    Args:
        figures: what was measured, by cue.
        chance: what guessing would reach.
    """

    def draw(axes: Any) -> None:
        for place, own in enumerate(figures.values()):
            value = own["balanced_accuracy"]["value"]
            low, high = own["balanced_accuracy"]["ci95"] or (value, value)
            axes.barh(place, value, 0.6, color=COLOURS[0])
            axes.plot((low, high), (place, place), color=INK)
            axes.annotate(
                f"{value:.2f}", (max(value, high), place), (4, 0), va="center",
                textcoords="offset points",
            )  # fmt: skip
        axes.axvline(chance, color=COLOURS[4], linestyle="--")
        axes.set_yticks(range(len(figures)), list(figures))
        axes.invert_yaxis()
        axes.set(xlabel="balanced accuracy", xlim=(0, 1))

    alt = (
        "A bar for each cue with its 95% interval; the dashed line is guessing. "
        "The table below has the values."
    )
    return drawn(title, alt, draw, height=1 + 0.35 * len(figures))
