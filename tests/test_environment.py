"""The installing half of `make run`: what a machine may lack is said in one sentence."""

from __future__ import annotations

import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SCRIPT = ROOT / "scripts" / "environment.sh"
NEEDED = ("awk", "df", "dirname", "mkdir", "sh", "touch")

OLD = """case "$2" in
    *platform*) echo 3.9.2 ;;
    *version_info*) exit 1 ;;
esac"""
WITHOUT_VENV = """case "$2" in
    *platform*) echo 3.12.1 ;;
    *ensurepip*) exit 1 ;;
esac"""
# Makes what `python -m venv --clear FOLDER` makes, as far as the script looks at it.
GOOD = """case "$1" in
    -c) case "$2" in *platform*) echo 3.12.1 ;; esac ;;
    -m) mkdir -p "$4/bin" ;;
esac"""
FULL = 'printf "Filesystem 1024-blocks Used Available\\n/dev/x 9 9 2048\\n"'


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """A machine's programs, none of them a Python, in a place with a space in its name."""
    programs = tmp_path / "a machine" / "bin"
    programs.mkdir(parents=True)
    for name in NEEDED:
        found = shutil.which(name)
        assert found
        (programs / name).symlink_to(found)
    return programs


def add(programs: Path, name: str, script: str) -> None:
    place = programs / name
    place.unlink(missing_ok=True)
    place.write_text(f"#!/bin/sh\n{script}\n")
    place.chmod(0o755)


def run(programs: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    project = programs.parent / "the project"
    project.mkdir(exist_ok=True)
    return subprocess.run(
        ["sh", str(SCRIPT), *arguments],
        cwd=project,
        env={**os.environ, "PATH": str(programs)},
        capture_output=True,
        text=True,
        check=False,
    )


def refused(programs: Path, *arguments: str) -> str:
    answer = run(programs, *arguments)
    assert answer.returncode == 1
    [line] = answer.stderr.splitlines()
    assert line.startswith("TumorSite cannot be installed: ")
    return line


def test_no_python_at_all(machine: Path) -> None:
    assert "3.11 or newer is needed, and there is no python3" in refused(machine, "make")


def test_an_old_python(machine: Path) -> None:
    add(machine, "python3", OLD)
    assert "3.11 or newer is needed, and python3 is 3.9.2" in refused(machine, "make")


def test_a_python_without_venv(machine: Path) -> None:
    add(machine, "python3", WITHOUT_VENV)
    assert "apt install python3-venv" in refused(machine, "make")


def test_a_newer_one_beside_the_old_is_found(machine: Path) -> None:
    add(machine, "python3", OLD)
    add(machine, "python3.12", GOOD)
    answer = run(machine, "make")
    assert (answer.returncode, answer.stderr) == (0, "")
    assert (machine.parent / "the project" / ".venv" / ".made.stamp").exists()


def test_a_full_disk(machine: Path) -> None:
    add(machine, "python3", GOOD)
    add(machine, "df", FULL)
    assert "the disk is full: 2 MB are free" in refused(machine, "make")


def test_a_folder_that_cannot_be_written(machine: Path) -> None:
    add(machine, "python3", GOOD)
    # Nobody, not even root, can make a folder below a file.
    (machine.parent / "the project").mkdir()
    (machine.parent / "the project" / "file").touch()
    assert "cannot be written" in refused(machine, "make", "file/.venv")


# As `GOOD`, but what it makes is a Python that writes down what it is asked to run.
NOTING = """case "$1" in
    -c) case "$2" in *platform*) echo 3.12.1 ;; esac ;;
    -m) mkdir -p "$4/bin"
        printf '#!/bin/sh\\n[ "$1" = -c ] || echo "$@" >> asked\\n' > "$4/bin/python"
        chmod +x "$4/bin/python" ;;
esac"""


def test_a_second_run_installs_nothing(machine: Path) -> None:
    """Not even pip is asked whether there is something to install."""
    add(machine, "python3", NOTING)
    for name in ("cat", "chmod", "make", "rm"):
        found = shutil.which(name)
        assert found
        (machine / name).symlink_to(found)
    project = machine.parent / "the project"
    for name in ("Makefile", "scripts/environment.sh", "requirements/run.txt"):
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, project / name)

    def asked_by_run() -> list[str]:
        asked = project / "asked"
        asked.unlink(missing_ok=True)
        # Neither flags nor targets of a make that runs these tests.
        env = {"PATH": str(machine), "HOME": os.environ.get("HOME", "/")}
        done = subprocess.run(
            ["make", "run"], cwd=project, env=env, capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stderr) == (0, "")
        return asked.read_text().splitlines()

    install, start = asked_by_run()
    assert install.startswith("-m pip install ")
    assert install.endswith("--requirement requirements/run.txt")
    assert start == "-m tumorsite.supervisor"
    assert asked_by_run() == [start]
    # Other versions are installed once, too.
    stamp = project / ".venv" / ".run.stamp"
    earlier = (project / "requirements" / "run.txt").stat().st_mtime - 10
    os.utime(stamp, (earlier, earlier))
    assert asked_by_run() == [install, start]
    assert asked_by_run() == [start]


# Loads what the parts of a running site load, without the packages it is told.
PARTS = """
import sys
missing = set(sys.argv[1].split())
class Without:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in missing:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Without())
import tumorsite.supervisor, tumorsite.wsgi
from tumorsite.celery import app
app.loader.import_default_modules()
import predictions.batches
from django.conf import settings
from django.urls import get_resolver
from mltasks.inference import load_analyzer
get_resolver().url_patterns
load_analyzer(settings.MODEL_DIR)
"""


def test_running_needs_no_more_than_it_installs(tmp_path: Path) -> None:
    """Here the tests' packages are there as well; a site that runs has only those of `run`."""
    listed = (ROOT / "requirements" / "run.txt").read_text().splitlines()
    installed = {re.split("[=<>;\\[ ]", line)[0].lower() for line in listed if line[:1].isalpha()}
    missing = [
        name
        for name, of in importlib.metadata.packages_distributions().items()
        if not installed & {one.lower().replace("_", "-") for one in of}
    ]
    assert {"tensorflow", "matplotlib", "faiss"} <= set(missing)
    answer = subprocess.run(
        [sys.executable, "-c", PARTS, " ".join(missing)],
        cwd=ROOT,
        env={
            **os.environ,
            "DATA_DIR": str(tmp_path),
            "DJANGO_SETTINGS_MODULE": "tumorsite.settings",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr[-2000:]
