"""One contender in its own process: it loads, answers once, then measures on request.

Called by `benchmarks.engines` as `python -m benchmarks.contender NAME MODEL THREADS INPUTS`. Each
line of its standard input, a JSON object with `batch` and `seconds`, is answered with one line.
Imports are inside functions, as start-up time and memory are part of what is measured.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

# From float32 (n, size, size, 1) to class logits, or to anything if nothing is compared.
Work = Callable[[NDArray[np.float32]], Any]
MATMUL_SIDE = 1024
FEWEST_PASSES = 3
# Limits for pictures that are the benchmark's own: merely large enough.
_LARGEST = 2**26


def _onnx(model: Path, threads: int, inputs: Path) -> Work:
    from mltasks.engines import OnnxEngine

    engine = OnnxEngine(model.read_bytes(), threads=threads)
    return lambda batch: engine.forward(batch).class_logits


def _encoder(model: Path, threads: int, inputs: Path) -> Work:
    from mltasks.engines import OnnxRunner

    runner = OnnxRunner(model.read_bytes(), threads=threads)
    return lambda batch: runner.run(["features"], batch)[0]


def _tensorflow(threads: int) -> None:
    from mltasks.lazy import tensorflow_module

    threading = tensorflow_module().config.threading
    threading.set_intra_op_parallelism_threads(threads)
    threading.set_inter_op_parallelism_threads(1)


def _function(model: Path, threads: int, inputs: Path) -> Work:
    _tensorflow(threads)
    from mltasks.tensorflow_engine import TensorFlowEngine

    engine = TensorFlowEngine(model.read_bytes())
    return lambda batch: engine.forward(batch).class_logits


def _keras(model: Path, threads: int, inputs: Path) -> Work:
    _tensorflow(threads)
    from mltasks.tensorflow_engine import keras_network

    network = keras_network(model.read_bytes())
    return lambda batch: network.predict(batch, batch_size=len(batch), verbose=0)["class_logits"]


def _openvino(model: Path, threads: int, inputs: Path) -> Work:
    import openvino

    core = openvino.Core()
    # Without the first, it computes in bfloat16 where the processor can: not the same network.
    options = {
        "INFERENCE_PRECISION_HINT": "f32",
        "INFERENCE_NUM_THREADS": threads,
        "PERFORMANCE_HINT": "LATENCY",
    }
    compiled: dict[int, Any] = {}

    def work(batch: NDArray[np.float32]) -> Any:
        if len(batch) not in compiled:
            # It is fastest if it knows the batch size beforehand.
            network = core.read_model(model)
            network.reshape(list(batch.shape))
            compiled[len(batch)] = core.compile_model(network, "CPU", options)
        return compiled[len(batch)](batch)["class_logits"]

    return work


def _matmul(model: Path, threads: int, inputs: Path) -> Work:
    # The environment has set the number of threads before NumPy loads its BLAS.
    left, right = np.random.default_rng(0).random((2, MATMUL_SIDE, MATMUL_SIDE), np.float32)
    target = np.empty_like(left)
    return lambda _: np.matmul(left, right, out=target)


def _answer(model: Path, threads: int, inputs: Path, *, everything: bool = False) -> Work:
    from mltasks.images import Limits, decode
    from mltasks.inference import load_analyzer
    from predictions import rendering

    analyzer = load_analyzer(model.parent, threads=threads)
    files = cycle([path.read_bytes() for path in sorted(inputs.parent.glob("tumour*"))])

    limits = Limits(max_bytes=_LARGEST, max_pixels=_LARGEST)

    def work(batch: NDArray[np.float32]) -> None:
        pixels = decode(next(files), limits).pixels
        analysis = analyzer.analyze([pixels])[0]
        if everything:
            rendering.pictures(analysis)
        else:
            rendering.area_png(analysis.area)

    return work


def _answer_with_all(model: Path, threads: int, inputs: Path) -> Work:
    return _answer(model, threads, inputs, everything=True)


CONTENDERS: dict[str, Callable[[Path, int, Path], Work]] = {
    "onnx": _onnx,
    "keras": _keras,
    "function": _function,
    "openvino": _openvino,
    "encoder": _encoder,
    "matmul": _matmul,
    "answer": _answer,
    "answer_all": _answer_with_all,
}


def measure(
    work: Work, batch: NDArray[np.float32], seconds: float, *, best: bool = False
) -> dict[str, float]:
    """Milliseconds of a call: by the clock, and of processor time over all threads.

    The median of the calls or, for a peak, the least: what is reached undisturbed.
    """
    summary = np.min if best else np.median
    wall: list[float] = []
    processor: list[float] = []
    end = time.perf_counter() + seconds
    while len(wall) < FEWEST_PASSES or time.perf_counter() < end:
        start, used = time.perf_counter(), time.process_time()
        work(batch)
        wall.append(time.perf_counter() - start)
        processor.append(time.process_time() - used)
    return {"wall": 1000 * float(summary(wall)), "processor": 1000 * float(summary(processor))}


def main() -> None:
    # What libraries print must not mix with the answers.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    name, model, threads, inputs = sys.argv[1:]
    pictures = np.load(inputs)
    try:
        work = CONTENDERS[name](Path(model), int(threads), Path(inputs))
        first = work(pictures[:1])
    except (ImportError, RuntimeError) as error:
        print(json.dumps({"error": str(error)}), file=answers)
        return
    logits = [] if first is None else np.asarray(first).ravel()[:4].tolist()
    print(json.dumps({"logits": logits}), file=answers)
    seen = set[int]()
    for line in sys.stdin:
        task = json.loads(line)
        batch = pictures[: task["batch"]]
        if task["batch"] not in seen:
            # Graphs and kernels for a new size are built once, which must not be timed.
            seen.add(task["batch"])
            work(batch)
        figures = measure(work, batch, task["seconds"], best=name == "matmul")
        print(json.dumps(figures), file=answers)


if __name__ == "__main__":
    main()
