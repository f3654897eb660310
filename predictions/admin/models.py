"""Networks in the admin: to be looked at and released, never to be edited."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from django.contrib import admin, messages
from django.core.cache import cache
from django.db.models import Count, QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils.formats import date_format
from django.utils.html import format_html, format_html_join

from mltasks import gate, seen
from mltasks.engines import ModelError
from predictions.admin.common import RecordAdmin, may_see_people
from predictions.models import ModelEvent, ModelVersion, Prediction
from predictions.services import registry, shadowing
from predictions.storage import StorageUnavailableError

# Counting a million rows takes a moment; the figure need not be of this very second.
COUNTS_KEY, COUNTS_SECONDS = "admin:predictions-by-model", 60


def predictions_by_model() -> dict[int, int]:
    """How many predictions each network has, at most a minute old."""
    counts: dict[int, int] | None = cache.get(COUNTS_KEY)
    if counts is None:
        rows = Prediction.objects.order_by().values_list("model_version").annotate(Count("pk"))
        counts = dict(rows)
        cache.set(COUNTS_KEY, counts, COUNTS_SECONDS)
    return counts


@admin.register(ModelVersion)
class ModelVersionAdmin(RecordAdmin):
    list_display = (
        "network", "stage_words", "accuracy", "dice", "verdict", "predictions", "registered",
        "promoted",
    )  # fmt: skip
    list_filter = ("stage",)
    search_fields = ("name", "version", "digest", "artifact")
    search_help_text = "Name, version or digest."
    actions = ("promote", "roll_back", "begin_shadow", "end_shadow")

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        people = may_see_people(request)
        return [
            (None, {"fields": ["name", "version", "stage", "accuracy", "dice", "predictions"]}),
            (
                "Release",
                {
                    "fields": [
                        "verdict", "gate_table", "promoted_at",
                        *(["promoted_by"] if people else []), "note", "replaced",
                        "history_with_people" if people else "history",
                    ]
                },
            ),
            ("Files", {"fields": ["artifact", "digest", "created_at"]}),
            # Thousands of lines, of which most visits need none.
            ("Metrics and model card", {"classes": ["collapse"], "fields": ["model_card"]}),
        ]  # fmt: skip

    @admin.display(description="network", ordering="name")
    def network(self, version: ModelVersion) -> str:
        return str(version)

    @admin.display(description="stage", ordering="stage")
    def stage_words(self, version: ModelVersion) -> str:
        return f"{version.get_stage_display()}{', in the shadow' if version.shadow else ''}"

    @admin.display(description="registered", ordering="created_at")
    def registered(self, version: ModelVersion) -> str:
        return date_format(version.created_at)

    @admin.display(description="promoted", ordering="promoted_at")
    def promoted(self, version: ModelVersion) -> str:
        return date_format(version.promoted_at) if version.promoted_at else "–"

    @admin.display(description="accuracy")
    def accuracy(self, version: ModelVersion) -> str:
        value = version.figures()[0]
        return "–" if value is None else f"{value:.1%}"

    @admin.display(description="median Dice")
    def dice(self, version: ModelVersion) -> str:
        value = version.figures()[1]
        return "–" if value is None else f"{value:.3f}"

    @admin.display(description="gate")
    def verdict(self, version: ModelVersion) -> str:
        return version.gate_words()

    @admin.display(description="predictions")
    def predictions(self, version: ModelVersion) -> str:
        return f"{predictions_by_model().get(version.pk, 0):,}"

    @admin.display(description="what was measured")
    def gate_table(self, version: ModelVersion) -> str:
        if version.gate is None:
            return "–"
        bodies = format_html_join(
            "",
            '<tbody><tr><th colspan="4" scope="rowgroup">{}</th></tr>{}</tbody>',
            (
                (heading, self._gate_rows(rows))
                for heading, rows in gate.blocks(version.gate.get("rows", []))
            ),
        )
        return format_html(
            "<p>{}</p><table><thead><tr><th>Measure</th><th>It</th><th>{}</th>"
            "<th>Difference</th></tr></thead>{}</table>",
            " ".join(version.gate["reasons"]),
            version.gate["against"],
            bodies,
        )

    def _gate_rows(self, rows: Sequence[Mapping[str, Any]]) -> str:
        return format_html_join(
            "",
            "<tr><th>{}</th><td>{}</td><td>{}</td><td>{}</td></tr>",
            (
                (
                    row["name"],
                    f"{row['candidate']:.4f}",
                    f"{row['production']:.4f}",
                    gate.bound_words(row)
                    + ("" if row["margin"] is None else f" (at least {-row['margin']:g})")
                    + ("" if row["passed"] else " – no"),
                )
                for row in rows
            ),
        )

    @admin.display(description="history")
    def history(self, version: ModelVersion) -> str:
        return self._history(version, lambda event: event.actor)

    @admin.display(description="history")
    def history_with_people(self, version: ModelVersion) -> str:
        return self._history(version, lambda event: event.by.email if event.by else event.actor)

    def _history(self, version: ModelVersion, who: Any) -> str:
        events: QuerySet[ModelEvent] = version.events.select_related("by")
        return format_html(
            "<ul>{}</ul>",
            format_html_join(
                "",
                "<li>{}: {}{}{}</li>",
                (
                    (
                        date_format(event.at, "DATETIME_FORMAT"),
                        event.get_kind_display(),
                        f", by {name}" if (name := who(event)) else "",
                        f". {event.note}" if event.note else "",
                    )
                    for event in events
                ),
            ),
        )

    @admin.display(description="metrics and model card")
    def model_card(self, version: ModelVersion) -> str:
        return format_html(
            '<pre class="model-card">{}</pre>',
            json.dumps(seen.abridged(version.card), indent=2, ensure_ascii=False),
        )

    def has_release_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("predictions.release_modelversion")

    def _asked(
        self, request: HttpRequest, action: str, chosen: ModelVersion, *networks: ModelVersion
    ) -> HttpResponse | None:
        """The question whether to put another network into production; None once it is answered.

        Args:
            networks: the one to answer from now on, and the one that answers now.
        """
        if "confirmed" in request.POST:
            return None
        context = {
            **self.admin_site.each_context(request),
            "title": "Put another network into production?",
            "opts": self.opts,
            "action": action,
            "chosen": chosen,
            "networks": networks,
        }
        return TemplateResponse(request, "admin/predictions/modelversion/confirm.html", context)

    @admin.action(description="Put into production…", permissions=["release"])
    def promote(
        self, request: HttpRequest, queryset: QuerySet[ModelVersion]
    ) -> HttpResponse | None:
        if queryset.count() != 1:
            self.message_user(request, "Choose exactly one network.", messages.ERROR)
            return None
        chosen, present = queryset.get(), registry.in_production()
        # What would be refused is refused at once.
        if present and chosen != present and not registry.objection(chosen, present):
            question = self._asked(request, "promote", chosen, chosen, present)
            if question:
                return question
        try:
            version = registry.promote(version=chosen, by=request.user)  # type: ignore[arg-type]  # staff
        except registry.GateError as error:
            advice = 'To release it all the same: manage.py model promote … --override "reason"'
            self.message_user(request, f"Refused: {error} {advice}", messages.ERROR)
        except (registry.ReleaseError, ModelError) as error:
            self.message_user(request, f"Refused: {error}", messages.ERROR)
        except StorageUnavailableError:
            self.message_user(request, "The object store does not answer.", messages.ERROR)
        else:
            self.message_user(request, f"In production: {version}.", messages.SUCCESS)
        return None

    @admin.action(description="Run in the shadow of production", permissions=["release"])
    def begin_shadow(self, request: HttpRequest, queryset: QuerySet[ModelVersion]) -> None:
        if queryset.count() != 1:
            self.message_user(request, "Choose exactly one network.", messages.ERROR)
            return
        try:
            shadowing.begin(version=queryset.get(), by=request.user)  # type: ignore[arg-type]  # staff
        except registry.ReleaseError as error:
            self.message_user(request, f"Refused: {error}", messages.ERROR)
        else:
            self.message_user(request, "It runs in the shadow from now on.", messages.SUCCESS)

    @admin.action(description="Run nothing in the shadow", permissions=["release"])
    def end_shadow(self, request: HttpRequest, queryset: QuerySet[ModelVersion]) -> None:
        ended = shadowing.end(by=request.user)  # type: ignore[arg-type]  # staff
        said = "It runs in the shadow no more." if ended else "Nothing ran in the shadow."
        self.message_user(request, said, messages.INFO)

    @admin.action(description="Roll back to the network it replaced…", permissions=["release"])
    def roll_back(
        self, request: HttpRequest, queryset: QuerySet[ModelVersion]
    ) -> HttpResponse | None:
        present = queryset.filter(stage=ModelVersion.Stage.PRODUCTION).first()
        if present is None:
            self.message_user(request, "Choose the network in production.", messages.ERROR)
            return None
        if present.replaced:
            question = self._asked(request, "roll_back", present, present.replaced, present)
            if question:
                return question
        try:
            version = registry.rollback(by=request.user)  # type: ignore[arg-type]  # staff
        except (registry.ReleaseError, ModelError) as error:
            self.message_user(request, f"Refused: {error}", messages.ERROR)
        except StorageUnavailableError:
            self.message_user(request, "The object store does not answer.", messages.ERROR)
        else:
            self.message_user(request, f"Back in production: {version}.", messages.SUCCESS)
        return None
