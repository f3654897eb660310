"""The comparison of engines: its arithmetic on a tiny network, its tables on made-up times."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks import engine_table as table, engines, int8
from benchmarks.contender import MATMUL_SIDE
from benchmarks.engines import Case, Contender, Job, Measured, Sample
from benchmarks.flops import convolution_flops, write_encoder
from benchmarks.pictures import pictures, slices
from mltasks.network import NetworkConfig, build_network
from mltasks.onnx_export import to_onnx
from mltasks.tests.conftest import write_data

SIZE = 32
WORK = table.Work(network=2 * 10**9, encoder=10**9)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int, int]:
    """An untrained network's ONNX file; its operations, all and the encoder's, as Keras has it."""
    network = build_network(NetworkConfig(size=SIZE), folded=True)
    path = tmp_path_factory.mktemp("tiny") / "model.onnx"
    path.write_bytes(to_onnx(network))
    total = encoder = 0
    for layer in network.layers:
        if "Conv2D" not in type(layer).__name__:
            continue
        rows, columns = layer.output.shape[1:3]
        flops = 2 * rows * columns * int(np.prod(layer.kernel.shape))
        total += flops
        if layer.name.startswith(("stem", "block", "head")):
            encoder += flops
    return path, total, encoder


def test_flops_are_those_of_the_layers(tiny: tuple[Path, int, int], tmp_path: Path) -> None:
    path, total, encoder = tiny
    assert convolution_flops(path.read_bytes()) == total
    cut = write_encoder(path, tmp_path / "encoder.onnx")
    assert convolution_flops(cut) == encoder < total


def test_a_process_answers_and_measures(tiny: tuple[Path, int, int], tmp_path: Path) -> None:
    inputs = tmp_path / "inputs.npy"
    rng = np.random.default_rng(0)
    engines.save_inputs(inputs, rng.normal(size=(2, SIZE, SIZE, 1)).astype(np.float32), [])
    measured = Measured()
    jobs = {
        engines.OURS: Job("onnx", tiny[0], (1, 2)),
        engines.MATMUL: Job("matmul", tiny[0], (1,)),
    }
    engines.fresh_starts(measured, jobs, inputs, threads=1, rounds=1)
    engines.run(measured, jobs, inputs, threads=(1,), rounds=2, seconds=0.02)
    assert len(measured.logits[engines.OURS]) == 4
    assert measured.memory[engines.OURS][0] > 10
    assert {case: len(samples) for case, samples in measured.samples.items()} == {
        Case(engines.OURS, 1, 1): 2,
        Case(engines.OURS, 2, 1): 2,
        Case(engines.MATMUL, 1, 1): 2,
    }
    assert all(one.wall > 0 for samples in measured.samples.values() for one in samples)


def test_what_cannot_take_part_is_named(tmp_path: Path) -> None:
    model, inputs = tmp_path / "model.onnx", tmp_path / "inputs.npy"
    model.write_bytes(b"no network")
    engines.save_inputs(inputs, np.zeros((1, SIZE, SIZE, 1), np.float32), [])
    measured = Measured()
    jobs = {engines.OURS: Job("onnx", model)}
    engines.fresh_starts(measured, jobs, inputs, threads=1, rounds=2)
    assert "cannot load the model" in measured.missing[engines.OURS]
    engines.run(measured, jobs, inputs, threads=(1,), rounds=1, seconds=0.01)
    assert not measured.samples
    with pytest.raises(engines.MissingError, match="cannot load the model"):
        Contender(jobs[engines.OURS], 1, inputs)


def _made_up() -> Measured:
    measured = Measured(missing={"OpenVINO": "No module named 'openvino'"})
    flops = 2 * MATMUL_SIDE**3
    times = {engines.OURS: 40.0, "Keras `predict`": 200.0, "`tf.function`": 32.0}
    for name, milliseconds in times.items():
        for batch in engines.BATCHES:
            wall = milliseconds * batch
            # The second repetition fell into a busy second, which ratios must not show.
            measured.samples[Case(name, batch, 1)] = [Sample(wall, wall), Sample(3 * wall, wall)]
        measured.starts[name], measured.memory[name] = [1.0, 3.0], [100.0, 120.0]
        measured.logits[name] = [0.0, 1.0, 2.0, milliseconds]
    for batch in engines.BATCHES:
        wall = 20.0 * batch
        measured.samples[Case(engines.ENCODER, batch, 1)] = [
            Sample(wall, wall),
            Sample(3 * wall, wall),
        ]
    # A peak of 100 GFLOP/s: an encoder of 1 GFLOP in 20 ms uses half of it, in 40 ms a quarter.
    wall = flops / 100e9 * 1000
    measured.samples[Case(engines.MATMUL, 1, 1)] = [Sample(wall, wall), Sample(3 * wall, wall)]
    for name, wall in ((engines.ANSWER, 60.0), (engines.ANSWER_ALL, 100.0)):
        measured.samples[Case(name, 1, 1)] = [Sample(wall, wall), Sample(3 * wall, wall)]
    return measured


def test_ratios_and_their_goals() -> None:
    lines = "\n".join(table.ratio_table(_made_up(), WORK))
    assert (
        "`tf.function`, the fastest other, batch 8, threads 1 | 1.25 | 1.25 | ≤ 1.3, reached"
        in (lines)
    )
    assert "share of peak, batch 1, threads 1 | 0.25 | 0.50 | ≥ 0.6, not reached |" in lines
    assert "area → PNG : bare forward pass, threads 1 | 1.50 | 1.50 | ≤ 2, reached |" in lines
    assert "contours as PNG : bare forward pass, threads 1 | 2.50 | 2.50 |  |" in lines


def test_tables_show_every_engine_and_who_is_missing() -> None:
    measured = _made_up()
    speed = table.speed_table(measured, WORK)
    # Twice 40 ms, once in three times as long: 80 ms by the clock, 40 of processor time.
    assert "| ONNX Runtime | 1 | 8 | 80.0 | 40.0 | 25% |" in speed
    assert "| OpenVINO | not measured: No module named 'openvino' | | | | |" in speed
    starts = table.start_table(measured)
    assert "| ONNX Runtime | 2.00 | 110 |  |" in starts
    assert "| `tf.function` | 2.00 | 110 | 8.0e+00 |" in starts
    head = "\n".join(table.header(measured, WORK, "slices", (0.5, 1.5)))
    assert "100 GFLOP/s with threads: 1." in head
    assert "load average 0.5 before and 1.5 after" in head
    assert f"Python {sys.version_info[0]}.{sys.version_info[1]}" in head


def test_without_any_other_engine_the_table_says_so() -> None:
    measured = _made_up()
    for case in [case for case in measured.samples if case.name in engines.OTHERS]:
        del measured.samples[case]
    lines = table.ratio_table(measured, WORK)
    assert any("no other was measured" in line for line in lines)


def test_slices_keep_the_folds_apart(tmp_path: Path) -> None:
    data = write_data(tmp_path / "data", 24)
    chosen = slices(data, count=6, files=3)
    assert (len(chosen.calibration), len(chosen.held_out), len(chosen.tumours)) == (6, 6, 3)
    seen = {image.tobytes() for image in chosen.calibration}
    assert not seen & {image.tobytes() for image in chosen.held_out}


def test_pictures_are_those_that_can_be_used(tmp_path: Path) -> None:
    data = write_data(tmp_path / "data", 4)
    (data / "images" / "slice0.jpg").rename(data / "images" / "slice0.png")
    header, *rows = (data / "manifest.csv").read_text().splitlines()
    marked = [f"{header},excluded", *(f"{row}," for row in rows[:-1]), f"{rows[-1]},turned"]
    (data / "manifest.csv").write_text("\n".join(marked))
    (data / "images" / "slice3.jpg").unlink()
    assert len(pictures(6, data)[1]) == 6


def test_eight_bits_give_a_network_of_the_same_outputs(
    tiny: tuple[Path, int, int], tmp_path: Path
) -> None:
    from mltasks.engines import OnnxEngine

    inputs = np.random.default_rng(1).normal(size=(4, SIZE, SIZE, 1)).astype(np.float32)
    quantised = int8.quantise(tiny[0], inputs, tmp_path)
    assert quantised.stat().st_size < tiny[0].stat().st_size / 2
    exact = OnnxEngine(tiny[0].read_bytes()).forward(inputs).features
    coarse = OnnxEngine(quantised.read_bytes()).forward(inputs).features
    assert np.abs(exact - coarse).max() > 0
    assert np.corrcoef(exact.ravel(), coarse.ravel())[0, 1] > 0.8
