"""Runs that are broken off, watched, stopped early, spread over devices; and their batches."""

from __future__ import annotations

import hashlib
import io
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.conf import settings
from django.core.management import CommandError, call_command

from mltasks import pipeline, release
from mltasks.data import Record, Sample, load_samples, read_manifest
from mltasks.engines import open_engine
from mltasks.folds import set_aside
from mltasks.lazy import tensorflow_module
from mltasks.network import NetworkConfig
from mltasks.pipeline import TrainingRequest
from mltasks.preprocessing import Pixels
from mltasks.tests import tiny
from mltasks.tests.conftest import write_recipe
from mltasks.training import (
    CheckpointError,
    DataConfig,
    Progress,
    Recipe,
    Run,
    TrainingConfig,
)
from mltasks.training.batches import batch_maker, dataset
from mltasks.training.curves import draw_curves
from mltasks.training.losses import losses
from mltasks.training.tracking import Tracker
from mltasks.training.trainer import CHECKPOINT
from tests.support.disks import full_disk

# Shallow and mostly frozen, as a step's time here grows with the number of layers and weights.
CONFIG = TrainingConfig(
    NetworkConfig(size=32, repeats=(1, 1, 1, 1, 1, 1, 1)),
    epochs=2,
    slices=4,
    negatives=1,
    pretrained=False,
    lesions=0.5,
    frozen_blocks=5,
)
ALL = replace(CONFIG, frozen_blocks=0)


@pytest.fixture(autouse=True, scope="module")
def _eager() -> Any:
    """A few steps do not repay the half minute that TensorFlow takes to make a graph of one."""
    config = tensorflow_module().config
    config.run_functions_eagerly(run_eagerly=True)
    yield
    config.run_functions_eagerly(run_eagerly=False)


@pytest.fixture
def _tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests of the run itself, whatever the network."""
    monkeypatch.setattr("mltasks.training.trainer.build_network", tiny.build_network)
    monkeypatch.setattr("mltasks.training.loop.build_network", tiny.build_network)


@pytest.fixture(scope="module")
def samples(slices: Path) -> list[Sample]:
    return load_samples(slices, read_manifest(slices)[:9])


@pytest.fixture(scope="module")
def pictures() -> list[Pixels]:
    return [np.full((40, 40), 9, np.uint8)]


@pytest.fixture(scope="module")
def shared(samples: list[Sample], pictures: list[Pixels], tmp_path_factory: Any) -> Run:
    """A run for tests that only write and read its checkpoint: building one takes seconds."""
    return Run(CONFIG, samples, pictures, tmp_path_factory.mktemp("shared"))


class Losses:
    """Collects the losses of each step; breaks the run off at one of them."""

    def __init__(self, *, until: int = 0) -> None:
        self.seen: list[float] = []
        self._until = until

    def __call__(self, progress: Progress) -> None:
        self.seen.append(progress.losses["classes"])
        if len(self.seen) == self._until:
            raise KeyboardInterrupt


@pytest.mark.usefixtures("_tiny")
@pytest.mark.parametrize(
    ("seconds", "left"), [(0.4, "0 s"), (119, "119 s"), (120, "2 min"), (1500, "25 min")]
)
def test_time_left_is_told_in_seconds_at_last(seconds: float, left: str) -> None:
    said = Progress(1, 2, 1, 1, {"mask": 0.5}, 20.0, seconds).sentence()
    assert said == (
        f"epoch 1/2, step 1/1: mask 0.500, 20.0 pictures/s, {left} left, then calibration"
    )


def test_a_broken_run_goes_on_along_the_same_curve(
    samples: list[Sample],
    pictures: list[Pixels],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("mltasks.training.loop.SAVE_EVERY", 1)
    whole = Losses()
    Run(ALL, samples, pictures, tmp_path / "whole").go(whole)
    first, second = Losses(until=2), Losses()
    with pytest.raises(KeyboardInterrupt):
        Run(ALL, samples, pictures, tmp_path / "broken").go(first)
    again = Run(ALL, samples, pictures, tmp_path / "broken")
    assert again.resume()
    again.go(second)
    # Broken off within the second step's report: that step, not yet written down, is repeated.
    assert first.seen[:1] + second.seen == pytest.approx(whole.seen, rel=1e-4)
    assert len(again.history) == 2


# As `manage.py train`, but with the tiny network, step by step rather than as a graph; and killed
# while it writes the third checkpoint.
KILLED = """
import os, signal, sys, numpy as np, tensorflow as tf
from django.core.management import execute_from_command_line
from mltasks.tests import tiny
from mltasks.training import loop, trainer

