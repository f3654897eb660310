"""How a worker comes to its network, and how it follows the one in production."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from django.core.cache import cache
from django.test import Client

from predictions import serving, storage, tasks, worker
from predictions.models import ModelVersion, Prediction, Status
from predictions.services import artifacts, registry
from predictions.services.submission import run_again
from tests.support.networks import onnx_bytes, write_network
from tests.support.pictures import mri_png
from tests.support.records import submit

pytestmark = pytest.mark.django_db

Release = Callable[..., ModelVersion]


def network(label: int) -> bytes:
    """A network that gives every picture the same label."""
    weights = np.zeros((64, 4), np.float32)
    weights[:, label] = -0.01 if label else 0.01
    return onnx_bytes(weights)


@pytest.fixture
def release(tmp_path: Path) -> Release:
    """Registers a network that runs, and puts it into production."""

    def released(version: str, *, promote: bool = True) -> ModelVersion:
        content = network(int(version) % 4)
        folder = write_network(tmp_path / f"network-{version}", content, version=version)
        row = registry.register(folder=folder)
        return registry.promote(version=row, override="a test") if promote else row

    return released


@pytest.fixture
def process(monkeypatch: pytest.MonkeyPatch) -> serving.Serving:
    """The network of a worker process that has just started, without its watcher."""
    one = serving.Serving()
    monkeypatch.setattr(worker, "_serving", one)
    return one


def answer(row: Prediction) -> Prediction:
    """Run the task on a row's message, as Celery would."""
    worker._serving.task_started()
    task = tasks.analyze_prediction
    task.push_request(id=f"task-{row.pk}", delivery_info={}, called_directly=False)
    try:
        task.run(str(row.pk))
    finally:
        task.pop_request()
        worker._serving.task_finished()
    return Prediction.objects.select_related("model_version").get(pk=row.pk)


def upload(seed: int) -> Prediction:
    return submit(content=mri_png(seed=seed))


def answered_by(row: Prediction) -> tuple[str, str]:
    row = Prediction.objects.select_related("model_version").get(pk=row.pk)
    return row.status, str(row.model_version)


