"""Pictures that are no brain MRI, for the detector: drawn by code, or real ones from a folder.

Which of them are learnt from and which are held out to measure on is settled here, too.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from mltasks.data import FILE_LIMITS, DataError, picture_files
from mltasks.images import ImageError, decode
from mltasks.preprocessing import Pixels, to_grey
from mltasks.training import DataConfig

Rng = np.random.Generator
Named = list[tuple[str, Pixels]]
# The parts of a folder of other pictures.
TRAIN, HOLDOUT = "train", "holdout"
# Of the pictures drawn for training and, others, for evaluation.
_DRAWN_SEED, _DRAWN_HELD_OUT_SEED = 7, 1007
_USUAL = DataConfig()
DRAWN_HELD_OUT = _USUAL.drawn_held_out
SIDE = 320
# Smaller pictures are icons; nobody uploads them.
_LEAST_SIDE = 64


def _shape(rng: Rng) -> tuple[int, int]:
    return SIDE, int(SIDE * rng.choice((1.0, 0.75, 0.6, 1.3)))


def blank(rng: Rng) -> Pixels:
    """One brightness, hardly disturbed."""
    height, width = _shape(rng)
    values = rng.integers(0, 256) + rng.normal(0, rng.uniform(0, 2), (height, width))
    return np.clip(values, 0, 255).astype(np.uint8)


def noise(rng: Rng) -> Pixels:
    """Noise, from single pixels to clouds: smooth by a random amount."""
    height, width = _shape(rng)
    cell = int(rng.choice((1, 1, 2, 4, 16, 48)))
    coarse = rng.integers(0, 256, (height // cell + 2, width // cell + 2)).astype(np.uint8)
    return np.array(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))


def texture(rng: Rng) -> Pixels:
    """Noise with the 1/f spectrum of natural scenes."""
    height, width = _shape(rng)
    spectrum = np.fft.rfft2(rng.standard_normal((height, width)))
    radius = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None])
    values = np.fft.irfft2(spectrum / (radius + 0.002) ** rng.uniform(0.7, 2.0), (height, width))
    low, high = np.percentile(values, (1, 99))
    return np.clip((values - low) / (high - low) * 255, 0, 255).astype(np.uint8)


def gradient(rng: Rng) -> Pixels:
    """Brightness that rises along a line or from a point, sometimes in waves."""
    height, width = _shape(rng)
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    angle = rng.uniform(0, 2 * np.pi)
    line = x * np.cos(angle) + y * np.sin(angle)
    values = line if rng.random() < 0.5 else np.hypot(x - rng.normal(), y - rng.normal())
    if rng.random() < 0.4:
        values = np.sin(values * rng.uniform(3, 40))
    values = (values - values.min()) / np.ptp(values)
    return (values * rng.integers(60, 256)).astype(np.uint8)


def shapes(rng: Rng) -> Pixels:
    """Rectangles, ellipses, lines and polygons, as in drawings and diagrams."""
    height, width = _shape(rng)
    image = Image.new("L", (width, height), int(rng.choice((0, 30, 128, 255))))
    draw = ImageDraw.Draw(image)
    for _ in range(int(rng.integers(1, 25))):
        (x0, x1), (y0, y1) = (np.sort(rng.integers(0, side, 2)) for side in (width, height))
        box, fill = (int(x0), int(y0), int(x1), int(y1)), int(rng.integers(0, 256))
        kind = rng.integers(0, 4)
        if kind == 0:
            draw.rectangle(box, fill=fill)
        elif kind == 1:
            draw.ellipse(box, outline=fill, width=int(rng.integers(1, 9)))
        elif kind == 2:
            draw.line(box, fill=fill, width=int(rng.integers(1, 9)))
        else:
            points = rng.integers(0, min(width, height), (4, 2))
            draw.polygon([(int(x), int(y)) for x, y in points], fill=fill)
    return np.array(image)


def _words(rng: Rng, length: int) -> str:
    letters = rng.choice(list("aaabcdeeeefghiiklmnnooprrssttuvw    "), length)
    return "".join(letters)


def text_page(rng: Rng) -> Pixels:
    """A printed page, dark on light or light on dark."""
    dark = rng.random() < 0.35
    paper, ink = (int(rng.integers(0, 40)), 220) if dark else (int(rng.integers(200, 256)), 20)
    image = Image.new("L", (int(SIDE * rng.choice((0.7, 1.0, 1.4))), SIDE), paper)
    draw = ImageDraw.Draw(image)
    size = int(rng.integers(7, 30))
    font = ImageFont.load_default(size)
    margin, y = int(rng.integers(4, 30)), int(rng.integers(4, 40))
    while y < SIDE - margin:
        if rng.random() < 0.88:
            draw.text((margin, y), _words(rng, int(rng.integers(4, 90))), fill=ink, font=font)
        y += int(size * rng.uniform(1.2, 1.6))
    return np.array(image)


def interface(rng: Rng) -> Pixels:
    """A screenshot: bars, panels, buttons, labels."""
    width, height = int(SIDE * rng.choice((1.0, 1.5, 0.56))), SIDE
    dark = rng.random() < 0.5
    back = int(rng.integers(15, 60) if dark else rng.integers(215, 256))
    image = Image.new("L", (width, height), back)
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, 0, width, int(rng.integers(10, 34))), fill=int(rng.integers(0, 256)))
    if rng.random() < 0.6:
        draw.rectangle((0, 0, int(rng.integers(30, 100)), height), fill=int(rng.integers(0, 256)))
    for _ in range(int(rng.integers(4, 22))):
        x, y = int(rng.integers(0, width)), int(rng.integers(0, height))
        box = (x, y, x + int(rng.integers(10, 160)), y + int(rng.integers(8, 70)))
        draw.rounded_rectangle(box, 4, fill=int(rng.integers(0, 256)), outline=back)
        ink = int(rng.integers(0, 256))
        draw.text((x + 4, y + 2), _words(rng, int(rng.integers(3, 24))), fill=ink)
    return np.array(image)


def chest_film(rng: Rng) -> Pixels:
    """A crude chest film: trunk, two dark lungs, heart, spine, ribs, collar bones."""
    width, height = int(SIDE * rng.uniform(0.85, 1.2)), SIDE
    image = Image.new("L", (width, height), int(rng.integers(0, 70)))
    draw = ImageDraw.Draw(image)
    jit = rng.normal(0, 0.02, 40)

    def ellipse(x0: float, y0: float, x1: float, y1: float, fill: int) -> None:
        (x0, x1), (y0, y1) = sorted((x0, x1)), sorted((y0, y1))
        draw.ellipse((x0 * width, y0 * height, x1 * width, y1 * height), fill=fill)

    trunk, lung = int(rng.integers(120, 210)), int(rng.integers(20, 90))
    ellipse(-0.05 + jit[0], 0.08 + jit[1], 1.05 + jit[2], 1.6, trunk)
    ellipse(0.35 + jit[3], -0.2, 0.65 + jit[4], 0.3, trunk)
    ellipse(0.1 + jit[5], 0.14 + jit[6], 0.45 + jit[7], 0.84 + 2 * jit[8], lung)
    ellipse(0.55 + jit[9], 0.14 + jit[10], 0.9 + jit[11], 0.8 + 2 * jit[12], lung)
    ellipse(0.38 + jit[13], 0.45 + jit[14], 0.75 + jit[15], 0.85 + jit[16], trunk)
    draw.rectangle((0.45 * width, 0, 0.55 * width, height), fill=min(255, trunk + 25))
    for rib in range(int(rng.integers(7, 11))):
        y = (0.12 + 0.085 * rib + jit[17 + rib]) * height
        bright = int(rng.integers(lung + 20, trunk + 20))
        for x0, x1 in ((0.06, 0.48), (0.52, 0.94)):
            box = (x0 * width, y, x1 * width, y + 0.22 * height)
            draw.arc(box, 180, 360, fill=bright, width=int(rng.integers(3, 9)))
    for start, end in ((0.12, 0.46), (0.88, 0.54)):
        ends = (start * width, (0.1 + jit[30]) * height, end * width, (0.17 + jit[31]) * height)
        draw.line(ends, fill=min(255, trunk + 30), width=int(rng.integers(5, 10)))
    soft = np.array(image.filter(ImageFilter.GaussianBlur(float(rng.uniform(1.5, 5)))), np.float32)
    return np.clip(soft + rng.normal(0, rng.uniform(1, 8), soft.shape), 0, 255).astype(np.uint8)


GENERATORS: dict[str, Callable[[Rng], Pixels]] = {
    "blank": blank,
    "noise": noise,
    "texture": texture,
    "gradient": gradient,
    "shapes": shapes,
    "text page": text_page,
    "interface": interface,
    "chest film": chest_film,
}


def drawn(
    count: int, seed: int, generators: Mapping[str, Callable[[Rng], Pixels]] = GENERATORS
) -> Named:
    """`count` drawn pictures with the name of their kind, the kinds in turn."""
    rng = np.random.default_rng(seed)
    kinds = itertools.cycle(generators.items())
    return [(name, draw(rng)) for _, (name, draw) in zip(range(count), kinds, strict=False)]


def learning_pictures(wanted: DataConfig, folder: Path | None) -> Named:
    """Pictures that are no brain MRI to train on: drawn ones, and those in `folder/train`.

    Raises:
        DataError: the folder holds none.
    """
    return learnt_pictures(wanted, None if folder is None else folder / TRAIN)


def stated_data(card: dict[str, Any]) -> DataConfig:
    """What training has learnt from, as the card says; the usual where it does not."""
    stated = card.get("training", {}).get("data", {})
    return DataConfig(
        **{own.name: stated[own.name] for own in fields(_USUAL) if own.name in stated}
    )


def learnt_pictures(wanted: DataConfig, folder: Path | None) -> Named:
    """Pictures that are no brain MRI and were learnt from, with their source.

    Args:
        wanted: of that training.
        folder: `train` of what it was given.

    Raises:
        DataError: the folder holds none, or is not the one of those learnt from.
    """
    named = drawn(wanted.drawn, _DRAWN_SEED)
    if folder is None:
        return named
    found = _real(_part(folder, TRAIN), wanted.per_source)
    return named + [(source, shrunk(pixels)) for source, pixels in found]


def held_out_pictures(
    folder: Path | None, *, count: int = DRAWN_HELD_OUT
) -> Iterator[tuple[str, Pixels]]:
    """Pictures that are no brain MRI and were not trained on, as uploaded, with their source.

    Args:
        folder: `holdout` of what training was given.
        count: of those drawn.

    Raises:
        DataError: the folder holds none, or is not the one of those held out.
    """
    named = [(f"drawn: {kind}", pixels) for kind, pixels in drawn(count, _DRAWN_HELD_OUT_SEED)]
    found = () if folder is None else _real(_part(folder, HOLDOUT), _USUAL.per_source)
    return itertools.chain(named, found)


def real_pictures(folder: Path) -> Iterator[tuple[str, Pixels]]:
    """Pictures in `folder/<source>/`, with their source, see `real`.

    Raises:
        DataError: the folder holds none, or is the one above them.
    """
    if (folder / "other").is_dir():
        raise DataError(f"{folder} is not the folder of sources that is meant: {folder / 'other'}")
    return _any(folder, _USUAL.per_source, f"no usable picture in {folder}/<source>/")


def _part(folder: Path, wanted: str) -> Path:
    """The folder, unless it plainly is the one above the part wanted, or the other part.

    Raises:
        DataError: it is, and pictures learnt from would be mixed with those held out.
    """
    other = HOLDOUT if wanted == TRAIN else TRAIN
    above = folder.parent if folder.name == other else folder
    if (above / wanted).is_dir() and (above / other).is_dir():
        raise DataError(
            f"{folder} is not the folder of sources that is meant: give {above / wanted}"
        )
    return folder


def _real(folder: Path, per_source: int) -> Iterator[tuple[str, Pixels]]:
    return _any(
        folder,
        per_source,
        f"no usable picture in {folder}/<source>/: as --negatives, train is given the folder that "
        f"holds {TRAIN}/ and {HOLDOUT}/, calibrate {TRAIN}/ itself, evaluate {HOLDOUT}/",
    )


def _any(folder: Path, per_source: int, if_none: str) -> Iterator[tuple[str, Pixels]]:
    """See `real`; that there is none is said at once, not when the first is asked for.

    Raises:
        DataError: with the words given.
    """
    found = real(folder, per_source)
    first = next(found, None)
    if first is None:
        raise DataError(if_none)
    return itertools.chain([first], found)


def real(folder: Path, limit: int) -> Iterator[tuple[str, Pixels]]:
    """Pictures below `folder`, decoded as the site does, in grey, with the name of their source.

    The source is the name of the first folder below `folder`. At most `limit` pictures of each
    source are taken, spread evenly; what cannot be decoded is left out, and so are icons. They are
    read one by one, as all of them may not fit into memory, so the iterator serves once.

    Raises:
        DataError: while it is used: a file is no longer there or cannot be read.
    """
    sources: dict[str, list[Path]] = {}
    for path in picture_files(folder):
        sources.setdefault(path.relative_to(folder).parts[0], []).append(path)
    for source, paths in sorted(sources.items()):
        for path in spread(paths, limit):
            pixels = _read(path)
            if pixels is not None:
                yield source, pixels


def spread(paths: Sequence[Path], limit: int) -> list[Path]:
    """All of them, or `limit` that lie evenly among them."""
    count = min(limit, len(paths))
    return [paths[number * len(paths) // count] for number in range(count)]


def shrunk(pixels: Pixels) -> Pixels:
    """Grey pixels with a longest side of 320 at most: training keeps all pictures in memory."""
    image = Image.fromarray(pixels)
    image.thumbnail((SIDE, SIDE))
    return np.asarray(image)


def _read(path: Path) -> Pixels | None:
    try:
        pixels = to_grey(decode(path, FILE_LIMITS).pixels)
    except ImageError:
        return None
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from None
    return pixels if min(pixels.shape) >= _LEAST_SIDE else None
