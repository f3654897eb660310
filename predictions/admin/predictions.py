"""Results in the admin, with their pictures, and what staff may have done with them."""

from __future__ import annotations

from contextlib import suppress
from typing import Any
from uuid import UUID

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import Exists, OuterRef, QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.template.defaultfilters import pluralize
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html, format_html_join
from django.views.decorators.http import require_GET

from predictions.admin.common import (
    OwnerMixin,
    RecentFilter,
    RecordAdmin,
    found,
    owner_column,
    thumbnail,
    unreviewed,
)
from predictions.models import Label, ModelVersion, Prediction, Review, Scan, Status
from predictions.selectors import CARD
from predictions.services.registry import NoModelError
from predictions.services.reviewing import NothingToReviewError, mark_reviewed
from predictions.services.submission import run_again
from predictions.templatetags.figures import suffix as suffix_of
from predictions.views.pictures import deliver


class ReviewedFilter(admin.SimpleListFilter):
    """Whether any member of staff has read the result."""

    title = "reviewed"
    parameter_name = "reviewed"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("yes", "Yes"), ("no", "Not yet")]

    def queryset(
        self, request: HttpRequest, queryset: QuerySet[Prediction]
    ) -> QuerySet[Prediction]:
        if self.value() == "yes":
            return queryset.filter(Exists(Review.objects.filter(prediction=OuterRef("pk"))))
        return unreviewed(queryset) if self.value() == "no" else queryset


class DoubtFilter(admin.BooleanFieldListFilter):
    """A yes or no of the network about itself, under a title that reads well after “By”."""

    def __init__(self, field: Any, *args: Any, **options: Any) -> None:
        super().__init__(field, *args, **options)
        self.title = f"whether it {'is ' if field.name == 'flagged' else ''}{self.title}"


class NetworkFilter(admin.RelatedFieldListFilter):
    """Reads the networks' names only: each card is large."""

    def field_choices(
        self, field: Any, request: HttpRequest, model_admin: Any
    ) -> list[tuple[str, Any]]:
        rows = ModelVersion.objects.only("name", "version")
        return [(str(row.pk), str(row)) for row in rows]


