"""Networks small enough for a test and real enough for the site: linear, in ONNX, in a folder."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from mltasks.classes import CLASSES
from mltasks.data import Sample, load_samples, read_manifest
from mltasks.doubt import REFERENCE_NAME, Reference
from mltasks.preprocessing import preprocess
from mltasks.release import MODEL_CARD_NAME

SIZE, CELLS = 64, 8
# Nothing is foreign to it, and it stands by all it says.
DOUBT = {
    "temperature": {"base": 1.0, "slope": 0.0},
    "distance": {"centre": 1.0, "flag": 2.0, "refuse": 3.0},
    "sets": dict.fromkeys(CLASSES, 0.1),
    "answer": {"commit": 0.0, "flagged_cap": 0.85},
    "contours": {"inner": 0.7, "outer": 0.3},
}
Weights = NDArray[np.float32]


def _cells(samples: Sequence[Sample]) -> NDArray[np.float64]:
    """(n, 64): the mean of each cell of the network's input."""
    inputs = np.stack([preprocess(sample.pixels, SIZE)[0][..., 0] for sample in samples])
    side = SIZE // CELLS
    blocks = inputs.reshape(len(inputs), CELLS, side, CELLS, side)
    return np.asarray(blocks.mean(axis=(2, 4)).reshape(len(inputs), -1), np.float64)


def fitted(data: Path, *, fold: int = 1) -> Weights:
    """Weights (64, 4) of a linear classifier that knows the slices of a fold by heart."""
    samples = load_samples(data, [r for r in read_manifest(data) if r.fold == fold])
    cells = _cells(samples)
    wanted = 8.0 * np.eye(len(CLASSES))[[sample.record.target for sample in samples]]
    penalty = 1e-3 * np.eye(cells.shape[1])
    return np.linalg.solve(cells.T @ cells + penalty, cells.T @ wanted).astype(np.float32)


def mixed_up(weights: Weights) -> Weights:
    """A classifier that takes each class for the next one."""
    return np.roll(weights, 1, axis=1)


def onnx_bytes(weights: Weights, *, bright: float = 0.85) -> bytes:
    """The network: logits linear in the means of 8×8 cells, and as tumour whatever is bright."""
    values: dict[str, NDArray[Any]] = {
        "weights": (weights * CELLS * CELLS).reshape(1, CELLS, CELLS, len(CLASSES)),
        "bright": np.array(bright, np.float32),
        "steep": np.array(40, np.float32),
        "zero": np.array(0, np.float32),
        "five": np.array(5, np.float32),
        "last": np.array([3], np.int64),
        "map": np.array([1], np.int64),
        "maps": np.array([1, 2, 3], np.int64),
    }
    side = SIZE // CELLS
    node = helper.make_node
    nodes = [
        node("Transpose", ["image"], ["planes"], perm=[0, 3, 1, 2]),
        node("AveragePool", ["planes"], ["pooled"], kernel_shape=[side] * 2, strides=[side] * 2),
        node("Transpose", ["pooled"], ["cells"], perm=[0, 2, 3, 1]),
        node("Mul", ["cells", "weights"], ["attention"]),
        node("ReduceMean", ["attention"], ["class_logits"], axes=[1, 2], keepdims=0),
        node("AveragePool", ["planes"], ["halved"], kernel_shape=[2, 2], strides=[2, 2]),
        node("Squeeze", ["halved", "map"], ["grey"]),
        node("Sub", ["grey", "bright"], ["over"]),
        node("Mul", ["over", "steep"], ["mask"]),
        node("ReduceMean", ["planes"], ["mean"], axes=[1, 2, 3], keepdims=0),
        node("Mul", ["mean", "zero"], ["nothing"]),
        node("Add", ["nothing", "five"], ["brain"]),
        node("Flatten", ["cells"], ["features"], axis=1),
    ]
    shapes: dict[str, list[Any]] = {
        "class_logits": ["n", 4],
        "attention": ["n", CELLS, CELLS, 4],
        "mask": ["n", SIZE // 2, SIZE // 2],
        "brain": ["n"],
        "features": ["n", CELLS * CELLS],
    }
    graph = helper.make_graph(
        nodes,
        "linear",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", SIZE, SIZE, 1])],
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, shape) for n, shape in shapes.items()],
        [numpy_helper.from_array(value, name) for name, value in values.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def write_network(
    folder: Path, content: bytes, *, version: str = "2", temperature: float = 1.0, **changes: Any
) -> Path:
    """A model folder, with a report beside the network as training writes one."""
    folder.mkdir(parents=True)
    (folder / "model.onnx").write_bytes(content)
    reference = Reference(np.zeros(CELLS * CELLS), np.eye(CELLS * CELLS)).to_bytes()
    (folder / REFERENCE_NAME).write_bytes(reference)
    card = {
        "format": 1,
        "name": "tumorsite",
        "version": version,
        "classes": list(CLASSES),
        "files": {
            "model.onnx": hashlib.sha256(content).hexdigest(),
            REFERENCE_NAME: hashlib.sha256(reference).hexdigest(),
        },
        "input": {"size": SIZE},
        "doubt": {**DOUBT, "temperature": {"base": temperature, "slope": 0.0}},
        "thresholds": {"brain": 0.5, "mask": 0.5, "speck_share": 0.1},
        **changes,
    }
    (folder / "model.json").write_text(json.dumps(card))
    (folder / MODEL_CARD_NAME).write_text("# Drawn\n")
    (folder / "report").mkdir()
    (folder / "report" / "index.html").write_text("<p>As measured.</p>")
    (folder / "checkpoints").mkdir()
    (folder / "checkpoints" / "last.npz").write_bytes(b"not for release")
    return folder
