"""Honest figures: what users would be shown, against the experts, with intervals by group."""

from mltasks.evaluation.bootstrap import proportion_interval
from mltasks.evaluation.figures import refusal_summary, summary
from mltasks.evaluation.results import Results, dice_score, refusals, run

__all__ = [
    "Results",
    "dice_score",
    "proportion_interval",
    "refusal_summary",
    "refusals",
    "run",
    "summary",
]
