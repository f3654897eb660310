"""Ids that sort by the time they were made."""

import secrets
import time
from datetime import datetime
from uuid import UUID


def uuid7() -> UUID:
    """A version 7 UUID (RFC 9562): milliseconds since 1970, then the part of one, then chance.

    The 12 bits after the milliseconds count quarters of a microsecond (section 6.2, method 3), so
    that ids sort in the order in which a process makes them; 62 random bits follow.
    """
    milliseconds, rest = divmod(time.time_ns(), 1_000_000)
    fraction = (rest << 12) // 1_000_000
    value = milliseconds << 80 | 0x7 << 76 | fraction << 64 | 0x2 << 62 | secrets.randbits(62)
    return UUID(int=value)


def as_uuid(text: str | None) -> UUID | None:
    """The id that somebody has written, if it is one."""
    try:
        return UUID(text or "")
    except ValueError:
        return None


def first_uuid7(moment: datetime) -> UUID:
    """The least id that `uuid7` could have made at `moment`: ids compare as times do."""
    return UUID(int=int(moment.timestamp() * 1000) << 80)
