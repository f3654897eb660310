"""Scans in the admin: whose they are and what became of them. The file's own name is not shown."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import OuterRef, QuerySet, Subquery
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html, format_html_join

from predictions.admin.common import (
    OwnerMixin,
    RecentFilter,
    RecordAdmin,
    found,
    owner_column,
    thumbnail,
)
from predictions.models import Prediction, Scan
from predictions.selectors import with_model
from predictions.services.deletion import delete_scans


@admin.register(Scan)
class ScanAdmin(OwnerMixin, RecordAdmin):
    list_filter = (RecentFilter,)
    search_fields = ("id",)
    search_help_text = (
        "Id of the scan, or the owner's address. "
        "File names are not searched: they are their owners' alone."
    )
    ordering = ("-id",)

    def get_list_display(self, request: HttpRequest) -> list[Any]:
        return ["picture", "short_id", "size", owner_column(request), "created_at"]

    list_display_links = ("short_id",)

    def get_fields(self, request: HttpRequest, obj: Any = None) -> list[Any]:
        return [
            "picture", "id", owner_column(request), "created_at", "size", "modality", "sha256",
            "facts", "image_key", "runs",
        ]  # fmt: skip

    def get_queryset(self, request: HttpRequest) -> QuerySet[Scan]:
        newest = Prediction.objects.filter(scan=OuterRef("pk")).order_by("-id").values("pk")[:1]
        return (
            super()
            .get_queryset(request)
            .filter(deleted_at__isnull=True)
            .select_related("owner")
            .annotate(newest=Subquery(newest))
        )

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Scan], search_term: str
    ) -> tuple[QuerySet[Scan], bool]:
        if search_term:
            queryset = found(request, queryset, search_term, ids=["pk"], scan="")
        return queryset, False

    def scan_of(self, record: Scan) -> Scan:
        return record

    @admin.display(description="picture")
    def picture(self, scan: Any) -> str:
        return thumbnail(scan.newest)

    @admin.display(description="id", ordering="id")
    def short_id(self, scan: Scan) -> str:
        """Its end: ids begin with the time."""
        return f"…{str(scan.pk)[-8:]}"

    @admin.display(description="size")
    def size(self, scan: Scan) -> str:
        return f"{scan.width} × {scan.height}"

    @admin.display(description="results")
    def runs(self, scan: Scan) -> str:
        rows = with_model(scan.predictions.order_by("-id"))
        return format_html(
            "<ul>{}</ul>",
            format_html_join(
                "",
                '<li><a href="{}">{}: {}</a></li>',
                (
                    (
                        reverse("admin:predictions_prediction_change", args=[run.pk]),
                        run.model_version,
                        run.short_answer or run.get_status_display(),
                    )
                    for run in rows
                ),
            ),
        )

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm("predictions.delete_scan")

    def get_deleted_objects(
        self, objs: Any, request: HttpRequest
    ) -> tuple[list[Any], dict[str, int], set[str], list[str]]:
        """What goes with the scans, without a check of each kind: their results go with them."""
        scans = list(objs)
        runs = Prediction.objects.filter(scan__in=scans).count()
        return [str(scan) for scan in scans], {"scans": len(scans), "results": runs}, set(), []

    def delete_model(self, request: HttpRequest, obj: Scan) -> None:
        delete_scans(scans=Scan.objects.filter(pk=obj.pk))

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Scan]) -> None:
        delete_scans(scans=Scan.objects.filter(pk__in=list(queryset.values_list("pk", flat=True))))
