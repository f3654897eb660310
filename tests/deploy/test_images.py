"""The images: their file is linted, their base pinned, and the web one built and looked through."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deploy import images
from tests.deploy.faults import faults
from tests.deploy.images import PROJECT, Image

# The first run on a machine makes the base, which takes a minute of its own.
pytestmark = pytest.mark.timeout(900)

HADOLINT = Path(sys.executable).with_name("hadolint")


@pytest.fixture(scope="module")
def tools() -> Iterator[None]:
    images.need_tools()
    with images.alone():
        yield


@pytest.fixture(scope="module")
def base(tools: None) -> str:
    return images.base_digest()


@pytest.fixture(scope="module")
def web(base: str) -> Iterator[Image]:
    """Built when asked: on two busy cores it takes some minutes."""
    if not os.environ.get("TEST_WEB_IMAGE"):
        pytest.skip("the web image was not built: set TEST_WEB_IMAGE=1")
    with images.unpacked(images.build("web")) as image:
        yield image


# What needs no build


def lint(file: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([HADOLINT, "--no-color", file], capture_output=True, text=True)


def test_hadolint_finds_nothing() -> None:
    done = lint(PROJECT / "Dockerfile")
    assert (done.returncode, done.stdout) == (0, "")


def test_hadolint_can_find_something(tmp_path: Path) -> None:
    bad = tmp_path / "Dockerfile"
    bad.write_text("FROM debian\nRUN cd /x && apt-get install curl\nCMD gunicorn\n")
    done = lint(bad)
    assert done.returncode != 0
    for rule in ("DL3006", "DL3008", "DL3003", "DL3025"):
        assert rule in done.stdout


def test_every_stage_stands_on_the_pinned_base() -> None:
    stages = re.findall(
        r"^FROM (\S+) AS (\S+)$", (PROJECT / "Dockerfile").read_text(), re.MULTILINE
    )
    names = {name for _, name in stages}
    assert {"web", "worker", "trainer"} <= names
    outside = [source for source, _ in stages if source not in names]
    assert outside == ["${BASE_IMAGE}@${BASE_DIGEST}"]


# Built


def test_there_is_no_build_without_a_digest(base: str) -> None:
    said = images.buildah(
        *("bud", "--pull-never", "--file", PROJECT / "Dockerfile", "--target", "run"),
        *("--build-arg", f"BASE_IMAGE={images.BASE}", str(PROJECT)),
        check=False,
    )
    assert "invalid reference format" in said


def test_the_tool_that_pins_says_the_digest_of_the_registry(base: str, tmp_path: Path) -> None:
    """Asked of a folder in a registry's layout: what it prints is what a build is given."""
    images.buildah("push", "--quiet", images.BASE, f"oci:{tmp_path}:base")
    said = subprocess.run(
        ["sh", PROJECT / "docker" / "pin.sh", f"oci:{tmp_path}:base"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    digest = re.fullmatch(r"BASE_IMAGE=\S+\nBASE_DIGEST=(sha256:[0-9a-f]{64})\n", said)
    assert digest is not None
    assert digest[1] in (tmp_path / "index.json").read_text()


def test_the_web_image_has_no_fault(web: Image) -> None:
    assert faults(web) == []
    assert web.config["Labels"]["org.opencontainers.image.version"] == "1.2.3"
