"""Every read of the records. What is not yours, or is deleted, does not exist."""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo, available_timezones

from django.db import connection
from django.db.models import Case, F, OuterRef, Q, QuerySet, Subquery, Value, When

from predictions.ids import first_uuid7
from predictions.models import (
    WITHOUT_RESULT,
    Doubt,
    Label,
    ModelVersion,
    Prediction,
    Scan,
    Status,
)
from predictions.owners import Owner
from predictions.services.registry import in_production

PAGE_SIZE = 24
# Scans that one page of a filtered history looks at: some tenths of a second at most.
LOOK_AT = 50_000
# As many stand side by side on the front page.
RECENT = 4
# What a row's network has that lists have no use for.
CARD = ("model_version__card", "model_version__gate")


def scans_of(owner: Owner) -> QuerySet[Scan]:
    """The scans that `owner` may see, newest first."""
    visible = Scan.objects.filter(deleted_at__isnull=True).order_by("-id")
    if owner.user is not None:
        return visible.filter(owner=owner.user)
    if owner.visitor is not None:
        return visible.filter(visitor=owner.visitor)
    return visible.none()


def with_model(rows: QuerySet[Prediction]) -> QuerySet[Prediction]:
    """With the names of their networks, but not the cards, which are large."""
    return rows.select_related("model_version").defer(*CARD)


def predictions_of(owner: Owner) -> QuerySet[Prediction]:
    """The predictions that `owner` may see, with scan and model version."""
    visible = with_model(
        Prediction.objects.filter(scan__deleted_at__isnull=True).select_related("scan")
    )
    if owner.user is not None:
        return visible.filter(scan__owner=owner.user)
    if owner.visitor is not None:
        return visible.filter(scan__visitor=owner.visitor)
    return visible.none()


def prediction_for(owner: Owner, prediction_id: UUID) -> Prediction:
    """One prediction of the owner's.

    Raises:
        Prediction.DoesNotExist: there is none, or it is somebody else's.
    """
    return predictions_of(owner).get(pk=prediction_id)


def place_in_line(prediction: Prediction) -> int:
    """1 for the next one to be analysed. 0 if it does not wait."""
    if prediction.status != Status.QUEUED:
        return 0
    return Prediction.objects.filter(status=Status.QUEUED, pk__lt=prediction.pk).count() + 1


# In the order in which people look for them.
STATES = [
    (Status.SUCCEEDED.value, Status.SUCCEEDED.label),
    *Doubt.choices,
    *(choice for choice in Status.choices if choice[0] != Status.SUCCEEDED),
]
# As `Prediction.display_status`.
_DISPLAY_STATUS = Case(
    When(label="", then=F("status")),
    When(flagged=True, then=Value(Doubt.UNRELIABLE.value)),
    When(committed=False, then=Value(Doubt.UNSURE.value)),
    default=F("status"),
)
# Empty where the network does not stand by it.
_RELIED_ON = Case(When(Q(flagged=True) | Q(committed=False), then=Value("")), default=F("label"))
# Before there were any scans; ids cannot hold a time before 1970.
_LONG_AGO = date(1970, 1, 2)


def _day(text: str) -> date | None:
    try:
        return max(date.fromisoformat(text), _LONG_AGO)
    except ValueError:
        return None


@functools.cache
def _zones() -> frozenset[str]:
    """Cached, as reading them takes ten milliseconds."""
    return frozenset(available_timezones())


def _zone(name: str) -> str:
    return name if name in _zones() else ""


def _first_id_of_day(day: date, zone: str) -> UUID:
    """The least id of a day."""
    return first_uuid7(datetime.combine(day, time.min, ZoneInfo(zone or "UTC")))


@dataclass(frozen=True, slots=True)
class Filters:
    """What a person looks for in the history.

    Attributes:
        status: as lists show it: a status, or the doubt that an answer comes with.
        label: the finding. Where no doubt is asked for, only if the network stands by it.
        since, until: first and last day on which a scan was uploaded.
        zone: whose days these are; UTC if empty.
    """

    status: str = ""
    label: str = ""
    text: str = ""
    since: date | None = None
    until: date | None = None
    zone: str = ""

    @classmethod
    def from_query(cls, query: Any) -> Filters:
        """Read the filters of a query string; unknown values are as good as none."""
        status, label = query.get("status", ""), query.get("label", "")
        since, until = _day(query.get("since", "")), _day(query.get("until", ""))
        return cls(
            status=status if status in dict(STATES) else "",
            label=label if label in Label.values else "",
            # PostgreSQL accepts no NUL. Names are stored in this normal form (NFC).
            text=unicodedata.normalize("NFC", query.get("q", "").replace("\0", "").strip()[:100]),
            since=since,
            until=until,
            zone=_zone(query.get("zone", "")) if since or until else "",
        )

    def apply(self, scans: QuerySet[Scan]) -> QuerySet[Scan]:
        return self.of_content(self.of_days(scans))

    @property
    def look_at_each(self) -> bool:
        """Whether each scan has to be looked at; days are a stretch of the index."""
        return bool(self.text or self.status or self.label)

    def of_days(self, scans: QuerySet[Scan]) -> QuerySet[Scan]:
        """Those of the days asked for: ids begin with the time."""
        if self.since:
            scans = scans.filter(pk__gte=_first_id_of_day(self.since, self.zone))
        if self.until and self.until < date.max:
            scans = scans.filter(pk__lt=_first_id_of_day(self.until + timedelta(days=1), self.zone))
        return scans

    def of_content(self, scans: QuerySet[Scan]) -> QuerySet[Scan]:
        """Those with the name, state and finding asked for."""
        if self.text:
            scans = scans.filter(**_name_contains(self.text))
        doubted = self.status in Doubt.values
        for name, value, what in (
            ("status", self.status, _DISPLAY_STATUS),
            ("label", self.label, F("label") if doubted else _RELIED_ON),
        ):
            if value:
                own = _runs_best_first(OuterRef("pk")).annotate(asked=what).values("asked")
                scans = scans.alias(**{f"shown_{name}": Subquery(own[:1])})
                scans = scans.filter(**{f"shown_{name}": value})
        return scans


