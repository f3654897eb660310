"""A candidate in the shadow of production: it answers some of the same scans, for staff only.

It runs in workers of a queue of its own, over answers that are recorded already. Nothing on the
way from an upload to its answer knows of it.
"""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING

import numpy as np
from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import QuerySet
from django.utils import timezone

from mltasks.inference import Analysis, Analyzer
from predictions import storage
from predictions.ids import first_uuid7
from predictions.models import ModelEvent, ModelVersion, Prediction, ShadowAnswer, Status
from predictions.rendering import area_of
from predictions.services.registry import ReleaseError, Stage, held, note_event

if TYPE_CHECKING:
    from accounts.models import User

logger = logging.getLogger(__name__)

# Scans of one pass, and how old an answer may be: older ones are skipped.
BATCH = 8
WITHIN = timedelta(minutes=30)
Outcome = ShadowAnswer.Outcome


def in_shadow() -> ModelVersion | None:
    """The candidate that runs in the shadow, if there is one; without its card."""
    return ModelVersion.objects.filter(shadow=True).defer("card").first()


def begin(*, version: ModelVersion, by: User | None = None, actor: str = "") -> None:
    """Let a network run in the shadow of the one in production, in place of another that does.

    Raises:
        ReleaseError: it is in production.
    """
    with transaction.atomic():
        production, row = held(version)
        if row == production:
            raise ReleaseError(f"{version} is in production: it needs no shadow")
        if row.shadow:
            return
        _end(by, actor)
        ModelVersion.objects.filter(pk=version.pk).update(shadow=True)
        note_event(version=version, kind=ModelEvent.Kind.SHADOWED, by=by, actor=actor)


def end(*, by: User | None = None, actor: str = "") -> bool:
    """Let nothing run in the shadow. Returns whether something did."""
    with transaction.atomic():
        return _end(by, actor)


def _end(by: User | None, actor: str) -> bool:
    row = in_shadow()
    if row is None:
        return False
    ModelVersion.objects.filter(pk=row.pk).update(shadow=False)
    note_event(version=row, kind=ModelEvent.Kind.UNSHADOWED, by=by, actor=actor)
    return True


def waiting(version: ModelVersion) -> QuerySet[Prediction]:
    """Recent answers of production that this candidate has not been asked about, oldest first."""
    return (
        Prediction.objects.filter(
            status__in=(Status.SUCCEEDED, Status.REJECTED),
            # Ids are in the order of time, and indexed. None waits longer than a day.
            pk__gte=first_uuid7(timezone.now() - WITHIN - timedelta(days=1)),
            finished_at__gte=timezone.now() - WITHIN,
            model_version__stage=Stage.PRODUCTION,
            scan__deleted_at__isnull=True,
        )
        .exclude(shadows__model_version=version)
        .order_by("id")
    )


def is_chosen(prediction: Prediction) -> bool:
    """Whether it belongs to SHADOW_PERCENT of traffic: always the same, in every worker."""
    # The last bits of the id are random.
    return int(prediction.pk.int % 100) < int(settings.SHADOW_PERCENT)


def follow(analyzer_of: Callable[[ModelVersion], Analyzer], *, seconds: float) -> int:
    """Let the candidate answer what waits for it, for so long. Returns how many it answered.

    Args:
        analyzer_of: loads a network.

    Raises:
        mltasks.engines.ModelError, predictions.storage.StorageUnavailableError: not at the moment.
    """
    until, count = time.monotonic() + seconds, 0
    while time.monotonic() < until:
        version = in_shadow()
        if version is None:
            break
        rows = waiting(version).select_related("scan").iterator()
        chosen = list(itertools.islice(filter(is_chosen, rows), BATCH))
        if not chosen:
            break
        analyzer = analyzer_of(version)
        for row in chosen:
            _record(row, version, analyzer)
        count += len(chosen)
    return count


def _record(row: Prediction, version: ModelVersion, analyzer: Analyzer) -> None:
    answer = ShadowAnswer(prediction=row, model_version=version, outcome=Outcome.FAILED)
    try:
        pixels = storage.pixels(row.scan.image_key)
        start = time.monotonic()
        [found] = analyzer.analyze([pixels])
        answer.seconds = time.monotonic() - start
        _fill(answer, row, found)
    # The last two are Pillow's, for what is damaged.
    except (OSError, ValueError, SyntaxError) as error:
        logger.warning("a scan was not run in the shadow: %s", type(error).__name__)
    except storage.StorageUnavailableError:
        raise
    except Exception:
        # Without a row it would stay the oldest that waits, and block all others.
        logger.exception("a scan was not run in the shadow")
    # Another worker may have been first, or the scan been deleted meanwhile.
    try:
        with transaction.atomic():
            answer.save(force_insert=True)
    except IntegrityError:
        logger.info("a shadow answer was not needed any more")


def _fill(answer: ShadowAnswer, row: Prediction, found: Analysis) -> None:
    answer.uncertainty = found.uncertainty
    answer.probabilities = dict(found.probabilities)
    if found.status == "rejected":
        answer.outcome = Outcome.REJECTED
        return
    answer.outcome, answer.label = Outcome.ANSWERED, found.label or ""
    answer.flagged, answer.committed = found.flagged, found.committed
    if row.status == Status.SUCCEEDED:
        answer.area_iou = _overlap(row, found)


def _overlap(row: Prediction, found: Analysis) -> float | None:
    """Intersection over union of the two areas, on the scan's own pixels."""
    theirs = np.zeros_like(found.area)
    if row.area_key:
        theirs = area_of(storage.stream(row.area_key))
    union = int((found.area | theirs).sum())
    return None if union == 0 else int((found.area & theirs).sum()) / union
