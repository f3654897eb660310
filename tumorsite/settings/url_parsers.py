"""Settings that are URLs. What is wrong is said without the value, which may hold a password."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import SplitResult, urlsplit

import dj_database_url

# A database may be a file or behind a local socket, and mails may go to a folder.
HOSTLESS = {"sqlite", "postgres", "postgresql", "file"}
# Redis has 16 databases unless told otherwise.
_LAST_DATABASE = 15


def _split(value: str) -> SplitResult:
    """The parts of a URL, its port among them, which is otherwise not read before it is used."""
    try:
        parts = urlsplit(value)
        _ = parts.port
    except ValueError:
        # The library's own words repeat parts of the value.
        raise ValueError(
            "must be a URL with a sound host and a number as its port, special characters quoted "
            "as in %23 for #"
        ) from None
    return parts


def url(*schemes: str, optional: bool = False) -> Callable[[str], str]:
    def parse(value: str) -> str:
        if not value and optional:
            return value
        parts = _split(value)
        if parts.scheme not in schemes:
            raise ValueError(f"must be a URL that starts with {' or '.join(schemes)}")
        if not parts.hostname and parts.scheme not in HOSTLESS:
            raise ValueError("must name a host after the two slashes")
        return value

    return parse


def origin(value: str) -> str:
    url("http", "https", optional=True)(value)
    parts = urlsplit(value)
    if parts.path.strip("/") or parts.query or parts.fragment or "@" in parts.netloc:
        raise ValueError("must end after host and port: the site cannot be below a path")
    return value


def database(value: str) -> str:
    url("sqlite", "postgres", "postgresql", optional=True)(value)
    if value:
        try:
            parsed = dj_database_url.parse(value)
        except ValueError:
            raise ValueError("must be a URL whose parts are quoted, as in %40 for @") from None
        if parsed["NAME"] == ":memory:":
            raise ValueError("must name a file: in memory, each process would have its own")
        if not (parsed["NAME"] or "service" in parsed.get("OPTIONS", {})):
            raise ValueError("must name a database, as in postgres://user:password@host/name")
    return value


def broker(value: str) -> str:
    url("redis", "rediss", optional=True)(value)
    number = urlsplit(value).path.strip("/")
    if number and not number.isdecimal():
        raise ValueError("must end in the number of a database, as in redis://host:6379/0")
    if number and int(number) == _LAST_DATABASE:
        raise ValueError("must not be the last of the usual 16 databases: the next is the cache's")
    return value


def addresses(value: str) -> list[str]:
    parts = value.split()
    try:
        # Apprise has a say in the rest: tokens may look like ports that are none.
        sound = all(urlsplit(part).scheme for part in parts)
    except ValueError:
        sound = False
    if not sound:
        raise ValueError("must be addresses such as mailto://…, separated by spaces")
    return parts


def sentry_dsn(value: str) -> str:
    parts = _split(value)
    project = parts.path.rpartition("/")[2]
    known = parts.scheme in {"http", "https"} and parts.username and parts.hostname
    if value and not (known and project.isdecimal()):
        raise ValueError("must be a DSN such as https://KEY@HOST/PROJECT with a project's number")
    return value
