"""Metrics that are looked up when Prometheus asks: in the database, at the broker, at the GPU.

Each costs a few index look-ups, whatever the number of scans: of predictions that have ended,
only those of the last hour's uploads are counted.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from django.core.cache import cache
from django.utils import timezone

from predictions import worker
from predictions.ids import first_uuid7
from predictions.models import ACTIVE, ModelVersion, Prediction, Status
from predictions.queueing import Queue, messages_waiting
from predictions.services import drift
from predictions.services.sweeping import SWEPT_KEY
from tumorsite.observability import metrics
from tumorsite.observability.gpu import gpu_memory

ENDED_SINCE = timedelta(hours=1)
MOST_CANDIDATES = 20


def _family(name: str, text: str, labels: tuple[str, ...] = ()) -> Any:
    from prometheus_client.core import GaugeMetricFamily

    return GaugeMetricFamily(name, text, labels=labels)


def counts() -> dict[str, int]:
    """Predictions by status: all that are active, and the last hour's that have ended."""
    since = first_uuid7(timezone.now() - ENDED_SINCE)
    found = {}
    for status in Status:
        rows = Prediction.objects.filter(status=status)
        found[status.value] = (rows if status in ACTIVE else rows.filter(pk__gte=since)).count()
    return found


def oldest_active_seconds() -> float:
    """Age of the upload that has waited longest for its answer, 0 if none waits."""
    oldest = None
    for status in ACTIVE:
        # Ids sort by time, so the first of each status is its oldest.
        row = Prediction.objects.filter(status=status).order_by("id").values_list("queued_at")
        for (queued_at,) in row[:1]:
            oldest = queued_at if oldest is None else min(oldest, queued_at)
    return 0.0 if oldest is None else max(0.0, (timezone.now() - oldest).total_seconds())


def of_predictions() -> Iterator[Any]:
    family = _family(
        "tumorsite_predictions",
        "Predictions by status; those that have ended, of the last hour's uploads.",
        ("status",),
    )
    for status, count in counts().items():
        family.add_metric([status], count)
    yield family
    oldest = _family(
        "tumorsite_oldest_active_job_seconds", "Age of the oldest prediction that has no answer."
    )
    oldest.add_metric([], oldest_active_seconds())
    yield oldest


def of_queues() -> Iterator[Any]:
    """Messages that no worker has taken; absent while the broker is away."""
    family = _family("tumorsite_queue_length", "Messages waiting at the broker.", ("queue",))
    for queue, waiting in zip(Queue, messages_waiting(*Queue), strict=True):
        family.add_metric([queue.value], waiting)
    yield family


def _model_family() -> Any:
    return _family(
        "tumorsite_model_info",
        "Networks: of the web those registered, of a worker the one that is loaded.",
        ("name", "version", "stage"),
    )


def of_models() -> Iterator[Any]:
    family = _model_family()
    stages = ModelVersion.Stage
    known = ModelVersion.objects.only("name", "version", "stage")
    rows = [
        *known.filter(stage=stages.PRODUCTION),
        *known.filter(stage=stages.CANDIDATE)[:MOST_CANDIDATES],
    ]
    for row in {(row.name, row.version, row.stage) for row in rows}:
        family.add_metric(list(row), 1)
    yield family


def of_sweeper() -> Iterator[Any]:
    """Absent until it has gone through once, and while the cache is away."""
    swept = cache.get(SWEPT_KEY)
    if swept is not None:
        family = _family(
            "tumorsite_last_sweep_timestamp_seconds", "When lost jobs were last looked for."
        )
        family.add_metric([], swept)
        yield family


def of_drift() -> Iterator[Any]:
    """Absent while the network in production has not been compared."""
    record = drift.latest()
    if record is not None:
        family = _family(
            "tumorsite_drift_score",
            "Answers of late: 0 like the reference, 1 where the alarm begins.",
        )
        family.add_metric([], record.score)
        yield family


def of_worker() -> Iterator[Any]:
    """The network that answers in this process, and the GPU that it may use."""
    if loaded := worker.loaded_version():
        family = _model_family()
        family.add_metric([loaded.name, loaded.version, "loaded"], 1)
        yield family


def of_gpu() -> Iterator[Any]:
    found = gpu_memory()
    if found:
        family = _family("tumorsite_gpu_memory_bytes", "Memory of this machine's GPUs.", ("kind",))
        for kind, size in found.items():
            family.add_metric([kind], size)
        yield family


def connect() -> None:
    """Register each metric with the parts of the site that show it."""
    for look in (of_predictions, of_queues, of_models, of_sweeper, of_drift):
        metrics.register_collector("web", look)
    for look in (of_worker, of_gpu):
        metrics.register_collector("inference", look)
    metrics.register_collector("training", of_gpu)
