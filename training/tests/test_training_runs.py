"""Training runs: asked for, taken, watched, stopped, taken up again; and a real one."""

from __future__ import annotations

import re
import uuid
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from celery.exceptions import SoftTimeLimitExceeded
from django.contrib.auth.models import Permission
from django.db import OperationalError
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from pytest_django import DjangoCaptureOnCommitCallbacks, Settings

from accounts.models import User
from mltasks.lazy import tensorflow_module
from mltasks.training import RecipeError
from predictions.models import ModelVersion
from predictions.storage import StorageUnavailableError
from training import services, tasks
from training.models import TrainingRun

pytestmark = [pytest.mark.data_layer, pytest.mark.django_db]
Status = TrainingRun.Status
TINY = """
[network]
size = 32
repeats = [1, 1, 1, 1, 1, 1, 1]
[training]
epochs = 1
pretrained = false
frozen_blocks = 5
[data]
drawn = 16
drawn_held_out = 16
"""


def make_run(**values: Any) -> TrainingRun:
    return TrainingRun.objects.create(**{"recipe": "tiny-1", "recipe_text": TINY, **values})


def deliver(run: TrainingRun, task_id: str = "task-1") -> TrainingRun:
    """Run the task as a worker would on one message."""
    tasks.train.push_request(id=task_id, called_directly=False)
    try:
        tasks.train.run(str(run.pk))
    finally:
        tasks.train.pop_request()
    run.refresh_from_db()
    return run


def after_silence(run: TrainingRun) -> TrainingRun:
    """What the sweeper makes of a run whose worker is gone."""
    long_ago = timezone.now() - services.SILENCE - timedelta(minutes=1)
    TrainingRun.objects.filter(pk=run.pk).update(heartbeat_at=long_ago)
    services.sweep()
    run.refresh_from_db()
    return run


