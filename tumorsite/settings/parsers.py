"""How the text of a setting is read; a `ValueError` says what it must be."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

# Django's own check asks for as many.
KEY_LENGTH = 50
BASE_DIR = Path(__file__).resolve().parent.parent.parent
_BUCKET = re.compile(r"[a-zA-Z0-9.\-_]{1,255}|arn:[^\s/?#]+(/[^\s?#]+)?")
_HOST_NAME = re.compile(r"\*|\.?[a-z0-9-]+(\.[a-z0-9-]+)*|\[[a-f0-9:.]+\]", re.IGNORECASE)


def text(value: str) -> str:
    return value


def required_text(value: str) -> str:
    if not value.strip():
        raise ValueError("must not be empty")
    return value


def boolean(value: str) -> bool:
    lowered = value.strip().lower()
    if lowered in {"1", "true", "yes", "on"}:
        return True
    if lowered in {"0", "false", "no", "off", ""}:
        return False
    raise ValueError("must be true or false")


def integer(low: int, high: int) -> Callable[[str], int]:
    def parse(value: str) -> int:
        try:
            number = int(value)
        except ValueError:
            raise ValueError(f"must be a whole number from {low} to {high}") from None
        if not low <= number <= high:
            raise ValueError(f"must be a whole number from {low} to {high}")
        return number

    return parse


def choice(*options: str) -> Callable[[str], str]:
    def parse(value: str) -> str:
        if value not in options:
            raise ValueError(f"must be one of {', '.join(options)}")
        return value

    return parse


def optional_choice(*options: str) -> Callable[[str], str]:
    parse = choice(*options)
    return lambda value: parse(value) if value else ""


def names(value: str) -> list[str]:
    return [part.strip() for part in value.split(",") if part.strip()]


def host_names(value: str) -> list[str]:
    found = names(value)
    if not found or not all(map(_HOST_NAME.fullmatch, found)):
        raise ValueError(
            "must be host names such as tumorsite.example, without https:// and port, separated by "
            "commas"
        )
    return found


def bucket(value: str) -> str:
    """As the library for S3 would have it, which says so only once it is used."""
    if value and not _BUCKET.fullmatch(value):
        raise ValueError(
            "must be the name of a bucket, of letters, digits, dots and hyphens, or the ARN of an "
            "access point"
        )
    return value


def path(value: str) -> Path:
    return (BASE_DIR / Path(value).expanduser()).resolve()


def optional_path(value: str) -> Path | None:
    return path(value) if value else None


def headers(value: str) -> dict[str, str]:
    pairs = [part.partition("=") for part in names(value)]
    if not all(name.strip() and equals and content.strip() for name, equals, content in pairs):
        raise ValueError("must be name=value, several separated by commas")
    return {name.strip(): content.strip() for name, _, content in pairs}


def earlier_keys(value: str) -> list[str]:
    keys = value.split()
    # A comma may be part of a key, but not stand between two.
    joined = any("," in key and min(map(len, key.split(","))) >= KEY_LENGTH for key in keys)
    if joined or any(len(key) < KEY_LENGTH for key in keys):
        raise ValueError(f"must be keys of {KEY_LENGTH} characters or more, separated by spaces")
    return keys
