"""Pictures as strangers send them: what is read, how exactly, and what is refused and why."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngImageFile

from mltasks.images import (
    Decoded,
    ImageError,
    Limits,
    Pixels,
    decode,
    encode_png,
    orient,
    unorient,
)
from tests.support.pictures import drawn_head, grey, saved

MEGABYTE = 2**20


def read(content: bytes, *, max_bytes: int = 20 * MEGABYTE) -> Decoded:
    return decode(content, Limits(max_bytes=max_bytes, max_pixels=40_000_000))


def refused(content: bytes, *, max_bytes: int = 20 * MEGABYTE) -> ImageError:
    with pytest.raises(ImageError) as caught:
        read(content, max_bytes=max_bytes)
    return caught.value


def chunk(kind: bytes, content: bytes) -> bytes:
    body = kind + content
    return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))


def bomb(width: int = 40_000, height: int = 40_000) -> bytes:
    """A sound PNG of that many black pixels in a few kilobytes."""
    packer = zlib.compressobj(9)
    row = b"\0" * (1 + width // 8)
    packed = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")
    )


def deep_png(values: NDArray[np.uint16]) -> bytes:
    """A PNG of 16 bits with as many channels as the last axis has, 2 to 4."""
    height, width, channels = values.shape
    kind = {2: 4, 3: 2, 4: 6}[channels]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, kind, 0, 0, 0))
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


def retagged(tiff: bytes, tag: int, old: int, new: int, kind: int = 3) -> bytes:
    """A TIFF with another number in a tag that holds one, short (kind 3) or long (4)."""
    entry = struct.pack("<HHII", tag, kind, 1, old)
    assert tiff.count(entry) == 1
    return tiff.replace(entry, struct.pack("<HHII", tag, kind, 1, new))


def peak(path: str) -> int:
    """Memory in MiB that reading a file takes at its highest, in a process of its own."""
    code = """
