"""The network: one encoder, three answers from one forward pass.

The encoder is EfficientNet-Lite0 (Tan & Le, 2019; the Lite variant by Liu, 2020: no
squeeze-and-excitation, ReLU6). Upon it stand

- a class head, convolution 1×1 and then the mean over all cells, so that the class activation
  map (Zhou et al., 2016) is its own intermediate result and costs nothing;
- a light U-shaped decoder (Ronneberger et al., 2015, with separable convolutions) for the mask;
- a head that tells brain MRI from other pictures, trained on such pictures (outlier exposure,
  Hendrycks et al., 2019).

`build_network` makes the training form, with batch normalisation, and the folded form for
inference, in which each normalisation has become part of the convolution before it.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from mltasks.classes import CLASSES
from mltasks.lazy import keras_module

# Kernel, stride, expansion, channels: table 1 of the EfficientNet paper.
STAGES = (
    (3, 1, 1, 16),
    (3, 2, 6, 24),
    (5, 2, 6, 40),
    (3, 2, 6, 80),
    (5, 1, 6, 112),
    (5, 2, 6, 192),
    (3, 1, 6, 320),
)
_STEM_CHANNELS, _HEAD_CHANNELS = 32, 1280
LITE0 = (1, 2, 2, 3, 3, 4, 1)
# Stages whose output the decoder sees, at 1/2, 1/4, 1/8 and 1/16 of the input's side.
_SKIP_STAGES = (0, 1, 2, 4)
BATCH_NORM_EPSILON = 1e-3


@dataclass(frozen=True, slots=True)
class NetworkConfig:
    """What must be known to build the network.

    Attributes:
        size: side of the square input, a multiple of 32.
        decoder: channels of the decoder's steps, from 1/16 to 1/2 of the input's side.
        dropout: before the class head, in training only.
        repeats: blocks of each of the encoder's stages; fewer than those of Lite0 make a
            shallower network, for which there are no ImageNet weights.
    """

    size: int = 192
    decoder: tuple[int, int, int, int] = (96, 64, 32, 16)
    dropout: float = 0.2
    repeats: tuple[int, int, int, int, int, int, int] = LITE0

    def as_dict(self) -> dict[str, Any]:
        """For model.json."""
        return {**asdict(self), "decoder": list(self.decoder), "repeats": list(self.repeats)}


class _Builder:
    """Adds named layers; knows whether normalisations are folded."""

    def __init__(self, *, folded: bool) -> None:
        self.folded = folded
        self.layers = keras_module().layers

    def normalise(self, x: Any, name: str, *, relu: bool) -> Any:
        if not self.folded:
            x = self.layers.BatchNormalization(
                momentum=0.97, epsilon=BATCH_NORM_EPSILON, name=f"{name}_bn"
            )(x)
        return self.layers.ReLU(max_value=6.0, name=f"{name}_relu")(x) if relu else x

    def conv(
        self,
        x: Any,
        channels: int,
        name: str,
        *,
        kernel: int = 1,
        stride: int = 1,
        relu: bool = True,
    ) -> Any:
        x = self.layers.Conv2D(
            channels, kernel, strides=stride, padding="same", use_bias=self.folded, name=name
        )(x)
        return self.normalise(x, name, relu=relu)

    def depthwise(self, x: Any, name: str, *, kernel: int, stride: int = 1) -> Any:
        x = self.layers.DepthwiseConv2D(
            kernel, strides=stride, padding="same", use_bias=self.folded, name=name
        )(x)
        return self.normalise(x, name, relu=True)

    def block(
        self, x: Any, name: str, *, kernel: int, stride: int, expansion: int, channels: int
    ) -> Any:
        """Inverted residual (Sandler et al., 2018)."""
        y = x
        if expansion > 1:
            y = self.conv(y, expansion * x.shape[-1], f"{name}_expand")
        y = self.depthwise(y, f"{name}_depthwise", kernel=kernel, stride=stride)
        y = self.conv(y, channels, f"{name}_project", relu=False)
        if stride == 1 and x.shape[-1] == channels:
            y = self.layers.Add(name=f"{name}_add")([x, y])
        return y

    def encoder(self, x: Any, repeats: tuple[int, ...]) -> tuple[list[Any], Any]:
        """The skips, from fine to coarse, and the last stage's output."""
        x = self.conv(x, _STEM_CHANNELS, "stem", kernel=3, stride=2)
        skips, number = [], 0
        for stage, (kernel, stride, expansion, channels) in enumerate(STAGES):
            for repeat in range(repeats[stage]):
                x = self.block(
                    x,
                    f"block{number}",
                    kernel=kernel,
                    stride=1 if repeat else stride,
                    expansion=expansion,
                    channels=channels,
                )
                number += 1
            if stage in _SKIP_STAGES:
                skips.append(x)
        return skips, x

    def decoder(self, x: Any, skips: list[Any], channels: tuple[int, ...]) -> Any:
        """Mask logits (n, size / 2, size / 2, 1)."""
        for step, (skip, width) in enumerate(zip(reversed(skips), channels, strict=True)):
            name = f"decoder{step}"
            x = self.conv(x, width, f"{name}_reduce")
            x = self.layers.UpSampling2D(2, interpolation="nearest", name=f"{name}_up")(x)
            x = self.layers.Concatenate(name=f"{name}_concat")([x, skip])
            x = self.depthwise(x, f"{name}_depthwise", kernel=3)
            x = self.conv(x, width, f"{name}_pointwise")
        return self.layers.Conv2D(1, 1, name="mask")(x)


def build_network(config: NetworkConfig, *, folded: bool = False, dropout: bool = False) -> Any:
    """Build the Keras model.

    Args:
        config: the network's measures.
        folded: without batch normalisation, for inference and for training that goes on from
            a released network.
        dropout: whether there is any, as in training.

    Returns:
        Model from float32 (n, size, size, 1) to a dict of float32 logits: `class_logits`
        (n, 4), `attention` (n, size / 32, size / 32, 4), `mask` (n, size / 2, size / 2, 1),
        `brain` (n, 1). The folded form also gives `features` (n, 1280): what both heads see,
        averaged over the cells, for detectors of unlike pictures.

    Raises:
        ModelError: Keras is not installed.
        ValueError: the size is not a multiple of 32.
    """
    if config.size % 32 or config.size < 32:
        raise ValueError(f"the input size must be a multiple of 32, not {config.size}")
    keras = keras_module()
    builder = _Builder(folded=folded)
    inputs = keras.Input((config.size, config.size, 1), name="image")
    skips, deep = builder.encoder(inputs, config.repeats)
    features = builder.conv(deep, _HEAD_CHANNELS, "head")
    pooled = keras.layers.GlobalAveragePooling2D(name="pooled")(features)
    brain = keras.layers.Dense(1, name="brain")(pooled)
    if dropout:
        features = keras.layers.SpatialDropout2D(config.dropout, name="dropout")(features)
    attention = keras.layers.Conv2D(len(CLASSES), 1, name="attention")(features)
    class_logits = keras.layers.GlobalAveragePooling2D(name="class_logits")(attention)
    mask = builder.decoder(deep, skips, config.decoder)
    outputs = {
        "class_logits": class_logits,
        "attention": attention,
        "mask": mask,
        "brain": brain,
    }
    if folded:
        outputs["features"] = pooled
    return keras.Model(inputs, outputs, name="tumorsite")


def layer_weights(model: Any) -> dict[str, Any]:
    """Every variable's value as `layer/variable`, e.g. `stem/kernel`: NumPy arrays."""
    return {
        f"{layer.name}/{variable.name}": variable.numpy()
        for layer in model.layers
        for variable in layer.weights
    }


def fold(weights: dict[str, Any]) -> dict[str, Any]:
    """Fold each batch normalisation into the convolution before it.

    Args:
        weights: as `layer_weights` gives them, of the training form; of the folded form they
            stay as they are.

    Returns:
        The same for the folded form.
    """
    folded = {}
    for key, value in weights.items():
        layer = key.rsplit("/", 1)[0]
        if layer.endswith("_bn"):
            continue
        if f"{layer}_bn/gamma" not in weights:
            folded[key] = value
            continue
        norm = {
            part: weights[f"{layer}_bn/{part}"]
            for part in ("gamma", "beta", "moving_mean", "moving_variance")
        }
        factor = norm["gamma"] / (norm["moving_variance"] + BATCH_NORM_EPSILON) ** 0.5
        # A depthwise kernel has its channels on the third axis, any other on the last.
        depthwise = layer.endswith("_depthwise")
        folded[key] = value * (factor[:, None] if depthwise else factor)
        folded[f"{layer}/bias"] = norm["beta"] - norm["moving_mean"] * factor
    return folded


def set_weights(model: Any, weights: dict[str, Any]) -> None:
    """Set every variable by name.

    Raises:
        ValueError: a variable is missing in `weights` or has another shape.
    """
    for layer in model.layers:
        for variable in layer.weights:
            key = f"{layer.name}/{variable.name}"
            if key not in weights or tuple(weights[key].shape) != tuple(variable.shape):
                raise ValueError(f"no fitting value for {key} {tuple(variable.shape)}")
            variable.assign(weights[key])
