"""Fixtures for every test of the deployment files. Nothing here may import the product."""

from __future__ import annotations

import os
from collections.abc import Generator
from pathlib import Path

import pytest

from tests.deploy import tools

# Each is one chain of steps on one host or image; the others fill the gaps.
LONGEST = ("test_ansible_site.py", "test_images.py", "test_ansible_backup.py", "test_terraform.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest modules first: two processes take a module each, in this order."""
    places = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path.name, len(places)))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """With SKIP_NOTHING set a test that finds something missing fails."""
    report = yield
    if report.skipped and os.environ.get("SKIP_NOTHING"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome, report.longrepr = "failed", f"SKIP_NOTHING is set, but: {reason}"
    return report


@pytest.fixture(scope="session")
def project() -> Path:
    """The project's folder."""
    return tools.PROJECT


@pytest.fixture(scope="session")
def helm() -> Path:
    """The helm program."""
    return tools.helm()


@pytest.fixture(scope="session")
def kubectl() -> Path:
    """The kubectl program."""
    return tools.kubectl()


@pytest.fixture(scope="session")
def promtool() -> Path:
    """Prometheus' own checker of rules; skipped where Debian's package cannot be had."""
    found = tools.promtool()
    if found is None:
        pytest.skip("promtool could not be fetched: the alert rules were not run (apt: prometheus)")
    return found


@pytest.fixture(scope="session")
def checkov() -> Path:
    """The checkov program, in an environment of its own."""
    program = tools.PROJECT / ".venv-checkov/bin/checkov"
    if not program.exists():
        pytest.skip("checkov is not installed: run `make check-deploy`")
    return program
