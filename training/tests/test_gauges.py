"""What the metrics say of training runs."""

from __future__ import annotations

from uuid import uuid4

import pytest

from training import gauges, services
from training.models import TrainingRun
from tumorsite.observability import metrics

pytestmark = [pytest.mark.django_db, pytest.mark.data_layer]


def counted() -> dict[str, float]:
    (family,) = gauges.of_runs()
    return {sample.labels["status"]: sample.value for sample in family.samples}


def test_a_run_waits_until_a_worker_has_it() -> None:
    assert counted() == {"queued": 0, "running": 0}
    run = services.request_run(recipe="tumorsite-5")
    services.request_run(recipe="tumorsite-5")
    assert counted() == {"queued": 2, "running": 0}
    claimed = services.claim(run_id=run.pk, task_id=str(uuid4()))
    assert claimed is not None
    assert counted() == {"queued": 1, "running": 1}
    services.fail(run=claimed, message="for a test")
    services.cancel(run=TrainingRun.objects.get(status="queued"))
    assert counted() == {"queued": 0, "running": 0}


def test_the_web_shows_them() -> None:
    assert gauges.of_runs in metrics.gauges_of("web")
