"""Areas, boxes, attention."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from mltasks.postprocessing import (
    Mask,
    affected_area,
    attention_map,
    bounding_box,
    components,
    drop_specks,
    entropy,
    hottest_point,
    sigmoid,
    softmax,
)
from mltasks.preprocessing import place

masks = arrays(np.bool_, array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=14))


def flood(mask: Mask) -> list[set[tuple[int, int]]]:
    """The connected parts, found the slow and obvious way."""
    left = {(int(y), int(x)) for y, x in np.argwhere(mask)}
    parts = []
    while left:
        part, edge = set(), [left.pop()]
        while edge:
            y, x = edge.pop()
            part.add((y, x))
            for cell in ((y + 1, x), (y - 1, x), (y, x + 1), (y, x - 1)):
                if cell in left:
                    left.remove(cell)
                    edge.append(cell)
        parts.append(part)
    return parts


@given(masks)
@settings(max_examples=150, deadline=None)
def test_components_are_the_connected_parts(mask: Mask) -> None:
    labels, count = components(mask)
    found = [{(int(y), int(x)) for y, x in np.argwhere(labels == n + 1)} for n in range(count)]
    assert sorted(map(sorted, found)) == sorted(map(sorted, flood(mask)))
    assert ((labels > 0) == mask).all()


def test_specks_are_dropped() -> None:
    mask = np.zeros((20, 20), np.bool_)
    mask[2:12, 2:12] = True
    mask[15:18, 15:18] = True
    assert drop_specks(mask, 0.1).sum() == 100
    assert drop_specks(mask, 0.05).sum() == 109


def logits_of(mask: Mask) -> np.ndarray:
    return np.where(mask, 8, -8).astype(np.float32)


def test_the_area_lies_where_the_cells_are() -> None:
    geometry = place(400, 200, (0, 0, 400, 200), 64)
    cells = np.zeros((32, 32), np.bool_)
    cells[12:16, 4:8] = True
    cells[20, 30] = True
    area = affected_area(logits_of(cells), geometry, threshold=0.5, speck_share=0.1)
    assert area.shape == (200, 400)
    assert bounding_box(area) == (50, 50, 100, 100)


def test_an_area_only_on_the_black_border_is_empty() -> None:
    geometry = place(400, 100, (0, 0, 400, 100), 64)
    cells = np.zeros((32, 32), np.bool_)
    cells[0:2, 0:2] = True
    area = affected_area(logits_of(cells), geometry, threshold=0.5, speck_share=0.1)
    assert not area.any()


def test_nothing_above_the_threshold_is_an_empty_area() -> None:
    geometry = place(30, 30, (0, 0, 30, 30), 64)
    area = affected_area(
        np.full((32, 32), -1, np.float32), geometry, threshold=0.5, speck_share=0.1
    )
    assert not area.any()
    assert bounding_box(area) is None


@given(st.integers(1, 300), st.integers(1, 300), st.sampled_from((64, 224)))
@settings(max_examples=40, deadline=None)
def test_resampling_a_window_equals_the_whole(width: int, height: int, size: int) -> None:
    geometry = place(width, height, (0, 0, width, height), size)
    rng = np.random.default_rng(width * 1000 + height)
    coarse = rng.normal(-2, 3, (8, 8)).astype(np.float32)
    logits = np.kron(coarse, np.ones((size // 16, size // 16), np.float32))
    area = affected_area(logits, geometry, threshold=0.5, speck_share=0.0)
    np.testing.assert_array_equal(area, geometry.resample(sigmoid(logits)) >= 0.5)


@given(masks)
@settings(max_examples=80, deadline=None)
def test_the_box_is_tight(mask: Mask) -> None:
    box = bounding_box(mask)
    if box is None:
        assert not mask.any()
        return
    left, top, right, bottom = box
    inside = mask[top:bottom, left:right]
    assert inside.sum() == mask.sum()
    for edge in (inside[0], inside[-1], inside[:, 0], inside[:, -1]):
        assert edge.any()


def test_attention_peaks_at_the_strongest_cell() -> None:
    geometry = place(70, 140, (0, 70, 70, 140), 224)
    evidence = np.full((7, 7), -1, np.float32)
    evidence[2, 5] = 3
    attention = attention_map(evidence, geometry)
    assert attention.shape == (140, 70)
    assert attention.max() > 240
    assert not attention[:70].any()
    hottest = hottest_point(attention, None, np.zeros((140, 70), np.bool_))
    assert hottest == pytest.approx((54.5, 94.5), abs=1)


def test_no_evidence_is_no_attention() -> None:
    geometry = place(70, 70, (0, 0, 70, 70), 224)
    attention = attention_map(np.full((7, 7), -1, np.float32), geometry)
    assert not attention.any()
    assert hottest_point(attention, None, np.zeros((70, 70), np.bool_)) is None


def test_the_hottest_point_lies_in_the_area() -> None:
    attention = np.arange(100, dtype=np.uint8).reshape(10, 10)
    area = np.zeros((10, 10), np.bool_)
    area[2:5, 3:6] = True
    area[4, 5] = False
    assert hottest_point(attention, bounding_box(area), area) == (4, 4)
    likelihood = np.full((3, 3), 0.5, np.float32)
    likelihood[1, 1] = 0.9
    assert hottest_point(attention, bounding_box(area), area, likelihood) == (4, 3)
    attention[area] = 0
    assert hottest_point(attention, bounding_box(area), area, likelihood) == (9, 9)
    assert hottest_point(attention, bounding_box(area), area) == (9, 9)


def test_probabilities() -> None:
    assert softmax(np.array([1000.0, 0, 0, 0])) == pytest.approx([1, 0, 0, 0])
    assert softmax(np.zeros((2, 4))).sum() == pytest.approx(2)
    assert sigmoid(np.array([-500, 0, 500], np.float32)) == pytest.approx([0, 0.5, 1])


def test_entropy_goes_from_0_to_1() -> None:
    assert entropy(np.array([1.0, 0, 0, 0])) == pytest.approx(0, abs=1e-9)
    assert entropy(np.full(4, 0.25)) == pytest.approx(1)
    assert 0 < entropy(np.array([0.9, 0.1, 0, 0])) < 0.5
