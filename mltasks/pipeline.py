"""The steps of a training run, in order: data, training, calibration, evaluation, model folder."""

from __future__ import annotations

import hashlib
import importlib.metadata
import platform
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from mltasks import calibration, detector, evaluation, negatives, release
from mltasks.data import DataError, Record, Sample, data_digest, load_samples, read_manifest
from mltasks.engines import OUTPUTS, Outputs
from mltasks.inference import Analyzer, load_analyzer
from mltasks.lazy import tensorflow_module
from mltasks.postprocessing import affected_area, sigmoid
from mltasks.preprocessing import Geometry, Pixels, preprocess
from mltasks.training import DataConfig, Progress, Recipe, Run
from mltasks.training.curves import write_history
from mltasks.training.loop import Watch
from mltasks.training.tracking import Tracker

Report = Callable[[str], None]
Named = list[tuple[str, Pixels]]
CHECKPOINTS = "checkpoints"
# Of the pictures drawn for training and, others, for evaluation.
_DRAWN_SEED, _DRAWN_HELD_OUT_SEED = 7, 1007
DRAWN_HELD_OUT, _PER_SOURCE = DataConfig().drawn_held_out, DataConfig().per_source
# Every so many slices is used to fit the detector: they differ less than the other pictures do.
_REFIT_STEP = 3
# The mask thresholds that are tried.
_MASK_THRESHOLDS = (0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6)
# Share of validation slices that may be refused, and the highest threshold.
_REFUSE, _BRAIN_CEILING = 0.002, 0.15
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
    tracking_uri: str = ""


def train_model(request: TrainingRequest, *, watch: Watch, report: Report) -> dict[str, Any]:
    """Train, calibrate, evaluate and write the model folder; returns its card.

    Args:
        watch: told of the progress after every step; what it raises breaks the run off, which
            `resume` takes up again after the last checkpoint.
        report: gets a line at each stage.

    Raises:
        DataError, ModelError, ValueError: data, libraries or checkpoint are not as needed.
        OSError: the disk is full; the last checkpoint is whole.
    """
    config, wanted = request.recipe.training, request.recipe.data
    records = read_manifest(request.data)
    learnt, held_out = split(records, wanted.fold)
    learnt, watched = set_aside(learnt, wanted.watch)
    if request.threads:
        threading = tensorflow_module().config.threading
        threading.set_intra_op_parallelism_threads(request.threads)
        threading.set_inter_op_parallelism_threads(request.threads)
    samples = load_samples(request.data, learnt)
    others = negatives.drawn(wanted.drawn, _DRAWN_SEED)
    if request.negatives is not None:
        others += negatives.real(request.negatives / "train", wanted.per_source)
        if len(others) == wanted.drawn:
            raise DataError(f"no usable picture in {request.negatives / 'train'}/<source>/")
    report(f"{len(samples)} slices, {len(others)} other pictures")
    run = Run(
        config,
        samples,
        [pixels for _, pixels in others],
        request.output / CHECKPOINTS,
        watched=load_samples(request.data, watched),
    )
    if request.resume and run.resume():
        report(f"resumed after {len(run.history)} whole epochs")
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
    card = release.draft_card(config.network, content, name=request.recipe.name)
    card["training"] = {
        "command": _command(request),
        "config": config.as_dict(),
        "data": asdict(wanted),
        "data_digest": data_digest(records),
        "slices": len(samples),
        "other_pictures": {"drawn": wanted.drawn, "real": len(others) - wanted.drawn},
        "history": run.history,
        "libraries": _versions(),
    }
    held_out_others = held_out_pictures(
        None if request.negatives is None else request.negatives / "holdout",
        drawn=wanted.drawn_held_out,
    )
    validation = load_samples(request.data, held_out)
    report(f"calibrating and evaluating on {len(validation)} slices of fold {wanted.fold}")
    complete(card, content, validation, held_out_others)
    card["metrics"]["validation"]["fold"] = wanted.fold
    release.write_model(request.output, card, content)
    write_history(request.output, run.history)
    return card


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
    """Records to learn from and to validate on.

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


def held_out_pictures(folder: Path | None, *, drawn: int = DRAWN_HELD_OUT) -> Named:
    """Pictures that are no brain MRI and were not trained on, with their source."""
    named = [
        (f"drawn: {kind}", pixels) for kind, pixels in negatives.drawn(drawn, _DRAWN_HELD_OUT_SEED)
    ]
    return named if folder is None else named + negatives.real(folder, _PER_SOURCE)


def complete(card: dict[str, Any], content: bytes, validation: list[Sample], others: Named) -> None:
    """Fit temperature and thresholds, measure, and fill both into the card."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "model"
        release.write_model(folder, card, content)
        outputs, geometries = _forward(load_analyzer(folder), validation)
        target = np.array([sample.record.target for sample in validation])
        groups = np.array([sample.record.group for sample in validation])
        card["temperature"] = round(calibration.fit_temperature(outputs.class_logits, target), 4)
        card["thresholds"]["brain"] = calibration.brain_threshold(
            sigmoid(outputs.brain), refuse=_REFUSE, ceiling=_BRAIN_CEILING
        )
        card["thresholds"]["mask"] = _best_mask_threshold(
            validation, outputs, geometries, card["thresholds"]["speck_share"]
        )
        release.write_card(folder, card)
        fitted = load_analyzer(folder)
        results = evaluation.run(fitted, validation)
        crossed = replace(
            results,
            probabilities=calibration.cross_fitted(outputs.class_logits, target, groups),
        )
        refused = evaluation.refusals(fitted, others)
        card["metrics"] = {
            "validation": evaluation.summary(results),
            "calibration": {
                "method": "temperature cross-fitted between two halves of the groups",
                "temperature_from": "all slices of the validation fold",
                "error_cross_fitted": round(evaluation.calibration_error(crossed), 4),
            },
            "other_pictures": evaluation.refusal_summary(refused, card["thresholds"]["brain"]),
        }


def _forward(analyzer: Analyzer, samples: list[Sample]) -> tuple[Outputs, list[Geometry]]:
    """The network's raw outputs for all slices, and where each lies in its input."""
    parts: list[Outputs] = []
    geometries: list[Geometry] = []
    for start in range(0, len(samples), 16):
        chunk = samples[start : start + 16]
        prepared = [preprocess(sample.pixels, analyzer.input_size) for sample in chunk]
        parts.append(analyzer.engine.forward(np.stack([inputs for inputs, _ in prepared])))
        geometries += [geometry for _, geometry in prepared]
    return (
        Outputs(*(np.concatenate([getattr(part, name) for part in parts]) for name in OUTPUTS)),
        geometries,
    )


def _best_mask_threshold(
    samples: list[Sample], outputs: Outputs, geometries: list[Geometry], speck_share: float
) -> float:
    """The tried threshold with the highest mean Dice over the slices with an expert mask."""
    means = []
    for threshold in _MASK_THRESHOLDS:
        scores = [
            evaluation.dice_score(
                affected_area(logits, geometry, threshold=threshold, speck_share=speck_share),
                sample.mask > 127,
            )
            for sample, logits, geometry in zip(samples, outputs.mask, geometries, strict=True)
            if sample.mask is not None
        ]
        means.append(float(np.mean(scores)) if scores else 0.0)
    return _MASK_THRESHOLDS[int(np.argmax(means))]


def _versions() -> dict[str, str]:
    versions = {"python": platform.python_version()}
    for name in _LIBRARIES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions
