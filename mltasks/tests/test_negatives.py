"""Other pictures: which are taken of a folder, and how they are read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mltasks import negatives
from mltasks.data import DataError
from mltasks.images import Limits, decode
from mltasks.preprocessing import to_grey


def _source(folder: Path) -> Path:
    source = folder / "source"
    source.mkdir()
    return source


def _only(folder: Path) -> np.ndarray:
    [(source, pixels)] = negatives.real(folder, 9)
    assert source == "source"
    return pixels


def test_deep_pictures_are_read_as_the_site_reads_them(tmp_path: Path) -> None:
    path = _source(tmp_path) / "deep.png"
    values = np.linspace(900, 40_000, 90 * 120).reshape(90, 120)
    Image.fromarray(values.astype(np.uint16)).save(path)
    pixels = _only(tmp_path)
    np.testing.assert_array_equal(pixels, to_grey(decode(path, Limits(10**9, 10**9)).pixels))
    assert (pixels == 255).mean() < 0.01


def test_pictures_are_measured_at_their_own_size_and_levels(tmp_path: Path) -> None:
    """Shrunk, a drawing in black and white has as many levels as a scan."""
    drawing = np.kron(np.random.default_rng(0).integers(0, 2, (97, 131)), np.ones((7, 7)))
    Image.fromarray((drawing * 255).astype(np.uint8)).save(_source(tmp_path) / "drawing.png")
    pixels = _only(tmp_path)
    assert pixels.shape == drawing.shape
    assert len(np.unique(pixels)) == 2
    small = negatives.shrunk(pixels)
    assert max(small.shape) == negatives.SIDE
    assert len(np.unique(small)) > 16


def test_pictures_are_turned_upright_and_laid_on_black(tmp_path: Path) -> None:
    source = _source(tmp_path)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.full((80, 120, 3), 200, np.uint8)).save(source / "turned.jpg", exif=exif)
    assert _only(tmp_path).shape == (120, 80)
    (source / "turned.jpg").unlink()
    glass = np.full((80, 120, 4), 255, np.uint8)
    glass[:40, :, 3] = 0
    Image.fromarray(glass).save(source / "glass.png")
    assert _only(tmp_path).mean(axis=1)[[0, -1]].tolist() == [0, 255]


def test_what_the_site_does_not_read_is_left_out(tmp_path: Path) -> None:
    source = _source(tmp_path)
    (source / "broken.png").write_bytes(b"no picture")
    Image.fromarray(np.zeros((63, 200), np.uint8)).save(source / "icon.png")
    assert list(negatives.real(tmp_path, 9)) == []


@pytest.mark.parametrize(("count", "wanted"), [(3, 3), (800, 800), (801, 800), (1599, 800)])
def test_as_many_are_taken_as_the_limit_allows(count: int, wanted: int) -> None:
    paths = [Path(f"{number:04}.png") for number in range(count)]
    taken = negatives.spread(paths, 800)
    assert len(set(taken)) == len(taken) == wanted
    steps = np.diff([int(path.stem) for path in taken])
    assert set(steps) <= {count // wanted, -(-count // wanted)}


def test_a_file_that_is_gone_when_it_is_needed_is_named(tmp_path: Path) -> None:
    """Hours of training lie between: figures on fewer pictures would look like all of them."""
    source = _source(tmp_path)
    for number in range(3):
        Image.new("L", (80, 80), number).save(source / f"{number}.png")
    found = negatives.held_out_pictures(tmp_path, count=0)
    (source / "2.png").unlink()
    with pytest.raises(DataError, match=r"cannot read .*2\.png: No such file"):
        list(found)
