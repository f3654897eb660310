"""How two networks' answers about the same picture differ."""

from __future__ import annotations

from dataclasses import dataclass

from predictions import storage
from predictions.models import Label, Prediction, Status
from predictions.rendering import area_of


@dataclass(frozen=True, slots=True)
class Changes:
    """What has changed from one answer to a later one.

    Attributes:
        before, after: the two answers.
        finding: the change of the answer itself, as a sentence.
        shares: (name, probability before, probability after) of each class.
        area: the change of the affected area, as a sentence.
        overlap: Dice of both areas, 0 to 1; None without an area on both sides.
    """

    before: Prediction
    after: Prediction
    finding: str
    shares: list[tuple[str, float, float]]
    area: str
    overlap: float | None


def _overlap(before: Prediction, after: Prediction) -> float:
    """Dice of the affected areas of two answers about the same picture, 0 to 1.

    Raises:
        OSError, ValueError, SyntaxError: an area is gone or damaged; the last is Pillow's.
        predictions.storage.StorageUnavailableError: the store did not answer.
    """
    one, two = (area_of(storage.stream(run.area_key)) for run in (before, after))
    return float(2 * (one & two).sum() / max(1, one.sum() + two.sum()))


def _area_words(before: Prediction, after: Prediction) -> tuple[str, float | None]:
    if not before.area_key and not after.area_key:
        return "Neither marks an affected area.", None
    if not before.area_key:
        return "It marks an affected area; before, there was none.", None
    if not after.area_key:
        return "It marks no affected area; before, there was one.", None
    try:
        shared = _overlap(before, after)
    except (OSError, ValueError, SyntaxError, storage.StorageUnavailableError):
        return "The two areas cannot be compared at the moment.", None
    if shared > 0.999:
        return "The affected area is the same.", shared
    if shared == 0:
        return "The affected area lies elsewhere; the two do not touch.", shared
    return f"The two affected areas overlap by {shared:.0%} (Dice).", shared


def _finding(prediction: Prediction) -> str:
    doubt = f" ({prediction.doubt})" if prediction.doubt else ""
    return f"{prediction.get_label_display().lower()}{doubt}"


def _share(prediction: Prediction, label: str) -> float:
    return float(prediction.probabilities.get(label, 0.0))


def changes(before: Prediction, after: Prediction) -> Changes | None:
    """Compare two answers about one scan; None if they are not two such answers."""
    pair = (before, after)
    if before.scan_id != after.scan_id or any(run.status != Status.SUCCEEDED for run in pair):
        return None
    was, now = map(_finding, pair)
    area, shared = _area_words(before, after)
    return Changes(
        before=before,
        after=after,
        finding=(
            f"The finding is the same: {now}."
            if was == now
            else f"The finding was {was}, and is {now} now."
        ),
        shares=[
            (name, _share(before, label), _share(after, label)) for label, name in Label.choices
        ],
        area=area,
        overlap=shared,
    )
