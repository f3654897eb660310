"""The site's own settings on a throw-away data folder, a real Valkey and, if asked, PostgreSQL.

`TEST_DATABASE=postgres` runs the same tests on a real PostgreSQL.
"""

import atexit
import os
import shutil
import tempfile
from pathlib import Path

from tests.support.servers import Postgres, Valkey

_folder = Path(tempfile.mkdtemp(prefix="tumorsite-tests-"))
atexit.register(shutil.rmtree, _folder, ignore_errors=True)

(_folder / "static").mkdir()

# The operator's own settings must not reach the tests.
for _name in (
    "SITE_URL", "S3_BUCKET", "S3_ENDPOINT_URL", "S3_PUBLIC_URL", "EMAIL_URL", "DEBUG",
    "NOTIFY_URLS", "NOTIFY_URLS_FILE", "BUNDLED_MODEL", "TRAINING_DATASET", "TRAINING_RECIPE",
    "RELEASE_POLICY",
):  # fmt: skip
    os.environ.pop(_name, None)

TEST_VALKEY = Valkey(_folder)
TEST_VALKEY.start()
atexit.register(TEST_VALKEY.kill)

_database_url = ""
if os.environ.get("TEST_DATABASE", "sqlite") == "postgres":
    if "TEST_POSTGRES_URL" not in os.environ:
        # The first process starts it; those that it starts share it.
        _postgres = Postgres()
        atexit.register(_postgres.stop)
        os.environ["TEST_POSTGRES_URL"] = _postgres.url
    _database_url = os.environ["TEST_POSTGRES_URL"]

os.environ.update(
    {
        "DATA_DIR": str(_folder),
        "DATABASE_URL": _database_url,
        "BROKER_URL": TEST_VALKEY.url,
        "LOG_LEVEL": "WARNING",
        "REQUESTS_PER_MINUTE": "1000000",
        "SUBMISSIONS_PER_MINUTE": "100000",
        "STAFF_MFA": "optional",
    }
)

from tumorsite.settings import *  # noqa: E402, F403  # they read the environment set above

EMAIL_BACKEND = "django.core.mail.backends.locmem.EmailBackend"
# In memory, shared by the threads of a test process; PostgreSQL gives it the usual name.
if not _database_url:
    DATABASES["default"]["TEST"] = {"NAME": "file:tests?mode=memory&cache=shared"}  # noqa: F405  # above
# One round instead of hundreds of thousands: tests sign in often.
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
# Without a manifest, so that no test needs `collectstatic` first.
STORAGES["staticfiles"] = {  # noqa: F405  # from the settings above
    "BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"
}