import resource, sys
from mltasks.images import Limits, decode
def highest(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
content = open(sys.argv[1], "rb").read()
before = highest()
decode(content, Limits(max_bytes=10**8, max_pixels=40_000_000))
print((highest() - before) // 1024)
"""
    done = subprocess.run(
        [sys.executable, "-c", code, path], capture_output=True, text=True, check=True
    )
    return int(done.stdout)


class TestWorks:
    @pytest.mark.parametrize("format_name", ["PNG", "WEBP", "TIFF", "BMP"])
    def test_lossless_formats_give_the_very_pixels(self, format_name: str) -> None:
        pixels = grey(61, 47, seed=5)
        options = {"lossless": True} if format_name == "WEBP" else {}
        picture = read(saved(Image.fromarray(pixels), format_name, **options))
        assert np.array_equal(picture.pixels, pixels)
        assert (picture.width, picture.height) == (61, 47)
        assert (picture.format, picture.stored_size) == (format_name, (61, 47))

    @pytest.mark.parametrize("progressive", [False, True])
    def test_jpeg_comes_close(self, progressive: bool) -> None:
        pixels = drawn_head(128)
        content = saved(Image.fromarray(pixels), "JPEG", quality=95, progressive=progressive)
        picture = read(content)
        assert np.abs(picture.pixels.astype(int) - pixels).mean() < 2

    def test_files_paths_and_bytes_are_read_alike(self, tmp_path: Path) -> None:
        content = encode_png(grey())
        path = tmp_path / "slice.png"
        path.write_bytes(content)
        for source in (content, path, io.BytesIO(content)):
            picture = decode(source, Limits(max_bytes=10**6, max_pixels=10**6))
            assert np.array_equal(picture.pixels, grey())

    def test_a_grey_picture_saved_as_colour_is_grey(self) -> None:
        pixels = drawn_head(96)
        picture = read(saved(Image.fromarray(np.stack([pixels] * 3, axis=2)), "PNG"))
        assert picture.pixels.ndim == 2
        assert np.array_equal(picture.pixels, pixels)

    def test_colour_stays_colour(self) -> None:
        pixels = np.zeros((32, 48, 3), np.uint8)
        pixels[:, :24] = (200, 30, 10)
        assert np.array_equal(read(saved(Image.fromarray(pixels), "PNG")).pixels, pixels)

    def test_cmyk(self) -> None:
        pixels = drawn_head(64)
        inks = np.zeros((64, 64, 4), np.uint8)
        inks[..., 3] = 255 - pixels
        for format_name in ("TIFF", "JPEG"):
            content = saved(Image.fromarray(inks, "CMYK"), format_name)
            picture = read(content)
            assert picture.pixels.shape == (64, 64)
            assert np.abs(picture.pixels.astype(int) - pixels).mean() < 3, format_name

    def test_palette(self) -> None:
        pixels = (grey(40, 30) // 64 * 64).astype(np.uint8)
        picture = Image.fromarray(pixels).convert("P")
        assert picture.mode == "P"
        assert np.array_equal(read(saved(picture, "PNG")).pixels, pixels)

    def test_a_palette_of_colours(self) -> None:
        picture = Image.new("P", (20, 20), 1)
        picture.putpalette([0, 0, 0, 250, 20, 20])
        assert read(saved(picture, "PNG")).pixels[5, 5].tolist() == [250, 20, 20]

    def test_one_bit(self) -> None:
        mask = np.zeros((30, 40), bool)
        mask[5:20, 10:30] = True
        for format_name in ("PNG", "TIFF", "BMP"):
            picture = read(saved(Image.fromarray(mask), format_name))
            assert np.array_equal(picture.pixels, mask * np.uint8(255)), format_name

    def test_sixteen_bits_fill_the_range(self) -> None:
        values = np.linspace(1000, 5000, 64 * 64).reshape(64, 64).astype(np.uint16)
        for format_name in ("PNG", "TIFF"):
            picture = read(saved(Image.fromarray(values), format_name))
            assert picture.pixels.dtype == np.uint8
            assert (picture.pixels.min(), picture.pixels.max()) == (0, 255)
            expected = np.clip((values - 1004.0) / (4996.0 - 1004.0), 0, 1) * 255
            assert np.abs(picture.pixels - expected).max() <= 1

    @pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.float32])
    def test_a_tiff_in_which_0_is_white(self, kind: type) -> None:
        values: NDArray[Any] = np.linspace(0, 255, 64 * 64).reshape(64, 64).astype(kind)
        content = saved(Image.fromarray(values), "TIFF")
        positive, negative = read(content), read(retagged(content, 262, 1, 0))
        assert np.abs(255 - negative.pixels.astype(int) - positive.pixels).max() <= 1

    def test_a_bright_picture_of_deep_colours(self) -> None:
        values = np.full((20, 20, 3), (50_000, 9_000, 700), np.uint16)
        assert read(deep_png(values)).pixels[0, 0].tolist() == [195, 35, 2]

    def test_a_few_burnt_out_pixels_do_not_darken_sixteen_bits(self) -> None:
        values = np.linspace(0, 1000, 100 * 100).reshape(100, 100).astype(np.uint16)
        values[0, 0] = 65535
        assert np.median(read(saved(Image.fromarray(values), "PNG")).pixels) > 120

    def test_floats_and_what_is_no_number(self) -> None:
        values = np.linspace(-1, 1, 32 * 32).reshape(32, 32).astype(np.float32)
        values[3, 3], values[4, 4] = np.nan, np.inf
        picture = read(saved(Image.fromarray(values), "TIFF"))
        assert (picture.pixels[0, 0], picture.pixels[-1, -1]) == (0, 255)
        assert picture.pixels[3, 3] == picture.pixels[4, 4] == round(255 / 2)

    def test_sixteen_bits_and_floats_are_windowed_alike(self) -> None:
        values = np.random.default_rng(4).integers(0, 40_000, (300, 300)).astype(np.uint16)
        counted = read(saved(Image.fromarray(values), "PNG")).pixels.astype(int)
        measured = read(saved(Image.fromarray(values.astype(np.float32)), "TIFF")).pixels
        assert np.abs(counted - measured).max() <= 1

    def test_the_first_picture_of_a_cameras_jpeg(self) -> None:
        """As cameras write them that put a preview behind the picture (MPO)."""
        head, preview = (Image.fromarray(grey(80, 60, seed=seed)) for seed in (1, 2))
        content = saved(head, "MPO", save_all=True, append_images=[preview])
        picture = read(content)
        assert picture.format == "JPEG"
        assert np.array_equal(picture.pixels, read(saved(head, "JPEG")).pixels)

    @pytest.mark.parametrize("mode", ["I;16", "RGBA"])
    def test_a_small_file_with_many_pixels_takes_bounded_memory(
        self, tmp_path: Path, mode: str
    ) -> None:
        """Forty megapixels, of two bytes and of four, in a few hundred kilobytes."""
        Image.new(mode, (6300, 6300)).save(tmp_path / "large.png")
        assert peak(str(tmp_path / "large.png")) < 12 * 40

    def test_flat_sixteen_bits_are_black(self) -> None:
        flat = np.full((20, 20), 700, np.uint16)
        assert not read(saved(Image.fromarray(flat), "PNG")).pixels.any()

    def test_what_is_transparent_lies_on_black(self) -> None:
        pixels = np.full((20, 20, 4), 200, np.uint8)
        pixels[..., 3] = 255
        pixels[:10, :, 3] = 0
        pixels[10:12, :, 3] = 128
        for image in (Image.fromarray(pixels), Image.fromarray(pixels).convert("LA")):
            result = read(saved(image, "PNG")).pixels
            assert (result[:10] == 0).all()
            assert (np.abs(result[10:12].astype(int) - 100) <= 1).all()
            assert (result[12:] == 200).all()

    def test_a_blank_fourth_channel_hides_nothing(self) -> None:
        pixels = grey()
        blank = np.zeros_like(pixels)
        for channels in ([pixels, blank], [pixels, pixels, pixels, blank]):
            content = saved(Image.fromarray(np.stack(channels, axis=2)), "PNG")
            assert np.array_equal(read(content).pixels, pixels)

    def test_a_transparent_colour_of_a_palette_lies_on_black(self) -> None:
        image = Image.fromarray(np.repeat([[0, 1]], 20, axis=0).repeat(10, axis=1).astype(np.uint8))
        image.putpalette([90, 90, 90, 180, 180, 180])
        result = read(saved(image, "PNG", transparency=0)).pixels
        assert (result[:, :10] == 0).all()
        assert (result[:, 10:] == 180).all()

    @pytest.mark.parametrize("format_name", ["JPEG", "PNG", "WEBP", "TIFF"])
    @pytest.mark.parametrize("orientation", range(1, 9))
    def test_rotation_tags_are_followed(self, format_name: str, orientation: int) -> None:
        upright = np.zeros((32, 48), np.uint8)
        upright[:12, :16] = 250
        upright[20:, 36:] = 120
        stored = np.ascontiguousarray(unorient(upright, orientation))
        exif = Image.Exif()
        exif[0x0112] = orientation
        options: dict[str, object] = {"lossless": True} if format_name == "WEBP" else {}
        options |= {"quality": 100} if format_name == "JPEG" else {}
        picture = read(saved(Image.fromarray(stored), format_name, exif=exif, **options))
        assert picture.pixels.shape == (32, 48)
        assert np.abs(picture.pixels.astype(int) - upright).max() <= 6
        assert picture.orientation == orientation
        assert picture.stored_size == (stored.shape[1], stored.shape[0])

    def test_a_nonsense_rotation_tag_is_no_rotation(self) -> None:
        exif = Image.Exif()
        exif[0x0112] = 77
        assert read(saved(Image.fromarray(grey()), "PNG", exif=exif)).orientation == 1


class TestRefused:
    @pytest.mark.parametrize(
        ("content", "code", "words"),
        [
            (b"", "empty", "This file is empty."),
            (b"Dear doctor,\nplease find", "not_an_image", "not a picture we can read"),
            (b"\0" * 500, "not_an_image", "not a picture we can read"),
            (b"GIF89a" + b"\0" * 50, "gif", "save one frame as PNG"),
            (b'<?xml version="1.0"?><svg onload="x()"/>', "svg", "SVG drawings are not accepted"),
            (b"  <svg><script>alert(1)</script></svg>", "svg", "SVG drawings are not accepted"),
            (b"%PDF-1.7 ...", "pdf", "PDF document"),
            (b"\xff\xd8\xff", "corrupt", "This JPEG file is damaged"),
            (b"\x89PNG\r\n\x1a\n", "corrupt", "This PNG file is damaged"),
            (b"RIFF\0\0\0\0WEBP", "corrupt", "This WEBP file is damaged"),
            (b"II*\0", "corrupt", "This TIFF file is damaged"),
            (b"BM", "corrupt", "This BMP file is damaged"),
        ],
    )
    def test_what_it_is_not(self, content: bytes, code: str, words: str) -> None:
        error = refused(content)
        assert error.code == code
        assert words in error.message
        assert str(error) == error.message

    @pytest.mark.parametrize("channels", [2, 3, 4])
    def test_deep_colours_that_are_dark(self, channels: int) -> None:
        """As of a scanner of 12 bits: the upper 8 of 16 would be nearly black."""
        values = np.linspace(0, 4095, 32 * 32).reshape(32, 32).astype(np.uint16)
        error = refused(deep_png(np.stack([values] * channels, axis=2)))
        assert error.code == "dark_colours"
        assert "16 bits of grey" in error.message

    def test_a_whole_file_of_an_unknown_kind(self) -> None:
        content = saved(Image.fromarray(np.zeros((32, 32), np.float32)), "TIFF")
        doubles = retagged(retagged(content, 256, 32, 16, kind=4), 258, 32, 64)
        error = refused(doubles)
        assert error.code == "unknown_kind"
        assert error.message.startswith("TIFF pictures of this kind cannot be read.")

    def test_an_animated_gif(self) -> None:
        frames = [Image.fromarray(grey(seed=n)) for n in range(3)]
        content = saved(frames[0], "GIF", save_all=True, append_images=frames[1:])
        assert refused(content).code == "gif"

    @pytest.mark.parametrize("format_name", ["PNG", "WEBP"])
    def test_an_animation(self, format_name: str) -> None:
        frames = [Image.fromarray(grey(seed=n)) for n in range(3)]
        content = saved(frames[0], format_name, save_all=True, append_images=frames[1:])
        error = refused(content)
        assert error.code == "animated"
        assert "save one frame" in error.message

    def test_a_tiff_of_several_pages(self) -> None:
        pages = [Image.fromarray(grey(seed=n)) for n in range(2)]
        content = saved(pages[0], "TIFF", save_all=True, append_images=pages[1:])
        assert refused(content).code == "several_pages"

    @pytest.mark.parametrize("format_name", ["JPEG", "PNG", "WEBP", "TIFF", "BMP"])
    @pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
    def test_a_truncated_file(self, format_name: str, share: float) -> None:
        content = saved(Image.fromarray(drawn_head(96)), format_name)
        error = refused(content[: int(len(content) * share)])
        assert error.code == "corrupt"
        assert f"This {format_name} file is damaged or incomplete" in error.message

    def test_a_progressive_jpeg_that_ends_early(self) -> None:
        content = saved(Image.fromarray(drawn_head(96)), "JPEG", progressive=True)
        assert refused(content[: len(content) // 2]).code == "corrupt"

    @pytest.mark.parametrize("at", [0.3, 0.5, 0.7, 0.9])
    def test_a_png_with_a_wrong_byte(self, at: float) -> None:
        content = bytearray(encode_png(drawn_head(96)))
        content[int(len(content) * at)] ^= 0x40
        assert refused(bytes(content)).code == "corrupt"

    @pytest.mark.parametrize("at", [0.3, 0.5, 0.8])
    @pytest.mark.parametrize("progressive", [False, True])
    def test_a_jpeg_with_a_hole(self, at: float, progressive: bool) -> None:
        content = saved(
            Image.fromarray(drawn_head(256)), "JPEG", quality=92, progressive=progressive
        )
        start = int(len(content) * at)
        for damaged in (
            content[:start] + bytes(400) + content[start + 400 :],
            content[:start] + content[start + 500 :],
            content[:start] + b"\xff\xd8" * 200 + content[start + 400 :],
            content[:start] + b"\xff\xd9",
        ):
            assert refused(damaged).code == "corrupt"

    def test_a_jpeg_with_more_than_a_picture_is_whole(self) -> None:
        image = Image.fromarray(drawn_head(96)).convert("RGB")
        content = saved(image, "JPEG")
        # Left over between the parts of the header, behind the end, and another kind of colours.
        table = content.index(b"\xff\xdb")
        for whole in (
            content[:table] + bytes(3) + content[table:],
            content + b"a preview" * 20,
            saved(image.convert("CMYK"), "JPEG"),
            saved(image, "JPEG", subsampling=0, restart_marker_blocks=3),
        ):
            assert read(whole).pixels.shape[:2] == (96, 96)

    @pytest.mark.parametrize("mode", ["L", "RGB"])
    def test_a_jpeg_whose_scan_says_nothing_of_its_extent(self, mode: str) -> None:
        """As many phones write it: zero where the standard wants 63."""
        content = saved(Image.fromarray(drawn_head(256)).convert(mode), "JPEG", quality=92)
        end = content.index(b"\xff\xda") + (10 if mode == "L" else 14)
        odd = content[: end - 3] + bytes(3) + content[end:]
        assert odd != content
        assert np.array_equal(read(odd).pixels, read(content).pixels)
        middle = len(odd) // 2
        assert refused(odd[:middle] + bytes(400) + odd[middle + 400 :]).code == "corrupt"

    def test_a_jpeg_that_lost_rows_between_two_marks(self) -> None:
        content = saved(Image.fromarray(drawn_head(256)), "JPEG", restart_marker_rows=1)
        lost = content[: content.index(b"\xff\xd3")] + content[content.index(b"\xff\xd4") :]
        assert refused(lost).code == "corrupt"

    def test_a_page_hidden_in_a_jpeg(self) -> None:
        content = saved(
            Image.fromarray(grey()), "JPEG", comment=b"<html><script>alert(1)</script></html>"
        )
        for polyglot in (content, saved(Image.fromarray(grey()), "JPEG") + b"<SCRIPT >x</script>"):
            error = refused(polyglot)
            assert error.code == "active_content"
            assert "program code hidden" in error.message

    def test_a_page_hidden_far_behind_the_pixels(self) -> None:
        noise = np.random.default_rng(0).integers(0, 256, (300, 300), np.uint8)
        content = encode_png(noise) + b"<ScRiPt>alert(1)</script>"
        assert len(content) > 65_536
        assert refused(content).code == "active_content"

    def test_too_many_bytes(self, tmp_path: Path) -> None:
        content = encode_png(grey()) + b"\0" * MEGABYTE
        error = refused(content, max_bytes=MEGABYTE)
        assert (error.code, error.message) == ("too_large", "This file is larger than 1 MB.")
        path = tmp_path / "large.png"
        path.write_bytes(content)
        for source in (path, io.BytesIO(content)):
            with pytest.raises(ImageError, match="larger than 1 MB"):
                decode(source, Limits(max_bytes=MEGABYTE, max_pixels=10**6))

    def test_a_file_of_exactly_the_limit_is_read(self) -> None:
        content = encode_png(grey())
        assert read(content, max_bytes=len(content)).width == 40

    @pytest.mark.parametrize("size", [(15, 200), (200, 15), (1, 1)])
    def test_too_small(self, size: tuple[int, int]) -> None:
        error = refused(encode_png(grey(*size) if min(size) > 4 else np.zeros((1, 1), np.uint8)))
        assert error.code == "too_small"
        assert f"{size[0]}×{size[1]} pixels" in error.message

    def test_more_pixels_than_allowed(self) -> None:
        content = encode_png(np.zeros((400, 400), np.uint8))
        with pytest.raises(ImageError) as caught:
            decode(content, Limits(max_bytes=MEGABYTE, max_pixels=150_000))
        assert caught.value.code == "too_many_pixels"
        assert "larger than 0.15 megapixels" in caught.value.message

    def test_as_many_pixels_as_allowed_are_read(self) -> None:
        content = encode_png(np.zeros((40, 50), np.uint8))
        assert decode(content, Limits(max_bytes=MEGABYTE, max_pixels=2000)).stored_size == (50, 40)
        with pytest.raises(ImageError, match="megapixels"):
            decode(content, Limits(max_bytes=MEGABYTE, max_pixels=1999))

    def test_a_large_picture_waits_before_it_is_read(self, monkeypatch: pytest.MonkeyPatch) -> None:
        content = encode_png(np.zeros((2100, 2100), np.uint8))
        order: list[str] = []
        load = PngImageFile.load

        def noted(image: PngImageFile) -> object:
            order.append("read")
            return load(image)

        monkeypatch.setattr(PngImageFile, "load", noted)
        decode(
            content,
            Limits(max_bytes=MEGABYTE, max_pixels=10**7),
            before_large=lambda: order.append("waited"),
        )
        assert order[0] == "waited"
        assert "read" in order

    def test_a_missing_path_is_an_error_of_the_path(self, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError):
            decode(tmp_path / "none.png", Limits(max_bytes=1, max_pixels=1))


def test_a_bomb_is_refused_without_growing(tmp_path: Path) -> None:
    """40,000 × 40,000 pixels would be 1.6 GB; the refusal costs next to nothing."""
    path = tmp_path / "bomb.png"
    path.write_bytes(bomb())
    assert path.stat().st_size < MEGABYTE
    script = (
        "import resource, sys\n"
        "from pathlib import Path\n"
        "from mltasks.images import ImageError, Limits, decode\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "try:\n"
        "    decode(Path(sys.argv[1]), Limits(max_bytes=2**24, max_pixels=40_000_000))\n"
        "except ImageError as error:\n"
        "    print(error.code)\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )
    root = Path(__file__).parent.parent.parent
    done = subprocess.run(
        [sys.executable, "-c", script, path], cwd=root, capture_output=True, check=True, text=True
    )
    code, grown = done.stdout.split()
    assert code == "too_many_pixels"
    assert int(grown) < 20_000, "kilobytes"


@settings(max_examples=40, deadline=None)
@given(
    orientation=st.integers(1, 8),
    width=st.integers(1, 9),
    height=st.integers(1, 9),
)
def test_turning_back_undoes_turning(orientation: int, width: int, height: int) -> None:
    pixels: Pixels = np.arange(width * height, dtype=np.uint8).reshape(height, width)
    assert np.array_equal(unorient(orient(pixels, orientation), orientation), pixels)
    assert np.array_equal(orient(unorient(pixels, orientation), orientation), pixels)


STARTS = [b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"II*\0", b"MM\0*", b"BM", b"RIFF    WEBP", b""]


@settings(max_examples=60, deadline=None)
@given(content=st.binary(max_size=300), start=st.sampled_from(STARTS))
def test_random_bytes_are_refused_in_words(content: bytes, start: bytes) -> None:
    assert refused(start + content).message.endswith(".")
