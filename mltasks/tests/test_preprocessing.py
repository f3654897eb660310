"""Where a pixel goes, and that it comes back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from mltasks.images import orient, unorient
from mltasks.preprocessing import (
    MEAN,
    SCALE,
    Geometry,
    Pixels,
    find_head,
    letterbox,
    mask_cells,
    place,
    preprocess,
    to_grey,
)

SIZES = st.sampled_from((32, 64, 96, 192, 224))
SIDES = st.integers(1, 700)
quick = settings(max_examples=60, deadline=None)


def whole(width: int, height: int, size: int) -> Geometry:
    return place(width, height, (0, 0, width, height), size)


@given(SIDES, SIDES, SIZES)
@quick
def test_every_picture_fits_into_the_square(width: int, height: int, size: int) -> None:
    inputs, geometry = preprocess(np.full((height, width), 200, np.uint8), size)
    assert inputs.shape == (size, size, 1)
    assert inputs.dtype == np.float32
    left, top, right, bottom = geometry.content
    assert 0 <= left < right <= size
    assert 0 <= top < bottom <= size
    assert size in {right - left, bottom - top}


@given(SIDES, SIDES, SIZES, st.floats(-50, 800), st.floats(-50, 800))
@quick
def test_points_come_back(width: int, height: int, size: int, x: float, y: float) -> None:
    geometry = whole(width, height, size)
    back = geometry.to_image(*geometry.to_input(x, y))
    assert back == pytest.approx((x, y), abs=1e-6)


@given(SIDES, SIDES, SIZES)
@quick
def test_letterbox_surrounds_with_black(width: int, height: int, size: int) -> None:
    geometry = whole(width, height, size)
    canvas = letterbox(np.full((height, width), 200, np.uint8), geometry)
    left, top, right, bottom = geometry.content
    assert (canvas[top:bottom, left:right] == 200).all()
    assert int(canvas.astype(int).sum()) == 200 * (right - left) * (bottom - top)


@given(st.sampled_from((32, 64, 224)))
@quick
def test_a_picture_of_the_right_size_is_left_alone(size: int) -> None:
    pixels = np.random.default_rng(size).integers(60, 256, (size, size)).astype(np.uint8)
    inputs, geometry = preprocess(pixels, size)
    assert geometry.box == geometry.content == (0, 0, size, size)
    np.testing.assert_array_equal(inputs[..., 0] * np.float32(SCALE) + np.float32(MEAN), pixels)


@st.composite
def squares(draw: st.DrawFn) -> tuple[Pixels, tuple[int, int, int, int]]:
    """A grey picture with a bright square off its centre, and where the square is."""
    width = draw(st.integers(40, 900))
    # In a longer strip the square could be smaller than a cell of the grid.
    height = draw(st.integers(max(40, width // 3), min(900, width * 3)))
    side = draw(st.integers(min(width, height) // 4, min(width, height) // 2))
    left = draw(st.integers(0, width - side))
    top = draw(st.integers(0, height - side))
    pixels = np.full((height, width), draw(st.integers(0, 80)), np.uint8)
    pixels[top : top + side, left : left + side] = 250
    return pixels, (left, top, left + side, top + side)


@given(squares(), st.sampled_from((64, 192, 224)), st.sampled_from((1, 2)))
@quick
def test_a_bright_square_comes_back_where_it_was(
    drawn: tuple[Pixels, tuple[int, int, int, int]], size: int, cell: int
) -> None:
    pixels, (left, top, right, bottom) = drawn
    inputs, geometry = preprocess(pixels, size)
    side = size // cell
    grid = inputs[..., 0].reshape(side, cell, side, cell).mean(axis=(1, 3))
    found = geometry.resample(grid) > (165 - MEAN) / SCALE
    rows, columns = np.flatnonzero(found.any(axis=1)), np.flatnonzero(found.any(axis=0))
    box = geometry.box
    # One cell of the grid in picture pixels, and one pixel for rounding to whole pixels.
    shown = max(box[2] - box[0], box[3] - box[1])
    tolerance = cell * shown / size + 1
    assert abs(box[0] + columns[0] - left) <= tolerance
    assert abs(box[1] + rows[0] - top) <= tolerance
    assert abs(box[0] + columns[-1] + 1 - right) <= tolerance
    assert abs(box[1] + rows[-1] + 1 - bottom) <= tolerance


@given(squares(), st.integers(1, 8))
@settings(max_examples=30, deadline=None)
def test_a_turned_file_gives_the_same_input(
    drawn: tuple[Pixels, tuple[int, int, int, int]], orientation: int
) -> None:
    upright, _ = drawn
    stored = unorient(upright, orientation)
    np.testing.assert_array_equal(orient(stored, orientation), upright)
    turned, geometry = preprocess(orient(stored, orientation), 64)
    expected, same = preprocess(upright, 64)
    np.testing.assert_array_equal(turned, expected)
    assert geometry == same


@pytest.mark.parametrize("shape", [(1, 1), (1, 500), (500, 1), (3, 1001), (7, 2)])
def test_thin_pictures(shape: tuple[int, int]) -> None:
    inputs, geometry = preprocess(np.full(shape, 180, np.uint8), 96)
    assert np.isfinite(inputs).all()
    area = geometry.resample(np.ones((48, 48), np.float32))
    assert area.shape == shape
    assert (area == 1).all()


def test_a_very_large_picture_keeps_its_square() -> None:
    pixels = np.full((5000, 7001), 90, np.uint8)
    pixels[1000:2000, 5000:6000] = 255
    inputs, geometry = preprocess(pixels, 224)
    found = geometry.resample(inputs[..., 0], (4900, 900, 6100, 2100)) > (170 - MEAN) / SCALE
    assert abs(int(found.sum()) - 1000 * 1000) < 40_000
    assert found[500, 600]


def test_shrinking_averages_areas() -> None:
    pixels = np.zeros((400, 400), np.uint8)
    pixels[:, ::2] = 200
    inputs, _ = preprocess(pixels, 200)
    np.testing.assert_allclose(inputs, (100 - MEAN) / SCALE, atol=1e-6)


def test_dark_margins_are_left_out() -> None:
    pixels = np.full((300, 400), 3, np.uint8)
    pixels[100:200, 50:150] = 120
    assert find_head(pixels) == (47, 97, 153, 203)
    assert preprocess(pixels, 64)[1].box == (47, 97, 153, 203)


def test_a_speck_does_not_widen_the_frame() -> None:
    pixels = np.zeros((300, 300), np.uint8)
    pixels[100:200, 100:200] = 120
    pixels[2, 2] = 255
    assert find_head(pixels) == (97, 97, 203, 203)


def test_black_pictures_are_kept_whole() -> None:
    assert find_head(np.zeros((30, 40), np.uint8)) == (0, 0, 40, 30)


def test_colour_becomes_luminance() -> None:
    red = np.zeros((4, 4, 3), np.uint8)
    red[..., 0] = 255
    assert (to_grey(red) == 76).all()
    assert preprocess(red, 32)[0].shape == (32, 32, 1)


def test_cells_of_a_mask_hold_their_share() -> None:
    mask = np.zeros((4, 4), np.uint8)
    mask[0, :3] = mask[1, 0] = 255
    cells = mask_cells(mask, whole(4, 4, 4))
    assert cells.dtype == np.float32
    assert cells.tolist() == [[0.75, 0.25], [0, 0]]


@pytest.mark.parametrize(
    "pixels",
    [
        np.zeros((4, 4), np.float32),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((0, 4), np.uint8),
        np.zeros(4, np.uint8),
    ],
)
def test_other_arrays_are_refused(pixels: Pixels) -> None:
    with pytest.raises(ValueError, match="not"):
        preprocess(pixels, 32)
