"""Which network answers on this site."""

from pathlib import Path

from django.db import transaction

from mltasks.inference import read_model
from predictions.models import ModelVersion

Stage = ModelVersion.Stage


class NoModelError(Exception):
    """No network is in production, so nothing can be analysed."""


def production_model() -> ModelVersion:
    """The network that new predictions use.

    Raises:
        NoModelError: none has been registered.
    """
    try:
        return ModelVersion.objects.get(stage=Stage.PRODUCTION)
    except ModelVersion.DoesNotExist:
        raise NoModelError from None


@transaction.atomic
def register_model(*, folder: Path) -> ModelVersion:
    """Put the network of a model folder into production and retire the one before it.

    Raises:
        mltasks.inference.ModelError: the folder holds no sound model.
    """
    card, _, digest = read_model(folder)
    known = ModelVersion.objects.select_for_update().filter(digest=digest).first()
    if known and known.stage == Stage.PRODUCTION:
        return known
    ModelVersion.objects.filter(stage=Stage.PRODUCTION).update(stage=Stage.RETIRED)
    if known:
        known.stage = Stage.PRODUCTION
        known.save(update_fields=["stage"])
        return known
    version = ModelVersion(
        name=card["name"],
        version=card["version"],
        digest=digest,
        card=card,
        stage=Stage.PRODUCTION,
    )
    version.full_clean()
    version.save()
    return version
