"""`manage.py analyze` over good, odd and bad files."""

from __future__ import annotations

import io
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from PIL import Image

from mltasks.images import Decoded, orient, unorient
from mltasks.inference import Analysis, Analyzer, load_analyzer
from mltasks.preprocessing import Pixels
from mltasks.stream import save_area
from mltasks.tests.conftest import head
from mltasks.tests.test_inference import SHIPPED
from tests.support.dicom import dicom
from tests.support.disks import full_disk

KEYS = [
    "path",
    "status",
    "label",
    "probabilities",
    "area_mask",
    "area_fraction",
    "seconds",
    "model",
    "error",
]


class Stub(Analyzer):
    """Finds a tumour in the upper left quarter; fails on pictures 77 pixels wide."""

    def __init__(self) -> None:
        self.name, self.version = "stub", "0"
        self.largest_batch = 0

    def analyze(self, images: Any) -> list[Analysis]:
        self.largest_batch = max(self.largest_batch, len(images))
        return [self._found(image) for image in images]

    def _found(self, image: Pixels) -> Analysis:
        height, width = image.shape[:2]
        if width == 77:
            raise RuntimeError("no memory for 77")
        area = np.zeros((height, width), np.bool_)
        area[: height // 2, : width // 2] = True
        rejected = width == 78
        return Analysis(
            status="rejected" if rejected else "ok",
            reason="No brain." if rejected else "",
            label=None if rejected else "glioma",
            probabilities={"glioma": 1.0, "meningioma": 0.0, "no_tumor": 0.0, "pituitary": 0.0},
            brain_score=0.9,
            uncertainty=0.0,
            area=area,
            attention=np.zeros((height, width), np.uint8),
            area_fraction=0.25,
            bounding_box=(0, 0, width // 2, height // 2),
            hottest_point=(0, 0),
            prediction_set=("glioma", "meningioma"),
            flagged=False,
            committed=True,
            unlikeness=0.1,
            inner=area,
            outer=area,
        )


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch) -> Stub:
    found = Stub()
    monkeypatch.setattr(
        "mltasks.management.commands.analyze.load_analyzer", lambda *args, **kwargs: found
    )
    return found


def run(folder: Path, *paths: Path, **options: Any) -> list[dict[str, Any]]:
    output = folder / "out" / "results.jsonl"
    call_command("analyze", *map(str, paths), output=output, stdout=io.StringIO(), **options)
    return [json.loads(line) for line in output.read_text().splitlines()]


def grey(width: int, height: int) -> Image.Image:
    return Image.fromarray(np.full((height, width), 90, np.uint8))


def test_files_and_folders(stub: Stub, tmp_path: Path) -> None:
    for name in ("b", "a", "a/deeper"):
        (tmp_path / "in" / name).mkdir(parents=True, exist_ok=True)
        grey(40, 30).save(tmp_path / "in" / name / "same name ü.png")
    (tmp_path / "in" / "readme.txt").write_text("not looked at")
    (tmp_path / "in" / "a" / "bad.jpg").write_bytes(b"no picture")
    grey(77, 30).save(tmp_path / "in" / "b" / "fails.png")
    grey(78, 30).save(tmp_path / "in" / "b" / "refused.png")
    missing = tmp_path / "missing.png"
    lines = run(tmp_path, tmp_path / "in", missing, areas=tmp_path / "areas", batch=4)
    by_name = {Path(line["path"]).name: line for line in lines}
    assert len(lines) == 7
    assert stub.largest_batch == 4
    for line in lines:
        assert list(line)[: len(KEYS)] == KEYS
        assert line["model"] == "stub 0"
        assert line["seconds"] >= 0
    masks = [line["area_mask"] for line in lines if line["status"] == "ok"]
    assert len(masks) == len(set(masks)) == 3
    for path in masks:
        with Image.open(path) as mask:
            assert (mask.format, mask.mode, mask.size) == ("PNG", "L", (40, 30))
            assert np.array(mask)[:15, :20].min() == 255
            assert np.array(mask).sum() == 15 * 20 * 255
    for name, error in (
        ("bad.jpg", "not a picture"),
        ("fails.png", "RuntimeError"),
        ("missing.png", "No such file"),
    ):
        assert by_name[name]["status"] == "error"
        assert error in by_name[name]["error"]
        assert by_name[name]["probabilities"] is None
        assert by_name[name]["area_mask"] is None
    assert by_name["refused.png"]["status"] == "rejected"
    assert by_name["refused.png"]["error"] == "No brain."
    assert by_name["refused.png"]["area_mask"] is None
    assert sum(by_name["refused.png"]["probabilities"].values()) == 1


def test_results_are_not_analysed(stub: Stub, tmp_path: Path) -> None:
    pictures = tmp_path / "in"
    for name in ("a", "deeper/areas"):
        (pictures / name).mkdir(parents=True)
        grey(40, 30).save(pictures / name / "one.png")
    areas, output = pictures / "areas", pictures / "results.png"
    (tmp_path / "link").symlink_to(pictures)
    for paths in ([pictures], [pictures], [tmp_path / "link"]):
        call_command("analyze", *paths, output=output, areas=areas, stdout=io.StringIO())
        lines = [json.loads(line) for line in output.read_text().splitlines()]
        assert [line["status"] for line in lines] == ["ok", "ok"]
        assert len(list(areas.iterdir())) == 2
    lines = run(tmp_path, areas, pictures / "a", areas=areas)
    assert [line["status"] for line in lines] == ["error", "ok"]
    assert lines[0]["path"] == str(areas)
    assert "choose another place" in lines[0]["error"]


@pytest.mark.skipif(os.name != "posix", reason="needs folders relative to an open folder")
def test_folders_that_cannot_be_read_get_a_line(stub: Stub, tmp_path: Path) -> None:
    """Folders too deep for a path to name: not even the system's administrator can list them."""
    grey(40, 30).save(tmp_path / "one.png")
    name, place = "d" * 250, os.open(tmp_path, os.O_RDONLY)
    for _ in range(17):
        os.mkdir(name, dir_fd=place)
        deeper = os.open(name, os.O_RDONLY, dir_fd=place)
        os.close(place)
        place = deeper
    os.close(place)
    error, good = sorted(run(tmp_path, tmp_path), key=lambda line: line["status"])
    assert (error["status"], good["status"]) == ("error", "ok")
    assert list(error)[: len(KEYS)] == KEYS
    assert error["path"].endswith(name)
    assert error["error"] == "The folder cannot be read: File name too long."
    (tmp_path / "loop.png").symlink_to(tmp_path / "loop.png")
    (line,) = run(tmp_path, tmp_path / "loop.png")
    assert line["status"] == "error"


def test_areas_are_optional(stub: Stub, tmp_path: Path) -> None:
    grey(40, 30).save(tmp_path / "one.png")
    (line,) = run(tmp_path, tmp_path / "one.png")
    assert (line["status"], line["area_mask"]) == ("ok", None)


def test_a_full_disk_costs_only_its_own_line(
    stub: Stub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("mltasks.stream.save_area", full)
    grey(40, 30).save(tmp_path / "one.png")
    (line,) = run(tmp_path, tmp_path / "one.png", areas=tmp_path / "areas")
    assert line["status"] == "error"
    assert "No space left" in line["error"]


def test_a_full_disk_leaves_no_half_an_area(tmp_path: Path) -> None:
    picture = Decoded(np.zeros((30, 50), np.uint8), 1, "PNG", (50, 30))
    with full_disk(10), pytest.raises(OSError, match="File too large"):
        save_area(np.ones((30, 50), np.bool_), picture, tmp_path / "mask.png")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.name != "posix", reason="needs file names of any bytes")
def test_names_of_any_bytes(stub: Stub, tmp_path: Path) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.png"))
    grey(40, 30).save(path)
    (line,) = run(tmp_path, path, areas=tmp_path / "areas")
    assert line["status"] == "ok"
    assert Path(line["area_mask"]).exists()
    assert Path(line["path"]) == path


@pytest.mark.parametrize("orientation", range(1, 9))
def test_areas_line_up_with_the_files_own_pixels(tmp_path: Path, orientation: int) -> None:
    upright = np.zeros((30, 50), np.bool_)
    upright[2:9, 30:46] = True
    stored = unorient(upright.astype(np.uint8), orientation)
    size = (stored.shape[1], stored.shape[0])
    pixels = np.zeros((30, 50), np.uint8)
    save_area(upright, Decoded(pixels, orientation, "JPEG", size), tmp_path / "mask.png")
    with Image.open(tmp_path / "mask.png") as mask:
        assert mask.size == size
        assert mask.getexif().get(0x0112, 1) == orientation
        found = np.array(mask)
    np.testing.assert_array_equal(found // 255, stored)
    np.testing.assert_array_equal(orient(found, orientation) > 0, upright)


@pytest.mark.parametrize("orientation", [1, 3, 6, 7])
def test_box_and_point_are_on_the_mask_s_own_grid(
    stub: Stub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, orientation: int
) -> None:
    found = stub._found

    def with_point(image: Pixels) -> Analysis:
        return replace(found(image), hottest_point=(3, 1))

    monkeypatch.setattr(stub, "_found", with_point)
    exif = Image.Exif()
    exif[0x0112] = orientation
    grey(40, 30).save(tmp_path / "turned.jpg", exif=exif.tobytes())
    (line,) = run(tmp_path, tmp_path / "turned.jpg", areas=tmp_path / "areas")
    with Image.open(line["area_mask"]) as mask:
        pixels = np.array(mask)
    left, top, right, bottom = line["bounding_box"]
    assert pixels.shape == (30, 40)
    assert pixels[top:bottom, left:right].min() == 255
    assert pixels.sum() == (bottom - top) * (right - left) * 255
    x, y = line["hottest_point"]
    upright = np.zeros(orient(pixels, orientation).shape, np.uint8)
    upright[1, 3] = 1
    assert unorient(upright, orientation)[y, x] == 1


def test_what_was_passed_over_is_said(stub: Stub, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for name in ("a.gif", "b.GIF", "notes.txt", "Makefile"):
        (folder / name).write_bytes(b"no picture")
    os.mkfifo(folder / "pipe")
    kinds = ".gif 2, without a suffix 2, .txt 1"
    said = f"5 files passed over, as they are no pictures by name: {kinds}"
    output = tmp_path / "results.jsonl"
    with pytest.raises(CommandError, match=f"^no pictures found; {said}$"):
        call_command("analyze", folder, output=output)
    assert not output.exists()
    grey(40, 30).save(folder / "nameless", "PNG")
    heard = io.StringIO()
    call_command("analyze", folder, output=output, stdout=heard)
    assert heard.getvalue().splitlines()[1] == said
    assert json.loads(output.read_text())["path"] == str(folder / "nameless")


def test_dicom_files_by_whatever_name(stub: Stub, tmp_path: Path) -> None:
    pixels = np.arange(1200, dtype=np.uint16).reshape(30, 40)
    names = ("1.3.12.2.1107.5.2", "IM000001", "slice.dcm")
    folder = tmp_path / "in"
    folder.mkdir()
    for name in names:
        (folder / name).write_bytes(dicom(pixels))
    (folder / "ct.dcm").write_bytes(dicom(pixels, Modality="CT"))
    (folder / "notes.2026").write_text("no picture")
    lines = {Path(line["path"]).name: line for line in run(tmp_path, folder, areas=tmp_path / "a")}
    assert lines.pop("ct.dcm")["error"].startswith("This DICOM file is a CT scan.")
    assert sorted(lines) == sorted(names)
    for line in lines.values():
        assert line["status"] == "ok"
        with Image.open(line["area_mask"]) as mask:
            assert mask.size == (40, 30)


def test_standard_output(stub: Stub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    grey(40, 30).save(tmp_path / "one.png")
    written, said = io.StringIO(), io.StringIO()
    call_command("analyze", "one.png", output=Path("-"), stdout=written, stderr=said)
    assert json.loads(written.getvalue())["path"] == "one.png"
    assert said.getvalue() == "1 files: 1 ok, 0 rejected, 0 error -> -\n"
    assert list(tmp_path.iterdir()) == [tmp_path / "one.png"]


def test_the_shipped_model_end_to_end(tmp_path: Path) -> None:
    Image.fromarray(head(3)).save(tmp_path / "head.png")
    lines = run(tmp_path, tmp_path / "head.png", model=SHIPPED, areas=tmp_path / "areas", threads=1)
    found = load_analyzer(SHIPPED).analyze([head(3)])[0]
    assert lines[0]["status"] == found.status
    assert lines[0]["probabilities"] == pytest.approx(found.probabilities, abs=1e-4)


def test_a_picture_is_not_written_over(stub: Stub, tmp_path: Path) -> None:
    pictures = [tmp_path / "a.png", tmp_path / "b.png"]
    for path in pictures:
        grey(40, 30).save(path)
    (tmp_path / "link.png").symlink_to(pictures[1])
    (tmp_path / "same.png").hardlink_to(pictures[1])
    before = pictures[1].read_bytes()
    for name in ("b.png", "link.png", "same.png"):
        with pytest.raises(CommandError, match="choose another place"):
            call_command("analyze", *pictures, output=tmp_path / name, stdout=io.StringIO())
        assert pictures[1].read_bytes() == before


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="needs pipes and devices as files")
def test_what_is_no_file_gets_a_line(stub: Stub, tmp_path: Path) -> None:
    # First one that never ends, then one that would be waited for.
    os.mkfifo(tmp_path / "pipe.png")
    grey(40, 30).save(tmp_path / "z.png")
    for path in (Path("/dev/zero"), tmp_path):
        lines = run(tmp_path, path)
        assert "a pipe, a socket or a device" in lines[0]["error"]
    assert [line["status"] for line in lines] == ["error", "ok"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a disk that is always full")
def test_a_full_disk_for_the_results_is_said(stub: Stub, tmp_path: Path) -> None:
    grey(40, 30).save(tmp_path / "one.png")
    words = r"cannot write the results to /dev/full \(No space left.*\): make room and give the"
    with pytest.raises(CommandError, match=words):
        call_command("analyze", str(tmp_path / "one.png"), output=Path("/dev/full"))


def test_clear_errors(tmp_path: Path, stub: Stub) -> None:
    (tmp_path / "file").write_text("in the way")
    grey(40, 30).save(tmp_path / "one.png")
    with pytest.raises(CommandError, match="cannot write the results"):
        call_command("analyze", str(tmp_path), output=tmp_path / "file" / "results.jsonl")


def test_without_a_model(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="no model in"):
        call_command(
            "analyze", str(tmp_path), model=tmp_path / "none", output=tmp_path / "results.jsonl"
        )
