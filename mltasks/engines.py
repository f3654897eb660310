"""What computes the forward pass: ONNX Runtime on CPUs, TensorFlow on GPUs, same answers."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from mltasks.preprocessing import Floats

OUTPUTS = ("class_logits", "attention", "mask", "brain", "features")
ENGINES = ("onnx", "tensorflow")
# Pictures of a batch that ONNX Runtime is given at once, at most.
_TOGETHER = 2


class ModelError(RuntimeError):
    """A model that is missing, damaged or of another kind, with a message for operators."""


@dataclass(frozen=True, slots=True)
class Outputs:
    """Raw outputs for n pictures, all float32; all but the features are logits.

    Attributes:
        class_logits: (n, 4).
        attention: (n, rows, columns, 4); its mean over the cells is `class_logits`.
        mask: (n, rows, columns), tumour against anything else.
        brain: (n,), brain MRI against any other picture.
        features: (n, 1280), the last features, averaged over the cells.
    """

    class_logits: Floats
    attention: Floats
    mask: Floats
    brain: Floats
    features: Floats

    def only(self, index: int) -> Outputs:
        """The outputs for one of the pictures."""
        return Outputs(*(getattr(self, name)[index : index + 1] for name in OUTPUTS))


class Engine(Protocol):
    """Computes the forward pass.

    Attributes:
        sides: height and width of its input as the weights state them; None if they leave it open.
    """

    sides: tuple[int, int] | None

    def forward(self, batch: Floats) -> Outputs:
        """Run the network on float32 (n, size, size, 1)."""
        ...


def onnx_session(weights: bytes, *, threads: int = 0) -> Any:
    """An ONNX Runtime session on the CPU, set up as the site's workers use it.

    Args:
        weights: content of an ONNX file.
        threads: 0 means one per core.

    Raises:
        ModelError: ONNX Runtime cannot load it.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Idle threads that spin would take the cores from the web processes beside them.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(weights, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's own exception classes have no common base
        raise ModelError(f"ONNX Runtime cannot load the model: {error}") from error


class OnnxRunner:
    """Runs an ONNX file on the CPU, a large batch in small parts side by side.

    Threads that share a pass wait for each other after every layer. So a batch goes through in
    twos, each on one thread, as many at a time as there are threads; the layers of two pictures
    fit the cache, too. A lone picture is shared by the threads all the same: someone waits.

    Args:
        weights: content of an ONNX file with one input, the first axis of which is the batch.
        threads: 0 means one per core.
    """

    def __init__(self, weights: bytes, *, threads: int = 0) -> None:
        self._count = threads or os.cpu_count() or 1
        self._alone = onnx_session(weights, threads=1)
        self._shared = self._alone
        if self._count > 1:
            self._shared = onnx_session(weights, threads=self._count)
            self._lanes = ThreadPoolExecutor(self._count, thread_name_prefix="engine")
        given = self._alone.get_inputs()[0]
        self._input, self.shape = given.name, tuple(given.shape)
        self.outputs = [output.name for output in self._alone.get_outputs()]

    def run(self, names: Sequence[str], batch: Floats) -> list[Floats]:
        """The outputs of these names for a batch."""

        def part(start: int) -> list[Floats]:
            fed = {self._input: batch[start : start + size]}
            results: list[Floats] = self._alone.run(list(names), fed)
            return results

        if len(batch) == 1:
            results: list[Floats] = self._shared.run(list(names), {self._input: batch})
            return results
        size = min(_TOGETHER, -(-len(batch) // self._count))
        starts = range(0, len(batch), size)
        parts = list(map(part, starts) if self._count == 1 else self._lanes.map(part, starts))
        return [np.concatenate(values) for values in zip(*parts, strict=True)]


class OnnxEngine:
    """ONNX Runtime on the CPU."""

    def __init__(self, weights: bytes, *, threads: int = 0) -> None:
        self._runner = OnnxRunner(weights, threads=threads)
        names = set(self._runner.outputs)
        if names != set(OUTPUTS):
            raise ModelError(f"the model's outputs are {sorted(names)}, not {sorted(OUTPUTS)}")
        # An axis without a size has a name instead.
        sides = self._runner.shape[1:3]
        self.sides = sides if all(isinstance(side, int) for side in sides) else None

    def forward(self, batch: Floats) -> Outputs:
        """Run the network on float32 (n, size, size, 1)."""
        return Outputs(*self._runner.run(OUTPUTS, batch))


def open_engine(name: str, weights: bytes, *, threads: int = 0) -> Engine:
    """The engine of that name, loaded with the content of an ONNX file.

    Raises:
        ModelError: unknown name, unusable weights, or TensorFlow is not installed.
    """
    if name == "onnx":
        return OnnxEngine(weights, threads=threads)
    if name == "tensorflow":
        from mltasks.tensorflow_engine import TensorFlowEngine

        return TensorFlowEngine(weights)
    raise ModelError(f"unknown engine {name!r}: it must be one of {', '.join(ENGINES)}")