class TestFollowing:
    def test_the_production_network_answers(
        self, process: serving.Serving, release: Release
    ) -> None:
        release("1")
        process.start()
        assert answered_by(answer(upload(1))) == ("succeeded", "tumorsite 1")

    def test_a_promoted_one_takes_over_between_passes(
        self, process: serving.Serving, release: Release
    ) -> None:
        release("1")
        process.start()
        before, waiting = upload(1), upload(2)
        release("2")
        # Not loaded yet: the present one answers, under its own name, whoever is in production.
        rows = [answer(before), answer(waiting), answer(upload(3))]
        assert {answered_by(row) for row in rows} == {("succeeded", "tumorsite 1")}
        process.poll()
        assert str(process.present.version) == "tumorsite 2"
        assert answered_by(answer(upload(4))) == ("succeeded", "tumorsite 2")
        # Old results stay as they were.
        assert answered_by(before) == ("succeeded", "tumorsite 1")

    def test_nothing_is_swapped_in_mid_pass(
        self, process: serving.Serving, release: Release
    ) -> None:
        release("1")
        process.start()
        process.task_started()
        one = process.next().version
        release("2")
        process.poll()
        assert process.present.version == one
        assert str(process.next().version) == "tumorsite 2", "the next pass of the same task"
        process.task_finished()

    def test_queued_rows_go_with_it(self, process: serving.Serving, release: Release) -> None:
        release("1")
        process.start()
        rows = [upload(seed) for seed in range(3)]
        release("2")
        process.poll()
        assert {answered_by(row) for row in rows} == {("queued", "tumorsite 2")}
        answer(rows[0])
        assert {answered_by(row) for row in rows} == {("succeeded", "tumorsite 2")}

    def test_a_second_run_waits_for_its_own_network(
        self, process: serving.Serving, release: Release, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The present one has answered this scan already, so it is not given the row."""
        release("1")
        process.start()
        first = answer(upload(1))
        release("2")
        again = run_again(prediction=first)
        answer(again)
        assert answered_by(again) == ("queued", "tumorsite 2")
        sent: list[Any] = []
        monkeypatch.setattr(serving.lifecycle, "enqueue", sent.append)
        process.poll()
        assert sent == [again.pk], "its message was used up, so it gets another"
        answer(again)
        assert answered_by(again) == ("succeeded", "tumorsite 2")

    def test_one_rolled_back_before_it_answered_never_answers(
        self, process: serving.Serving, release: Release
    ) -> None:
        release("1")
        process.start()
        process.task_started()
        row = upload(1)
        release("2")
        process.poll()
        late = upload(2)
        registry.rollback()
        assert str(process.next().version) == "tumorsite 1"
        assert answered_by(row) == ("queued", "tumorsite 1")
        process.task_finished()
        assert str(process.present.version) == "tumorsite 1"
        process.poll()
        assert process._next is None, "its memory is free again"
        assert answered_by(late) == ("queued", "tumorsite 1"), "it waits for nobody now"
        assert answered_by(answer(row)) == ("succeeded", "tumorsite 1")

    def test_one_rolled_back_while_it_is_loaded_never_answers(
        self, process: serving.Serving, release: Release, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        release("1")
        process.start()
        release("2")
        load = serving.load

        def slow(version: ModelVersion) -> serving.Loaded:
            registry.rollback()
            return load(version)

        monkeypatch.setattr(serving, "load", slow)
        process.poll()
        assert str(process.present.version) == "tumorsite 1"

    def test_back_to_the_one_before(self, process: serving.Serving, release: Release) -> None:
        release("1")
        release("2")
        process.start()
        registry.rollback()
        process.poll()
        assert answered_by(answer(upload(1))) == ("succeeded", "tumorsite 1")


class TestOneThatCannotBeLoaded:
    @pytest.fixture
    def broken(self, process: serving.Serving, release: Release) -> ModelVersion:
        """Promoted, and then its file is damaged in the store."""
        release("1")
        process.start()
        version = release("2")
        name = artifacts.key(version.artifact, "model.onnx")
        content = storage.get(name)
        storage.delete(name)
        storage.put(name, content[:-1] + bytes([content[-1] ^ 1]))
        return version

    def test_the_present_one_goes_on_and_says_so_loudly(
        self,
        process: serving.Serving,
        broken: ModelVersion,
        caplog: pytest.LogCaptureFixture,
        client: Client,
    ) -> None:
        process.poll()
        rows = [answer(upload(seed)) for seed in range(3)]
        assert {answered_by(row) for row in rows} == {("succeeded", "tumorsite 1")}
        [record] = [record for record in caplog.records if record.levelname == "CRITICAL"]
        assert "model.onnx in the object store is damaged" in record.getMessage()
        event = broken.events.first()
        assert event is not None
        assert event.kind == "not_loaded"
        [note] = client.get("/health/").json()["notes"]
        assert note == (
            "tumorsite 2 is in production but cannot be loaded; tumorsite 1 answers instead"
        )

    def test_it_is_tried_again_but_not_all_the_time(
        self,
        process: serving.Serving,
        broken: ModelVersion,
        monkeypatch: pytest.MonkeyPatch,
        tmp_path: Path,
    ) -> None:
        process.poll()
        tries: list[ModelVersion] = []
        load = serving.load

        def counted(row: ModelVersion) -> serving.Loaded:
            tries.append(row)
            return load(row)

        monkeypatch.setattr(serving, "load", counted)
        process.poll()
        assert tries == []
        registry.restore(folder=tmp_path / "network-2")
        monkeypatch.setattr(process, "_retry_at", 0.0)
        process.poll()
        assert tries == [broken]
        assert process.present.version == broken
        assert cache.get(serving.FAULT_KEY) is None
        assert broken.events.filter(kind="not_loaded").count() == 1

    def test_after_a_rollback_all_is_well(
        self, process: serving.Serving, broken: ModelVersion
    ) -> None:
        process.poll()
        registry.rollback()
        process.poll()
        assert process._failed is None
        assert answered_by(answer(upload(1))) == ("succeeded", "tumorsite 1")


class TestStart:
    def test_a_child_is_ready_once_its_network_is_warm(
        self,
        process: serving.Serving,
        release: Release,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        release("1")
        watched: list[bool] = []
        monkeypatch.setattr(process, "watch", lambda: watched.append(True))
        monkeypatch.setattr(worker, "_is_inference_node", True)
        worker._after_fork()
        assert watched == [True]
        assert str(worker.next_network().version) == "tumorsite 1"
        assert worker.next_network().analyzer.version == "1"
        assert worker.ready_pid() > 0
        from predictions.control import loaded_model

        here = SimpleNamespace(
            consumer=SimpleNamespace(pool=SimpleNamespace(info={"processes": [worker.ready_pid()]}))
        )
        assert loaded_model(here)["ready"] is True
        here.consumer.pool.info["processes"] = [1]
        assert loaded_model(here)["ready"] is False

    def test_a_child_without_its_network_stops_the_worker(
        self, process: serving.Serving, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        calls: list[object] = []

        class ExitedError(BaseException):
            pass

        def leave(code: int) -> None:
            calls.append(code)
            raise ExitedError

        monkeypatch.setattr(worker, "_is_inference_node", True)
        monkeypatch.setattr(worker.os, "kill", lambda *args: calls.append(args))
        monkeypatch.setattr(worker.os, "_exit", leave)
        with pytest.raises(ExitedError):
            worker._after_fork()
        assert calls == [(worker.os.getppid(), worker.signal.SIGTERM), 1]

    @pytest.fixture
    def refusal(self, monkeypatch: pytest.MonkeyPatch) -> Callable[[], str]:
        """What a worker says that refuses to start."""
        monkeypatch.setattr(worker, "_is_inference_node", False)
        # The test's own transaction must outlive the parent's check.
        monkeypatch.setattr(worker.connections, "close_all", lambda: None)

        def said() -> str:
            with pytest.raises(SystemExit) as end:
                worker._before_fork(sender="inference@here")
            return str(end.value)

        return said

    def test_without_a_network_in_production(self, refusal: Callable[[], str]) -> None:
        assert "cannot start: no network is in production" in refusal()

    def test_with_a_flipped_bit(self, refusal: Callable[[], str], release: Release) -> None:
        version = release("1")
        copy = artifacts.local(version.artifact) / "model.onnx"
        content = bytearray(copy.read_bytes())
        content[100] ^= 1
        copy.write_bytes(content)
        said = refusal()
        assert f"{copy} is damaged" in said
        assert f"remove the folder {copy.parent}" in said

    def test_with_a_model_of_a_newer_format(
        self, refusal: Callable[[], str], release: Release, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """As after the code was taken back to before its network."""
        release("1")
        monkeypatch.setattr("mltasks.inference.FORMAT", 0)
        assert "model.json is of format 1, newer than the 0" in refusal()

    def test_with_a_store_that_lost_it(self, refusal: Callable[[], str], release: Release) -> None:
        artifacts.remove(release("1").artifact)
        assert "SHA256SUMS is missing from the object store: put it back with" in refusal()

    def test_other_workers_need_none(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(worker, "_is_inference_node", True)
        worker._before_fork(sender="general@here")
        assert worker._is_inference_node is False
        worker._after_fork()
        worker._before_task()
        worker._after_task()


def test_a_reassigned_row_that_is_not_claimed_is_given_back(
    process: serving.Serving, release: Release
) -> None:
    release("1")
    process.start()
    row = upload(1)
    two = release("2")
    serving.lifecycle.reassign_queued(to=two)
    process.next()
    assert answered_by(row) == (Status.QUEUED, "tumorsite 1")
    serving.lifecycle.reassign_queued(to=two)
    assert answered_by(row) == (Status.QUEUED, "tumorsite 2")
