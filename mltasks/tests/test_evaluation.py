"""Figures worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from mltasks.calibration import (
    brain_threshold,
    cross_fitted,
    fit_temperature,
    group_halves,
    log_loss,
)
from mltasks.evaluation import (
    Results,
    accuracy,
    answered_accuracy,
    calibration_error,
    dice_score,
    interval,
    macro_f1,
    median_dice,
    proportion_interval,
    refusal_summary,
    sensitivity,
    specificity,
    summary,
)
from mltasks.postprocessing import softmax
from mltasks.robustness import CHANGES


def results(
    target: list[int], predicted: list[int], *, confidence: float = 0.7, refused: int = 0
) -> Results:
    count = len(target)
    probabilities = np.full((count, 4), (1 - confidence) / 3)
    probabilities[np.arange(count), predicted] = confidence
    return Results(
        target=np.array(target),
        probabilities=probabilities,
        accepted=np.arange(count) >= refused,
        brain_score=np.ones(count),
        dice=np.where(np.array(target) == 2, np.nan, 0.8),
        group=np.arange(count) // 2,
    )


def test_shares() -> None:
    four = results([0, 0, 1, 2], [0, 1, 1, 2], refused=1)
    assert accuracy(four) == 0.75
    assert answered_accuracy(four) == 0.5
    assert sensitivity(0)(four) == 0.5
    assert specificity(1)(four) == pytest.approx(2 / 3)
    assert sensitivity(3)(four) == 0.0
    assert macro_f1(four) == pytest.approx((2 / 3 + 2 / 3 + 1 + 1) / 4)
    assert median_dice(four) == pytest.approx(0.8)
    assert calibration_error(four) == pytest.approx(0.05)


def test_dice() -> None:
    one, two = np.zeros((2, 4, 4), np.bool_)
    assert dice_score(one, two) == 1.0
    one[:2] = True
    assert dice_score(one, two) == 0.0
    two[1:3] = True
    assert dice_score(one, two) == 0.5


def test_summary_of_slices_without_masks() -> None:
    figures = summary(results([2, 2], [2, 2]))
    assert figures["dice"]["n"] == 0
    assert figures["accuracy"] == {"value": 1.0, "ci95": [1.0, 1.0]}


def test_intervals_draw_whole_groups() -> None:
    target, predicted = [0] * 40, [0] * 20 + [1] * 20
    wide = results(target, predicted)
    one_group = Results(
        wide.target,
        wide.probabilities,
        wide.accepted,
        wide.brain_score,
        wide.dice,
        np.zeros(40),
    )
    assert interval(one_group, accuracy) == [0.5, 0.5]
    low, high = interval(wide, accuracy)
    assert 0.2 < low < 0.4 < 0.6 < high < 0.8


def test_interval_of_a_share() -> None:
    assert proportion_interval(0, 0) == [0.0, 1.0]
    assert proportion_interval(0, 100) == pytest.approx([0, 0.037], abs=1e-3)
    assert proportion_interval(50, 100) == pytest.approx([0.404, 0.596], abs=1e-3)


def test_changes_keep_what_they_promise() -> None:
    pixels = np.arange(200 * 100, dtype=np.uint32).reshape(200, 100).astype(np.uint8)
    changed = {name: change(pixels) for name, change in CHANGES.items()}
    assert all(values.dtype == np.uint8 for values in changed.values())
    assert changed["turned"].shape == (100, 200)
    assert changed["cropped"].shape == (120, 60)
    assert changed["framed"].shape == (240, 140)
    assert changed["tiny"].shape == (96, 48)
    assert changed["coloured"].shape == (200, 100, 3)
    np.testing.assert_array_equal(changed["inverted"], 255 - pixels)


def test_other_pictures() -> None:
    figures = refusal_summary({"a": np.array([0.1, 0.9]), "b": np.array([0.0])}, 0.5)
    assert (figures["n"], figures["accepted"]) == (3, 1)
    assert figures["by_source"]["a"]["share"] == 0.5
    assert refusal_summary({}, 0.5)["n"] == 0


def test_the_temperature_is_found() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, (4000, 4))
    target = np.array([rng.choice(4, p=p) for p in softmax(logits)])
    assert fit_temperature(logits, target) == pytest.approx(1, abs=0.1)
    assert fit_temperature(logits * 2.5, target) == pytest.approx(2.5, abs=0.25)
    assert log_loss(logits, target, 1.0) < log_loss(logits, target, 3.0)


def test_cross_fitting_keeps_groups_whole() -> None:
    rng = np.random.default_rng(1)
    groups = rng.integers(0, 30, 300).astype(str)
    first = group_halves(groups)
    assert not set(groups[first]) & set(groups[~first])
    logits, target = rng.normal(0, 2, (300, 4)), rng.integers(0, 4, 300)
    probabilities = cross_fitted(logits, target, groups)
    assert probabilities.sum(axis=1) == pytest.approx(1)
    one_group = cross_fitted(logits, target, np.zeros(300))
    assert one_group.sum(axis=1) == pytest.approx(1)


def test_the_refusal_threshold_is_lenient() -> None:
    scores = np.linspace(0.9, 1, 1000)
    assert brain_threshold(scores, refuse=0.01, ceiling=0.5) == 0.5
    scores[:20] = 0.05
    assert brain_threshold(scores, refuse=0.01, ceiling=0.5) == pytest.approx(0.05)
