"""Changed pictures stay pictures, and the mask goes where the picture goes."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings, strategies as st

from mltasks import negatives
from mltasks.augmentation import (
    CHANCES,
    annotate,
    augment,
    blur,
    coarsen,
    crop,
    draw_training_pair,
    frame,
    jitter,
    noise,
    recompress,
    remap,
    repaint,
    shade,
    strip,
    tone,
    warp,
)
from mltasks.preprocessing import Pixels

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
    for change in (remap, tone, shade, noise, blur, coarsen, recompress, annotate):
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


def _head_with_tumor() -> tuple[Pixels, Pixels]:
    y, x = np.mgrid[-1:1:120j, -1:1:90j]
    pixels = np.where(x**2 / 0.7 + y**2 / 0.8 < 1, 200, 0).astype(np.uint8)
    pixels[x**2 / 0.5 + y**2 / 0.6 < 1] = 100
    mask = np.zeros(pixels.shape, np.uint8)
    mask[50:70, 50:65] = 255
    return pixels, mask


@given(SEEDS)
@some
def test_a_crop_keeps_most_of_the_tumour(seed: int) -> None:
    pixels, mask = _head_with_tumor()
    cut, kept = crop(pixels, mask, np.random.default_rng(seed))
    assert kept is not None
    assert cut.shape == kept.shape
    assert np.count_nonzero(kept) * 2 >= np.count_nonzero(mask)
    # What is left is a window of the picture, with the mask of that very window.
    rows, columns = (whole - part for whole, part in zip(pixels.shape, cut.shape, strict=True))
    windows = [
        np.s_[top : top + cut.shape[0], left : left + cut.shape[1]]
        for top in range(rows + 1)
        for left in range(columns + 1)
    ]
    assert any(
        np.array_equal(pixels[own], cut) and np.array_equal(mask[own], kept) for own in windows
    )


@given(SEEDS)
@some
def test_a_stripped_head_loses_its_rim_and_nothing_inside(seed: int) -> None:
    pixels, mask = _head_with_tumor()
    left, kept = strip(pixels, mask, np.random.default_rng(seed))
    changed = left != pixels
    assert not left[changed].any()
    assert np.count_nonzero(changed) > 0.1 * np.count_nonzero(pixels)
    np.testing.assert_array_equal(left[45:75, 32:58], pixels[45:75, 32:58])
    np.testing.assert_array_equal(kept, np.where(changed, 0, mask))


@given(SEEDS)
@some
def test_a_tumour_that_nobody_outlined_is_not_cut_away(seed: int) -> None:
    pixels, _ = _head_with_tumor()
    only = dict.fromkeys(CHANCES, 0.0) | {"strip": 1.0, "crop": 1.0}
    whole, _ = augment(pixels, None, np.random.default_rng(seed), only, hidden=True)
    assert whole is pixels
    cut, _ = augment(pixels, None, np.random.default_rng(seed), only)
    assert cut.shape != pixels.shape


def test_what_would_cut_the_tumour_away_is_not_done() -> None:
    pixels, mask = _head_with_tumor()
    mask[:] = 0
    mask[57:63, 6:10] = 255
    rng = np.random.default_rng(0)
    for _ in range(20):
        stripped, kept = strip(pixels, mask, rng)
        assert stripped is pixels
        assert kept is mask


@given(SEEDS)
@some
def test_a_repainted_tumour_is_darker_or_brighter_and_the_rest_stays(seed: int) -> None:
    pixels, mask = _head_with_tumor()
    for bright in (False, True):
        painted = repaint(pixels, mask, np.random.default_rng(seed), bright=bright)
        # The tissue around it has 100.
        middle = int(painted[57:63, 55:60].mean())
        assert 110 <= middle <= 245 if bright else 30 <= middle <= 92
        far = np.ones(mask.shape, np.bool_)
        far[40:80, 40:75] = False
        np.testing.assert_array_equal(painted[far], pixels[far])


def test_only_a_tumour_is_repainted() -> None:
    pixels, mask = _head_with_tumor()
    rng = np.random.default_rng(0)
    assert repaint(pixels, np.zeros_like(mask), rng, bright=True) is pixels
    # Alone on black there is nothing that it could be brighter or darker than.
    alone = np.where(mask > 127, pixels, 0).astype(np.uint8)
    assert repaint(alone, mask, rng, bright=True) is alone
    only = dict.fromkeys(CHANCES, 0.0) | {"repaint": 1.0}
    healthy, _ = augment(pixels, None, rng, only)
    assert healthy is pixels
    dark, _ = augment(pixels, mask, rng, only)
    bright, _ = augment(pixels, mask, rng, only | {"remap": 1.0})
    core = np.s_[57:63, 55:60]
    assert dark[core].mean() < pixels[core].mean()
    assert not np.array_equal(bright, dark)
