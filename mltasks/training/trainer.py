"""A network in training: model, optimiser and moving average, on one or several devices."""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mltasks.drafts import GO_ON, replacing
from mltasks.inference import WEIGHTS_NAME
from mltasks.lazy import keras_module, tensorflow_module
from mltasks.network import build_network, layer_weights, set_weights
from mltasks.onnx_export import load_into
from mltasks.pretrained import encoder_weights
from mltasks.training.config import TrainingConfig
from mltasks.training.losses import losses, total

Weights = dict[str, NDArray[Any]]
CHECKPOINT = "state.npz"
_PROJECT = Path(__file__).parent.parent.parent


def start_folder(config: TrainingConfig) -> Path:
    """The model folder whose weights training goes on from, if `start` names one."""
    return _PROJECT / config.start


class CheckpointError(ValueError):
    """A checkpoint that training cannot continue from; the message names the file."""


def schedule(config: TrainingConfig, steps: int) -> Any:
    """Warm-up, then a cosine (Loshchilov & Hutter, 2017), over `steps` an epoch."""
    keras = keras_module()
    warm = max(1, round(config.warm_up * steps))
    return keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=config.learning_rate / 20,
        decay_steps=max(1, config.epochs * steps - warm),
        alpha=0.01,
        warmup_target=config.learning_rate,
        warmup_steps=warm,
    )


def find_strategy() -> Any:
    """All GPUs together if there are several, else TensorFlow's default."""
    tf = tensorflow_module()
    if len(tf.config.list_physical_devices("GPU")) > 1:
        return tf.distribute.MirroredStrategy()
    return tf.distribute.get_strategy()


# What may be wrong with a checkpoint.
_DAMAGED, _FOREIGN = "is damaged", "is no checkpoint of this program"


@contextmanager
def _precision(config: TrainingConfig) -> Iterator[None]:
    """Layers built inside compute in the recipe's precision; weights are always float32."""
    keras, tf = keras_module(), tensorflow_module()
    before = keras.config.dtype_policy()
    name = config.precision
    if name == "auto":
        name = "mixed_bfloat16" if tf.config.list_physical_devices("GPU") else "float32"
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


class Trainer:
    """Learns batch after batch; can be saved and restored in between.

    Args:
        config: the run.
        steps_per_epoch: batches in one pass over the slices.
        learnt_from: what determines the run besides `config`, by a description, JSON-able; a
            checkpoint with other values is refused.
        strategy: of `tf.distribute`; see `find_strategy` for the default.

    Attributes:
        model: the Keras network.
        progress: kept in the checkpoint for the loop; JSON-able.
    """

    def __init__(
        self,
        config: TrainingConfig,
        steps_per_epoch: int,
        *,
        learnt_from: Mapping[str, Any] | None = None,
        strategy: Any = None,
    ) -> None:
        keras, tf = keras_module(), tensorflow_module()
        keras.utils.set_random_seed(config.seed)
        self.config = config
        self._learnt_from = dict(learnt_from or {})
        self.progress: dict[str, Any] = {}
        self._strategy = find_strategy() if strategy is None else strategy
        with self._strategy.scope(), _precision(config):
            self.model = build_network(config.network, folded=bool(config.start), dropout=True)
            self._begin()
            frozen = ("stem", *(f"block{number}_" for number in range(config.frozen_blocks)))
            for layer in self.model.layers:
                if config.frozen_blocks and layer.name.startswith(frozen):
                    layer.trainable = False
            self._optimizer = keras.optimizers.AdamW(
                schedule(config, steps_per_epoch),
                weight_decay=config.weight_decay,
                global_clipnorm=5.0 / self._strategy.num_replicas_in_sync,
            )
            self._optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
            self._optimizer.build(self.model.trainable_variables)
        self._variables = [variable for layer in self.model.layers for variable in layer.weights]
        known = {id(variable) for variable in self._variables}
        # The random generators' states, which Keras does not count among the weights.
        self._seeds = [v for v in self.model.variables if id(v) not in known]
        self._first = [variable.numpy() for variable in self._variables]
        self._average = [tf.Variable(first) for first in self._first]
        self._function = tf.function(self._step, autograph=False)

    def _begin(self) -> None:
        if self.config.start:
            path = start_folder(self.config) / WEIGHTS_NAME
            try:
                content = path.read_bytes()
            except OSError as error:
                raise ValueError(
                    f"cannot start from {path} ({error.strerror}): give a model folder"
                ) from None
            load_into(self.model, content)
            # The folder's name stays when another network is put into it.
            self._learnt_from["weights started from"] = hashlib.sha256(content).hexdigest()
        elif self.config.pretrained:
            weights = layer_weights(self.model)
            weights.update(encoder_weights(list(weights)))
            set_weights(self.model, weights)

    def step(self, batch: Any) -> dict[str, float]:
        """Learn from one batch, shared evenly among devices; returns the losses before the step."""
        count = self._strategy.num_replicas_in_sync
        shared = self._strategy.experimental_distribute_values_from_function(
            lambda context: {
                name: values[context.replica_id_in_sync_group :: count]
                for name, values in batch.items()
            }
        )
        return {name: float(value) for name, value in self._function(shared).items()}

    def _step(self, batch: Any) -> Any:
        tf = tensorflow_module()
        parts = self._strategy.run(self._learn, args=(batch,))
        means = {k: self._strategy.reduce("MEAN", v, axis=None) for k, v in parts.items()}
        iterations = tf.cast(self._optimizer.iterations.value, tf.float32)
        decay = tf.minimum(self.config.ema, (1.0 + iterations) / (10.0 + iterations))
        for average, variable in zip(self._average, self._variables, strict=True):
            average.assign(decay * average + (1.0 - decay) * variable.value)
        return means

    def _learn(self, batch: Any) -> Any:
        tf = tensorflow_module()
        with tf.GradientTape() as tape:
            parts = losses(self.model(batch["image"], training=True), batch)
            loss = total(parts, self.config)
        variables = self.model.trainable_variables
        gradients = tape.gradient(loss, [variable.value for variable in variables])
        count = self._strategy.num_replicas_in_sync
        if count > 1:
            # Keras clips, then sums over the devices: each gives its share of the common mean.
            context = tf.distribute.get_replica_context()
            gradients = [mean / count for mean in context.all_reduce("MEAN", gradients)]
        self._optimizer.apply_gradients(zip(gradients, variables, strict=True))
        return parts

    def averaged(self) -> Weights:
        """The moving average of every weight by name, mixed with the first ones as configured."""
        share = np.float32(self.config.start_share)
        values = [
            (1 - share) * average.numpy() + share * first
            for average, first in zip(self._average, self._first, strict=True)
        ]
        return dict(zip(layer_weights(self.model), values, strict=True))

    def _groups(self) -> dict[str, list[Any]]:
        return {
            "model": self._variables,
            "average": self._average,
            "seed": self._seeds,
            "optimizer": self._optimizer.variables,
        }

    def save(self, folder: Path) -> None:
        """Write a checkpoint; if killed at any moment, the old or the new one is intact."""
        folder.mkdir(parents=True, exist_ok=True)
        arrays = {
            f"{kind} {index}": variable.numpy()
            for kind, variables in self._groups().items()
            for index, variable in enumerate(variables)
        }
        about = json.dumps(self._identity())
        with replacing(folder / CHECKPOINT, remedy=GO_ON) as draft, draft.open("wb") as stream:
            np.savez(stream, about=about, progress=json.dumps(self.progress), **arrays)
            stream.flush()
            os.fsync(stream.fileno())

    def restore(self, folder: Path) -> bool:
        """Continue from the folder's checkpoint; False if there is none.

        The number of epochs may differ from that of the interrupted run.

        Raises:
            CheckpointError: the checkpoint is damaged, or of another configuration or other data.
        """
        path = folder / CHECKPOINT
        if not path.exists():
            return False
        values = read_arrays(path)
        try:
            about, progress = (json.loads(str(values[name])) for name in ("about", "progress"))
        except (KeyError, ValueError) as error:
            raise _unfit(path, _FOREIGN) from error
        if not (isinstance(about, dict) and isinstance(progress, dict)):
            raise _unfit(path, _FOREIGN)
        if about != self._identity():
            raise CheckpointError(_other_run(path, about, self._identity()))
        for kind, variables in self._groups().items():
            for index, variable in enumerate(variables):
                value = values.get(f"{kind} {index}")
                if value is None or value.shape != tuple(variable.shape):
                    raise _unfit(path, _DAMAGED)
                variable.assign(value)
        self.progress = progress
        return True

    def _identity(self) -> dict[str, Any]:
        # More epochs, more patience or another device still continue the same run.
        config = {**self.config.as_dict(), "epochs": None, "patience": None, "precision": None}
        return config | self._learnt_from


