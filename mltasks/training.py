"""Training: from a data folder to weights, resumable after every epoch."""

from __future__ import annotations

import json
import os
import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mltasks.augmentation import draw_training_pair
from mltasks.data import Sample
from mltasks.lazy import keras_module, tensorflow_module
from mltasks.network import NetworkConfig, build_network, layer_weights, set_weights
from mltasks.preprocessing import Floats, Pixels, normalise
from mltasks.pretrained import encoder_weights

Weights = dict[str, NDArray[Any]]
Batch = dict[str, Floats]
Report = Callable[[str], None]
_CHECKPOINT = "state.npz"
# Batches made ahead of the one being learnt from.
_AHEAD = 6
_LABEL_SMOOTHING = 0.05
_MASK_WEIGHT, _BRAIN_WEIGHT = 1.0, 0.5


@dataclass(frozen=True, slots=True)
class TrainingConfig:
    """What a training run is determined by, beside its data.

    Attributes:
        network: measures of the network.
        epochs: passes over the training slices.
        slices, negatives: of a batch: brain MRI and other pictures.
        learning_rate: its peak, reached after `warm_up` epochs, falling as a cosine to 1%.
        frozen_blocks: the stem and so many blocks keep their ImageNet weights; what they see,
            edges and corners, is the same in MRI, and training is nearly twice as fast.
        ema: decay of the moving average of the weights, which is what is delivered.
        pretrained: start the encoder from ImageNet weights.
        seed: of everything random.
    """

    network: NetworkConfig
    epochs: int = 12
    slices: int = 28
    negatives: int = 4
    learning_rate: float = 1e-3
    warm_up: float = 0.6
    weight_decay: float = 0.02
    frozen_blocks: int = 3
    ema: float = 0.995
    pretrained: bool = True
    seed: int = 1

    def as_dict(self) -> dict[str, Any]:
        """For model.json."""
        return {**asdict(self), "network": self.network.as_dict()}


def batches(
    samples: Sequence[Sample],
    others: Sequence[Pixels],
    config: TrainingConfig,
    epoch: int,
) -> Iterator[Batch]:
    """The augmented batches of one epoch; the same for the same seed and epoch.

    Yields:
        `image` (n, size, size, 1), `target` (n, 4), `mask` (n, size / 2, size / 2), `brain`
        (n,), 1 for slices and 0 for other pictures, and `tumor` (n,), 1 where there is a mask.
    """
    rng = np.random.default_rng((config.seed, epoch))
    order = rng.permutation(len(samples))
    size = config.network.size
    for start in range(0, len(order) - config.slices + 1, config.slices):
        chosen = [samples[i] for i in order[start : start + config.slices]]
        pairs = [draw_training_pair(s.pixels, s.mask, size, rng) for s in chosen]
        for index in rng.integers(0, len(others), config.negatives):
            pixels = others[index]
            if rng.random() < 0.2:
                pixels = 255 - pixels
            pairs.append(draw_training_pair(pixels, None, size, rng))
        target = np.zeros((len(pairs), 4), np.float32)
        target[np.arange(len(chosen)), [s.record.target for s in chosen]] = 1
        yield {
            "image": normalise(np.stack([canvas for canvas, _ in pairs])),
            "target": target * (1 - _LABEL_SMOOTHING) + _LABEL_SMOOTHING / 4,
            "mask": np.stack([mask for _, mask in pairs]),
            "brain": (np.arange(len(pairs)) < len(chosen)).astype(np.float32),
            "tumor": np.array([mask.any() for _, mask in pairs], np.float32),
        }


def ahead(source: Iterator[Batch], depth: int = _AHEAD) -> Iterator[Batch]:
    """Make batches in a thread of their own; an exception in there is raised here."""
    ready: queue.Queue[Batch | BaseException | None] = queue.Queue(depth)

    def fill() -> None:
        try:
            for batch in source:
                ready.put(batch)
            ready.put(None)
        except BaseException as error:  # handed over to the consumer
            ready.put(error)

    threading.Thread(target=fill, daemon=True).start()
    while (item := ready.get()) is not None:
        if isinstance(item, BaseException):
            raise item
        yield item


