"""Receivers that connect sign-in with the rest of the site."""

from typing import Any
from uuid import UUID

from allauth.account.models import EmailAddress
from allauth.account.signals import email_confirmed, password_reset
from allauth.usersessions.models import UserSession
from django.contrib.admin.models import LogEntry
from django.contrib.auth.signals import user_logged_in
from django.contrib.contenttypes.models import ContentType
from django.db.models.signals import post_delete
from django.dispatch import receiver
from django.http import HttpRequest

from accounts.models import User
from accounts.services.adoption import adopt_late, adopt_visitor
from predictions.owners import SESSION_KEY
from predictions.services.ownership import stored


@receiver(user_logged_in)
def take_scans_along(request: HttpRequest, user: User, **kwargs: Any) -> None:
    """Django sends this once a sign-in is complete: not while a second factor is still due."""
    visitor = request.session.pop(SESSION_KEY, None)
    if visitor:
        adopt_visitor(visitor=UUID(visitor), user=user)


@receiver(stored)
def take_late_scans_along(visitor: UUID, **kwargs: Any) -> None:
    adopt_late(visitor=visitor)


@receiver(email_confirmed)
def forget_what_was_only_claimed(email_address: EmailAddress, **kwargs: Any) -> None:
    """The first address that is proven takes the place of the one given at sign-up.

    That may be another person's: who set a new password for it would share the account with
    whoever proved this one.
    """
    addresses = EmailAddress.objects.filter(user_id=email_address.user_id)
    if not addresses.filter(primary=True, verified=True).exists():
        email_address.set_as_primary()
        for claimed in addresses.filter(verified=False):
            claimed.delete()


@receiver(password_reset)
def forget_pending_addresses(user: User, **kwargs: Any) -> None:
    """Whoever added them may not be the one who sets the new password."""
    for pending in EmailAddress.objects.filter(user=user, verified=False, primary=False):
        pending.delete()


@receiver(post_delete, sender=EmailAddress)
@receiver(post_delete, sender=UserSession)
def forget_address(instance: EmailAddress | UserSession, **kwargs: Any) -> None:
    """Remove the address from the admin's log, where it would outlast row and account."""
    kind = ContentType.objects.get_for_model(instance)
    entries = LogEntry.objects.filter(content_type=kind, object_id=str(instance.pk))
    entries.update(object_repr=f"{kind.name} of user {instance.user_id}")
