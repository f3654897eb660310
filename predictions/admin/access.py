"""The audit trail in the admin."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import Q, QuerySet
from django.http import HttpRequest

from predictions.admin.common import RecordAdmin, may_see_people
from predictions.ids import as_uuid
from predictions.models import Access


@admin.register(Access)
class AccessAdmin(RecordAdmin):
    list_filter = ("kind",)
    list_select_related = ("user",)
    search_fields = ("scan_id",)
    search_help_text = "Id of the scan or of the result, or the address of who received it."
    ordering = ("-id",)

    def get_list_display(self, request: HttpRequest) -> list[Any]:
        return ["at", "kind", "scan_id", "prediction_id", self._receiver(request)]

    def get_fields(self, request: HttpRequest, obj: Any = None) -> list[Any]:
        return ["at", "kind", "scan_id", "prediction_id", self._receiver(request)]

    def _receiver(self, request: HttpRequest) -> str:
        return "receiver_name" if may_see_people(request) else "receiver_kind"

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Access], search_term: str
    ) -> tuple[QuerySet[Access], bool]:
        term = search_term.strip()
        if not term:
            return queryset, False
        pk = as_uuid(term)
        if pk is not None:
            return queryset.filter(Q(scan_id=pk) | Q(prediction_id=pk)), False
        if may_see_people(request):
            return queryset.filter(user__email=term.lower()), False
        return queryset.none(), False

    @admin.display(description="handed to")
    def receiver_name(self, access: Access) -> str:
        return access.user.email if access.user else self.receiver_kind(access)

    @admin.display(description="handed to")
    def receiver_kind(self, access: Access) -> str:
        if access.user_id:
            return "an account"
        return "a visitor" if access.visitor else "an erased account"
