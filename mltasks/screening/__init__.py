"""Screening experiments: what each change of the training pictures is good for."""

from mltasks.screening.plan import Plan, PlanError, read_plan
from mltasks.screening.report import write_report
from mltasks.screening.runs import screen

__all__ = ["Plan", "PlanError", "read_plan", "screen", "write_report"]
