"""The steps of a training run, in order: data, training, calibration, evaluation, model folder."""

from __future__ import annotations

import hashlib
import importlib.metadata
import platform
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from mltasks import completion, detector, evaluation, model_card, negatives, release, seen
from mltasks.classes import CLASSES
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
from mltasks.inference import load_analyzer, read_model
from mltasks.lazy import tensorflow_module
from mltasks.manifest import MANIFEST
from mltasks.preprocessing import Pixels
from mltasks.progress import silent
from mltasks.release import CHECKPOINTS
from mltasks.training import DataConfig, Progress, Recipe, Run
from mltasks.training.curves import write_history
from mltasks.training.loop import Saved, Watch
from mltasks.training.tracking import Tracker
from mltasks.training.trainer import CHECKPOINT, start_folder

Report = Callable[[str], None]
Named = list[tuple[str, Pixels]]
# The parts of a folder of other pictures.
TRAIN, HOLDOUT = "train", "holdout"
# Of the pictures drawn for training and, others, for evaluation.
_DRAWN_SEED, _DRAWN_HELD_OUT_SEED = 7, 1007
_USUAL = DataConfig()
DRAWN_HELD_OUT = _USUAL.drawn_held_out
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
    config, wanted = request.recipe.training, request.recipe.data
    release.recover(request.output)
    release.check_output(request.output)
    checkpoint = request.output / CHECKPOINTS / CHECKPOINT
    if checkpoint.exists() and not request.resume:
        raise DataError(
            f"{checkpoint} is of an earlier run: go on after it with --resume, or remove it to "
            "train anew"
        )
    records = read_manifest(request.data)
    learnt, held_out = split(records, wanted.fold)
    learnt, watched = set_aside(learnt, wanted.watch)
    if wanted.watch and not watched:
        raise DataError(
            f"no group of {request.data / MANIFEST} falls into the share of {wanted.watch:g} "
            "that is to be watched: raise [data] watch, or set it to 0 to watch nothing"
        )
    _check_classes(request.data, learnt, "to learn from")
    _check_classes(request.data, held_out, f"in fold {wanted.fold}, which is held out")
    if request.threads:
        threading = tensorflow_module().config.threading
        threading.set_intra_op_parallelism_threads(request.threads)
        threading.set_inter_op_parallelism_threads(request.threads)
    start = None
    if config.start:
        start, _, _ = read_model(start_folder(config))
        release.check_unseen(start, records, wanted.fold)
    attribution = _attribution(request, records)
    samples, watched_samples = (load_samples(request.data, own) for own in (learnt, watched))
    others = learning_pictures(wanted, request.negatives)
    # Read before hours of training, so that what is missing is said now.
    evaluated = load_samples(request.data, held_out)
    masks = masks_digest(request.data, records)
    held_out_others = held_out_pictures(
        None if request.negatives is None else request.negatives / HOLDOUT,
        drawn=wanted.drawn_held_out,
    )
    report(f"{len(samples)} slices, {len(others)} other pictures")
    if unnamed := unnamed_tumors(request.data):
        report(f"tumours of no stated kind, left out: {unnamed}")
    run = Run(
        config,
        samples,
        [pixels for _, pixels in others],
        request.output / CHECKPOINTS,
        watched=watched_samples,
        learnt_from=learnt_from(wanted, samples, watched_samples, others),
        saved=saved,
    )
    if request.resume and run.resume():
        _check_version(run, request.recipe.name, checkpoint)
        report(f"resumed after {len(run.history)} whole epochs")
    run.trainer.progress["recipe"] = request.recipe.name
    weights = _tracked(run, request, watch)
    report("fitting the detector of other pictures")
    weights = detector.refit(
        config.network,
        weights,
        samples[::_REFIT_STEP],
        [pixels for _, pixels in others],
        seed=config.seed,
    )
    content = release.export_weights(config.network, weights)
    card = release.draft_card(
        config.network, content, name=request.recipe.name, attribution=attribution
    )
    card["training"] = {
        "command": _command(request),
        "config": config.as_dict(),
        "data": asdict(wanted),
        "data_digest": data_digest(records),
        "held_out_digest": data_digest(held_out),
        "masks_digest": masks,
        **seen.for_card([*learnt, *watched], start),
        "slices": len(samples),
        "other_pictures": {"drawn": wanted.drawn, "real": len(others) - wanted.drawn},
        "history": run.history,
        "libraries": _versions(),
        **({"run": request.run} if request.run else {}),
    }
    report(f"calibrating on {len(evaluated)} slices of fold {wanted.fold}")
    extras = completion.complete(
        card,
        content,
        learnt=[sample.pixels for sample in samples[:: completion.REFERENCE_STEP]],
        held_out=evaluated,
        others=[pixels for _, pixels in others],
        threads=request.threads,
        report=report,
    )
    report("evaluating")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "model"
        release.write_model(folder, card, content, extras)
        results = evaluation.run(load_analyzer(folder), evaluated)
        fates = evaluation.refusals(load_analyzer(folder), held_out_others)
    card["metrics"] = {
        "validation": evaluation.summary(results) | {"fold": wanted.fold},
        "other_pictures": evaluation.refusal_summary(fates),
        "data": described(card, request.data, held_out, wanted.fold),
    }
    extras[release.MODEL_CARD_NAME] = model_card.text(card).encode()
    release.write_model(request.output, card, content, extras)
    write_history(request.output, run.history)
    return card


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


