"""Sets that are joined: `dataset import --onto`."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from pathlib import Path

import pytest
from django.core.management import call_command

from mltasks.data import DataError
from mltasks.datasets import importing
from mltasks.datasets.form import read_dataset, replace_rows
from mltasks.datasets.tests.conftest import MADE, left_out, picture, request, save


def test_new_images_come_onto_an_older_set(slices: Path, brisc: Path, tmp_path: Path) -> None:
    importing.run(request(slices, tmp_path / "old", **MADE))
    importing.run(request(brisc, tmp_path / "both", onto=tmp_path / "old"))
    data = read_dataset(tmp_path / "both")
    assert len(data.rows) == 44 + 24
    assert [part["name"] for part in data.info["parts"]] == ["Drawn", "BRISC 2025"]
    assert {row.licence for row in data.rows} == {"CC0", "CC BY 4.0"}
    assert sum(row.fold is None for row in data.rows) == 24
    with pytest.raises(DataError, match=r"nothing in .* could be imported"):
        importing.run(request(brisc, tmp_path / "thrice", onto=tmp_path / "both"))


def test_a_joined_set_that_is_joined_again_keeps_its_collections(
    slices: Path, brisc: Path, lgg: Path, tmp_path: Path
) -> None:
    importing.run(request(slices, tmp_path / "old", **MADE))
    importing.run(request(brisc, tmp_path / "both", onto=tmp_path / "old"))
    importing.run(request(lgg, tmp_path / "first"))
    importing.run(request(tmp_path / "both", tmp_path / "all", onto=tmp_path / "first"))
    data = read_dataset(tmp_path / "all")
    assert [(part["name"], part["licence"]) for part in data.info["parts"]] == [
        ("LGG segmentation (kaggle_3m)", "CC BY-NC-SA 4.0"),
        ("Drawn", "CC0"),
        ("BRISC 2025", "CC BY 4.0"),
    ]
    assert all(part["citation"] for part in data.info["parts"])
    assert data.rows
    assert all(row.fold is None for row in data.rows)


def test_folds_of_a_set_that_is_joined_to_another_are_dropped(
    slices: Path, brisc: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    importing.run(request(brisc, tmp_path / "old"))
    importing.run(request(slices, tmp_path / "new", **MADE))
    new = read_dataset(tmp_path / "new")
    replace_rows(new, new.rows, {**new.info, "split": {"folds": 2}})
    both = tmp_path / "both"
    call_command(
        *("dataset", "import", str(tmp_path / "new"), "--output", str(both)),
        *("--onto", str(tmp_path / "old")),
    )
    assert "44 new images lost the fold that they came with" in capsys.readouterr().out
    data = read_dataset(both)
    assert all(row.fold is None for row in data.rows)
    assert "split" not in data.info


@pytest.mark.parametrize("part", ["images/slice0.jpg", "masks/slice0.png"])
def test_damage_in_the_older_set_is_named(
    part: str, slices: Path, brisc: Path, tmp_path: Path
) -> None:
    importing.run(request(slices, tmp_path / "old", **MADE))
    path = tmp_path / "old" / part
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    asked = request(brisc, tmp_path / "both", onto=tmp_path / "old")
    with pytest.raises(DataError, match=f"{path} is not the file of the manifest"):
        importing.run(asked)
    path.unlink()
    with pytest.raises(DataError, match=f"cannot read {path}: No such file"):
        importing.run(asked)
    assert not (tmp_path / "both").exists()
    assert list(tmp_path.glob(".*")) == []


def test_images_of_two_collections_with_one_id_are_both_kept(tmp_path: Path) -> None:
    navoneel, br35h = tmp_path / "navoneel", tmp_path / "br35h"
    for number, name in enumerate(("Y1.jpg", "Y2.jpg", "Y3.png")):
        save(picture(number), navoneel / "yes" / name)
        save(picture(20 + number), br35h / "yes" / name.lower())
    save(picture(9), navoneel / "no" / "1 no.jpg")
    save(picture(9), br35h / "no" / "1 no.jpg")
    importing.run(request(navoneel, tmp_path / "old", **MADE))
    both = {**MADE, "name": "Br35H", "onto": tmp_path / "old"}
    importing.run(request(br35h, tmp_path / "both", **both))
    data = read_dataset(tmp_path / "both")
    assert sorted(row.id for row in data.rows) == [
        *("br35h_yes_y1", "br35h_yes_y2", "br35h_yes_y3"),
        *("no_1_no", "yes_y1", "yes_y2", "yes_y3"),
    ]
    for row in data.rows:
        content = (data.folder / row.image).read_bytes()
        assert hashlib.sha256(content).hexdigest() == row.sha256
        assert content == ((br35h if row.source == "Br35H" else navoneel) / row.origin).read_bytes()
        assert row.group == row.id
    report = json.loads((data.folder / "import.json").read_text())
    assert (report["taken"], report["exact_copies_left_out"]) == (3, 1)
    assert left_out(data.folder) == {
        "no/1 no.jpg": "an exact copy of no_1_no, which is in the set already"
    }
    # Once more, nothing of it is new: images with the longer id are known again, too.
    again = both | {"onto": data.folder}
    with pytest.raises(DataError, match=r"nothing in .*exact copy of br35h_yes_y1, which is in"):
        importing.run(request(br35h, tmp_path / "again", **again))
    # A third collection of the second's name finds both ids taken.
    save(picture(30), br35h / "yes" / "y1.jpg")
    save(picture(31), br35h / "no" / "new.jpg")
    importing.run(request(br35h, tmp_path / "third", **again))
    assert "give this collection another --name" in left_out(tmp_path / "third")["yes/y1.jpg"]
    assert len(read_dataset(tmp_path / "third").rows) == 8


def test_groups_of_two_collections_with_one_name_stay_two(slices: Path, tmp_path: Path) -> None:
    """Both number them from 0 on; of one collection, they are the same groups."""
    importing.run(request(slices, tmp_path / "old", **MADE))
    other = shutil.copytree(slices, tmp_path / "other")
    for number in range(44):
        save(picture(number), other / "images" / f"slice{number}.jpg")
    text = (other / "manifest.csv").read_text()
    # Two images of one group, ids of their own, and no digests.
    text = re.sub(r"^slice(\d+),", r"new\1,", text, flags=re.MULTILINE).replace(",1,1,", ",1,0,")
    text = re.sub(r",[01],\w{64}$", ",0,", text, flags=re.MULTILINE)
    (other / "manifest.csv").write_text(text)
    for path in (other / "images").iterdir():
        path.rename(path.with_name(path.name.replace("slice", "new")))
    for name, prefix in (("Other Set", "other_set_"), (MADE["name"], "")):
        asked = request(other, tmp_path / name, **MADE | {"name": name}, onto=tmp_path / "old")
        importing.run(asked)
        rows = {row.id: row.group for row in read_dataset(tmp_path / name).rows}
        assert len(rows) == 88
        assert rows["slice0"] == "0"
        assert rows["new0"] == rows["new1"] == f"{prefix}0"
        assert rows["new7"] == f"{prefix}7"


def test_a_file_of_another_name_than_its_id_is_not_overwritten(
    slices: Path, brisc: Path, tmp_path: Path
) -> None:
    old = shutil.copytree(slices, tmp_path / "old")
    name = "brisc2025_train_00001_gl_ax_t1"
    (old / "images" / "slice0.jpg").rename(old / "images" / f"{name}.jpg")
    lines = (old / "manifest.csv").read_text().splitlines()
    files = ["file", f"{name}.jpg", *[""] * 43]
    text = "".join(f"{line},{file}\n" for line, file in zip(lines, files, strict=True))
    (old / "manifest.csv").write_text(text)
    importing.run(request(brisc, tmp_path / "both", onto=old))
    rows = {row.id: row for row in read_dataset(tmp_path / "both").rows}
    assert name not in rows
    for row in (rows["slice0"], rows[f"brisc_2025_{name}"]):
        content = (tmp_path / "both" / row.image).read_bytes()
        assert hashlib.sha256(content).hexdigest() == row.sha256
