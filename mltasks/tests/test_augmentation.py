"""Changed pictures stay pictures, and the mask goes where the picture goes."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings, strategies as st

from mltasks import negatives
from mltasks.augmentation import (
    annotate,
    augment,
    blur,
    coarsen,
    draw_training_pair,
    frame,
    jitter,
    noise,
    recompress,
    shade,
    tone,
    warp,
)

SEEDS = st.integers(0, 10_000)
some = settings(max_examples=25, deadline=None)


@given(SEEDS)
@some
def test_picture_and_mask_are_warped_alike(seed: int) -> None:
    pixels = np.zeros((150, 110), np.uint8)
    pixels[40:80, 30:90] = 255
    warped, mask = warp(pixels, pixels.copy(), np.random.default_rng(seed))
    assert mask is not None
    np.testing.assert_array_equal(warped, mask)


@given(SEEDS)
@some
def test_tonal_changes_keep_the_shape(seed: int) -> None:
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (60, 90)).astype(np.uint8)
    for change in (tone, shade, noise, blur, coarsen, recompress, annotate):
        changed = change(pixels, rng)
        assert changed.shape == pixels.shape, change.__name__
        assert changed.dtype == np.uint8, change.__name__


@given(SEEDS)
@some
def test_augmented_pairs_fit_each_other(seed: int) -> None:
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (80, 100)).astype(np.uint8)
    changed, mask = augment(pixels, pixels, rng)
    assert mask is not None
    assert changed.shape == mask.shape
    canvas, cells = draw_training_pair(pixels, pixels // 128 * 255, 64, rng)
    assert (canvas.shape, canvas.dtype) == ((64, 64), np.uint8)
    assert (cells.shape, cells.dtype) == ((32, 32), np.float32)
    assert 0 <= cells.min() <= cells.max() <= 1


@given(SEEDS)
@some
def test_a_moved_frame_stays_inside(seed: int) -> None:
    rng = np.random.default_rng(seed)
    for box in ((10, 20, 90, 70), (0, 0, 100, 80), (50, 40, 60, 50)):
        left, top, right, bottom = jitter(box, 100, 80, rng)
        assert 0 <= left < right <= 100
        assert 0 <= top < bottom <= 80


def test_a_border_has_no_tumor() -> None:
    rng = np.random.default_rng(1)
    framed, mask = frame(np.full((64, 64), 9, np.uint8), np.full((64, 64), 255, np.uint8), rng)
    assert mask is not None
    assert framed.shape == mask.shape
    assert mask.sum() == 255 * 64 * 64


def test_without_a_mask_nothing_is_tumor() -> None:
    rng = np.random.default_rng(2)
    for _ in range(5):
        _, cells = draw_training_pair(np.full((50, 60), 99, np.uint8), None, 32, rng)
        assert not cells.any()


def test_drawn_pictures_repeat_and_cover_every_kind() -> None:
    first, again = negatives.drawn(16, 5), negatives.drawn(16, 5)
    assert {kind for kind, _ in first} == set(negatives.GENERATORS)
    for (kind, one), (_, two) in zip(first, again, strict=True):
        np.testing.assert_array_equal(one, two, err_msg=kind)
        assert one.dtype == np.uint8
        assert one.ndim == 2
