"""Receivers that join sign-in to the rest of the site."""

from typing import Any
from uuid import UUID

from django.contrib.auth.signals import user_logged_in
from django.dispatch import receiver
from django.http import HttpRequest

from accounts.models import User
from accounts.services.adoption import adopt_visitor
from predictions.visitors import SESSION_KEY


@receiver(user_logged_in)
def take_scans_along(request: HttpRequest, user: User, **kwargs: Any) -> None:
    """Django sends this once a sign-in is complete: not while a second factor is still due."""
    visitor = request.session.pop(SESSION_KEY, None)
    if visitor:
        adopt_visitor(visitor=UUID(visitor), user=user)
