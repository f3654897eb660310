"""Checkers that come from npm, installed beside the environment's packages."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

from tests.deploy import tools

SOURCE = Path(__file__).parent / "npm"
LOCK = SOURCE / "package-lock.json"


@cache
def folder() -> Path | None:
    """The installed packages; None where there is neither Node nor a way to npm.

    Each state of the lock has a folder of its own, which appears when it is complete.
    """
    npm = shutil.which("npm")
    if npm is None:
        return None
    state = hashlib.sha256(LOCK.read_bytes()).hexdigest()[:16]
    place = tools.CACHE / f"node-{state}"
    if place.exists():
        return place
    tools.CACHE.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(dir=tools.CACHE))
    try:
        for name in ("package.json", "package-lock.json"):
            shutil.copy(SOURCE / name, draft)
        done = tools.run(
            npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", cwd=draft, seconds=200
        )
        if done.returncode:
            return None
        try:
            draft.rename(place)
        except OSError:
            # Another test process was faster; its folder holds the same.
            if not place.exists():
                raise
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return place


def check(tool: str, files: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Findings of a checker; see npm/check.cjs."""
    place = folder()
    assert place is not None
    done = tools.run(
        "node",
        SOURCE / "check.cjs",
        cwd=place,
        text=json.dumps({"tool": tool, "files": files}),
        env={"NODE_PATH": str(place / "node_modules"), "HOME": os.environ.get("HOME", "/tmp")},  # noqa: S108
    )
    assert done.returncode == 0, done.stderr[-2000:]
    findings: list[dict[str, Any]] = json.loads(done.stdout)
    return findings
