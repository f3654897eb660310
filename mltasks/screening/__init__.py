"""Screening experiments: what each change of the training pictures is good for."""

from mltasks.screening.plan import Plan, PlanError, read_plan
from mltasks.screening.report import models_table, write_report
from mltasks.screening.runs import screen, try_models

__all__ = ["Plan", "PlanError", "models_table", "read_plan", "screen", "try_models", "write_report"]
