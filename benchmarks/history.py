"""The history page of someone with few scans and of someone with a million."""

from __future__ import annotations

import threading
import time
from uuid import UUID, uuid4

from django.contrib.sessions.backends.db import SessionStore
from django.db import connection
from django.test import RequestFactory
from django.test.utils import CaptureQueriesContext

from benchmarks.site import Visitor
from predictions.selectors import Filters, history_page
from predictions.services.models import production_model
from predictions.visitors import SESSION_KEY, Owner

_SCANS = """
INSERT INTO predictions_scan (id, owner_id, visitor, name, sha256, modality, width, height,
                              image_key, thumbnail_key, facts, created_at, deleted_at)
WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < %s)
SELECT printf('%%012x70008000%%012x', 1600000000000 + i, i), NULL, %s, 'scan ' || i, '', 'MR',
       256, 256, 'scans/x/image.png', 'scans/x/thumbnail.png', '{}', '2026-01-01 00:00:00', NULL
FROM n
"""
_PREDICTIONS = """
INSERT INTO predictions_prediction (id, scan_id, model_version_id, status, attempt, outages,
    claimed_by, queued_at, finished_at, label, probabilities, prediction_set, uncertainty,
    area_key, outline_key, attention_key, area_fraction, error_code, message)
SELECT id, id, %s, 'succeeded', 1, 0, '', created_at, created_at, 'glioma', '{"glioma": 1.0}',
       '["glioma"]', 0.1, '', '', 'k', 0.1, '', ''
FROM predictions_scan WHERE visitor = %s
"""


def visitor_with(scans: int) -> tuple[UUID, str]:
    """A visitor with so many answered scans: id and session key. SQLite only."""
    visitor = uuid4()
    with connection.cursor() as cursor:
        # Ids of different visitors must differ: the rows of each start after the last ones.
        cursor.execute("SELECT count(*) FROM predictions_scan")
        taken = cursor.fetchone()[0]
        cursor.execute(
            _SCANS.replace("SELECT 0 UNION", f"SELECT {int(taken)} UNION"),
            [taken + scans - 1, visitor.hex],
        )
        cursor.execute(_PREDICTIONS, [production_model().pk, visitor.hex])
        cursor.execute("ANALYZE")
    session = SessionStore()
    session[SESSION_KEY] = str(visitor)
    session.create()
    return visitor, str(session.session_key)


def queries(visitor: UUID) -> int:
    """Database queries of one page of the history."""
    request = RequestFactory().get("/")
    with CaptureQueriesContext(
        connection,
    ) as seen:
        history_page(Owner(visitor=visitor), Filters.from_query(request.GET))
    return len(seen)


def load(
    port: int, session: str, *, threads: int = 4, seconds: float = 6.0
) -> tuple[float, list[float]]:
    """Requests a second of the history page, and the seconds each one took."""
    times: list[float] = []
    end = time.perf_counter() + seconds

    def visit() -> None:
        visitor = Visitor(port, session)
        while (start := time.perf_counter()) < end:
            visitor.get("/scans/")
            times.append(time.perf_counter() - start)

    crowd = [threading.Thread(target=visit) for _ in range(threads)]
    for thread in crowd:
        thread.start()
    for thread in crowd:
        thread.join()
    return len(times) / seconds, times
