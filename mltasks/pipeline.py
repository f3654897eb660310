"""The steps of a training run, in order: data, training, calibration, evaluation, model folder."""

from __future__ import annotations

import importlib.metadata
import platform
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mltasks import detector, evaluation, fitting, model_card, release, seen
from mltasks.data import (
    DataError,
    Record,
    Sample,
    data_digest,
    load_samples,
    masks_digest,
    read_manifest,
    unnamed_tumors,
)
from mltasks.evaluation.measuring import described
from mltasks.folds import check_classes, learnt_from, set_aside, split
from mltasks.inference import load_analyzer, read_model
from mltasks.lazy import tensorflow_module
from mltasks.manifest import MANIFEST
from mltasks.negatives import HOLDOUT, Named, held_out_pictures, learning_pictures
from mltasks.preprocessing import Pixels
from mltasks.progress import silent
from mltasks.release import CHECKPOINTS
from mltasks.training import Progress, Recipe, Run
from mltasks.training.curves import write_history
from mltasks.training.loop import Saved, Watch
from mltasks.training.tracking import Tracker
from mltasks.training.trainer import CHECKPOINT, start_folder

Report = Callable[[str], None]
# Every so many slices is used to fit the detector: they differ less than the other pictures do.
_REFIT_STEP = 3
_LIBRARIES = ("tensorflow", "tensorflow-cpu", "keras", "onnx", "onnxruntime", "numpy", "pillow")


@dataclass(frozen=True, slots=True)
class TrainingRequest:
    """What a run works on and leaves behind; `manage.py train` describes the fields."""

    recipe: Recipe
    data: Path
    output: Path
    negatives: Path | None = None
    threads: int = 0
    resume: bool = False
    # Where the recipe's own number was replaced by it; kept in the card's command.
    epochs: int | None = None
    tracking_uri: str = ""
    # What the site calls the run; kept in the card.
    run: str = ""


@dataclass(frozen=True, slots=True)
class _Data:
    """All that a run reads, before hours of training: what is missing is said now.

    Attributes:
        records: of all of the data.
        learnt, watched, held_out: slices of its parts.
        others: pictures that are no brain MRI, with their source, to learn from.
        held_out_others: such pictures to measure on; their files are looked for now and read once,
            when measured.
        masks: see `masks_digest`.
        start: the card of the network to begin with, if there is one.
        attribution: what the network is made from.
    """

    records: list[Record]
    learnt: list[Sample]
    watched: list[Sample]
    held_out: list[Sample]
    others: Named
    held_out_others: Iterable[tuple[str, Pixels]]
    masks: str
    start: dict[str, Any] | None
    attribution: list[str]


def train_model(
    request: TrainingRequest, *, watch: Watch, report: Report, saved: Saved = silent
) -> dict[str, Any]:
    """Train, calibrate, evaluate and write the model folder; returns its card.

    Args:
        watch: told of the progress after every step; what it raises breaks the run off, which
            `resume` takes up again after the last checkpoint.
        report: gets a line at each stage.
        saved: told of the folder of checkpoints whenever one in it is new and whole.

    Raises:
        DataError, ModelError, ValueError: data, libraries, output or checkpoint are not as needed.
        OSError: the disk is full; the last checkpoint is whole.
    """
    _check_output(request)
    data = _read(request)
    report(f"{len(data.learnt)} slices, {len(data.others)} other pictures")
    if unnamed := unnamed_tumors(request.data):
        report(f"tumours of no stated kind, left out: {unnamed}")
    _limit_threads(request.threads)
    weights, history = _trained(request, data, watch=watch, report=report, saved=saved)
    content = release.export_weights(request.recipe.training.network, weights)
    card = _card(request, data, content, history)
    report(f"calibrating on {len(data.held_out)} slices of fold {request.recipe.data.fold}")
    extras = fitting.complete(
        card,
        content,
        learnt=[sample.pixels for sample in data.learnt[:: fitting.REFERENCE_STEP]],
        held_out=data.held_out,
        others=[pixels for _, pixels in data.others],
        threads=request.threads,
        report=report,
    )
    report("evaluating")
    card["metrics"] = _measured(request, data, card, content, extras)
    extras[release.MODEL_CARD_NAME] = model_card.text(card).encode()
    release.write_model(request.output, card, content, extras)
    write_history(request.output, history)
    return card


def _check_output(request: TrainingRequest) -> None:
    release.recover(request.output)
    release.check_output(request.output)
    checkpoint = request.output / CHECKPOINTS / CHECKPOINT
    if checkpoint.exists() and not request.resume:
        raise DataError(
            f"{checkpoint} is of an earlier run: go on after it with --resume, or remove it to "
            "train anew"
        )


def _read(request: TrainingRequest) -> _Data:
    config, wanted = request.recipe.training, request.recipe.data
    records = read_manifest(request.data)
    learnt, held_out = split(records, wanted.fold)
    learnt, watched = set_aside(learnt, wanted.watch)
    if wanted.watch and not watched:
        raise DataError(
            f"no group of {request.data / MANIFEST} falls into the share of {wanted.watch:g} "
            "that is to be watched: raise [data] watch, or set it to 0 to watch nothing"
        )
    check_classes(request.data, learnt, "to learn from")
    check_classes(request.data, held_out, f"in fold {wanted.fold}, which is held out")
    start = None
    if config.start:
        start, _, _ = read_model(start_folder(config))
        release.check_unseen(start, records, wanted.fold)
    return _Data(
        records=records,
        attribution=_attribution(request, records),
        learnt=load_samples(request.data, learnt),
        watched=load_samples(request.data, watched),
        others=learning_pictures(wanted, request.negatives),
        held_out=load_samples(request.data, held_out),
        masks=masks_digest(request.data, records),
        held_out_others=held_out_pictures(
            None if request.negatives is None else request.negatives / HOLDOUT,
            count=wanted.drawn_held_out,
        ),
        start=start,
    )


