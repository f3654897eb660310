"""The pages' scripts: TypeScript finds no wrong name, type or missing element in them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.deploy import node, tools

SCRIPTS = sorted(tools.PROJECT.glob("*/static/**/*.js"))
OPTIONS = json.loads((node.SOURCE / "tsconfig.json").read_text())

Checker = Callable[[list[Path]], list[str]]


@pytest.fixture
def types(tmp_path: Path) -> Checker:
    """Findings in scripts, a line each."""
    place = node.folder()
    if place is None:
        pytest.skip("TypeScript could not be fetched: npm is missing or cannot reach its registry")

    def check(scripts: list[Path]) -> list[str]:
        config = tmp_path / "tsconfig.json"
        config.write_text(json.dumps({**OPTIONS, "files": [str(path) for path in scripts]}))
        compiler = place / "node_modules/typescript/bin/tsc"
        done = tools.run("node", compiler, "--project", config, "--pretty", "false")
        found = [line for line in done.stdout.splitlines() if "error TS" in line]
        assert bool(found) == bool(done.returncode), done.stdout + done.stderr
        return found

    return check


def test_types_of_scripts(types: Checker) -> None:
    assert SCRIPTS
    assert types(SCRIPTS) == []


def test_the_check_can_fail(types: Checker, tmp_path: Path) -> None:
    script = tmp_path / "one.js"
    script.write_text('document.querySelector("p").textContent = nothing;\n')
    found = types([script])
    assert len(found) == 2
    assert "possibly 'null'" in found[0]
    assert "Cannot find name 'nothing'" in found[1]
