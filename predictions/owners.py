"""Who asks: an account, or the browser session of a visitor without one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

from django.conf import settings
from django.http import HttpRequest

if TYPE_CHECKING:
    from accounts.models import User

SESSION_KEY = "visitor"


@dataclass(frozen=True, slots=True)
class Owner:
    """The one who may see a scan: either a user or a visitor, or neither."""

    user: User | None = None
    visitor: UUID | None = None


def owner_of(request: HttpRequest, *, create: bool = False) -> Owner:
    """Who this request comes from.

    Args:
        create: give a visitor without an account an id, which starts a session.
    """
    if request.user.is_authenticated:
        return Owner(user=request.user)
    if create:
        request.session.setdefault(SESSION_KEY, str(uuid4()))
        # Renewed by each upload: its scan can be seen and deleted for as long as it is kept.
        kept = (settings.ANONYMOUS_RETENTION_DAYS + 1) * 86400
        request.session.set_expiry(max(settings.SESSION_COOKIE_AGE, kept))
    visitor = request.session.get(SESSION_KEY)
    return Owner(visitor=UUID(visitor) if visitor else None)
