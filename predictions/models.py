"""The records: what was uploaded, what each model version answered, and who looked."""

from __future__ import annotations

from typing import ClassVar

from django.conf import settings
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import Q
from django.urls import reverse

from predictions.ids import uuid7


class Label(models.TextChoices):
    """The four classes of the network."""

    GLIOMA = "glioma", "Glioma"
    MENINGIOMA = "meningioma", "Meningioma"
    NO_TUMOR = "no_tumor", "No tumour"
    PITUITARY = "pituitary", "Pituitary tumour"


class Status(models.TextChoices):
    QUEUED = "queued", "Waiting"
    RUNNING = "running", "Being analysed"
    SUCCEEDED = "succeeded", "Done"
    FAILED = "failed", "Failed"
    REJECTED = "rejected", "Not a brain MRI"
    CANCELLED = "cancelled", "Cancelled"


class Doubt(models.TextChoices):
    """What lists say instead of “done” of an answer not to be relied on."""

    UNSURE = "unsure", "Unsure"
    UNRELIABLE = "unreliable", "Unreliable"


# The one table of transitions; `predictions.services.lifecycle` is its only user.
TRANSITIONS: dict[Status, frozenset[Status]] = {
    Status.QUEUED: frozenset({Status.RUNNING, Status.CANCELLED, Status.FAILED}),
    Status.RUNNING: frozenset(
        {Status.SUCCEEDED, Status.FAILED, Status.REJECTED, Status.CANCELLED, Status.QUEUED}
    ),
    Status.SUCCEEDED: frozenset(),
    Status.FAILED: frozenset(),
    Status.REJECTED: frozenset(),
    Status.CANCELLED: frozenset(),
}

ACTIVE = (Status.QUEUED, Status.RUNNING)
# Ended without a result: such a run does not stand in the way of another with the same model.
WITHOUT_RESULT = (Status.FAILED, Status.CANCELLED)

# The pictures of a scan and of an answer; the field of each, with the object's key, is `…_key`.
SCAN_PICTURES = ("image", "thumbnail")
RESULT_PICTURES = ("area", "outline", "attention", "contours")


class ModelVersion(models.Model):
    """One network that this site knows, with its files in the object store.

    `predictions.services.registry` and `predictions.services.gate` are its only writers.
    Columns that were added later have a default in the database, so that code from before them
    can still write rows.
    """

    class Stage(models.TextChoices):
        CANDIDATE = "candidate", "Candidate"
        PRODUCTION = "production", "In production"
        RETIRED = "retired", "Retired"

    name = models.CharField(max_length=60)
    version = models.CharField(max_length=30)
    digest = models.CharField("SHA-256 of the weights", max_length=64, db_index=True)
    artifact = models.CharField("digest of all its files", max_length=64, default="", db_default="")
    stage = models.CharField(max_length=10, choices=Stage, default=Stage.CANDIDATE)
    card = models.JSONField("metrics and model card", default=dict)
    gate = models.JSONField("verdict of the gate", null=True, blank=True)
    created_at = models.DateTimeField("registered", auto_now_add=True)
    promoted_at = models.DateTimeField("last put into production", null=True, blank=True)
    promoted_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True, related_name="+"
    )
    note = models.TextField("why", blank=True, default="", db_default="")
    # Also answers what production has answered; nobody but staff sees what it says.
    shadow = models.BooleanField("runs in the shadow", default=False, db_default=False)
    # Where a rollback goes.
    replaced = models.ForeignKey(
        "self", models.SET_NULL, null=True, blank=True, related_name="+", verbose_name="replaced"
    )

    class Meta:
        ordering: ClassVar[list[str]] = ["-created_at"]
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(
                fields=["stage"],
                condition=Q(stage="production"),
                name="one_model_in_production",
                violation_error_message="Another model is in production: retire it first.",
            ),
            models.UniqueConstraint(
                fields=["shadow"], condition=Q(shadow=True), name="one_model_in_the_shadow"
            ),
            models.UniqueConstraint(
                fields=["artifact"], condition=~Q(artifact=""), name="one_row_per_artifact"
            ),
        ]
        permissions = (
            ("release_modelversion", "Can put networks into production and take them out"),
        )

    def __str__(self) -> str:
        return f"{self.name} {self.version}"

    def figures(self) -> tuple[float | None, float | None]:
        """Accuracy and median Dice, as its card states them; None where it does not."""
        stated = (self.card.get("metrics") or {}).get("validation") or {}
        return (
            stated.get("accuracy", {}).get("value"),
            stated.get("dice", {}).get("median", {}).get("value"),
        )

    def gate_words(self) -> str:
        """What the gate has said of it."""
        if self.gate is None:
            return "not compared"
        verdict = "passed" if self.gate["passed"] else "refused"
        return f"{verdict} against {self.gate['against']}"