tf.config.run_functions_eagerly(True)
trainer.build_network = loop.build_network = tiny.build_network
savez, written = np.savez, iter(range(9))

def cut(stream, **arrays):
    if next(written) < 2:
        return savez(stream, **arrays)
    stream.write(b"half")
    stream.flush()
    os.kill(os.getpid(), signal.SIGKILL)

np.savez = cut
execute_from_command_line(["manage.py", "train", *sys.argv[1:]])
"""


@pytest.mark.usefixtures("_tiny")
def test_a_killed_run_goes_on(
    slices: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = write_recipe(tmp_path / "tiny-1.toml", training="slices = 12\nepochs = 4")
    broken, whole = tmp_path / "broken", tmp_path / "whole"
    done = subprocess.run(
        [sys.executable, "-c", KILLED, recipe, "--data", slices, "--output", broken],
        cwd=settings.BASE_DIR,
        env={
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "tumorsite.settings",
            "DATA_DIR": str(tmp_path),
            "CUDA_VISIBLE_DEVICES": "",
        },
        capture_output=True,
        text=True,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr[-2000:]
    assert (broken / "checkpoints" / f"{CHECKPOINT}.part").read_bytes() == b"half"

    def trained(*_: Any, **__: Any) -> None:
        raise ValueError("all epochs are done")

    # What follows is not of this network.
    monkeypatch.setattr("mltasks.pipeline.detector.refit", trained)
    said = io.StringIO()
    for output in (broken, whole):
        options = {"data": slices, "output": output, "resume": output == broken, "stdout": said}
        with pytest.raises(CommandError, match="all epochs are done"):
            call_command("train", str(recipe), **options)
    assert said.getvalue().count("resumed after 2 whole epochs") == 1
    first, second = (
        np.loadtxt(output / "checkpoints" / "history.csv", delimiter=",", skiprows=1)
        for output in (broken, whole)
    )
    assert len(second) == 4
    np.testing.assert_allclose(first, second, rtol=1e-4)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        ("bits", "is damaged"),
        ("pickle", "is damaged"),
        ("cut", "breaks off"),
        ("empty", "breaks off"),
        ("foreign", "is no checkpoint of this program"),
        ("list", "is no checkpoint of this program"),
        ("array", "is no checkpoint of this program"),
        ("text", "is no checkpoint of this program"),
    ],
)
def test_what_is_wrong_with_a_checkpoint_is_named(
    shared: Run, tmp_path: Path, damage: str, words: str
) -> None:
    path = tmp_path / CHECKPOINT
    if damage == "cut":
        shared.trainer.save(tmp_path)
        path.write_bytes(path.read_bytes()[:-1000])
    elif damage == "bits":
        shared.trainer.save(tmp_path)
        content = bytearray(path.read_bytes())
        middle = len(content) // 2
        content[middle : middle + 40] = bytes(own ^ 255 for own in content[middle : middle + 40])
        path.write_bytes(content)
    elif damage == "text":
        path.write_text("notes")
    elif damage == "foreign":
        np.savez(path, weights=np.zeros(3))
    elif damage == "pickle":
        np.savez(path, about=np.array([{}], dtype=object), progress="{}")
    elif damage == "list":
        np.savez(path, about="[]", progress="{}")
    elif damage == "array":
        with path.open("wb") as stream:
            np.save(stream, np.zeros(3))
    else:
        path.write_bytes(b"")
    with pytest.raises(CheckpointError, match=rf"state\.npz {words}: remove"):
        shared.trainer.restore(tmp_path)


@pytest.mark.parametrize(
    ("differing", "words"),
    [
        ({"fold": 1}, r"\(fold differ\)"),
        ({"slices learnt from": "bb", "drawn": 3}, r"\(drawn, slices learnt from differ\)"),
        ({"epochs": 9}, ""),
    ],
)
def test_a_checkpoint_of_other_data_is_named(
    shared: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    differing: dict[str, Any],
    words: str,
) -> None:
    data = {"fold": 0, "drawn": 16, "slices learnt from": "aa"}
    monkeypatch.setattr(shared.trainer, "_learnt_from", data)
    shared.trainer.save(tmp_path)
    if not words:
        assert shared.trainer.restore(tmp_path)
        return
    monkeypatch.setattr(shared.trainer, "_learnt_from", data | differing)
    with pytest.raises(CheckpointError, match=words):
        shared.trainer.restore(tmp_path)


def test_a_checkpoint_that_does_not_say_its_data_is_named(
    shared: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared.trainer.save(tmp_path)
    monkeypatch.setattr(shared.trainer, "_learnt_from", {"fold": 0})
    with pytest.raises(CheckpointError, match=r"state\.npz does not say its fold.*train anew"):
        shared.trainer.restore(tmp_path)


def test_a_full_disk_leaves_the_last_checkpoint(shared: Run, tmp_path: Path) -> None:
    shared.trainer.save(tmp_path)
    before = (tmp_path / CHECKPOINT).read_bytes()
    words = r"state\.npz cannot be written .*make room and go on with --resume"
    with full_disk(10_000), pytest.raises(OSError, match=words):
        shared.trainer.save(tmp_path)
    assert (tmp_path / CHECKPOINT).read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == [CHECKPOINT]


@pytest.mark.usefixtures("_tiny")
def test_the_best_weights_are_whole_or_named(
    samples: list[Sample], pictures: list[Pixels], tmp_path: Path
) -> None:
    config = replace(ALL, epochs=1, slices=9)
    with full_disk(1000), pytest.raises(OSError, match=r"best\.npz cannot be written .*--resume"):
        Run(config, samples, pictures, tmp_path, watched=samples[:1]).go()
    assert list(tmp_path.iterdir()) == []
    Run(config, samples, pictures, tmp_path, watched=samples[:1]).go()
    best = tmp_path / "best.npz"
    best.write_bytes(best.read_bytes()[:-100])
    # Said before the first of the steps that are left.
    again = Run(replace(config, epochs=9), samples, pictures, tmp_path, watched=samples[:1])
    with pytest.raises(CheckpointError, match=r"best\.npz breaks off"):
        again.resume()


@pytest.mark.usefixtures("_tiny")
def test_a_run_that_no_longer_improves_stops_and_gives_its_best(
    samples: list[Sample], pictures: list[Pixels], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = iter([3.0, 1.0, 2.0, 2.5, 0.5])
    config = replace(ALL, epochs=5, slices=9, patience=2)
    run = Run(config, samples, pictures, tmp_path, watched=samples[:4])
    monkeypatch.setattr(
        run, "_measure", lambda: {"watched_loss": next(measured), "watched_accuracy": 0.5}
    )
    averages: list[Any] = []
    keep = run._keep_best

    def keep_and_tell() -> None:
        keep()
        averages.append(run._best)

    monkeypatch.setattr(run, "_keep_best", keep_and_tell)
    weights = run.go()
    assert [row["watched_loss"] for row in run.history] == [3.0, 1.0, 2.0, 2.5]
    assert weights is averages[-1]
    later = Run(config, samples, pictures, tmp_path, watched=samples[:4])
    assert later.resume()
    again = later.go()
    np.testing.assert_array_equal(again["stem/kernel"], weights["stem/kernel"])


def test_two_devices_learn_as_one() -> None:
    """In a process of its own: devices are laid out before TensorFlow starts.

    By plain descent, as Adam hides a wrong scale of the gradients; with small pictures and with
    bright ones, whose gradients are clipped; without what each device computes of its own pictures
    alone: statistics of a normalisation, and dropout.
    """
    script = (
        "import keras, numpy as np, tensorflow as tf\n"
        "cpu = tf.config.list_physical_devices('CPU')[0]\n"
        "part = tf.config.LogicalDeviceConfiguration()\n"
        "tf.config.set_logical_device_configuration(cpu, [part, part])\n"
        "tf.config.run_functions_eagerly(False)\n"
        "from mltasks.network import NetworkConfig\n"
        "from mltasks.training import TrainingConfig\n"
        "from mltasks.tests import tiny\n"
        "from mltasks.training import trainer\n"
        "trainer.build_network = tiny.build_network\n"
        "keras.optimizers.AdamW = lambda *_, weight_decay, **clip: (\n"
        "  keras.optimizers.SGD(0.1, **clip))\n"
        "network = NetworkConfig(size=32, dropout=0.0)\n"
        "config = TrainingConfig(network, pretrained=False, frozen_blocks=1)\n"
        "strategy = tf.distribute.MirroredStrategy(['CPU:0', 'CPU:1'])\n"
        "rng = np.random.default_rng(0)\n"
        "image = rng.normal(size=(8, 32, 32, 1)).astype('f')\n"
        "batch = {'target': np.eye(4, dtype='f')[[0, 1, 2, 3, 3, 3, 0, 1]],\n"
        "  'mask': rng.integers(0, 2, (8, 16, 16)).astype('f')}\n"
        "batch |= {name: np.ones(8, 'f') for name in ('mask_known', 'brain', 'tumor')}\n"
        "for brightness in (1, 100):\n"
        "  weights = []\n"
        "  for chosen in (strategy, tf.distribute.get_strategy()):\n"
        "    learner = trainer.Trainer(config, 5, strategy=chosen)\n"
        "    print(learner._strategy.num_replicas_in_sync)\n"
        "    before = learner.model.get_layer('mask').kernel.numpy()\n"
        "    for _ in range(3):\n"
        "      learner.step(batch | {'image': brightness * image})\n"
        "    weights.append(learner.model.get_layer('mask').kernel.numpy())\n"
        "  np.testing.assert_allclose(*weights, rtol=1e-3, atol=1e-5)\n"
        "  assert not np.allclose(weights[0], before, atol=1e-3)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=settings.BASE_DIR,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.split() == ["2", "1", "2", "1"]


@pytest.mark.usefixtures("_tiny")
def test_mixed_precision_keeps_whole_weights_and_watches(
    samples: list[Sample], pictures: list[Pixels], tmp_path: Path
) -> None:
    config = replace(ALL, epochs=1, slices=8, precision="mixed_bfloat16")
    run = Run(config, samples, pictures, tmp_path, watched=samples)
    assert run.trainer.model.get_layer("stem").compute_dtype == "bfloat16"
    weights = run.go()
    assert {value.dtype for value in weights.values()} == {np.dtype(np.float32)}
    assert all(np.isfinite(value).all() for value in weights.values())
    [row] = run.history
    assert row["watched_loss"] > 0
    assert 0 <= row["watched_accuracy"] <= 1


def test_training_goes_on_from_a_released_network(
    trained: tuple[Path, dict[str, Any], str],
    samples: list[Sample],
    pictures: list[Pixels],
    tmp_path: Path,
) -> None:
    """Before the first step the network answers as the released one does."""
    folder, _, _ = trained
    config = replace(CONFIG, start=str(folder), epochs=1, slices=8)
    run = Run(config, samples, pictures, tmp_path)
    started_from = run.trainer._identity()["weights started from"]
    assert started_from == hashlib.sha256((folder / "model.onnx").read_bytes()).hexdigest()
    content = release.export_weights(config.network, run.trainer.averaged())
    batch = np.random.default_rng(1).normal(size=(2, 32, 32, 1)).astype(np.float32)
    released = open_engine("onnx", (folder / "model.onnx").read_bytes()).forward(batch)
    begun = open_engine("onnx", content).forward(batch)
    np.testing.assert_allclose(released.class_logits, begun.class_logits, atol=1e-4)
    first = run.trainer.averaged()
    learnt = run.go()
    assert not any("_bn/" in name for name in learnt)
    mixed = Run(replace(config, start_share=0.25), samples, pictures, tmp_path / "mixed").go()
    for name, value in mixed.items():
        np.testing.assert_allclose(value, 0.75 * learnt[name] + 0.25 * first[name], atol=1e-5)
    assert any((learnt[name] != first[name]).any() for name in first)
    with pytest.raises(ValueError, match=r"cannot start from .*give a model folder"):
        Run(replace(config, start=str(tmp_path / "none")), samples, pictures, tmp_path)


def test_too_little_data_is_refused(
    samples: list[Sample], pictures: list[Pixels], tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match="at least 4 slices"):
        Run(CONFIG, samples[:2], pictures, tmp_path)
    with pytest.raises(ValueError, match="one other picture"):
        Run(CONFIG, samples, [], tmp_path)


def test_a_tumour_without_a_mask_teaches_its_class_only() -> None:
    """The loss of the area, and what changes it, is that of the other slices alone."""
    tf, rng = tensorflow_module(), np.random.default_rng(0)
    batch = {
        "target": np.eye(4, dtype=np.float32)[[0, 2, 1]],
        "mask": np.stack([np.eye(8), np.zeros((8, 8)), np.zeros((8, 8))]).astype(np.float32),
        "mask_known": np.array([1, 1, 0], np.float32),
        "brain": np.ones(3, np.float32),
        "tumor": np.array([1, 0, 0], np.float32),
    }
    outputs = {
        name: tf.Variable(rng.normal(size=shape).astype(np.float32))
        for name, shape in (("class_logits", (3, 4)), ("mask", (3, 8, 8, 1)), ("brain", (3, 1)))
    }
    with tf.GradientTape() as tape:
        found = losses(outputs, batch)
    others = losses(
        {name: own[:2] for name, own in outputs.items()}, {k: v[:2] for k, v in batch.items()}
    )
    assert float(found["mask"]) == pytest.approx(float(others["mask"]))
    assert float(found["classes"]) != pytest.approx(float(others["classes"]))
    gradient = tape.gradient(found["mask"], outputs["mask"]).numpy()
    assert gradient[0].any()
    assert not gradient[2].any()


class TestBatches:
    def test_they_say_where_a_tumour_lies_that_nobody_outlined(
        self, samples: list[Sample], pictures: list[Pixels]
    ) -> None:
        hidden = [
            replace(sample, mask=None) if sample.record.label == "glioma" else sample
            for sample in samples
        ]
        config = replace(CONFIG, slices=9, negatives=2, lesions=0.0)
        batch = batch_maker(hidden, pictures, config, 0)(0)
        classes = batch["target"].argmax(axis=1)[:9]
        assert batch["mask_known"].tolist() == [*(classes != 0).astype(float), 1, 1]
        assert not batch["mask"][:9][classes == 0].any()
        assert batch_maker(samples, pictures, config, 0)(0)["mask_known"].all()

    def test_they_repeat_and_differ_by_epoch_and_step(
        self, samples: list[Sample], pictures: list[Pixels]
    ) -> None:
        make, again = (batch_maker(samples, pictures, CONFIG, 0) for _ in range(2))
        later = batch_maker(samples, pictures, CONFIG, 1)
        np.testing.assert_array_equal(make(1)["image"], again(1)["image"])
        assert (make(0)["image"] != make(1)["image"]).any()
        assert (make(0)["image"] != later(0)["image"]).any()

    def test_their_shapes(self, samples: list[Sample], pictures: list[Pixels]) -> None:
        batch = batch_maker(samples, pictures, CONFIG, 0)(0)
        assert batch["image"].shape == (5, 32, 32, 1)
        assert batch["mask"].shape == (5, 16, 16)
        assert batch["brain"].tolist() == [1, 1, 1, 1, 0]
        assert batch["target"][:4].sum(axis=1) == pytest.approx(1)
        assert {value.dtype for value in batch.values()} == {np.dtype(np.float32)}

    def test_the_dataset_gives_them_from_any_step_on(
        self, samples: list[Sample], pictures: list[Pixels]
    ) -> None:
        made = list(dataset(samples, pictures, CONFIG, 0, first=1))
        assert len(made) == 1
        expected = batch_maker(samples, pictures, CONFIG, 0)(1)
        for name, value in expected.items():
            np.testing.assert_array_equal(made[0][name], value)

    def test_a_fault_in_making_one_is_raised(
        self, samples: list[Sample], pictures: list[Pixels]
    ) -> None:
        broken = [replace(sample, pixels=None) for sample in samples]  # type: ignore[arg-type]
        with pytest.raises(tensorflow_module().errors.OpError):
            list(dataset(broken, pictures, replace(CONFIG, lesions=0.0), 0))


def test_whole_groups_are_set_aside_and_always_the_same() -> None:
    records = [
        Record(f"s{n}", "glioma", "axial", 1, f"g{n // 3}", has_mask=False, sha256="")
        for n in range(3000)
    ]
    learnt, watched = set_aside(records, 0.1)
    assert not {r.group for r in learnt} & {r.group for r in watched}
    assert 0.07 < len(watched) / len(records) < 0.13
    fewer, watched_of_fewer = set_aside(records[:1500], 0.1)
    assert set(watched_of_fewer) <= set(watched)
    assert len(fewer) + len(watched_of_fewer) == 1500
    assert set_aside(records, 0.0) == (records, [])


def test_curves_show_what_was_recorded() -> None:
    history = [{"epoch": 1.0, "classes": 1.0}, {"epoch": 2.0, "classes": 0.5}]
    drawn = draw_curves(history)
    assert drawn.startswith(b"<?xml")
    # Titles are drawn as outlines, and named in comments.
    assert b"<!-- Class loss -->" in drawn
    assert b"Mask loss" not in drawn


@pytest.mark.usefixtures("_tiny")
def test_mlflow_gets_parameters_figures_and_files(
    samples: list[Sample], pictures: list[Pixels], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow.tracking import MlflowClient

    # The small client has no database of its own; its old store in files is as real.
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    uri = (tmp_path / "mlflow").as_uri()
    request = TrainingRequest(
        Recipe("tiny-1", CONFIG, DataConfig()), tmp_path, tmp_path / "model", tracking_uri=uri
    )
    run = Run(CONFIG, samples, pictures, request.output / "checkpoints")
    pipeline._tracked(run, request, lambda _: None)
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("tumorsite")
    assert experiment is not None
    [logged] = client.search_runs([experiment.experiment_id])
    assert logged.info.status == "FINISHED"
    assert logged.data.params["epochs"] == "2"
    for name in ("classes", "mask", "brain"):
        points = client.get_metric_history(logged.info.run_id, name)
        assert [(point.step, point.value) for point in points] == [
            (1, run.history[0][name]),
            (2, run.history[1][name]),
        ]
    files = {file.path for file in client.list_artifacts(logged.info.run_id)}
    assert files == {"history.csv", "curves.svg"}


def test_an_mlflow_server_that_is_away_costs_a_warning(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    tracker = Tracker("http://127.0.0.1:9", "tiny-1")
    tracker.parameters({"seed": 1})
    tracker.failed()
    assert "MLflow is not used" in caplog.text
