"""From a download to a released network and back, with the commands of docs/training.md.

Everything is real but small: 72 drawn pictures laid out as BRISC 2025, and the bundled network
trained on at 64 pixels for sixteen steps.
"""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.core.management import call_command

from mltasks.data import load_samples, read_manifest
from mltasks.datasets.items import Mask
from mltasks.datasets.tests.conftest import picture, write_brisc
from mltasks.images import encode_png
from mltasks.inference import load_analyzer
from mltasks.lazy import tensorflow_module
from mltasks.preprocessing import Pixels
from tests.support.http import Browser
from tests.support.networks import fitted, mixed_up, onnx_bytes, write_network
from tests.support.processes import wait_until
from tests.support.registry import Registry
from tests.support.site import Site

# Most of it is the training, which a busy machine makes many times as long.
pytestmark = [pytest.mark.faults, pytest.mark.timeout(900, func_only=True)]

# No changes to the pictures: sixteen steps are for learning what is there.
RECIPE = """
[network]
size = 64
[training]
start = "models/tumorsite-1"
epochs = 4
slices = 9
negatives = 2
learning_rate = 1e-3
ema = 0.8
[chances]
warp = 0
remap = 0
tone = 0
invert = 0
jitter = 0
[data]
drawn = 16
drawn_held_out = 16
"""
# The network to be replaced, the trained one, and one that is worse again.
POOR, TRAINED, WORSE = "20", "21", "22"


def drawn(number: int, label: str) -> tuple[Pixels, Mask]:
    """A head with a large disc, a small one, stripes or nothing: classes that are soon learnt."""
    pixels = picture(number) // 2
    y, x = np.mgrid[0:96, 0:96]
    across, down = np.random.default_rng(number).uniform(40, 56, 2)
    distance = np.hypot(x - across, y - down)
    mask: Mask = {
        "glioma": distance < 22,
        "meningioma": distance < 9,
        "no_tumor": distance < 0,
        "pituitary": (distance < 22) & ((x + y) % 12 < 6),
    }[label]
    pixels[mask] = 250
    return pixels, mask


def said_by(*words: object, **options: Any) -> str:
    """What a command of `manage.py` prints."""
    said = io.StringIO()
    call_command(*map(str, words), **options, stdout=said)
    return said.getvalue()


def prepared_data(folder: Path) -> Path:
    """Download, import, audit and split: the data folder."""
    download = write_brisc(folder / "brisc2025", 3, drawn)
    data, audit = folder / "data", folder / "audit"
    made = {"name": "Drawn", "licence": "CC0", "citation": "Nobody, 2026"}
    said = said_by("dataset", "import", download, output=data, **made)
    assert "72 images" in said
    assert "54 masks" in said
    assert "72 images: 0 faults" in said_by("dataset", "audit", data, output=audit, trial=10)
    assert (audit / "report.html").is_file()
    said = said_by("dataset", "split", data, groups=audit / "groups.csv", folds=2)
    assert "72 got one, 0 would tie folds together" in said
    with (data / "manifest.csv").open(newline="", encoding="utf-8") as stream:
        assert {row["fold"] for row in csv.DictReader(stream)} == {"0", "1"}
    return data


def trained_model(folder: Path, data: Path) -> Path:
    """Train, and evaluate on what was held out: the model folder."""
    recipe, model, report = folder / f"drawn-{TRAINED}.toml", folder / "model", folder / "report"
    recipe.write_text(RECIPE)
    config = tensorflow_module().config
    # Sixteen steps do not repay the half minute that TensorFlow takes to make a graph of one.
    config.run_functions_eagerly(run_eagerly=True)
    try:
        assert f"{model}: accuracy" in said_by("train", recipe, data=data, output=model)
    finally:
        config.run_functions_eagerly(run_eagerly=False)

    said_by("evaluate", model=model, data=data, fold=0, output=report, corruptions=0, drawn=4)
    page = (report / "report.html").read_text()
    figures = json.loads((report / "report.json").read_text())
    stated = json.loads((model / "model.json").read_text())["metrics"]["validation"]
    assert f"drawn {TRAINED}: how it errs" in page
    assert "Failures first" in page
    # Both commands have measured the same network on the same slices.
    assert figures["validation"]["n"] == stated["n"] == 36
    assert figures["validation"]["accuracy"]["value"] == stated["accuracy"]["value"]
    # Guessing one class would give a quarter.
    assert stated["accuracy"]["value"] > 0.6
    return model


def test_from_download_to_released_network_and_back(
    site: Site, registry: Registry, tmp_path: Path
) -> None:
    data = prepared_data(tmp_path)
    model = trained_model(tmp_path, data)

    # Sixteen steps make no network to replace the bundled one with, so the trained one is held
    # against one that names wrong classes and marks no area. Nothing lets that one through the
    # gate: it takes the recorded way around it.
    weights = mixed_up(fitted(data, fold=0))
    poor = write_network(tmp_path / "poor", onnx_bytes(weights, bright=2), version=POOR)
    held_out = ("--data", data, "--fold", "0")
    answers = registry.ask(
        ("register", poor),
        ("promote", POOR, "--override", "to be replaced"),
        ("register", model),
        ("promote", TRAINED),
        ("compare", TRAINED, *held_out),
    )
    assert [done for done, _ in answers] == [True, True, True, False, True], answers
    assert "has not been compared" in answers[3][1]
    assert "\nPASSED" in answers[4][1], answers[4][1]
    assert "The log-loss is better" in answers[4][1]
    wait_until(lambda: registry.answering() == POOR, seconds=60, what="the network to replace")

    registry.do("promote", TRAINED)
    wait_until(lambda: registry.answering() == TRAINED, seconds=60, what="the trained network")
    # The site says of slices that training never saw what the model folder says of them.
    samples = load_samples(data, [row for row in read_manifest(data) if row.fold == 0])[:4]
    ids = Browser(site.url).submit(*(encode_png(sample.pixels) for sample in samples))
    site.wait_for(ids)
    assert registry.answered_by(ids) == [TRAINED] * len(ids)
    expected = load_analyzer(model).analyze([sample.pixels for sample in samples])
    rows = site.predictions()
    assert [rows[pk]["label"] or None for pk in ids] == [found.label for found in expected]

    worse = onnx_bytes(mixed_up(weights), bright=2)
    _, compared, refused = registry.ask(
        ("register", write_network(tmp_path / "worse", worse, version=WORSE)),
        ("compare", WORSE, *held_out),
        ("promote", WORSE),
    )
    assert "\nREFUSED" in compared[1]
    assert not refused[0]
    assert "may be worse" in refused[1]
    assert registry.answering() == TRAINED

    registry.do("rollback", "--reason", "small tumours are missed")
    wait_until(lambda: registry.answering() == POOR, seconds=60, what="the network before")
    # What the trained network has answered stays its answer.
    assert registry.answered_by(ids) == [TRAINED] * len(ids)
