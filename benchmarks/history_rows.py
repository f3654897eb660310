"""Fills the site of DATA_DIR with one visitor's scans: python -m benchmarks.history_rows SCANS

Prints the visitor's session and how many queries a page of the history takes, as JSON.
"""

from __future__ import annotations

import json
import os
import sys
from uuid import UUID, uuid4

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tumorsite.settings")
django.setup()

from django.contrib.sessions.backends.db import SessionStore  # noqa: E402  # after the setup
from django.db import connection  # noqa: E402
from django.test import RequestFactory  # noqa: E402
from django.test.utils import CaptureQueriesContext  # noqa: E402

from predictions.owners import SESSION_KEY, Owner  # noqa: E402
from predictions.selectors import Filters, history_page  # noqa: E402
from predictions.services.registry import production_model  # noqa: E402

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
    """Create a visitor with this many answered scans: id and session key. SQLite only."""
    visitor = uuid4()
    with connection.cursor() as cursor:
        cursor.execute(_SCANS, [scans - 1, visitor.hex])
        cursor.execute(_PREDICTIONS, [production_model().pk, visitor.hex])
        cursor.execute("ANALYZE")
    session = SessionStore()
    session[SESSION_KEY] = str(visitor)
    session.create()
    return visitor, str(session.session_key)


def queries(visitor: UUID) -> int:
    """Database queries of one page of the history."""
    request = RequestFactory().get("/")
    with CaptureQueriesContext(connection) as seen:
        history_page(Owner(visitor=visitor), Filters.from_query(request.GET))
    return len(seen)


def main() -> None:
    visitor, session = visitor_with(int(sys.argv[1]))
    print(json.dumps({"session": session, "queries": queries(visitor)}))


if __name__ == "__main__":
    main()
