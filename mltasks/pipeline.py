"""The steps of a training run, in order: data, training, calibration, evaluation, model folder."""

from __future__ import annotations

import importlib.metadata
import platform
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mltasks import completion, detector, evaluation, negatives, release
from mltasks.data import DataError, Record, data_digest, load_samples, read_manifest
from mltasks.inference import load_analyzer
from mltasks.lazy import tensorflow_module
from mltasks.network import NetworkConfig
from mltasks.preprocessing import Pixels
from mltasks.training import TrainingConfig, train

Report = Callable[[str], None]
Named = list[tuple[str, Pixels]]
# Drawn pictures for training and, from another seed, for evaluation.
DRAWN, _DRAWN_SEED = 200, 7
DRAWN_HELD_OUT, _DRAWN_HELD_OUT_SEED = 400, 1007
# At most so many real pictures of one source.
_PER_SOURCE = 800
# Every so many slices is used to fit the detector: they differ less than the other pictures do.
_REFIT_STEP = 3
_LIBRARIES = ("tensorflow", "tensorflow-cpu", "keras", "onnx", "onnxruntime", "numpy", "pillow")


@dataclass(frozen=True, slots=True)
class TrainingRequest:
    """What `manage.py train` was asked for; its help describes the fields."""

    data: Path
    output: Path
    negatives: Path | None = None
    epochs: int = 10
    size: int = 224
    fold: int = 0
    seed: int = 1
    threads: int = 0
    resume: bool = False
    pretrained: bool = True
    drawn: int = DRAWN
    drawn_held_out: int = DRAWN_HELD_OUT

    def command(self) -> str:
        """The command that repeats the run, with placeholders for the folders."""
        parts = ["python manage.py train --data DATA --output MODEL"]
        if self.negatives is not None:
            parts.append("--negatives NEGATIVES")
        parts.append(f"--epochs {self.epochs} --size {self.size} --fold {self.fold}")
        parts.append(f"--seed {self.seed} --drawn {self.drawn}")
        if not self.pretrained:
            parts.append("--from-scratch")
        return " ".join(parts)


def train_model(request: TrainingRequest, *, report: Report = print) -> dict[str, Any]:
    """Train, calibrate, evaluate and write the model folder; returns its card.

    Raises:
        DataError, ModelError, ValueError: data, libraries or checkpoint are not as needed.
    """
    records = read_manifest(request.data)
    learnt, held_out = split(records, request.fold)
    if request.threads:
        threading = tensorflow_module().config.threading
        threading.set_intra_op_parallelism_threads(request.threads)
        threading.set_inter_op_parallelism_threads(request.threads)
    samples = load_samples(request.data, learnt)
    others = negatives.drawn(request.drawn, _DRAWN_SEED)
    if request.negatives is not None:
        others += negatives.real(request.negatives / "train", _PER_SOURCE)
        if len(others) == request.drawn:
            raise DataError(f"no usable picture in {request.negatives / 'train'}/<source>/")
    report(f"{len(samples)} slices, {len(others)} other pictures")
    config = TrainingConfig(
        NetworkConfig(size=request.size),
        epochs=request.epochs,
        pretrained=request.pretrained,
        seed=request.seed,
    )
    weights = train(
        config,
        samples,
        [pixels for _, pixels in others],
        request.output / "checkpoints",
        resume=request.resume,
        report=report,
    )
    report("fitting the detector of other pictures")
    weights = detector.refit(
        config.network,
        weights,
        samples[::_REFIT_STEP],
        [pixels for _, pixels in others],
        seed=request.seed,
    )
    content = release.export_weights(config.network, weights)
    card = release.draft_card(config.network, content)
    card["training"] = {
        "command": request.command(),
        "config": config.as_dict(),
        "data_digest": data_digest(records),
        "slices": len(samples),
        "other_pictures": {"drawn": request.drawn, "real": len(others) - request.drawn},
        "libraries": _versions(),
    }
    held_out_others = held_out_pictures(
        None if request.negatives is None else request.negatives / "holdout",
        drawn=request.drawn_held_out,
    )
    validation = load_samples(request.data, held_out)
    report(f"calibrating on {len(validation)} slices of fold {request.fold}")
    extras = completion.complete(
        card,
        content,
        learnt=[sample.pixels for sample in samples[:: completion.REFERENCE_STEP]],
        held_out=validation,
        others=[pixels for _, pixels in others],
        threads=request.threads,
        report=report,
    )
    report("evaluating")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "model"
        release.write_model(folder, card, content, extras)
        results = evaluation.run(load_analyzer(folder), validation)
        fates = evaluation.refusals(load_analyzer(folder), held_out_others)
    card["metrics"] = {
        "validation": evaluation.summary(results) | {"fold": request.fold},
        "other_pictures": evaluation.refusal_summary(fates),
    }
    release.write_model(request.output, card, content, extras)
    return card


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


def learnt_pictures(folder: Path | None, *, per_source: int = _PER_SOURCE) -> Named:
    """Pictures that are no brain MRI of the kinds and sources learnt from, with their source."""
    named = negatives.drawn(DRAWN, _DRAWN_SEED)
    return named if folder is None else named + negatives.real(folder, per_source)


def held_out_pictures(folder: Path | None, *, drawn: int = DRAWN_HELD_OUT) -> Named:
    """Pictures that are no brain MRI and were not trained on, with their source."""
    named = [
        (f"drawn: {kind}", pixels) for kind, pixels in negatives.drawn(drawn, _DRAWN_HELD_OUT_SEED)
    ]
    return named if folder is None else named + negatives.real(folder, _PER_SOURCE)


def _versions() -> dict[str, str]:
    versions = {"python": platform.python_version()}
    for name in _LIBRARIES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions
