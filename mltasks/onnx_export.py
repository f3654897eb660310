"""Writes the folded network as ONNX, and reads the weights back out of it.

The file is the only container of the weights: the TensorFlow engine loads them from here. The
network has few kinds of layers, so each is translated by hand; names stay those of the Keras
layers (`stem/kernel`), which a general converter would lose.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mltasks.engines import OUTPUTS, ModelError

OPSET = 17
INPUT = "image"
# Keras keeps kernels as rows, columns, in, out (depthwise: rows, columns, channels, 1),
# ONNX as out, in, rows, columns.
_TO_ONNX = {"Conv2D": (3, 2, 0, 1), "DepthwiseConv2D": (2, 3, 0, 1), "Dense": (0, 1)}
_TO_KERAS = {"Conv2D": (2, 3, 1, 0), "DepthwiseConv2D": (2, 3, 0, 1), "Dense": (0, 1)}
_ZERO, _SIX, _TWICE, _FLAT = "zero", "six", "twice", "flat"


def _onnx() -> Any:
    try:
        import onnx
    except ImportError as error:
        raise ModelError("onnx is not installed: pip install -r requirements/train.txt") from error
    return onnx


class _Graph:
    """Collects nodes and initialisers while the layers are translated."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.values: dict[str, NDArray[Any]] = {
            _ZERO: np.array(0, np.float32),
            _SIX: np.array(6, np.float32),
            _TWICE: np.array([1, 1, 2, 2], np.float32),
            _FLAT: np.array([0, -1], np.int64),
        }

    def add(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> None:
        self.nodes.append(
            _onnx().helper.make_node(kind, inputs, [output], name=output, **attributes)
        )


def _conv(graph: _Graph, layer: Any, inputs: list[str]) -> None:
    kind = type(layer).__name__
    kernel = layer.kernel.numpy().transpose(_TO_ONNX[kind])
    graph.values[f"{layer.name}/kernel"] = kernel
    graph.values[f"{layer.name}/bias"] = layer.bias.numpy()
    size, stride, side = layer.kernel_size[0], layer.strides[0], layer.input.shape[1]
    # "same" padding as TensorFlow does it: the odd pixel goes after the picture.
    total = max(0, (-(-side // stride) - 1) * stride + size - side)
    pads = [total // 2, total // 2, total - total // 2, total - total // 2]
    graph.add(
        "Conv",
        [*inputs, f"{layer.name}/kernel", f"{layer.name}/bias"],
        layer.name,
        kernel_shape=[size, size],
        strides=[stride, stride],
        pads=pads,
        group=kernel.shape[0] if kind == "DepthwiseConv2D" else 1,
    )


def _relu(graph: _Graph, layer: Any, inputs: list[str]) -> None:
    graph.add("Clip", [*inputs, _ZERO, _SIX], layer.name)


def _add(graph: _Graph, layer: Any, inputs: list[str]) -> None:
    graph.add("Add", inputs, layer.name)


def _concatenate(graph: _Graph, layer: Any, inputs: list[str]) -> None:
    graph.add("Concat", inputs, layer.name, axis=1)


def _upsample(graph: _Graph, layer: Any, inputs: list[str]) -> None:
    graph.add(
        "Resize",
        [*inputs, "", _TWICE],
        layer.name,
        mode="nearest",
        coordinate_transformation_mode="asymmetric",
        nearest_mode="floor",
    )


def _pool(graph: _Graph, layer: Any, inputs: list[str]) -> None:
    graph.add("GlobalAveragePool", inputs, f"{layer.name}/map")
    graph.add("Reshape", [f"{layer.name}/map", _FLAT], layer.name)


def _dense(graph: _Graph, layer: Any, inputs: list[str]) -> None:
    graph.values[f"{layer.name}/kernel"] = layer.kernel.numpy()
    graph.values[f"{layer.name}/bias"] = layer.bias.numpy()
    graph.add("Gemm", [*inputs, f"{layer.name}/kernel", f"{layer.name}/bias"], layer.name)


_TRANSLATIONS: dict[str, Callable[[_Graph, Any, list[str]], None]] = {
    "Conv2D": _conv,
    "DepthwiseConv2D": _conv,
    "ReLU": _relu,
    "Add": _add,
    "Concatenate": _concatenate,
    "UpSampling2D": _upsample,
    "GlobalAveragePooling2D": _pool,
    "Dense": _dense,
}


def to_onnx(model: Any) -> bytes:
    """Translate the folded Keras network.

    Returns:
        An ONNX file's content: input `image`, float32 (n, size, size, 1); outputs as
        `engines.Outputs` describes them.
    """
    onnx = _onnx()
    helper, floats = onnx.helper, onnx.TensorProto.FLOAT
    graph = _Graph()
    size = model.input_shape[1]
    graph.add("Reshape", [INPUT, "planes"], "image/planes")
    graph.values["planes"] = np.array([-1, 1, size, size], np.int64)
    names = {id(model.input): "image/planes"}
    for layer in model.layers:
        if type(layer).__name__ == "InputLayer":
            continue
        sources = layer.input if isinstance(layer.input, list) else [layer.input]
        # An output's own name is taken by the node that brings it into its final shape.
        _TRANSLATIONS[type(layer).__name__](graph, layer, [names[id(s)] for s in sources])
        names[id(layer.output)] = layer.name
    _finish(graph)
    shapes: dict[str, list[Any]] = {
        "class_logits": ["n", 4],
        "attention": ["n", size // 32, size // 32, 4],
        "mask": ["n", size // 2, size // 2],
        "brain": ["n"],
        "features": ["n", model.get_layer("pooled").output.shape[1]],
    }
    proto = helper.make_model(
        helper.make_graph(
            graph.nodes,
            "tumorsite",
            [helper.make_tensor_value_info(INPUT, floats, ["n", size, size, 1])],
            [helper.make_tensor_value_info(name, floats, shapes[name]) for name in OUTPUTS],
            [
                onnx.numpy_helper.from_array(np.ascontiguousarray(value), name)
                for name, value in sorted(graph.values.items())
            ],
        ),
        opset_imports=[helper.make_opsetid("", OPSET)],
        producer_name="tumorsite",
        ir_version=8,
    )
    onnx.checker.check_model(proto, full_check=True)
    content: bytes = proto.SerializeToString(deterministic=True)
    return content


def _finish(graph: _Graph) -> None:
    """Bring the outputs into the shapes of the Keras network's."""
    helper = _onnx().helper
    for node in graph.nodes:
        for field in (node.input, node.output):
            for index, name in enumerate(field):
                if name in {"attention", "mask", "brain"}:
                    field[index] = f"{name}/raw"
    graph.nodes += [
        helper.make_node("Transpose", ["attention/raw"], ["attention"], perm=[0, 2, 3, 1]),
        helper.make_node("Squeeze", ["mask/raw", "mask/axes"], ["mask"]),
        helper.make_node("Reshape", ["brain/raw", "brain/shape"], ["brain"]),
        helper.make_node("Identity", ["pooled"], ["features"]),
    ]
    graph.values["mask/axes"] = np.array([1], np.int64)
    graph.values["brain/shape"] = np.array([-1], np.int64)


def read_weights(content: bytes) -> dict[str, NDArray[Any]]:
    """The initialisers of an ONNX file by name, in ONNX's axis order.

    Raises:
        ModelError: it is not an ONNX file, or onnx is not installed.
    """
    onnx = _onnx()
    try:
        proto = onnx.load_model_from_string(content)
    except Exception as error:  # protobuf's DecodeError has no public home
        raise ModelError(f"not an ONNX file: {error}") from error
    return {value.name: onnx.numpy_helper.to_array(value) for value in proto.graph.initializer}


def replace_weights(content: bytes, values: dict[str, NDArray[Any]]) -> bytes:
    """The ONNX file with other values for some of its initialisers, of the same shapes."""
    onnx = _onnx()
    proto = onnx.load_model_from_string(content)
    for value in proto.graph.initializer:
        if value.name in values:
            value.CopyFrom(onnx.numpy_helper.from_array(values[value.name], value.name))
    changed: bytes = proto.SerializeToString(deterministic=True)
    return changed


def load_into(model: Any, content: bytes) -> None:
    """Fill the folded Keras network with the weights of an ONNX file.

    Raises:
        ModelError: a weight is missing or of another shape.
    """
    values = read_weights(content)
    for layer in model.layers:
        kind = type(layer).__name__
        if kind not in _TO_KERAS:
            continue
        try:
            layer.kernel.assign(values[f"{layer.name}/kernel"].transpose(_TO_KERAS[kind]))
            layer.bias.assign(values[f"{layer.name}/bias"])
        except (KeyError, ValueError) as error:
            raise ModelError(f"the weights of {layer.name} are missing or do not fit") from error
