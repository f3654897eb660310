"""The audit of sets with known faults, and its report."""

from __future__ import annotations

import csv
import json
import re
import shutil
import sys
import tracemalloc
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from matplotlib.figure import Figure
from PIL import Image

from mltasks.data import DataError
from mltasks.datasets import audit, importing, plots, shortcuts
from mltasks.datasets.copies import Pair
from mltasks.datasets.form import BRIDGE, Dataset, Row, read_dataset, replace_rows
from mltasks.datasets.gathering import Gathered, gather
from mltasks.datasets.items import Mask
from mltasks.datasets.masks import check_mask, fit, misplaced
from mltasks.datasets.relations import relate
from mltasks.datasets.tests.conftest import (
    LIMITS,
    MADE,
    picture,
    request,
    save,
    save_mask,
    tumour,
    write_brisc,
)
from mltasks.inference import load_analyzer
from mltasks.preprocessing import Pixels
from mltasks.tests.test_inference import SHIPPED

NEIGHBOURS = ("00001_gl_ax", "00003_gl_co", "00005_gl_sa")


@pytest.fixture
def faulty(brisc: Path, tmp_path: Path) -> Path:
    """BRISC's layout, imported, then spoilt: everything an audit should see."""
    train = brisc / "classification_task" / "train"
    test = brisc / "classification_task" / "test"
    # A test image that is a training image, mirrored; and one picture with two labels.
    first = train / "no_tumor" / "brisc2025_train_00007_no_ax_t1.jpg"
    with Image.open(first) as image:
        save(np.array(image)[:, ::-1], test / "no_tumor" / "brisc2025_test_00019_no_ax_t1.jpg")
    glioma = train / "glioma" / "brisc2025_train_00001_gl_ax_t1.jpg"
    twin = train / "pituitary" / "brisc2025_train_00010_pi_ax_t1.jpg"
    twin.write_bytes(glioma.read_bytes())
    masks = brisc / "segmentation_task" / "train" / "masks"
    save_mask(tumour(2)[1][::-1], masks / "brisc2025_train_00002_gl_co_t1.png")
    save_mask(np.zeros((96, 96), np.bool_), masks / "brisc2025_train_00003_gl_sa_t1.png")
    save(np.full((96, 96), 90, np.uint8), train / "no_tumor" / "brisc2025_train_00008_no_co_t1.jpg")
    importing.run(request(brisc, tmp_path / "data"))
    folder = tmp_path / "data"
    images = folder / "images"
    (images / "brisc2025_train_00004_me_ax_t1.jpg").unlink()
    cut = images / "brisc2025_train_00005_me_co_t1.jpg"
    cut.write_bytes(cut.read_bytes()[:800])
    save(picture(50), images / "brisc2025_train_00006_me_sa_t1.jpg")
    save(picture(51), images / "stray.jpg")
    save_mask(np.ones((40, 40), np.bool_), folder / "masks" / "brisc2025_train_00011_pi_co_t1.png")
    return folder


