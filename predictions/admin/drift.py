"""Drift in the admin: how unlike its reference each network's answers were."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.html import format_html_join

from predictions.admin.common import RecordAdmin
from predictions.models import DriftRecord
from predictions.selectors import CARD


@admin.register(DriftRecord)
class DriftRecordAdmin(RecordAdmin):
    list_display = ("at", "model_version", "n", "score", "alarm")
    list_filter = ("alarm",)
    list_select_related = ("model_version",)
    ordering = ("-id",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[DriftRecord]:
        return super().get_queryset(request).defer(*CARD)

    def get_fields(self, request: HttpRequest, obj: Any = None) -> list[Any]:
        return ["at", "model_version", "n", "score", "alarm", "compared"]

    @admin.display(description="shares when measured, and of late")
    def compared(self, record: DriftRecord) -> str:
        return format_html_join(
            "",
            "<p>{}, score {}: {}</p>",
            (
                (
                    part["name"],
                    f"{part['score']:.2f}",
                    ", ".join(
                        f"{name} {share:.3f} → {part['recent'][name]:.3f}"
                        for name, share in part["reference"].items()
                    ),
                )
                for part in record.parts
            ),
        )
