"""What every template may use."""

from typing import Any
from urllib.parse import quote

from django.conf import settings
from django.http import HttpRequest


def site(request: HttpRequest) -> dict[str, Any]:
    here = request.get_full_path()
    return {
        "MAX_UPLOAD_MB": settings.MAX_UPLOAD_BYTES // (1024 * 1024),
        "MAX_UPLOAD_BYTES": settings.MAX_UPLOAD_BYTES,
        # For links to sign-up and sign-in, which lead back here.
        "NEXT": "" if request.path.startswith("/account/") else f"?next={quote(here, safe='')}",
        "RETENTION_DAYS": settings.ANONYMOUS_RETENTION_DAYS,
        "ACCESS_RETENTION_DAYS": settings.ACCESS_RETENTION_DAYS,
    }
