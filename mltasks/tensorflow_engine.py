"""The network in Keras, made of its ONNX file, and its forward pass for workers with a GPU."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from mltasks.drafts import naming
from mltasks.engines import ModelError, Outputs
from mltasks.lazy import tensorflow_module
from mltasks.network import STAGES, NetworkConfig, build_network
from mltasks.onnx_export import load_into, read_weights
from mltasks.preprocessing import Floats


def config_of(content: bytes) -> NetworkConfig:
    """The network's measures, as far as inference needs them, from the weights themselves.

    Raises:
        ModelError: the file holds another network.
    """
    values = read_weights(content)
    try:
        decoder: Any = tuple(len(values[f"decoder{step}_reduce/bias"]) for step in range(4))
        size = int(values["planes"][2])
    except KeyError as error:
        raise ModelError(f"the ONNX file holds another network: {error} is missing") from None
    # Each stage has a number of channels of its own.
    blocks = Counter(len(v) for name, v in values.items() if name.endswith("_project/bias"))
    repeats: Any = tuple(blocks[channels] for *_, channels in STAGES)
    return NetworkConfig(size=size, decoder=decoder, repeats=repeats)


def keras_network(weights: bytes) -> Any:
    """The Keras model of an ONNX file, folded; see `build_network`.

    Raises:
        ModelError: the file holds another network, or Keras is not installed.
    """
    model = build_network(config_of(weights), folded=True)
    load_into(model, weights)
    return model


def write_keras(folder: Path) -> None:
    """Write the network of a model folder once more, for those who go on with it in Keras.

    Raises:
        ModelError: it holds another network, or there is no room.
    """
    network = keras_network((folder / "model.onnx").read_bytes())
    target = folder / "model.keras"
    # Keras goes by the end of the name.
    draft = folder / ".part.keras"
    try:
        with naming(target, draft, remedy="make room, and pull to another folder"):
            network.save(draft)
            draft.replace(target)
    except OSError as error:
        raise ModelError(str(error)) from None


class TensorFlowEngine:
    """TensorFlow, on the GPU where there is one."""

    def __init__(self, weights: bytes) -> None:
        tf = tensorflow_module()
        model = keras_network(weights)
        size: int = model.input_shape[1]
        self.sides: tuple[int, int] | None = (size, size)
        self._function = tf.function(model, autograph=False, reduce_retracing=True)

    def forward(self, batch: Floats) -> Outputs:
        """Run the network on float32 (n, size, size, 1)."""
        results = {
            name: np.asarray(value)
            for name, value in self._function(tensorflow_module().constant(batch)).items()
        }
        return Outputs(
            class_logits=results["class_logits"],
            attention=results["attention"],
            mask=results["mask"][..., 0],
            brain=results["brain"][:, 0],
            features=results["features"],
        )
