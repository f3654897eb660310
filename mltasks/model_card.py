"""MODEL_CARD.md, written from model.json alone: the two cannot disagree."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.template.loader import render_to_string

from mltasks import release
from mltasks.data import DataError
from mltasks.evaluation.measuring import for_card
from mltasks.inference import read_model

MODEL_CARD_NAME = "MODEL_CARD.md"


def text(card: dict[str, Any]) -> str:
    """The model card, in Markdown, of a card with metrics."""
    order = card["metrics"]["validation"]["confusion"]["order"]
    rows = zip(order, card["metrics"]["validation"]["confusion"]["counts"], strict=True)
    context = {"card": card, "metrics": card["metrics"], "confusion": list(rows), "order": order}
    return render_to_string("mltasks/model_card.md", context)


def record(folder: Path, figures: dict[str, Any]) -> None:
    """Put the figures of a report into a model folder: model.json, then MODEL_CARD.md.

    Raises:
        ModelError: the folder holds no whole model.
        DataError: the set lacks a class, or masks.
    """
    missing = [name for name, own in figures["validation"]["per_class"].items() if not own["n"]]
    if not figures["validation"]["dice"]["n"]:
        missing.append("an expert's mask")
    if missing:
        raise DataError(
            "these figures cannot stand in a model card: the set has no slice of "
            + ", ".join(missing)
        )
    card, _, _ = read_model(folder)
    card["metrics"] = for_card(figures)
    content = text(card)
    release.write_card(folder, card)
    temporary = folder / f"{MODEL_CARD_NAME}.part"
    temporary.write_text(content, encoding="utf-8")
    temporary.replace(folder / MODEL_CARD_NAME)
