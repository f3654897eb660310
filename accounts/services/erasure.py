"""Erasing an account: at once for everyone who looks, then object by object."""

from __future__ import annotations

import logging
import re
from pathlib import Path

from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from allauth.usersessions.models import UserSession
from django.conf import settings
from django.contrib.admin.models import LogEntry
from django.contrib.contenttypes.models import ContentType
from django.contrib.sessions.models import Session
from django.db import IntegrityError, transaction
from django.db.models import ProtectedError
from django.utils import timezone
from wagtail.models import ModelLogEntry

from accounts.models import User
from predictions.models import Scan
from predictions.queueing import send_on_commit
from predictions.services.deletion import delete_scans

logger = logging.getLogger(__name__)

MAIL_END = b"-" * 79 + b"\n"
FINISH = "accounts.tasks.finish_erasures"


class LastAdministratorError(Exception):
    """Nobody would be left to administer the site."""


@transaction.atomic
def request_erasure(*, user: User) -> None:
    """Remove all by which the account can be used or recognised, and have the rest erased.

    One transaction: the account is closed and signed out everywhere, its address and second
    factors are gone and its scans are hidden, or nothing has happened. Objects, scans and the
    bare user row follow in `finish_erasures`, which goes on after any crash.

    Raises:
        LastAdministratorError: the account is the only administrator's.
    """
    # Locked in a fixed order, so that two administrators cannot both be "not the last".
    administrators = User.objects.filter(is_superuser=True, is_active=True).order_by("pk")
    if user.is_superuser and set(administrators.select_for_update()) == {user}:
        raise LastAdministratorError
    _clean_logs(user)
    addresses = EmailAddress.objects.filter(user=user).values_list("email", flat=True)
    forgotten = {user.email, *addresses}
    transaction.on_commit(lambda: _remove_written_mails(forgotten))
    EmailAddress.objects.filter(user=user).delete()
    Authenticator.objects.filter(user=user).delete()
    sessions = UserSession.objects.filter(user=user)
    Session.objects.filter(pk__in=list(sessions.values_list("session_key", flat=True))).delete()
    sessions.delete()
    user.groups.clear()
    user.user_permissions.clear()
    user.email = f"{user.pk}@erased.invalid"
    user.first_name = user.last_name = ""
    user.is_active = user.is_staff = user.is_superuser = False
    user.erase_requested_at = timezone.now()
    user.set_unusable_password()
    user.save()
    delete_scans(scans=Scan.objects.filter(owner=user))
    send_on_commit(FINISH)
    logger.info("somebody asked for erasure")


def _clean_logs(user: User) -> None:
    """Remove the person's address from the logs of both admin sites, which stay."""
    label = f"user {user.pk}"
    # Sessions name an IP address, the others an e-mail address, present or former.
    for rows in (
        User.objects.filter(pk=user.pk),
        EmailAddress.objects.filter(user=user),
        UserSession.objects.filter(user=user),
    ):
        about = {
            "content_type": ContentType.objects.get_for_model(rows.model),
            "object_id__in": [str(pk) for pk in rows.values_list("pk", flat=True)],
        }
        LogEntry.objects.filter(**about).update(object_repr=label)
        ModelLogEntry.objects.filter(**about).update(label=label)
    # Entries about rows that are gone can be recognised by their text only.
    LogEntry.objects.filter(object_repr__iexact=user.email).update(object_repr=label)
    ModelLogEntry.objects.filter(label__iexact=user.email).update(label=label)


def _remove_written_mails(addresses: set[str]) -> None:
    """Without a mail server mails lie in a folder: those to the person go."""
    folder = Path(getattr(settings, "EMAIL_FILE_PATH", "."))
    if not settings.EMAIL_BACKEND.endswith(".filebased.EmailBackend") or not folder.is_dir():
        return
    # As whole addresses: there may be an ann@example.org beside joann@example.org.
    whole = "|".join(re.escape(address) for address in addresses)
    names = re.compile(rf"(?<![\w.+-])(?:{whole})(?![\w-]|\.\w)".encode(), re.IGNORECASE)
    for file in folder.glob("*.log"):
        try:
            # Django puts what is sent within a second into one file now and then.
            mails = file.read_bytes().split(MAIL_END)
            kept = [mail for mail in mails if not names.search(mail)]
            if not any(kept):
                file.unlink()
            elif len(kept) < len(mails):
                file.write_bytes(MAIL_END.join(kept))
        except OSError:
            logger.warning("a mail written to a file could not be removed")


def finish_erasures() -> int:
    """Remove each closed account whose scans have gone; the others are left for the next time.

    Returns:
        How many accounts were removed.
    """
    removed = 0
    for user in User.objects.filter(erase_requested_at__isnull=False):
        # An upload that was on its way when the account was closed.
        delete_scans(scans=Scan.objects.filter(owner=user))
        if Scan.objects.filter(owner=user).exists():
            continue
        try:
            with transaction.atomic():
                User.objects.filter(pk=user.pk).delete()
        except (ProtectedError, IntegrityError):
            continue
        removed += 1
        logger.info("an account was erased")
    return removed
