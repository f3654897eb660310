"""Staff's readings in the admin: each writes and changes their own."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import ValidationError
from django.db import IntegrityError
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.formats import date_format

from predictions.admin.common import (
    CappedPaginator,
    RecordAdmin,
    found,
    may_see_people,
    thumbnail,
    unreviewed,
)
from predictions.models import Prediction, Review, Status
from predictions.services.reviewing import (
    next_to_review,
    save_review,
    take_up,
    withdraw_reviews,
)

if TYPE_CHECKING:
    ReviewFormBase = forms.ModelForm[Review]
else:
    ReviewFormBase = forms.ModelForm


FOUR_NUMBERS = "Give four whole numbers, as 102, 80, 164, 131."


class BoxField(forms.JSONField):
    """Four numbers, with or without brackets; nothing is no box."""

    default_error_messages: ClassVar = {"invalid": FOUR_NUMBERS}

    def prepare_value(self, value: Any) -> Any:
        return "" if value is None else super().prepare_value(value)

    def to_python(self, value: Any) -> Any:
        if isinstance(value, str) and value.strip() and not value.strip().startswith("["):
            value = f"[{value}]"
        return super().to_python(value)


class ReviewForm(ReviewFormBase):
    """A reading of one result.

    Attributes:
        reviewer: whose reading it is; set by the admin for each request.
    """

    reviewer: Any = None

    class Meta:
        model = Review
        fields = ("prediction", "verdict", "corrected_label", "corrected_box", "comment")
        field_classes = {"corrected_box": BoxField}
        help_texts = {
            "corrected_label": "What it is. Only for a correction.",
            "corrected_box": "Where it is: left, top, right, bottom in pixels of the scan, counted "
            "from its upper left corner, as “102, 80, 164, 131”. May be empty.",
        }
        widgets = {
            "corrected_box": forms.TextInput(attrs={"size": 40}),
            "comment": forms.Textarea(attrs={"rows": 4}),
        }

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        if "verdict" in self.fields:
            # As the one who reads says it.
            self.fields["verdict"].choices = [  # type: ignore[attr-defined]  # of a choice
                (Review.Verdict.AGREES, "I agree"),
                (Review.Verdict.CORRECTS, "I correct it"),
            ]
        if not self.instance.pk:
            # The row's default is for `mark_reviewed`; here a verdict is what somebody chose.
            self.fields["verdict"].initial = None

    def clean_prediction(self) -> Prediction:
        prediction: Prediction = self.cleaned_data["prediction"]
        if prediction.status != Status.SUCCEEDED or prediction.scan.deleted_at:
            raise ValidationError("This prediction has no answer to review.")
        if Review.objects.filter(prediction=prediction, reviewer=self.reviewer).exists():
            raise ValidationError("You have reviewed this result. Change that review instead.")
        return prediction

    def _prediction(self) -> Prediction | None:
        return self.cleaned_data.get("prediction") or (
            self.instance.prediction if self.instance.pk else None
        )

    def clean_corrected_box(self) -> list[int] | None:
        box = self.cleaned_data["corrected_box"]
        prediction = self._prediction()
        if box is None or prediction is None:
            return None
        if not (
            isinstance(box, list)
            and len(box) == 4
            and all(isinstance(edge, int) and not isinstance(edge, bool) for edge in box)
        ):
            raise ValidationError(FOUR_NUMBERS)
        left, top, right, bottom = box
        scan = prediction.scan
        if not (0 <= left < right <= scan.width and 0 <= top < bottom <= scan.height):
            raise ValidationError(
                f"The box must lie in the picture, which is {scan.width} × {scan.height} pixels."
            )
        return box

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        prediction = self._prediction()
        if "verdict" not in cleaned:
            return cleaned
        agrees = cleaned["verdict"] == Review.Verdict.AGREES
        label, box = cleaned.get("corrected_label"), cleaned.get("corrected_box")
        if agrees and (label or box):
            raise ValidationError(
                "Agreement needs no correction: choose “I correct it”, or clear it."
            )
        given = box or "corrected_box" in self.errors
        if prediction and not agrees and label == prediction.label and not given:
            raise ValidationError("That is what the network says: correct the label or the area.")
        return cleaned


def _subject(admin_: RecordAdmin, request: HttpRequest, review_id: str | None) -> dict[str, Any]:
    """Pictures, finding and size of the result that a reading is about; empty if not known."""
    shown = admin_.admin_site.get_model_admin(Prediction)
    results = shown.get_queryset(request).select_related("scan")
    try:
        if review_id:
            result = results.get(reviews__pk=review_id)
        else:
            result = results.get(pk=request.POST.get("prediction") or request.GET["prediction"])
    except (Prediction.DoesNotExist, KeyError, ValueError, ValidationError):
        return {}
    return {"result": result, "pictures": shown.pictures(result)}  # type: ignore[attr-defined]  # our own


@admin.register(Review)
class ReviewAdmin(RecordAdmin):
    form = ReviewForm
    list_display_links = ("about",)
    list_filter = ("created_at", "verdict", "corrected_label")
    list_select_related = ("prediction", "reviewer")
    search_fields = ("prediction__id",)
    search_help_text = (
        "Id of the result or of its scan, or the owner's address. "
        "File names are not searched: they are their owners' alone."
    )
    raw_id_fields = ("prediction",)
    radio_fields: ClassVar = {"verdict": admin.VERTICAL}
    change_form_template = "admin/predictions/review/form.html"
    change_list_template = "admin/predictions/review/list.html"

    def get_list_display(self, request: HttpRequest) -> list[Any]:
        reviewer = "reviewer" if may_see_people(request) else "own"
        return [
            "picture", "about", "verdict", "corrected_label", reviewer, "created_at",
        ]  # fmt: skip

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Review], search_term: str
    ) -> tuple[QuerySet[Review], bool]:
        if search_term:
            queryset = found(
                request,
                queryset,
                search_term,
                ids=["prediction", "prediction__scan"],
                scan="prediction__scan__",
            )
        return queryset, False

    def get_fields(self, request: HttpRequest, obj: Any = None) -> list[Any]:
        fields = ["prediction", "verdict", "corrected_label", "corrected_box", "comment"]
        return ["picture", "network_says", *fields, "created_at"] if obj else fields

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[Any]:
        return ["picture", "network_says", "prediction", "created_at"] if obj else []

    def get_form(
        self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any
    ) -> Any:
        form = super().get_form(request, obj, change=change, **kwargs)
        # The class is made for this request alone.
        form.reviewer = request.user  # type: ignore[attr-defined]  # ours
        if obj is None and "prediction" in request.GET:
            # Which result it is about was decided on the page before.
            form.base_fields["prediction"].widget = forms.HiddenInput()
        return form

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """The form, below what it is about."""
        subject = _subject(self, request, object_id)
        # Saving leads on by itself.
        context = {**(extra_context or {}), "subject": subject, "show_save_and_add_another": False}
        if object_id is None:
            context["title"] = "Review a result"
            if subject and request.method == "GET":
                own = subject["result"].reviews.filter(reviewer=request.user).first()
                if own:
                    return redirect("admin:predictions_review_change", own.pk)
                take_up(prediction=subject["result"], reviewer=request.user)  # type: ignore[arg-type]  # staff
        try:
            return super().changeform_view(request, object_id, form_url, context)
        except IntegrityError:
            # The same form twice at once, as by a double click: both had found no review.
            self.message_user(request, "Your review of this result stands.", messages.WARNING)
            return redirect("admin:predictions_review_changelist")

    def response_add(
        self, request: HttpRequest, obj: Review, post_url_continue: str | None = None
    ) -> HttpResponse:
        """On to the next result that nobody has reviewed: the next older one, if there is one."""
        if "_continue" in request.POST:
            return super().response_add(request, obj, post_url_continue)
        # Ids are in the order of time.
        rows = unreviewed(Prediction.objects.filter(scan__deleted_at__isnull=True)).order_by("-pk")
        left = CappedPaginator(rows, 1).count
        offer = partial(next_to_review, reviewer=request.user)  # type: ignore[arg-type]  # staff
        following = offer(rows=rows.filter(pk__lt=obj.prediction_id)) or offer(rows=rows)
        more = "+" if left == CappedPaginator.MOST else ""
        said = f"Saved. {left}{more} left." if left else "Saved. No result is left to review."
        self.message_user(request, said, messages.SUCCESS)
        if following is None:
            return redirect("admin:predictions_prediction_changelist")
        add = reverse("admin:predictions_review_add")
        return redirect(f"{add}?prediction={following}")

    @admin.display(description="picture")
    def picture(self, review: Review) -> str:
        return thumbnail(review.prediction_id)

    @admin.display(description="result")
    def about(self, review: Review) -> str:
        told = review.prediction
        return f"{told.short_answer}, analysed {date_format(told.queued_at)}"

    @admin.display(description="the network says")
    def network_says(self, review: Review) -> str:
        return review.prediction.short_answer

    @admin.display(description="reviewer")
    def own(self, review: Review) -> str:
        return "a reviewer" if review.reviewer_id else "–"

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm("predictions.add_review")

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        own = obj is None or obj.reviewer_id == request.user.pk
        return own and request.user.has_perm("predictions.change_review")

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        own = obj is None or obj.reviewer_id == request.user.pk
        return own and request.user.has_perm("predictions.delete_review")

    def save_model(self, request: HttpRequest, obj: Review, form: Any, change: bool) -> None:
        save_review(review=obj, reviewer=request.user)  # type: ignore[arg-type]  # staff are users

    def delete_model(self, request: HttpRequest, obj: Review) -> None:
        withdraw_reviews(reviews=Review.objects.filter(pk=obj.pk))

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Review]) -> None:
        withdraw_reviews(reviews=queryset)
