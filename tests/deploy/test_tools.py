"""The tools themselves run, and their versions are those that the pins say."""

from __future__ import annotations

from pathlib import Path

from tests.deploy.tools import run


def test_helm_is_a_real_helm(helm: Path) -> None:
    said = run(helm, "version", "--short")
    assert said.returncode == 0, said.stderr
    assert said.stdout.startswith("v4.")


def test_kubectl_is_of_the_schemas_version(kubectl: Path) -> None:
    said = run(kubectl, "version", "--client")
    assert said.returncode == 0, said.stderr
    assert "v1.37." in said.stdout