def _limit_threads(count: int) -> None:
    """Before TensorFlow starts any."""
    if count:
        threading = tensorflow_module().config.threading
        threading.set_intra_op_parallelism_threads(count)
        threading.set_inter_op_parallelism_threads(count)


def _trained(
    request: TrainingRequest, data: _Data, *, watch: Watch, report: Report, saved: Saved
) -> tuple[dict[str, Any], list[dict[str, float]]]:
    """The weights, with the detector fitted to them, and a row for each epoch."""
    config = request.recipe.training
    others = [pixels for _, pixels in data.others]
    run = Run(
        config,
        data.learnt,
        others,
        request.output / CHECKPOINTS,
        watched=data.watched,
        learnt_from=learnt_from(request.recipe.data, data.learnt, data.watched, data.others),
        saved=saved,
    )
    if request.resume and run.resume():
        _check_version(run, request.recipe.name, request.output / CHECKPOINTS)
        report(f"resumed after {len(run.history)} whole epochs")
    run.trainer.progress["recipe"] = request.recipe.name
    weights = _tracked(run, request, watch)
    report("fitting the detector of other pictures")
    weights = detector.refit(
        config.network, weights, data.learnt[::_REFIT_STEP], others, seed=config.seed
    )
    return weights, run.history


def _card(
    request: TrainingRequest, data: _Data, content: bytes, history: list[dict[str, float]]
) -> dict[str, Any]:
    """The draft of the model's card, with what it was made from and how."""
    config, wanted = request.recipe.training, request.recipe.data
    card = release.draft_card(
        config.network, content, name=request.recipe.name, attribution=data.attribution
    )
    learnt_or_watched = [sample.record for sample in (*data.learnt, *data.watched)]
    card["training"] = {
        "command": _command(request),
        "config": config.as_dict(),
        "data": asdict(wanted),
        "data_digest": data_digest(data.records),
        "held_out_digest": data_digest([sample.record for sample in data.held_out]),
        "masks_digest": data.masks,
        **seen.for_card(learnt_or_watched, data.start),
        "slices": len(data.learnt),
        "other_pictures": {"drawn": wanted.drawn, "real": len(data.others) - wanted.drawn},
        "history": history,
        "libraries": _versions(),
        **({"run": request.run} if request.run else {}),
    }
    return card


def _measured(
    request: TrainingRequest,
    data: _Data,
    card: dict[str, Any],
    content: bytes,
    extras: dict[str, bytes],
) -> dict[str, Any]:
    """What the card states of the network's errors."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "model"
        release.write_model(folder, card, content, extras)
        results = evaluation.run(load_analyzer(folder), data.held_out)
        fates = evaluation.refusals(load_analyzer(folder), data.held_out_others)
    fold = request.recipe.data.fold
    held_out = [sample.record for sample in data.held_out]
    return {
        "validation": evaluation.summary(results) | {"fold": fold},
        "other_pictures": evaluation.refusal_summary(fates),
        "data": described(card, request.data, held_out, fold),
    }


def _check_version(run: Run, recipe: str, checkpoint: Path) -> None:
    """Refuse to go on under another name, though all that determines the run is the same.

    Raises:
        DataError: names both; a checkpoint of earlier code does not state its recipe.
    """
    begun = run.trainer.progress.get("recipe", recipe)
    if begun != recipe:
        raise DataError(
            f"{checkpoint} is of a run of {begun}, not of {recipe}: give another --output, or go "
            f"on with {begun} (more epochs with --epochs)"
        )


def _attribution(request: TrainingRequest, records: list[Record]) -> list[str]:
    """What the network is made from: images, and the weights it begins with."""
    config = request.recipe.training
    lines = release.data_sources(request.data, records)
    if config.start:
        lines += release.inherited(start_folder(config))
    elif config.pretrained:
        lines.append(release.IMAGENET)
    return list(dict.fromkeys(lines))


def _tracked(run: Run, request: TrainingRequest, watch: Watch) -> dict[str, Any]:
    """The run's weights; its curves are drawn after each epoch, its figures go to MLflow."""
    tracker = Tracker(request.tracking_uri, request.recipe.name)
    tracker.parameters(request.recipe.training.as_dict())
    drawn = len(run.history)

    def seen(progress: Progress) -> None:
        nonlocal drawn
        tracker.epochs(progress.history)
        if len(progress.history) > drawn:
            drawn = len(progress.history)
            write_history(request.output / CHECKPOINTS, progress.history)
        watch(progress)

    try:
        weights = run.go(seen)
    except BaseException:
        tracker.failed()
        raise
    # The last epoch ends after the last step, of which `seen` is told.
    tracker.epochs(run.history)
    write_history(request.output / CHECKPOINTS, run.history)
    tracker.result(request.output / CHECKPOINTS, ("history.csv", "curves.svg"))
    return weights


def _command(request: TrainingRequest) -> str:
    """The command that repeats the run, with placeholders for the folders."""
    given = " --negatives NEGATIVES" if request.negatives is not None else ""
    if request.epochs is not None:
        given += f" --epochs {request.epochs}"
    return f"python manage.py train {request.recipe.name} --data DATA --output MODEL{given}"


def _versions() -> dict[str, str]:
    versions = {"python": platform.python_version()}
    for name in _LIBRARIES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions
