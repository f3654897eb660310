"""A network that takes no time, for tests of what goes on around a network in training."""

from __future__ import annotations

from typing import Any

from mltasks.classes import CLASSES
from mltasks.lazy import keras_module
from mltasks.network import NetworkConfig


def build_network(config: NetworkConfig, **_: Any) -> Any:
    """The outputs of `mltasks.network.build_network` from one convolution.

    It has what a checkpoint must not lose: statistics of a normalisation, and dropout.
    """
    keras = keras_module()
    inputs = keras.Input((config.size, config.size, 1), name="image")
    x = keras.layers.Conv2D(8, 3, strides=2, padding="same", use_bias=False, name="stem")(inputs)
    x = keras.layers.BatchNormalization(name="stem_bn")(x)
    pooled = keras.layers.GlobalAveragePooling2D(name="pooled")(x)
    dropped = keras.layers.SpatialDropout2D(config.dropout, name="dropout")(x)
    attention = keras.layers.Conv2D(len(CLASSES), 1, name="attention")(dropped)
    outputs = {
        "class_logits": keras.layers.GlobalAveragePooling2D(name="class_logits")(attention),
        "attention": attention,
        "mask": keras.layers.Conv2D(1, 1, name="mask")(x),
        "brain": keras.layers.Dense(1, name="brain")(pooled),
    }
    return keras.Model(inputs, outputs)
