"""What the admin's pages about records share."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import UUID

from django.contrib import admin
from django.core.paginator import Paginator
from django.db.models import Exists, Model, OuterRef, QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from predictions.ids import as_uuid, first_uuid7
from predictions.models import Prediction, Review, Scan, Status

M = TypeVar("M", bound=Model)

if TYPE_CHECKING:
    RecordBase = admin.ModelAdmin[Any]
else:
    RecordBase = admin.ModelAdmin


class CappedPaginator(Paginator):
    """Counts no further than anyone turns pages: to count a million rows takes too long."""

    MOST = 10_000

    @cached_property
    def count(self) -> int:
        rows: QuerySet[Any] = self.object_list  # type: ignore[assignment]  # here never a list
        return rows.order_by()[: self.MOST].count()


class RecentFilter(admin.SimpleListFilter):
    """How old a record may be, answered by the primary key, which sorts by time."""

    title = "age"
    parameter_name = "days"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("1", "24 hours"), ("7", "7 days"), ("30", "30 days"), ("365", "a year")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[M]) -> QuerySet[M]:
        if self.value() not in {"1", "7", "30", "365"}:
            return queryset
        oldest = timezone.now() - timedelta(days=int(self.value() or 0))
        return queryset.filter(pk__gte=first_uuid7(oldest))


class RecordAdmin(RecordBase):
    """A page for records that nobody edits."""

    paginator = CappedPaginator
    show_full_result_count = False
    list_per_page = 25
    # The site's own page is for the owner alone.
    view_on_site = False

    class Media:
        css = {"all": ("predictions/admin.css",)}

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


def may_see_people(request: HttpRequest) -> bool:
    """Whether whose a scan is may be shown."""
    return request.user.has_perm("accounts.view_user")


def owner_column(request: HttpRequest) -> str:
    return "owner_name" if may_see_people(request) else "owner_kind"


class OwnerMixin:
    """Shows whose a scan is to those who may know, and else only whether there is an account."""

    def scan_of(self, record: Any) -> Scan:
        raise NotImplementedError

    @admin.display(description="owner")
    def owner_name(self, record: Any) -> str:
        owner = self.scan_of(record).owner
        if owner is None:
            return "a visitor"
        address = reverse("admin:accounts_user_change", args=[owner.pk])
        return format_html('<a href="{}">{}</a>', address, owner.email)

    @admin.display(description="owner")
    def owner_kind(self, record: Any) -> str:
        return "an account" if self.scan_of(record).owner_id else "a visitor"


def unreviewed(rows: QuerySet[Prediction]) -> QuerySet[Prediction]:
    """Those with an answer that nobody has read."""
    read = Exists(Review.objects.filter(prediction=OuterRef("pk")))
    return rows.filter(~read, status=Status.SUCCEEDED)


def found(
    request: HttpRequest, queryset: QuerySet[M], term: str, *, ids: Sequence[str], scan: str
) -> QuerySet[M]:
    """The records that a search means: by id, or by the owner's address.

    Each is one look into an index, however many rows there are.

    Args:
        ids: names of the fields that hold ids.
        scan: prefix of the scan's own fields.
    """
    term = term.strip()
    pk = as_uuid(term)
    if pk is not None:
        matches = queryset.none()
        for name in ids:
            matches = matches | queryset.filter(**{name: pk})
        return matches
    if "@" in term and may_see_people(request):
        return queryset.filter(**{f"{scan}owner__email": term.lower()})
    return queryset.none()


def thumbnail(prediction_id: UUID | None) -> str | SafeString:
    """The small picture of a scan, by way of one of its predictions."""
    if prediction_id is None:
        return "–"
    address = reverse(
        "admin:predictions_prediction_picture", args=[prediction_id, "thumbnail", "png"]
    )
    return format_html(
        '<img class="scan-thumbnail" src="{}" width="64" height="64" alt="Scan" loading="lazy">',
        address,
    )
