"""Calibration, prediction sets and the detector, on data whose truth is known."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from mltasks import calibration, conformal, corruptions, fitting, other_bodies
from mltasks.background import is_light
from mltasks.classes import CLASSES
from mltasks.doubt import Doubt, Reference, cap, relative_distance, tempered
from mltasks.engines import ModelError, Outputs
from mltasks.postprocessing import softmax
from mltasks.tests.conftest import head

CARD: dict[str, Any] = {
    "thresholds": {"brain": 0.2},
    "doubt": {
        "temperature": {"base": 1.0, "slope": 0.5},
        "distance": {"centre": 0.1, "flag": 0.5, "refuse": 0.8},
        "sets": dict.fromkeys(CLASSES, 0.2),
        "answer": {"commit": 0.9, "flagged_cap": 0.85},
        "contours": {"inner": 0.8, "outer": 0.2},
    },
}

NONE_ODD = np.zeros(4, np.bool_)


def draw(count: int, seed: int, *, scale: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Logits, sharper than the truth by `scale`, and classes drawn from them."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 2, (count, 4))
    target = np.array([rng.choice(4, p=p) for p in softmax(logits)])
    return logits * scale, target


def outputs(distances: list[float], *, brain: float = 9.0, top: float = 9.0) -> Outputs:
    """Answers with one high logit, at these distances from the reference of `doubt`."""
    count = len(distances)
    across = np.array(distances)
    features = np.stack([np.sqrt(1 - across**2), across, np.zeros(count)], axis=1)
    logits = np.zeros((count, 4), np.float32)
    logits[:, 1] = top
    empty = np.zeros((count, 0), np.float32)
    return Outputs(
        logits, empty, empty, np.full(count, brain, np.float32), features.astype(np.float32)
    )


@pytest.fixture
def doubt() -> Doubt:
    return Doubt.from_card(CARD, Reference(np.zeros(3, np.float32), np.eye(3, 1, dtype=np.float32)))


def test_the_temperature_is_found() -> None:
    flat = np.zeros(4000)
    for scale in (1.0, 2.5):
        logits, target = draw(4000, 0, scale=scale)
        base, slope = calibration.fit_temperature(logits, target, flat, np.ones(4000))
        assert base == pytest.approx(scale, rel=0.1)
        assert slope == 0


def test_doubt_that_grows_with_distance_is_found() -> None:
    logits, target = draw(4000, 1)
    relative = np.random.default_rng(2).uniform(0, 2, 4000)
    sharper = logits * np.exp(0.6 * relative)[:, None]
    base, slope = calibration.fit_temperature(sharper, target, relative, np.ones(4000))
    assert base == pytest.approx(1, abs=0.15)
    assert slope == pytest.approx(0.6, abs=0.1)


def test_distance_never_makes_an_answer_surer() -> None:
    logits, target = draw(2000, 3)
    relative = np.random.default_rng(4).uniform(0, 2, 2000)
    duller = logits * np.exp(-0.5 * relative)[:, None]
    assert calibration.fit_temperature(duller, target, relative, np.ones(2000))[1] == 0


@pytest.mark.parametrize("seed", range(3))
def test_sets_hold_the_truth_as_often_as_promised(seed: int) -> None:
    """Groups of very different sizes that share their difficulty: exchangeable, not independent."""
    rng = np.random.default_rng(seed)

    def groups(count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        sizes = rng.integers(1, 20, count)
        names = np.repeat(np.arange(count), sizes)
        hardness = rng.gamma(2, 1, count)[names]
        target = rng.integers(0, 4, len(names))
        logits = rng.normal(0, 1, (len(names), 4)) * hardness[:, None]
        logits[np.arange(len(names)), target] += 3
        return softmax(logits), target, names

    covered = []
    for _ in range(20):
        least = np.array(conformal.least_probabilities(*groups(150), coverage=0.9))
        probabilities, target, names = groups(150)
        held = probabilities[np.arange(len(target)), target] >= least[target]
        covered.append(float((held * conformal.group_weights(names)).sum()))
    assert 0.88 < np.mean(covered) < 0.95


@pytest.mark.parametrize("seed", range(5))
def test_rounded_thresholds_hold_the_slices_that_they_were_fitted_to(seed: int) -> None:
    """With 99 of a class, the sets lack five if they lose the one on whose probability they end."""
    rng = np.random.default_rng(seed)
    count = 4 * 99
    target = np.arange(count) % 4
    logits = rng.normal(0, 1, (count, 4))
    logits[np.arange(count), target] += 2
    raw = fitting.Raw(
        logits=logits,
        brain=np.full(count, 9.0),
        features=np.zeros((count, 3)),
        target=target,
        group=np.arange(count).astype(str),
        kind=np.full(count, ""),
        light=np.zeros(count, np.bool_),
    )
    distance = rng.gamma(4, 0.02, count)
    fitted = fitting.fit_doubt(raw, distance, np.zeros(0))
    at, temperature = fitted["distance"], fitted["temperature"]
    relative = relative_distance(distance, at["centre"], at["flag"])
    probabilities = tempered(logits, temperature["base"], temperature["slope"], relative)
    least = np.array([fitted["sets"][name] for name in CLASSES])
    held = probabilities[np.arange(count), target] >= least[target]
    assert min(held[target == index].mean() for index in range(4)) >= fitting.COVERAGE
    assert (distance >= at["flag"]).mean() <= 0.012 + 1 / count


def test_too_few_groups_promise_nothing_less_than_everything() -> None:
    probabilities, target = np.full((5, 4), 0.25), np.zeros(5, int)
    assert conformal.least_probabilities(probabilities, target, np.arange(5)) == [0, 0, 0, 0]


def test_answers_are_stood_by_where_they_err_seldom() -> None:
    top = np.linspace(0.3, 0.99, 400)
    probabilities = np.stack([top, *[(1 - top) / 3] * 3], axis=1)
    target = np.where(np.arange(400) < 60, 1, 0)
    at = calibration.commit_threshold(probabilities, target, 0.0)
    assert at == pytest.approx(top[60], abs=1e-3)
    hopeless = calibration.commit_threshold(probabilities, np.ones(400, int), 0.0)
    assert hopeless == pytest.approx(top[80], abs=0.01)


@given(st.lists(st.floats(0.001, 1), min_size=4, max_size=4), st.floats(0.3, 1))
def test_a_cap_keeps_the_order(shares: list[float], highest: float) -> None:
    probabilities = np.array([shares]) / np.sum(shares)
    capped = cap(probabilities, highest)
    assert capped.sum() == pytest.approx(1)
    assert capped.max() <= max(highest, 0) + 1e-9 or probabilities.max() <= highest
    assert capped.argmax() == probabilities.argmax()
    if probabilities.max() <= highest:
        np.testing.assert_allclose(capped, probabilities)


def test_far_pictures_are_flagged_and_farther_ones_refused(doubt: Doubt) -> None:
    found = doubt.assess(outputs([0.05, 0.3, 0.6, 0.9]), NONE_ODD[:4])
    assert found.flagged.tolist() == [False, False, True, False]
    assert found.refused.tolist() == [False, False, False, True]
    assert found.committed.tolist() == [True, True, False, False]
    assert found.unlikeness == pytest.approx([0, 0.25, 0.5 + 0.5 / 3, 1], abs=1e-3)
    assert found.probabilities[2].max() == pytest.approx(0.85)
    assert (np.diff(found.probabilities[:3].max(axis=1)) < 0).all()
    assert found.prediction_set(0) == ("meningioma",)


def test_the_brain_head_refuses_with_the_distance_and_flags_alone(doubt: Doubt) -> None:
    found = doubt.assess(outputs([0.05, 0.6], brain=-9.0), NONE_ODD[:2])
    assert found.refused.tolist() == [False, True]
    assert found.flagged.tolist() == [True, False]


def test_what_is_surely_a_brain_is_flagged_however_far_it_lies(doubt: Doubt) -> None:
    distance = CARD["doubt"]["distance"] | {"surely_brain": 0.9}
    lenient = Doubt.from_card(
        {**CARD, "doubt": CARD["doubt"] | {"distance": distance}}, doubt.reference
    )
    found = lenient.assess(outputs([0.3, 0.9], brain=3.0), NONE_ODD[:2])
    assert found.refused.tolist() == [False, False]
    assert found.flagged.tolist() == [False, True]
    assert 0.5 < found.unlikeness[1] < 1
    assert not found.committed[1]
    assert lenient.assess(outputs([0.9], brain=1.0), NONE_ODD[:1]).refused.all()
    distance["surely_brain"] = "very"
    with pytest.raises(ModelError, match="surely_brain is no number"):
        Doubt.from_card({**CARD, "doubt": CARD["doubt"] | {"distance": distance}}, doubt.reference)


def test_an_answer_is_stood_by_from_its_threshold_on(doubt: Doubt) -> None:
    """That is 0.9 here, and one logit of ln 27 among noughts gives it."""
    for top, stood_by in ((3.2, False), (3.4, True)):
        found = doubt.assess(outputs([0.05], top=top), NONE_ODD[:1])
        assert found.probabilities.max() == pytest.approx(0.9, abs=0.015)
        assert found.committed.tolist() == [stood_by]


def test_a_flagged_answer_is_not_stood_by_however_sure_it_is(doubt: Doubt) -> None:
    answer = {"commit": 0.6, "flagged_cap": 0.85}
    lenient = Doubt.from_card(CARD | {"doubt": CARD["doubt"] | {"answer": answer}}, doubt.reference)
    found = lenient.assess(outputs([0.05, 0.6, 0.9]), NONE_ODD[:3])
    assert found.probabilities[:2].max(axis=1) == pytest.approx([1, 0.85], abs=1e-3)
    assert found.committed.tolist() == [True, False, False]
    assert lenient.assess(outputs([0.05]), np.array([True])).committed.tolist() == [False]


def test_doubt_goes_on_to_grow_past_the_flag() -> None:
    distances = np.array([0.0, 0.1, 0.3, 0.5, 0.9, 1.3, 9.0])
    assert relative_distance(distances, 0.1, 0.5) == pytest.approx([0, 0, 0.5, 1, 2, 3, 3])


def test_the_threshold_for_brains_is_no_higher_than_its_ceiling() -> None:
    scores = np.linspace(0, 1, 101)
    assert calibration.brain_threshold(scores, refuse=0.02, ceiling=0.5) == pytest.approx(0.02)
    assert calibration.brain_threshold(scores, refuse=0.8, ceiling=0.5) == 0.5
    # Rounded down: rounded up, it would refuse the very slice that it lets pass.
    assert calibration.brain_threshold(np.full(9, 0.12346), refuse=0.02, ceiling=0.5) == 0.1234


def test_a_light_background_flags_alone(doubt: Doubt) -> None:
    found = doubt.assess(outputs([0.05, 0.05]), np.array([True, False]))
    assert found.flagged.tolist() == [True, False]
    assert found.unlikeness.tolist() == [0.5, 0]


def test_black_for_white_is_noticed_and_a_frame_is_not() -> None:
    pixels = head(3)
    assert is_light(255 - pixels)
    assert not is_light(pixels)
    assert not is_light(np.pad(pixels, 20, constant_values=255))
    assert not is_light(np.full((40, 40), 200, np.uint8))


def test_each_class_is_covered_by_itself() -> None:
    probabilities, target = np.full((400, 4), 0.01), np.repeat([0, 1], 200)
    probabilities[np.arange(400), target] = np.r_[np.full(200, 0.97), np.linspace(0.2, 0.9, 200)]
    groups = np.r_[np.arange(200), np.repeat([900, 901], 100)]
    least = conformal.least_probabilities(probabilities, target, groups)
    assert least[0] == pytest.approx(0.97)
    assert 0.2 < least[1] < 0.25
    assert least[2:] == [0, 0]


def test_a_large_easy_group_does_not_speak_for_the_small_ones() -> None:
    """3,000 slices of one head, and a hard one each of a hundred others: 97% are easy."""
    shares = np.r_[np.full(3000, 0.97), np.linspace(0.2, 0.9, 100)]
    probabilities, target = np.full((3100, 4), 0.01), np.zeros(3100, int)
    probabilities[:, 0] = shares
    groups = np.r_[np.full(3000, 900), np.arange(100)]
    least = conformal.least_probabilities(probabilities, target, groups)[0]
    held = (shares >= least) * conformal.group_weights(groups)
    assert held.sum() >= 0.95
    assert 0.2 < least < 0.25


def test_the_likeliest_label_is_always_in_the_set(doubt: Doubt) -> None:
    found = doubt.assess(outputs([0.05], top=0.0), NONE_ODD[:1])
    assert found.in_set.all()
    assert len(found.prediction_set(0)) == 4


def test_a_set_leaves_out_none_that_is_likelier() -> None:
    card = CARD | {"doubt": CARD["doubt"] | {"sets": dict.fromkeys(CLASSES, 0.9)}}
    card["doubt"]["sets"] |= {"pituitary": 0.1}
    doubt = Doubt.from_card(
        card, Reference(np.zeros(3, np.float32), np.eye(3, 1, dtype=np.float32))
    )
    raw = outputs([0.05])
    raw.class_logits[0] = np.log([0.2, 0.6, 0.05, 0.15])
    assert doubt.assess(raw, NONE_ODD[:1]).prediction_set(0) == (
        "meningioma",
        "glioma",
        "pituitary",
    )


def test_a_card_without_doubt_is_refused() -> None:
    reference = Reference(np.zeros(3, np.float32), np.eye(3, 1, dtype=np.float32))
    with pytest.raises(ModelError, match=r"complete the model folder with manage\.py calibrate"):
        Doubt.from_card({"thresholds": {"brain": 0.2}}, reference)


def test_the_reference_knows_its_own_subspace() -> None:
    rng = np.random.default_rng(0)
    plane = rng.normal(size=(6, 40))
    home = rng.normal(size=(300, 6)) @ plane
    reference = fitting.fit_reference(home.astype(np.float32), 6)
    assert len(reference.to_bytes()) < 1_000_000
    near, far = reference.distance(home), reference.distance(rng.normal(size=(50, 40)))
    assert near.max() < 0.05 < 0.5 < far.min()
    np.testing.assert_allclose(reference.distance(home * 7), near, atol=1e-6)


@pytest.mark.parametrize(
    "content",
    [b"", b"no zip", Reference(np.zeros(3, np.float32), np.eye(2, dtype=np.float32)).to_bytes()],
)
def test_a_foreign_reference_is_refused(content: bytes) -> None:
    with pytest.raises(ModelError, match=r"reference\.npz holds"):
        Reference.from_bytes(content)


def test_contour_thresholds_bound_the_mask() -> None:
    rng = np.random.default_rng(5)
    truth, logits = [], []
    y, x = np.mgrid[:32, :32]
    for _ in range(30):
        distance = np.hypot(y - rng.uniform(12, 20), x - rng.uniform(12, 20))
        truth.append((distance < 8).astype(np.float32))
        logits.append((8 - distance + rng.normal(0, 1)) * 0.8)
    best, contours = fitting.fit_masks(np.array(logits, np.float32), truth)
    assert contours["outer"] <= best <= contours["inner"]
    assert contours["inner_rate"] >= 0.8
    assert contours["outer_rate"] >= 0.8


def test_a_contour_that_is_not_drawn_is_not_right() -> None:
    """Two areas in three never reach the higher thresholds: no inner contour, no success."""
    truth = [np.pad(np.ones((8, 8), np.float32), 12)] * 30
    logits = np.stack([np.where(mask > 0, 0.5, -9.0) for mask in truth])
    logits[::3] = np.where(truth[0] > 0, 6, -9)
    # A margin that is no tumour, which only a higher threshold leaves out.
    logits[:, 10:22, 8:12] = 0.2
    _, contours = fitting.fit_masks(logits.astype(np.float32), truth)
    assert contours["inner"] < 0.7
    assert contours["inner_rate"] == 1
    blurred = fitting.fit_masks(np.where(logits > 0, 0.2, -9).astype(np.float32), truth)[1]
    assert blurred["inner_rate"] == 0


def test_areas_are_judged_by_thresholds_of_other_groups() -> None:
    """What the half of one kind needs is wrong for the other, which a fit to both does not show."""
    truth = [np.pad(np.ones((8, 8), np.float32), 12)] * 40
    group = np.repeat(np.arange(10), 4).astype(str)
    first = calibration.group_halves(group)
    logits = np.stack([np.where(truth[0] > 0, 1.0, -9.0)] * 40)
    # Faint tumours in one half, and in the other a rim as bright as those.
    logits[first] = np.where(truth[0] > 0, -0.6, -9)
    logits[~first, 9:24, 9:12] = -0.6
    found = fitting.cross_fitted_areas(logits.astype(np.float32), truth, group)
    fitted = fitting.fit_masks(logits.astype(np.float32), truth)[1]
    assert (found["n"], found["groups"]) == (40, 10)
    assert found["inner_rate"] == 0 < fitted["inner_rate"] == 0.5
    assert found["outer_rate"] == 0.5 < fitted["outer_rate"] == 1
    for name in ("dice_mean", "inner_rate", "outer_rate"):
        low, high = found["ci95"][name]
        assert low <= found[name] <= high
        assert low < high
    one = np.full(40, "a")
    assert fitting.cross_fitted_areas(logits, truth, one) == {"n": 40, "groups": 1}


def made_up() -> fitting.Raw:
    """240 slices of 60 groups, every third in another form."""
    rng = np.random.default_rng(3)
    count = 240
    target = np.tile(np.arange(4), count // 4)
    logits = rng.normal(0, 1, (count, 4))
    logits[np.arange(count), target] += 2
    return fitting.Raw(
        logits=logits,
        brain=np.full(count, 9.0),
        features=rng.normal(size=(count, 40)).astype(np.float32),
        target=target,
        group=(np.arange(count) // 4).astype(str),
        kind=np.where(np.arange(count) % 3 == 2, "blur", ""),
        light=np.zeros(count, np.bool_),
    )


def test_doubt_is_stated_with_intervals_by_group() -> None:
    raw = made_up()
    found = fitting.cross_fitted(raw, fitting.fit_reference(raw.features, 6), np.zeros(0))
    assert (found["plain"]["n"], found["corrupted"]["n"]) == (160, 80)
    assert found["FLAIR-like"] == {"n": 0}
    for own in (found["plain"], found["corrupted"]):
        assert own.keys() - {"n", "ci95"} == own["ci95"].keys()
        for name in ("accuracy", "calibration_error", "set_coverage", "committed"):
            low, high = own["ci95"][name]
            assert low <= own[name] <= high


def test_crossed_answers_are_in_the_order_of_the_pictures() -> None:
    raw = made_up()
    reference = fitting.fit_reference(raw.features, 6)
    found = fitting.cross_assessed(raw, reference, np.zeros(0))
    np.testing.assert_allclose(found.distance, reference.distance(raw.features))
    np.testing.assert_array_equal(found.probabilities.argmax(axis=1), raw.logits.argmax(axis=1))
    assert found.in_set.dtype == np.bool_


def test_the_threshold_for_brains_is_crossed_as_well() -> None:
    """Slices that the head doubts are flagged by what was fitted to the others."""
    raw = made_up()
    doubtful = replace(raw, brain=np.where(calibration.group_halves(raw.group), -1.0, -0.1))
    reference = fitting.fit_reference(raw.features, 6)
    usual, found = (fitting.cross_fitted(own, reference, np.zeros(0)) for own in (raw, doubtful))
    assert usual["plain"]["flagged"] < 0.1
    assert 0.5 <= found["plain"]["flagged"] + found["plain"]["refused"] < 0.6


@given(st.sampled_from(corruptions.CORRUPTIONS), st.sampled_from(corruptions.STRENGTHS))
@settings(max_examples=30, deadline=None)
def test_corruptions_repeat_and_keep_mask_and_picture_together(name: str, strength: int) -> None:
    pixels = np.kron(head(1), np.ones((2, 2), np.uint8))
    mask = np.zeros_like(pixels)
    mask[120:180, 80:140] = 255
    changed, moved = corruptions.corrupt(pixels, mask, name, strength, "a slice")
    again, _ = corruptions.corrupt(pixels, None, name, strength, "a slice")
    np.testing.assert_array_equal(changed, again)
    assert changed.dtype == np.uint8
    assert moved is not None
    assert moved.shape == changed.shape
    assert set(np.unique(moved)) <= {0, 255}
    assert (moved > 0).any()
    assert changed.shape != pixels.shape or (changed != pixels).any()


def test_unlike_pictures_are_unlike() -> None:
    pixels = head(2)
    for name in corruptions.UNLIKE:
        changed = corruptions.unlike(pixels, name, "a slice")
        assert changed.shape == pixels.shape
        assert (changed != pixels).mean() > 0.2
    assert {kind for kind, _ in other_bodies.drawn(4, 0)} == set(other_bodies.GENERATORS)
