"""The playbooks, run for real: a site below a folder, its data and networks in a real S3 server.

There is no systemd here: units are read as systemd would read them and their commands started.
"""

from __future__ import annotations

import json
import re
import shutil
import socket
import ssl
import stat
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.deploy.ansible_host import PRODUCT, ROOT, TOOLS, Host, Played, files, listens
from tests.deploy.ansible_s3 import DATA, S3, SITE, secret
from tests.support.http import Answer, Browser
from tests.support.processes import wait_until

# A busy machine makes many times as long of it.
pytestmark = pytest.mark.timeout(900)

# The smallest network that there is; what is learnt is not looked at.
RECIPE = """
[network]
size = 32
repeats = [1, 1, 1, 1, 1, 1, 1]
[training]
epochs = 1
slices = 9
negatives = 2
pretrained = false
frozen_blocks = 5
[data]
drawn = 16
drawn_held_out = 16
"""


TIMEOUTS = ("read_timeout", "read_header_timeout", "write_timeout", "idle_timeout")
ANALYZE = shutil.which("systemd-analyze")


def analyze(*words: str | Path) -> subprocess.CompletedProcess[str]:
    assert ANALYZE
    return subprocess.run([ANALYZE, *words], capture_output=True, text=True, check=False)


class Visitor(Browser):
    """A visitor over TLS who trusts the proxy's own authority only."""

    def __init__(self, host: Host) -> None:
        super().__init__(host.url)
        self.context = context = ssl.create_default_context(cafile=str(host.authority))
        self._opener = urllib.request.build_opener(
            urllib.request.HTTPCookieProcessor(self._cookies),
            urllib.request.HTTPSHandler(context=context),
        )

    def half_a_form(self) -> ssl.SSLSocket:
        """An upload whose second half does not come, on a line that stays open."""
        host = self.url.removeprefix("https://")
        name, _, port = host.partition(":")
        line = socket.create_connection((name, int(port)), timeout=20)
        line = self.context.wrap_socket(line, server_hostname=name)
        line.sendall(
            f"POST /scans/ HTTP/1.1\r\nHost: {host}\r\nReferer: {self.url}/\r\n"
            f"Cookie: csrftoken={self._token()}\r\nContent-Length: 1000\r\n"
            "Content-Type: application/x-www-form-urlencoded\r\n\r\ncsrfmiddlewaretoken=".encode()
        )
        return line

    def _send(self, request: urllib.request.Request) -> Answer:
        # Over TLS, forms must come from the site's own pages.
        request.add_header("Referer", self.url + "/")
        return super()._send(request)


def manage(*words: str | Path, **settings: str) -> subprocess.CompletedProcess[str]:
    """A command of the product, outside the host."""
    return subprocess.run(
        [PRODUCT / "bin/python", *words],
        cwd=ROOT, capture_output=True, text=True, check=False,
        env={
            "PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT),
            "DJANGO_SETTINGS_MODULE": "tumorsite.settings", **settings,
        },
    )  # fmt: skip


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3]:
    server = S3(tmp_path_factory.mktemp("s3"))
    server.start()
    yield server
    server.kill()


