"""Pictures to upload."""

from __future__ import annotations

import csv
import functools
import io
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from django.conf import settings
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from mltasks.images import Pixels, encode_png


def grey(width: int = 40, height: int = 30, *, seed: int = 0) -> Pixels:
    """A smooth grey picture that differs from seed to seed."""
    rows, columns = np.mgrid[0:height, 0:width]
    waves = np.sin(columns / (5 + seed % 7)) + np.cos(rows / (3 + seed % 5)) + seed / 10
    scaled = (waves - waves.min()) / (waves.max() - waves.min()) * 255
    pixels = scaled.astype(np.uint8)
    pixels[:4, :4] = np.frombuffer(seed.to_bytes(16, "big"), np.uint8).reshape(4, 4)
    return pixels


def png(width: int = 40, height: int = 30, *, seed: int = 0) -> bytes:
    return encode_png(grey(width, height, seed=seed))


def saved(image: Image.Image, format_name: str, **options: Any) -> bytes:
    target = io.BytesIO()
    image.save(target, format_name, **options)
    return target.getvalue()


def broken(content: bytes) -> bytes:
    """The picture with its pixels in two chunks, the second of which has lost its name."""
    start = content.index(b"IDAT") + 4
    data = content[start : start + int.from_bytes(content[start - 8 : start - 4])]
    half = len(data) // 2
    parts = ((b"IDAT", data[:half]), (b"\x01DAT", data[half:]))
    chunks = b"".join(
        len(part).to_bytes(4) + name + part + zlib.crc32(name + part).to_bytes(4)
        for name, part in parts
    )
    return content[: start - 8] + chunks + content[start + len(data) + 4 :]


def opened(content: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(content))
    image.load()
    return image


def training_data() -> Path | None:
    """The folder of real slices, if this machine has it."""
    folder: Path | None = settings.TRAINING_DATA
    return folder if folder and (folder / "manifest.csv").is_file() else None


@functools.cache
def mri(label: str = "glioma") -> bytes:
    """A slice held out of training, as JPEG; a drawn head where there is no training data."""
    folder = training_data()
    if folder is None:
        return saved(Image.fromarray(drawn_head()), "JPEG", quality=92)
    with (folder / "manifest.csv").open(newline="") as lines:
        ids = [
            row["id"]
            for row in csv.DictReader(lines)
            if row["fold"] == "0" and row["label"] == label
        ]
    return (folder / "images" / f"{ids[len(ids) // 2]}.jpg").read_bytes()


def drawn_head(side: int = 256) -> Pixels:
    """Something like an axial slice: scalp, skull, folded brain, ventricles, one bright spot."""
    rows, columns = np.mgrid[0:side, 0:side] / side - 0.5

    def within(x: float, y: float, width: float, height: float) -> NDArray[np.bool_]:
        inside: NDArray[np.bool_] = ((columns - x) / width) ** 2 + ((rows - y) / height) ** 2 < 1
        return inside

    head = np.zeros((side, side))
    head[within(0, 0, 0.38, 0.46)] = 190
    head[within(0, 0, 0.35, 0.43)] = 25
    folds = 105 + 25 * np.sin(
        60 * np.hypot(columns, rows) + 6 * np.sin(14 * np.arctan2(rows, columns))
    )
    brain = within(0, 0, 0.32, 0.40)
    head[brain] = folds[brain]
    for side_of in (-1, 1):
        head[within(0.06 * side_of, -0.02, 0.025, 0.11)] = 35
    head[within(0.16, 0.1, 0.06, 0.05)] = 225
    grain = np.random.default_rng(7).normal(0, 4, head.shape)
    blurred = Image.fromarray(np.clip(head + grain, 0, 255).astype(np.uint8))
    return np.array(blurred.filter(ImageFilter.GaussianBlur(1)))


def mri_png(seed: int = 0, label: str = "glioma") -> bytes:
    """A slice that differs from seed to seed in the brightness of its corner."""
    pixels = np.array(opened(mri(label)).convert("L"))
    pixels[:8, :8] = seed % 200
    pixels[8:16, :8] = seed // 200
    return encode_png(pixels)