@admin.register(Prediction)
class PredictionAdmin(OwnerMixin, RecordAdmin):
    list_display = (
        "picture", "short_id", "reviewed", "finding", "status", "queued_at", "model_version",
    )  # fmt: skip
    list_display_links = ("short_id",)
    list_filter = (
        RecentFilter, "status", "label", ("flagged", DoubtFilter), ("committed", DoubtFilter),
        ReviewedFilter, ("model_version", NetworkFilter),
    )  # fmt: skip
    list_select_related = ("scan__owner", "model_version")
    search_fields = ("id",)
    search_help_text = (
        "Id of the result or of its scan, or the owner's address. "
        "File names are not searched: they are their owners' alone."
    )
    ordering = ("-id",)
    actions = ("mark_as_reviewed", "analyse_again")

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        return [
            (None, {"fields": ["pictures", "review_it", "finding", "probability_table"]}),
            (
                "Details",
                {
                    "fields": [
                        "entropy", "unlikeness", "flagged", "committed", "among",
                        "area_share", "area_bounds", "box", "hottest", "model_version", "scan_link",
                        owner_column(request),
                    ]
                },
            ),
            (
                "Course",
                {
                    "fields": [
                        "id", "status", "error_code", "message", "attempt", "outages", "queued_at",
                        "started_at", "heartbeat_at", "finished_at",
                    ]
                },
            ),
        ]  # fmt: skip

    def get_queryset(self, request: HttpRequest) -> QuerySet[Prediction]:
        reviewed = Exists(Review.objects.filter(prediction=OuterRef("pk")))
        visible = super().get_queryset(request).filter(scan__deleted_at__isnull=True)
        # A card is large, and a list would read one for each row.
        return visible.annotate(is_reviewed=reviewed).defer(*CARD)

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Prediction], search_term: str
    ) -> tuple[QuerySet[Prediction], bool]:
        if search_term:
            queryset = found(request, queryset, search_term, ids=["pk", "scan"], scan="scan__")
        return queryset, False

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(require_GET(self.picture_view), cacheable=True)
        own = path(
            "<uuid:prediction_id>/pictures/<str:kind>.<str:suffix>",
            view,
            name="predictions_prediction_picture",
        )
        return [own, *super().get_urls()]

    def picture_view(
        self, request: HttpRequest, prediction_id: UUID, kind: str, suffix: str
    ) -> HttpResponse:
        """A picture for staff; `deliver` writes the audit row."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        try:
            prediction = self.get_queryset(request).select_related("scan").get(pk=prediction_id)
        except Prediction.DoesNotExist:
            raise Http404 from None
        return deliver(request, prediction, kind, suffix)

    def scan_of(self, record: Prediction) -> Scan:
        return record.scan

    @admin.display(description="picture")
    def picture(self, prediction: Prediction) -> str:
        return thumbnail(prediction.pk)

    @admin.display(description="id", ordering="id")
    def short_id(self, prediction: Prediction) -> str:
        """Its end: ids begin with the time."""
        return f"…{str(prediction.pk)[-8:]}"

    @admin.display(description="finding", ordering="label")
    def finding(self, prediction: Prediction) -> str:
        share = prediction.probabilities.get(prediction.label)
        return "–" if share is None else f"{prediction.short_answer}, {share:.1%}"

    @admin.display(description="reviewed")
    def reviewed(self, prediction: Any) -> str:
        """In words: a cross would look like an error, and what has no answer needs no review."""
        if prediction.status != Status.SUCCEEDED:
            return "–"
        return "Yes" if prediction.is_reviewed else "Not yet"

    @admin.display(description="uncertainty (0–1)")
    def entropy(self, prediction: Prediction) -> str:
        return "–" if prediction.uncertainty is None else f"{prediction.uncertainty:.3f}"

    @admin.display(description="unlikeness to what it learnt from (0–1)")
    def unlikeness(self, prediction: Prediction) -> str:
        return "–" if prediction.ood_score is None else f"{prediction.ood_score:.3f}"

    @admin.display(description="set of answers")
    def among(self, prediction: Prediction) -> str:
        labels = ", ".join(Label(label).label for label in prediction.prediction_set)
        # Its 95% are of slices like those tested.
        return f"{labels} (no promise)" if labels and prediction.flagged else labels or "–"

    @admin.display(description="share of the picture")
    def area_share(self, prediction: Prediction) -> str:
        return "–" if prediction.area_fraction is None else f"{prediction.area_fraction:.1%}"

    @admin.display(description="share within inner and outer contour")
    def area_bounds(self, prediction: Prediction) -> str:
        return " to ".join(f"{share:.1%}" for share in prediction.area_range or []) or "–"

    @admin.display(description="left, top, right, bottom")
    def box(self, prediction: Prediction) -> str:
        return ", ".join(map(str, prediction.bounding_box or [])) or "–"

    @admin.display(description="x, y of most attention")
    def hottest(self, prediction: Prediction) -> str:
        return ", ".join(map(str, prediction.hottest_point or [])) or "–"

    @admin.display(description="probabilities")
    def probability_table(self, prediction: Prediction) -> str:
        if not prediction.label:
            # Of a refused picture they would be taken for an answer.
            return "–"
        return format_html(
            "<ul>{}</ul>",
            format_html_join(
                "",
                "<li>{}: {}</li>",
                (
                    (Label(label).label, f"{share:.1%}")
                    for label, share in sorted(
                        prediction.probabilities.items(), key=lambda item: -item[1]
                    )
                ),
            ),
        )

    @admin.display(description="scan")
    def scan_link(self, prediction: Prediction) -> str:
        address = reverse("admin:predictions_scan_change", args=[prediction.scan_id])
        return format_html('<a href="{}">{}</a>', address, prediction.scan)

    @admin.display(description="readings")
    def review_it(self, prediction: Prediction) -> str:
        readings = format_html_join(
            "",
            '<li><a href="{}">{}</a></li>',
            (
                (
                    reverse("admin:predictions_review_change", args=[review.pk]),
                    f"{review.get_verdict_display()} {review.get_corrected_label_display()}",
                )
                for review in prediction.reviews.all()
            ),
        )
        if prediction.status != Status.SUCCEEDED:
            return format_html("<ul>{}</ul>", readings)
        add = f"{reverse('admin:predictions_review_add')}?prediction={prediction.pk}"
        return format_html('<ul>{}<li><a href="{}">Review this result</a></li></ul>', readings, add)

    @admin.display(description="pictures")
    def pictures(self, prediction: Prediction) -> str:
        layers: list[tuple[str, list[str]]] = [("The scan", [])]
        if prediction.outline_key:
            layers.append(("With the outline of the affected area", ["outline"]))
        if prediction.attention_key:
            layers.append(("With the attention map", ["attention"]))
        figures = format_html_join(
            "",
            '<figure class="scan-figure"><div class="scan-layers">{}</div>'
            "<figcaption>{}<br>Full size: {}</figcaption></figure>",
            (
                (self._stack(prediction, kinds, words), words, self._links(prediction, kinds))
                for words, kinds in layers
            ),
        )
        return format_html('<div class="scan-figures">{}</div>', figures)

    def _address(self, prediction: Prediction, kind: str) -> str:
        return reverse(
            "admin:predictions_prediction_picture",
            args=[prediction.pk, kind, suffix_of(prediction.picture_key(kind))],
        )

    def _stack(self, prediction: Prediction, kinds: list[str], words: str) -> str:
        """The scan with overlays on it; only the first picture speaks."""
        return format_html_join(
            "",
            '<img src="{}" width="{}" height="{}" alt="{}">',
            (
                (
                    self._address(prediction, kind),
                    prediction.scan.width,
                    prediction.scan.height,
                    "" if number else words,
                )
                for number, kind in enumerate(["image", *kinds])
            ),
        )

    def _links(self, prediction: Prediction, kinds: list[str]) -> str:
        """To the picture itself, pixel by pixel, and to what lies on it."""
        return format_html_join(
            ", ",
            '<a href="{}">{}</a>',
            (
                (self._address(prediction, kind), "scan" if kind == "image" else kind)
                for kind in ["image", *kinds]
            ),
        )

    def has_review_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("predictions.add_review")

    def has_run_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("predictions.add_prediction")

    @admin.action(description="Mark as reviewed: I agree", permissions=["review"])
    def mark_as_reviewed(self, request: HttpRequest, queryset: QuerySet[Prediction]) -> None:
        marked = skipped = 0
        for prediction in queryset:
            try:
                marked += mark_reviewed(prediction=prediction, reviewer=request.user)  # type: ignore[arg-type]  # staff
            except NothingToReviewError:
                skipped += 1
        said = f"{marked} result{pluralize(marked)} marked as reviewed."
        self.message_user(request, said, messages.SUCCESS)
        if skipped:
            self.message_user(request, f"{skipped} have no answer to review.", messages.WARNING)

    @admin.action(description="Run again with the network in production", permissions=["run"])
    def analyse_again(self, request: HttpRequest, queryset: QuerySet[Prediction]) -> None:
        awaited: set[UUID] = set()
        answered: set[UUID] = set()
        try:
            for prediction in queryset:
                # Deleted since the list was shown, perhaps.
                with suppress(Scan.DoesNotExist):
                    run = run_again(prediction=prediction)
                    (awaited if run.is_active else answered).add(run.scan_id)
        except NoModelError:
            self.message_user(request, "No network is in production.", messages.ERROR)
            return
        if awaited:
            said = f"{len(awaited)} scan{pluralize(awaited)} will have a new answer."
            self.message_user(request, said, messages.SUCCESS)
        if answered:
            said = (
                f"{len(answered)} scan{pluralize(answered, ' has,s have')} an answer of the "
                "network in production already."
            )
            self.message_user(request, said, messages.WARNING)
