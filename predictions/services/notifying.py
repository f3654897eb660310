"""Telling people what they have asked to be told, by whatever way NOTIFY_URLS names."""

from __future__ import annotations

import logging
from urllib.parse import urlsplit

from django.conf import settings

logger = logging.getLogger(__name__)


def notify(*, title: str, body: str) -> int:
    """Send a message to every address of NOTIFY_URLS.

    A fault is logged with the kind of address only, as the rest may be a name or a password. It
    never reaches the caller: what the message is about has happened all the same.

    Returns:
        How many addresses took it.
    """
    return sum(_send(address, title, body) for address in settings.NOTIFY_URLS)


def _send(address: str, title: str, body: str) -> bool:
    kind = urlsplit(address).scheme
    try:
        # Imported here, as its hundred services take a moment to load.
        import apprise

        channel = apprise.Apprise()
        if not channel.add(address):
            logger.error("a %s address of NOTIFY_URLS is none that Apprise knows", kind)
            return False
        sent = bool(channel.notify(title=title, body=body, body_format=apprise.NotifyFormat.TEXT))
    except Exception as error:
        logger.error("a %s address was not notified: %s", kind, type(error).__name__)
        return False
    if not sent:
        logger.error("a %s address was not notified: it did not take the message", kind)
    return sent
