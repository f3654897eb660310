"""What every test of the project may use."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.conf import settings
from django.core.files.storage import storages
from pytest_django import Settings

from predictions.models import ModelVersion
from tests.settings import TEST_VALKEY
from tests.support.records import make_model
from tests.support.servers import S3
from tests.support.stores import use_folder, use_s3


@pytest.fixture(autouse=True)
def _clean_slate() -> Iterator[None]:
    """No test finds the cache, the messages or the objects of another one."""
    yield
    TEST_VALKEY.client().flushall()
    for name in ("objects", "models"):
        shutil.rmtree(settings.DATA_DIR / name, ignore_errors=True)


@pytest.fixture
def model(db: None) -> ModelVersion:
    """A network in production, by its record only."""
    return make_model()


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3]:
    server = S3(tmp_path_factory.mktemp("s3"))
    server.start()
    yield server
    server.kill()


@pytest.fixture(params=["folder", "s3"])
def object_store(
    request: pytest.FixtureRequest, settings: Settings, tmp_path: Path
) -> Iterator[str]:
    """Runs the test on a local folder and again on a real S3 server."""
    if request.param == "s3":
        server: S3 = request.getfixturevalue("s3_server")
        use_s3(settings, server)
    else:
        use_folder(settings, tmp_path / "objects")
    yield request.param
    if request.param == "s3":
        for prefix in ("scans/", "models/", "training/"):
            storages["scans"].delete_prefix(prefix)  # type: ignore[attr-defined]  # ours