class ModelEvent(models.Model):
    """What happened to a network, when, by whom and why. Never changed."""

    class Kind(models.TextChoices):
        REGISTERED = "registered", "Registered"
        PASSED = "passed", "Passed the gate"
        REFUSED = "refused", "Refused by the gate"
        BUNDLED = "bundled", "Put into production with the code it came with"
        PROMOTED = "promoted", "Put into production"
        OVERRIDDEN = "overridden", "Put into production against the gate"
        ROLLED_BACK = "rolled_back", "Put back into production"
        RETIRED = "retired", "Taken out of production"
        NOT_LOADED = "not_loaded", "A worker could not load it"
        SHADOWED = "shadowed", "Runs in the shadow of production"
        UNSHADOWED = "unshadowed", "Runs in the shadow no more"

    version = models.ForeignKey(ModelVersion, models.CASCADE, related_name="events")
    at = models.DateTimeField(auto_now_add=True)
    kind = models.CharField(max_length=12, choices=Kind)
    by = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="+")
    # Who it was if it was no user of the site: somebody at a shell, or the start of the site.
    actor = models.CharField(max_length=100, blank=True, default="")
    note = models.TextField(blank=True, default="")

    class Meta:
        ordering: ClassVar[list[str]] = ["-id"]

    def __str__(self) -> str:
        return f"{self.get_kind_display()}, {self.at:%Y-%m-%d %H:%M}"


