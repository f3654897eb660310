"""Every layout, and what is left out of it."""

from __future__ import annotations

import csv
import errno
import hashlib
import io
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from django.core.management import call_command
from PIL import Image

from mltasks.data import DataError, load_sample, read_manifest, read_records, unnamed_tumors
from mltasks.datasets import importing
from mltasks.datasets.form import pseudonym, read_dataset, replace_rows
from mltasks.datasets.layouts import classes
from mltasks.datasets.tests.conftest import (
    MADE,
    left_out,
    picture,
    request,
    save,
    save_mask,
    tumour,
)


def test_brisc_as_downloaded(brisc: Path, tmp_path: Path) -> None:
    outcome = importing.run(request(brisc, tmp_path / "out"))
    data = read_dataset(tmp_path / "out")
    assert (outcome.layout, outcome.left_out, data.faults) == ("brisc", [], [])
    assert len(data.rows) == 24
    assert data.digest == outcome.digest == data.info["digest"]
    assert (data.info["name"], data.info["licence"]) == ("BRISC 2025", "CC BY 4.0")
    assert "arXiv 2506.14318" in data.info["citation"]
    row = next(row for row in data.rows if row.id == "brisc2025_test_00013_gl_ax_t1")
    assert (row.label, row.plane, row.part, row.fold) == ("glioma", "axial", "test", None)
    original = brisc / row.origin
    assert (data.folder / row.image).read_bytes() == original.read_bytes()
    assert row.sha256 == hashlib.sha256(original.read_bytes()).hexdigest()
    records = read_records(data.folder, None)
    sample = load_sample(data.folder, next(r for r in records if r.id == row.id))
    assert sample.mask is not None
    np.testing.assert_array_equal(sample.mask > 127, tumour(13)[1])
    assert sum(row.has_mask for row in data.rows) == 18


def test_brisc_leaves_out_what_does_not_fit(brisc: Path, tmp_path: Path) -> None:
    train = brisc / "classification_task" / "train"
    masks = brisc / "segmentation_task" / "train" / "masks"
    shutil.move(train / "glioma" / "brisc2025_train_00001_gl_ax_t1.jpg", train / "pituitary")
    (masks / "brisc2025_train_00002_gl_co_t1.png").unlink()
    save_mask(np.ones((5, 5), np.bool_), masks / "brisc2025_train_00003_gl_sa_t1.png")
    save_mask(np.ones((40, 40), np.bool_), masks / "brisc2025_train_00004_me_ax_t1.png")
    save_mask(tumour(7)[1], masks / "brisc2025_train_00007_no_ax_t1.png")
    cut = train / "pituitary" / "brisc2025_train_00010_pi_ax_t1.jpg"
    cut.write_bytes(cut.read_bytes()[:700])
    (train / "glioma" / "Thumbs.db").write_bytes(b"x")
    (brisc / "README.md").write_text("read me")
    importing.run(request(brisc, tmp_path / "out"))
    out = left_out(tmp_path / "out")
    reasons = {Path(name).name: why for name, why in out.items() if "segmentation" not in name}
    assert "its folder train, pituitary" in reasons["brisc2025_train_00001_gl_ax_t1.jpg"]
    assert "mask is missing" in reasons["brisc2025_train_00002_gl_co_t1.jpg"]
    assert "5×5" in reasons["brisc2025_train_00003_gl_sa_t1.jpg"]
    assert "40×40 instead of 96×96" in reasons["brisc2025_train_00004_me_ax_t1.jpg"]
    assert "yet it has a mask" in reasons["brisc2025_train_00007_no_ax_t1.jpg"]
    assert "damaged or incomplete" in reasons["brisc2025_train_00010_pi_ax_t1.jpg"]
    assert reasons["Thumbs.db"] == reasons["README.md"] == "not part of BRISC 2025"
    assert len(read_dataset(tmp_path / "out").rows) == 24 - 6
    # What is said of an image goes for its copy and its mask.
    assert len(out) == 6 + 2


def test_a_mask_that_is_no_picture_is_named(brisc: Path, tmp_path: Path) -> None:
    mask = next((brisc / "segmentation_task" / "train" / "masks").glob("*_gl_ax_t1.png"))
    mask.write_bytes(b"no picture")
    importing.run(request(brisc, tmp_path / "out"))
    [(image, why)] = left_out(tmp_path / "out").items()
    assert image.endswith(f"{mask.stem}.jpg")
    assert why.startswith(f"its mask {mask.name} cannot be read: This file is not a picture")


