"""How work says how far it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

# Told how many more steps are done.
Tick = Callable[[int], Any]


def silent(_: object) -> None:
    """Say nothing."""
