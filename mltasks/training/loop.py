"""The run itself: epochs, checkpoints, what is watched, when to stop, how long it will take."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from mltasks.classes import CLASSES
from mltasks.data import Sample
from mltasks.drafts import GO_ON, replacing
from mltasks.lazy import tensorflow_module
from mltasks.network import build_network, set_weights
from mltasks.preprocessing import Pixels, mask_cells, preprocess
from mltasks.progress import silent
from mltasks.training.batches import dataset, mask_known, steps_per_epoch
from mltasks.training.config import TrainingConfig
from mltasks.training.losses import losses, total
from mltasks.training.trainer import Trainer, Weights, read_arrays

PARTS = ("classes", "mask", "brain")
# Steps after which a checkpoint is written, beside the one after each epoch.
SAVE_EVERY = 100
# From so many seconds on, the time left is told in minutes.
_SHORT = 120


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a run is.

    Attributes:
        epoch, epochs, step, steps: counted from 1; `step` of `steps` in this epoch.
        losses: means over the epoch so far, by `PARTS`.
        rate: pictures a second.
        seconds_left: until the last epoch ends, at this rate.
        history: a row for each epoch that has ended.
    """

    epoch: int
    epochs: int
    step: int
    steps: int
    losses: dict[str, float]
    rate: float
    seconds_left: float
    history: list[dict[str, float]] = field(default_factory=list)

    @property
    def share(self) -> float:
        """Done part of the run, 0 to 1."""
        return ((self.epoch - 1) * self.steps + self.step) / (self.epochs * self.steps)

    def sentence(self) -> str:
        """One line for people."""
        means = ", ".join(f"{name} {value:.3f}" for name, value in self.losses.items())
        left = self.seconds_left
        time_left = f"{left:.0f} s" if left < _SHORT else f"{left / 60:.0f} min"
        return (
            f"epoch {self.epoch}/{self.epochs}, step {self.step}/{self.steps}: {means}, "
            f"{self.rate:.1f} pictures/s, {time_left} left, then calibration"
        )


Watch = Callable[[Progress], None]
# Told of the folder whenever a checkpoint in it is new and whole.
Saved = Callable[[Path], None]