def test_a_blank_mask_says_no_tumour(brisc: Path, slices: Path, tmp_path: Path) -> None:
    name = "brisc2025_train_00007_no_ax_t1"
    blank = np.zeros((96, 96), np.bool_)
    save_mask(blank, brisc / "segmentation_task" / "train" / "masks" / f"{name}.png")
    importing.run(request(brisc, tmp_path / "out"))
    assert left_out(tmp_path / "out") == {}
    rows = {row.id: row for row in read_dataset(tmp_path / "out").rows}
    assert (rows[name].label, rows[name].has_mask, rows[name].mask_sha256) == ("no_tumor", 0, "")
    assert not (tmp_path / "out" / rows[name].mask).exists()
    # The same where a manifest names a mask for every image.
    copy = shutil.copytree(slices, tmp_path / "copy")
    text = (copy / "manifest.csv").read_text()
    (copy / "manifest.csv").write_text(
        re.sub(r"(no_tumor.*),0,(\w+)$", r"\1,1,\2", text, flags=re.MULTILINE)
    )
    for record in read_manifest(copy):
        if record.label == "no_tumor":
            save_mask(np.zeros((160, 128), np.bool_), copy / "masks" / f"{record.id}.png")
    importing.run(request(copy, tmp_path / "again", **MADE))
    found = read_dataset(tmp_path / "again")
    assert len(found.rows) == 44
    assert sum(row.has_mask for row in found.rows) == 33


def test_a_folder_for_each_class(tmp_path: Path) -> None:
    source = tmp_path / "nickparvar"
    for part in ("Training", "Testing"):
        for number, name in enumerate(("glioma", "meningioma", "notumor", "pituitary")):
            save(picture(number), source / part / name / "Te gl (1).jpg")
    save(picture(9), source / "Training" / "glioma_tumor" / "image(3).PNG")
    save(picture(10), source / "Training" / "else" / "a.jpg")
    (source / "Training" / "glioma" / "labels.txt").write_text("x")
    for name in ("Te gl (1)_mask.png", "Te gl (1)_mask_1.png", "unmasked.png"):
        save(picture(11), source / "Training" / "glioma" / name)
    with pytest.raises(DataError, match="--name, --licence, --citation must be given"):
        importing.run(request(source, tmp_path / "out"))
    importing.run(request(source, tmp_path / "out", **MADE))
    rows = {row.id: row for row in read_dataset(tmp_path / "out").rows}
    assert len(rows) == 10
    row = rows["testing_notumor_te_gl_1"]
    assert (row.label, row.part, row.origin) == (
        "no_tumor",
        "test",
        "Testing/notumor/Te gl (1).jpg",
    )
    assert rows["training_glioma_tumor_image_3"].file == "training_glioma_tumor_image_3.png"
    assert (row.source, row.licence) == ("Drawn", "CC0")
    assert left_out(tmp_path / "out") == {
        "Training/else/a.jpg": "none of its folders is named after a class: glioma, glioma_tumor, "
        "meningioma, meningioma_tumor, pituitary, pituitary_tumor, notumor, no_tumor, no, healthy, "
        "normal, yes",
        "Training/glioma/labels.txt": "not a picture",
        **dict.fromkeys(
            ("Training/glioma/Te gl (1)_mask.png", "Training/glioma/Te gl (1)_mask_1.png"),
            "named as a mask, which this layout does not take",
        ),
    }


def test_pictures_whose_names_say_the_same_are_all_taken(tmp_path: Path) -> None:
    source = tmp_path / "named"
    uid = "1.2.840.113619.2." + "55.3." * 30
    names = ["张三_1", "李四_1", "Петров_1", "image (1)", "image(1)", f"{uid}1", f"{uid}2"]
    for number, name in enumerate(names):
        save(picture(number), source / "glioma" / f"{name}.jpg")
    save(picture(20), source / "glioma" / "image_1.JPG")
    save(picture(21), source / "glioma" / "image_1.png")
    save(picture(22), source / "no" / "1.jpg")
    importing.run(request(source, tmp_path / "out", **MADE))
    assert left_out(tmp_path / "out") == {}
    rows = read_dataset(tmp_path / "out").rows
    assert {row.origin for row in rows} == {
        str(path.relative_to(source)) for path in source.rglob("*.*") if path.is_file()
    }
    importing.run(request(source, tmp_path / "again", **MADE))
    assert [row.id for row in read_dataset(tmp_path / "again").rows] == [row.id for row in rows]


