"""Figures worked out by hand, and intervals against a case that can be computed otherwise."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest

from mltasks.data import Record, Sample
from mltasks.evaluation import bootstrap, refusal_summary, summary
from mltasks.evaluation.curves import curves, precision_recall, roc
from mltasks.evaluation.figures import elsewhere
from mltasks.evaluation.results import KIND_UNKNOWN, Results, dice_score, run
from mltasks.evaluation.robustness import changed_once, class_counts, pick
from mltasks.tests.test_analyze import Stub
from tests.support.phantom import drawn_head


def results(
    target: list[int], predicted: list[int], *, confidence: float = 0.7, **changes: Any
) -> Results:
    """Slices in groups of two with an expert mask wherever there is a tumour."""
    count = len(target)
    probabilities = np.full((count, 4), (1 - confidence) / 3)
    probabilities[np.arange(count), predicted] = confidence
    none = np.array(target) == 2
    values: dict[str, Any] = {
        "target": np.array(target),
        "probabilities": probabilities,
        "accepted": np.ones(count, np.bool_),
        "flagged": np.zeros(count, np.bool_),
        "committed": np.ones(count, np.bool_),
        "in_set": probabilities > 0.5,
        "dice": np.where(none, np.nan, 0.8),
        "pointing_hit": np.where(none, np.nan, 1.0),
        "peak_hit": np.where(none, np.nan, 1.0),
        "area": np.where(none, 0, 0.1),
        "size": np.where(none, np.nan, 0.015),
        "inner_right": np.where(none, np.nan, 0.95),
        "outer_found": np.where(none, np.nan, 0.5),
        "group": (np.arange(count) // 2).astype(str),
        "plane": np.array(["axial"] * count),
        "source": np.array(["one", "two"] * count)[:count],
    }
    return Results(**(values | changes))


def value(stated: dict[str, Any]) -> float:
    return float(stated["value"])


def test_figures_by_hand() -> None:
    four = results([0, 0, 1, 2], [0, 1, 1, 2], accepted=np.array([False, True, True, True]))
    figures = summary(four, resamples=20)
    assert value(figures["accuracy"]) == 0.75
    assert value(figures["accuracy_refusals_count_as_errors"]) == 0.5
    assert value(figures["per_class"]["glioma"]["sensitivity"]) == 0.5
    assert value(figures["per_class"]["meningioma"]["specificity"]) == pytest.approx(
        2 / 3, abs=1e-4
    )
    assert figures["per_class"]["pituitary"]["sensitivity"] == {"value": None, "ci95": None}
    # Over the three classes that occur.
    assert value(figures["macro_f1"]) == pytest.approx((2 / 3 + 2 / 3 + 1) / 3, abs=1e-4)
    assert value(figures["calibration_error"]) == pytest.approx(0.05)
    assert value(figures["dice"]["median"]) == pytest.approx(0.8)
    assert value(figures["area_on_tumor_free"]) == 0
    assert figures["refused"]["count"] == 1
    assert figures["confusion"]["counts"][0] == [1, 1, 0, 0]
    contours = figures["doubt"]["contours"]
    assert value(contours["inner_at_least_90"]) == 1
    assert value(contours["outer_at_least_90"]) == 0
    assert set(figures["by"]["source"]) == {"one", "two"}
    assert set(figures["by"]["tumour_size"]) == {"1–2%"}
    assert value(figures["by"]["class"]["glioma"]["refused"]) == 0.5
    assert value(figures["by"]["class"]["meningioma"]["refused"]) == 0


def test_what_becomes_of_slices_from_elsewhere() -> None:
    found = results(
        [2, 2, 2, 2, KIND_UNKNOWN],
        [2, 0, 2, 1, 0],
        confidence=0.95,
        accepted=np.array([True, True, True, False, True]),
        flagged=np.array([False, True, False, False, False]),
        committed=np.array([True, False, True, False, True]),
        source=np.array(["one", "one", "two", "two", "three"]),
    )
    stated = elsewhere(found, resamples=20)
    assert (stated["n"], stated["tumors"], stated["kind_known"]) == (5, 1, 4)
    assert value(stated["accuracy"]) == value(stated["confidently_wrong"]) == 0.5
    assert value(stated["refused"]) == value(stated["flagged"]) == 0.2
    assert value(stated["committed"]) == 0.6
    assert value(stated["error_when_committed"]) == 0
    assert value(stated["by_source"]["two"]["refused"]) == 0.5
    assert value(stated["by_source"]["one"]["refused"]) == 0
    assert stated["by_source"]["three"]["accuracy"]["value"] is None


def test_a_set_that_knows_only_tumour_or_none() -> None:
    found = results([KIND_UNKNOWN, KIND_UNKNOWN, 2, 2], [0, 2, 2, 1])
    figures = summary(found, resamples=20)
    assert figures["accuracy"]["value"] == 0.5
    assert figures["tumor_or_none"]["tumors"] == 2
    assert value(figures["tumor_or_none"]["called_tumor_of_tumors"]) == 0.5
    missed = figures["tumor_called_no_tumor"]
    assert (missed["n"], missed["count"], missed["share"]) == (2, 1, 0.5)
    assert np.sum(figures["confusion"]["counts"]) == 2
    assert set(curves(found)["roc"]) == {"tumor"}


def test_a_set_of_one_class_has_no_curves() -> None:
    found = results([2, 2], [2, 2])
    figures = summary(found, resamples=20)
    assert figures["dice"]["n"] == 0
    assert figures["tumor_or_none"]["auc"] == {"value": None, "ci95": None}
    assert curves(found)["roc"] == {}


def test_a_mask_that_marks_nothing_outlines_no_tumour() -> None:
    """Neither a perfect area nor a hottest point that misses."""
    pixels, blank = np.full((80, 78), 90, np.uint8), np.zeros((80, 78), np.uint8)
    record = Record("a", "glioma", "axial", 0, "a", has_mask=True, sha256="")
    drawn = blank.copy()
    drawn[:40, :39] = 255
    found = run(Stub(), [Sample(record, pixels, mask) for mask in (blank, drawn)])
    for values in (found.dice, found.pointing_hit, found.peak_hit, found.size, found.outer_found):
        assert np.isnan(values).tolist() == [True, False]
    figures = summary(found, resamples=20)
    assert (figures["dice"]["n"], value(figures["dice"]["median"])) == (1, 1)


def test_a_contour_that_is_not_drawn_counts() -> None:
    found = results([0, 0, 1, 2], [0, 0, 1, 2], inner_right=np.array([0.95, np.nan, 0.5, np.nan]))
    contours = summary(found, resamples=20)["doubt"]["contours"]
    assert value(contours["inner_at_least_90"]) == pytest.approx(1 / 3, abs=1e-4)


def test_areas_that_miss_are_stated_with_an_interval() -> None:
    found = results([0] * 8, [0] * 8, dice=np.array([0, 0, 0.8, 0.8, 0.8, 0.8, 0.8, 0.8]))
    dice = summary(found, resamples=50)["dice"]
    assert dice["empty_or_disjoint"] == 0.25
    assert dice["ci95"]["empty_or_disjoint"][0] < 0.25 < dice["ci95"]["empty_or_disjoint"][1]


def test_few_groups_are_marked() -> None:
    found = results([0] * 40 + [2] * 22, [0] * 40 + [2] * 22, group=np.arange(62).astype(str))
    found.group[:40] = list("abcd" * 10)
    figures = summary(found, resamples=20)
    assert (figures["groups"], figures["few_groups"]) == (26, False)
    per_class, parts = figures["per_class"], figures["by"]["class"]
    for own in (per_class["glioma"], parts["glioma"]):
        assert (own["n"], own["groups"], own["few_groups"]) == (40, 4, True)
    assert (per_class["no_tumor"]["groups"], per_class["no_tumor"]["few_groups"]) == (22, False)


def test_dice() -> None:
    one, two = np.zeros((2, 4, 4), np.bool_)
    assert dice_score(one, two) == 1.0
    one[:2] = True
    assert dice_score(one, two) == 0.0
    two[1:3] = True
    assert dice_score(one, two) == 0.5


def test_weighted_quantiles_are_those_of_the_repeated_values() -> None:
    rng = np.random.default_rng(0)
    values = np.r_[rng.normal(size=11), np.nan]
    metric = bootstrap.quantile(values, 0.5)
    assert metric(np.ones((1, 12)))[0] == pytest.approx(np.nanmedian(values))
    weights = rng.integers(0, 4, (30, 12))
    for own, got in zip(weights, metric(weights.astype(float)), strict=True):
        assert got == pytest.approx(np.nanmedian(np.repeat(values, own)))


def test_weighted_areas_are_those_of_the_repeated_slices() -> None:
    rng = np.random.default_rng(1)
    score, positive = rng.integers(0, 6, 15) / 5, rng.random(15) < 0.5
    weights = rng.integers(0, 3, (30, 15))
    got = bootstrap.area_under_roc(score, positive)(weights.astype(float))
    for own, area in zip(weights, got, strict=True):
        up, down = (np.repeat(score[part], own[part]) for part in (positive, ~positive))
        wins = (up[:, None] > down).mean() + (up[:, None] == down).mean() / 2
        assert area == pytest.approx(wins)


def test_sensitivity_at_a_specificity() -> None:
    score = np.array([0.1, 0.2, 0.3, 0.4, 0.35, 0.5, 0.05, 0.6])
    positive = np.array([0, 0, 0, 0, 1, 1, 1, 1], np.bool_)
    ones = np.ones((1, 8))
    assert bootstrap.sensitivity_at(score, positive, 1.0)(ones)[0] == 0.5
    assert bootstrap.sensitivity_at(score, positive, 0.75)(ones)[0] == 0.75
    tied = np.zeros(8)
    assert bootstrap.sensitivity_at(tied, positive, 0.95)(ones)[0] == 0


def test_intervals_draw_whole_groups() -> None:
    hits = np.array([1.0] * 20 + [0.0] * 20)
    metric = bootstrap.proportion(hits)
    # One group says nothing of others; another without any of the slices asked for adds nothing.
    assert bootstrap.interval(metric, np.zeros(40)) is None
    among = np.array([1.0] * 30 + [0.0] * 10)
    two = np.repeat(["a", "b"], [30, 10])
    assert bootstrap.interval(bootstrap.proportion(hits, among), two) is None
    # Nor where draws differ by rounding, where all are right, or of percentages.
    assert (
        bootstrap.interval(bootstrap.mean(np.where(among, 0.1 * hits + 0.3, np.nan)), two) is None
    )
    ones = np.ones(40)
    assert bootstrap.with_interval(bootstrap.proportion(ones), np.zeros(40)) == {
        "value": 1.0,
        "ci95": None,
    }
    error = bootstrap.CalibrationError(ones * 0.9, hits > 0)
    assert bootstrap.with_interval(error, np.zeros(40))["ci95"] is None
    assert bootstrap.interval(metric, np.repeat(["a", "b"], 20)) == [0.0, 1.0]


def test_none_of_many_slices_says_as_much_as_their_groups() -> None:
    """400 slices of 8 heads, none of them missed, are 8 trials and not 400."""
    classes = np.repeat([0, 1, 2, 3] * 2, 50).tolist()
    found = results(classes, classes, group=np.repeat(np.arange(8), 50).astype(str))
    figures = summary(found, resamples=50)
    assert figures["tumor_called_no_tumor"] == {
        "n": 300,
        "count": 0,
        "share": 0.0,
        "ci95": bootstrap.proportion_interval(0, 6),
    }
    assert figures["refused"]["ci95"] == bootstrap.proportion_interval(0, 8)
    assert figures["accuracy"]["ci95"] == bootstrap.proportion_interval(8, 8)
    assert figures["per_class"]["glioma"]["sensitivity"]["ci95"][0] < 0.4
    assert figures["hottest_inside"]["ci95"] == bootstrap.proportion_interval(6, 6)


def test_some_of_many_slices_are_drawn_by_group() -> None:
    classes = np.repeat([0, 1, 2, 3] * 2, 50).tolist()
    group = np.repeat(np.arange(8), 50).astype(str)
    found = results(classes, classes, group=group, accepted=group != "5")
    refused = summary(found, resamples=200)["refused"]
    assert (refused["count"], refused["share"]) == (50, 0.125)
    # One head of eight: far wider than an eighth of 400 independent slices.
    assert refused["ci95"] == bootstrap.interval(
        bootstrap.proportion(group == "5"), group, resamples=200
    )
    assert refused["ci95"][1] > bootstrap.proportion_interval(50, 400)[1] + 0.1


@pytest.mark.parametrize("up", [True, False])
def test_scores_that_rank_all_alike_are_not_certain(up: bool) -> None:
    """60 slices of 3 heads with a tumour and 5 without: so many trials, at most."""
    group = np.repeat(np.arange(8), 20).astype(str)
    positive = group < "3"
    score = np.where(positive == up, 0.9, 0.1)
    for metric, trials in (
        (bootstrap.area_under_roc(score, positive), 3),
        (bootstrap.area_under_roc(score, ~positive), 3),
        (bootstrap.sensitivity_at(score, positive, 0.95), 3),
        (bootstrap.sensitivity_at(score, ~positive, 0.95), 5),
    ):
        stated = bootstrap.with_interval(metric, group, resamples=50)
        assert stated["value"] in {0, 1}
        expected = bootstrap.proportion_interval(trials if stated["value"] else 0, trials)
        assert stated["ci95"] == expected
    mixed = np.where(group == "0", 1 - score, score)
    metric = bootstrap.area_under_roc(mixed, positive)
    assert bootstrap.with_interval(metric, group)["ci95"] == bootstrap.interval(metric, group)


def test_no_draw_is_lost_where_they_do_not_fit_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    metric, groups = bootstrap.mean(np.random.default_rng(4).normal(3, 1, 40)), np.arange(40)
    at_once = bootstrap._resampled(metric, groups, resamples=100)
    monkeypatch.setattr(bootstrap, "_CHUNK", 7 * 40 + 1)
    in_parts = bootstrap._resampled(metric, groups, resamples=100)
    assert len(in_parts) == 100
    np.testing.assert_allclose(in_parts, at_once)


def test_the_interval_of_a_mean_is_that_of_theory() -> None:
    rng = np.random.default_rng(2)
    values = rng.normal(3, 1, 400)
    low, high = bootstrap.interval(bootstrap.mean(values), np.arange(400)) or (0, 0)
    error = values.std() / 20
    assert low == pytest.approx(values.mean() - 1.96 * error, abs=0.25 * error)
    assert high == pytest.approx(values.mean() + 1.96 * error, abs=0.25 * error)


def test_the_interval_of_the_calibration_error_holds_the_truth() -> None:
    """And the figure: chance alone makes it larger than nought, and larger again in each draw."""
    held = 0
    for seed in range(30):
        rng = np.random.default_rng(seed)
        confidence = rng.uniform(0.4, 1, 400)
        metric = bootstrap.CalibrationError(confidence, rng.random(400) < confidence)
        stated = bootstrap.with_interval(metric, np.arange(400) // 2, resamples=200)
        low, high = stated["ci95"]
        assert low <= stated["value"] <= high
        held += low == 0
    assert held >= 26
    always = bootstrap.CalibrationError(np.full(60, 0.9), np.zeros(60, np.bool_))
    by = bootstrap.proportion_interval(0, 60)[1]
    assert bootstrap.with_interval(always, np.arange(60))["ci95"] == pytest.approx(
        [0.9 - by, 0.9 + by]
    )
    right = bootstrap.CalibrationError(np.full(60, 0.995), np.ones(60, np.bool_))
    low, high = bootstrap.with_interval(right, np.arange(60) // 10)["ci95"]
    assert low == 0
    assert high > 0.3, "six groups say little, however many slices they are"


def test_the_calibration_error_leaves_out_what_does_not_count() -> None:
    confidence, right = np.array([0.9, 0.7, 0.9]), np.array([True, False, False])
    among = np.array([True, True, False])
    some = bootstrap.CalibrationError(confidence, right, among)
    own = bootstrap.CalibrationError(confidence[:2], right[:2])
    assert some(np.ones((1, 3))) == pytest.approx(own(np.ones((1, 2))))
    assert bootstrap.with_interval(
        bootstrap.CalibrationError(confidence, right, among & False), np.arange(3)
    ) == {"value": None, "ci95": None}


def test_interval_of_a_share() -> None:
    assert bootstrap.proportion_interval(0, 0) == [0.0, 1.0]
    assert bootstrap.proportion_interval(0, 100) == pytest.approx([0, 0.037], abs=1e-3)
    assert bootstrap.proportion_interval(50, 100) == pytest.approx([0.404, 0.596], abs=1e-3)


def test_curves_end_where_they_must() -> None:
    score, positive = np.array([0.9, 0.8, 0.3, 0.1]), np.array([1, 0, 1, 0], np.bool_)
    assert roc(score, positive) == [[0, 0], [0, 0.5], [0.5, 0.5], [0.5, 1], [1, 1]]
    assert precision_recall(score, positive)[0] == [0.5, 1.0]
    assert precision_recall(score, positive)[-1] == [1.0, 0.5]


def test_other_pictures() -> None:
    figures = refusal_summary({"a": np.array([0, 2, 1]), "b": np.array([0])})
    assert (figures["n"], figures["accepted"], figures["flagged"]) == (4, 1, 1)
    assert figures["by_source"]["a"]["share"] == pytest.approx(1 / 3, abs=1e-4)
    assert refusal_summary({})["n"] == 0


def test_slices_are_picked_class_by_class_and_in_turn_of_their_groups() -> None:
    """Few large groups of tumours beside many single slices without one, as in fold 0."""
    names = [("glioma", f"g{n % 5}") for n in range(50)] + [("meningioma", "m")] * 4
    names += [("no_tumor", f"none{n}") for n in range(190)]
    records = [
        Record(f"{n:03d}", label, "axial", 0, group, has_mask=False, sha256="")
        for n, (label, group) in enumerate(names)
    ]
    picked = pick(records, 60)
    assert class_counts(picked) == {"glioma": 28, "meningioma": 4, "no_tumor": 28}
    groups = Counter(record.group for record in picked)
    assert sorted(groups[f"g{n}"] for n in range(5)) == [5, 5, 6, 6, 6]
    assert len({record.id for record in picked}) == 60
    assert pick(records, 60) == picked != pick(records, 60, seed=1)
    assert pick(records, 1000) == records
    assert class_counts(pick(records, 7)) == {"glioma": 3, "meningioma": 2, "no_tumor": 2}


def test_each_slice_is_changed_once_and_the_same_way_every_time() -> None:
    head, area = drawn_head(3)
    mask = area.astype(np.uint8) * 255
    samples = [
        Sample(
            Record(f"slice-{number}", "glioma", "axial", 0, str(number), has_mask=True, sha256=""),
            head,
            mask,
        )
        for number in range(80)
    ]
    once, again = list(changed_once(samples)), list(changed_once(samples))
    for sample, first, second in zip(samples, once, again, strict=True):
        assert first.record is sample.record
        assert first.mask is not None
        assert first.mask.shape == first.pixels.shape
        assert first.pixels.shape != head.shape or (first.pixels != head).any()
        assert np.array_equal(first.pixels, second.pixels)
    # Three of four of the 36 ways are met by 80 slices, at least.
    assert len({sample.pixels.tobytes() for sample in once}) > 27
