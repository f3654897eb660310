"""What the shadow says beside production: agreement, areas, doubt, time."""

from __future__ import annotations

from dataclasses import dataclass

from django.db.models import Avg, Count, F, Q

from predictions.models import Label, ModelVersion, ShadowAnswer, Status

Outcome = ShadowAnswer.Outcome


@dataclass(frozen=True, slots=True)
class ByClass:
    """Answers of production with one label, and how many of them the shadow gave the same."""

    label: str
    name: str
    n: int
    same: int

    @property
    def share(self) -> float | None:
        return self.same / self.n if self.n else None


@dataclass(frozen=True, slots=True)
class ShadowReport:
    """All means are over scans that both have answered.

    Attributes:
        n, failed: scans it was run on; of these, those it could not be run on.
        refused_by_it, refused_by_production: by one of the two only.
        iou: mean overlap of the areas where at least one has drawn one.
        doubt, doubt_of_production: mean uncertainty.
        flagged, flagged_of_production: warned of as unlike the training data.
        seconds: mean of its passes, one picture each.
    """

    version: ModelVersion
    n: int
    failed: int
    both: int
    same: int
    classes: list[ByClass]
    refused_by_it: int
    refused_by_production: int
    iou: float | None
    doubt: float | None
    doubt_of_production: float | None
    flagged: int
    flagged_of_production: int
    seconds: float | None

    @property
    def agreement(self) -> float | None:
        return self.same / self.both if self.both else None

    def lines(self) -> list[str]:
        """The report as text."""
        return [
            f"{self.version} in the shadow of production: {self.n} scans, {self.failed} failed",
            f"same finding: {_percent(self.agreement)} of {self.both} that both answered",
            *(f"  {one.name}: {_percent(one.share)} of {one.n}" for one in self.classes),
            f"refused by it only: {self.refused_by_it}",
            f"refused by production only: {self.refused_by_production}",
            f"overlap of the areas: {_figure(self.iou)}",
            f"doubt: {_figure(self.doubt)} against {_figure(self.doubt_of_production)}",
            f"flagged: {self.flagged} against {self.flagged_of_production}",
            f"seconds a picture: {_figure(self.seconds)}",
        ]


def shadow_report(version: ModelVersion) -> ShadowReport:
    """Compare a candidate's shadow answers with those of production."""
    answered = Q(outcome=Outcome.ANSWERED)
    theirs = Q(prediction__status=Status.SUCCEEDED)
    both = answered & theirs
    same = both & Q(label=F("prediction__label"))
    found = ShadowAnswer.objects.filter(model_version=version).aggregate(
        n=Count("pk"),
        failed=Count("pk", filter=Q(outcome=Outcome.FAILED)),
        both=Count("pk", filter=both),
        same=Count("pk", filter=same),
        refused_by_it=Count("pk", filter=Q(outcome=Outcome.REJECTED) & theirs),
        refused_by_production=Count("pk", filter=answered & Q(prediction__status=Status.REJECTED)),
        iou=Avg("area_iou", filter=both),
        doubt=Avg("uncertainty", filter=both),
        doubt_of_production=Avg("prediction__uncertainty", filter=both),
        flagged=Count("pk", filter=both & Q(flagged=True)),
        flagged_of_production=Count("pk", filter=both & Q(prediction__flagged=True)),
        seconds=Avg("seconds", filter=both),
        **{f"n_{label}": Count("pk", filter=both & _said(label)) for label in Label.values},
        **{f"same_{label}": Count("pk", filter=same & _said(label)) for label in Label.values},
    )
    classes = [
        ByClass(label, str(name), found.pop(f"n_{label}"), found.pop(f"same_{label}"))
        for label, name in Label.choices
    ]
    return ShadowReport(version=version, classes=classes, **found)


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{value:.1%}"


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _said(label: str) -> Q:
    return Q(prediction__label=label)