def test_a_folder_for_each_patient_of_a_class(tmp_path: Path) -> None:
    source = tmp_path / "hospital"
    glioma, none = source / "Training" / "glioma", source / "Training" / "Healthy"
    for number, series in enumerate(("axial", "axial", "t1 sagittal")):
        save(picture(number), glioma / "Meyer Ada" / series / f"Meyer {number}.jpg")
    save(picture(5), glioma / "axial" / "images" / "loose.jpg")
    save(picture(6), glioma / "Meyer Ada" / "masks" / "Meyer 0.png")
    save(picture(7), none / "Meyer Ada" / "Meyer 9.jpg")
    (none / "Meyer Ada" / "Meyer.txt").write_text("x")
    (none / "Meyer Ada" / "broken Meyer.jpg").write_bytes(b"no picture")
    save(picture(8), none / "p2" / "1.jpg")
    shutil.copytree(none / "p2", source / "again" / "Training" / "Healthy" / "p2")
    save(picture(9), source / "metastasis" / "Meyer Ada" / "1.jpg")
    save(picture(10), glioma / "Meyer Ada" / "normal" / "1.jpg")
    importing.run(request(source, tmp_path / "out", patient_key="secret", **MADE))
    rows = read_dataset(tmp_path / "out").rows

    def beginning(*names: str) -> str:
        content = source.joinpath(*names).read_bytes()
        return hashlib.sha256(content).hexdigest()[:12]

    first, second = (
        beginning("Training", "glioma", "Meyer Ada", "axial", f"Meyer {one}.jpg") for one in (0, 1)
    )
    folder, healthy = ("Training", "glioma", "Meyer Ada"), ("Training", "Healthy", "Meyer Ada")
    p2 = beginning("Training", "Healthy", "p2", "1.jpg")
    ada, other = (pseudonym(name, "secret") for name in ("Meyer Ada", "p2"))
    found = {row.origin: (row.label, row.group, row.plane, row.part) for row in rows}
    assert found == {
        f"Training/glioma/{ada}/{first}.jpg": ("glioma", ada, "axial", "train"),
        f"Training/glioma/{ada}/{second}.jpg": ("glioma", ada, "axial", "train"),
        f"Training/glioma/{ada}/{beginning(*folder, 't1 sagittal', 'Meyer 2.jpg')}.jpg": (
            *("glioma", ada, "", "train"),
        ),
        "Training/glioma/axial/images/loose.jpg": (
            *("glioma", "training_glioma_axial_images_loose", "axial", "train"),
        ),
        f"Training/Healthy/{ada}/{beginning(*healthy, 'Meyer 9.jpg')}.jpg": (
            *("no_tumor", ada, "", "train"),
        ),
        f"Training/Healthy/{other}/{p2}.jpg": ("no_tumor", other, "", "train"),
    }
    assert f"training_glioma_{ada}_{first}" in {row.id for row in rows}
    assert left_out(tmp_path / "out") == {
        f"Training/glioma/{ada}/{beginning(*folder, 'masks', 'Meyer 0.png')}.png": (
            "in a folder of masks, which this layout does not take"
        ),
        f"Training/Healthy/{ada}/{beginning(*healthy, 'Meyer.txt')}.txt": "not a picture",
        f"Training/Healthy/{ada}/{beginning(*healthy, 'broken Meyer.jpg')}.jpg": (
            "This file is not a picture we can read. "
            "Please use JPEG, PNG, WebP, TIFF, BMP or DICOM."
        ),
        f"again/Training/Healthy/{other}/{p2}.jpg": "an exact copy of one in a folder less",
        f"metastasis/…/{beginning('metastasis', 'Meyer Ada', '1.jpg')}.jpg": classes._NO_CLASS,
        f"Training/glioma/…/{beginning(*folder, 'normal', '1.jpg')}.jpg": classes._TWO_CLASSES,
    }
    for path in (tmp_path / "out").rglob("*"):
        assert "meyer" not in path.name.lower()
        assert path.is_dir() or b"meyer" not in path.read_bytes().lower()