@pytest.fixture(scope="module")
def host(s3: S3, drawn: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """A deployed site. Nothing of it runs yet: its parts take processor time, and few tests ask.

    The data set is drawn before, as that leaves packages compiled; on the host nothing may.
    """
    trainer = {**s3.settings("trainer"), "DATASET_BUCKET": DATA}
    folder = tmp_path_factory.mktemp("host")
    host = Host(folder, site=s3.settings("site"), trainer=trainer)
    host.secrets += [secret("site"), secret("trainer")]
    try:
        assert host.play("site").changed > 20
        yield host
    finally:
        host.kill()


@pytest.fixture(scope="module")
def running(host: Host) -> Iterator[Host]:
    """The site, healthy, behind its proxy."""
    host.start_all()
    host.start_proxy()
    wait_until(lambda: listens(host.https), seconds=20, what="the proxy")
    wait_until(host.authority.is_file, seconds=20, what="the proxy's authority")
    healthy(host)
    yield host
    host.kill()
    host.proxy.kill()


def healthy(host: Host) -> None:
    """As `site.yml` looks at the end of a deployment."""
    done = host.play("site", "--tags", "health", tumorsite_health_check=True)
    assert done.code == 0, f"{done.text[-3000:]}\n{host.logs()}"


@pytest.fixture(scope="module")
def drawn(s3: S3, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set, and a slice to upload."""
    folder = tmp_path_factory.mktemp("drawn")
    done = manage(ROOT / "tests/deploy/ansible_data.py", folder, DATA_DIR=str(folder / "var"))
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def digest(s3: S3, drawn: Path) -> str:
    """The data set in S3, by what push printed."""
    done = push(s3, drawn, "admin")
    assert done.returncode == 0, done.stderr
    found = re.search(r"is ([0-9a-f]{64}):", done.stdout)
    assert found, done.stdout
    return found[1]


def push(s3: S3, drawn: Path, who: str) -> subprocess.CompletedProcess[str]:
    settings = {**s3.settings(who), "DATASET_BUCKET": DATA, "DATA_DIR": str(drawn / "var")}
    return manage("manage.py", "dataset", "push", str(drawn / "data"), **settings)


def test_a_second_deployment_changes_nothing(host: Host) -> None:
    assert host.play("site").changed == 0


def test_a_run_that_was_broken_off_leaves_its_restarts_to_the_next(host: Host) -> None:
    """It may have changed what runs, and its handlers are forgotten."""
    broken = host.play("site", "--tags", "backup", backup_dir="/dev/null/nowhere")
    assert broken.code != 0
    assert "RUNNING HANDLER" not in broken.text
    after = host.play("site", "--tags", "backup")
    assert "did not come to its end" in after.text
    for part in ("the broker", "TumorSite", "the proxy"):
        assert re.search(rf"RUNNING HANDLER \[\w+ : Restart {part}\]", after.text), part
    assert host.play("site", "--tags", "backup").changed == 0


def test_each_release_has_static_files_that_the_site_cannot_change(host: Host) -> None:
    static = host.root / "opt/tumorsite/releases/first/static"
    assert (static / "staticfiles.json").is_file()
    assert {path.stat().st_mode & 0o777 for path in files(static)} == {0o644}
    assert not (host.root / "var/lib/tumorsite/static").exists()


def test_time_without_a_backup_counts_from_the_deployment(host: Host) -> None:
    """There may never be one, and what has no figure gives no alarm."""
    metric = host.root / "var/lib/prometheus/node-exporter/tumorsite_backup.prom"
    found = re.fullmatch(r"tumorsite_backup_timestamp_seconds (\d+)\n", metric.read_text())
    assert found
    assert -60 < time.time() - int(found[1]) < 3600


def test_environments_go_with_the_last_release_that_has_them(host: Host) -> None:
    home = host.root / "opt/tumorsite"
    for name in ("of-a-release", "of-none"):
        (home / "environments" / name / "bin").mkdir(parents=True)
    old = home / "releases/old"
    old.mkdir()
    (old / ".venv").symlink_to(home / "environments/of-a-release")
    assert host.play("site", "--tags", "release").changed == 1
    assert [path.name for path in (home / "environments").iterdir()] == ["of-a-release"]
    old.rename(home / "releases/.gone")
    assert host.play("site", "--tags", "release").changed == 1
    assert not list((home / "environments").iterdir())
    shutil.rmtree(home / "releases/.gone")


def test_whoever_waits_for_the_tables_is_told_when_they_are_there(
    host: Host, tmp_path: Path
) -> None:
    """The init container of pods that train (`tumorsite.schema` in the chart) asks just this."""
    asked = ("migrate", "--check")
    empty = manage("manage.py", *asked, DATA_DIR=str(tmp_path))
    assert empty.returncode == 1, empty.stderr
    command = host.root / "opt/tumorsite/bin/tumorsite-manage"
    done = subprocess.run([command, *asked], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_secrets_stay_in_the_vault_and_in_files_of_their_owner(host: Host) -> None:
    assert host.vault.startswith("$ANSIBLE_VAULT;1.1;AES256")
    holders = [
        path
        for path in files(host.root)
        if not path.is_symlink() and "/releases/" not in str(path)
        and any(word.encode() in path.read_bytes() for word in host.secrets)
    ]  # fmt: skip
    assert {path.name for path in holders} - {"trainer.env"} == {"site.env", "broker.conf"}
    assert {stat.S_IMODE(path.stat().st_mode) for path in holders} == {0o600}


def test_bad_input_is_named_and_changes_nothing(host: Host) -> None:
    current = (host.root / "opt/tumorsite/current").readlink()
    other = {"release_version": "second", "release_archive_sha256": "0" * 64}
    altered = host.play("site", "--tags", "release", **other)
    assert altered.code != 0
    assert "is another file than release_archive_sha256 says" in " ".join(altered.text.split())
    limits = host.play("site", "--tags", "services", services_soft_shutdown=20)
    assert limits.code != 0
    assert "a worker would be killed with a task in hand" in limits.text
    assert (host.root / "opt/tumorsite/current").readlink() == current
    assert [path.name for path in (host.root / "opt/tumorsite/releases").iterdir()] == ["first"]


@pytest.mark.skipif(not ANALYZE, reason="systemd-analyze is not installed (Debian: systemd)")
def test_systemd_takes_the_units(host: Host, tmp_path: Path) -> None:
    units = sorted((host.root / "etc/systemd/system").iterdir())
    copies = tmp_path / "units"
    copies.mkdir()
    for unit in units:
        # The checker looks for an instance under its own name.
        (copies / unit.name.replace("@.", "@1.")).write_text(unit.read_text())
    verified = analyze("verify", "--man=no", *sorted(copies.iterdir()))
    assert (verified.returncode, verified.stderr) == (0, "")
    services = [unit for unit in sorted(copies.iterdir()) if unit.suffix == ".service"]
    assert len(services) == 6
    for unit in services:
        # 0 is as shut in as can be, 100 is open; a unit without any of it has 96.
        shut_in = analyze("security", "--offline=true", "--threshold=20", unit)
        assert shut_in.returncode == 0, shut_in.stdout
    bad = copies / "tumorsite-beat.service"
    bad.write_text(bad.read_text().replace("TimeoutStopSec=15", "TimeoutStopSex=15"))
    assert "TimeoutStopSex" in analyze("verify", "--man=no", bad).stderr
    bad.write_text(f"[Service]\nExecStart={PRODUCT / 'bin/celery'}\n")
    assert analyze("security", "--offline=true", "--threshold=20", bad).returncode != 0


def test_workers_give_tasks_back_before_they_are_killed(host: Host) -> None:
    for name in ("inference@", "general"):
        service = host.unit(f"tumorsite-{name}.service")["Service"]
        found = re.search(r"worker\.soft_shutdown_timeout=(\d+)", service["ExecStart"])
        assert found
        assert service["KillSignal"] == "SIGQUIT"
        assert 30 < int(found[1]) < int(service["TimeoutStopSec"])


def test_requests_end_before_the_web_is_killed(host: Host) -> None:
    service = host.unit("tumorsite-web.service")["Service"]
    settings = host.environment("tumorsite-web.service")
    assert 20 <= int(settings["STOP_SECONDS"]) < int(service["TimeoutStopSec"])


def test_slow_lines_are_given_as_long_as_under_compose(host: Host) -> None:
    def timeouts(file: Path) -> dict[str, int]:
        done = subprocess.run(
            [TOOLS / "caddy", "adapt", "--adapter", "caddyfile", "--config", file],
            capture_output=True, text=True, check=True,
            env={"SITE_ADDRESS": "a.example", "S3_ADDRESS": "b.example"},
        )  # fmt: skip
        assert '"request_buffers":1000000' in done.stdout
        servers = json.loads(done.stdout)["apps"]["http"]["servers"].values()
        [found] = {tuple((key, one.get(key)) for key in TIMEOUTS) for one in servers}
        return dict(found)

    ours = timeouts(host.root / "etc/caddy/Caddyfile")
    assert all(ours.values())
    assert ours == timeouts(ROOT / "compose/Caddyfile")


@pytest.fixture(scope="module")
def fetched(host: Host, digest: str) -> Played:
    """The playbook that has brought the data set to the host."""
    return host.play("dataset", dataset_digest=digest)


def test_an_altered_data_set_is_refused_and_leaves_nothing(host: Host, s3: S3, digest: str) -> None:
    """One byte of one picture is not as it was pushed."""
    admin = s3.client("admin")
    listed = json.loads(
        admin.get_object(Bucket=DATA, Key=f"data/datasets/{digest}/files.json")["Body"].read()
    )
    entry = next(one for one in listed["files"] if one["path"].startswith("images/"))
    key = f"data/blobs/{entry['sha256']}"
    sound = admin.get_object(Bucket=DATA, Key=key)["Body"].read()
    admin.put_object(Bucket=DATA, Key=key, Body=sound[:-1] + bytes([sound[-1] ^ 1]))
    try:
        elsewhere = host.root / "var/lib/tumorsite/damaged"
        damaged = host.play("dataset", dataset_digest=digest, dataset_dir=str(elsewhere))
    finally:
        admin.put_object(Bucket=DATA, Key=key, Body=sound)
    assert damaged.code != 0
    assert f"{entry['path']} is missing or damaged in the store" in damaged.text
    assert not (elsewhere / digest).exists()


def test_data_set_by_digest(host: Host, drawn: Path, digest: str, fetched: Played) -> None:
    assert fetched.changed == 3
    target = host.root / "var/lib/tumorsite/datasets" / digest
    pushed = {path.name: path.read_bytes() for path in (drawn / "data/images").rglob("*.*")}
    there = {path.name: path.read_bytes() for path in (target / "images").rglob("*.*")}
    assert there == pushed
    assert len(there) > 1
    assert host.play("dataset", dataset_digest=digest).changed == 0


def test_principals_have_no_right_more(host: Host, s3: S3, drawn: Path, digest: str) -> None:
    refused = push(s3, drawn, "trainer")
    assert refused.returncode != 0
    assert "not allowed: these credentials have no right to s3://tumorsite-data/" in refused.stderr
    forbidden: list[tuple[str, str, dict[str, Any]]] = [
        ("trainer", "put_object", {"Bucket": DATA, "Key": "data/x", "Body": b"x"}),
        ("trainer", "put_object", {"Bucket": SITE, "Key": "scans/x", "Body": b"x"}),
        ("trainer", "get_object", {"Bucket": SITE, "Key": "scans/x"}),
        ("site", "get_object", {"Bucket": DATA, "Key": f"data/datasets/{digest}/files.json"}),
        ("site", "put_object", {"Bucket": DATA, "Key": "data/x", "Body": b"x"}),
    ]
    for who, what, where in forbidden:
        with pytest.raises(ClientError, match=r"AccessDenied|403"):
            getattr(s3.client(who), what)(**where)


def test_train_upload_and_download(host: Host, s3: S3, fetched: Played, tmp_path: Path) -> None:
    recipe = tmp_path / "drawn-31.toml"
    recipe.write_text(RECIPE)
    assert host.play("train", training_recipe=str(recipe)).changed >= 1
    model = host.root / "var/lib/tumorsite/trained/drawn-31"
    card = json.loads((model / "model.json").read_text())
    assert (card["name"], card["version"], card["training"]["slices"]) == ("drawn", "31", 36)
    assert host.play("train", training_recipe=str(recipe)).changed == 0

    before = s3.stored("models/")
    assert host.play("upload_model", model_upload_folder=str(model)).changed == 1
    new = s3.stored("models/") - before
    assert any(key.endswith("/model.onnx") for key in new)
    assert host.play("upload_model", model_upload_folder=str(model)).changed == 0

    assert host.play("download_model").changed == 3
    assert host.play("download_model").changed == 0
    released = host.root / "var/lib/tumorsite/downloads/released"
    bundled = json.loads((ROOT / "models/tumorsite-5/model.json").read_text())
    assert json.loads((released / "model.json").read_text())["files"] == bundled["files"]

    onnx = released / "model.onnx"
    onnx.write_bytes(b"damaged")
    found = host.play("download_model")
    assert found.code != 0
    assert "model.onnx: FAILED" in found.text


def test_each_part_has_a_port_for_its_metrics(running: Host) -> None:
    """Web, general, then, after the training worker's, the first inference worker's."""
    for place in (0, 1, 3):
        port = running.metrics + place
        wait_until(partial(listens, port), seconds=20, what=f"metrics on {port}")


def test_forms_that_come_slowly_hold_no_thread_of_the_web(running: Host) -> None:
    visitor = Visitor(running)
    assert visitor.get("/").status == 200
    lines = [visitor.half_a_form() for _ in range(2 * 8)]
    visitor.timeout = 20
    assert visitor.get("/health/live/").status == 200
    for line in lines:
        line.close()


def seen(visitor: Visitor, prediction: str) -> tuple[str, dict[str, bytes]]:
    """A result as its visitor sees it: the words of the page, and every picture on it."""
    page = visitor.get(f"/results/{prediction}/")
    assert page.status == 200
    addresses = set(re.findall(rf"/results/{prediction}/images/\w+\.(?:png|svg)", page.text))
    assert len(addresses) >= 2, page.text
    pictures = {address: visitor.get(address) for address in sorted(addresses)}
    assert {answer.status for answer in pictures.values()} == {200}
    body = re.sub(r"<script.*?</script>|<[^>]*>", " ", page.text, flags=re.DOTALL)
    return " ".join(body.split()), {name: answer.body for name, answer in pictures.items()}


def test_back_up_lose_everything_and_restore(running: Host, s3: S3, drawn: Path) -> None:
    host = running
    visitor = Visitor(host)
    [prediction] = visitor.submit((drawn / "slice.png").read_bytes())

    def state() -> str:
        return str(visitor.get(f"/results/{prediction}/state.json").json()["status"])

    wait_until(lambda: state() not in {"queued", "running"}, seconds=60, what="the answer")
    assert state() == "succeeded", host.logs()
    before, objects = seen(visitor, prediction), s3.contents()

    assert host.play("backup", backup_now=True).changed == 1
    assert (host.folder / "taken away").exists()
    metric = host.root / "var/lib/prometheus/node-exporter/tumorsite_backup.prom"
    assert re.search(
        r"^tumorsite_backup_timestamp_seconds \d{10}$", metric.read_text(), re.MULTILINE
    )

    live = host.play("restore", restore_replace=True)
    assert live.code != 0
    assert "stop the site before its data is replaced" in live.text

    host.stop()
    s3.empty()
    data = host.root / "var/lib/tumorsite"
    for path in data.glob("db.sqlite3*"):
        path.unlink()
    assert not s3.stored()

    # A damaged backup is refused before anything is written.
    [content] = (host.root / "var/backups/tumorsite").glob("*/database.sqlite3")
    sound = content.read_bytes()
    content.write_bytes(sound[:-1] + bytes([sound[-1] ^ 1]))
    refused = host.play("restore")
    assert refused.code != 0
    assert "database.sqlite3 is missing or damaged: use another backup" in refused.text
    assert not s3.stored()
    content.write_bytes(sound)

    restored = host.play("restore")
    assert restored.changed >= 1, restored.text
    assert s3.contents() == objects
    host.start_all()
    healthy(host)
    assert seen(visitor, prediction) == before


def test_roll_back_and_forward(host: Host) -> None:
    """Last, as the running parts stay with the release they were started from."""
    current = host.root / "opt/tumorsite/current"
    nothing = host.play("rollback")
    assert nothing.code != 0
    assert "name one of" in nothing.text
    first = host.root / "opt/tumorsite/releases/first/static"
    before = {path: path.stat().st_mtime_ns for path in files(first)}
    assert host.play("site", "--tags", "release", release_version="second").changed >= 1
    assert current.readlink().name == "second"
    assert (current / "static/staticfiles.json").is_file()
    # What the old processes go on serving from is as it was.
    assert {path: path.stat().st_mtime_ns for path in files(first)} == before
    # A release from before this was so.
    shutil.rmtree(first)
    assert host.play("rollback").changed >= 2
    assert current.readlink().name == "first"
    assert {*files(first)} == {*before}
    assert host.play("rollback", rollback_to="second").code == 0
    assert current.readlink().name == "second"
