"""What every test of the project may use."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from django.conf import settings
from django.core.files.storage import storages
from pytest_django import Settings

from predictions.models import ModelVersion
from tests.settings import TEST_VALKEY
from tests.support.records import make_model
from tests.support.servers import S3
from tests.support.site import migrate, prepare
from tests.support.stores import use_folder, use_s3


# First, as the groups are read and the order is refined by the plugins' own hooks.
@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Share the tests out among the processes, and put them in order.

    A file's tests stay together for their fixtures' sake, and so do all that use the one running
    site, which take longest and therefore begin early. The tests that empty the database come
    after all the others that use it, in every process.
    """
    turns = {}
    for item in items:
        fixtures = getattr(item, "fixturenames", ())
        database = item.get_closest_marker("django_db")
        group = item.nodeid.partition("::")[0]
        turns[item] = 3
        if database and database.kwargs.get("transaction"):
            group, turns[item] = "emptying", 1
        elif database or "db" in fixtures:
            turns[item] = 0
        elif "prepared" in fixtures:
            group, turns[item] = "site", 2
        item.add_marker(pytest.mark.xdist_group(group))
    items.sort(key=lambda item: turns[item])


def _made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], None]) -> Path:
    """A folder that the first of the test processes makes for all of them."""
    base = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent
    folder = base / name
    with (base / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            draft = base / f"{name}.new"
            shutil.rmtree(draft, ignore_errors=True)
            draft.mkdir()
            make(draft)
            draft.rename(folder)
    return folder


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder that holds an empty database with every table, to copy."""
    return _made_once(tmp_path_factory, "migrated", migrate)


@pytest.fixture(scope="session")
def prepared(migrated: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder as the site itself makes it at its first start, to copy."""
    return _made_once(tmp_path_factory, "prepared", lambda folder: prepare(migrated, folder))


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
        for prefix in ("scans/", "models/"):
            storages["scans"].delete_prefix(prefix)  # type: ignore[attr-defined]  # ours
