"""What the tests of training share."""

from __future__ import annotations

from typing import Any

import pytest

from mltasks.tests.conftest import slices
from training import tasks

__all__ = ["sent", "slices"]


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """The messages that would go to the broker."""
    messages: list[tuple[Any, ...]] = []
    monkeypatch.setattr(tasks.train, "delay", lambda *arguments: messages.append(arguments))
    return messages
