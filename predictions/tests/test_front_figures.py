"""What the front page says of the network, and whether its example is what the network answers."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from django.conf import settings
from django.contrib.staticfiles import finders
from django.test import Client
from PIL import Image

from mltasks.inference import load_analyzer
from predictions.front_figures import EXAMPLE, front_figures
from predictions.models import ModelVersion
from predictions.rendering import area_of, outline_svg
from predictions.templatetags.figures import in_hundred, percent
from predictions.tests.test_model_figures import card, stated


def front_page(client: Client) -> str:
    return " ".join(client.get("/", SERVER_NAME="localhost").content.decode().split())


@pytest.mark.parametrize(
    ("share", "words"),
    [
        (0.0, "fewer than 1"),
        (0.004, "fewer than 1"),
        (0.005, "about 1"),
        (0.0364, "about 4"),
        (0.1676, "about 17"),
        (0.994, "about 99"),
        (0.996, "more than 99"),
    ],
)
def test_counts_are_rounded_but_never_to_none_or_all(share: float, words: str) -> None:
    assert in_hundred(share) == words


@pytest.mark.django_db
def test_the_front_page_says_how_often_it_errs(client: Client) -> None:
    assert front_figures() is None
    assert "test slices" not in front_page(client)
    model = ModelVersion.objects.create(
        name="tumorsite", version="9", digest="0" * 64, stage="production", card={}
    )
    assert "test slices" not in front_page(client)
    model.card = card()
    model.save()
    assert "Of 100 test slices it names about 5 wrongly. <a" in front_page(client)
    model.card["metrics"]["elsewhere"] = {"accuracy": stated(0.832)}
    model.save()
    assert "about 5 wrongly; of 100 healthy heads from other scanners about 17. <a" in front_page(
        client
    )
    model.card["metrics"]["elsewhere"] = {"accuracy": {"value": None, "ci95": None}}
    model.save()
    text = front_page(client)
    assert "other scanners" not in text
    # Another network's answer is not this one's.
    assert "Answer:" not in text
    model.name, _, model.version = EXAMPLE.network.rpartition(" ")
    model.save()
    answer = f"{EXAMPLE.label.label.lower()}, {percent(EXAMPLE.share)}"
    assert f"Answer: <strong>{answer}</strong>" in front_page(client)


def test_the_example_is_what_the_network_answers() -> None:
    analyzer = load_analyzer(settings.MODEL_DIR, threads=1)
    assert f"{analyzer.name} {analyzer.version}" == EXAMPLE.network
    with Image.open(str(finders.find("predictions/drawn-head.jpg"))) as image:
        [answer] = analyzer.analyze([np.asarray(image)])
    assert answer.label == EXAMPLE.label
    assert percent(answer.probabilities[EXAMPLE.label]) == percent(EXAMPLE.share)
    assert answer.committed
    assert not answer.flagged
    # The marks over the picture are those of this answer; other processors may round otherwise.
    with Path(str(finders.find("predictions/drawn-head-area.png"))).open("rb") as file:
        shown = area_of(file)
    assert (shown & answer.area).sum() / (shown | answer.area).sum() > 0.99
    outline = Path(str(finders.find("predictions/drawn-head-outline.svg"))).read_bytes()
    assert outline == outline_svg(shown)


@pytest.mark.django_db
def test_the_example_is_shown_as_results_are(client: Client) -> None:
    """The picture, over it the area, over that the line, each as large as the picture."""
    page = front_page(client)
    layers = re.findall(r"drawn-head(?:-area|-outline)?(?:\.\w+)?\.(?:jpg|png|svg)[^>]*", page)[:3]
    assert [re.split(r"[.\"]", layer)[0] for layer in layers] == [
        "drawn-head",
        "drawn-head-area",
        "drawn-head-outline",
    ]
    assert all('width="512" height="512"' in layer for layer in layers)