def test_patients_are_counted_and_a_class_of_one_is_told(tmp_path: Path) -> None:
    source, said, warned = tmp_path / "set", io.StringIO(), io.StringIO()
    for number in range(3):
        save(picture(number), source / "glioma" / "512x512" / f"{number}.jpg")
        save(picture(number + 5), source / "no" / f"p{number // 2}" / f"{number}.jpg")
    given = {"output": tmp_path / "out", "stdout": said, "stderr": warned}
    call_command("dataset", "import", source, **given, **MADE)
    assert "Patients: 3, the largest of 3 slices" in said.getvalue()
    [line] = warned.getvalue().splitlines()
    assert line.startswith("All 3 slices of glioma count as one patient's")
    assert json.loads((tmp_path / "out" / "import.json").read_text())["patients"] == 3


def test_a_folder_that_has_grown_is_not_taken_twice(tmp_path: Path) -> None:
    source = tmp_path / "hospital"
    for number in (1, 2):
        save(picture(number), source / "glioma" / "Meyer Ada" / f"m{number}.jpg")
        save(picture(number + 5), source / "no" / "val" / f"{number}.jpg")
    importing.run(request(source, tmp_path / "out", patient_key="secret", **MADE))
    save(picture(3), source / "glioma" / "Meyer Ada" / "a.jpg")
    importing.run(
        request(
            source,
            tmp_path / "new",
            patient_key="secret",
            onto=tmp_path / "out",
            **MADE,
        )
    )
    rows = read_dataset(tmp_path / "new").rows
    assert len({row.sha256 for row in rows}) == len(rows) == 5
    assert {row.part for row in rows} == {"", "validation"}
    assert sum(bool(row.patient) for row in rows) == 3, "a part is no patient"


def test_a_single_class_is_taken_when_asked_for(tmp_path: Path) -> None:
    save(picture(1), tmp_path / "one" / "normal" / "1.jpg")
    save(picture(2), tmp_path / "one" / "cyst" / "1.jpg")
    with pytest.raises(DataError, match=r"called glioma, .* one class alone is not guessed, but"):
        importing.run(request(tmp_path / "one", tmp_path / "out", **MADE))
    for number, place in enumerate((tmp_path / "one", tmp_path / "one" / "normal")):
        output = tmp_path / f"out{number}"
        importing.run(request(place, output, layout="classes", **MADE))
        assert [row.label for row in read_dataset(output).rows] == ["no_tumor"]


def test_tumours_of_no_stated_kind_cannot_be_trained_on(tmp_path: Path) -> None:
    source = tmp_path / "navoneel"
    save(picture(1), source / "yes" / "Y1.jpg")
    save(picture(2), source / "no" / "1 no.jpg")
    importing.run(request(source, tmp_path / "out", **MADE))
    assert sorted(row.label for row in read_dataset(tmp_path / "out").rows) == ["no_tumor", "tumor"]
    assert unnamed_tumors(tmp_path / "out") == 1
    with pytest.raises(ValueError, match="not in tuple"):
        _ = next(r for r in read_records(tmp_path / "out", None) if r.label == "tumor").target
    with pytest.raises(DataError, match=r"split the data with manage\.py dataset split"):
        read_manifest(tmp_path / "out")
    data = read_dataset(tmp_path / "out")
    replace_rows(data, [replace(row, fold=0) for row in data.rows], data.info)
    assert [own.label for own in read_manifest(tmp_path / "out")] == ["no_tumor"]
    shutil.rmtree(source / "no")
    importing.run(request(source, tmp_path / "yes", layout="classes", **MADE))
    with pytest.raises(DataError, match="every row is a tumour of no stated kind"):
        read_manifest(tmp_path / "yes")


def test_matlab_files_with_patients(cheng: Path, tmp_path: Path) -> None:
    (cheng / "4.mat").write_bytes(b"MATLAB 5.0 MAT-file, of old")
    importing.run(request(cheng, tmp_path / "out", patient_key="secret"))
    data = read_dataset(tmp_path / "out")
    assert [row.label for row in data.rows] == ["meningioma", "glioma", "pituitary"]
    assert data.rows[0].group == data.rows[2].group == pseudonym("100360", "secret")
    assert data.rows[1].group != data.rows[0].group
    pixels, mask = tumour(1, 80, 96)
    with Image.open(data.folder / data.rows[0].image) as image:
        found = np.array(image)
    assert found.shape == (96, 80)
    assert np.corrcoef(found.ravel(), pixels.ravel())[0, 1] > 0.999
    with Image.open(data.folder / data.rows[0].mask) as image:
        np.testing.assert_array_equal(np.array(image) > 0, mask)
    everything = b"".join(p.read_bytes() for p in data.folder.iterdir() if p.is_file())
    assert b"100360" not in everything
    assert b"MR017260F" not in everything
    out = left_out(data.folder)
    assert out["cvind.mat"] == "not a slice"
    assert out["4.mat"] == "a MATLAB 5 file, not 7.3: save it with -v7.3"


