"""The registry of the running site, put back after each test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.processes import wait_until
from tests.support.registry import Registry
from tests.support.site import Site


@pytest.fixture
def registry(site: Site) -> Iterator[Registry]:
    """The registry of the running site, which goes back to its first network afterwards."""
    registry = Registry(site)
    first = registry.in_production()
    yield registry
    registry.ask(*[("rollback",)] * 3)
    wait_until(lambda: registry.answering() == first, seconds=60, what="the first network")
