"""The model card's figures as the pages state them."""

from __future__ import annotations

from typing import Any

import pytest

from predictions.model_figures import Share, model_figures
from predictions.models import Label
from predictions.templatetags.figures import percent, svg


def stated(value: float) -> dict[str, Any]:
    return {"value": value, "ci95": [value - 0.02, value + 0.02]}


def card() -> dict[str, Any]:
    """What an evaluation writes, with a different count in each cell of the confusion."""
    order = list(Label.values)
    counts = [[10 * row + column for column in range(4)] for row in range(4)]
    share = {"share": 0.01, "ci95": [0.0, 0.03]}
    return {
        "metrics": {
            "validation": {
                "n": 100,
                "groups": 30,
                "accuracy": stated(0.95),
                "per_class": {
                    label: {
                        "n": 25,
                        "sensitivity": stated(0.9),
                        "specificity": stated(0.97),
                    }
                    for label in order
                },
                "confusion": {"order": order, "counts": counts},
                "calibration_error": stated(0.03),
                "dice": {"n": 75, "median": stated(0.88), "empty_or_disjoint": 0.04},
                "tumor_called_no_tumor": {"n": 75, "count": 2},
                "refused": {"n": 100, "count": 1, **share},
                "flagged": {"n": 100, "count": 2, **share},
            },
            "other_pictures": {
                "n": 200,
                "accepted": 3,
                "flagged": 4,
                **share,
                "by_source": {"chest films": {"n": 50, "accepted": 3, "flagged": 4, **share}},
            },
        }
    }


def crossed() -> dict[str, Any]:
    """What a calibration writes."""
    part = {
        "n": 10,
        "calibration_error": 0.05,
        "set_coverage": 0.96,
        "committed": 0.9,
        "error_when_committed": 0.02,
        "flagged": 0.01,
    }
    return {"cross_fitted": {"plain": part, "corrupted": part | {"calibration_error": 0.07}}}


def test_doubt_and_worse_pictures_are_read() -> None:
    complete = card() | {"calibration": crossed()}
    complete["metrics"]["robustness"] = {
        "corruptions": {
            "blur": {name: {"accuracy": stated(0.9)} for name in ("mild", "middle", "strong")}
        }
    }
    figures = model_figures(complete)
    assert figures
    assert figures.doubt
    assert (figures.doubt.covered, figures.doubt.error_corrupted) == (0.96, 0.07)
    assert [(own.name, own.strong.value) for own in figures.worsened] == [("blur", 0.9)]
    before = model_figures(card())
    assert before
    assert (before.doubt, before.worsened) == (None, [])


def test_slices_from_elsewhere_are_read_where_they_are_stated() -> None:
    before = model_figures(card())
    assert before
    assert before.elsewhere == []
    complete = card()
    part = {
        "n": 20,
        "groups": 1,
        "tumors": 0,
        "accuracy": stated(0.6),
        "refused": stated(0.05),
        "flagged": stated(0.2),
        "confidently_wrong": {"value": None, "ci95": None},
    }
    complete["metrics"]["elsewhere"] = part | {"by_source": {"PD": part}}
    figures = model_figures(complete)
    assert figures
    assert figures.elsewhere_tumors == 0
    [films, everything] = figures.elsewhere
    assert (films.name, films.n, films.right, films.refused) == ("PD", 20, 0.6, 0.05)
    assert (everything.name, everything.warned) == ("all of them", 0.2)
    assert everything.wrong_and_sure is None
    assert figures.elsewhere_right
    assert figures.elsewhere_right.rest.value == pytest.approx(0.4)
    # Of tumours whose kind nobody knows.
    unknown = part | {"tumors": 20, "accuracy": {"value": None, "ci95": None}}
    complete["metrics"]["elsewhere"] = unknown | {"by_source": {}}
    figures = model_figures(complete)
    assert figures
    assert figures.elsewhere_right is None
    assert figures.elsewhere[0].right is None


def test_other_parts_of_the_body_are_counted_apart() -> None:
    before = model_figures(card())
    assert before
    assert (before.bodies, before.bodies_taken.n) == ([], 0)
    complete = card()
    heart = {"n": 95, "accepted": 24, "flagged": 64}
    complete["metrics"]["other_bodies"] = heart | {"by_source": {"MR of a heart": heart}}
    figures = model_figures(complete)
    assert figures
    [own] = figures.bodies
    assert (own.name, own.n, own.warned, own.taken) == ("MR of a heart", 95, 64, 24)
    assert (figures.bodies_taken.count, figures.bodies_taken.n) == (24, 95)
    assert figures.taken == before.taken


def test_rows_of_few_pictures_are_one_row() -> None:
    complete = card()
    counts = {
        "MR of a heart": (95, 64, 24), "CT": (6, 2, 1), "MR of a liver": (1, 0, 1),
        "drawn knee": (50, 1, 0),
    }  # fmt: skip
    by_source = {
        name: {"n": n, "flagged": flagged, "accepted": taken}
        for name, (n, flagged, taken) in counts.items()
    }
    complete["metrics"]["other_bodies"] = {
        "n": 152, "flagged": 67, "accepted": 26, "by_source": by_source,
    }  # fmt: skip
    part = {"groups": 1, "tumors": 0, "confidently_wrong": {"value": None, "ci95": None}}
    sizes = {"T1": (72, 0.9), "diffusion": (6, 1.0), "localizer": (18, 0.5)}
    complete["metrics"]["elsewhere"] = {
        "n": 96, **part, "accuracy": stated(0.8), "refused": stated(0.0), "flagged": stated(0.5),
        "by_source": {
            name: {
                "n": n, **part, "accuracy": stated(right), "refused": stated(0.0),
                "flagged": stated(right),
            }
            for name, (n, right) in sizes.items()
        },
    }  # fmt: skip
    figures = model_figures(complete)
    assert figures
    assert [(row.name, row.n) for row in figures.bodies] == [
        ("MR of a heart", 95), ("drawn knee", 50), ("other", 7),
    ]  # fmt: skip
    other = figures.bodies[-1]
    assert (other.warned, other.taken, other.names) == (2, 2, ("CT", "MR of a liver"))
    # Real slices, however few of each kind.
    assert (figures.scans_taken.count, figures.scans_taken.n, figures.scans_warned) == (25, 96, 64)
    assert [row.name for row in figures.elsewhere] == ["T1", "other", "all of them"]
    other_heads = figures.elsewhere[1]
    assert (other_heads.n, other_heads.names) == (24, ("diffusion", "localizer"))
    assert other_heads.right == pytest.approx((6 * 1.0 + 18 * 0.5) / 24)
    assert other_heads.wrong_and_sure is None
    assert figures.everywhere
    assert figures.everywhere.n == 96


def test_it_reads_a_card() -> None:
    figures = model_figures(card())
    assert figures
    assert (figures.missed.count, figures.missed.n) == (2, 75)
    assert (figures.refused.count, figures.taken.count) == (1, 3)
    assert (figures.warned.count, figures.taken_warned.count) == (2, 4)
    [films] = figures.sources
    assert (films.name, films.n, films.warned, films.taken) == ("chest films", 50, 4, 3)
    assert figures.overlap
    assert figures.overlap.value == pytest.approx(0.88)
    own = figures.of_label(Label.MENINGIOMA)
    assert own
    assert own.false_alarms.value == pytest.approx(0.03)
    assert figures.of_label("") is None


def test_sources_have_names_for_people() -> None:
    stated = card()
    others = stated["metrics"]["other_pictures"]
    others["by_source"]["scikit_image"] = others["by_source"].pop("chest films")
    figures = model_figures(stated)
    assert figures
    [source] = figures.sources
    assert (source.name, source.warned) == ("photographs, drawings and microscopy", 4)


def test_groups_and_classes_are_read_where_they_are_stated() -> None:
    before = model_figures(card())
    assert before
    assert (before.groups_stated, before.few_groups, before.worsened_classes) == (False, False, [])
    complete = card()
    for own in complete["metrics"]["validation"]["per_class"].values():
        own |= {"groups": 30, "few_groups": False}
    complete["metrics"]["validation"]["per_class"]["glioma"] |= {"groups": 5, "few_groups": True}
    complete["metrics"]["robustness"] = {"n": 2, "classes": {"glioma": 1, "no_tumor": 1}}
    figures = model_figures(complete)
    assert figures
    assert figures.groups_stated
    assert [(own.groups, own.few_groups) for own in figures.classes][:2] == [(5, True), (30, False)]
    assert figures.few_groups
    assert figures.worsened_classes == [("Glioma", 1), ("No tumour", 1)]


def test_the_confusion_has_a_row_of_answers_for_each_class() -> None:
    figures = model_figures(card())
    assert figures
    row = next(own for own in figures.classes if own.label == Label.values[2])
    assert [cell.count for cell in row.answers] == [20, 21, 22, 23]
    assert [cell.right for cell in row.answers] == [False, False, True, False]
    assert sum(cell.share for cell in row.answers) == pytest.approx(1)


def test_the_cross_fitted_calibration_is_preferred() -> None:
    stated_card = card()
    plain = model_figures(stated_card)
    stated_card["calibration"] = crossed()
    fitted = model_figures(stated_card)
    assert plain
    assert fitted
    assert (plain.calibration_error, fitted.calibration_error) == (0.03, 0.05)


def test_intervals_of_doubt_are_read_where_they_are_stated() -> None:
    old = card() | {"calibration": crossed()}
    before = model_figures(old)
    assert before
    assert before.doubt
    assert (before.doubt.intervals, before.misplaced_interval) == ({}, None)
    assert not before.calibrated_here
    new = card() | {"calibration": crossed()}
    bounds = {"calibration_error": [0.0, 0.09], "error_when_committed": None}
    new["calibration"]["cross_fitted"]["plain"]["ci95"] = bounds
    new["metrics"]["validation"]["dice"]["ci95"] = {"empty_or_disjoint": [0.01, 0.08]}
    new["metrics"]["data"] = {"groups_calibrated_on": 30}
    figures = model_figures(new)
    assert figures
    assert figures.doubt
    assert figures.doubt.intervals == {"calibration_error": (0.0, 0.09)}
    assert figures.misplaced_interval == (0.01, 0.08)
    assert figures.calibrated_here


@pytest.mark.parametrize("unfinished", [{}, {"metrics": {}}, {"metrics": None}])
def test_an_unfinished_network_has_no_figures(unfinished: dict[str, Any]) -> None:
    assert model_figures(unfinished) is None


def test_the_rest_of_a_share_turns_its_interval_round() -> None:
    rest = Share(0.9, 0.8, 0.95).rest
    assert (rest.value, rest.low, rest.high) == pytest.approx((0.1, 0.05, 0.2))


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (0.5, "50.0%"),
        (0.0, "0.0%"),
        (1.0, "100.0%"),
        (0.99999, "over 99.9%"),
        (0.00001, "under 0.1%"),
        (None, "–"),
    ],
)
def test_rounding_never_makes_a_share_certain(share: float | None, text: str) -> None:
    assert percent(share) == text


def test_numbers_in_drawings_have_a_point() -> None:
    assert svg(0.25) == "0.2500"
