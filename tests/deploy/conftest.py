"""Fixtures for every test of the deployment files. Nothing here may import the product."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.deploy import tools


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