def position(folder: Path) -> tuple[int, int] | None:
    """Epochs and further steps that a folder's checkpoint has behind it.

    None if there is no checkpoint, or none that can be read.
    """
    try:
        with np.load(folder / CHECKPOINT, allow_pickle=False) as state:
            progress = json.loads(str(state["progress"]))
            return int(progress["epoch"]), int(progress["step"])
    except (OSError, KeyError, ValueError, TypeError, EOFError, zipfile.BadZipFile):
        return None


def read_arrays(path: Path) -> Weights:
    """All arrays of a file that a run keeps in order to go on.

    Raises:
        CheckpointError: it cannot be read; the message names it.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    # The third is of a file that holds one array without a name.
    except (OSError, ValueError, TypeError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise _unfit(path, _what_is_wrong(path, error)) from error


def _what_is_wrong(path: Path, error: Exception) -> str:
    """Why a file could not be read as arrays."""
    if isinstance(error, FileNotFoundError):
        return "is missing"
    if isinstance(error, OSError) and error.strerror:
        return f"cannot be read ({error.strerror})"
    # The list of what a zip file holds is at its end.
    if path.stat().st_size == 0 or (_begins_as_zip(path) and not zipfile.is_zipfile(path)):
        return "breaks off"
    return _DAMAGED if zipfile.is_zipfile(path) else _FOREIGN


def _begins_as_zip(path: Path) -> bool:
    with path.open("rb") as stream:
        return stream.read(2) == b"PK"


def _unfit(path: Path, what: str) -> CheckpointError:
    return CheckpointError(f"{path} {what}: remove {path.parent} and train anew")


def _other_run(path: Path, found: dict[str, Any], wanted: dict[str, Any]) -> str:
    unsaid = sorted(wanted.keys() - found.keys())
    if unsaid:
        return (
            f"{path} does not say its {', '.join(unsaid)}, so it cannot be told whether it is of "
            "this run: it was written by an earlier version; remove it to train anew"
        )
    differing = sorted(k for k in found.keys() | wanted.keys() if found.get(k) != wanted.get(k))
    return (
        f"{path} is of a run with another configuration ({', '.join(differing)} differ): "
        "give another --output, or remove it to train anew"
    )
