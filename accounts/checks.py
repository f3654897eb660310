"""What must be right before the site goes public."""

from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Tags, Warning as CheckWarning, register


@register(Tags.security, deploy=True)
def staff_second_factor(**kwargs: Any) -> list[CheckMessage]:
    if not settings.SITE_URL.startswith("https://") or settings.STAFF_MFA_REQUIRED:
        return []
    return [
        CheckWarning(
            "Staff can enter the admin of this public site without a second factor.",
            hint="Leave STAFF_MFA empty, or set it to required.",
            id="accounts.W001",
        )
    ]
