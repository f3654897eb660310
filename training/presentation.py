"""Where a training run stands, in words and figures for its page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mltasks import gate
from mltasks.training.curves import PANELS
from training.models import TrainingRun


@dataclass(frozen=True, slots=True)
class Epoch:
    number: int
    figures: list[float]


@dataclass(frozen=True, slots=True)
class RunView:
    """One run, for people.

    Attributes:
        percent: of the run that is done, 0 to 100.
        left: time until the last epoch ends, in words; empty if nobody knows.
        accuracy, dice: on the held-out fold, with their intervals as they were measured.
        verdict: what the gate has said, in words.
        gate: its rows and what is known of each, under the questions that it asks.
        columns, epochs: the curves as a table.
    """

    run: TrainingRun
    percent: int
    left: str
    accuracy: dict[str, Any] | None
    dice: dict[str, Any] | None
    verdict: str
    gate: list[tuple[str, list[tuple[Mapping[str, Any], str]]]]
    columns: list[str]
    epochs: list[Epoch]


def time_left(seconds: float | None) -> str:
    """Roughly how long, as one says it."""
    if seconds is None:
        return ""
    if seconds < 90:
        return "about a minute"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"about {minutes} minutes"
    return f"about {round(minutes / 60)} hours"


def _asked(
    rows: Sequence[Mapping[str, Any]],
) -> list[tuple[str, list[tuple[Mapping[str, Any], str]]]]:
    return [
        (heading, [(row, gate.bound_words(row)) for row in those])
        for heading, those in gate.blocks(rows)
    ]


def run_view(run: TrainingRun) -> RunView:
    shown = [(title, name) for title, name in PANELS if any(name in row for row in run.history)]
    return RunView(
        run=run,
        percent=round(100 * run.share),
        left=time_left(run.seconds_left),
        accuracy=run.metrics.get("accuracy"),
        dice=run.metrics.get("dice"),
        verdict="" if run.candidate is None else run.candidate.gate_words(),
        gate=[] if run.candidate is None else _asked((run.candidate.gate or {}).get("rows", [])),
        columns=[title for title, _ in shown],
        epochs=[
            Epoch(int(row["epoch"]), [row[name] for _, name in shown if name in row])
            for row in run.history
        ],
    )
