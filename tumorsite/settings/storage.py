"""Where scans and page pictures live: a local folder, or S3 when S3_BUCKET is given."""

from typing import Any
from urllib.parse import urlsplit

from botocore.config import Config

from tumorsite.settings.values import values

S3_ENABLED = bool(values.S3_BUCKET)

_s3: dict[str, Any] = {
    "bucket_name": values.S3_BUCKET,
    "endpoint_url": values.S3_ENDPOINT_URL or None,
    "region_name": values.S3_REGION,
    "access_key": values.S3_ACCESS_KEY_ID or None,
    "secret_key": values.S3_SECRET_ACCESS_KEY or None,
    # Short waits: a person is at the other end, and workers have retries of their own.
    "client_config": Config(
        signature_version="s3v4",
        s3={"addressing_style": "path" if values.S3_ENDPOINT_URL else "virtual"},
        connect_timeout=3,
        read_timeout=15,
        retries={"max_attempts": 2, "mode": "standard"},
    ),
    "default_acl": None,
    "querystring_auth": True,
    "querystring_expire": 60,
}

S3_PUBLIC_URL = values.S3_PUBLIC_URL or values.S3_ENDPOINT_URL

STORAGES = {
    # Pictures of the education pages.
    "default": (
        {
            "BACKEND": "education.storage.PictureS3Storage",
            "OPTIONS": {**_s3, "location": "media", "file_overwrite": False},
        }
        if S3_ENABLED
        else {
            "BACKEND": "django.core.files.storage.FileSystemStorage",
            "OPTIONS": {"location": values.DATA_DIR / "media", "base_url": "/media/"},
        }
    ),
    # Scans and results: private, and never overwritten.
    "scans": (
        {"BACKEND": "predictions.storage.ImmutableS3Storage", "OPTIONS": _s3}
        if S3_ENABLED
        else {
            "BACKEND": "predictions.storage.ImmutableFileStorage",
            "OPTIONS": {"location": values.DATA_DIR / "objects"},
        }
    ),
    # For everyone, unlike what visitors bring: an image is built by another user than it runs as.
    "staticfiles": {
        "BACKEND": "tumorsite.staticfiles.StaticFilesStorage",
        "OPTIONS": {"file_permissions_mode": 0o644, "directory_permissions_mode": 0o755},
    },
}
MEDIA_URL = "/media/"
MEDIA_ROOT = values.DATA_DIR / "media"


def s3_origins() -> list[str]:
    """Origins from which browsers load signed pictures, for the content security policy."""
    if not S3_ENABLED:
        return []
    if S3_PUBLIC_URL:
        parts = urlsplit(S3_PUBLIC_URL)
        return [f"{parts.scheme}://{parts.netloc}"]
    return [
        f"https://{values.S3_BUCKET}.s3.amazonaws.com",
        f"https://{values.S3_BUCKET}.s3.{values.S3_REGION}.amazonaws.com",
    ]


# Where `manage.py dataset push|pull` keeps data sets.
DATASET_STORE = {
    "bucket": values.DATASET_BUCKET,
    "prefix": values.DATASET_PREFIX,
    "endpoint": values.S3_ENDPOINT_URL,
    "region": values.S3_REGION,
    "key": values.S3_ACCESS_KEY_ID,
    "secret": values.S3_SECRET_ACCESS_KEY,
}
DATASET_PATIENT_KEY = values.DATASET_PATIENT_KEY

# Files of one upload; a few more are still read, so that the page itself can say so.
UPLOADS_AT_ONCE = 10
MAX_UPLOAD_BYTES = values.MAX_UPLOAD_MB * 1024 * 1024
MAX_PIXELS = values.MAX_MEGAPIXELS * 1_000_000
# Smaller files stay in memory; a form field alone never needs more than this.
FILE_UPLOAD_MAX_MEMORY_SIZE = 2 * 1024 * 1024
FILE_UPLOAD_HANDLERS = [
    "django.core.files.uploadhandler.MemoryFileUploadHandler",
    "tumorsite.uploads.UnnamedFileUploadHandler",
]
FILE_UPLOAD_PERMISSIONS = 0o600
DATA_UPLOAD_MAX_MEMORY_SIZE = 2 * 1024 * 1024
DATA_UPLOAD_MAX_NUMBER_FILES = 50
