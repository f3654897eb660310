"""The analysis task: what it does with answers, faults and messages that come again."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from signal import SIGCONT, SIGSTOP
from types import SimpleNamespace
from typing import Any

import pytest
from celery.exceptions import SoftTimeLimitExceeded
from celery.signals import worker_shutting_down
from django.db import OperationalError
from pytest_django import Settings

from mltasks.images import Pixels
from mltasks.inference import Analysis
from predictions import batches, queueing, storage, tasks, worker
from predictions.models import ModelVersion, Prediction, Scan, Status
from predictions.services import lifecycle
from predictions.services.deletion import delete_scans
from predictions.serving import Loaded
from predictions.tasks import analyze_prediction
from predictions.telemetry import BatchTimer
from tests.settings import TEST_VALKEY
from tests.support.pictures import png
from tests.support.records import analysis, make_model, rejection, start, submit

pytestmark = [pytest.mark.data_layer, pytest.mark.django_db]


class Network:
    """Answers by the picture's width, and keeps what it was asked."""

    def __init__(self) -> None:
        self.passes: list[int] = []
        self.fault: Callable[[Sequence[Pixels]], None] = lambda images: None

    def prepare(self, image: Pixels) -> Pixels:
        return image

    def forward(self, images: Sequence[Pixels]) -> None:
        self.passes.append(len(images))
        self.fault(images)

    def finding(self, image: Pixels, outputs: None, index: int) -> Analysis:
        if image.shape[1] == 99:
            return rejection()
        return analysis(width=image.shape[1], height=30)


@pytest.fixture
def network(model: ModelVersion, monkeypatch: pytest.MonkeyPatch) -> Network:
    network = Network()
    monkeypatch.setattr(worker, "next_network", lambda: loaded(network, model))
    return network


def loaded(network: Network, version: ModelVersion) -> Loaded:
    return Loaded(network, version)  # type: ignore[arg-type]  # it does as much as is asked of it


def deliver(row: Prediction, *, task_id: str = "task-1", redelivered: bool = False) -> None:
    """Run the task as a worker would on one message."""
    analyze_prediction.push_request(
        id=task_id, delivery_info={"redelivered": redelivered}, called_directly=False
    )
    try:
        analyze_prediction.run(str(row.pk))
    finally:
        analyze_prediction.pop_request()


def in_mid_pass(monkeypatch: pytest.MonkeyPatch, happens: Callable[[], object]) -> None:
    """Have something happen in the task's thread while the network computes a pass."""
    end = batches._BatchLoop._start_saving

    def first(work: Any, *arguments: Any) -> Any:
        happens()
        return end(work, *arguments)

    monkeypatch.setattr(batches._BatchLoop, "_start_saving", first)


def status(*rows: Prediction) -> list[str]:
    found = dict(Prediction.objects.values_list("pk", "status"))
    return [found[row.pk] for row in rows]


def test_one_message_answers_all_that_wait_in_one_pass(network: Network) -> None:
    waiting = [submit(seed=n) for n in range(3)]
    deliver(waiting[1])
    assert network.passes == [3]
    assert status(*waiting) == [Status.SUCCEEDED] * 3


def test_a_pass_takes_no_more_than_it_may(network: Network, settings: Settings) -> None:
    settings.INFERENCE_BATCH = 2
    waiting = [submit(seed=n) for n in range(5)]
    for row in waiting:
        deliver(row)
    assert network.passes[:2] == [2, 2]
    assert status(*waiting) == [Status.SUCCEEDED] * 5


