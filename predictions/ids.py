"""Ids that sort by the time they were made."""

import secrets
import time
from datetime import datetime
from uuid import UUID


def uuid7() -> UUID:
    """A version 7 UUID (RFC 9562): 48 bits of milliseconds since 1970, then 74 random bits."""
    value = (time.time_ns() // 1_000_000) << 80 | secrets.randbits(80)
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
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
