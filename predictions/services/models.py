"""Which network answers on this site."""

from predictions.models import ModelVersion


class NoModelError(Exception):
    """No network is in production, so nothing can be analysed."""


def production_model() -> ModelVersion:
    """The network that new predictions use.

    Raises:
        NoModelError: none has been registered.
    """
    try:
        present = ModelVersion.objects.defer("card", "gate")
        return present.get(stage=ModelVersion.Stage.PRODUCTION)
    except ModelVersion.DoesNotExist:
        raise NoModelError from None