def test_a_matlab_file_of_odd_content_is_left_out_alone(cheng: Path, tmp_path: Path) -> None:
    odd: dict[str, tuple[str, Any]] = {
        "4": ("label", np.array([[np.inf]])),
        "5": ("label", np.array([[1.5]])),
        "6": ("PID", np.array([[np.inf]])),
        "7": ("image", None),
        "8": ("tumorMask", None),
    }
    for name, (part, value) in odd.items():
        shutil.copy(cheng / "1.mat", cheng / f"{name}.mat")
        with h5py.File(cheng / f"{name}.mat", "a") as file:
            data = file["cjdata"]
            del data[part]
            if value is None:
                data.create_group(part)
            else:
                data[part] = value
    importing.run(request(cheng, tmp_path / "out"))
    assert len(read_dataset(tmp_path / "out").rows) == 3
    out = left_out(tmp_path / "out")
    assert out["4.mat"] == "unknown label inf"
    assert out["5.mat"] == "unknown label 1.5"
    assert "infinity" in out["6.mat"]
    assert out["7.mat"] == "no array, but a group of them: image"
    assert out["8.mat"] == "no array, but a group of them: tumorMask"


def test_lgg_with_hidden_patients(lgg: Path, tmp_path: Path) -> None:
    # A reason could tell the patient as well as a place.
    gone, folder = "TCGA_ZZ_0001_20000101", lgg / "TCGA_ZZ_0001_20000101"
    save(np.zeros((96, 96, 3), np.uint8), folder / f"{gone}_1.tif")
    save(np.zeros((96, 96, 3), np.uint8), lgg / f"{gone}_7.tif")
    importing.run(request(lgg, tmp_path / "post"))
    data = read_dataset(tmp_path / "post")
    assert "its mask is missing" in left_out(data.folder).values()
    assert len(data.rows) == 4
    assert len({row.group for row in data.rows}) == 2
    assert all(row.id.startswith(f"lgg_{row.patient}_00") for row in data.rows)
    with Image.open(data.folder / data.rows[0].image) as image:
        np.testing.assert_array_equal(np.array(image), tumour(12)[0])
    for path in data.folder.rglob("*"):
        assert "TCGA" not in path.name
        if path.is_file():
            assert b"TCGA" not in path.read_bytes()
    reasons = left_out(data.folder)
    assert (
        list(reasons.values()).count(
            "no tumour in this slice of someone who has one: neither class"
        )
        == 2
    )
    # What lies beside the patients' folders is told as it is called, unless it may be a slice.
    names = set(reasons)
    assert {"notes.png", "_7.tif"} <= names
    assert all(re.fullmatch(r"[0-9a-f]+/_\d+\.tif", one) for one in names - {"notes.png", "_7.tif"})
    importing.run(request(lgg, tmp_path / "pre", channel="pre"))
    assert len(read_dataset(tmp_path / "pre").rows) == 2
    assert "copy of FLAIR" in " ".join(left_out(tmp_path / "pre").values())


def test_left_out_files_can_be_found(lgg: Path, tmp_path: Path) -> None:
    """The folder above the patients' keeps its name; all names are told to those who ask."""
    source = tmp_path / "download"
    shutil.copytree(lgg, source / "all" / "kaggle_3m")
    (source / "all" / "more").mkdir()
    (source / "all" / "kaggle_3m" / "data.csv").write_text("Patient\n")
    said, told = io.StringIO(), io.StringIO()
    options = {"output": tmp_path / "out", "stdout": said, "stderr": told}
    call_command("dataset", "import", source, **options)
    assert "all/kaggle_3m/data.csv" in left_out(tmp_path / "out")
    assert (
        "  2 in all/kaggle_3m/…/: no tumour in this slice of someone who has one" in said.getvalue()
    )
    assert "  2 in all/kaggle_3m/: not a slice" in said.getvalue()
    assert "TCGA" not in said.getvalue() + told.getvalue()
    call_command(
        "dataset", "import", source, **options | {"output": tmp_path / "two"}, show_names=True
    )
    full = (
        "all/kaggle_3m/TCGA_CS_4941_19960909/TCGA_CS_4941_19960909_3.tif: no tumour in this slice"
    )
    assert full in told.getvalue()
    assert "TCGA" not in (tmp_path / "two" / "import.json").read_text()


