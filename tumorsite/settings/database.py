"""SQLite by default, PostgreSQL by DATABASE_URL."""

from urllib.parse import quote

import dj_database_url

from tumorsite.settings.values import values

DATABASES = {
    "default": dj_database_url.parse(
        values.DATABASE_URL or f"sqlite:///{quote(str(values.DATA_DIR / 'db.sqlite3'))}",
        conn_max_age=60,
        conn_health_checks=True,
    )
}

if DATABASES["default"]["ENGINE"] == "django.db.backends.sqlite3":
    # IMMEDIATE takes the write lock at the start, so that two writers queue up
    # instead of one failing at its first write; WAL lets readers go on meanwhile.
    DATABASES["default"]["OPTIONS"] = {
        "transaction_mode": "IMMEDIATE",
        "timeout": 20,
        "init_command": (
            "PRAGMA journal_mode=WAL;"
            "PRAGMA synchronous=NORMAL;"
            "PRAGMA mmap_size=134217728;"
            "PRAGMA cache_size=-16000;"
        ),
    }
