"""Pictures of a result lie exactly over the scan."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from mltasks.postprocessing import components
from predictions import rendering
from tests.support.pictures import opened


def rgba(content: bytes) -> np.ndarray:
    return np.array(opened(content).convert("RGBA"))


@pytest.fixture
def square() -> np.ndarray:
    mask = np.zeros((60, 90), np.bool_)
    mask[20:30, 50:70] = True
    return mask


def test_the_area_covers_its_own_pixels_and_no_other(square: np.ndarray) -> None:
    picture = rgba(rendering.area_png(square))
    assert picture.shape == (60, 90, 4)
    assert np.array_equal(picture[..., 3] == 255, square)
    assert (picture[square][:, :3] == rendering.AREA_COLOUR).all()
    assert (picture[~square][:, 3] == 0).all()


def test_the_outline_runs_just_outside_the_area(square: np.ndarray) -> None:
    line = rgba(rendering.outline_png(square))[..., 3] > 0
    assert not (line & square).any()
    expected = np.zeros_like(square)
    expected[19:31, 49:71] = True
    expected[20:30, 50:70] = False
    for corner in ((19, 49), (19, 70), (30, 49), (30, 70)):
        expected[corner] = False
    assert np.array_equal(line, expected)


@pytest.mark.parametrize("top", range(14, 29))
def test_contours_lie_around_their_masks_and_the_outer_is_dashed(top: int) -> None:
    outer = np.zeros((120, 120), np.bool_)
    inner = outer.copy()
    outer[top:100, 20:100] = True
    inner[50:60, 50:60] = True
    line = rgba(rendering.contours_png(inner, outer))[..., 3] > 0
    assert not line[inner].any()
    assert line[49, 50:60].all()
    for side in (line[top - 1, 20:100], line[100, 20:100], line[top:100, 19], line[top:100, 100]):
        assert 0.3 < side.mean() < 0.7


def test_small_parts_of_the_outer_contour_are_drawn_whole() -> None:
    outer = np.zeros((300, 300), np.bool_)
    outer[100:250, 100:250] = True
    outer[20:28, 30:37] = True
    line = rgba(rendering.contours_png(np.zeros_like(outer), outer))[..., 3] > 0
    small = rgba(rendering.contours_png(outer, np.zeros_like(outer)))[..., 3] > 0
    assert np.array_equal(line[:60], small[:60])


def test_dashes_are_even_however_the_border_runs() -> None:
    y, x = np.mgrid[:400, :400]
    outer = np.hypot(y - 200, x - 190) + 12 * np.sin(7 * np.arctan2(y - 200, x - 190)) < 120
    line = rgba(rendering.contours_png(np.zeros_like(outer), outer))[..., 3] > 0
    # Each dash is one piece of the line, diagonal steps included.
    grown = line.copy()
    grown[1:] |= line[:-1]
    grown[:, 1:] |= grown[:, :-1]
    labels, count = components(grown)
    sizes = np.bincount(labels[line], minlength=count + 1)[1:]
    assert count > 40
    assert sizes.min() >= 0.6 * np.median(sizes)
    assert sizes.max() <= 1.6 * np.median(sizes)


def test_contours_of_all_of_a_small_picture_are_drawn() -> None:
    everything = np.ones((13, 8), np.bool_)
    within = everything.copy()
    within[:, 0] = False
    line = rgba(rendering.contours_png(within, everything))[..., 3] > 0
    assert np.array_equal(line, ~within)


def test_the_outline_is_wider_on_large_pictures() -> None:
    mask = np.zeros((1024, 1024), np.bool_)
    mask[400:600, 400:600] = True
    line = rgba(rendering.outline_png(mask))[..., 3] > 0
    assert line[390:400, 500].sum() == 4


def test_an_area_at_the_edge_stays_inside_the_picture() -> None:
    mask = np.ones((20, 20), np.bool_)
    assert not (rgba(rendering.outline_png(mask))[..., 3] > 0).any()


def test_attention_is_brightest_and_least_see_through_where_it_is_strongest() -> None:
    attention = np.tile(np.linspace(0, 255, 96).astype(np.uint8), (16, 1))
    picture = rgba(rendering.attention_png(attention)).astype(int)
    assert picture.shape == (16, 96, 4)
    assert picture[0, 0, 3] == 0
    assert picture[0, 95, 3] == 255
    assert (np.diff(picture[0, :, 3]) >= 0).all()
    assert picture[0, 95, :3].tolist() == rendering.colour_map()[252].tolist()


def test_large_attention_is_kept_small_in_the_same_shape() -> None:
    picture = opened(rendering.attention_png(np.zeros((1000, 3000), np.uint8)))
    assert picture.size == (96, 32)


@pytest.mark.parametrize("shape", [(320, 1700), (1600, 291), (37, 1790), (4000, 640)])
def test_attention_of_a_strip_has_its_proportions(shape: tuple[int, int]) -> None:
    """A browser fits each layer by its own, so others would move it on the scan."""
    width, height = opened(rendering.attention_png(np.zeros(shape, np.uint8))).size
    assert min(width, height) == 24
    assert width / height == pytest.approx(shape[1] / shape[0], rel=0.01)


@pytest.mark.parametrize("shape", [(96, 96), (320, 278), (501, 999), (37, 1790)])
def test_small_attention_laid_over_the_scan_comes_out_where_it_was(shape: tuple[int, int]) -> None:
    """As the page does it: stretched over the whole scan."""
    height, width = shape
    y, x = np.mgrid[:height, :width]
    bump = np.exp(-((x / width - 0.7) ** 2 + (y / height - 0.3) ** 2) / 0.02)
    picture = opened(rendering.attention_png((255 * bump).astype(np.uint8))).convert("RGBA")
    shown = np.asarray(picture.resize((width, height), Image.Resampling.BILINEAR))[..., 3] / 255
    wanted = np.clip((255 * bump).astype(int) // 4 * 6, 0, 255) / 255
    assert np.abs(shown - wanted).mean() < 0.02
    for axis in (0, 1):
        at = np.arange(shape[axis])
        centres = [
            (at * one.sum(axis=1 - axis)).sum() / one.sum() / shape[axis] for one in (shown, wanted)
        ]
        assert centres[0] == pytest.approx(centres[1], abs=0.004)


def test_the_colours_get_steadily_brighter() -> None:
    """So the map reads the same in grey and for the colour-blind."""
    colours = rendering.colour_map().astype(float)
    luminance = colours @ (0.2126, 0.7152, 0.0722)
    assert len(colours) == 256
    steps = np.diff(luminance[::4])
    assert (steps > 0).all()
    assert steps.max() < 8


@pytest.mark.parametrize(
    ("shape", "size"),
    [((480, 960), (240, 120)), ((100, 50), (50, 100)), ((960, 480, 3), (120, 240))],
)
def test_thumbnails_keep_the_shape(shape: tuple[int, ...], size: tuple[int, int]) -> None:
    assert opened(rendering.thumbnail_png(np.zeros(shape, np.uint8))).size == size
