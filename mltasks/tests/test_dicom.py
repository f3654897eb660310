"""DICOM files: one slice as it is meant to be seen, and clear words for all else."""

from __future__ import annotations

import logging
import struct
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from numpy.typing import NDArray
from pydicom.data import get_testdata_file
from pydicom.encaps import encapsulate
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    RLELossless,
)

from mltasks.images import Decoded, ImageError, Limits, decode
from tests.support.dicom import dicom

LIMITS = Limits(max_bytes=20 * 2**20, max_pixels=40_000_000)
NATIVE = [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian]


def ramp(dtype: type[np.generic] = np.uint16, shape: tuple[int, int] = (32, 48)) -> NDArray[Any]:
    """Values from 0 to 1000, rising from left to right and downwards."""
    return np.linspace(0, 1000, shape[0] * shape[1]).reshape(shape).astype(dtype)


def read(content: bytes) -> Decoded:
    return decode(content, LIMITS)


def refused(content: bytes) -> ImageError:
    with pytest.raises(ImageError) as caught:
        read(content)
    return caught.value


class TestRead:
    @pytest.mark.parametrize("syntax", NATIVE)
    @pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16])
    def test_every_way_of_writing_the_same_slice(
        self, syntax: UID, dtype: type[np.generic]
    ) -> None:
        pixels = (ramp(np.float64) / 4).astype(dtype)
        found = read(dicom(pixels, syntax=syntax, WindowCenter=125.5, WindowWidth=251))
        expected = np.rint(np.clip(pixels / 250, 0, 1) * 255)
        assert np.abs(found.pixels - expected).max() <= 1
        assert (found.format, found.orientation, found.stored_size) == ("DICOM", 1, (48, 32))

    def test_the_first_window_counts(self) -> None:
        found = read(dicom(ramp(), WindowCenter=[300, 800], WindowWidth=[101, 900])).pixels
        values = ramp()
        assert found[values <= 249].max() == 0
        assert found[values >= 350].min() == 255
        # PS3.3 C.11.2.1.2.1: half a value below the centre lies the middle.
        assert abs(int(found[np.abs(values.astype(int) - 299) <= 1].mean()) - 127) <= 3

    def test_slope_and_intercept_come_before_the_window(self) -> None:
        plain = read(dicom(ramp(), WindowCenter=500, WindowWidth=1001)).pixels
        scaled = dicom(
            ramp(), WindowCenter=1100, WindowWidth=2001, RescaleSlope=2, RescaleIntercept=100
        )
        assert np.abs(read(scaled).pixels.astype(int) - plain).max() <= 1

    @pytest.mark.parametrize(
        "window", [{}, {"WindowCenter": 5000, "WindowWidth": 10}, {"WindowWidth": 0}]
    )
    def test_without_a_window_that_shows_something_the_range_is_one(
        self, window: dict[str, Any]
    ) -> None:
        found = read(dicom(ramp(), **{"WindowCenter": 0, **window} if window else {})).pixels
        assert (found.min(), found.max()) == (0, 255)
        assert (np.diff(found.ravel().astype(int)) >= 0).all()

    def test_white_may_be_the_least(self) -> None:
        found = read(dicom(ramp(), PhotometricInterpretation="MONOCHROME1")).pixels
        assert (found[0, 0], found[-1, -1]) == (255, 0)

    @pytest.mark.parametrize("kind", ["MONOCHROME1", "MONOCHROME2"])
    def test_padding_is_black_and_no_part_of_the_range(self, kind: str) -> None:
        values = ramp(np.int16)
        values[:, :24] = -2000
        found = read(dicom(values, PhotometricInterpretation=kind, PixelPaddingValue=-2000)).pixels
        assert not found[:, :24].any()
        assert np.ptp(found[:, 24:]) > 250

    def test_bits_above_those_stored_are_no_values(self) -> None:
        overlay = ramp() | np.uint16(0x8000)
        stored: dict[str, Any] = {"BitsStored": 12, "HighBit": 11}
        assert np.array_equal(read(dicom(overlay, **stored)).pixels, read(dicom(ramp())).pixels)

    def test_colours(self) -> None:
        pixels = np.zeros((20, 30, 3), np.uint8)
        pixels[..., 0] = 200
        assert np.array_equal(read(dicom(pixels)).pixels, pixels)
        deep = pixels.astype(np.uint16) << 8
        assert np.array_equal(read(dicom(deep)).pixels, pixels)

    def test_grey_written_as_colours_is_grey(self) -> None:
        pixels = np.repeat(np.arange(256, dtype=np.uint8)[:, None, None], 40, axis=1).repeat(3, 2)
        assert read(dicom(pixels)).pixels.ndim == 2

    def test_a_real_slice_that_is_a_tiff_as_well(self) -> None:
        """`MR_small.dcm`, which pydicom brings along: its first bytes are those of a TIFF."""
        path = get_testdata_file("MR_small.dcm")
        with open(str(path), "rb") as file:  # noqa: PTH123  # a name of the library's
            content = file.read()
        assert content.startswith(b"II*\0")
        found = read(content)
        assert (found.format, found.pixels.shape) == ("DICOM", (64, 64))
        assert np.ptp(found.pixels) > 200


