"""Metrics of training that are looked up when Prometheus asks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from training.models import TrainingRun
from tumorsite.observability import metrics


def of_runs() -> Iterator[Any]:
    """From the rows: a run's message is back in its queue while it trains, as it lasts so long."""
    from prometheus_client.core import GaugeMetricFamily

    family = GaugeMetricFamily(
        "tumorsite_training_runs", "Training runs that wait or are under way.", labels=("status",)
    )
    for status in TrainingRun.ACTIVE:
        family.add_metric([status], TrainingRun.objects.filter(status=status).count())
    yield family


def connect() -> None:
    """Say which part of the site shows them."""
    metrics.register_collector("web", of_runs)