class Page(HTMLParser):
    """A page's elements, the names of its places, and what it links to."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.tags, self.names, self.links = Counter[str](), list[str](), list[str]()
        self.pictures = list[dict[str, str | None]]()
        self.feed(file.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.names += [value or "" for name, value in attrs if name == "id"]
        self.links += [value or "" for name, value in attrs if name in {"src", "href"}]
        if tag == "img":
            self.pictures.append(dict(attrs))


def test_everything_is_seen(faulty: Path, tmp_path: Path) -> None:
    figures = audit.audit(
        audit.Request(
            [faulty], tmp_path / "report", LIMITS, load_analyzer(SHIPPED, threads=1), trial=8
        )
    )
    kinds = {fault["kind"]: fault["where"] for fault in figures["faults"]}
    assert kinds["missing"] == "images/brisc2025_train_00004_me_ax_t1.jpg"
    assert kinds["damaged"] == "images/brisc2025_train_00005_me_co_t1.jpg"
    assert kinds["foreign"] == "images/stray.jpg"
    wheres = {(fault["kind"], fault["where"]) for fault in figures["faults"]}
    assert ("digest", "images/brisc2025_train_00006_me_sa_t1.jpg") in wheres
    assert any("brisc2025_train_00011" in where for _, where in wheres)
    copies = figures["copies"]
    assert copies["contradicting_images"] == [
        "BRISC 2025/brisc2025_train_00001_gl_ax_t1",
        "BRISC 2025/brisc2025_train_00010_pi_ax_t1",
    ]
    assert copies["pairs_of_equal_pixels"] == 1
    [beyond] = [item for item in copies["beyond"] if item["one"] == "test"]
    assert (beyond["other"], beyond["images"], beyond["total"]) == ("train", 1, 12)
    assert copies["turns"] == {"4": 1}
    masks = {item["image"].split("_")[2]: item["kind"] for item in figures["masks"]["suspicious"]}
    assert masks["00002"] == "misplaced"
    assert masks["00003"] == "empty"
    refused = [item["image"] for item in figures["not_brains"]["images"]]
    assert "BRISC 2025/brisc2025_train_00008_no_co_t1" in refused
    page = (tmp_path / "report" / "report.html").read_text()
    assert f"Refused by tumorsite 5: {len(refused)} image" in page
    assert "Each for its score and how far it lies" in page
    assert "fewer than 10 groups" in figures["shortcuts"]["class"]["not_measured"]
    assert figures == json.loads((tmp_path / "report" / "report.json").read_text())


def test_masks_that_cannot_be_read_are_faults_and_no_end(tmp_path: Path) -> None:
    brisc = write_brisc(tmp_path / "brisc2025", 2, lambda number, label: tumour(number))
    importing.run(request(brisc, tmp_path / "data"))
    masks = tmp_path / "data" / "masks"
    # Of each pair of neighbours by name one mask is gone, cut, or of another size.
    missing, cut, small = (masks / f"brisc2025_train_{name}_t1.png" for name in NEIGHBOURS)
    missing.unlink()
    cut.write_bytes(cut.read_bytes()[:60])
    save_mask(np.ones((40, 40), np.bool_), small)
    audit.audit(audit.Request([tmp_path / "data"], tmp_path / "report", LIMITS, trial=4))
    figures = json.loads((tmp_path / "report" / "report.json").read_text())
    assert {(fault["kind"], fault["where"]) for fault in figures["faults"]} == {
        ("missing", f"masks/{missing.name}"),
        ("damaged", f"masks/{cut.name}"),
        ("digest", f"masks/{small.name}"),
    }


def test_a_joined_set_states_all_its_licences(slices: Path, brisc: Path, tmp_path: Path) -> None:
    importing.run(request(slices, tmp_path / "old", **MADE))
    importing.run(request(brisc, tmp_path / "both", onto=tmp_path / "old"))
    figures = audit.audit(audit.Request([tmp_path / "both"], tmp_path / "report", LIMITS, trial=0))
    [described] = figures["sets"]
    assert [part["licence"] for part in described["parts"]] == ["CC0", "CC BY 4.0"]
    page = (tmp_path / "report" / "report.html").read_text()
    for told in ("CC0", "Nobody, 2026", "CC BY 4.0", "arXiv 2506.14318"):
        assert told in page


def test_only_what_is_used_leaks(tmp_path: Path) -> None:
    """Neither excluded rows nor those in no fold, though a split still groups one of its own."""
    source = tmp_path / "source"
    for number in range(5):
        save(picture(1), source / "no" / f"copy{number}.png")
        save(picture(10 + number), source / "yes" / f"other{number}.png")
    importing.run(request(source, tmp_path / "data", **MADE))
    data = read_dataset(tmp_path / "data")
    changes: dict[str, dict[str, Any]] = {
        "no_copy0": {"fold": 0},
        "no_copy1": {"fold": 1},
        "no_copy2": {"fold": 1, "excluded": "a copy of no_copy0"},
        "no_copy3": {"excluded": BRIDGE},
    }
    rows = [replace(row, **changes.get(row.id, {})) for row in data.rows]
    # What was taken out may be gone, too.
    (tmp_path / "data" / "images" / "no_copy2.png").unlink()
    replace_rows(data, rows, data.info)
    figures = audit.audit(audit.Request([data.folder], tmp_path / "report", LIMITS, trial=0))
    assert figures["faults"] == []
    assert figures["copies"]["pairs"] == {"across folds": 1, "in one part": 5}
    assert figures["copies"]["existing_groups"]["in two folds"] == 1
    assert "9 of 10; 1 excluded" in (tmp_path / "report" / "report.html").read_text()
    groups = (tmp_path / "report" / "groups.csv").read_text()
    assert "no_copy3" in groups
    assert "no_copy2" not in groups


def test_only_reports_are_replaced(faulty: Path, tmp_path: Path) -> None:
    def asked(output: Path) -> audit.Request:
        return audit.Request([faulty], output, LIMITS, trial=0)

    # A folder of someone's own, and a report of `evaluate`.
    own, evaluated, report = (tmp_path / name for name in ("own", "evaluated", "report"))
    for folder in (own, evaluated):
        (folder / "pictures").mkdir(parents=True)
        (folder / "report.html").write_text("x")
        (folder / "report.json").write_text("{}")
    (own / "groups.csv").write_text("x")
    (own / "thesis.tex").write_text("x")
    report.mkdir()  # empty
    for _ in range(2):
        audit.audit(asked(report))
    for place in ("notes.txt", "pictures/holiday.jpg"):
        (report / place).write_text("x")
        with pytest.raises(DataError, match="choose another output"):
            audit.audit(asked(report))
        (report / place).unlink()
    (tmp_path / "file").write_text("x")
    for output in (own, evaluated, tmp_path / "file"):
        with pytest.raises(DataError, match="is no audit report, or holds other files"):
            audit.audit(asked(output))
    assert (own / "thesis.tex").exists()
    assert (evaluated / "report.html").read_text() == "x"


def test_the_report_stands_by_itself(faulty: Path, tmp_path: Path) -> None:
    report = tmp_path / "report"
    for _ in range(2):
        audit.audit(audit.Request([faulty], report, LIMITS, trial=4))
    text, page = (report / "report.html").read_text(), Page(report / "report.html")
    assert "prefers-color-scheme: dark" in text
    assert 'name="viewport"' in text
    assert len(page.links) > 6
    for link in page.links:
        assert not re.match(r"[a-z]+:|/", link)
        assert link[1:] in page.names if link[0] == "#" else (report / link).is_file()
    assert len(page.names) == len(set(page.names))
    assert not re.search(r"https?://(?!www\.w3\.org)", text)
    assert text.count("<svg") == text.count('role="img"') == 2
    pictures = [picture["src"] for picture in page.pictures]
    assert pictures == [f"pictures/{number:04d}.jpg" for number in range(1, len(pictures) + 1)]
    assert all(own["loading"] == "lazy" and own["alt"] for own in page.pictures)
    assert "_00007_no_ax_t1, mirrored" in text
    assert "_00002_gl_co_t1, its mask outlined" in text
    with (report / "groups.csv").open() as stream:
        rows = {row["id"]: row for row in csv.DictReader(stream)}
    assert len(rows) == 24 - 3
    test, train = (rows[f"brisc2025_{name}_no_ax_t1"] for name in ("test_00019", "train_00007"))
    assert test["group"] == train["group"]
    assert test["copies"] == train["copies"]
    assert list(tmp_path.glob(".*")) == []


def test_what_a_set_says_is_text(faulty: Path, tmp_path: Path) -> None:
    hostile = "<script>alert('x')</script>&\"><img src=x>"
    data = read_dataset(faulty)
    rows = [
        # Those of the two pictures with two labels, of one that is missing, and of a mask.
        replace(row, id=f"{row.id}'><script>x&", file=row.image.removeprefix("images/"))
        if row.id.split("_")[2] in {"00001", "00004", "00010"}
        else row
        for row in data.rows
    ]
    info = {**data.info, "name": hostile, "licence": hostile, "citation": hostile}
    replace_rows(data, rows, info)
    report = tmp_path / "report"
    audit.audit(audit.Request([faulty], report, LIMITS, trial=0))
    text, page = (report / "report.html").read_text(), Page(report / "report.html")
    assert page.tags["script"] == 0
    assert page.tags["img"] == len(list((report / "pictures").iterdir())) > 4
    assert any("'><script>x&" in (picture["alt"] or "") for picture in page.pictures)
    title = (
        "Audit of &lt;script&gt;alert(&#x27;x&#x27;)&lt;/script&gt;&amp;&quot;&gt;&lt;img src=x&gt;"
    )
    assert text.count(title) == 2


def test_cues_are_stated_with_their_intervals(
    faulty: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stated(value: float) -> dict[str, Any]:
        return {"value": value, "ci95": [value - 0.1, value + 0.1]}

    cues = {
        cue: {"balanced_accuracy": stated(0.5), "auc": {"glioma": stated(0.6)}}
        for cue in shortcuts.CUES
    }
    found = {"n": 24, "chance": 0.25, "as it is": cues, "as the network sees it": cues}
    answers = {"class": found, "tumour or none": found}
    monkeypatch.setattr("mltasks.datasets.shortcuts.measure", lambda *args, **options: answers)
    audit.audit(audit.Request([faulty], tmp_path / "report", LIMITS, trial=0))
    page = Page(tmp_path / "report" / "report.html")
    assert page.tags["svg"] == 1 + 4
    assert len(page.names) == len(set(page.names))
    text = (tmp_path / "report" / "report.html").read_text()
    assert text.count("0.500 (0.400–0.600)") == text.count("0.600 (0.500–0.700)") == 4 * len(cues)


def test_without_matplotlib_there_is_no_report(
    faulty: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    before = set(tmp_path.iterdir())
    options = {"output": tmp_path / "report", "no_model": True, "trial": 0}
    with pytest.raises(CommandError, match="matplotlib is not installed"):
        call_command("dataset", "audit", str(faulty), **options)
    assert set(tmp_path.iterdir()) == before


def test_copies_across_sets(faulty: Path, tmp_path: Path) -> None:
    source = tmp_path / "other"
    with Image.open(faulty / "images" / "brisc2025_test_00013_gl_ax_t1.jpg") as image:
        save(np.array(image.rotate(90)), source / "yes" / "a.png")
    save(picture(60), source / "no" / "b.png")
    importing.run(request(source, tmp_path / "second", **MADE))
    figures = audit.audit(
        audit.Request([faulty, tmp_path / "second"], tmp_path / "report", LIMITS, trial=0)
    )
    assert figures["copies"]["pairs"]["across sets"] == 1
    # A tumour of no stated kind does not contradict a glioma.
    assert len(figures["copies"]["contradicting_images"]) == 2
    assert figures["copy_search"] == {}
    with pytest.raises(DataError, match="the same folder is given twice"):
        audit.audit(audit.Request([faulty, faulty], tmp_path / "report", LIMITS))
    again = shutil.copytree(faulty, tmp_path / "again")
    words = f"{faulty} and {again} are all called BRISC 2025: give one"
    with pytest.raises(DataError, match=words):
        audit.audit(audit.Request([faulty, again], tmp_path / "report", LIMITS))


def test_the_command_and_its_errors(faulty: Path, tmp_path: Path, capsys: Any) -> None:
    out = tmp_path / "report"
    call_command(
        "dataset", "audit", str(faulty), "--output", str(out), "--no-model", "--trial", "2"
    )
    assert "1 with a copy" not in capsys.readouterr().out
    assert (out / "report.html").exists()
    with pytest.raises(CommandError, match="is no audit report"):
        call_command("dataset", "audit", str(faulty), "--output", str(faulty), "--no-model")
    with pytest.raises(CommandError, match="no data set: cannot read"):
        call_command("dataset", "audit", str(tmp_path), "--output", str(out), "--no-model")
    with pytest.raises(CommandError, match="no model in"):
        call_command(
            *("dataset", "audit", str(faulty), "--output", str(out), "--model", str(tmp_path))
        )
    for path in (faulty / "images").iterdir():
        path.unlink()
    with pytest.raises(CommandError, match="none of the images can be used"):
        call_command("dataset", "audit", str(faulty), "--output", str(out), "--no-model")


def test_memory_grows_by_little_more_than_the_fingerprints(tmp_path: Path) -> None:
    """What is kept of an image is far less than its pixels."""
    kept = []
    for count in (10, 40):
        source = tmp_path / f"source{count}"
        for number in range(count):
            save(picture(number, 150, 150), source / ("yes", "no")[number % 2] / f"{number}.png")
        importing.run(request(source, tmp_path / str(count), **MADE))
        data = read_dataset(tmp_path / str(count))
        tracemalloc.start()
        found = gather([data], LIMITS, None, lambda what, total: _quiet())
        kept.append(tracemalloc.get_traced_memory()[0])
        tracemalloc.stop()
        assert len(found.rows) == count
    # The store has room for 1,024 from the start; beside it:
    assert (kept[1] - kept[0]) / 30 < 3_000


def _quiet() -> Any:
    from contextlib import nullcontext

    return nullcontext(lambda done: None)


def shape(kind: str) -> tuple[Pixels, Mask]:
    pixels, mask = tumour(5)
    changed = {
        "sound": mask,
        "empty": np.zeros_like(mask),
        "full": np.ones_like(mask),
        "outside": np.pad(np.ones((9, 9), np.bool_), ((0, 87), (0, 87))),
        "mirrored": mask[:, ::-1],
        "upside down": mask[::-1],
        "shifted": np.roll(mask, 14, axis=1),
    }
    return pixels, np.ascontiguousarray(changed[kind])


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("sound", None),
        ("empty", "empty"),
        ("full", "full"),
        ("outside", "outside"),
        ("mirrored", "misplaced"),
        ("upside down", "misplaced"),
        ("shifted", "misplaced"),
    ],
)
def test_masks_that_lie_wrong(kind: str, expected: str | None) -> None:
    found = check_mask(*shape(kind))
    assert (found and found[0]) == expected


def test_the_better_place_is_named() -> None:
    assert fit(*shape("mirrored"))[1] == "mirrored left to right"
    assert fit(*shape("upside down"))[1] == "upside down"
    pixels, mask = shape("sound")
    where = fit(pixels, np.roll(mask, (8, 8), (0, 1)))[1]
    assert where == "shifted by 8% of the longer side up and to the left"
    moved = [misplaced(mask, np.random.default_rng(seed)) for seed in range(20)]
    assert np.mean([check_mask(pixels, wrong) is not None for wrong in moved]) > 0.8


def test_no_pair_is_more_alike_than_one(monkeypatch: pytest.MonkeyPatch) -> None:
    drawings: list[Callable[[Any], None]] = []
    monkeypatch.setattr(
        "mltasks.datasets.plots.drawn", lambda title, alt, draw: drawings.append(draw)
    )
    found = Gathered(
        sets=[], rows=[Row(name, "glioma", "") for name in "ab"], set_of=[0, 0], numbers=[0, 1]
    )
    found.sets.append(Dataset(Path("set"), found.rows, {}, "", []))
    counts = relate(found, [Pair(1.0, 0, 1, 0, "whole")]).likeness
    plots.likeness({f"{step / 500:.3f}": count for step, count in counts.items()})
    axes = Figure().subplots()
    drawings[0](axes)
    assert axes.get_xlim()[1] == 1
    assert max(bar.get_extents().x1 for bar in axes.patches) <= axes.transData.transform((1, 0))[0]


def test_shortcuts_are_measured_group_wise(monkeypatch: pytest.MonkeyPatch) -> None:
    """Width tells the label; brightness only tells the group, which must not help."""
    monkeypatch.setattr("mltasks.datasets.shortcuts._RESAMPLES", 20)
    monkeypatch.setattr("mltasks.datasets.shortcuts._TREES", 10)
    for cue in ("aspect", "border", "all"):
        monkeypatch.delitem(shortcuts.CUES, cue)
    rng = np.random.default_rng(0)
    values = rng.normal(size=(240, shortcuts.COLUMNS)).astype(np.float32)
    groups = np.repeat(np.arange(60), 4)
    none = groups % 2 == 0
    values[:, 0] += 6 * none
    values[:, 12:] += rng.normal(size=(60, 16))[groups] * 9
    labels = np.where(none, "no_tumor", "tumor").tolist()
    found = shortcuts.measure(values, values, labels, groups.tolist())
    assert found["class"] == {"not_measured": "all images have the same label"}
    answers = found["tumour or none"]
    assert answers["chance"] == 0.5
    size = answers["as it is"]["size"]
    assert size["balanced_accuracy"]["value"] > 0.95
    assert size["auc"]["no_tumor"]["value"] > 0.95
    low, high = answers["as it is"]["histogram"]["balanced_accuracy"]["ci95"]
    assert low < 0.65
    assert high < 0.8


def test_the_heads_frame_takes_margins_away() -> None:
    pixels = picture(4)
    wide = np.pad(pixels, ((0, 0), (60, 60)), constant_values=3)
    before = shortcuts.cues(pixels)[2], shortcuts.cues(wide)[2]
    after = shortcuts.framed_cues(pixels)[2], shortcuts.framed_cues(wide)[2]
    assert before[1] / before[0] > 2
    assert after[1] / after[0] == pytest.approx(1, abs=0.05)
