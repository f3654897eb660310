"""Scans and predictions in any state, made by the services that make them in earnest."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

import numpy as np

from accounts.models import User
from mltasks.inference import Analysis
from predictions.models import ModelVersion, Prediction
from predictions.services.lifecycle import claim, complete, store_pictures
from predictions.services.submission import submit_scan
from tests.support.pictures import png


def make_user(email: str = "ada@example.org", **extra: Any) -> User:
    return User.objects.create_user(email=email, password="a long password", **extra)


def make_model(
    version: str = "1", *, stage: str = ModelVersion.Stage.PRODUCTION, **extra: Any
) -> ModelVersion:
    return ModelVersion.objects.create(
        name="tumorsite", version=version, digest=uuid4().hex * 2, stage=stage, **extra
    )


def submit(
    *,
    name: str = "slice.png",
    content: bytes | None = None,
    owner: User | None = None,
    visitor: UUID | None = None,
    seed: int = 0,
) -> Prediction:
    """A queued prediction, as an upload makes it."""
    if owner is None and visitor is None:
        visitor = uuid4()
    return submit_scan(
        file=io.BytesIO(content or png(seed=seed)), name=name, owner=owner, visitor=visitor
    )


def start(prediction: Prediction, *, task: str = "task-1", limit: int = 1) -> Prediction:
    """The prediction as the worker that has claimed it holds it."""
    rows = claim(
        prediction_id=str(prediction.pk),
        model_version=prediction.model_version,
        task_id=task,
        limit=limit,
    )
    assert rows, "nothing to claim"
    return rows[0]


def analysis(
    *, width: int = 40, height: int = 30, label: str = "glioma", share: float = 0.9, **changes: Any
) -> Analysis:
    """An answer that a network might give."""
    others = [name for name in ("glioma", "meningioma", "no_tumor", "pituitary") if name != label]
    area = np.zeros((height, width), np.bool_)
    if label != "no_tumor":
        area[5:15, 10:20] = True
    inner, outer = area.copy(), area.copy()
    if label != "no_tumor":
        inner[5:7], outer[4:16, 9:21] = False, True
    attention = np.zeros((height, width), np.uint8)
    attention[8:12, 12:18] = 255
    values: dict[str, Any] = {
        "status": "ok",
        "reason": "",
        "label": label,
        "probabilities": {label: share, **dict.fromkeys(others, (1 - share) / 3)},
        "brain_score": 0.97,
        "uncertainty": 0.3,
        "area": area,
        "attention": attention,
        "area_fraction": float(area.mean()),
        "bounding_box": (10, 5, 20, 15) if label != "no_tumor" else None,
        "hottest_point": (12, 8),
        "prediction_set": (label,),
        "flagged": False,
        "committed": True,
        "unlikeness": 0.03,
        "inner": inner,
        "outer": outer,
    }
    return Analysis(**{**values, **changes})


def rejection() -> Analysis:
    """An answer to a picture that is no brain MRI."""
    answer = analysis()
    return replace(answer, status="rejected", reason="This is not a brain.", label=None)


def conclude(running: Prediction, answer: Analysis | None = None) -> bool:
    """Finish a claimed prediction as its worker does, and say whether its answer counts."""
    scan = running.scan
    answer = answer or analysis(width=scan.width, height=scan.height)
    keys = store_pictures(prediction=running, analysis=answer)
    return complete(prediction=running, analysis=answer, keys=keys)


def finish(prediction: Prediction, **changes: Any) -> Prediction:
    """The prediction with an answer."""
    running = start(prediction)
    scan = running.scan
    assert conclude(running, analysis(width=scan.width, height=scan.height, **changes))
    return Prediction.objects.select_related("scan", "model_version").get(pk=prediction.pk)
