"""Who asks: an account, or the browser session of a visitor without one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

from django.conf import settings
from django.contrib.sessions.backends.base import UpdateError
from django.http import HttpRequest
from django.utils import timezone

if TYPE_CHECKING:
    from accounts.models import User

SESSION_KEY = "visitor"
RENEWED_KEY = "visit_renewed"


@dataclass(frozen=True, slots=True)
class Owner:
    """The one who may see a scan: either a user or a visitor, or neither."""

    user: User | None = None
    visitor: UUID | None = None


class SessionGoneError(Exception):
    """The session that a request came with has ended, for example as its visitor signed in."""


def owner_of(request: HttpRequest) -> Owner:
    """Who this request comes from."""
    if request.user.is_authenticated:
        return Owner(user=request.user)
    visitor = request.session.get(SESSION_KEY)
    return Owner(visitor=UUID(visitor) if visitor else None)


def session_is_gone(request: HttpRequest) -> bool:
    """Whether the request came with a session that there is no more."""
    request.session.get(SESSION_KEY)  # reads it
    came = settings.SESSION_COOKIE_NAME in request.COOKIES
    return came and not request.session.session_key


def begin_visit(request: HttpRequest) -> Owner:
    """Who this request comes from; a visitor without an account gets an id, and so a session.

    Raises:
        SessionGoneError: the session has ended while this request was under way.
    """
    if request.user.is_authenticated:
        return Owner(user=request.user)
    session = request.session
    today = timezone.now().date()
    # Who has uploaded a scan can see and delete it while it is kept: the visit is renewed with the
    # uploads. Once a day is enough, and each cookie might come after that of a sign-in.
    if SESSION_KEY not in session or session.get(RENEWED_KEY) != str(today):
        session.setdefault(SESSION_KEY, str(uuid4()))
        session[RENEWED_KEY] = str(today)
        kept = (settings.ANONYMOUS_RETENTION_DAYS + 1) * 86400
        session.set_expiry(max(settings.SESSION_COOKIE_AGE, kept))
        try:
            # Before anything is stored for it.
            session.save()
        except UpdateError:
            session.modified = False  # There is nothing to keep it in any more.
            raise SessionGoneError from None
    return owner_of(request)
