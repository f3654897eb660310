"""Where a training run stands, in words and figures for its page."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from predictions.models import ModelVersion
from training.models import TrainingRun

# Names of the figures of each epoch, in the order in which the table has them.
FIGURES = {
    "classes": "Class loss",
    "mask": "Mask loss",
    "brain": "Loss of the picture detector",
    "watched_loss": "Watched slices: loss",
    "watched_accuracy": "Watched slices: accuracy",
}


@dataclass(frozen=True, slots=True)
class Epoch:
    number: int
    figures: list[float]


@dataclass(frozen=True, slots=True)
class Stand:
    """One run, for people.

    Attributes:
        percent: of the run that is done, 0 to 100.
        left: time until the last epoch ends, in words; empty if nobody knows.
        accuracy, dice: on the held-out fold, with their intervals as they were measured.
        verdict: what the gate has said, in words.
        columns, epochs: the curves as a table.
    """

    run: TrainingRun
    percent: int
    left: str
    accuracy: dict[str, Any] | None
    dice: dict[str, Any] | None
    verdict: str
    columns: list[str]
    epochs: list[Epoch]

    @property
    def candidate(self) -> ModelVersion | None:
        return self.run.candidate


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


def stand(run: TrainingRun) -> Stand:
    named = [name for name in FIGURES if any(name in row for row in run.history)]
    return Stand(
        run=run,
        percent=round(100 * run.share),
        left=time_left(run.seconds_left),
        accuracy=run.metrics.get("accuracy"),
        dice=run.metrics.get("dice"),
        verdict="" if run.candidate is None else run.candidate.gate_words(),
        columns=[FIGURES[name] for name in named],
        epochs=[
            Epoch(int(row["epoch"]), [row[name] for name in named if name in row])
            for row in run.history
        ],
    )
