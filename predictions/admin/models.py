"""Networks in the admin. Releasing one is a command, as its folder must be there."""

from __future__ import annotations

import json
from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.utils.html import format_html

from predictions.admin.common import RecordAdmin
from predictions.models import ModelVersion


@admin.register(ModelVersion)
class ModelVersionAdmin(RecordAdmin):
    list_display = ("name", "version", "stage", "short_digest", "created_at")
    list_filter = ("stage",)
    search_fields = ("name", "version", "digest")
    search_help_text = "Name, version or digest of the weights."

    def get_fields(self, request: HttpRequest, obj: Any = None) -> list[Any]:
        return ["name", "version", "stage", "digest", "created_at", "model_card"]

    @admin.display(description="digest")
    def short_digest(self, version: ModelVersion) -> str:
        return version.digest[:12]

    @admin.display(description="metrics and model card")
    def model_card(self, version: ModelVersion) -> str:
        return format_html(
            '<pre class="model-card">{}</pre>',
            json.dumps(version.card, indent=2, ensure_ascii=False),
        )