class Scan(models.Model):
    """One uploaded picture, decoded, stripped of everything but its pixels, and stored once.

    It belongs to a user, or to the browser session of a visitor without an account.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.PROTECT, null=True, blank=True, related_name="scans"
    )
    visitor = models.UUIDField("visitor's session", null=True, blank=True)
    name = models.CharField("name shown to its owner", max_length=120, blank=True)
    sha256 = models.CharField("SHA-256 of the pixels", max_length=64)
    modality = models.CharField(max_length=16, default="MR")
    width = models.PositiveIntegerField()
    height = models.PositiveIntegerField()
    image_key = models.CharField(max_length=200)
    thumbnail_key = models.CharField(max_length=200)
    facts = models.JSONField("facts kept of the upload", default=dict)
    created_at = models.DateTimeField("uploaded", auto_now_add=True)
    # Set first: nobody sees the scan any more while its objects and then its row are removed.
    deleted_at = models.DateTimeField("deletion asked for", null=True, blank=True)

    class Meta:
        ordering: ClassVar[list[str]] = ["-id"]
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.CheckConstraint(
                condition=Q(owner__isnull=False, visitor__isnull=True)
                | Q(owner__isnull=True, visitor__isnull=False),
                name="scan_has_one_owner",
            ),
        ]
        indexes: ClassVar[list[models.Index]] = [
            models.Index(
                fields=["owner", "-id"], name="scan_owner", condition=Q(deleted_at__isnull=True)
            ),
            models.Index(
                fields=["visitor", "-id"], name="scan_visitor", condition=Q(deleted_at__isnull=True)
            ),
            models.Index(
                fields=["deleted_at"], name="scan_deleted", condition=Q(deleted_at__isnull=False)
            ),
        ]

    def __str__(self) -> str:
        return f"Scan {self.id}"

    @property
    def prefix(self) -> str:
        """The folder in object storage that holds everything of this scan."""
        return f"scans/{self.pk}/"


class Prediction(models.Model):
    """One run of one model version on one scan. Once finished it never changes."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    scan = models.ForeignKey(Scan, models.CASCADE, related_name="predictions")
    # Nearly all rows share one model: an index on it would only mislead the planner.
    model_version = models.ForeignKey(
        ModelVersion, models.PROTECT, related_name="predictions", db_index=False
    )

    status = models.CharField(max_length=10, choices=Status, default=Status.QUEUED)
    attempt = models.PositiveIntegerField(default=0)
    # Attempts lost to an outage of storage or database, which are not the scan's fault.
    outages = models.PositiveIntegerField(default=0)
    # The task that runs it: by this a redelivered message finds the rows of its dead worker.
    claimed_by = models.CharField(max_length=64, blank=True, default="")
    queued_at = models.DateTimeField(auto_now_add=True)
    not_before = models.DateTimeField("waits until", null=True, blank=True)
    started_at = models.DateTimeField(null=True, blank=True)
    # When it was last claimed. No task outlives the hard limit, so one beat is enough.
    heartbeat_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)

    label = models.CharField(max_length=10, choices=Label, blank=True, default="")
    probabilities = models.JSONField(default=dict, blank=True)
    prediction_set = models.JSONField(
        "labels among which the true one is with 95%", default=list, blank=True
    )
    uncertainty = models.FloatField(
        "uncertainty (0–1)",
        null=True,
        blank=True,
        validators=[MinValueValidator(0), MaxValueValidator(1)],
    )
    ood_score = models.FloatField("unlikeness to what it learnt from (0–1)", null=True, blank=True)
    # Answered with the warning not to rely on it. Workers of an older release do not know these
    # four, so the database has defaults of its own.
    flagged = models.BooleanField("unlike what it learnt from", default=False, db_default=False)
    committed = models.BooleanField("stands by its answer", null=True, blank=True)
    area_key = models.CharField(max_length=200, blank=True, default="")
    outline_key = models.CharField(max_length=200, blank=True, default="")
    attention_key = models.CharField(max_length=200, blank=True, default="")
    contours_key = models.CharField(max_length=200, blank=True, default="", db_default="")
    area_range = models.JSONField("share within inner and outer contour", null=True, blank=True)
    area_fraction = models.FloatField("share of the picture", null=True, blank=True)
    bounding_box = models.JSONField("left, top, right, bottom", null=True, blank=True)
    hottest_point = models.JSONField("x, y of most attention", null=True, blank=True)
    error_code = models.CharField(max_length=30, blank=True, default="")
    message = models.CharField("message to the user", max_length=300, blank=True, default="")

    class Meta:
        ordering: ClassVar[list[str]] = ["-id"]
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(
                fields=["scan", "model_version"],
                condition=~Q(status__in=WITHOUT_RESULT),
                name="one_answer_per_scan_and_model",
            ),
            models.CheckConstraint(
                condition=Q(status__in=Status.values), name="prediction_status_known"
            ),
            models.CheckConstraint(
                condition=~Q(status=Status.SUCCEEDED)
                | (Q(label__in=Label.values) & ~Q(attention_key="") & Q(finished_at__isnull=False)),
                name="success_has_a_result",
            ),
        ]
        indexes: ClassVar[list[models.Index]] = [
            # Not a partial one: SQLite does not use those for conditions with parameters.
            models.Index(fields=["status", "id"], name="prediction_status"),
        ]

    def __str__(self) -> str:
        return f"Prediction {self.id}"

    def get_absolute_url(self) -> str:
        return reverse("result", args=[self.pk])

    def picture_key(self, kind: str) -> str:
        """The object of a kind of picture; "" if there is none, or no such kind."""
        if kind in SCAN_PICTURES:
            return str(getattr(self.scan, f"{kind}_key"))
        return str(getattr(self, f"{kind}_key")) if kind in RESULT_PICTURES else ""

    @property
    def is_active(self) -> bool:
        return self.status in ACTIVE

    @property
    def short_answer(self) -> str:
        """The answer in a word, preceded by its doubt if there is one; "" without an answer."""
        label = self.get_label_display()
        return f"{self.doubt.capitalize()}: {label.lower()}" if label and self.doubt else label

    @property
    def doubt(self) -> str:
        """A `Doubt`, or "" where the network stands by its answer or has none."""
        if not self.label:
            return ""
        if self.flagged:
            return Doubt.UNRELIABLE.value
        return Doubt.UNSURE.value if self.committed is False else ""

    @property
    def display_status(self) -> str:
        """Its status, or the doubt of its answer, which “done” would hide."""
        return self.doubt or self.status

    @property
    def display_status_words(self) -> str:
        return self.doubt.capitalize() or self.get_status_display()


