"""The whole queue, from stored scans to recorded answers and stored pictures."""

from __future__ import annotations

import hashlib
import json
import time
from datetime import datetime

import numpy as np
from django.db.models import Max

from benchmarks.site import Visitor
from mltasks.images import encode_png
from predictions import storage
from predictions.models import ACTIVE, Prediction, Scan, Status
from predictions.owners import Owner
from predictions.rendering import thumbnail_png
from predictions.services.registry import production_model
from predictions.tasks import analyze_prediction

TIMEOUT = 300


def fill(images: list[np.ndarray], owner: Owner) -> list[Prediction]:
    """Store scans with queued predictions, whose messages are not sent yet."""
    model = production_model()
    rows = []
    for image in images:
        scan = Scan(
            visitor=owner.visitor,
            name="benchmark",
            sha256=hashlib.sha256(image.tobytes()).hexdigest(),
            width=image.shape[1],
            height=image.shape[0],
        )
        scan.image_key = f"{scan.prefix}image.png"
        scan.thumbnail_key = f"{scan.prefix}thumbnail.png"
        storage.put(scan.image_key, encode_png(image))
        storage.put(scan.thumbnail_key, thumbnail_png(image))
        scan.save(force_insert=True)
        rows.append(Prediction.objects.create(scan=scan, model_version=model))
    return rows


def queue_rate(rows: list[Prediction]) -> tuple[float, dict[str, int]]:
    """Images a second from the first message to the last recorded answer, and how they ended."""
    ids = [row.pk for row in rows]
    start = time.time()
    for pk in ids:
        analyze_prediction.delay(str(pk))
    mine = Prediction.objects.filter(pk__in=ids)
    while mine.filter(status__in=ACTIVE).exists():
        if time.time() - start > TIMEOUT:
            raise RuntimeError("the queue did not come to an end")
        time.sleep(0.2)
    last: datetime = mine.aggregate(last=Max("finished_at"))["last"]
    ends = {status: mine.filter(status=status).count() for status in Status.values}
    return len(ids) / (last.timestamp() - start), {key: n for key, n in ends.items() if n}


def upload_to_result(port: int, images: list[np.ndarray]) -> list[float]:
    """Seconds from sending a picture to reading its finished state, one at a time."""
    visitor = Visitor(port)
    visitor.get("/")
    times = []
    for image in images:
        content = encode_png(image)
        start = time.perf_counter()
        result = visitor.upload("scan.png", content)
        while not json.loads(visitor.get(result["state_url"]))["finished"]:
            time.sleep(0.01)
        times.append(time.perf_counter() - start)
    return times
