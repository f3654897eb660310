"""Two plots for docs/capacity.md."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from simulation.constants import Constants
from simulation.plan import KINDS, SCALES, run_day
from simulation.report import KIND

COLOURS = {"cpu": "#1f5f8b", "spot": "#c46210", "gpu": "#5b8c3a"}


def draw(plan: dict[str, Any], constants: Constants, folder: Path) -> list[Path]:
    import matplotlib as mpl

    mpl.use("svg")
    import matplotlib.pyplot as plt

    mpl.rcParams.update({"svg.hashsalt": "tumorsite", "font.size": 9, "figure.figsize": (7, 3.2)})

    figure, axes = plt.subplots()
    for shift, name in zip((0.85, 1.0, 1.18), KINDS, strict=True):
        rows = [plan["scenarios"][str(scans)][name]["figures"] for scans in SCALES]
        places = [scans * shift for scans in SCALES]
        middle = [row["answer_p50"][0] for row in rows]
        for key, mark in (("answer_p50", "o"), ("answer_p95", "s"), ("answer_p99", "^")):
            label = f"{KIND[name]}, {key[-3:]}" if key == "answer_p99" else None
            axes.plot(places, [row[key][0] for row in rows], mark, color=COLOURS[name], label=label)
        axes.vlines(places, middle, [row["answer_p99"][0] for row in rows], color=COLOURS[name])
    axes.set(
        xscale="log", yscale="log", xlabel="scans a day", ylabel="seconds from upload to answer",
        title="p50 (circle), p95 (square) and p99 (triangle)",
    )  # fmt: skip
    axes.legend(frameon=False, fontsize=8)
    made = [_save(figure, folder / "capacity-answers.svg")]

    figure, axes = plt.subplots()
    scans = SCALES[1]
    for name in ("cpu", "gpu"):
        ticks = np.array(run_day(scans, name, 1, constants)[0].ticks)
        minutes = ticks[: len(ticks) // 20 * 20].reshape(-1, 20, 4)
        axes.plot(
            minutes[:, 0, 0] / 3600, minutes[:, :, 1].max(axis=1),
            color=COLOURS[name], linewidth=0.8, label=KIND[name],
        )  # fmt: skip
    axes.set(
        xlabel="hour of the day", ylabel="scans that wait (most in 5 minutes)", yscale="symlog",
        title=f"A day of {scans:,} scans: what a cold start of a GPU node costs",
    )  # fmt: skip
    axes.legend(frameon=False, fontsize=8)
    return [*made, _save(figure, folder / "capacity-day.svg")]


def _save(figure: Any, file: Path) -> Path:
    figure.tight_layout()
    figure.savefig(file, metadata={"Date": None, "Creator": None})
    return file
