"""Small generated downloads, laid out exactly as the real ones."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image

from mltasks.datasets import importing
from mltasks.datasets.items import Mask
from mltasks.images import Limits
from mltasks.preprocessing import Pixels
from mltasks.tests.conftest import write_data

LIMITS = Limits(max_bytes=2**21, max_pixels=10**6)
MADE = {"name": "Drawn", "licence": "CC0", "citation": "Nobody, 2026"}


def picture(seed: int, width: int = 96, height: int = 96) -> Pixels:
    """A head unlike that of any other seed: clouds of random brightness in an ellipse."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(60, 256, (7, 7)).astype(np.uint8)
    clouds = np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    inside = (x / rng.uniform(0.75, 0.9)) ** 2 + (y / rng.uniform(0.75, 0.9)) ** 2 < 1
    return np.where(inside, clouds, 3).astype(np.uint8)


def tumour(seed: int, width: int = 96, height: int = 96) -> tuple[Pixels, Mask]:
    """The same with a bright tumour to the upper left, and its mask."""
    y, x = np.mgrid[0:height, 0:width]
    mask = np.hypot(x - width * 0.36, y - height * 0.36) < height * 0.1
    pixels = picture(seed, width, height) // 2
    pixels[mask] = 250
    return pixels, mask


def save(pixels: Pixels, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".jpg":
        Image.fromarray(pixels).save(path, quality=92)
    else:
        Image.fromarray(pixels).save(path)
    return path


def save_mask(mask: Mask, path: Path) -> Path:
    return save(mask.astype(np.uint8) * 255, path)


def write_brisc(folder: Path, each: int, draw: Callable[[int, str], tuple[Pixels, Mask]]) -> Path:
    """BRISC 2025: four classes in two parts and three planes, the tumours again with masks.

    Args:
        each: pictures of each class, part and plane.
        draw: picture and mask by number and class.
    """
    codes = {"glioma": "gl", "meningioma": "me", "no_tumor": "no", "pituitary": "pi"}
    kinds = itertools.product(("train", "test"), codes, ("ax", "co", "sa"), range(each))
    for number, (part, label, plane, _) in enumerate(kinds, 1):
        name = f"brisc2025_{part}_{number:05d}_{codes[label]}_{plane}_t1"
        pixels, mask = draw(number, label)
        save(pixels, folder / "classification_task" / part / label / f"{name}.jpg")
        if label != "no_tumor":
            task = folder / "segmentation_task" / part
            save(pixels, task / "images" / f"{name}.jpg")
            save_mask(mask, task / "masks" / f"{name}.png")
    return folder


@pytest.fixture
def brisc(tmp_path: Path) -> Path:
    """BRISC 2025 in 24 pictures."""
    return write_brisc(tmp_path / "brisc2025", 1, lambda number, label: tumour(number))


@pytest.fixture
def cheng(tmp_path: Path) -> Path:
    """Three .mat files of two patients."""
    folder = tmp_path / "cheng"
    folder.mkdir()
    for number, (label, patient) in enumerate(((1, "100360"), (2, "MR017260F"), (3, "100360")), 1):
        pixels, mask = tumour(number, 80, 96)
        with h5py.File(folder / f"{number}.mat", "w") as file:
            data = file.create_group("cjdata")
            # MATLAB stores columns first.
            data["image"] = pixels.T.astype(np.int16) * 9
            data["tumorMask"] = mask.T.astype(np.uint8)
            data["label"] = np.array([[float(label)]])
            data["PID"] = np.array([[ord(letter)] for letter in patient], np.uint16)
    with h5py.File(folder / "cvind.mat", "w") as file:
        file["cvind"] = np.ones(3)
    return folder


@pytest.fixture
def lgg(tmp_path: Path) -> Path:
    """Two patients of three slices each; the last slice of each has an empty mask."""
    folder = tmp_path / "kaggle_3m"
    for patient in ("TCGA_CS_4941_19960909", "TCGA_DU_5849_19950405"):
        for number in range(1, 4):
            channels = []
            for channel in range(3):
                pixels, mask = tumour(10 * number + channel)
                channels.append(pixels)
            # The second patient was never scanned before contrast.
            if patient.startswith("TCGA_DU"):
                channels[0] = channels[1]
            save(np.stack(channels, axis=-1), folder / patient / f"{patient}_{number}.tif")
            save_mask(mask & (number < 3), folder / patient / f"{patient}_{number}_mask.tif")
    save(picture(1), folder / "notes.png")
    return folder


def request(source: Path, output: Path, **more: object) -> importing.Request:
    return importing.Request(source=source, output=output, limits=LIMITS, **more)  # type: ignore[arg-type]


def left_out(folder: Path) -> dict[str, str]:
    """The files that an import left out, and why."""
    report = json.loads((folder / "import.json").read_text())
    return {item["file"]: item["why"] for item in report["left_out"]}


@pytest.fixture
def slices(tmp_path: Path) -> Path:
    """A folder with a plain manifest: 44 slices in two folds."""
    return write_data(tmp_path / "slices", 44)
