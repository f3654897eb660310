"""What the front page says of the network in service: how often it errs, and its example."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from predictions.models import Label, ModelVersion

# In the card, by what the front page calls it.
_ACCURACY = "card__metrics__{}__accuracy__value"
_TUMORS = "card__metrics__elsewhere__tumors"


@dataclass(frozen=True, slots=True)
class Example:
    """What a network answers to the head that we drew.

    Attributes:
        network: name and version.
        share: probability of the answer, 0–1.
    """

    network: str
    label: Label
    share: float


# A test asks the network that comes with the code.
EXAMPLE = Example("tumorsite 5", Label.MENINGIOMA, 0.951)


@dataclass(frozen=True, slots=True)
class FrontFigures:
    """Of the network in service.

    Attributes:
        wrong: share of slices like those it learnt from that it named wrongly; None if not stated.
        wrong_elsewhere: the same of heads from other scanners.
        healthy_elsewhere: whether none of these has a tumour, as far as is known.
        example: what it says of the drawn head; None if it is another network's example.
    """

    wrong: float | None
    wrong_elsewhere: float | None
    healthy_elsewhere: bool
    example: Example | None


def _rest(share: Any) -> float | None:
    return 1 - share if isinstance(share, int | float) else None


def front_figures() -> FrontFigures | None:
    """Its figures, read without the rest of its card; None if no network is in service."""
    row = (
        ModelVersion.objects.filter(stage=ModelVersion.Stage.PRODUCTION)
        .values_list(
            "name",
            "version",
            _ACCURACY.format("validation"),
            _ACCURACY.format("elsewhere"),
            _TUMORS,
        )
        .first()
    )
    if row is None:
        return None
    name, version, here, elsewhere, tumors = row
    example = EXAMPLE if EXAMPLE.network == f"{name} {version}" else None
    return FrontFigures(_rest(here), _rest(elsewhere), not tumors, example)
