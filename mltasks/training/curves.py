"""How a run went, as numbers and as a picture."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from mltasks.drafts import GO_ON, replacing

PANELS = (
    ("Class loss", "classes"),
    ("Mask loss", "mask"),
    ("Loss of the picture detector", "brain"),
    ("Watched slices: loss", "watched_loss"),
    ("Watched slices: accuracy", "watched_accuracy"),
)
_ACCENT, _GREY = "#0b6e99", "#808890"


def draw_curves(history: Sequence[dict[str, float]]) -> bytes:
    """An SVG with a panel for each figure that was recorded, over the epochs.

    Transparent, with mid-grey axes, so that it can be read on light and on dark pages.
    """
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    panels = [(title, name) for title, name in PANELS if any(name in row for row in history)]
    figure = Figure(figsize=(3.4 * max(1, len(panels)), 2.6), layout="constrained")
    FigureCanvasSVG(figure)
    figure.patch.set_alpha(0)
    for number, (title, name) in enumerate(panels, 1):
        axes = figure.add_subplot(1, len(panels), number)
        axes.patch.set_alpha(0)
        rows = [(row["epoch"], row[name]) for row in history if name in row]
        axes.plot(*zip(*rows, strict=True), color=_ACCENT, marker="o", markersize=3)
        axes.set_title(title, color=_GREY, fontsize=10)
        axes.set_xlabel("epoch", color=_GREY, fontsize=9)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.tick_params(colors=_GREY, labelsize=8)
        axes.spines[["top", "right"]].set_visible(False)
        axes.spines[["left", "bottom"]].set_color(_GREY)
    target = io.BytesIO()
    figure.savefig(target, format="svg", metadata={"Date": None})
    return target.getvalue()


def write_history(folder: Path, history: Sequence[dict[str, float]]) -> None:
    """`history.csv` and `curves.svg`, replaced in one step each."""
    if not history:
        return
    folder.mkdir(parents=True, exist_ok=True)
    text = io.StringIO()
    writer = csv.DictWriter(text, list(history[-1]), lineterminator="\n", extrasaction="ignore")
    writer.writeheader()
    writer.writerows(history)
    contents = {"history.csv": text.getvalue().encode(), "curves.svg": draw_curves(history)}
    for name, content in contents.items():
        with replacing(folder / name, remedy=GO_ON) as draft:
            draft.write_bytes(content)
