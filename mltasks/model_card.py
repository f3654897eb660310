"""MODEL_CARD.md, written from model.json alone: the two cannot disagree."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.template.loader import render_to_string

from mltasks import release, seen
from mltasks.data import DataError
from mltasks.drafts import AGAIN, replacing
from mltasks.evaluation.measuring import for_card
from mltasks.inference import read_model
from mltasks.release import MODEL_CARD_NAME


def text(card: dict[str, Any]) -> str:
    """The model card, in Markdown, of a card with metrics."""
    slices = card["metrics"]["validation"]
    order = slices["confusion"]["order"]
    rows = zip(order, slices["confusion"]["counts"], strict=True)
    per_class = slices["per_class"].values()
    calibration = card.get("calibration", {})
    context = {
        "card": card,
        "metrics": card["metrics"],
        "confusion": list(rows),
        "order": order,
        "crossed": calibration.get("cross_fitted", {}).get("plain"),
        "areas": calibration.get("cross_fitted_areas"),
        # Cards from before the groups of a class were counted stay as they were written.
        "groups_stated": all("groups" in own for own in per_class),
        "few_groups": any(own.get("few_groups") for own in per_class),
    }
    return render_to_string("mltasks/model_card.md", context)


def check(card: dict[str, Any], data: dict[str, Any]) -> None:
    """Refuse figures of any slices but those that training has held out, as the card says it did.

    Args:
        card: of the model.
        data: what was measured, see `measuring.described`.

    Raises:
        DataError: they are of other data, of all of it or of another fold.
    """
    training = card.get("training", {})
    fold = seen.held_out_fold(card)
    if fold is None:
        why = "model.json does not say which fold its training held out (training.data.fold)"
    elif data["set"] != training.get("data_digest"):
        why = (
            f"the data's digest is {data['set'][:12] or 'none'}, and the network has learnt from "
            f"{training.get('data_digest', '')[:12]}: evaluate other data without --card"
        )
    elif data["fold"] != fold:
        why = f"the network has learnt from the other slices: give --fold {fold}"
    elif data["digest"] != training.get("held_out_digest", data["digest"]):
        why = f"other slices are in fold {fold} now than when the network was trained"
    elif data["learnt"]:
        why = "the network, or the one it was started from, has learnt from some of these"
    else:
        return
    raise DataError(f"a model card states figures on slices that training never saw, and {why}")


def record(folder: Path, figures: dict[str, Any]) -> None:
    """Put the figures of a report into a model folder: model.json, then MODEL_CARD.md.

    Raises:
        ModelError: the folder holds no whole model.
        DataError: the set lacks a class, or masks, or is not what training has held out.
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
    check(card, figures["data"])
    card["metrics"] = for_card(figures)
    content = text(card)
    release.write_card(folder, card)
    with replacing(folder / MODEL_CARD_NAME, remedy=AGAIN) as draft:
        draft.write_text(content, encoding="utf-8")
