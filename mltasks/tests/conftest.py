"""A small set of drawn slices, and a network trained on it for a moment."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.core.management import call_command
from PIL import Image

from mltasks.classes import CLASSES
from mltasks.lazy import tensorflow_module
from mltasks.preprocessing import Pixels


def head(seed: int) -> Pixels:
    """A crude slice of a head: bright skull, grey brain, dark ventricles."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[-1:1:160j, -1:1:128j]
    pixels = np.zeros((160, 128), np.float32)
    pixels[x**2 / 0.7 + y**2 / 0.8 < 1] = 200
    pixels[x**2 / 0.55 + y**2 / 0.65 < 1] = 110
    pixels[(abs(x) - 0.12) ** 2 / 0.01 + y**2 / 0.06 < 1] = 30
    return np.clip(pixels + rng.normal(0, 6, pixels.shape), 0, 255).astype(np.uint8)


def write_data(folder: Path, count: int) -> Path:
    """`count` slices in two folds, the classes in turn, tumours as bright squares."""
    (folder / "images").mkdir(parents=True)
    (folder / "masks").mkdir()
    rows = []
    for number in range(count):
        name, label = f"slice{number}", CLASSES[number % 4]
        pixels, mask = head(number), np.zeros((160, 128), np.uint8)
        if label != "no_tumor":
            mask[60:90, 30 + 10 * (number % 4) :][:, :30] = 255
            pixels = np.maximum(pixels, mask)
            Image.fromarray(mask).convert("1").save(folder / "masks" / f"{name}.png")
        path = folder / "images" / f"{name}.jpg"
        Image.fromarray(pixels).save(path, quality=92)
        rows.append(
            {
                "id": name,
                "label": label,
                "plane": "axial",
                "fold": int(number >= count - 8) ^ 1,
                "group": number,
                "width": 128,
                "height": 160,
                "has_mask": int(label != "no_tumor"),
                "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
            }
        )
    with (folder / "manifest.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return folder


def write_recipe(path: Path, *, training: str = "", data: str = "") -> Path:
    """A recipe for the smallest network, with further lines in its tables."""
    path.write_text(
        "[network]\nsize = 32\nrepeats = [1, 1, 1, 1, 1, 1, 1]\n"
        f"[training]\npretrained = false\nfrozen_blocks = 5\n{training}\n"
        f"[data]\ndrawn = 16\ndrawn_held_out = 16\n{data}\n"
    )
    return path


@pytest.fixture(scope="session")
def slices(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder: 36 slices in fold 1, 8 in fold 0."""
    return write_data(tmp_path_factory.mktemp("data") / "slices", 44)


@pytest.fixture(scope="session")
def others(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of pictures that are no brain MRI, as `--negatives` takes it."""
    folder = tmp_path_factory.mktemp("others")
    rng = np.random.default_rng(3)
    for part in ("train", "holdout"):
        source = folder / part / f"source of {part}"
        source.mkdir(parents=True)
        for number in range(3):
            pixels = rng.integers(0, 256, (90, 120, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(source / f"{number}.png")
        Image.fromarray(np.zeros((8, 8), np.uint8)).save(source / "icon.png")
        (source / "broken.png").write_bytes(b"no picture")
        (source / "notes.txt").write_text("no picture either")
    return folder


@pytest.fixture(scope="session")
def trained(
    slices: Path, others: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, Any], str]:
    """A model folder trained for two epochs with a break between them; its card; the report."""
    output = tmp_path_factory.mktemp("models") / "tiny"
    report = io.StringIO()
    # Two steps do not repay the half minute that TensorFlow takes to make a graph of one.
    config = tensorflow_module().config
    config.run_functions_eagerly(run_eagerly=True)
    for epochs in (1, 2):
        call_command(
            "train",
            str(write_recipe(output.parent / "tiny-7.toml")),
            data=slices,
            output=output,
            negatives=others,
            epochs=epochs,
            resume=True,
            stdout=report,
        )
    config.run_functions_eagerly(run_eagerly=False)
    return output, json.loads((output / "model.json").read_text()), report.getvalue()
