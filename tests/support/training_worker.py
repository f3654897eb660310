"""The site's own training worker, but it computes step by step.

The few steps of a test do not repay the half minute in which TensorFlow makes a graph of one.
"""

from __future__ import annotations

from typing import Any

from celery.signals import task_prerun

from tumorsite.celery import app

__all__ = ["app"]


@task_prerun.connect(weak=False)
def _step_by_step(**_: Any) -> None:
    from mltasks.lazy import tensorflow_module

    tensorflow_module().config.run_functions_eagerly(run_eagerly=True)
