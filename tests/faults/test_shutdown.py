"""The end of a worker as a cluster brings it about: what it holds is finished, or given back."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.faults.test_faults import assert_answered_once, large
from tests.support.http import Browser
from tests.support.processes import Process, assert_ends, wait_until
from tests.support.site import Site

pytestmark = [pytest.mark.faults, pytest.mark.timeout(240, func_only=True)]

Start = Callable[[str, float], Process]


@pytest.fixture
def cluster_worker(site: Site, tmp_path: Path) -> Iterator[Start]:
    """Starts a worker with the chart's settings in the place of the site's own one."""
    started: list[Process] = []

    def start(app: str, soft: float) -> Process:
        env = {**site.env, "REMAP_SIGTERM": "SIGQUIT", "SOFT_SHUTDOWN_SECONDS": str(soft)}
        worker = site.inference_worker(app, tmp_path / "cluster.log", "cluster", env)
        started.append(worker)
        worker.start()
        return worker

    site.worker.kill()
    yield start
    for worker in started:
        worker.kill()


def test_what_ends_within_the_soft_shutdown_is_finished(site: Site, cluster_worker: Start) -> None:
    worker = cluster_worker("tumorsite", 60)
    ids = Browser(site.url).submit(*(large(seed) for seed in range(4)))
    child = site.caught_running(ids, worker)
    held = [pk for pk in ids if site.status(pk) == "running"]
    worker.terminate()
    time.sleep(1)
    assert worker.code is None, worker.text()[-2000:]
    child.resume()
    assert_ends(worker, seconds=20)
    rows = site.predictions()
    assert {(rows[pk]["status"], rows[pk]["attempt"]) for pk in held} <= {
        ("succeeded", 1),
        ("rejected", 1),
    }
    site.worker.start()
    site.wait_for(ids)
    # Those that it did not hold waited for the next worker, and nobody has lost an attempt.
    assert {site.predictions()[pk]["attempt"] for pk in ids} == {1}
    assert_answered_once(site, ids)


def test_what_does_not_is_given_back_and_answered_by_another(
    site: Site, cluster_worker: Start
) -> None:
    worker = cluster_worker("tests.support.slow_worker", 1)
    ids = Browser(site.url).submit(large(0))
    wait_until(lambda: site.status(ids[0]) == "running", seconds=30, what="the run to begin")
    worker.terminate()
    assert_ends(worker, seconds=20)
    assert site.status(ids[0]) == "running"
    site.worker.start()
    site.wait_for(ids)
    assert site.predictions()[ids[0]]["attempt"] == 2
    # By the message that came back, long before the sweeper would find the run silent.
    assert f"prediction {ids[0]} goes to another attempt" in site.worker.text()
    assert_answered_once(site, ids)