def losses(outputs: Any, batch: Any) -> dict[str, Any]:
    """The three losses, each a scalar tensor.

    Classes: cross-entropy over the slices. Mask: cross-entropy over the slices' cells plus the
    soft Dice loss (Milletari et al., 2016) over the slices with a tumour. Brain: cross-entropy
    over everything.
    """
    tf = tensorflow_module()
    brain, tumor = batch["brain"], batch["tumor"]

    def average(values: Any, weights: Any) -> Any:
        return tf.reduce_sum(values * weights) / tf.maximum(tf.reduce_sum(weights), 1.0)

    classes = tf.nn.softmax_cross_entropy_with_logits(batch["target"], outputs["class_logits"])
    logits = outputs["mask"][..., 0]
    cells = tf.nn.sigmoid_cross_entropy_with_logits(batch["mask"], logits)
    predicted = tf.sigmoid(logits)
    overlap = tf.reduce_sum(predicted * batch["mask"], (1, 2))
    total = tf.reduce_sum(predicted, (1, 2)) + tf.reduce_sum(batch["mask"], (1, 2))
    dice = 1.0 - (2.0 * overlap + 1.0) / (total + 1.0)
    detector = tf.nn.sigmoid_cross_entropy_with_logits(brain, outputs["brain"][:, 0])
    return {
        "classes": average(classes, brain),
        "mask": 2.0 * average(tf.reduce_mean(cells, (1, 2)), brain) + average(dice, tumor),
        "brain": tf.reduce_mean(detector),
    }


def schedule(config: TrainingConfig, steps_per_epoch: int) -> Any:
    """Warm-up, then a cosine (Loshchilov & Hutter, 2017)."""
    keras = keras_module()
    warm = max(1, round(config.warm_up * steps_per_epoch))
    return keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=config.learning_rate / 20,
        decay_steps=max(1, config.epochs * steps_per_epoch - warm),
        alpha=0.01,
        warmup_target=config.learning_rate,
        warmup_steps=warm,
    )


