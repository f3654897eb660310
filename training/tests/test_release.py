"""What becomes of a trained network: registered, judged, released if that is the policy."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pytest_django import Settings

from mltasks.tests.conftest import write_data
from predictions.models import ModelEvent, ModelVersion
from predictions.services import registry
from tests.support.mailbox import Mailbox, open_mailbox, text_of
from tests.support.networks import Weights, fitted, mixed_up, onnx_bytes, write_network
from training import runner, services
from training.models import TrainingRun
from training.tests.test_training_runs import deliver, make_run

pytestmark = pytest.mark.django_db
Status, Stage = TrainingRun.Status, ModelVersion.Stage
RECIPE = "[data]\nfold = 1\n"
Trained = Callable[..., TrainingRun]


@pytest.fixture(scope="module")
def held_out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("held-out") / "data", 44)


@pytest.fixture(scope="module")
def good(held_out: Path) -> Weights:
    return fitted(held_out)


@pytest.fixture
def mailbox(settings: Settings) -> Iterator[Mailbox]:
    with open_mailbox() as box:
        settings.NOTIFY_URLS = [box.address]
        yield box


@pytest.fixture
def trained(settings: Settings, held_out: Path, tmp_path: Path, good: Weights) -> Trained:
    """Takes a run up that a worker had registered a network for before it died."""
    settings.TRAINING_DATA, settings.DATA_DIR = held_out, tmp_path / "data"

    def make(version: str, *, bad: bool = False) -> TrainingRun:
        run = make_run(recipe=f"drawn-{version}", recipe_text=RECIPE)
        content = onnx_bytes(mixed_up(good), bright=2) if bad else onnx_bytes(good)
        stated = {"accuracy": {"value": 0.9}, "dice": {"median": {"value": 0.8}}}
        folder = write_network(
            tmp_path / version,
            content,
            version=version,
            training={"run": str(run.pk)},
            metrics={"validation": stated},
        )
        registry.register(folder=folder)
        return deliver(run)

    return make


@pytest.fixture
def poor(tmp_path: Path, good: Weights) -> ModelVersion:
    """A network in production that is soon outdone."""
    content = onnx_bytes(mixed_up(good), bright=2)
    version = registry.register(folder=write_network(tmp_path / "poor", content, version="1"))
    return registry.promote(version=version, override="the first")


def test_a_better_network_waits_for_a_person_and_people_are_told(
    trained: Trained, poor: ModelVersion, mailbox: Mailbox
) -> None:
    run = trained("2")
    assert (run.status, run.message) == (Status.SUCCEEDED, "")
    assert run.candidate is not None
    assert (run.candidate.stage, run.candidate.gate_words()) == (
        Stage.CANDIDATE,
        f"passed against {poor}",
    )
    assert registry.in_production() == poor
    assert mailbox.subjects() == ["TumorSite: tumorsite 2 has passed the gate"]
    assert "manage.py model promote 2" in text_of(mailbox.mails[0][1])
    registry.promote(version=run.candidate)


def test_policy_releases_it_and_says_so(
    trained: Trained, poor: ModelVersion, settings: Settings, mailbox: Mailbox
) -> None:
    settings.RELEASE_POLICY = "automatic"
    run = trained("2")
    production = registry.in_production()
    assert production is not None
    assert production == run.candidate != poor
    event = production.events.get(kind=ModelEvent.Kind.PROMOTED)
    assert event.actor == "the release policy"
    assert mailbox.subjects()[-1] == "TumorSite: tumorsite 2 is in production"


def test_policy_does_not_open_the_gate(
    trained: Trained, settings: Settings, mailbox: Mailbox
) -> None:
    settings.RELEASE_POLICY = "automatic"
    # Nothing is in production to compare with, so that a person decides.
    run = trained("1")
    assert "Not released: nothing is in production to compare with" in run.message
    assert run.candidate is not None
    assert registry.in_production() is None
    first = registry.promote(version=run.candidate, override="the first")
    mailbox.mails.clear()
    run = trained("2", bad=True)
    assert run.status == Status.SUCCEEDED
    assert "Not released: tumorsite 2 was refused" in run.message
    assert registry.in_production() == first
    assert mailbox.mails == []


def test_what_is_taken_up_again_is_not_judged_twice(
    trained: Trained, poor: ModelVersion, mailbox: Mailbox
) -> None:
    run = trained("2")
    assert run.candidate is not None
    # Dead after the verdict, before the end of the run.
    TrainingRun.objects.update(status=Status.FAILED, digest="")
    run.refresh_from_db()
    assert services.resume(run=run)
    assert deliver(run).status == Status.SUCCEEDED
    assert run.candidate.events.filter(kind=ModelEvent.Kind.PASSED).count() == 1
    assert len(mailbox.mails) == 1
    assert poor.stage == Stage.PRODUCTION


def test_a_fold_without_masks_has_no_figure_for_areas() -> None:
    accuracy = {"value": 0.9, "ci95": [0.8, 1.0]}
    median = {"value": 0.8, "ci95": [0.7, 0.9]}
    stated: dict[str, Any] = {"accuracy": accuracy, "dice": {"median": median}}
    assert runner._in_short(stated) == {"accuracy": accuracy, "dice": median}
    stated["dice"] = {"median": {"value": None, "ci95": None}}
    assert runner._in_short(stated) == {"accuracy": accuracy}


def test_data_that_does_not_allow_a_verdict_costs_the_verdict_only(
    trained: Trained, poor: ModelVersion, settings: Settings, tmp_path: Path
) -> None:
    settings.TRAINING_DATA = write_data(tmp_path / "few", 6)
    run = trained("2")
    assert run.status == Status.SUCCEEDED
    assert f"Not compared with {poor}" in run.message
    assert run.candidate is not None
    assert run.candidate.gate is None