def _name_contains(text: str) -> dict[str, str]:
    """The lookup of names that hold `text` in any case."""
    if connection.vendor == "sqlite":
        # SQLite's own LIKE ignores case in A to Z only; its regular expressions are Python's.
        return {"name__iregex": re.escape(text)}
    return {"name__icontains": text}


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a history, and the ids from which the pages beside it go on.

    Attributes:
        stopped_at: the upload of the last scan looked at, if looking ended before the page was full
            and there are more to look at.
    """

    scans: list[Scan]
    older_than: UUID | None
    newer_than: UUID | None
    stopped_at: datetime | None = None


def history_page(
    owner: Owner,
    filters: Filters,
    *,
    older_than: UUID | None = None,
    newer_than: UUID | None = None,
    size: int = PAGE_SIZE,
) -> Page:
    """A page of scans, newest first, each with its newest prediction as `scan.latest`.

    Keyset pagination: a page starts at an id, so the last page costs what the first one does.
    Two queries, however many scans there are, and one more where each has to be looked at: a page
    ends after `LOOK_AT` of these, though it may have found nothing.
    """
    backwards, start = newer_than is None, newer_than or older_than
    scans = filters.of_days(scans_of(owner))
    if not backwards:
        scans = scans.filter(pk__gt=start).order_by("id")
    elif start is not None:
        scans = scans.filter(pk__lt=start)
    last = _last_to_look_at(scans) if filters.look_at_each else None
    if last is not None:
        scans = scans.filter(pk__gte=last.pk) if backwards else scans.filter(pk__lte=last.pk)
    found = list(filters.of_content(scans)[: size + 1])
    rows, full = found[:size], len(found) > size
    end = rows[-1] if full else last
    ahead = end.pk if end else None
    behind = None
    if start is not None and rows:
        behind = rows[0].pk
    elif start is not None and last is not None:
        # The page behind this one begins with the start itself.
        behind = UUID(int=start.int + (-1 if backwards else 1))
    return Page(
        scans=with_latest(rows if backwards else reversed(rows)),
        older_than=ahead if backwards else behind,
        newer_than=behind if backwards else ahead,
        stopped_at=last.created_at if last and not full else None,
    )


def _last_to_look_at(scans: QuerySet[Scan]) -> Scan | None:
    """The last of the first `LOOK_AT` scans; None if there are no more than these."""
    ends = list(scans.only("created_at")[LOOK_AT - 1 : LOOK_AT + 1])
    return ends[0] if len(ends) == 2 else None


def latest_runs(runs: Iterable[Prediction]) -> dict[UUID, Prediction]:
    """The run that represents each scan, of runs in the order of their ids.

    The newest, unless that ended without a result and an older one did not.
    """
    latest: dict[UUID, Prediction] = {}
    for run in runs:
        best = latest.get(run.scan_id)
        if best is None or run.status not in WITHOUT_RESULT or best.status in WITHOUT_RESULT:
            latest[run.scan_id] = run
    return latest


def _runs_best_first(scan: OuterRef) -> QuerySet[Prediction]:
    """The runs of a scan, beginning with the one that represents it; as `latest_runs`."""
    nothing = Case(When(status__in=WITHOUT_RESULT, then=1), default=0)
    return Prediction.objects.filter(scan=scan).order_by(nothing, "-id")


def with_latest(scans: Iterable[Scan]) -> list[Scan]:
    """Each with `scan.latest`, the run that represents it, by one query for all.

    Without those that have been erased since they were read.
    """
    scans = list(scans)
    runs = with_model(Prediction.objects.filter(scan__in=scans)).order_by("id")
    latest = latest_runs(runs)
    for scan in scans:
        scan.latest = latest.get(scan.pk)  # type: ignore[attr-defined]  # for this page only
    return [scan for scan in scans if scan.pk in latest]


def export_rows(owner: Owner, filters: Filters) -> QuerySet[Prediction]:
    """Every prediction of the filtered history, for the CSV; read it with `iterator()`.

    Where a state or finding is asked for, only the runs that have it and represent their scans.
    """
    scans = filters.apply(scans_of(owner)).order_by()
    runs = Prediction.objects.filter(scan__in=scans)
    if filters.status or filters.label:
        runs = runs.filter(pk=Subquery(_runs_best_first(OuterRef("scan")).values("pk")[:1]))
    return with_model(runs.select_related("scan").order_by("-id"))


def other_runs(prediction: Prediction) -> QuerySet[Prediction]:
    """Runs of other models, or earlier attempts by hand, on the same scan."""
    runs = Prediction.objects.filter(scan_id=prediction.scan_id).exclude(pk=prediction.pk)
    return with_model(runs).order_by("-id")


def newer_model(prediction: Prediction) -> ModelVersion | None:
    """The network in production, if it is newer than the one that gave this answer."""
    model, own = in_production(), prediction.model_version
    if model is None or model == own or model.created_at <= own.created_at:
        return None
    return model


def recent_scans(owner: Owner) -> list[Scan]:
    """The newest scans, for the front page, each with its newest prediction as `scan.latest`."""
    return with_latest(scans_of(owner)[:RECENT])
