"""From a download to a released network and back: the site trains, judges and answers by itself.

Everything is real but small: pictures drawn in place of a download, laid out as BRISC 2025, an
S3 server, a training worker on a disk of its own, and the bundled network trained on at 64 pixels
for sixteen steps.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.core.management import call_command
from pytest_django import Settings

from mltasks.data import load_samples, read_manifest
from mltasks.datasets.items import Mask
from mltasks.datasets.tests.conftest import picture, write_brisc
from mltasks.images import encode_png
from mltasks.inference import load_analyzer
from mltasks.preprocessing import Pixels
from tests.support.http import Browser
from tests.support.mailbox import Mailbox, open_mailbox
from tests.support.networks import fitted, mixed_up, onnx_bytes, write_network
from tests.support.processes import Process, wait_until
from tests.support.registry import Registry
from tests.support.servers import S3
from tests.support.site import Site

# Most of it is the training, which a busy machine makes many times as long.
pytestmark = [pytest.mark.faults, pytest.mark.timeout(900, func_only=True)]

# No changes to the pictures: sixteen steps are for learning what is there.
RECIPE = """
[network]
size = 64
[training]
start = "models/tumorsite-1"
epochs = 4
slices = 9
negatives = 2
learning_rate = 1e-3
ema = 0.8
[chances]
warp = 0
remap = 0
tone = 0
invert = 0
jitter = 0
[data]
drawn = 16
drawn_held_out = 16
"""
# The network to be replaced, the trained one, and one that is worse again.
POOR, TRAINED, WORSE = "20", "21", "22"


def drawn(number: int, label: str) -> tuple[Pixels, Mask]:
    """A head with a large disc, a small one, stripes or nothing: classes that are soon learnt."""
    pixels = picture(number) // 2
    y, x = np.mgrid[0:96, 0:96]
    across, down = np.random.default_rng(number).uniform(40, 56, 2)
    distance = np.hypot(x - across, y - down)
    mask: Mask = {
        "glioma": distance < 22,
        "meningioma": distance < 9,
        "no_tumor": distance < 0,
        "pituitary": (distance < 22) & ((x + y) % 12 < 6),
    }[label]
    pixels[mask] = 250
    return pixels, mask


def said_by(*words: object, **options: Any) -> str:
    """What a command of `manage.py` prints."""
    said = io.StringIO()
    call_command(*map(str, words), **options, stdout=said)
    return said.getvalue()


def prepared_data(folder: Path) -> Path:
    """Download, import, audit and split: the data folder."""
    download = write_brisc(folder / "brisc2025", 3, drawn)
    data, audit = folder / "data", folder / "audit"
    made = {"name": "Drawn", "licence": "CC0", "citation": "Nobody, 2026"}
    said = said_by("dataset", "import", download, output=data, **made)
    assert "72 images" in said
    assert "54 masks" in said
    said = said_by("dataset", "audit", data, output=audit, trial=10, no_model=True)
    assert "72 images: 0 faults" in said
    assert (audit / "report.html").is_file()
    said = said_by("dataset", "split", data, groups=audit / "groups.csv", folds=2)
    assert "72 got one, 0 would tie folds together" in said
    with (data / "manifest.csv").open(newline="", encoding="utf-8") as stream:
        assert {row["fold"] for row in csv.DictReader(stream)} == {"0", "1"}
    return data


@pytest.fixture
def mailbox() -> Iterator[Mailbox]:
    with open_mailbox() as box:
        yield box


@pytest.fixture
def looking_site(
    prepared: Path, tmp_path: Path, s3_server: S3, mailbox: Mailbox, settings: Settings
) -> Iterator[Site]:
    """A site that looks every second for data to train on; this process pushes to its bucket."""
    (tmp_path / f"drawn-{TRAINED}.toml").write_text(RECIPE)
    extra = {
        "DATASET_BUCKET": s3_server.BUCKET,
        "DATASET_PREFIX": tmp_path.name,
        "TRAINING_DATASET": "drawn",
        "TRAINING_RECIPE": str(tmp_path / f"drawn-{TRAINED}.toml"),
        "TRAINING_CHECK_SECONDS": "1",
        "TRAINING_CHECKPOINT_SECONDS": "0",
        "NOTIFY_URLS": mailbox.address,
    }
    settings.DATASET_STORE = {
        "bucket": s3_server.BUCKET,
        "prefix": tmp_path.name,
        "endpoint": s3_server.url,
        "region": "us-east-1",
        "key": s3_server.KEY,
        "secret": s3_server.SECRET,
    }
    (tmp_path / "site").mkdir()
    site = Site(prepared, tmp_path / "site", s3=s3_server, **extra)
    try:
        site.start()
        yield site
    finally:
        site.stop()


@pytest.fixture
def trainer(looking_site: Site, tmp_path: Path) -> Iterator[Process]:
    worker = looking_site.training_worker(tmp_path / "trainer")
    worker.start()
    yield worker
    worker.kill()


def runs(site: Site) -> list[dict[str, Any]]:
    with site.database() as database:
        return [dict(row) for row in database.execute("SELECT * FROM training_trainingrun")]


def the_run(site: Site, trainer: Process) -> dict[str, Any]:
    """The one training that has started by itself, once it has ended."""

    def ended() -> bool:
        assert trainer.alive(), trainer.text()
        return any(row["status"] not in {"queued", "running"} for row in runs(site))

    wait_until(ended, seconds=150, what="the training to end", pause=1)
    [run] = runs(site)
    assert run["status"] == "succeeded", (run["message"], trainer.text()[-3000:])
    return run


def test_from_download_to_released_network_and_back(
    looking_site: Site, trainer: Process, mailbox: Mailbox, tmp_path: Path
) -> None:
    site, registry = looking_site, Registry(looking_site)
    data = prepared_data(tmp_path)
    # Sixteen steps make no network to replace the bundled one with, so the trained one is held
    # against one that names wrong classes and marks no area. Nothing lets that one through the
    # gate: it takes the recorded way around it.
    weights = mixed_up(fitted(data, fold=0))
    poor = write_network(tmp_path / "poor", onnx_bytes(weights, bright=2), version=POOR)
    answers = registry.ask(("register", poor), ("promote", POOR, "--override", "to be replaced"))
    assert [done for done, _ in answers] == [True, True], answers

    # Nobody asks for anything from here on: the data is pushed, and the scheduler sees it.
    assert runs(site) == []
    digest = said_by("dataset", "push", data, name="drawn").split()[2].rstrip(":")
    run = the_run(site, trainer)
    assert (run["dataset"], run["automatic"]) == (digest, 1)
    assert [row["epoch"] for row in json.loads(run["history"])] == [1, 2, 3, 4]
    assert mailbox.subjects() == [f"TumorSite: drawn {TRAINED} has passed the gate"]
    # A candidate answers nobody until a person says so.
    wait_until(lambda: registry.answering() == POOR, seconds=60, what="the network to replace")
    model = tmp_path / "model"
    worse = onnx_bytes(mixed_up(weights), bright=2)
    said = registry.ask(
        ("promote", TRAINED),
        ("pull", TRAINED, "--output", model),
        ("register", write_network(tmp_path / "worse", worse, version=WORSE)),
        ("compare", WORSE, "--data", data, "--fold", "0"),
        ("promote", WORSE),
    )
    assert [done for done, _ in said] == [True, True, True, True, False], said
    assert "\nREFUSED" in said[3][1]
    assert "may be worse" in said[4][1]
    wait_until(lambda: registry.answering() == TRAINED, seconds=60, what="the trained network")

    # The site says of slices that training never saw what the model folder says of them.
    records = [row for row in read_manifest(data) if row.fold == 0]
    samples = load_samples(data, records)[:4]
    ids = Browser(site.url).submit(*(encode_png(sample.pixels) for sample in samples))
    site.wait_for(ids)
    assert registry.answered_by(ids) == [TRAINED] * len(ids)
    expected = load_analyzer(model).analyze([sample.pixels for sample in samples])
    rows = site.predictions()
    assert [rows[pk]["label"] or None for pk in ids] == [found.label for found in expected]
    check_report(model, data, tmp_path / "report", json.loads(run["metrics"]))

    registry.do("rollback", "--reason", "small tumours are missed")
    wait_until(lambda: registry.answering() == POOR, seconds=60, what="the network before")
    # What the trained network has answered stays its answer, and its data is trained on once.
    assert registry.answered_by(ids) == [TRAINED] * len(ids)
    assert len(runs(site)) == 1


def check_report(model: Path, data: Path, report: Path, measured: dict[str, Any]) -> None:
    """The report of `evaluate` says of the network what its training has measured."""
    said_by("evaluate", model=model, data=data, fold=0, output=report, corruptions=0, drawn=4)
    page = (report / "report.html").read_text()
    figures = json.loads((report / "report.json").read_text())["validation"]
    assert f"drawn {TRAINED}: how it errs" in page
    assert "Failures first" in page
    assert figures["n"] == 36
    assert figures["accuracy"]["value"] == measured["accuracy"]["value"]
    # Guessing one class would give a quarter.
    assert figures["accuracy"]["value"] > 0.6