def test_a_request_keeps_the_recipe_as_it_is_and_sends_one_message(
    sent: list[Any], django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        run = services.request_run(recipe="tumorsite-2")
    assert sent == [(str(run.pk),)]
    assert run.status == Status.QUEUED
    assert "lesions" in run.recipe_text


def test_a_recipe_nobody_wrote_is_refused() -> None:
    with pytest.raises(RecipeError, match=r"there is no '\.\./secrets' in recipes/"):
        services.request_run(recipe="../secrets")
    assert not TrainingRun.objects.exists()


def test_one_worker_takes_a_run() -> None:
    run = make_run()
    first = services.claim(run_id=run.pk, task_id="a")
    assert first is not None
    assert first.attempt == 1
    assert services.claim(run_id=run.pk, task_id="b") is None


def test_a_message_that_comes_again_leaves_a_living_worker_its_run() -> None:
    run = make_run()
    first = services.claim(run_id=run.pk, task_id="a")
    assert first is not None
    # The broker waits for minutes, training takes hours.
    assert services.claim(run_id=run.pk, task_id="a") is None
    services.note(run=first, share=0.5)


def test_what_a_silent_worker_has_begun_goes_on_elsewhere(sent: list[Any]) -> None:
    run = make_run()
    dead = services.claim(run_id=run.pk, task_id="a")
    assert dead is not None
    again = after_silence(run)
    assert again.status == Status.QUEUED
    taken = services.claim(run_id=run.pk, task_id="b")
    assert taken is not None
    assert taken.attempt == 2
    with pytest.raises(services.RunStoppedError):
        services.note(run=dead, share=0.6)


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (SoftTimeLimitExceeded(), "It took more than 24 h"),
        (KeyError("accuracy"), r"A fault of the program \(KeyError\)"),
        (StorageUnavailableError("away"), "The store does not answer"),
        (ValueError("no slices"), "no slices"),
    ],
)
def test_a_run_ends_with_a_reason(
    fault: Exception, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(run: TrainingRun) -> None:
        raise fault

    monkeypatch.setattr("training.runner.follow", fails)
    run = deliver(make_run())
    assert run.status == Status.FAILED
    assert re.search(words, run.message)


def test_a_database_that_is_away_leaves_the_run_to_the_sweeper(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fails(run: TrainingRun) -> None:
        raise OperationalError("gone")

    monkeypatch.setattr("training.runner.follow", fails)
    run = make_run()
    with pytest.raises(OperationalError):
        deliver(run)
    run.refresh_from_db()
    assert run.status == Status.RUNNING


def test_a_run_that_kills_its_workers_is_given_up() -> None:
    run = make_run()
    for _ in range(services.MAX_DEATHS):
        assert services.claim(run_id=run.pk, task_id="a")
        after_silence(run)
    assert services.claim(run_id=run.pk, task_id="a") is None
    run.refresh_from_db()
    assert run.status == Status.FAILED
    assert "workers died" in run.message


def test_a_run_that_is_given_back_often_is_not_given_up() -> None:
    """Evicted workers have not died over it."""
    run = make_run()
    for _ in range(services.MAX_DEATHS + 1):
        assert services.claim(run_id=run.pk, task_id="a")
        assert services.give_back(run_id=run.pk, task_id="a")
    taken = services.claim(run_id=run.pk, task_id="a")
    assert taken is not None
    assert (taken.attempt, taken.deaths) == (services.MAX_DEATHS + 2, 0)


def test_a_worker_notices_that_its_run_was_stopped_or_taken_over() -> None:
    run = services.claim(run_id=make_run().pk, task_id="a")
    assert run is not None
    services.note(run=run, share=0.5)
    assert services.cancel(run=TrainingRun.objects.get(pk=run.pk))
    with pytest.raises(services.RunStoppedError):
        services.note(run=run, share=0.6)
    assert not services.finish(run=run, digest="a" * 64, metrics={})
    run.refresh_from_db()
    assert (run.status, run.share) == (Status.CANCELLED, 0.5)
    assert not services.cancel(run=run)


def test_a_stopped_run_is_taken_up_again(
    sent: list[Any], django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
) -> None:
    run = make_run(status=Status.FAILED, attempt=3, deaths=2, message="The disk is full.")
    with django_capture_on_commit_callbacks(execute=True):
        assert services.resume(run=run)
    run.refresh_from_db()
    # Who held it before it ended must not take it for its own.
    assert (run.status, run.attempt, run.deaths, run.message) == (Status.QUEUED, 3, 0, "")
    assert sent == [(str(run.pk),)]
    assert not services.resume(run=run)


def test_the_sweeper_frees_silent_runs_and_sends_what_was_lost(
    sent: list[Any], django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
) -> None:
    now = timezone.now()
    silent = make_run(
        status=Status.RUNNING, attempt=1, claimed_by="a", heartbeat_at=now - timedelta(hours=1)
    )
    alive = make_run(status=Status.RUNNING, attempt=1, claimed_by="b", heartbeat_at=now)
    TrainingRun.objects.update(queued_at=now - timedelta(hours=2))
    with django_capture_on_commit_callbacks(execute=True):
        services.sweep()
    silent.refresh_from_db()
    alive.refresh_from_db()
    assert (silent.status, alive.status) == (Status.QUEUED, Status.RUNNING)
    assert sent == [(str(silent.pk),)]


def test_a_worker_without_data_says_so(settings: Settings) -> None:
    settings.TRAINING_DATA = None
    run = deliver(make_run())
    assert run.status == Status.FAILED
    assert "set TRAINING_DATA" in run.message


def test_a_message_for_a_run_that_is_gone_does_no_harm() -> None:
    deliver_to = TrainingRun(pk=uuid.uuid4())
    tasks.train.push_request(id="a", called_directly=False)
    tasks.train.run(str(deliver_to.pk))
    tasks.train.pop_request()


def test_a_real_run_leaves_a_network_and_its_figures(
    client: Client, settings: Settings, slices: Path, tmp_path: Path
) -> None:
    settings.TRAINING_DATA, settings.DATA_DIR = slices, tmp_path
    tensorflow_module().config.run_functions_eagerly(True)  # noqa: FBT003  # positional only
    try:
        run = deliver(make_run())
    finally:
        tensorflow_module().config.run_functions_eagerly(False)  # noqa: FBT003
    assert run.status == Status.SUCCEEDED, run.message
    folder = services.folder_of(run.pk) / "model"
    assert (folder / "model.onnx").is_file()
    assert len(run.digest) == 64
    assert [row["epoch"] for row in run.history] == [1]
    assert 0 <= run.metrics["accuracy"]["value"] <= 1
    assert run.share == 1.0
    assert "<svg" in run.curves
    candidate = ModelVersion.objects.get(digest=run.digest)
    assert (str(candidate), candidate.stage) == ("tiny 1", ModelVersion.Stage.CANDIDATE)
    assert run.candidate == candidate
    assert not (folder / "checkpoints").exists()
    client.force_login(User.objects.create_superuser("root@example.org", "a long password"))
    assert client.get(reverse("training_run", args=[run.pk])).status_code == 200
    page = client.get(reverse("training_card", args=[run.pk])).content.decode()
    for words in ("# tiny 1", "Written by `manage.py train`", "8 of these groups also served"):
        assert words in page


class TestAdmin:
    @pytest.fixture
    def staff(self, client: Client) -> Client:
        user = User.objects.create_superuser("admin@example.org", "secret")
        client.force_login(user)
        return client

    def test_starts_a_run(
        self,
        staff: Client,
        sent: list[Any],
        django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
    ) -> None:
        address = reverse("admin:training_trainingrun_add")
        assert "tumorsite-2" in staff.get(address).content.decode()
        with django_capture_on_commit_callbacks(execute=True):
            staff.post(address, {"recipe": "tumorsite-2"})
        run = TrainingRun.objects.get()
        assert run.started_by is not None
        assert sent == [(str(run.pk),)]

    def test_shows_how_far_it_is_and_its_curves(self, staff: Client) -> None:
        history = [{"epoch": 1, "classes": 0.5}]
        run = make_run(status=Status.RUNNING, share=0.25, history=history, curves="<svg></svg>")
        listed = staff.get(reverse("admin:training_trainingrun_changelist")).content.decode()
        assert "25%" in listed
        page = staff.get(reverse("admin:training_trainingrun_change", args=[run.pk]))
        address = reverse("training_curves", args=[run.pk])
        assert address in page.content.decode()
        assert b"<svg" in staff.get(address).content

    def test_cancels_and_goes_on(self, staff: Client, sent: list[Any]) -> None:
        run = make_run()
        address = reverse("admin:training_trainingrun_changelist")
        for action, status in (
            ("cancel_runs", Status.CANCELLED),
            ("resume_runs", Status.QUEUED),
        ):
            staff.post(address, {"action": action, "_selected_action": [str(run.pk)]})
            run.refresh_from_db()
            assert run.status == status

    def test_is_closed_to_staff_without_the_right(self, client: Client) -> None:
        user = User.objects.create_user("staff@example.org", "secret", is_staff=True)
        client.force_login(user)
        run = make_run(history=[{"epoch": 1, "classes": 0.5}], curves="<svg></svg>")
        for address in (
            reverse("admin:training_trainingrun_changelist"),
            reverse("admin:training_trainingrun_add"),
        ):
            assert client.get(address).status_code == 403
        curves = reverse("training_curves", args=[run.pk])
        assert client.get(curves).status_code == 404
        user.user_permissions.add(Permission.objects.get(codename="view_trainingrun"))
        assert client.get(reverse("admin:training_trainingrun_changelist")).status_code == 200
        # Whoever sees its page in the admin sees the picture in it.
        page = client.get(reverse("admin:training_trainingrun_change", args=[run.pk]))
        assert curves in page.content.decode()
        assert client.get(curves).status_code == 200
        assert client.get(reverse("admin:training_trainingrun_add")).status_code == 403
