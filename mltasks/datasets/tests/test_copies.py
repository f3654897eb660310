"""Fingerprints and the search for copies: properties, and cases whose answer is known."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from PIL import Image

from mltasks.datasets import trial
from mltasks.datasets.copies import (
    FRAMED,
    VIEWS,
    WHOLE,
    Closest,
    FingerprintStore,
    Groups,
    Pair,
    find_pairs,
)
from mltasks.datasets.fingerprints import (
    TURNS,
    coarse,
    fingerprint,
    head_frame,
    turned,
    unit,
)
from mltasks.datasets.form import Row
from mltasks.datasets.series import blocks, neighbours_by_name
from mltasks.datasets.tests.conftest import picture
from mltasks.preprocessing import Pixels

seeds = st.integers(0, 10_000)
QUICK = settings(max_examples=10, deadline=None)


def turn_picture(pixels: Pixels, turn: int) -> Pixels:
    pixels = np.rot90(pixels, turn % 4)
    return np.ascontiguousarray(pixels[:, ::-1] if turn >= 4 else pixels)


def store_of(*pictures: Pixels) -> FingerprintStore:
    store = FingerprintStore()
    for pixels in pictures:
        store.add(fingerprint(pixels))
    return store


@QUICK
@given(seeds, st.integers(0, TURNS - 1))
def test_turning_the_picture_turns_the_fingerprint(seed: int, turn: int) -> None:
    pixels = picture(seed, 96, 96)
    print_of = fingerprint(turn_picture(pixels, turn)).whole
    again = turned(fingerprint(pixels).whole[None], turn)[0]
    np.testing.assert_allclose(print_of, again, atol=0.02)


@QUICK
@given(seeds, st.floats(0.4, 1.0), st.integers(0, 40))
def test_brightness_and_contrast_do_not_matter(seed: int, contrast: float, more: int) -> None:
    pixels = picture(seed)
    changed = np.clip(pixels * contrast + more, 0, 255).astype(np.uint8)
    one, other = fingerprint(pixels), fingerprint(changed)
    assert one.whole @ other.whole > 0.99
    assert one.framed @ other.framed > 0.98


@QUICK
@given(seeds)
def test_the_coarse_product_is_never_too_small(seed: int) -> None:
    rng = np.random.default_rng(seed)
    vectors = unit(rng.normal(size=(6, 1024)).cumsum(axis=1).astype(np.float32))
    assert (coarse(vectors) @ coarse(vectors).T >= vectors @ vectors.T - 1e-5).all()
    np.testing.assert_allclose((coarse(vectors) ** 2).sum(axis=1), 1, atol=1e-4)


@QUICK
@given(seeds, st.tuples(*[st.integers(0, 30)] * 4))
def test_black_borders_do_not_move_the_frame(seed: int, sides: tuple[int, ...]) -> None:
    top, bottom, left, right = sides
    pixels = picture(seed)
    box = head_frame(pixels)
    padded = np.pad(pixels, ((top, bottom), (left, right)), constant_values=3)
    found = np.array(head_frame(padded)) - (left, top, left, top)
    np.testing.assert_allclose(found, box, atol=4)


@settings(max_examples=6, deadline=None)
@given(st.lists(seeds, min_size=2, max_size=5, unique=True), st.data())
def test_the_search_finds_what_comparing_all_finds(chosen: list[int], data: st.DataObject) -> None:
    pictures = [picture(seed, 64, 64) for seed in chosen]
    for _ in range(2):
        source = data.draw(st.integers(0, len(pictures) - 1))
        turn = data.draw(st.integers(0, TURNS - 1))
        pictures.append(turn_picture(pictures[source], turn))
    store = store_of(*pictures)
    expected = set()
    for first, second in combinations(range(store.count), 2):
        for view, threshold in VIEWS:
            left, right = store.vectors(view, [first]), store.vectors(view, [second])
            likeness = max(float((left * turned(right, turn)).sum()) for turn in range(TURNS))
            if likeness >= threshold:
                expected.add((first, second))
    pairs = list(find_pairs(store))
    assert {(pair.first, pair.second) for pair in pairs} == expected
    assert len(pairs) == len(expected) >= 2


@pytest.mark.parametrize("turn", range(TURNS))
def test_a_copy_is_found_and_how_it_lies(turn: int) -> None:
    one, other = picture(1), picture(2)
    copy = Image.fromarray(turn_picture(one, turn)).resize((70, 70), Image.Resampling.BICUBIC)
    [pair] = find_pairs(store_of(one, other, np.array(copy)))
    assert (pair.first, pair.second) == (0, 2)
    back = turn_picture(np.array(copy.resize((96, 96))), pair.turn)
    assert np.corrcoef(back.ravel(), one.ravel())[0, 1] > 0.97


def test_blank_pictures_are_like_nothing() -> None:
    blank = np.full((50, 50), 7, np.uint8)
    assert list(find_pairs(store_of(blank, blank + 1, picture(1)))) == []


def test_many_images_in_several_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mltasks.datasets.copies._MOST_QUERIES", 3)
    monkeypatch.setattr("mltasks.datasets.copies._FIRST_ROOM", 2)
    store = store_of(*(picture(seed % 5, 64, 64) for seed in range(10)))
    found = {(pair.first, pair.second) for pair in find_pairs(store)}
    assert found == {(number, number + 5) for number in range(5)}


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=20))
def test_groups_are_the_connected_parts(edges: list[tuple[int, int]]) -> None:
    groups, reach = Groups(10), np.eye(10, dtype=bool)
    for one, other in edges:
        groups.join(one, other)
        reach[one, other] = reach[other, one] = True
    for _ in range(4):
        reach = (reach.astype(int) @ reach.astype(int)) > 0
    labels = groups.labels()
    np.testing.assert_array_equal(labels[:, None] == labels[None], reach)


def test_the_closest_are_kept() -> None:
    closest = Closest(2)
    for likeness in (0.98, 1.0, 0.99, 0.985):
        closest.add(Pair(likeness, 0, 1, 0, "whole"))
    assert [pair.likeness for pair in closest.ordered()] == [1.0, 0.99]


def test_the_trial_knows_copies_from_others() -> None:
    pictures = [picture(seed) for seed in range(12)]
    store = store_of(*pictures)
    for name, views in trial.altered(store, range(12), pictures).items():
        assert views.near().mean() >= 0.75, name
    others = trial.strangers(store, range(12), range(12))
    assert not others.near().any()
    assert others.near(-1.0).all()
    assert others.whole.max() < WHOLE
    assert others.framed.max() < FRAMED


def row(name: str, **more: str) -> Row:
    return Row(id=name, label=more.pop("label", "glioma"), sha256="", **more)  # type: ignore[arg-type]


def test_neighbours_in_a_series() -> None:
    rows = [
        row("brisc2025_train_00001_gl_ax_t1"),
        row("brisc2025_train_00002_gl_ax_t1"),
        row("brisc2025_train_00003_gl_co_t1"),
        row("brisc2025_test_00003_gl_ax_t1"),
        row("no number"),
        row("a 7", label="glioma"),
        row("a 8", label="pituitary"),
        row("b_1", patient="0" * 16),
        row("b_2", patient="1" * 16),
    ]
    assert neighbours_by_name(rows) == [(0, 1)]


def test_only_alike_neighbours_without_groups_are_joined() -> None:
    rows = [row(f"scan_{number}") for number in range(4)]
    slope = np.tile(np.arange(96, dtype=np.uint8), (96, 1))
    store = store_of(picture(1), picture(1) // 2, slope, slope // 2)
    assert list(blocks(rows, store, range(4))) == [(0, 1), (2, 3)]
    assert list(blocks(rows, store, [0, -1, 2, 3])) == [(2, 3)]
    grouped = [row(f"scan_{number}", group=f"g{number}") for number in range(4)]
    assert list(blocks(grouped, store, range(4))) == []


def test_candidates_of_which_none_is_near(monkeypatch: pytest.MonkeyPatch) -> None:
    """The coarse search may bring up pairs that the whole fingerprints do not confirm."""
    monkeypatch.setattr("mltasks.datasets.copies._SLACK", 2.0)
    assert list(find_pairs(store_of(picture(1), picture(2), picture(3)))) == []
