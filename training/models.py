"""Training runs: what was asked for, where each stands, what came of it."""

from __future__ import annotations

from typing import ClassVar

from django.conf import settings
from django.db import models
from django.db.models import Q

from predictions.ids import uuid7


class TrainingRun(models.Model):
    """One run of one recipe. Its row is the truth; a worker that dies is followed by another."""

    class Status(models.TextChoices):
        QUEUED = "queued", "Waiting"
        RUNNING = "running", "Training"
        SUCCEEDED = "succeeded", "Done"
        FAILED = "failed", "Failed"
        CANCELLED = "cancelled", "Cancelled"

    ACTIVE: ClassVar[tuple[str, ...]] = (Status.QUEUED, Status.RUNNING)

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    recipe = models.CharField(max_length=60)
    # As it was when the run was asked for: the file may change, the run may not.
    recipe_text = models.TextField("recipe as TOML")
    started_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True, related_name="+"
    )
    # SHA-256 of the recipe and, if other code calls for another training, of the code.
    recipe_digest = models.CharField(
        "digest of recipe and code", max_length=64, blank=True, default="", db_default=""
    )
    # Empty while the data is a folder of the training worker's own.
    dataset = models.CharField(
        "digest of the data set", max_length=64, blank=True, default="", db_default=""
    )
    automatic = models.BooleanField("started by itself", default=False, db_default=False)
    status = models.CharField(max_length=10, choices=Status, default=Status.QUEUED)
    # Only ever goes up: who holds the run knows it by this number.
    attempt = models.PositiveIntegerField(default=0)
    # Workers that fell silent over it; one that gave it back has done nothing wrong.
    deaths = models.PositiveIntegerField("workers that died", default=0, db_default=0)
    claimed_by = models.CharField(max_length=64, blank=True, default="")
    queued_at = models.DateTimeField(auto_now_add=True)
    started_at = models.DateTimeField(null=True, blank=True)
    heartbeat_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)
    # Of the whole run, 0 to 1, and the sentence that goes with it.
    share = models.FloatField(default=0.0)
    progress = models.CharField(max_length=200, blank=True, default="")
    seconds_left = models.FloatField(null=True, blank=True)
    history = models.JSONField("figures by epoch", default=list, blank=True)
    # Drawn by the worker: the web process has nothing to draw with.
    curves = models.TextField("curves as SVG", blank=True, default="")
    metrics = models.JSONField("figures on the held-out fold", default=dict, blank=True)
    digest = models.CharField("SHA-256 of the weights", max_length=64, blank=True, default="")
    candidate = models.ForeignKey(
        "predictions.ModelVersion", models.SET_NULL, null=True, blank=True, related_name="+"
    )
    message = models.CharField(max_length=500, blank=True, default="")

    class Meta:
        ordering: ClassVar[list[str]] = ["-id"]
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.CheckConstraint(
                condition=~Q(status="succeeded") | ~Q(digest=""), name="trained_run_has_a_network"
            ),
            # However many look, and whatever dies, the same data and recipe start one run.
            models.UniqueConstraint(
                fields=["dataset", "recipe_digest"],
                condition=Q(automatic=True),
                name="one_run_by_itself",
            ),
        ]
        indexes: ClassVar[list[models.Index]] = [
            models.Index(fields=["status", "id"], name="training_status"),
        ]

    def __str__(self) -> str:
        return f"{self.recipe} of {self.queued_at:%Y-%m-%d %H:%M}"
