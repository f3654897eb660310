"""Sets for evaluation: which rows are taken, and that pictures are read as the site reads them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mltasks.data import DataError, data_digest, load_sample, read_manifest, read_records
from mltasks.datasets.form import Row, manifest_bytes
from mltasks.images import Limits, decode
from mltasks.preprocessing import to_grey
from mltasks.tests.conftest import head

_ORIENTATION = 0x0112


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder whose manifest and pictures a test writes."""
    for name in ("images", "masks"):
        (tmp_path / name).mkdir()
    return tmp_path


def write_manifest(folder: Path, text: str) -> None:
    (folder / "manifest.csv").write_text(text)


def test_excluded_rows_are_left_out_as_in_training(folder: Path) -> None:
    rows = [Row(f"s{n}", "glioma", "0", fold=n % 2, group=str(n)) for n in range(4)]
    rows.append(Row("bad", "glioma", "0", fold=0, group="bad", excluded="another scanner"))
    (folder / "manifest.csv").write_bytes(manifest_bytes(rows))
    records = read_records(folder, None)
    assert [record.id for record in records] == ["s0", "s1", "s2", "s3"]
    assert [record.id for record in read_records(folder, 0)] == ["s0", "s2"]
    assert data_digest(records) == data_digest(read_manifest(folder))
    (folder / "manifest.csv").write_bytes(manifest_bytes(rows[-1:]))
    with pytest.raises(DataError, match=r"manifest\.csv: every row is excluded"):
        read_records(folder, None)


def test_a_byte_order_mark_is_no_part_of_the_first_column(folder: Path) -> None:
    """As spreadsheets write it."""
    (folder / "manifest.csv").write_text("id,label\na,glioma\n", encoding="utf-8-sig")
    assert [record.id for record in read_records(folder, None)] == ["a"]


def test_slices_of_a_patient_are_a_group_where_none_is_stated(folder: Path) -> None:
    """Else intervals would count them as independent."""
    write_manifest(folder, "id,label,group,patient\na,glioma,g,p\nb,glioma,,p\nc,glioma,,\n")
    assert [record.group for record in read_records(folder, None)] == [
        *("g", "patient p of this set", "c"),
    ]


def test_the_column_file_names_the_picture(folder: Path) -> None:
    Image.fromarray(head(1)).save(folder / "images" / "other.png")
    Image.fromarray(head(2)).save(folder / "images" / "a.png")
    write_manifest(folder, "id,label,file\na,glioma,other.png\n")
    (record,) = read_records(folder, None)
    np.testing.assert_array_equal(load_sample(folder, record).pixels, head(1))
    write_manifest(folder, "id,label,file\na,glioma,gone.png\n")
    with pytest.raises(DataError, match=r"cannot read .*gone\.png: No such file"):
        load_sample(folder, read_records(folder, None)[0])
    write_manifest(folder, "id,label,file\na,glioma,../a.png\n")
    with pytest.raises(DataError, match=r"'\.\./a\.png' of a cannot be the name of a file"):
        read_records(folder, None)


def test_sixteen_bits_are_read_as_the_site_reads_them(folder: Path) -> None:
    path = folder / "images" / "a.png"
    Image.fromarray(head(1).astype(np.uint16) * 16).save(path)
    write_manifest(folder, "id,label\na,glioma\n")
    pixels = load_sample(folder, read_records(folder, None)[0]).pixels
    np.testing.assert_array_equal(pixels, to_grey(decode(path, Limits(2**20, 10**6)).pixels))
    assert (pixels == 255).mean() < 0.02
    assert np.corrcoef(pixels.ravel(), head(1).ravel())[0, 1] > 0.99


@pytest.mark.parametrize("tagged", [False, True])
def test_turned_pictures_and_masks_are_upright(folder: Path, tagged: bool) -> None:
    exif = Image.Exif()
    exif[_ORIENTATION] = 6
    upright = np.zeros((160, 128), np.uint8)
    upright[20:60, 10:40] = 255
    # Stored a quarter turn to the left: shown turned to the right.
    Image.fromarray(np.rot90(head(1))).save(folder / "images" / "a.png", exif=exif)
    mask = Image.fromarray(np.rot90(upright) if tagged else upright)
    mask.save(folder / "masks" / "a.png", exif=exif if tagged else Image.Exif())
    write_manifest(folder, "id,label\na,glioma\n")
    sample = load_sample(folder, read_records(folder, None)[0])
    np.testing.assert_array_equal(sample.pixels, head(1))
    assert sample.mask is not None
    np.testing.assert_array_equal(sample.mask, upright)


def test_masks_are_taken_as_stated(folder: Path) -> None:
    Image.fromarray(head(1)).save(folder / "images" / "a.png")
    Image.fromarray(head(1)).save(folder / "masks" / "a.png")
    for cell, expected in (("0", False), ("1", True), ("", True)):
        write_manifest(folder, f"id,label,has_mask\na,glioma,{cell}\n")
        assert read_records(folder, None)[0].has_mask is expected
    write_manifest(folder, "id,label,has_mask\na,glioma,True\n")
    with pytest.raises(DataError, match=r"manifest\.csv: has_mask of a must be 0 or 1, not 'True'"):
        read_records(folder, None)


def test_bad_files_are_named(folder: Path) -> None:
    Image.fromarray(head(1)).save(folder / "images" / "a.png")
    Image.fromarray(head(1)[:40]).save(folder / "masks" / "a.png")
    write_manifest(folder, "id,label\na,glioma\n")
    (record,) = read_records(folder, None)
    with pytest.raises(DataError, match=r"masks/a\.png has another size .*128×40 .* 128×160"):
        load_sample(folder, record)
    (folder / "masks" / "a.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"cannot read .*masks/a\.png: This file is not a picture"):
        load_sample(folder, record)
    write_manifest(folder, "id,label,sha256\na,glioma,0\n")
    with pytest.raises(DataError, match=r"a\.png is not the file of the manifest"):
        load_sample(folder, read_records(folder, None)[0])
