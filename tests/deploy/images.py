"""Builds the images for real, without a daemon: buildah over a base that debootstrap has made."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest

PROJECT = Path(__file__).resolve().parents[2]
# Base and storage outlive a run: debootstrap takes a minute. Outside the project, as it is large.
CACHE = Path(os.environ.get("TUMORSITE_IMAGE_CACHE", Path.home() / ".cache" / "tumorsite-images"))
BASE = "localhost/tumorsite-base"
RELEASE, MIRROR = "bookworm", "http://deb.debian.org/debian"
PACKAGES = "python3,python3-pip,python3-venv,ca-certificates"
TOOLS = {"buildah": "buildah", "debootstrap": "debootstrap", "skopeo": "skopeo", "ip": "iproute2"}
# What a base has for people rather than programs; python:slim lacks it as well.
NOT_NEEDED = ("var/cache/apt", "var/lib/apt/lists", "usr/share/doc", "usr/share/man")
# Layers of earlier builds are used again, until there are this many of them.
MOST_LAYERS = 300


def need_tools() -> None:
    """Fetch Debian's packages where that can be done; else the tests say what they lack."""
    if os.geteuid() != 0:
        pytest.skip("building images takes root here: chroot and mount")
    missing = [package for tool, package in TOOLS.items() if shutil.which(tool) is None]
    if not missing:
        return
    if shutil.which("apt-get") is None:
        pytest.skip(f"the images were not built: {', '.join(missing)} cannot be installed")
    install = ["apt-get", "install", "--yes", "--no-install-recommends", *missing]
    for command in (["apt-get", "update"], install):
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"the images were not built: {' '.join(command)}: {done.stderr[-300:]}")


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """Hold the cache, which several checkouts may share."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        # What a run that was broken off has left.
        buildah("rm", "--all")
        if len(buildah("images", "--all", "--quiet").split()) > MOST_LAYERS:
            buildah("rmi", "--prune")
        yield


@cache
def storage() -> tuple[str | Path, ...]:
    """A storage of our own: overlays where the kernel allows them here, or copies, far slower."""
    for driver in ("overlay", "vfs"):
        chosen = (
            *("--root", CACHE / f"storage-{driver}", "--runroot", CACHE / f"run-{driver}"),
            *("--storage-driver", driver),
        )
        if not subprocess.run(["buildah", *chosen, "info"], capture_output=True).returncode:
            break
    return chosen


def buildah(*arguments: str | Path, check: bool = True) -> str:
    """Run buildah in a storage of our own; the output, without its last line end."""
    done = subprocess.run(
        ["buildah", *storage(), *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, "BUILDAH_ISOLATION": "chroot"},
    )
    if check and done.returncode:
        raise AssertionError(f"buildah {arguments[0]}: {(done.stdout + done.stderr)[-3000:]}")
    return done.stdout.strip() if not done.returncode else done.stdout + done.stderr


def _debootstrap(folder: Path) -> None:
    subprocess.run(
        [
            *("debootstrap", "--variant=minbase", f"--include={PACKAGES}"),
            *(RELEASE, str(folder), MIRROR),
        ],
        check=True,
        capture_output=True,
    )
    for part in NOT_NEEDED:
        for path in (folder / part).iterdir():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()


def base_digest() -> str:
    """The digest of the local base, which is made first if there is none."""
    inspect = ("inspect", "--type", "image", "--format", "{{.FromImageDigest}}", BASE)
    found = buildah(*inspect, check=False)
    if found.startswith("sha256:"):
        return found
    container = buildah("from", "scratch")
    try:
        # debootstrap runs programs of the new system, so not on a file system without devices.
        _debootstrap(Path(buildah("mount", container)))
        buildah("commit", "--quiet", container, BASE)
    finally:
        buildah("rm", container)
    return buildah(*inspect)


def _pip_secrets(folder: Path) -> list[str]:
    """This machine's index and authorities, for the time of the build only."""
    authorities = os.environ.get("PIP_CERT") or os.environ.get("SSL_CERT_FILE")
    lines = ["[global]"]
    for name in ("index-url", "extra-index-url"):
        value = os.environ.get(f"PIP_{name.upper().replace('-', '_')}", "")
        # A folder of this machine does not exist within the build.
        if value.startswith("http"):
            lines.append(f"{name} = {value}")
    options = []
    if authorities and Path(authorities).is_file():
        lines.append("cert = /run/ca.pem")
        options += ["--secret", f"id=ca,src={authorities}"]
    config = folder / "pip.conf"
    config.write_text("\n".join(lines) + "\n")
    return [*options, "--secret", f"id=pip,src={config}"]


def build(
    target: str,
    *,
    file: Path = PROJECT / "Dockerfile",
    context: Path = PROJECT,
    layers: bool = True,
) -> str:
    """Build one target; the name of the image. With layers, what was built before is used again."""
    name = f"localhost/tumorsite-{target}"
    with tempfile.TemporaryDirectory() as folder:
        buildah(
            *(
                "bud",
                "--format",
                "docker",
                f"--layers={str(layers).lower()}",
                "--pull-never",
                "--quiet",
            ),
            *("--file", file, "--target", target, "--tag", name),
            *("--build-arg", f"BASE_IMAGE={BASE}", "--build-arg", f"BASE_DIGEST={base_digest()}"),
            *("--build-arg", "VERSION=1.2.3", "--build-arg", "REVISION=0123456789abcdef"),
            *_pip_secrets(Path(folder)),
            str(context),
        )
    return name


@dataclass(frozen=True, slots=True)
class Image:
    """A built image.

    Attributes:
        config: what the image says of itself, as Docker keeps it: User, Env, Cmd, Healthcheck, …
        layers: the digests of its layers' content, from the base on.
        root: its root file system, unpacked.
    """

    config: dict[str, Any]
    layers: list[str]
    root: Path

    def environment(self) -> dict[str, str]:
        return dict(pair.split("=", 1) for pair in self.config["Env"])

    def size(self) -> int:
        """Bytes on disk, as `du` counts them."""
        return 1024 * int(subprocess.check_output(["du", "-sk", self.root], text=True).split()[0])


@contextlib.contextmanager
def unpacked(name: str) -> Iterator[Image]:
    container = buildah("from", "--pull-never", name)
    try:
        facts = json.loads(buildah("inspect", "--type", "image", name))
        yield Image(
            config=facts["Docker"]["config"],
            layers=facts["Docker"]["rootfs"]["diff_ids"],
            root=Path(buildah("mount", container)),
        )
    finally:
        buildah("rm", container)
