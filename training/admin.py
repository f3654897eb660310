"""Training runs in the admin: start one, watch it, stop it, take it up again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from django import forms
from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from mltasks.training.config import recipe_names
from predictions.admin.common import RecordAdmin
from training import services
from training.models import TrainingRun

if TYPE_CHECKING:
    from accounts.models import User

    RunForm = forms.ModelForm[TrainingRun]
else:
    RunForm = forms.ModelForm


class StartForm(RunForm):
    """Asks for nothing but the recipe."""

    recipe = forms.ChoiceField(
        help_text="A training worker takes it up; its data is that of its TRAINING_DATA setting."
    )

    class Meta:
        model = TrainingRun
        fields = ("recipe",)

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.fields["recipe"].choices = [  # type: ignore[attr-defined]  # it is a ChoiceField
            (name, name) for name in recipe_names()
        ]


@admin.register(TrainingRun)
class TrainingRunAdmin(RecordAdmin):
    form = StartForm
    list_display = ("recipe", "status", "bar", "accuracy", "dice", "queued_at", "finished_at")
    list_filter = ("status", "recipe")
    search_fields = ("recipe", "digest")
    search_help_text = "Recipe, or digest of the weights."
    actions = ("cancel_runs", "resume_runs")

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm("training.add_trainingrun")

    def get_fields(self, request: HttpRequest, obj: Any = None) -> list[Any]:
        if obj is None:
            return ["recipe"]
        return [
            "recipe", "status", "bar", "progress", "message", "picture", "accuracy", "dice",
            "digest", "attempt", "deaths", "queued_at", "started_at", "heartbeat_at", "finished_at",
            "started_by", "recipe_text",
        ]  # fmt: skip

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: Any) -> None:
        """The service saves the row, and sends its message when the request is through."""
        user = cast("User", request.user)
        obj.pk = services.request_run(recipe=obj.recipe, user=user).pk
        obj.refresh_from_db()

    @admin.display(description="progress")
    def bar(self, run: TrainingRun) -> SafeString:
        percent = round(100 * run.share)
        return format_html(
            '<progress max="100" value="{}" aria-label="Progress">{}%</progress> {}%',
            percent,
            percent,
            percent,
        )

    @admin.display(description="curves")
    def picture(self, run: TrainingRun) -> str | SafeString:
        if not run.curves:
            return "–"
        address = reverse("training_curves", args=[run.pk])
        last = ", ".join(f"{name} {value:.3f}" for name, value in run.history[-1].items())
        return format_html(
            '<img class="training-curves" src="{}" alt="Curves over {} epochs; the last: {}">',
            address,
            len(run.history),
            last,
        )

    @admin.display(description="accuracy, held out")
    def accuracy(self, run: TrainingRun) -> str:
        value = run.metrics.get("accuracy")
        return f"{value['value']:.1%}" if value else "–"

    @admin.display(description="median Dice, held out")
    def dice(self, run: TrainingRun) -> str:
        value = run.metrics.get("dice")
        return f"{value['value']:.3f}" if value else "–"

    @admin.action(description="Cancel", permissions=["add"])
    def cancel_runs(self, request: HttpRequest, queryset: QuerySet[TrainingRun]) -> None:
        done = sum(services.cancel(run=run) for run in queryset)
        self.message_user(request, f"{done} cancelled.", messages.INFO)

    @admin.action(description="Go on after the last checkpoint", permissions=["add"])
    def resume_runs(self, request: HttpRequest, queryset: QuerySet[TrainingRun]) -> None:
        done = sum(services.resume(run=run) for run in queryset)
        self.message_user(request, f"{done} queued again.", messages.INFO)
