"""The data folder, and what is refused in it."""

from __future__ import annotations

import csv
import hashlib
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mltasks.data import (
    DataError,
    data_digest,
    load_sample,
    load_samples,
    masks_digest,
    read_manifest,
    read_records,
    with_digest,
)
from mltasks.datasets import finding
from mltasks.datasets.form import Dataset, read_dataset, replace_rows
from mltasks.folds import samples_digest, split
from mltasks.negatives import held_out_pictures, learnt_pictures
from mltasks.training import DataConfig
from mltasks.training.batches import mask_known


@pytest.fixture
def folder(slices: Path, tmp_path: Path) -> Path:
    """A copy that a test may spoil."""
    copy = tmp_path / "copy"
    shutil.copytree(slices, copy)
    return copy


def rewrite(folder: Path, **changes: str) -> None:
    """Change columns of the manifest's first row."""
    path = folder / "manifest.csv"
    with path.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    rows[0].update(changes)
    with path.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, rows[0])
        writer.writeheader()
        writer.writerows(rows)


def test_slices_and_masks_are_read(slices: Path) -> None:
    records = read_manifest(slices)
    assert len(records) == 44
    sample = load_sample(slices, records[0])
    assert sample.pixels.shape == (160, 128)
    assert sample.mask is not None
    assert set(np.unique(sample.mask)) == {0, 255}
    assert records[2].label == "no_tumor"
    assert load_sample(slices, records[2]).mask is None