class Trainer:
    """A network in training: model, optimiser and moving average of the weights."""

    def __init__(self, config: TrainingConfig, steps_per_epoch: int) -> None:
        keras, tf = keras_module(), tensorflow_module()
        keras.utils.set_random_seed(config.seed)
        self.config = config
        self.model = build_network(config.network)
        weights = layer_weights(self.model)
        if config.pretrained:
            weights.update(encoder_weights(list(weights)))
            set_weights(self.model, weights)
        frozen = ("stem", *(f"block{number}_" for number in range(config.frozen_blocks)))
        for layer in self.model.layers:
            if config.frozen_blocks and layer.name.startswith(frozen):
                layer.trainable = False
        self.optimizer = keras.optimizers.AdamW(
            schedule(config, steps_per_epoch),
            weight_decay=config.weight_decay,
            global_clipnorm=5.0,
        )
        self.optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
        self.optimizer.build(self.model.trainable_variables)
        self.epoch = 0
        self._variables = [
            variable
            for layer in self.model.layers
            for variable in layer.weights
            if not variable.name.startswith("seed")
        ]
        self._average = [tf.Variable(variable.numpy()) for variable in self._variables]
        self.step = tf.function(self._step, autograph=False)

    def _step(self, batch: Any) -> Any:
        tf = tensorflow_module()
        with tf.GradientTape() as tape:
            parts = losses(self.model(batch["image"], training=True), batch)
            loss = parts["classes"] + _MASK_WEIGHT * parts["mask"] + _BRAIN_WEIGHT * parts["brain"]
        gradients = tape.gradient(loss, self.model.trainable_variables)
        self.optimizer.apply_gradients(zip(gradients, self.model.trainable_variables, strict=True))
        step = tf.cast(self.optimizer.iterations, tf.float32)
        decay = tf.minimum(self.config.ema, (1.0 + step) / (10.0 + step))
        for average, variable in zip(self._average, self._variables, strict=True):
            average.assign(decay * average + (1.0 - decay) * variable)
        return parts

    def averaged(self) -> Weights:
        """The moving average of every weight, by name."""
        values = [average.numpy() for average in self._average]
        return dict(zip(layer_weights(self.model), values, strict=True))

    def save(self, folder: Path) -> None:
        """Write a checkpoint; a kill at any moment leaves the old or the new one whole."""
        folder.mkdir(parents=True, exist_ok=True)
        arrays = {f"model {i}": v.numpy() for i, v in enumerate(self._variables)}
        arrays |= {f"average {i}": v.numpy() for i, v in enumerate(self._average)}
        arrays |= {f"optimizer {i}": v.numpy() for i, v in enumerate(self.optimizer.variables)}
        temporary = folder / f"{_CHECKPOINT}.part"
        about = json.dumps(self._identity())
        with temporary.open("wb") as stream:
            np.savez(stream, epoch=self.epoch, about=about, **arrays)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(folder / _CHECKPOINT)

    def restore(self, folder: Path) -> bool:
        """Go on from the folder's checkpoint; False if it holds none.

        The number of epochs may differ from that of the interrupted run.

        Raises:
            ValueError: the checkpoint is of another configuration.
        """
        path = folder / _CHECKPOINT
        if not path.exists():
            return False
        with np.load(path) as state:
            if json.loads(str(state["about"])) != self._identity():
                raise ValueError(f"{path} is of a run with another configuration")
            groups = (
                ("model", self._variables),
                ("average", self._average),
                ("optimizer", self.optimizer.variables),
            )
            for kind, variables in groups:
                for index, variable in enumerate(variables):
                    variable.assign(state[f"{kind} {index}"])
            self.epoch = int(state["epoch"])
        return True

    def _identity(self) -> dict[str, Any]:
        return {**self.config.as_dict(), "epochs": None}


def train(
    config: TrainingConfig,
    samples: Sequence[Sample],
    others: Sequence[Pixels],
    checkpoints: Path,
    *,
    resume: bool = False,
    report: Report = print,
) -> Weights:
    """Train and return the averaged weights of the training form, by name.

    Args:
        config: the run.
        samples: training slices.
        others: pictures that are no brain MRI.
        checkpoints: folder for the checkpoint written after each epoch.
        resume: go on from that checkpoint if there is one.
        report: gets a line of progress now and then.

    Raises:
        ValueError: fewer slices than one batch, no other pictures, or a checkpoint of another
            configuration.
        ModelError: TensorFlow or the ImageNet weights are not installed.
    """
    steps = len(samples) // config.slices
    if not steps or not others:
        raise ValueError(f"training needs at least {config.slices} slices and one other picture")
    trainer = Trainer(config, steps)
    if resume and trainer.restore(checkpoints):
        report(f"resumed after epoch {trainer.epoch}")
    while trainer.epoch < config.epochs:
        started, sums = time.monotonic(), dict.fromkeys(("classes", "mask", "brain"), 0.0)
        for step, batch in enumerate(ahead(batches(samples, others, config, trainer.epoch)), 1):
            for name, value in trainer.step(batch).items():
                sums[name] += float(value)
            if step % 20 == 0 or step == steps:
                rate = step * (config.slices + config.negatives) / (time.monotonic() - started)
                means = ", ".join(f"{name} {value / step:.3f}" for name, value in sums.items())
                report(
                    f"epoch {trainer.epoch + 1}/{config.epochs}, step {step}/{steps}: {means}, "
                    f"{rate:.1f} pictures/s"
                )
        trainer.epoch += 1
        trainer.save(checkpoints)
    return trainer.averaged()
