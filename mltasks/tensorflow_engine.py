"""The forward pass in TensorFlow, for workers with a GPU."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

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


class TensorFlowEngine:
    """TensorFlow, on the GPU where there is one."""

    def __init__(self, weights: bytes) -> None:
        tf = tensorflow_module()
        config = config_of(weights)
        self.sides: tuple[int, int] | None = (config.size, config.size)
        model = build_network(config, folded=True)
        load_into(model, weights)
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
