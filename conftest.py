"""What every test of the project may use."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from sqlite3 import connect
from typing import Any

import psycopg
import pytest
from django.conf import settings
from django.db import connection
from pytest_django import DjangoDbBlocker, Settings
from xdist.scheduler import LoadScopeScheduling

from predictions.models import ModelVersion
from tests.settings import TEST_VALKEY
from tests.support.records import make_model
from tests.support.servers import S3
from tests.support.site import migrate, migrate_server, prepare
from tests.support.stores import use_folder, use_s3
from tumorsite import throttle

# Their tests share one running site.
SITE = ("tests/browser/", "tests/faults/")
# Most of these need no database, so they can begin while that is being made.
WITHOUT_DATABASE = ("mltasks/", "simulation/")
# Half a minute and more: begun last, one process would go on alone.
LONG = (
    "tumorsite/tests/test_supervisor.py", "training/tests/test_eviction.py", "tests/",
    "accounts/tests/test_in_browser.py", "education/tests/test_editor_in_browser.py",
)  # fmt: skip


class Sharing(LoadScopeScheduling):
    """A file's tests stay in one process for their fixtures' sake; so do all with the site."""

    def _split_scope(self, nodeid: str) -> str:
        return "site" if nodeid.startswith(SITE) else nodeid.partition("::")[0]


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Sharing:
    return Sharing(config, log)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes longest, and with what can go on while the database is being made."""

    def turn(item: pytest.Item) -> int:
        order = (SITE, WITHOUT_DATABASE, LONG)
        return next((n for n, part in enumerate(order) if item.nodeid.startswith(part)), 3)

    items.sort(key=turn)


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


if settings.DATABASES["default"]["ENGINE"].endswith("sqlite3"):

    @pytest.fixture(scope="session")
    def django_db_setup(
        migrated: Path, django_test_environment: None, django_db_blocker: DjangoDbBlocker
    ) -> None:
        """The tests' database: in memory, a copy of the one that was migrated for all."""
        name = settings.DATABASES["default"]["TEST"]["NAME"]
        settings.DATABASES["default"]["NAME"] = connection.settings_dict["NAME"] = name
        with django_db_blocker.unblock(), closing(connect(migrated / "db.sqlite3")) as source:
            connection.ensure_connection()
            source.backup(connection.connection)

else:

    @pytest.fixture(scope="session")
    def django_db_setup(
        tmp_path_factory: pytest.TempPathFactory, django_test_environment: None
    ) -> None:
        """The tests' database: a copy, within the server, of the one that was migrated for all."""
        url = os.environ["TEST_POSTGRES_URL"]
        _made_once(tmp_path_factory, "server", lambda folder: migrate_server(folder, url))
        template, name = connection.settings_dict["NAME"], f"tests_{os.getpid()}"
        # From elsewhere, as nobody may be connected to a database that is copied.
        with psycopg.connect(url, dbname="template1", autocommit=True) as server:
            server.execute(f'CREATE DATABASE {name} TEMPLATE "{template}"')
        settings.DATABASES["default"]["NAME"] = connection.settings_dict["NAME"] = name


@pytest.fixture(autouse=True)
def _clean_slate() -> Iterator[None]:
    """No test finds the cache, the messages or the objects of another one."""
    yield
    TEST_VALKEY.client().flushall()
    throttle.forget()
    for name in ("objects", "models"):
        shutil.rmtree(settings.DATA_DIR / name, ignore_errors=True)


@pytest.fixture
def model(db: None) -> ModelVersion:
    """A network in production, by its record only."""
    return make_model()


@pytest.fixture(scope="session")
def _s3_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3]:
    server = S3(tmp_path_factory.mktemp("s3"))
    server.start()
    yield server
    server.kill()


@pytest.fixture
def s3_server(_s3_process: S3) -> Iterator[S3]:
    """A real S3 server. No test finds the objects of another one in its bucket."""
    yield _s3_process
    _s3_process.empty()


@pytest.fixture(params=["folder", "s3"])
def object_store(request: pytest.FixtureRequest, settings: Settings, tmp_path: Path) -> str:
    """Runs the test on a local folder and again on a real S3 server."""
    if request.param == "s3":
        server: S3 = request.getfixturevalue("s3_server")
        use_s3(settings, server)
    else:
        use_folder(settings, tmp_path / "objects")
    return request.param
