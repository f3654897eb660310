"""The engines section of `make bench`."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from benchmarks import engine_table as table, engines, int8
from benchmarks.engines import Job, Measured
from benchmarks.flops import convolution_flops, write_encoder
from benchmarks.pictures import slices
from mltasks.inference import WEIGHTS_NAME, load_analyzer
from mltasks.preprocessing import Floats, Pixels, preprocess

THREADS = (1, 2)
_ENGINE_KINDS = dict(
    zip((engines.OURS, *engines.OTHERS), ("onnx", "keras", "function", "openvino"), strict=True)
)


def _load() -> float:
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else float("nan")


def _inputs(images: list[Pixels], size: int) -> Floats:
    return np.stack([preprocess(image, size)[0] for image in images])


def report(model: Path, data: Path | None, folder: Path, *, rounds: int, seconds: float) -> str:
    """Measure all engines; the report in Markdown.

    Args:
        model: the model folder.
        data: the training data, or None for drawn heads.
        folder: takes temporary files.
        rounds: repetitions.
        seconds: for each contender and batch in each repetition.
    """
    before = _load()
    pictures = slices(data)
    analyzer = load_analyzer(model)
    weights, encoder = model / WEIGHTS_NAME, folder / "encoder.onnx"
    work = table.Work(
        network=convolution_flops(weights.read_bytes()),
        encoder=convolution_flops(write_encoder(weights, encoder)),
    )
    size = analyzer.input_size
    quantised = int8.quantise(weights, _inputs(pictures.calibration, size), folder)
    agreement = int8.agreement(analyzer, quantised, pictures.held_out)
    # Evenly spaced, as the slices are ordered by class.
    some = pictures.held_out[:: max(1, len(pictures.held_out) // max(engines.BATCHES))]
    inputs = folder / "inputs.npy"
    engines.save_inputs(inputs, _inputs(some[: max(engines.BATCHES)], size), pictures.tumours)

    measured = Measured()
    jobs = {name: Job(kind, weights) for name, kind in _ENGINE_KINDS.items()}
    jobs[engines.INT8] = Job("onnx", quantised)
    engines.fresh_starts(measured, jobs, inputs, threads=max(THREADS), rounds=3)
    jobs[engines.ENCODER] = Job("encoder", encoder)
    jobs[engines.MATMUL] = Job("matmul", weights, (1,))
    jobs[engines.ANSWER] = Job("answer", weights, (1,))
    jobs[engines.ANSWER_ALL] = Job("answer_all", weights, (1,))
    engines.run(measured, jobs, inputs, threads=THREADS, rounds=rounds, seconds=seconds)
    return "\n".join(
        [
            *table.header(measured, work, pictures.kind, (before, _load())),
            "",
            *table.speed_table(measured, work),
            "",
            *table.start_table(measured),
            "",
            *table.ratio_table(measured, work),
            "",
            table.agreement_sentences(agreement, pictures.kind),
        ]
    )