def learnt_from(
    wanted: DataConfig, samples: Iterable[Sample], watched: Iterable[Sample], others: Named
) -> dict[str, Any]:
    """What a run is determined by beside [network] and [training], by the words for it."""
    settings = {name: own for name, own in asdict(wanted).items() if name != "drawn_held_out"}
    return settings | {
        "slices learnt from": samples_digest(samples),
        "slices watched": samples_digest(watched),
        # Their number says that a folder was forgotten; their pixels may differ by a rounding.
        "other pictures": dict(Counter(source for source, _ in others)),
    }


def samples_digest(samples: Iterable[Sample]) -> str:
    """Names slices in their order, with what the manifest need not say a digest of."""
    digest = hashlib.sha256()
    for sample in samples:
        record = sample.record
        stated = (record.id, record.label, record.plane, record.group, record.sha256)
        digest.update(repr(stated).encode())
        if not record.sha256:
            digest.update(sample.pixels.tobytes())
        if sample.mask is not None:
            digest.update(sample.mask.tobytes())
    return digest.hexdigest()


def _tracked(run: Run, request: TrainingRequest, watch: Watch) -> dict[str, Any]:
    """The run's weights; its curves are drawn after each epoch, its figures go to MLflow."""
    tracker = Tracker(request.tracking_uri, request.recipe.name)
    tracker.parameters(request.recipe.training.as_dict())
    drawn = len(run.history)

    def seen(progress: Progress) -> None:
        nonlocal drawn
        tracker.progress(progress)
        if len(progress.history) > drawn:
            drawn = len(progress.history)
            write_history(request.output / CHECKPOINTS, progress.history)
        watch(progress)

    try:
        weights = run.go(seen)
    except BaseException:
        tracker.failed()
        raise
    write_history(request.output / CHECKPOINTS, run.history)
    tracker.result(
        {k: v for k, v in run.history[-1].items() if k != "epoch"},
        request.output / CHECKPOINTS,
        ("history.csv", "curves.svg"),
    )
    return weights


def _command(request: TrainingRequest) -> str:
    """The command that repeats the run, with placeholders for the folders."""
    given = " --negatives NEGATIVES" if request.negatives is not None else ""
    if request.epochs is not None:
        given += f" --epochs {request.epochs}"
    return f"python manage.py train {request.recipe.name} --data DATA --output MODEL{given}"


def set_aside(records: list[Record], share: float) -> tuple[list[Record], list[Record]]:
    """Split off whole groups with about `share` of the records, by a digest of their names.

    The same groups every time, whatever else is in the data.
    """
    watched = {
        group
        for group in {record.group for record in records}
        if int(hashlib.sha256(group.encode()).hexdigest()[:8], 16) < share * 16**8
    }
    return (
        [record for record in records if record.group not in watched],
        [record for record in records if record.group in watched],
    )