def test_a_mask_of_zeros_and_ones_is_a_mask(folder: Path) -> None:
    record = read_manifest(folder)[0]
    usual = load_sample(folder, record).mask
    assert usual is not None
    Image.fromarray(usual // 255).save(folder / "masks" / f"{record.id}.png")
    np.testing.assert_array_equal(load_sample(folder, record).mask, usual)


LEFT, RIGHT = slice(20, 40), slice(60, 90)


@pytest.mark.parametrize("mode", ["L", "I;16"])
@pytest.mark.parametrize(
    ("left", "right", "area"),
    [
        (0, 2, [RIGHT]),
        (1, 4, [LEFT, RIGHT]),
        (1, 127, [LEFT, RIGHT]),
        (100, 240, [RIGHT]),
        (0, 160, [RIGHT]),
    ],
)
def test_a_mask_of_labels_is_told_from_one_of_shades(
    folder: Path, mode: str, left: int, right: int, area: list[slice]
) -> None:
    drawn, truth = np.zeros((160, 128), np.uint16), np.zeros((160, 128), np.bool_)
    drawn[30:60, LEFT], drawn[30:60, RIGHT] = left, right
    for part in area:
        truth[30:60, part] = True
    image = Image.fromarray(drawn if mode == "I;16" else drawn.astype(np.uint8))
    assert image.mode == mode
    image.save(folder / "masks" / "slice0.png")
    mask = load_sample(folder, read_manifest(folder)[0]).mask
    assert mask is not None
    np.testing.assert_array_equal(mask > 0, truth)


@pytest.mark.parametrize("brightest", [90, 255])
def test_a_mask_of_shades_is_cut_at_half_of_the_brightest(folder: Path, brightest: int) -> None:
    """As JPEG, and tools that smooth, leave them."""
    shades = np.tile(np.linspace(0, brightest, 128), (160, 1)).astype(np.uint8)
    Image.fromarray(shades).save(folder / "masks" / "slice0.png")
    mask = load_sample(folder, read_manifest(folder)[0]).mask
    assert mask is not None
    np.testing.assert_array_equal(mask > 0, shades > brightest / 2)


def test_excel_may_have_saved_the_manifest(folder: Path) -> None:
    path = folder / "manifest.csv"
    path.write_text(path.read_text(), encoding="utf-8-sig")
    assert len(read_manifest(folder)) == 44


def test_a_table_parted_by_semicolons_is_told_as_such(folder: Path) -> None:
    path = folder / "manifest.csv"
    path.write_text(path.read_text().replace(",", ";"))
    for read in (read_manifest, lambda own: read_records(own, None)):
        with pytest.raises(DataError, match='columns are parted by ";": save it with commas'):
            read(folder)
    with pytest.raises(DataError, match='columns are parted by ";": save it with commas'):
        finding.find_layout(folder, "")


def test_the_digest_does_not_depend_on_the_order(slices: Path) -> None:
    records = read_manifest(slices)
    assert data_digest(records) == data_digest(records[::-1])
    assert data_digest(records) != data_digest(records[1:])


def stated(folder: Path) -> Dataset:
    """The folder with all digests stated, as an import leaves it."""
    data = read_dataset(folder)
    rows = [
        replace(row, mask_sha256=hashlib.sha256((folder / row.mask).read_bytes()).hexdigest())
        if row.has_mask
        else row
        for row in data.rows
    ]
    return replace_rows(data, rows, {})


def test_masks_have_a_digest_of_their_own(slices: Path, folder: Path) -> None:
    """Who has learnt from these slices has done so whatever masks they have by now."""
    records, before = read_manifest(folder), masks_digest(slices, read_manifest(slices))
    assert masks_digest(folder, records[::-1]) == before
    assert masks_digest(folder, [own for own in records if not own.has_mask]) == ""
    assert data_digest(read_manifest(stated(folder).folder)) == data_digest(records)
    Image.fromarray(np.zeros((160, 128), np.uint8)).save(folder / "masks" / "slice0.png")
    assert masks_digest(folder, records) != before


def test_another_mask_than_the_manifests_is_refused(folder: Path) -> None:
    stated(folder)
    mask = folder / "masks" / "slice0.png"
    Image.fromarray(np.full((160, 128), 255, np.uint8)).save(mask)
    message = rf"{mask} is not the file of the manifest: its digest differs"
    with pytest.raises(DataError, match=message):
        load_sample(folder, next(own for own in read_manifest(folder) if own.id == "slice0"))


def test_a_mask_of_a_tumour_where_there_is_none_is_refused(folder: Path) -> None:
    """Its Dice would be measured, and its outline learnt."""
    rewrite(folder, label="no_tumor")
    message = (
        r"slice0\.png marks a tumour, but the manifest says no_tumor: change the label, set "
        r"has_mask 0, or exclude the row"
    )
    with pytest.raises(DataError, match=message):
        load_sample(folder, read_manifest(folder)[0])
    # One that marks nothing says the same as none.
    Image.fromarray(np.zeros((160, 128), np.uint8)).save(folder / "masks" / "slice0.png")
    assert load_sample(folder, read_manifest(folder)[0]).mask is None


def test_pictures_of_other_suffixes_are_learnt_from_too(folder: Path) -> None:
    """As they are evaluated; also where the manifest has no column for their names."""
    expected = load_sample(folder, read_manifest(folder)[0])
    (folder / "images" / "slice0.jpg").unlink()
    Image.fromarray(expected.pixels).save(folder / "images" / "slice0.png")
    rewrite(folder, sha256="")
    found = load_sample(folder, read_manifest(folder)[0])
    np.testing.assert_array_equal(found.pixels, expected.pixels)
    assert with_digest(folder, found.record).sha256


@pytest.mark.parametrize("part", ["images/slice0.jpg", "masks/slice0.png"])
def test_what_to_do_about_a_bad_file_is_said(folder: Path, part: str) -> None:
    remedy = r"estore it, or exclude its row and import anew \(docs/data\.md"
    path = folder / part
    path.write_bytes(b"no picture")
    if part.startswith("images"):
        with pytest.raises(DataError, match=f"{path} is not the file of the manifest.*{remedy}"):
            load_sample(folder, read_manifest(folder)[0])
        rewrite(folder, sha256="")
    with pytest.raises(DataError, match=f"cannot read {path}: This file .*{remedy}"):
        load_sample(folder, read_manifest(folder)[0])
    path.unlink()
    missing = (
        f"the picture of slice0 is missing in {path.parent}"
        if part.startswith("images")
        else f"cannot read {path}: No such file"
    )
    with pytest.raises(DataError, match=f"{missing}.*{remedy}"):
        load_sample(folder, read_manifest(folder)[0])


def test_a_manifest_changed_by_hand_is_refused(folder: Path) -> None:
    data = stated(folder)
    # Broken off before the last step: the manifest that dataset.json names is not in place yet.
    old = (folder / "manifest.csv").read_bytes()
    replace_rows(data, data.rows[1:], data.info)
    (folder / "manifest.csv").rename(folder / "manifest.csv.next")
    (folder / "manifest.csv").write_bytes(old)
    assert len(read_manifest(folder)) == len(read_records(folder, None)) == 43
    rewrite(folder, label="pituitary")
    for read in (read_manifest, lambda folder: read_records(folder, None)):
        with pytest.raises(DataError, match=r"manifest\.csv: its digest is .* was changed by hand"):
            read(folder)


@pytest.mark.parametrize("info", ['{"format": 1, "name": "x"}', '{"channel_names": {"0": "T1"}}'])
def test_what_names_no_manifest_says_nothing_of_it(folder: Path, info: str) -> None:
    """A dataset.json of ours without a digest, or one of another program's."""
    (folder / "dataset.json").write_text(info)
    assert len(read_manifest(folder)) == len(read_records(folder, None)) == 44


def test_slices_without_a_digest_are_told_apart_by_their_pixels(slices: Path) -> None:
    """A run does not go on with other pictures of the same names."""
    stated = load_samples(slices, read_manifest(slices)[:3])
    unstated = [replace(own, record=replace(own.record, sha256="")) for own in stated]
    turned = [replace(own, pixels=255 - own.pixels) for own in unstated]
    assert len({samples_digest(some) for some in (stated, unstated, turned)}) == 3


def test_folds_are_kept_apart(slices: Path) -> None:
    learnt, held_out = split(read_manifest(slices), 0)
    assert (len(learnt), len(held_out)) == (36, 8)


def test_pictures_drawn_to_learn_from_are_not_those_held_out() -> None:
    learnt, held_out = (
        {pixels.tobytes() for _, pixels in named}
        for named in (
            learnt_pictures(DataConfig(drawn=30), None),
            held_out_pictures(None, count=30),
        )
    )
    assert min(len(learnt), len(held_out)) > 20
    assert not learnt & held_out


def test_a_group_on_both_sides_is_refused(folder: Path) -> None:
    rewrite(folder, group="43")
    with pytest.raises(DataError, match="groups on both sides of fold 0: 43"):
        split(read_manifest(folder), 0)


def test_a_slice_of_no_group_is_not_learnt_from(folder: Path) -> None:
    """As a group of its own it could stand on the other side of a fold than its copies."""
    rewrite(folder, group="")
    with pytest.raises(DataError, match="slice0 is in no group: split the data with"):
        read_manifest(folder)


def test_bad_manifests_are_named(folder: Path) -> None:
    path = folder / "manifest.csv"
    rewrite(folder, label="cyst")
    with pytest.raises(DataError, match="unknown label 'cyst' of slice0"):
        read_manifest(folder)
    for flag in ("True", "yes", " 1", ""):
        rewrite(folder, label="glioma", has_mask=flag)
        with pytest.raises(
            DataError, match=rf"manifest\.csv: has_mask of slice0 must be 0 or 1, not '{flag}'"
        ):
            read_manifest(folder)
    path.write_text("id,label\nslice0,glioma\n")
    with pytest.raises(DataError, match="lacks the columns plane, fold"):
        read_manifest(folder)
    path.write_text("")
    with pytest.raises(DataError, match="has no rows"):
        read_manifest(folder)
    path.unlink()
    with pytest.raises(DataError, match="no training data"):
        read_manifest(folder)


@pytest.mark.parametrize(
    ("cells", "words"),
    [
        ({"id": ""}, "'' cannot be an id"),
        ({"id": "../up"}, r"'\.\./up' cannot be an id"),
        ({"id": "slice1"}, "slice1 is listed twice"),
        ({"fold": "²"}, "fold '²' of slice0 is not a whole number"),
        ({"fold": "-3"}, "fold '-3' of slice0 is not a whole number"),
        ({"fold": "1_0"}, "fold '1_0' of slice0 is not a whole number"),
        ({"fold": "1,0,0,0,0,0,0,0,0,0"}, "the row of 'slice0' has too few or too many columns"),
    ],
)
def test_all_readers_refuse_the_same_rows(folder: Path, cells: dict[str, str], words: str) -> None:
    rewrite(folder, **cells)
    path = folder / "manifest.csv"
    path.write_text(path.read_text().replace('"', ""))
    for read in (read_manifest, lambda folder: read_records(folder, None)):
        with pytest.raises(DataError, match=rf"manifest\.csv: {words}"):
            read(folder)
    [fault] = read_dataset(folder).faults
    assert re.match(words, fault.message)


def test_a_row_that_breaks_off_is_refused(folder: Path) -> None:
    with (folder / "manifest.csv").open("a") as stream:
        stream.write("broken,glioma\n")
    for read in (read_manifest, lambda folder: read_records(folder, None)):
        with pytest.raises(DataError, match="'broken' has too few or too many columns"):
            read(folder)
    assert "too few" in read_dataset(folder).faults[0].message


def test_a_mask_that_marks_nothing_is_none(folder: Path) -> None:
    """Else a tumour would be taught as "no pixel is tumour"."""
    record = read_manifest(folder)[0]
    Image.fromarray(np.zeros((160, 128), np.uint8)).save(folder / "masks" / "slice0.png")
    assert load_sample(folder, record).mask is None
    assert not mask_known(load_sample(folder, record).mask, record.target)


@pytest.mark.parametrize(
    ("palette", "marks"),
    [
        # Labels: the first colour of many tools is a dark red, nearer to black than to white.
        ([0, 0, 0, 128, 0, 0], 1),
        # Pictures that were made smaller: 0 and 255, in any order.
        ([0, 0, 0, 255, 255, 255], 1),
        ([255, 255, 255, 0, 0, 0], 0),
    ],
)
def test_a_mask_may_have_a_palette(folder: Path, palette: list[int], marks: int) -> None:
    record = read_manifest(folder)[0]
    drawn = np.full((160, 128), 1 - marks, np.uint8)
    drawn[3:8, 40:45] = marks
    image = Image.fromarray(drawn, mode="P")
    image.putpalette(palette)
    image.save(folder / "masks" / "slice0.png")
    mask = load_sample(folder, record).mask
    assert mask is not None
    assert (mask == np.where(drawn == marks, 255, 0)).all()


def test_bad_files_are_named(folder: Path) -> None:
    record = read_manifest(folder)[0]
    mask, image = folder / "masks" / "slice0.png", folder / "images" / "slice0.jpg"
    Image.fromarray(np.zeros((20, 20), np.uint8)).save(mask)
    with pytest.raises(DataError, match="another size"):
        load_sample(folder, record)
    mask.unlink()
    with pytest.raises(DataError, match=f"cannot read {mask}"):
        load_sample(folder, record)
    image.write_bytes(b"changed")
    with pytest.raises(DataError, match="its digest differs"):
        load_sample(folder, record)