def test_what_was_left_out_is_counted_by_folder_and_reason(tmp_path: Path) -> None:
    source = tmp_path / "set"
    for number, label in enumerate(("glioma", "no_tumor", "gliomas", "gliomas")):
        save(picture(number), source / label / f"{number}.jpg")
    said = io.StringIO()
    call_command("dataset", "import", source, output=tmp_path / "out", stdout=said, **MADE)
    assert "2 files were left out:" in said.getvalue()
    assert "  2 in gliomas/: none of its folders is named after a class" in said.getvalue()


def test_a_manifest_as_it_is(slices: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(slices, copy)
    (copy / "images" / "slice3.jpg").unlink()
    (copy / "images" / "slice4.jpg").write_bytes((copy / "images" / "slice5.jpg").read_bytes())
    save(picture(1), copy / "images" / "stray.png")
    importing.run(request(copy, tmp_path / "out", **MADE))
    before = {record.id: record for record in read_manifest(slices)}
    after = read_manifest(tmp_path / "out")
    assert len(after) == len(before) - 2
    for record in after:
        old = before[record.id]
        assert (record.fold, record.group, record.sha256) == (old.fold, old.group, old.sha256)
        assert load_sample(tmp_path / "out", record).record.label == old.label
    assert left_out(tmp_path / "out") == {
        "images/slice3.jpg": "the manifest names it, but it is missing",
        "slice4.jpg": "the digest of the image is not the one in the manifest: download it again "
        "or, if it was changed on purpose, leave the digest empty there",
        "images/stray.png": "no row of the manifest that can be used names it",
    }
    importing.run(request(tmp_path / "out", tmp_path / "again"))
    again, out = read_dataset(tmp_path / "again"), read_dataset(tmp_path / "out")
    assert again.digest == out.digest
    assert again.info["citation"] == MADE["citation"]


def test_what_an_audit_shows_is_mended_by_importing_anew(slices: Path, tmp_path: Path) -> None:
    """As docs/data.md says: the manifest edited, the digest of a mended file left empty."""
    importing.run(request(slices, tmp_path / "data", **MADE))
    folder = tmp_path / "data"
    with (folder / "manifest.csv").open(newline="") as stream:
        rows = {row["id"]: row for row in csv.DictReader(stream)}
    rows["slice1"]["excluded"] = "its label is doubtful"
    rows["slice2"]["sha256"] = rows["slice4"]["mask_sha256"] = ""
    rows["slice5"]["has_mask"] = "0"
    save(picture(7), folder / "images" / "slice2.jpg")
    save_mask(np.ones((160, 128), np.bool_), folder / "masks" / "slice4.png")
    (folder / "masks" / "slice5.png").unlink()
    with (folder / "manifest.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, rows["slice0"])
        writer.writeheader()
        writer.writerows(rows.values())
    importing.run(request(folder, tmp_path / "mended"))
    mended = read_dataset(tmp_path / "mended")
    assert (mended.faults, left_out(mended.folder)) == ([], {})
    assert mended.info["licence"] == "CC0"
    found = {row.id: row for row in mended.rows}
    assert found["slice1"].excluded == "its label is doubtful"
    assert (
        found["slice2"].sha256
        == hashlib.sha256((folder / "images" / "slice2.jpg").read_bytes()).hexdigest()
    )
    assert found["slice4"].mask_sha256
    assert not found["slice5"].has_mask
    kept = [(row.fold, row.group) for row in read_dataset(folder).rows]
    assert sorted(kept, key=str) == sorted(((r.fold, r.group) for r in mended.rows), key=str)


def test_a_collection_with_a_manifest_of_its_own(brisc: Path, tmp_path: Path) -> None:
    (brisc / "manifest.csv").write_text(
        "relative_path,task,split,is_mask,tumor_label,plane,sha256\n"
        "classification_task/train/glioma/a.jpg,classification,train,False,glioma,axial,0\n"
    )
    outcome = importing.run(request(brisc, tmp_path / "out"))
    assert (outcome.layout, len(outcome.rows)) == ("brisc", 24)
    assert left_out(tmp_path / "out") == {"manifest.csv": "not part of BRISC 2025"}
    shutil.rmtree(brisc / "classification_task")
    with pytest.raises(DataError, match=r"none of the known .*brisc2025/manifest\.csv lacks .*id"):
        importing.run(request(brisc, tmp_path / "none"))


def test_a_manifest_that_excel_saved(slices: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(slices, tmp_path / "copy")
    text = (copy / "manifest.csv").read_text()
    (copy / "manifest.csv").write_text(text, encoding="utf-8-sig")
    outcome = importing.run(request(copy, tmp_path / "out", **MADE))
    assert (outcome.layout, len(outcome.rows), outcome.left_out) == ("manifest", 44, [])


def test_a_label_that_is_wrong_in_every_row_is_told_once(slices: Path, tmp_path: Path) -> None:
    copy, said = shutil.copytree(slices, tmp_path / "copy"), io.StringIO()
    text = (copy / "manifest.csv").read_text().replace(",no_tumor,", ",notumor,")
    (copy / "manifest.csv").write_text(text)
    given = {"output": tmp_path / "out", "stdout": said}
    call_command("dataset", "import", copy, **given, **MADE)
    words = "  11 at the top: unknown label 'notumor'; did you mean 'no_tumor'?"
    assert words in said.getvalue().splitlines()
    (copy / "manifest.csv").write_text(re.sub(r"(?m)^(slice\d+),\w+", r"\1,cyst", text))
    words = r"\(manifest\.csv, line 2: unknown label 'cyst'; use glioma, [^;]*; images/"
    with pytest.raises(DataError, match=words):
        importing.run(request(copy, tmp_path / "none", **MADE))


def test_a_manifest_that_nearly_fits(slices: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(slices, tmp_path / "copy")
    manifest = copy / "manifest.csv"
    text = manifest.read_text()
    manifest.write_text(text.replace("has_mask", "mask").replace("plane", "view"))
    with pytest.raises(DataError, match=r"manifest\.csv lacks the columns plane, has_mask$"):
        importing.run(request(copy, tmp_path / "out", **MADE))
    with pytest.raises(DataError, match=r"manifest\.csv lacks the columns plane, has_mask$"):
        importing.run(request(copy, tmp_path / "out", layout="manifest", **MADE))
    manifest.write_bytes(b"\xff\xfe" + b"\0" * 200_000)
    with pytest.raises(DataError, match="lacks the columns id"):
        importing.run(request(copy, tmp_path / "out", **MADE))
    manifest.write_text(text.replace(",1,", ",True,", 1))
    importing.run(request(copy, tmp_path / "out", **MADE))
    assert len(read_dataset(tmp_path / "out").rows) == 43


@pytest.mark.parametrize("layout", ["", "brisc"])
def test_archives_that_unpack_into_folders_of_their_own(
    brisc: Path, tmp_path: Path, layout: str
) -> None:
    archive = tmp_path / "download" / "archive"
    archive.mkdir(parents=True)
    brisc.rename(archive / "brisc2025")
    save(picture(1), tmp_path / "download" / "__MACOSX" / "yes" / "._y1.jpg")
    (archive / ".cache").mkdir()
    (archive / ".DS_Store").write_bytes(b"x")
    (archive / "licence.txt").write_text("CC BY 4.0")
    importing.run(request(tmp_path / "download", tmp_path / "out", layout=layout))
    data = read_dataset(tmp_path / "out")
    assert len(data.rows) == 24
    assert data.info["source"]["folder"] == "brisc2025"
    assert data.rows[0].origin.startswith("classification_task/")
    litter = "left there by a system or a program that packs files"
    assert left_out(data.folder) == {
        "__MACOSX": litter,
        "archive/.DS_Store": litter,
        "archive/.cache": litter,
        "archive/licence.txt": "beside the folder brisc2025, which was imported",
    }
    # Three folders down, and where there are two folders, nobody guesses.
    deep = tmp_path / "one"
    deep.mkdir()
    (tmp_path / "download").rename(deep / "two")
    with pytest.raises(DataError, match=r"laid out like none|nothing in .* could be imported"):
        importing.run(request(deep, tmp_path / "none", layout=layout))
    (deep / "two" / "archive" / "other").mkdir()
    with pytest.raises(DataError, match=r"laid out like none|nothing in .* could be imported"):
        importing.run(request(deep / "two", tmp_path / "none", layout=layout))


@pytest.mark.parametrize("layout", ["", "cheng"])
def test_slices_that_are_still_packed(cheng: Path, tmp_path: Path, layout: str) -> None:
    names = [f"brainTumorDataPublic_{part}.zip" for part in ("1-766", "1533-2298", "767-1532")]
    for name in names:
        (cheng / name).write_bytes(b"PK")
    (cheng / "README.txt").write_text("read me")
    importing.run(request(cheng, tmp_path / "some", layout=layout))
    assert len(read_dataset(tmp_path / "some").rows) == 3
    assert "unpack it there" in left_out(tmp_path / "some")[names[0]]
    for number in range(1, 4):
        (cheng / f"{number}.mat").unlink()
    message = f"zip files, unpack them there and import again: {', '.join(names)}$"
    with pytest.raises(DataError, match=message):
        importing.run(request(cheng, tmp_path / "out", layout=layout))
    for number in range(10):
        (cheng / f"more{number}.zip").write_bytes(b"PK")
    with pytest.raises(DataError, match=r"more4\.zip and 5 more$"):
        importing.run(request(cheng, tmp_path / "out", layout=layout))


def test_of_several_collections_none_is_taken_silently(
    brisc: Path, cheng: Path, slices: Path, tmp_path: Path
) -> None:
    source = tmp_path / "downloads"
    source.mkdir()
    shutil.copytree(brisc, source / "a" / "brisc2025")
    shutil.copytree(cheng, source / "cheng")
    message = (
        rf"{source} holds several collections \(brisc in {source}/a, cheng in {source}/cheng\): "
        "give one of them"
    )
    with pytest.raises(DataError, match=message):
        importing.run(request(source, tmp_path / "out"))
    importing.run(request(source / "cheng", tmp_path / "out"))
    shutil.rmtree(source)
    for name in ("one", "two"):
        shutil.copytree(slices, source / name)
    with pytest.raises(DataError, match=r"several collections \(manifest in .*, manifest in"):
        importing.run(request(source, tmp_path / "none"))
    # Parts of one collection look alike.
    for number, part in enumerate(("1-766", "767-1532")):
        (tmp_path / "parts" / part).mkdir(parents=True)
        shutil.copy(cheng / f"{number + 1}.mat", tmp_path / "parts" / part)
    importing.run(request(tmp_path / "parts", tmp_path / "parts_out"))
    assert len(read_dataset(tmp_path / "parts_out").rows) == 2


def test_a_collection_that_repeats_itself_in_a_folder(tmp_path: Path) -> None:
    source = tmp_path / "archive" / "navoneel"
    for number in range(3):
        save(picture(number), source / "yes" / f"Y{number}.jpg")
        save(picture(10 + number), source / "no" / f"{number} no.jpg")
    shutil.copytree(source, tmp_path / "copy")
    (tmp_path / "copy").rename(source / "brain_tumor_dataset")
    # Equal pixels under another name, and another picture under an equal name, are both kept.
    save(picture(0), source / "yes" / "same.jpg")
    save(picture(20), source / "brain_tumor_dataset" / "no" / "1 no.jpg")
    # As is a copy in another part: the audit is to find it.
    save(picture(1), source / "train" / "yes" / "Y1.jpg")
    for place in (source, source.parent):
        output = tmp_path / f"of {place.name}"
        importing.run(request(place, output, **MADE))
        rows = read_dataset(output).rows
        assert len(rows) == 6 + 3
        assert sum("brain_tumor_dataset" in row.origin for row in rows) == 1
        report = json.loads((output / "import.json").read_text())
        assert report["exact_copies_left_out"] == len(report["left_out"]) == 5
        assert {item["why"] for item in report["left_out"]} >= {
            f"an exact copy of {(source / 'yes' / 'Y0.jpg').relative_to(place)}"
        }


def test_clear_errors(tmp_path: Path, brisc: Path) -> None:
    with pytest.raises(DataError, match="no folder"):
        importing.run(request(tmp_path / "none", tmp_path / "out"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="laid out like none of the known"):
        importing.run(request(tmp_path / "empty", tmp_path / "out"))
    with pytest.raises(DataError, match="is there already"):
        importing.run(request(brisc, tmp_path / "empty"))
    assert list(tmp_path.glob(".*")) == []


def test_a_full_disk_leaves_nothing(
    tmp_path: Path, brisc: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, written = Path.write_bytes, 0

    def full(path: Path, content: bytes) -> int:
        nonlocal written
        written += 1
        if written > 5:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(path, content)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(DataError, match=r"cannot write .*out: No space left"):
        importing.run(request(brisc, tmp_path / "out"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["brisc2025"]
