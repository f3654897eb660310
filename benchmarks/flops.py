"""How much arithmetic a network needs, counted from its ONNX graph."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import onnx


def _attribute(node: Any, name: str, default: int) -> int:
    return next((int(one.i) for one in node.attribute if one.name == name), default)


def convolution_flops(content: bytes) -> int:
    """Floating-point operations of all convolutions for one picture.

    A multiplication and an addition count as two, as in a matrix product; bias, activations and
    resizing are left out, so the share of the peak is rather too low.

    Args:
        content: an ONNX file whose input's first axis is the batch.

    Raises:
        ValueError: the size of a convolution's output cannot be inferred.
    """
    model = onnx.load_model_from_string(content)
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    # `data_prop`, as sizes after a Reshape come from an initialiser.
    graph = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    kernels = {one.name: tuple(one.dims) for one in graph.initializer}
    sizes = {
        one.name: tuple(axis.dim_value for axis in one.type.tensor_type.shape.dim)
        for one in (*graph.value_info, *graph.output)
    }
    total = 0
    for node in graph.node:
        if node.op_type != "Conv":
            continue
        _, _, *output = sizes.get(node.output[0], ())
        # (out, in / groups, rows, columns): the cost of each position of the output.
        if not output or not all(output):
            raise ValueError(f"the output size of {node.name} is not known")
        total += 2 * math.prod(kernels[node.input[1]]) * math.prod(output)
    return total


def write_encoder(model: Path, target: Path) -> bytes:
    """Extract the encoder: what leads to the averaged features, without heads and decoder.

    Args:
        model: the network's ONNX file.
        target: where the encoder's ONNX file is written.

    Returns:
        The encoder's content.
    """
    onnx.utils.extract_model(str(model), str(target), ["image"], ["features"])
    return target.read_bytes()
