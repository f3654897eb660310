"""A result in words."""

from __future__ import annotations

from typing import Any

import pytest

from predictions.models import ModelVersion, Prediction, Scan, Status
from predictions.presentation import COVERAGE, NO_DOUBT, describe, error_rates
from predictions.tests.test_model_figures import card, stated

KEYS = {"area_key": "a", "outline_key": "o", "attention_key": "t"}


def prediction(*, scan: dict[str, Any] | None = None, **changes: Any) -> Prediction:
    """An unsaved answer: 90% glioma in the upper left of a picture of 300 × 300."""
    values: dict[str, Any] = {
        "status": Status.SUCCEEDED,
        "label": "glioma",
        "probabilities": {"glioma": 0.9, "meningioma": 0.06, "no_tumor": 0.03, "pituitary": 0.01},
        "prediction_set": ["glioma"],
        "committed": True,
        "area_fraction": 0.02,
        "bounding_box": [10, 20, 40, 60],
        **KEYS,
    }
    return Prediction(
        scan=Scan(**{"width": 300, "height": 300, **(scan or {})}),
        model_version=ModelVersion(name="tumorsite", version="1"),
        **{**values, **changes},
    )


def test_an_answer_without_doubts() -> None:
    shares = {"glioma": 0.96, "meningioma": 0.02, "no_tumor": 0.01, "pituitary": 0.01}
    finding = describe(prediction(probabilities=shares))
    assert finding.headline == "The network sees signs of a glioma"
    assert finding.lead == "Very sure: 96.0% for glioma."
    assert finding.among == ""
    assert [label for label, _, _ in finding.rows] == [
        "glioma", "meningioma", "no_tumor", "pituitary",
    ]  # fmt: skip
    assert finding.doubts == [NO_DOUBT]
    assert finding.area_share == pytest.approx(0.02)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "leaves 10.0% to other answers, the largest part to meningioma"),
        ({"prediction_set": ["glioma", "meningioma"]}, "It gives 6.0% to meningioma."),
        (
            {"prediction_set": ["glioma", "no_tumor", "meningioma"]},
            "It gives 6.0% to meningioma and 3.0% to no tumour.",
        ),
        ({"ood_score": 0.5}, "not quite like the MRI slices"),
        ({"area_key": "", "bounding_box": None}, "no clear border"),
        ({"scan": {"width": 100}}, "small"),
        ({"scan": {"facts": {"colour": True}}}, "in colour"),
    ],
)
def test_each_doubt_is_said(changes: dict[str, Any], words: str) -> None:
    doubts = describe(prediction(**changes)).doubts
    assert len(doubts) == 1
    assert words in doubts[0]


def test_an_unsure_answer_names_the_next() -> None:
    shares = {"glioma": 0.457, "meningioma": 0.534, "no_tumor": 0.005, "pituitary": 0.004}
    changes: dict[str, Any] = {"label": "meningioma", "probabilities": shares, "committed": False}
    finding = describe(prediction(prediction_set=["meningioma"], **changes))
    assert "less sure here than it was" in finding.doubts[0]
    assert finding.doubts[1:] == ["Next comes glioma, with 45.7%."]
    finding = describe(prediction(prediction_set=["meningioma", "glioma"], **changes))
    assert finding.doubts[1:] == ["It gives 45.7% to glioma."], "and it is not named twice"
    assert finding.lead == "Its best guess is meningioma (53.4%), too unsure to rely on."
    assert finding.among == f"It could not rule out glioma. {COVERAGE}"


@pytest.mark.parametrize(
    ("box", "place"),
    [
        ([10, 20, 40, 60], "at the upper left"),
        ([110, 140, 140, 160], "on the left"),
        ([140, 140, 160, 160], "in the middle"),
        ([165, 250, 185, 290], "at the lower right"),
    ],
)
def test_the_place_is_that_in_the_picture(box: list[int], place: str) -> None:
    found = describe(prediction(bounding_box=box)).box
    assert found
    assert found.place == place


def test_an_answer_it_does_not_stand_by_is_no_finding() -> None:
    both = describe(prediction(prediction_set=["glioma", "pituitary"], committed=False))
    assert both.headline == "The network is unsure: glioma or pituitary tumour"
    one = describe(prediction(committed=False))
    assert one.headline == "The network is unsure: perhaps glioma"


def test_a_flagged_answer_comes_with_a_warning() -> None:
    both = ["glioma", "meningioma"]
    finding = describe(
        prediction(flagged=True, committed=False, ood_score=0.7, prediction_set=both)
    )
    assert "Do not rely on the figures below" in finding.warning
    assert finding.headline == "No reliable answer"
    assert (finding.lead, finding.doubts) == ("", []), "the warning has said it"
    assert not finding.among, "what a set promises does not hold for such a picture"
    small = describe(prediction(flagged=True, committed=False, scan={"width": 100}))
    assert small.doubts == ["The picture is small; fine detail is missing."]


def test_an_answer_that_it_stands_by_has_no_warning() -> None:
    finding = describe(prediction())
    assert (finding.warning, finding.area_range) == ("", None)


def test_the_contours_are_stated_with_their_picture_only() -> None:
    stated: dict[str, Any] = {"area_range": [0.01, 0.04]}
    assert describe(prediction(**stated)).area_range is None
    assert describe(prediction(**stated, contours_key="c")).area_range == pytest.approx(
        (0.01, 0.04)
    )


@pytest.mark.parametrize(
    ("box", "place"),
    [
        ([0, 0, 30, 30], "at the upper left"),
        ([140, 140, 160, 160], "in the middle"),
        ([270, 140, 300, 160], "on the right"),
        ([140, 280, 160, 300], "in the lower part"),
        ([0, 0, 300, 300], "in the middle"),
    ],
)
def test_the_box_has_a_place_in_words(box: list[int], place: str) -> None:
    found = describe(prediction(bounding_box=box)).box
    assert found
    assert found.place == place
    assert (found.left, found.top) == (box[0], box[1])
    assert (found.width, found.height) == (box[2] - box[0], box[3] - box[1])


def test_no_tumour_has_no_area() -> None:
    finding = describe(prediction(label="no_tumor", area_key="", outline_key="", bounding_box=None))
    assert finding.headline == "The network sees no sign of a tumour"
    assert finding.lead == "Unsure: 3.0% for no tumour."
    assert (finding.box, finding.area_share) == (None, None)


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (Status.REJECTED, "does not look like"),
        (Status.CANCELLED, "cancelled"),
        (Status.FAILED, "failed"),
    ],
)
def test_what_came_to_nothing_has_a_headline_only(status: Status, words: str) -> None:
    finding = describe(prediction(status=status))
    assert words in finding.headline
    assert finding.rows == []


def test_where_it_is_and_how_much_of_the_picture() -> None:
    finding = describe(prediction(area_range=[0.0004, 0.03], contours_key="c"))
    assert finding.where == (
        "The marked area is at the upper left of the picture, as you look at it, and covers 2.0% "
        "of it (under 0.1–3.0%, depending on how sure one wants to be)."
    )
    assert finding.measured == (
        "The marked area lies in a box of 30 × 40 pixels whose upper left corner is at (10, 20)."
    )
    upper = describe(prediction(bounding_box=[140, 20, 160, 60], area_fraction=0.0004))
    assert upper.where == (
        "The marked area is in the upper part of the picture and covers under 0.1% of it."
    )
    none = describe(prediction(area_key="", bounding_box=None))
    assert (none.where, none.measured) == ("No area was marked.", "")


@pytest.mark.parametrize(
    ("changes", "about"),
    [
        ({}, ["glioma"]),
        ({"prediction_set": ["glioma", "meningioma"]}, ["glioma"]),
        (
            {"prediction_set": ["pituitary", "no_tumor", "glioma"], "committed": False},
            ["glioma", "pituitary-tumours"],
        ),
        ({"label": "no_tumor"}, []),
        ({"flagged": True, "committed": False}, []),
    ],
)
def test_what_to_read_now(changes: dict[str, Any], about: list[str]) -> None:
    slugs = [slug for slug, _ in describe(prediction(**changes)).reading]
    assert slugs == ["symptoms", "questions", *about]


def test_only_an_answer_free_of_a_tumour_is_said_to_rule_none_out() -> None:
    assert "rule a tumour out" in describe(prediction(label="no_tumor")).advice
    assert "rule a tumour out" not in describe(prediction()).advice
    assert describe(prediction(status=Status.FAILED)).advice == ""


def rates(label: str = "meningioma", **shares: float) -> list[str]:
    """What is said of a network that recognises these shares of 242 meningiomas."""
    row = prediction(label=label)
    row.model_version.card = card()
    validation = row.model_version.card["metrics"]["validation"]
    validation["n"] = 1000
    for name, share in shares.items():
        own = validation["per_class"].setdefault(name, {})
        own |= {"n": 242, "sensitivity": stated(share)}
    return error_rates(row)


def test_how_often_it_errs_is_said_of_100() -> None:
    # 23 of 242, which are 9.5041%; a card has 0.9050, whose rest is a little under 9.5%.
    assert rates(meningioma=0.905) == [
        "Of 100 test slices it names about 5 wrongly.",
        (
            "Of 100 slices with a meningioma it gives about 10 another name; of 100 without one it "
            "calls about 3 a meningioma."
        ),
    ]
    assert "Of 242 slices with a meningioma it gives none another name;" in rates(meningioma=1.0)[1]
    assert "it gives fewer than 1 another name;" in rates(meningioma=0.9959)[1]


def test_heads_from_elsewhere_are_told_of_where_they_were_measured() -> None:
    row = prediction()
    row.model_version.card = card()
    part = {"n": 519, "tumors": 0, "accuracy": stated(0.8324)}
    part |= {key: stated(0.25) for key in ("refused", "flagged", "confidently_wrong")}
    row.model_version.card["metrics"]["elsewhere"] = part | {"by_source": {}}
    told = "Of 100 slices of heads from other scanners{}about 17 were named wrongly."
    assert error_rates(row)[2] == told.format(", healthy as far as is known, ")
    part["tumors"] = 3
    row.model_version.card["metrics"]["elsewhere"] = part | {"by_source": {}}
    assert error_rates(row)[2] == told.format(" ")
