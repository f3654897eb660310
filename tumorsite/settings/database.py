"""SQLite by default, PostgreSQL by DATABASE_URL."""

from typing import Any
from urllib.parse import quote

import dj_database_url

from tumorsite.settings.values import values

_SQLITE = {
    # IMMEDIATE takes the write lock at the start, so that two writers queue up
    # instead of one failing at its first write; WAL lets readers go on meanwhile.
    "transaction_mode": "IMMEDIATE",
    "timeout": 20,
    "init_command": (
        "PRAGMA journal_mode=WAL;"
        "PRAGMA synchronous=NORMAL;"
        "PRAGMA mmap_size=134217728;"
        "PRAGMA cache_size=-16000;"
    ),
}


def configured(address: str) -> dict[str, Any]:
    """Django's settings of the database at this address, whose own options count."""
    database: dict[str, Any] = dict(
        dj_database_url.parse(address, conn_max_age=60, conn_health_checks=True)
    )
    if database["ENGINE"] == "django.db.backends.sqlite3":
        database["OPTIONS"] = {**_SQLITE, **database.get("OPTIONS", {})}
    return database


DATABASES = {
    "default": configured(
        values.DATABASE_URL or f"sqlite:///{quote(str(values.DATA_DIR / 'db.sqlite3'))}"
    )
}
