"""What every template may use."""

from typing import Any

from django.conf import settings
from django.http import HttpRequest


def site(request: HttpRequest) -> dict[str, Any]:
    return {
        "MAX_UPLOAD_MB": settings.MAX_UPLOAD_BYTES // (1024 * 1024),
        "MAX_UPLOAD_BYTES": settings.MAX_UPLOAD_BYTES,
        "RETENTION_DAYS": settings.ANONYMOUS_RETENTION_DAYS,
        "ACCESS_RETENTION_DAYS": settings.ACCESS_RETENTION_DAYS,
    }
