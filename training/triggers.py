"""What starts a training without anybody asking: other data, another recipe, other code."""

from __future__ import annotations

import hashlib
import logging
from functools import cache
from pathlib import Path

from django.conf import settings
from django.core.cache import cache as shared
from django.db import IntegrityError, transaction
from django.utils import timezone

import mltasks
from mltasks.data import DataError
from mltasks.datasets import remote
from mltasks.management.data import place
from mltasks.training.config import RecipeError, find_recipe, read_recipe
from predictions.queueing import send_on_commit
from training.models import TrainingRun
from training.services import TRAIN

logger = logging.getLogger(__name__)

# What the last look has found, for those who wonder why nothing starts.
LOOK_KEY = "training:look"
# Parts of `mltasks` that do not change what a training makes. `evaluation` and `model_card.py`
# change what is stated of a network, for which nobody should train for hours.
_WITHOUT_EFFECT = {
    *("tests", "management", "templatetags", "evaluation", "datasets", "screening"),
    *("apps.py", "gate.py", "model_card.py", "other_bodies.py", "stream.py"),
}


def training_files() -> dict[str, Path]:
    """The code that a training runs through, by its name below `mltasks`."""
    root = Path(mltasks.__file__).parent
    files = {path.relative_to(root): path for path in sorted(root.rglob("*.py"))}
    return {
        name.as_posix(): path
        for name, path in files.items()
        if not _WITHOUT_EFFECT.intersection(name.parts)
    }


@cache
def training_code() -> str:
    """Changes with the code that a training runs through."""
    digest = hashlib.sha256()
    for name, path in training_files().items():
        digest.update(name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def digest_of(recipe_text: str) -> str:
    """What a run is determined by, beside its data."""
    code = training_code() if settings.TRAINING_TRIGGER == "data-or-code" else ""
    return hashlib.sha256(f"{code}\n{recipe_text}".encode()).hexdigest()


def check() -> TrainingRun | None:
    """Start a run if data, recipe or code are not those of any run that started by itself.

    The row is the decision: of several that look at once, one writes it, and the sweeper sends
    the message that one which died after that did not send.

    Returns:
        The new run, or None if there is nothing new.

    Raises:
        DataError, RecipeError: it is not configured, or data set or recipe cannot be read.
    """
    try:
        run = _check()
    except (DataError, RecipeError) as error:
        _remember(str(error))
        raise
    _remember("" if run is None else f"Started a training with {run.recipe}.")
    return run


def _remember(found: str) -> None:
    shared.set(LOOK_KEY, {"at": timezone.now(), "found": found}, None)


def _check() -> TrainingRun | None:
    if not settings.TRAINING_DATASET or not settings.TRAINING_RECIPE:
        raise DataError("nothing starts training: set TRAINING_DATASET and TRAINING_RECIPE")
    path = find_recipe(settings.TRAINING_RECIPE)
    name = read_recipe(path).name
    text = path.read_text(encoding="utf-8")
    dataset, recipe = remote.resolve(settings.TRAINING_DATASET, place()), digest_of(text)
    if TrainingRun.objects.filter(dataset=dataset, recipe_digest=recipe, automatic=True).exists():
        return None
    run = TrainingRun(
        recipe=name, recipe_text=text, recipe_digest=recipe, dataset=dataset, automatic=True
    )
    run.clean_fields()
    try:
        with transaction.atomic():
            run.save(force_insert=True)
            send_on_commit(TRAIN, str(run.pk))
    except IntegrityError:
        # Another one that looked was first.
        return None
    logger.info("training run %s starts: data %s, recipe %s", run.pk, dataset[:12], recipe[:12])
    return run