def test_a_worker_that_is_to_stop_ends_its_pass_and_leaves_the_rest_to_others(
    network: Network, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.INFERENCE_BATCH = 1
    rows = [submit(seed=n) for n in range(4)]
    monkeypatch.setattr(worker, "_stopping", bytearray(1))

    def told_to_stop() -> None:
        worker_shutting_down.send(sender="inference@test", sig="TERM", how="Warm", exitcode=0)

    in_mid_pass(monkeypatch, told_to_stop)
    deliver(rows[0])
    # What was claimed is answered, each once; the rest waits as it did before.
    assert status(*rows) == [Status.SUCCEEDED] * 2 + [Status.QUEUED] * 2
    assert [row.attempt for row in Prediction.objects.order_by("id")] == [1, 1, 0, 0]


def test_a_message_that_comes_twice_changes_nothing(network: Network) -> None:
    row = submit()
    deliver(row)
    before = Prediction.objects.values().get(pk=row.pk)
    deliver(row)
    deliver(row, redelivered=True)
    assert Prediction.objects.values().get(pk=row.pk) == before


def test_a_refused_picture_harms_no_other(network: Network) -> None:
    other, photo = submit(seed=1), submit(content=png(99, 30))
    deliver(other)
    assert status(other, photo) == [Status.SUCCEEDED, Status.REJECTED]


def test_a_message_that_comes_again_frees_what_its_dead_worker_held(network: Network) -> None:
    one, two = submit(seed=1), submit(seed=2)
    for row in (one, two):
        start(row, task="died")
    deliver(one, task_id="died", redelivered=True)
    assert status(one) == [Status.SUCCEEDED]
    assert Prediction.objects.get(pk=one.pk).attempt == 2
    # The other was tried before as well, so it had a pass of its own.
    assert status(two) == [Status.SUCCEEDED]
    assert network.passes[-2:] == [1, 1]


def test_only_a_message_that_comes_again_frees_rows(network: Network) -> None:
    """The first delivery knows of no dead worker."""
    row = submit()
    start(row, task="alive")
    deliver(row, task_id="alive")
    assert (status(row), network.passes) == ([Status.RUNNING], [])


@pytest.mark.parametrize("error", [SoftTimeLimitExceeded, MemoryError, RuntimeError])
def test_a_pass_that_breaks_off_goes_to_another_attempt(
    network: Network, error: type[Exception]
) -> None:
    rows = [submit(seed=n) for n in range(2)]

    def fault(images: Sequence[Pixels]) -> None:
        raise error

    network.fault = fault
    deliver(rows[0])
    assert status(*rows) == [Status.QUEUED] * 2
    network.fault = lambda images: None
    for row in rows:
        deliver(row)
    assert network.passes == [2, 1, 1]
    assert status(*rows) == [Status.SUCCEEDED] * 2


def test_a_picture_that_always_breaks_the_pass_fails_alone(
    network: Network, settings: Settings
) -> None:
    settings.MAX_ATTEMPTS = 2
    good, bad = submit(seed=1), submit(content=png(77, 30))

    def fault(images: Sequence[Pixels]) -> None:
        if any(image.shape[1] == 77 for image in images):
            raise RuntimeError

    network.fault = fault
    for row in (good, good, bad):
        deliver(row)
    assert status(good, bad) == [Status.SUCCEEDED, Status.FAILED]
    assert Prediction.objects.get(pk=bad.pk).message == lifecycle.CRASHED


def refuse(*args: Any, **kwargs: Any) -> Any:
    raise storage.StorageUnavailableError


def locked(*args: Any, **kwargs: Any) -> Any:
    raise OperationalError("database is locked")


@pytest.mark.parametrize(
    ("where", "fault"),
    [
        ("predictions.storage.stream", refuse),
        ("predictions.storage.put", refuse),
        ("predictions.services.lifecycle.complete", locked),
        ("predictions.services.lifecycle.complete", refuse),
    ],
)
def test_an_outage_is_waited_out_and_does_not_count(
    network: Network, monkeypatch: pytest.MonkeyPatch, where: str, fault: Callable[..., Any]
) -> None:
    row = submit()
    with monkeypatch.context() as patch:
        patch.setattr(where, fault)
        deliver(row)
    stored = Prediction.objects.get(pk=row.pk)
    assert (stored.status, stored.attempt, stored.outages) == (Status.QUEUED, 1, 1)
    assert stored.not_before is not None
    Prediction.objects.update(not_before=None)
    deliver(row)
    assert status(row) == [Status.SUCCEEDED]


def test_a_store_that_hangs_is_away_and_not_the_pictures_fault(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [submit(seed=n) for n in range(2)]
    answer, read = threading.Event(), storage.stream

    def hanging(key: str) -> Any:
        if key == rows[0].scan.image_key:
            answer.wait(60)
        return read(key)

    with monkeypatch.context() as patch:
        patch.setattr(storage, "stream", hanging)
        # The task's own limit must not strike first.
        patch.setattr(batches, "LAST_READ", 0.2)
        deliver(rows[0])
    answer.set()
    stored = Prediction.objects.get(pk=rows[0].pk)
    assert (stored.status, stored.attempt, stored.outages) == (Status.QUEUED, 1, 1)
    assert status(rows[1]) == [Status.SUCCEEDED]


def test_the_next_pictures_are_taken_while_a_pass_runs_but_none_tried_before(
    network: Network, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.INFERENCE_BATCH = 2
    tried, *fresh = [submit(seed=n) for n in range(6)]
    lifecycle.requeue(prediction=start(tried))
    held: list[list[int]] = []

    def look() -> None:
        running = Prediction.objects.filter(status=Status.RUNNING)
        held.append(sorted(running.values_list("attempt", flat=True)))

    in_mid_pass(monkeypatch, look)
    deliver(fresh[0])
    assert status(tried, *fresh) == [Status.SUCCEEDED] * 6
    # The pass at work and the next.
    assert max(len(attempts) for attempts in held) > 2
    assert [attempts for attempts in held if 2 in attempts] == [[2]]


def test_a_picture_that_was_tried_before_has_the_worker_to_itself(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Should it kill the worker, no other row is held by it."""
    tried, other = submit(seed=1), submit(seed=2)
    lifecycle.requeue(prediction=start(tried))
    held: list[list[str]] = []
    in_mid_pass(monkeypatch, lambda: held.append(status(tried, other)))
    deliver(tried)
    assert held[0] == [Status.RUNNING, Status.QUEUED]
    assert status(tried, other) == [Status.SUCCEEDED] * 2


def test_a_task_that_has_little_time_left_leaves_the_rest_to_others(
    network: Network, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.INFERENCE_BATCH = 1
    rows = [submit(seed=n) for n in range(2)]
    monkeypatch.setattr(batches, "LAST_CLAIM", 0)
    deliver(rows[0])
    assert status(*rows) == [Status.SUCCEEDED, Status.QUEUED]
    assert network.passes == [1]


def test_an_answer_that_comes_too_late_is_not_counted(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    late, other = submit(seed=1), submit(seed=2)
    counted: list[object] = []
    monkeypatch.setattr(BatchTimer, "answered", lambda timer, row, version: counted.append(row.pk))
    in_mid_pass(
        monkeypatch,
        lambda: lifecycle.cancel(prediction=Prediction.objects.get(pk=late.pk)),
    )
    deliver(late)
    assert status(late, other) == [Status.CANCELLED, Status.SUCCEEDED]
    assert counted == [other.pk]


@pytest.mark.parametrize("inside", [True, False])
def test_a_connection_is_closed_unless_a_transaction_of_others_is_on_it(
    monkeypatch: pytest.MonkeyPatch, inside: bool
) -> None:
    closed: list[bool] = []
    link = SimpleNamespace(in_atomic_block=inside, close=lambda: closed.append(True))
    monkeypatch.setattr(queueing, "connection", link)
    analyze_prediction.on_failure(SoftTimeLimitExceeded(), "task-1", (), {}, None)
    assert closed == [True] * (not inside)


def test_work_that_breaks_off_lets_go_of_the_connection_before_all_else(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A transaction may be open in it, which would hold its lock for ever."""
    row = submit()
    found: list[str] = []
    monkeypatch.setattr(batches, "drop_connection", lambda: found.extend(status(row)))

    def fault(images: Sequence[Pixels]) -> None:
        raise SoftTimeLimitExceeded

    network.fault = fault
    deliver(row)
    assert found == [Status.RUNNING]
    assert status(row) == [Status.QUEUED]


def test_a_pass_is_answered_by_the_network_its_rows_were_claimed_for(
    network: Network, model: ModelVersion, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A newer one takes its place between two passes of the same task."""
    settings.INFERENCE_BATCH = 1
    newer, later = make_model(stage=ModelVersion.Stage.CANDIDATE, version="2"), Network()
    rows = [submit(seed=n) for n in range(3)]
    Prediction.objects.filter(pk=rows[2].pk).update(model_version=newer)
    asked = iter([loaded(network, model)] * 2)
    monkeypatch.setattr(worker, "next_network", lambda: next(asked, loaded(later, newer)))
    deliver(rows[0])
    assert (network.passes, later.passes) == ([1, 1], [1])
    assert status(*rows) == [Status.SUCCEEDED] * 3


def test_an_outage_of_the_database_in_mid_pass_is_one_too(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = submit()
    with monkeypatch.context() as patch:
        patch.setattr(batches._BatchLoop, "_start_forward", locked)
        deliver(row)
    assert Prediction.objects.get(pk=row.pk).outages == 1


@pytest.mark.parametrize("harm", ["gone", "not a picture"])
def test_a_picture_that_cannot_be_read_fails_alone(network: Network, harm: str) -> None:
    lost, other = submit(seed=1), submit(seed=2)
    storage.delete(lost.scan.image_key)
    if harm != "gone":
        storage.put(lost.scan.image_key, b"broken")
    deliver(lost)
    assert status(lost, other) == [Status.FAILED, Status.SUCCEEDED]
    stored = Prediction.objects.get(pk=lost.pk)
    assert (stored.error_code, "upload it again" in stored.message) == ("image_lost", True)


def test_a_fault_that_nobody_foresaw_is_another_attempt(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = submit()

    def odd(key: str) -> None:
        raise ArithmeticError

    with monkeypatch.context() as patch:
        patch.setattr(storage, "stream", odd)
        deliver(row)
    stored = Prediction.objects.get(pk=row.pk)
    assert (stored.status, stored.attempt, stored.outages) == (Status.QUEUED, 1, 0)


def test_a_scan_deleted_in_mid_run_keeps_nothing(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = submit()
    before = {name for name, _ in storage.walk("scans/")}
    in_mid_pass(monkeypatch, lambda: delete_scans(scans=Scan.objects.all()))
    deliver(row)
    assert status(row) == [Status.CANCELLED]
    assert {name for name, _ in storage.walk("scans/")} == before


def test_the_scheduled_tasks_do_their_service(
    model: ModelVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    for module, name in (
        ("sweeping", "sweep"),
        ("deletion", "erase_deleted"),
        ("sweeping", "check_orphans"),
        ("sweeping", "expire_anonymous"),
        ("sweeping", "expire_accesses"),
    ):
        monkeypatch.setattr(
            f"predictions.services.{module}.{name}", lambda name=name: done.append(name)
        )
        getattr(tasks, name).run()
    assert done == [
        "sweep", "erase_deleted", "check_orphans", "expire_anonymous", "expire_accesses",
    ]  # fmt: skip


def test_a_broker_that_hangs_holds_nobody_up(
    django_capture_on_commit_callbacks: Callable[..., Any],
) -> None:
    """The sweeper sends what was not sent."""
    tasks.sweep.delay()
    gave_up = threading.Event()

    def free() -> None:
        gave_up.set()
        TEST_VALKEY.signal(SIGCONT)

    # Half of what an attempt took with the workers' patience.
    timer = threading.Timer(10, free)
    TEST_VALKEY.signal(SIGSTOP)
    timer.start()
    try:
        for _ in range(2):
            with django_capture_on_commit_callbacks(execute=True):
                tasks.sweep.delay_on_commit()
        assert not gave_up.is_set()
    finally:
        timer.cancel()
        TEST_VALKEY.signal(SIGCONT)
    tasks.sweep.delay()
