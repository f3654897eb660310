"""Drift: are the answers of late like those on which the network was measured?

Its card states how the network answered the slices it was measured on: which labels, how many it
refused or flagged as unlike its training data, by how many it stood. Each of these is a table of
counts; recent answers make another one. Pearson's chi-squared test of homogeneity (1900) compares
the two. Slices of one head resemble each other and count as fewer, so the statistic is divided by
the mean size of the reference's groups (first-order correction of Rao & Scott, 1981). The tests
share their error rate (Bonferroni): where nothing has changed, a check gives an alarm in at most
`ERROR_RATE` of cases.

The score is 0 where a statistic is what chance makes it on average, 1 at the bound of the alarm.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import timedelta
from statistics import NormalDist
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import Count, Q
from django.utils import timezone

from predictions.ids import first_uuid7
from predictions.models import DriftRecord, Label, ModelVersion, Prediction, Status
from predictions.services.notifying import notify
from predictions.services.registry import in_production

logger = logging.getLogger(__name__)

# Of alarms without a cause: at one check an hour, about one in four months if the hours were
# independent. They overlap, so it is rarer.
ERROR_RATE = 1 / 3000
# Fewer answers say nothing.
FEWEST = 50
# An alarm is over once the score has fallen below this; around the bound it would come and go.
OVER = 0.5
KEPT = timedelta(days=90)

Counts = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Part:
    """One table that was compared.

    Attributes:
        name: in words.
        reference, recent: share of each column.
        statistic, bound: chi-squared, and where the alarm begins.
        score: 0 like the reference, 1 at the bound.
    """

    name: str
    reference: dict[str, float]
    recent: dict[str, float]
    statistic: float
    bound: float
    score: float


def critical(freedom: int, rate: float) -> float:
    """The value that chi-squared exceeds with this probability (Wilson & Hilferty, 1931)."""
    spread = 2 / (9 * freedom)
    return float(freedom * (1 - spread + NormalDist().inv_cdf(1 - rate) * math.sqrt(spread)) ** 3)


def compare(name: str, reference: Counts, recent: Counts, *, size: float, tests: int) -> Part:
    """Compare two tables of counts with the same columns.

    Args:
        size: mean number of counts that stand for one independent one.
        tests: how many share the error rate.
    """
    sums = sum(reference.values()), sum(recent.values())
    columns = [name for name in reference if reference[name] + recent[name] > 0]
    statistic = 0.0
    for column in columns:
        share = (reference[column] + recent[column]) / (sums[0] + sums[1])
        for counts, total in zip((reference, recent), sums, strict=True):
            statistic += (counts[column] - share * total) ** 2 / (share * total)
    statistic /= max(1.0, size)
    freedom = max(1, len(columns) - 1)
    bound = critical(freedom, ERROR_RATE / tests)
    return Part(
        name=name,
        reference={key: value / sums[0] for key, value in reference.items()},
        recent={key: value / sums[1] for key, value in recent.items()},
        statistic=statistic,
        bound=bound,
        score=max(0.0, (statistic - freedom) / (bound - freedom)),
    )


@dataclass(frozen=True, slots=True)
class Reference:
    """What a card states of the slices that a network was measured on."""

    labels: dict[str, float]
    likeness: dict[str, float]
    stands: dict[str, float]
    size: float


def reference_of(card: Mapping[str, Any]) -> Reference | None:
    """The reference in a card; None if it states none, as a test network's."""
    try:
        stated = card["metrics"]["validation"]
        order, counts = stated["confusion"]["order"], stated["confusion"]["counts"]
        n, refused, flagged = stated["n"], stated["refused"]["count"], stated["flagged"]["count"]
        answered = n - refused
        stands = answered * stated["doubt"]["committed"]["value"]
        return Reference(
            labels={
                label: float(sum(row[column] for row in counts))
                for column, label in enumerate(order)
            },
            likeness=_likeness(answered - flagged, flagged, refused),
            stands=_stands(stands, answered - stands),
            size=n / stated["groups"],
        )
    except (KeyError, TypeError, IndexError, ZeroDivisionError):
        return None