class Review(models.Model):
    """A staff member's reading of one prediction."""

    class Verdict(models.TextChoices):
        AGREES = "agrees", "Agrees"
        CORRECTS = "corrects", "Corrects"

    prediction = models.ForeignKey(Prediction, models.CASCADE, related_name="reviews")
    reviewer = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="reviews"
    )
    verdict = models.CharField(max_length=10, choices=Verdict, default=Verdict.AGREES)
    corrected_label = models.CharField(max_length=10, choices=Label, blank=True, default="")
    corrected_box = models.JSONField(
        "corrected area: left, top, right, bottom", null=True, blank=True
    )
    comment = models.TextField(max_length=2000, blank=True, default="")
    created_at = models.DateTimeField("reviewed", auto_now_add=True)

    class Meta:
        ordering: ClassVar[list[str]] = ["-created_at"]
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(
                fields=["prediction", "reviewer"], name="one_review_per_reviewer"
            ),
            models.CheckConstraint(
                condition=Q(verdict="agrees", corrected_label="")
                | Q(verdict="corrects") & ~Q(corrected_label=""),
                name="correction_names_a_label",
                violation_error_message="A correction needs the right label; agreement has none.",
            ),
        ]

    def __str__(self) -> str:
        # The admin's log keeps it when scan and review are gone: no finding, no date.
        return f"Review of {self.prediction_id}"


class Access(models.Model):
    """The audit row of one picture or report handed out. It names records, not people's data."""

    class Kind(models.TextChoices):
        IMAGE = "image", "Scan"
        THUMBNAIL = "thumbnail", "Small picture"
        AREA = "area", "Affected area"
        OUTLINE = "outline", "Its outline"
        CONTOURS = "contours", "Its contours"
        ATTENTION = "attention", "Attention map"
        REPORT = "report", "Report"
        EXPORT = "export", "All pictures, in an export"

    at = models.DateTimeField(auto_now_add=True, db_index=True)
    scan_id = models.UUIDField(db_index=True)
    prediction_id = models.UUIDField(null=True)
    kind = models.CharField(max_length=20, choices=Kind)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="+")
    visitor = models.UUIDField(null=True)

    class Meta:
        ordering: ClassVar[list[str]] = ["-id"]
        verbose_name_plural = "who opened what"
        indexes: ClassVar[list[models.Index]] = [
            models.Index(fields=["prediction_id"], name="access_prediction"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} of {self.scan_id}"


class ShadowAnswer(models.Model):
    """What a candidate says of a scan that production has answered. For staff only.

    It has no objects of its own, so it goes with its prediction when the scan is deleted.
    """

    class Outcome(models.TextChoices):
        ANSWERED = "answered", "Answered"
        REJECTED = "rejected", "Not a brain MRI"
        FAILED = "failed", "Could not be run"

    prediction = models.ForeignKey(Prediction, models.CASCADE, related_name="shadows")
    model_version = models.ForeignKey(ModelVersion, models.CASCADE, related_name="shadow_answers")
    at = models.DateTimeField(auto_now_add=True)
    outcome = models.CharField(max_length=10, choices=Outcome)
    label = models.CharField(max_length=10, choices=Label, blank=True, default="")
    probabilities = models.JSONField(default=dict, blank=True)
    uncertainty = models.FloatField(null=True, blank=True)
    flagged = models.BooleanField(default=False)
    committed = models.BooleanField(default=False)
    # Overlap with the area that production has drawn; None where neither has drawn any.
    area_iou = models.FloatField("intersection over union of the areas", null=True, blank=True)
    seconds = models.FloatField("seconds of its pass", null=True, blank=True)

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(
                fields=["prediction", "model_version"], name="one_shadow_per_answer"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.model_version_id} in the shadow of {self.prediction_id}"


class DriftRecord(models.Model):
    """How unlike its reference the answers of a network were, and of how many. Names no record."""

    model_version = models.ForeignKey(ModelVersion, models.CASCADE, related_name="drift")
    at = models.DateTimeField(auto_now_add=True, db_index=True)
    n = models.PositiveIntegerField("answers compared")
    score = models.FloatField("drift: 0 like the reference, from 1 an alarm")
    parts = models.JSONField("by what was compared", default=list)
    # From the first score of 1 or more until one well below it: people are told once.
    alarm = models.BooleanField(default=False)

    class Meta:
        ordering: ClassVar[list[str]] = ["-id"]

    def __str__(self) -> str:
        return f"{self.score:.2f} at {self.at:%Y-%m-%d %H:%M}"
