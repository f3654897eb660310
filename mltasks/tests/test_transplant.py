"""Lesions moved between slices land where they should, with their mask, or not at all."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from PIL import Image, ImageFilter

from mltasks.data import Record, Sample
from mltasks.preprocessing import Pixels
from mltasks.transplant import Transplants, lay_over


def disc(side: int, brightness: int) -> Pixels:
    """A head: a bright disc on black, with a margin."""
    y, x = np.mgrid[-1 : 1 : side * 1j, -1 : 1 : side * 1j]
    return np.where(x**2 + y**2 < 0.8, brightness, 0).astype(np.uint8)


def lesion(head: Pixels, brightness: int) -> tuple[Pixels, Pixels]:
    """The head with a small square in its upper left, and that square's mask."""
    side = len(head)
    mask = np.zeros_like(head)
    mask[side * 3 // 8 : side // 2, side * 3 // 8 : side // 2] = 255
    return np.where(mask > 0, brightness, head).astype(np.uint8), mask


def sample(pixels: Pixels, mask: Pixels | None, *, plane: str = "axial", label: str = "") -> Sample:
    label = label or ("no_tumor" if mask is None else "glioma")
    record = Record(label, label, plane, 1, label, has_mask=mask is not None, sha256="")
    return Sample(record, pixels, mask)


def test_a_lesion_lands_on_the_same_place_of_a_head_of_another_size() -> None:
    donor, mask = lesion(disc(128, 80), 200)
    host = np.pad(disc(200, 80), ((40, 0), (0, 60)))
    laid = lay_over(host, donor, mask)
    assert laid is not None
    pixels, moved = laid
    assert pixels.shape == moved.shape == host.shape
    rows, columns = np.nonzero(moved)
    assert rows.mean() - 40 == pytest.approx(200 * 7 / 16, abs=3)
    assert columns.mean() == pytest.approx(200 * 7 / 16, abs=3)
    assert np.median(pixels[moved > 0]) > 150
    far = moved.copy()
    far[:] = 0
    far[150:, 130:200] = 1
    np.testing.assert_array_equal(pixels[far > 0], host[far > 0])


def test_its_surroundings_take_the_hosts_brightness() -> None:
    donor, mask = lesion(disc(128, 100), 200)
    laid = lay_over(disc(128, 60), donor, mask)
    assert laid is not None
    pixels, moved = laid
    # 200 against tissue of 100 becomes 120 against tissue of 60.
    assert np.median(pixels[moved > 0]) == pytest.approx(120, abs=8)


@pytest.mark.parametrize(
    ("host", "donor"),
    [
        (disc(128, 30), lesion(disc(128, 200), 250)),  # too unlike in brightness
        (disc(128, 90), (disc(128, 90), disc(128, 255))),  # larger than a tumour may be
        (np.zeros((128, 128), np.uint8), lesion(disc(128, 90), 200)),  # no head there
        (disc(16, 90), lesion(disc(128, 90), 200)),  # too small a head
        (disc(128, 90), (disc(128, 90), np.zeros((128, 128), np.uint8))),  # no lesion
    ],
)
def test_what_does_not_fit_is_left_out(host: Pixels, donor: tuple[Pixels, Pixels]) -> None:
    assert lay_over(host, *donor) is None


class TestTransplants:
    donor = sample(*lesion(disc(128, 80), 200))
    host = sample(disc(128, 80), None)

    def drawn(self, samples: Sequence[Sample], lesions: float, healthy: float) -> Transplants:
        return Transplants(samples, lesion=lesions, healthy=healthy)

    def test_a_slice_without_a_tumour_gets_one_and_its_class(self) -> None:
        rng = np.random.default_rng(0)
        pixels, mask, target = self.drawn([self.donor, self.host], 1.0, 0.0)(self.host, rng)
        assert target == self.donor.record.target
        assert mask is not None
        assert mask.any()
        assert (pixels != self.host.pixels).any()

    def test_a_healthy_patch_keeps_the_class(self) -> None:
        rng = np.random.default_rng(0)
        # Healthy tissue of its own kind, in the place of the donor's lesion.
        tissue, place = lesion(disc(128, 85), 120)
        samples = [self.donor, sample(tissue, None)]
        pixels, mask, target = self.drawn(samples, 0.0, 1.0)(self.host, rng)
        assert target == self.host.record.target
        assert mask is None
        # 120 against tissue of 85 becomes 113 against tissue of 80.
        assert np.median(pixels[place > 0]) == pytest.approx(113, abs=3)
        outside = np.asarray(Image.fromarray(place).filter(ImageFilter.MaxFilter(31))) == 0
        np.testing.assert_array_equal(pixels[outside], self.host.pixels[outside])

    def test_a_slice_with_a_tumour_stays_as_it_is(self) -> None:
        rng = np.random.default_rng(0)
        pixels, mask, target = self.drawn([self.donor, self.host], 1.0, 0.0)(self.donor, rng)
        assert pixels is self.donor.pixels
        assert mask is self.donor.mask
        assert target == self.donor.record.target

    def test_a_tumour_without_a_mask_neither_gets_nor_gives(self) -> None:
        hidden = sample(disc(128, 84), None, label="meningioma")
        samples = [self.donor, hidden, self.host]
        rng = np.random.default_rng(0)
        for lesions, healthy in ((1.0, 0.0), (0.0, 1.0)):
            pixels, mask, target = self.drawn(samples, lesions, healthy)(hidden, rng)
            assert pixels is hidden.pixels
            assert mask is None
            assert target == hidden.record.target
        # The only healthy tissue is the host's own.
        move = self.drawn(samples, 0.0, 1.0)
        for _ in range(10):
            np.testing.assert_allclose(move(self.host, rng)[0], self.host.pixels, atol=1)

    def test_nothing_comes_from_another_plane(self) -> None:
        rng = np.random.default_rng(0)
        host = sample(disc(128, 80), None, plane="sagittal")
        pixels, mask, _ = self.drawn([self.donor, host], 1.0, 0.0)(host, rng)
        assert pixels is host.pixels
        assert mask is None
