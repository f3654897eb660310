"""The results of a screening: a table, a plot and all numbers."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mltasks import corruptions
from mltasks.drafts import AGAIN, replacing
from mltasks.screening.design import effects, margin
from mltasks.screening.probes import BRIGHT, DARK, MOVED, OUTLINES, PLAIN, STRIPPED

Array = NDArray[Any]
# Columns of the table: a name, the figure, and the probes over which it is averaged.
_COLUMNS: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("unchanged", "accuracy", (PLAIN,)),
    ("unchanged, Dice", "dice", (PLAIN,)),
    ("twelve corruptions", "accuracy", corruptions.CORRUPTIONS),
    ("the same, Dice", "dice", corruptions.CORRUPTIONS),
    ("other sequences", "accuracy", tuple(corruptions.UNLIKE)),
    (STRIPPED, "accuracy", (STRIPPED,)),
    (MOVED, "accuracy", (MOVED,)),
    ("tumour told from outlines", "told", (OUTLINES,)),
)
_FIGURES = {
    "accuracy": "right class, %",
    "dice": "mean Dice, hundredths",
    "told": "tumour told from none, area under the ROC curve, hundredths",
}
_DETAILS = (PLAIN, *corruptions.CORRUPTIONS, *corruptions.UNLIKE, STRIPPED, MOVED)


def _has(scores: dict[str, Any], figure: str, probes: tuple[str, ...]) -> bool:
    """Whether the figure was measured on all of these probes; without masks, some are missing."""
    return all(name in scores and scores[name][figure]["value"] is not None for name in probes)


def _scores(runs: list[dict[str, Any]], figure: str, probes: tuple[str, ...]) -> Array:
    """Mean over some probes, in percent: float64 (runs,)."""
    return 100 * np.array(
        [np.mean([run["scores"][name][figure]["value"] for name in probes]) for run in runs]
    )


def _split(result: dict[str, Any]) -> tuple[list[dict[str, Any]], dict[str, Any], Array]:
    """The runs of the design, the one without any factor, and the design: bool (runs, factors)."""
    *designed, none = result["runs"]
    names = list(result["factors"])
    return designed, none, np.array([[run["on"][name] for name in names] for run in designed])


def table(result: dict[str, Any]) -> str:
    """Effects by factor as a Markdown table; those that exceed the noise are bold."""
    designed, none, design = _split(result)
    names = list(result["factors"])
    columns = [own for own in _COLUMNS if _has(none["scores"], *own[1:])]
    scores = np.stack([_scores(designed, figure, probes) for _, figure, probes in columns], axis=1)
    found = effects(design, scores)
    noise = margin(found)
    heads = [name for name, _, _ in columns]
    lines = ["| there or not | " + " | ".join(heads) + " |", "|---" * (len(heads) + 1) + "|"]
    for name, row in zip(names, found, strict=True):
        cells = [
            f"**{value:+.1f}**" if abs(value) > limit else f"{value:+.1f}"
            for value, limit in zip(row, noise, strict=True)
        ]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    without = [_scores([none], figure, probes)[0] for _, figure, probes in columns]
    for name, cells in (
        ("noise, 95%", [f"±{limit:.1f}" for limit in noise]),
        ("*network with all of them*", [f"{value:.1f}" for value in scores[0]]),
        ("*mean of all networks*", [f"{value:.1f}" for value in scores.mean(axis=0)]),
        ("*network with none*", [f"{value:.1f}" for value in without]),
    ):
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def models_table(found: dict[str, dict[str, Any]]) -> str:
    """Scores of finished networks on the probes as a Markdown table, with intervals by group."""
    rows = [
        (PLAIN, "accuracy"),
        (PLAIN, "dice"),
        *((name, "accuracy") for name in (*corruptions.CORRUPTIONS, *corruptions.UNLIKE)),
        (STRIPPED, "accuracy"),
        (MOVED, "accuracy"),
        (MOVED, "dice"),
        (DARK, "accuracy"),
        (DARK, "dice"),
        (BRIGHT, "accuracy"),
        (BRIGHT, "dice"),
        (OUTLINES, "told"),
    ]
    lines = ["| shown | " + " | ".join(found) + " |", "|---" * (len(found) + 1) + "|"]
    for probe, figure in rows:
        if not all(_has(scores, figure, (probe,)) for scores in found.values()):
            continue
        cells = []
        for scores in found.values():
            own = scores[probe][figure]
            bounds = "–".join(f"{100 * bound:.0f}" for bound in own["ci95"] or ())
            cells.append(f"{100 * own['value']:.1f} ({bounds or 'no interval'})")
        lines.append(f"| {probe}: {_FIGURES[figure]} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def draw(result: dict[str, Any]) -> bytes:
    """The effect of each factor on the accuracy under each probe, as an SVG.

    Cells without an effect are white, so it has its own background and suits any page.
    """
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    designed, none, design = _split(result)
    details = [name for name in _DETAILS if _has(none["scores"], "accuracy", (name,))]
    scores = np.stack([_scores(designed, "accuracy", (name,)) for name in details], axis=1)
    found = effects(design, scores)
    beyond = np.abs(found) > margin(found)
    names = list(result["factors"])
    figure = Figure(figsize=(11, 0.45 * len(names) + 2.2), layout="constrained")
    FigureCanvasSVG(figure)
    figure.patch.set_facecolor("white")
    axes = figure.add_subplot()
    reach = max(1.0, float(np.abs(found).max()))
    axes.imshow(found, cmap="PuOr_r", vmin=-reach, vmax=reach, aspect="auto")
    for row, column in np.ndindex(found.shape):
        value = found[row, column]
        axes.text(
            column,
            row,
            f"{value:+.0f}",
            ha="center",
            va="center",
            fontsize=9,
            color="white" if abs(value) > 0.65 * reach else "black",
            fontweight="bold" if beyond[row, column] else "normal",
        )
    axes.set_xticks(range(len(details)), details, rotation=45, ha="left", fontsize=9)
    axes.xaxis.tick_top()
    axes.set_yticks(range(len(names)), names, fontsize=9)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    target = io.BytesIO()
    figure.savefig(target, format="svg", metadata={"Date": None})
    return target.getvalue()


def write_report(output: Path, result: dict[str, Any]) -> None:
    """`screening.md` and `screening.svg`, replaced in one step each."""
    contents = {"screening.md": table(result).encode(), "screening.svg": draw(result)}
    for name, content in contents.items():
        with replacing(output / name, remedy=AGAIN) as draft:
            draft.write_bytes(content)