def _likeness(like: float, flagged: float, refused: float) -> dict[str, float]:
    return {"like": float(like), "unlike": float(flagged), "no brain MRI": float(refused)}


def _stands(yes: float, no: float) -> dict[str, float]:
    return {"stands by its answer": float(yes), "does not": float(no)}


def measure(version: ModelVersion, *, hours: float) -> tuple[int, list[Part]] | None:
    """Compare the network's answers of the past hours with its reference.

    Returns:
        How many answers there were, and what came of each comparison; None if the card states no
        reference, or there are too few answers.
    """
    reference = reference_of(version.card)
    if reference is None:
        return None
    since = timezone.now() - timedelta(hours=hours)
    answers = Prediction.objects.filter(
        # Ids are in the order of time, and indexed. None waits longer than a day.
        pk__gte=first_uuid7(since - timedelta(days=1)),
        model_version=version,
        finished_at__gte=since,
        status__in=(Status.SUCCEEDED, Status.REJECTED),
    ).order_by()
    done = Q(status=Status.SUCCEEDED)
    found = answers.aggregate(
        n=Count("pk"),
        refused=Count("pk", filter=Q(status=Status.REJECTED)),
        flagged=Count("pk", filter=done & Q(flagged=True)),
        stands=Count("pk", filter=done & Q(committed=True)),
        **{label: Count("pk", filter=done & Q(label=label)) for label in Label.values},
    )
    answered = found["n"] - found["refused"]
    if answered < FEWEST:
        return None
    tables = (
        ("Labels", reference.labels, {label: float(found[label]) for label in reference.labels}),
        (
            "Likeness to the training data",
            reference.likeness,
            _likeness(answered - found["flagged"], found["flagged"], found["refused"]),
        ),
        ("Certainty", reference.stands, _stands(found["stands"], answered - found["stands"])),
    )
    return found["n"], [compare(*table, size=reference.size, tests=len(tables)) for table in tables]


def latest() -> DriftRecord | None:
    """The last record of the network in production: its score is what monitoring shows."""
    return DriftRecord.objects.filter(model_version__stage=ModelVersion.Stage.PRODUCTION).first()


def check() -> DriftRecord | None:
    """Measure the network in production, record it, and tell people once if it has drifted."""
    DriftRecord.objects.filter(at__lt=timezone.now() - KEPT).delete()
    version = in_production()
    measured = measure(version, hours=settings.DRIFT_HOURS) if version else None
    if version is None or measured is None:
        return None
    n, parts = measured
    score = max(part.score for part in parts)
    with transaction.atomic():
        # Held, so that of two checks at once the second sees the first one's alarm.
        ModelVersion.objects.select_for_update(no_key=True).get(pk=version.pk)
        before = DriftRecord.objects.filter(model_version=version).first()
        warned = before is not None and before.alarm
        record = DriftRecord.objects.create(
            model_version=version,
            n=n,
            score=score,
            parts=[asdict(part) for part in parts],
            alarm=score >= (OVER if warned else 1.0),
        )
    if record.alarm and not warned:
        logger.warning("%s has drifted: score %.2f over %d answers", version, score, n)
        notify(title=f"TumorSite: the pictures for {version} have changed", body=_message(record))
    return record


def _message(record: DriftRecord) -> str:
    lines = [
        (
            f"The last {record.n} answers of {record.model_version} on {settings.SITE_URL} are "
            f"unlike those on which it was measured (score {record.score:.2f}; the alarm begins "
            "at 1)."
        ),
        "",
    ]
    for part in record.parts:
        shares = ", ".join(
            f"{name} {part['recent'][name]:.1%} (was {share:.1%})"
            for name, share in part["reference"].items()
        )
        lines.append(f"{part['name']}, score {part['score']:.2f}: {shares}")
    lines += [
        "",
        (
            "People may send other pictures than before, or a scanner may be new. Look at the "
            "answers before you trust its figures. You are told again only after the score has "
            f"been below {OVER}."
        ),
    ]
    return "\n".join(lines)
