"""A running site for all, and sites of their own for some faults."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.processes import Process
from tests.support.servers import S3
from tests.support.site import Site

# Needs other packages than the product: `make check-deploy`.
collect_ignore = ["deploy"]


@pytest.fixture(scope="session")
def running_site(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    site = Site(prepared, tmp_path_factory.mktemp("site"))
    try:
        site.start()
        yield site
    finally:
        site.stop()


@pytest.fixture
def site(running_site: Site) -> Iterator[Site]:
    """The running site. Whatever a test stopped goes on afterwards."""
    yield running_site
    for part in (running_site.valkey, *running_site.parts):
        if not part.alive():
            part.kill()
            part.start()
    running_site.child().resume()


@pytest.fixture
def s3_site(prepared: Path, tmp_path: Path, s3_server: S3) -> Iterator[Site]:
    """A site of its own that keeps its pictures in a real S3 server."""
    site = Site(prepared, tmp_path, s3=s3_server)
    try:
        site.start()
        yield site
    finally:
        site.stop()
        if not s3_server.alive():
            s3_server.start()


@pytest.fixture
def poisoned_worker(site: Site, tmp_path: Path) -> Iterator[Process]:
    """Takes the place of the site's own inference worker."""
    worker = site.inference_worker("tests.support.poisoned_worker", tmp_path / "poisoned.log")
    site.worker.kill()
    try:
        yield worker
    finally:
        worker.kill()
