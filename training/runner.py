"""One run from its claim to its end: data, training, registration, gate, release.

Each part leaves a mark, so that a worker that takes the run over begins where the last one ended:
the data has its digest, training its checkpoints, the network names the run in its card, and the
gate's verdict names the network that it was held against.
"""

from __future__ import annotations

import time
import tomllib
from collections.abc import Callable
from pathlib import Path
from shutil import rmtree
from typing import Any

from django.conf import settings

from mltasks import pipeline
from mltasks.data import DataError
from mltasks.engines import ModelError
from mltasks.gate import GateError
from mltasks.training import Progress, Recipe, parse_recipe
from mltasks.training.curves import draw_curves
from predictions.models import ModelVersion
from predictions.services import gate, registry
from predictions.services.notifying import notify
from training import checkpoints, data, services
from training.models import TrainingRun

# Seconds between two notes of progress in the row.
_NOTE_EVERY = 2.0
POLICY = "the release policy"


def follow(run: TrainingRun) -> None:
    """Follow a claimed run to its end.

    Raises:
        services.RunStoppedError: it is no longer this worker's.
        predictions.storage.StorageUnavailableError: the store does not answer; go on later.
        ValueError, ModelError, OSError: nothing comes of it; the message says why.
    """
    checkpoints.tidy_disk()
    recipe = parse_recipe(tomllib.loads(run.recipe_text), name=run.recipe)
    report = _patient(lambda line: services.note(run=run, progress=line[:200]))
    folder = data.obtain(
        run, report=report, save_digest=lambda digest: services.note(run=run, dataset=digest)
    )
    version = run.candidate or _find_registered(run) or _train(run, recipe, folder)
    services.note(run=run, candidate=version)
    message = _compare(run, version, comparing_on=(folder, recipe.data.fold), report=report)
    stated = version.card["metrics"]["validation"]
    ended = services.finish(
        run=run,
        digest=version.digest,
        metrics=_in_short(stated),
        message=message or _release(version),
    )
    if ended:
        checkpoints.remove(run.pk)
        rmtree(_output(run) / pipeline.CHECKPOINTS, ignore_errors=True)


def _in_short(stated: dict[str, Any]) -> dict[str, Any]:
    """The figures that a run shows; of areas only where the held-out fold has masks."""
    dice = stated["dice"]["median"]
    return {"accuracy": stated["accuracy"]} | ({} if dice["value"] is None else {"dice": dice})


def _output(run: TrainingRun) -> Path:
    return services.folder_of(run.pk) / "model"


def _patient(report: Callable[[str], Any]) -> Callable[[str], None]:
    """Passes on not more than a line every few seconds."""
    last = 0.0

    def now_and_then(line: str) -> None:
        nonlocal last
        if time.monotonic() - last >= _NOTE_EVERY:
            report(line)
            last = time.monotonic()

    return now_and_then


def _find_registered(run: TrainingRun) -> ModelVersion | None:
    """The network that a worker registered before it died."""
    return ModelVersion.objects.filter(card__training__run=str(run.pk)).first()


def _train(run: TrainingRun, recipe: Recipe, folder: Path) -> ModelVersion:
    noted = 0.0

    def watch(progress: Progress) -> None:
        nonlocal noted
        if len(progress.history) > len(run.history):
            _note_history(run, progress.history)
        if time.monotonic() - noted >= _NOTE_EVERY or progress.step == progress.steps:
            services.note(
                run=run,
                share=progress.share,
                progress=progress.sentence()[:200],
                seconds_left=progress.seconds_left,
            )
            noted = time.monotonic()

    output = _output(run)
    services.note(run=run, progress="looking for a checkpoint to go on from")
    checkpoints.fetch(run_id=run.pk, folder=output / pipeline.CHECKPOINTS)
    request = pipeline.TrainingRequest(
        recipe=recipe,
        data=folder,
        output=output,
        negatives=settings.TRAINING_NEGATIVES,
        resume=True,
        tracking_uri=settings.MLFLOW_TRACKING_URI,
        run=str(run.pk),
    )
    card = pipeline.train_model(
        request,
        watch=watch,
        report=lambda line: services.note(run=run, progress=line[:200]),
        saved=checkpoints.CheckpointUploader(run.pk, alive=lambda: services.note(run=run)),
    )
    _note_history(run, card["training"]["history"])
    services.note(run=run, progress="storing the network", seconds_left=None)
    return registry.register(folder=output, by=run.started_by, actor=f"training run {run.pk}")


def _note_history(run: TrainingRun, history: list[dict[str, float]]) -> None:
    run.history = list(history)
    services.note(run=run, history=run.history, curves=draw_curves(run.history).decode())


def _compare(
    run: TrainingRun,
    version: ModelVersion,
    *,
    comparing_on: tuple[Path, int],
    report: Callable[[str], None],
) -> str:
    """Hold the network against the one in production; why that cannot be, if so."""
    production = registry.in_production()
    if production is None or production == version:
        return ""
    if version.gate is not None and version.gate.get("against_id") == production.pk:
        return ""
    services.note(run=run, progress=f"comparing with {production}, which is in production"[:200])
    try:
        gate.compare(
            candidate=version,
            data=gate.held_out(*comparing_on),
            by=run.started_by,
            actor=f"training run {run.pk}",
            say=report,
        )
    except (GateError, DataError, ModelError, registry.ReleaseError) as error:
        return f"Not compared with {production}: {error}"
    return ""


def _release(version: ModelVersion) -> str:
    """Put a network that has passed into production, if that is the policy; why not, if so."""
    if settings.RELEASE_POLICY != "automatic" or version.stage != ModelVersion.Stage.CANDIDATE:
        return ""
    try:
        registry.promote(version=version, actor=POLICY)
    except (registry.ReleaseError, ModelError) as error:
        return f"Not released: {error}"
    notify(
        title=f"TumorSite: {version} is in production",
        body=f"{version} has passed the gate and was put into production on "
        f"{settings.SITE_URL}, as RELEASE_POLICY says.\n\nTo go back:\n"
        "    python manage.py model rollback",
    )
    return ""