class Run:
    """A training run that may be broken off at any point and taken up again.

    Args:
        config: the run.
        samples: training slices.
        others: pictures that are no brain MRI.
        watched: slices of other groups; after each epoch the loss on them is measured, with the
            averaged weights.
        checkpoints: folder of the checkpoint.
        saved: told of each checkpoint once it is whole, before the run goes on.
        learnt_from: see `Trainer`.

    Raises:
        ValueError: fewer slices than one batch, or no other pictures.
        ModelError: TensorFlow or the ImageNet weights are not installed.
    """

    def __init__(
        self,
        config: TrainingConfig,
        samples: Sequence[Sample],
        others: Sequence[Pixels],
        checkpoints: Path,
        *,
        watched: Sequence[Sample] = (),
        saved: Saved = silent,
        learnt_from: Mapping[str, Any] | None = None,
    ) -> None:
        self._steps = steps_per_epoch(samples, config)
        if not self._steps or not others:
            raise ValueError(
                f"training needs at least {config.slices} slices and one other picture"
            )
        self.config = config
        self._samples, self._others = samples, others
        self._watched = [_prepared(sample, config.network.size) for sample in watched]
        self._folder, self._saved = checkpoints, saved
        self.trainer = Trainer(config, self._steps, learnt_from=learnt_from)
        self.trainer.progress = {"epoch": 0, "step": 0, "sums": dict.fromkeys(PARTS, 0.0)}
        self.history: list[dict[str, float]] = []
        self._best: Weights | None = None
        self._watcher: Any = None

    def resume(self) -> bool:
        """Take up the folder's checkpoint; False if there is none.

        Raises:
            CheckpointError: it cannot be gone on from; the message names the file.
        """
        if not self.trainer.restore(self._folder):
            return False
        self.history = self.trainer.progress.pop("history")
        if self._watched and self.history:
            # That they are damaged is to be said now, not after hours of training.
            self._best_weights()
        return True

    def go(self, watch: Watch = silent) -> Weights:
        """Train to the end, or until it no longer gets better.

        Args:
            watch: told of the progress after every step; what it raises breaks the run off.

        Returns:
            The averaged weights, by name; of the best epoch where slices are watched.
        """
        state = self.trainer.progress
        while state["epoch"] < self.config.epochs and not self._stalled():
            self._epoch(state, watch)
        if self._watched and self.history:
            return self._best_weights()
        return self.trainer.averaged()

    def _epoch(self, state: dict[str, Any], watch: Watch) -> None:
        first = state["step"]
        started, size = time.monotonic(), self.config.slices + self.config.negatives
        batches = dataset(self._samples, self._others, self.config, state["epoch"], first=first)
        for number, batch in enumerate(batches, 1):
            for name, value in self.trainer.step(batch).items():
                state["sums"][name] += value
            state["step"] = first + number
            if state["step"] % SAVE_EVERY == 0 and state["step"] < self._steps:
                self._save()
            watch(self._progress(number * size / (time.monotonic() - started)))
        row = {"epoch": float(state["epoch"] + 1)}
        row |= {name: state["sums"][name] / self._steps for name in PARTS}
        if self._watched:
            row |= self._measure()
        self.history.append(row)
        state.update(epoch=state["epoch"] + 1, step=0, sums=dict.fromkeys(PARTS, 0.0))
        if self._watched and row["watched_loss"] == min(r["watched_loss"] for r in self.history):
            self._keep_best()
        self._save()

    def _save(self) -> None:
        progress = self.trainer.progress
        self.trainer.progress = {**progress, "history": self.history}
        self.trainer.save(self._folder)
        self.trainer.progress = progress
        self._saved(self._folder)

    def _progress(self, rate: float) -> Progress:
        state = self.trainer.progress
        done = state["epoch"] * self._steps + state["step"]
        left = (self.config.epochs * self._steps - done) * (
            self.config.slices + self.config.negatives
        )
        return Progress(
            epoch=state["epoch"] + 1,
            epochs=self.config.epochs,
            step=state["step"],
            steps=self._steps,
            losses={name: state["sums"][name] / state["step"] for name in PARTS},
            rate=rate,
            seconds_left=left / rate,
            history=self.history,
        )

    def _stalled(self) -> bool:
        """Whether `patience` epochs have passed since the best one."""
        if not self.config.patience or not self.history:
            return False
        watched = [row["watched_loss"] for row in self.history]
        return len(watched) - 1 - int(np.argmin(watched)) >= self.config.patience

    def _measure(self) -> dict[str, float]:
        """Loss and accuracy on the watched slices, unchanged, with the averaged weights."""
        tf = tensorflow_module()
        if self._watcher is None:
            folded = bool(self.config.start)
            self._watcher = build_network(self.config.network, folded=folded, dropout=True)
        set_weights(self._watcher, self.trainer.averaged())
        sums, right = 0.0, 0
        for start in range(0, len(self._watched), self.config.slices):
            chunk = self._watched[start : start + self.config.slices]
            batch = {name: tf.constant(np.stack([one[name] for one in chunk])) for name in chunk[0]}
            outputs = self._watcher(batch["image"], training=False)
            sums += float(total(losses(outputs, batch), self.config)) * len(chunk)
            best = np.argmax(outputs["class_logits"].numpy(), axis=1)
            right += int((best == np.argmax(batch["target"].numpy(), axis=1)).sum())
        count = len(self._watched)
        return {"watched_loss": sums / count, "watched_accuracy": right / count}

    @property
    def _best_path(self) -> Path:
        return self._folder / "best.npz"

    def _keep_best(self) -> None:
        self._best = self.trainer.averaged()
        self._folder.mkdir(parents=True, exist_ok=True)
        arrays: dict[str, Any] = {n.replace("/", "|"): v for n, v in self._best.items()}
        with replacing(self._best_path, remedy=GO_ON) as draft, draft.open("wb") as stream:
            np.savez(stream, **arrays)

    def _best_weights(self) -> Weights:
        if self._best is None:
            arrays = read_arrays(self._best_path)
            self._best = {name.replace("|", "/"): values for name, values in arrays.items()}
        return self._best


def _prepared(sample: Sample, size: int) -> dict[str, Any]:
    """One watched slice as a batch has it, without its first axis."""
    image, geometry = preprocess(sample.pixels, size)
    target = np.zeros(len(CLASSES), np.float32)
    target[sample.record.target] = 1
    mask = np.zeros((size // 2, size // 2), np.float32)
    if sample.mask is not None:
        mask = mask_cells(sample.mask, geometry)
    return {
        "image": image,
        "target": target,
        "mask": mask,
        "mask_known": np.float32(mask_known(sample.mask, sample.record.target)),
        "brain": np.float32(1),
        "tumor": np.float32(mask.any()),
    }
