"""A run whose worker and disk are gone goes on elsewhere, from the store, to the same curve."""

from __future__ import annotations

import os
import shutil
import signal
import time
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pytest
from django.core.management import call_command
from django.utils import timezone
from pytest_django import Settings

from mltasks.lazy import tensorflow_module
from mltasks.training.trainer import position
from predictions import storage
from predictions.models import ModelVersion
from tests.support.servers import S3
from tests.support.stores import use_s3
from training import checkpoints, services
from training.models import TrainingRun
from training.tests.test_training_runs import TINY, after_silence, deliver, make_run

pytestmark = pytest.mark.django_db
Status = TrainingRun.Status
TWO = TINY.replace("epochs = 1", "epochs = 2")


class EvictedError(BaseException):
    """The machine is taken away; nothing of ours may catch it."""


@pytest.fixture
def _eagerly() -> Any:
    tensorflow_module().config.run_functions_eagerly(True)  # noqa: FBT003  # positional only
    yield
    tensorflow_module().config.run_functions_eagerly(False)  # noqa: FBT003


def write_state(folder: Path, epoch: int, *, step: int = 0) -> bytes:
    """Something that says how far it is, as a checkpoint does."""
    folder.mkdir(parents=True, exist_ok=True)
    progress = f'{{"epoch": {epoch}, "step": {step}}}'
    with (folder / "state.npz").open("wb") as stream:
        np.savez(stream, progress=progress)
    return (folder / "state.npz").read_bytes()


def keys(run_id: Any) -> set[str]:
    return {key.split("/", 2)[2] for key, _ in storage.walk(f"training/{run_id}/")}


@pytest.mark.usefixtures("_eagerly")
def test_another_machine_goes_on_to_the_same_curve(
    settings: Settings,
    s3_server: S3,
    slices: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    use_s3(settings, s3_server)
    settings.TRAINING_DATA, settings.TRAINING_CHECKPOINT_SECONDS = slices, 0
    settings.DATA_DIR = tmp_path / "first"
    whole = deliver(make_run(recipe_text=TWO))
    assert whole.status == Status.SUCCEEDED, whole.message
    assert keys(whole.pk) == set(), "nobody goes on from what has ended"

    run = make_run(recipe_text=TWO)
    usual = services.note

    def note(*, run: TrainingRun, **values: Any) -> None:
        usual(run=run, **values)
        if str(values.get("progress", "")).startswith("epoch 2/2"):
            raise EvictedError

    monkeypatch.setattr(services, "note", note)
    with pytest.raises(EvictedError):
        deliver(run)
    monkeypatch.setattr(services, "note", usual)
    run.refresh_from_db()
    assert (run.status, len(run.history)) == (Status.RUNNING, 1)
    assert "000001/SHA256SUMS" in keys(run.pk)
    shutil.rmtree(settings.DATA_DIR)
    settings.DATA_DIR = tmp_path / "second"
    # The sweeper gives it to a worker that has never heard of it.
    run = deliver(after_silence(run))
    assert (run.status, run.attempt) == (Status.SUCCEEDED, 2), run.message
    assert [row["epoch"] for row in run.history] == [1, 2]
    for mine, theirs in zip(run.history, whole.history, strict=True):
        assert mine == pytest.approx(theirs, abs=1e-4)
    assert keys(run.pk) == set()


@pytest.mark.usefixtures("_eagerly")
def test_a_network_that_was_registered_is_not_trained_a_second_time(
    settings: Settings, slices: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.TRAINING_DATA, settings.DATA_DIR = slices, tmp_path / "first"
    run = make_run(recipe_text=TINY)
    usual = services.note

    def note(*, run: TrainingRun, **values: Any) -> None:
        # Registered, and dead before the row says so.
        if "candidate" in values:
            raise EvictedError
        usual(run=run, **values)

    monkeypatch.setattr(services, "note", note)
    with pytest.raises(EvictedError):
        deliver(run)
    monkeypatch.setattr(services, "note", usual)
    shutil.rmtree(settings.DATA_DIR)
    run = deliver(after_silence(run))
    assert run.status == Status.SUCCEEDED, run.message
    assert run.candidate == ModelVersion.objects.get()
    assert not (settings.DATA_DIR / "training" / str(run.pk)).exists()


@pytest.mark.usefixtures("object_store")
class TestCopies:
    def test_the_last_two_are_kept(self, tmp_path: Path) -> None:
        run_id = uuid4()
        for epoch in (1, 2, 3):
            write_state(tmp_path / "here", epoch)
            checkpoints.keep(run_id=run_id, folder=tmp_path / "here")
        assert {key.split("/")[0] for key in keys(run_id)} == {"000002", "000003"}
        assert checkpoints.fetch(run_id=run_id, folder=tmp_path / "there")
        assert position(tmp_path / "there") == (3, 0)
        assert not checkpoints.fetch(run_id=run_id, folder=tmp_path / "there"), "it is there"

    @pytest.mark.parametrize("name", ["state.npz", "SHA256SUMS"])
    def test_a_damaged_one_is_passed_over(self, name: str, tmp_path: Path) -> None:
        run_id = uuid4()
        for epoch in (1, 2):
            write_state(tmp_path / "here", epoch)
            checkpoints.keep(run_id=run_id, folder=tmp_path / "here")
        key = f"training/{run_id}/000002/{name}"
        content = storage.get(key)
        storage.delete(key)
        # Of a list, no text is left.
        storage.put(key, bytes([content[0] ^ 0xFF]) + content[1:])
        assert checkpoints.fetch(run_id=run_id, folder=tmp_path / "there")
        assert position(tmp_path / "there") == (1, 0)

    def test_what_is_half_sent_is_not_there(self, tmp_path: Path) -> None:
        run_id = uuid4()
        content = write_state(tmp_path / "here", 1)
        storage.put(f"training/{run_id}/000001/state.npz", content)
        assert not checkpoints.fetch(run_id=run_id, folder=tmp_path / "there")
        assert not (tmp_path / "there").exists()
        # It does not stand in the next one's way, and goes with it.
        checkpoints.keep(run_id=run_id, folder=tmp_path / "here")
        assert {key.split("/")[0] for key in keys(run_id)} == {"000002"}

    def test_a_disk_that_is_further_is_left_alone(self, tmp_path: Path) -> None:
        run_id = uuid4()
        write_state(tmp_path / "here", 1)
        checkpoints.keep(run_id=run_id, folder=tmp_path / "here")
        write_state(tmp_path / "here", 1, step=5)
        assert not checkpoints.fetch(run_id=run_id, folder=tmp_path / "here")
        (tmp_path / "here" / "state.npz").write_bytes(b"cut")
        assert checkpoints.fetch(run_id=run_id, folder=tmp_path / "here")

    def test_those_that_nobody_needs_are_removed(self, tmp_path: Path) -> None:
        write_state(tmp_path, 1)
        over, going = (
            make_run(status=Status.SUCCEEDED, digest="a" * 64),
            make_run(status=Status.RUNNING),
        )
        for pk in (over.pk, going.pk, uuid4()):
            checkpoints.keep(run_id=pk, folder=tmp_path)
        assert checkpoints.tidy() == 2
        assert keys(going.pk)
        assert not keys(over.pk)


def test_folders_of_runs_that_ended_long_ago_leave_the_disk(
    settings: Settings, tmp_path: Path
) -> None:
    settings.DATA_DIR, settings.TRAINING_DATASET, settings.TRAINING_DATA = tmp_path, "", None
    now = timezone.now()
    long_ago = now - checkpoints.PATIENCE - timedelta(hours=1)
    ended = {"status": Status.SUCCEEDED, "digest": "a" * 64}
    gone = [
        make_run(**ended, finished_at=long_ago).pk,
        make_run(status=Status.FAILED, finished_at=long_ago).pk,
        uuid4(),
    ]
    kept = [
        make_run(**ended, finished_at=now).pk,
        make_run(status=Status.CANCELLED, finished_at=now).pk,
        make_run(status=Status.RUNNING).pk,
        "data",
    ]
    for name in (*gone, *kept):
        (tmp_path / "training" / str(name) / "model").mkdir(parents=True)
    # Whoever follows the next run looks first, also if nothing comes of it.
    assert deliver(make_run()).status == Status.FAILED
    assert {one.name for one in (tmp_path / "training").iterdir()} == {str(one) for one in kept}


def test_a_store_that_is_away_does_not_end_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def away(*_: Any) -> None:
        raise storage.StorageUnavailableError("away")

    write_state(tmp_path, 1)
    monkeypatch.setattr(storage, "put", away)
    checkpoints.CheckpointUploader(uuid4(), alive=lambda: None)(tmp_path)
    assert "was not copied" in caplog.text


def test_a_worker_that_is_told_to_end_gives_its_run_back(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As a node that is taken away tells every pod; another one begins with what it left."""

    def evicted(run: TrainingRun) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(10)

    monkeypatch.setattr("training.runner.follow", evicted)
    before = signal.getsignal(signal.SIGTERM)
    run = make_run()
    with pytest.raises(SystemExit) as ended:
        call_command("training", "work")
    assert ended.value.code == 128 + signal.SIGTERM
    assert signal.getsignal(signal.SIGTERM) is before
    run.refresh_from_db()
    assert (run.status, run.claimed_by) == (Status.QUEUED, "")
    monkeypatch.setattr("training.runner.follow", lambda run: services.cancel(run=run))
    call_command("training", "work")
    assert "Cancelled." in capsys.readouterr().out


def test_only_who_holds_a_run_gives_it_back() -> None:
    run = make_run()
    services.claim(run_id=run.pk, task_id="other")
    assert not services.give_back(run_id=run.pk, task_id="mine")
    assert services.give_back(run_id=run.pk, task_id="other")
    assert not services.give_back(run_id=run.pk, task_id="other")


@pytest.mark.parametrize("lives", [True, False])
def test_a_run_that_somebody_may_hold_is_waited_for(
    lives: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its worker was killed, and the sweeper sees that after a silence; or it is at work."""
    run = make_run()
    assert services.claim(run_id=run.pk, task_id="other")

    def later(_: float) -> None:
        beat = timezone.now() if lives else timezone.now() - 2 * services.SILENCE
        TrainingRun.objects.filter(pk=run.pk).update(heartbeat_at=beat)

    monkeypatch.setattr(time, "sleep", later)
    monkeypatch.setattr("training.runner.follow", lambda run: services.cancel(run=run))
    call_command("training", "work")
    run.refresh_from_db()
    assert run.status == (Status.RUNNING if lives else Status.CANCELLED)
    assert ("Others follow every run." in capsys.readouterr().out) == lives