def split(records: list[Record], fold: int) -> tuple[list[Record], list[Record]]:
    """Records to learn from, and those that are held out to calibrate and evaluate on.

    Raises:
        DataError: one of them is empty, or a group lies on both sides.
    """
    learnt = [record for record in records if record.fold != fold]
    held_out = [record for record in records if record.fold == fold]
    if not learnt or not held_out:
        raise DataError(f"the data has no slices inside, or none outside, fold {fold}")
    shared = {r.group for r in learnt} & {r.group for r in held_out}
    if shared:
        raise DataError(f"groups on both sides of fold {fold}: {', '.join(sorted(shared)[:5])}")
    return learnt, held_out


def _check_classes(folder: Path, records: list[Record], where: str) -> None:
    """Refuse a part of the data without all classes: its figures would be of another question.

    Raises:
        DataError: names manifest and class.
    """
    missing = [name for name in CLASSES if name not in {record.label for record in records}]
    if missing:
        raise DataError(
            f"{folder / MANIFEST} has no slice of {', '.join(missing)} {where}: add some, or "
            "split the data anew"
        )


def learning_pictures(wanted: DataConfig, folder: Path | None) -> Named:
    """Pictures that are no brain MRI to train on: drawn ones, and those in `folder/train`.

    Raises:
        DataError: the folder holds none.
    """
    return learnt_pictures(wanted, None if folder is None else folder / TRAIN)


def stated_data(card: dict[str, Any]) -> DataConfig:
    """What training has learnt from, as the card says; the usual where it does not."""
    stated = card.get("training", {}).get("data", {})
    return DataConfig(
        **{own.name: stated[own.name] for own in fields(_USUAL) if own.name in stated}
    )


def learnt_pictures(wanted: DataConfig, folder: Path | None) -> Named:
    """Pictures that are no brain MRI and were learnt from, with their source.

    Args:
        wanted: of that training.
        folder: `train` of what it was given.

    Raises:
        DataError: the folder holds none, or is not the one of those learnt from.
    """
    named = negatives.drawn(wanted.drawn, _DRAWN_SEED)
    return named if folder is None else named + _real(_part(folder, TRAIN), wanted.per_source)


def held_out_pictures(folder: Path | None, *, drawn: int = DRAWN_HELD_OUT) -> Named:
    """Pictures that are no brain MRI and were not trained on, with their source.

    Raises:
        DataError: the folder holds none, or is not the one of those held out.
    """
    named = [
        (f"drawn: {kind}", pixels) for kind, pixels in negatives.drawn(drawn, _DRAWN_HELD_OUT_SEED)
    ]
    return named if folder is None else named + _real(_part(folder, HOLDOUT), _USUAL.per_source)


def real_pictures(folder: Path) -> Named:
    """Pictures in `folder/<source>/`, with their source, see `negatives.real`.

    Raises:
        DataError: the folder holds none, or is the one above them.
    """
    if (folder / "other").is_dir():
        raise DataError(f"{folder} is not the folder of sources that is meant: {folder / 'other'}")
    found = negatives.real(folder, _USUAL.per_source)
    if not found:
        raise DataError(f"no usable picture in {folder}/<source>/")
    return found


def _part(folder: Path, wanted: str) -> Path:
    """The folder, unless it plainly is the one above the part wanted, or the other part.

    Raises:
        DataError: it is, and pictures learnt from would be mixed with those held out.
    """
    other = HOLDOUT if wanted == TRAIN else TRAIN
    above = folder.parent if folder.name == other else folder
    if (above / wanted).is_dir() and (above / other).is_dir():
        raise DataError(
            f"{folder} is not the folder of sources that is meant: give {above / wanted}"
        )
    return folder


def _real(folder: Path, per_source: int) -> Named:
    found = negatives.real(folder, per_source)
    if not found:
        raise DataError(
            f"no usable picture in {folder}/<source>/: as --negatives, train is given the folder "
            f"that holds {TRAIN}/ and {HOLDOUT}/, calibrate {TRAIN}/ itself, evaluate {HOLDOUT}/"
        )
    return found


def _versions() -> dict[str, str]:
    versions = {"python": platform.python_version()}
    for name in _LIBRARIES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions
