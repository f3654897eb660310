"""A result in words."""

from __future__ import annotations

from typing import Any

import pytest

from predictions.models import ModelVersion, Prediction, Scan, Status
from predictions.presentation import COVERAGE, NO_DOUBT, describe

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
        ([10, 20, 40, 60], "upper left"),
        ([110, 140, 140, 160], "left"),
        ([140, 140, 160, 160], "middle"),
        ([165, 250, 185, 290], "lower right"),
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
        ([0, 0, 30, 30], "upper left"),
        ([140, 140, 160, 160], "middle"),
        ([270, 140, 300, 160], "right"),
        ([140, 280, 160, 300], "lower"),
        ([0, 0, 300, 300], "middle"),
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