class TestRefused:
    @pytest.mark.parametrize(
        ("tags", "code", "words"),
        [
            ({"Modality": "CT"}, "not_mri", "is a CT scan"),
            ({"Modality": "ERIKA"}, "not_mri", "This DICOM file is not an MRI."),
            ({"NumberOfFrames": 24}, "several_slices", "holds 24 slices"),
            ({"Rows": None, "Columns": None}, "no_picture", "no picture in this DICOM"),
            ({"PixelData": None}, "no_picture", "no picture in this DICOM"),
            ({"Rows": 8}, "too_small", "48×8 pixels"),
            ({"Rows": 60_000, "Columns": 60_000}, "too_many_pixels", "4 megapixels"),
            ({"Rows": 33}, "corrupt", "damaged or incomplete"),
            ({"BitsAllocated": 12}, "corrupt", "damaged or incomplete"),
            ({"PhotometricInterpretation": "NONSENSE"}, "corrupt", "damaged or incomplete"),
        ],
    )
    def test_what_is_no_single_slice(self, tags: dict[str, Any], code: str, words: str) -> None:
        error = refused(dicom(ramp(), **tags))
        assert error.code == code
        assert words in error.message

    @pytest.mark.parametrize("syntax", [JPEGLosslessSV1, JPEG2000Lossless, RLELossless])
    def test_compressed_pixels(self, syntax: UID) -> None:
        error = refused(dicom(ramp(), syntax=syntax, PixelData=encapsulate([b"\xff\xd8" * 99])))
        assert error.code == "compressed"
        assert "as PNG or JPEG" in error.message

    def test_a_bomb_is_not_inflated(self) -> None:
        """All of such a file is compressed: 20 MB of it could hold 20 GB."""
        content = dicom(ramp(), syntax=DeflatedExplicitVRLittleEndian)
        assert refused(content).code == "compressed"

    @pytest.mark.parametrize("syntax", NATIVE)
    def test_files_that_end_early(self, syntax: UID) -> None:
        content = dicom(ramp(), syntax=syntax)
        for length in (140, 200, 400, len(content) // 2, len(content) - 2):
            assert refused(content[:length]).code in {"corrupt", "no_picture"}

    def test_more_before_the_pixels_than_any_scanner_writes(self) -> None:
        """Each of a million empty elements would have to be looked at."""
        content = dicom(ramp(), syntax=ImplicitVRLittleEndian)
        empty = b"\x29\0\x10\x10\0\0\0\0"
        pixels = content.index(b"\xe0\x7f\x10\0")
        flood = content[:pixels] + empty * 600_000 + content[pixels:]
        assert refused(flood).code in {"corrupt", "no_picture"}
        assert np.ptp(read(content[:pixels] + empty * 1000 + content[pixels:]).pixels) > 200

    def test_one_large_element_before_the_pixels_is_passed_over(self) -> None:
        assert np.ptp(read(dicom(ramp(), TextValue="y" * (5 * 2**20))).pixels) > 200

    @settings(max_examples=150, deadline=None)
    @given(
        at=st.integers(132, 900),
        value=st.binary(min_size=1, max_size=12),
        syntax=st.sampled_from(NATIVE),
    )
    def test_nothing_but_clear_words_for_any_damage(
        self, at: int, value: bytes, syntax: UID
    ) -> None:
        content = bytearray(dicom(ramp(np.uint16, (16, 16)), syntax=syntax))
        content[at : at + len(value)] = value
        try:
            found = read(bytes(content))
        except ImageError:
            return
        assert found.pixels.dtype == np.uint8


@pytest.mark.parametrize("items", [1_000, 30_000])
def test_a_sequence_of_very_many_items(items: int) -> None:
    """Each costs time and memory, though nothing in them is wanted."""
    content = dicom(ramp(), syntax=ExplicitVRLittleEndian, Modality="MR")
    item, end = (struct.pack("<HHI", 0xFFFE, element, 0) for element in (0xE000, 0xE0DD))
    sequence = struct.pack("<HH2sHI", 9, 0x1001, b"SQ", 0, 0xFFFFFFFF) + item * items + end
    start = content.index(struct.pack("<HH2s", 8, 0x60, b"CS"))
    content = content[:start] + sequence + content[start:]
    if items == 1_000:
        assert read(content).pixels.shape == (32, 48)
    else:
        assert refused(content).code == "overloaded"


@pytest.mark.parametrize("tag", [0x00280008, 0x00281050, 0x00281053])
def test_a_list_of_very_many_numbers(tag: int) -> None:
    """Three megabytes of them would take a gigabyte, and seconds."""
    content = dicom(ramp(), syntax=ImplicitVRLittleEndian)
    numbers = b"1\\" * 100_000
    element = struct.pack("<HHI", *divmod(tag, 1 << 16), len(numbers)) + numbers
    pixels = content.index(b"\xe0\x7f\x10\0")
    assert refused(content[:pixels] + element + content[pixels:]).code == "overloaded"


@pytest.mark.parametrize("shape", [(32, 48), (32, 48, 3)])
def test_more_pixels_than_the_file_says(shape: tuple[int, ...]) -> None:
    one = np.full(shape, 7, np.uint8)
    several = one.tobytes() * 3
    assert refused(dicom(one, PixelData=several)).code == "corrupt"


def test_what_the_library_says_stays_out_of_the_logs(
    caplog: pytest.LogCaptureFixture, recwarn: pytest.WarningsRecorder
) -> None:
    """It complains of values by naming them, and they may be a person's."""
    caplog.set_level(logging.DEBUG)
    read(dicom(ramp(), PixelData=ramp().tobytes() + b"more than there should be "))
    refused(dicom(ramp())[:300])
    assert not [*caplog.records, *recwarn.list]


def test_most_processes_never_load_the_library() -> None:
    code = "import sys, mltasks.images; assert 'pydicom' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
