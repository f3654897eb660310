"""Pictures of a result lie exactly over the scan."""

from __future__ import annotations

from xml.etree import ElementTree as ET

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from PIL import Image

from predictions import outlines, rendering
from tests.support.pictures import opened


def rgba(content: bytes) -> np.ndarray:
    return np.array(opened(content).convert("RGBA"))


@pytest.fixture
def square() -> np.ndarray:
    mask = np.zeros((60, 90), np.bool_)
    mask[20:30, 50:70] = True
    return mask


def test_the_area_covers_its_own_pixels_and_no_other(square: np.ndarray) -> None:
    picture = rgba(rendering.area_png(square))
    assert picture.shape == (60, 90, 4)
    assert np.array_equal(picture[..., 3] == 255, square)
    assert (picture[square][:, :3] == rendering.AREA_COLOUR).all()
    assert (picture[~square][:, 3] == 0).all()


def flat(arcs: np.ndarray) -> np.ndarray:
    """Points (x, y) along a drawn line."""
    t = np.arange(8)[:, None] / 8
    parts = [(1 - t) ** 2 * a + 2 * t * (1 - t) * way + t**2 * b for a, way, b in arcs]
    return np.concatenate(parts)


def enclosed(lines: list[np.ndarray]) -> float:
    """Pixels within lines, less those of holes."""
    return sum(outlines.enclosed(flat(arcs)) for arcs in lines)


def border(mask: np.ndarray) -> np.ndarray:
    """Points (x, y) along the sides of pixels that end `mask`, four to a side."""
    inside, t = np.pad(mask, 1), np.arange(5) / 4
    down, right = np.nonzero(inside[1:-1, 1:] != inside[1:-1, :-1])
    upright = np.stack((right[:, None] + 0 * t, down[:, None] + t), axis=-1)
    down, right = np.nonzero(inside[1:, 1:-1] != inside[:-1, 1:-1])
    level = np.stack((right[:, None] + t, down[:, None] + 0 * t), axis=-1)
    return np.concatenate((upright, level)).reshape(-1, 2)


def furthest(these: np.ndarray, those: np.ndarray) -> float:
    """How far the one of these is from all of those that is furthest from them."""
    return float(np.hypot(*(these[:, None] - those).transpose(2, 0, 1)).min(axis=1).max())


def disc(side: int, radius: float, *, waves: float = 0) -> np.ndarray:
    y, x = np.mgrid[:side, :side] - side / 2
    return np.hypot(y, x) + waves * np.sin(7 * np.arctan2(y, x)) < radius


@given(arrays(np.bool_, array_shapes(min_dims=2, max_dims=2, max_side=16)), st.integers(1, 3))
@settings(max_examples=60, deadline=None)
def test_a_line_never_strays_a_pixel_from_the_border(cells: np.ndarray, size: int) -> None:
    mask = cells.repeat(size, axis=0).repeat(size, axis=1)
    loops = outlines.lines(mask, least=0)
    assert bool(loops) == bool(mask.any())
    if not loops:
        return
    drawn = rendering.arcs_of(rendering._svg(mask.shape, (0, 0, 0), whole=loops))["whole"]
    points, true = np.concatenate([flat(arcs) for arcs in drawn]), border(mask)
    assert furthest(points, true) <= 1
    assert furthest(true, points) <= 1.5, "corners are cut"
    assert abs(enclosed(drawn) - mask.sum()) <= 0.25 * len(true) / 5


@pytest.mark.parametrize("radius", [4, 7, 12, 40, 90.5])
@pytest.mark.parametrize("waves", [0, 0.15])
def test_a_line_encloses_what_the_area_covers(radius: float, waves: float) -> None:
    mask = disc(256, radius, waves=waves * radius)
    [arcs] = rendering.arcs_of(rendering.outline_svg(mask))["whole"]
    assert enclosed([arcs]) == pytest.approx(mask.sum(), rel=0.02, abs=1.5)


def test_a_line_has_no_stairs() -> None:
    """Its way turns as little as that of the circle which the pixels stand for."""
    [arcs] = rendering.arcs_of(rendering.outline_svg(disc(256, 60)))["whole"]
    steps = np.diff(flat(arcs)[::8], axis=0)
    ways = np.unwrap(np.arctan2(steps[:, 1], steps[:, 0]))
    assert np.abs(np.diff(ways)).max() < np.radians(12)
    assert abs(ways[-1] - ways[0]) == pytest.approx(2 * np.pi, rel=0.1)


def test_borders_of_holes_are_drawn_too() -> None:
    mask = disc(128, 50) & ~disc(128, 20)
    lines = rendering.arcs_of(rendering.outline_svg(mask))["whole"]
    assert len(lines) == 2
    assert enclosed(lines) == pytest.approx(mask.sum(), rel=0.01)


def test_crumbs_are_left_out_unless_there_is_nothing_else() -> None:
    mask = np.zeros((300, 300), np.bool_)
    mask[5:7, 5] = True
    assert len(rendering.arcs_of(rendering.outline_svg(mask))["whole"]) == 1
    mask[100:140, 100:140] = True
    [arcs] = rendering.arcs_of(rendering.outline_svg(mask))["whole"]
    assert flat(arcs).min() > 98


def test_the_outer_contour_is_dashed_but_for_small_parts() -> None:
    outer = np.zeros((300, 300), np.bool_)
    outer[100:250, 100:250] = True
    outer[20:28, 30:37] = True
    inner = np.zeros_like(outer)
    inner[140:200, 140:200] = True
    drawing = rendering.contours_svg(inner, outer)
    lines = rendering.arcs_of(drawing)
    assert [round(flat(arcs).mean()) for arcs in lines["dashed"]] == [175]
    assert [round(flat(arcs).mean()) for arcs in lines["whole"]] == [170, 29]
    assert drawing.count(b"stroke-dasharray") == 2, "a light one and the dark one below it"


def test_a_drawing_is_plain_svg_in_pixels_of_the_scan(square: np.ndarray) -> None:
    for drawing in (
        rendering.outline_svg(square),
        rendering.contours_svg(square, square),
        rendering.contours_svg(np.zeros_like(square), square),
        rendering.outline_svg(np.ones_like(square)),
    ):
        root = ET.fromstring(drawing)  # noqa: S314  # our own
        assert root.attrib["viewBox"] == "0 0 90 60"
        names = {element.tag.rpartition("}")[2] for element in root.iter()}
        assert names <= {"svg", "defs", "path", "use"}
        paths = root.findall(".//{*}path")
        assert paths
        assert {path.attrib["vector-effect"] for path in paths} == {"non-scaling-stroke"}
        named = {f"#{path.attrib['id']}" for path in paths}
        assert {use.attrib["href"] for use in root.findall("{*}use")} == named
        assert b"style" not in drawing


def test_half_a_drawing_is_no_drawing(square: np.ndarray) -> None:
    drawing = rendering.outline_svg(square)
    with pytest.raises(ValueError, match="no end"):
        rendering.arcs_of(drawing[: len(drawing) // 2])


def test_attention_is_brightest_and_least_see_through_where_it_is_strongest() -> None:
    attention = np.tile(np.linspace(0, 255, 96).astype(np.uint8), (16, 1))
    picture = rgba(rendering.attention_png(attention)).astype(int)
    assert picture.shape == (16, 96, 4)
    assert picture[0, 0, 3] == 0
    assert picture[0, 95, 3] == 255
    assert (np.diff(picture[0, :, 3]) >= 0).all()
    assert picture[0, 95, :3].tolist() == rendering.colour_map()[252].tolist()


def test_large_attention_is_kept_small_in_the_same_shape() -> None:
    picture = opened(rendering.attention_png(np.zeros((1000, 3000), np.uint8)))
    assert picture.size == (96, 32)


@pytest.mark.parametrize("shape", [(320, 1700), (1600, 291), (37, 1790), (4000, 640)])
def test_attention_of_a_strip_has_its_proportions(shape: tuple[int, int]) -> None:
    """A browser fits each layer by its own, so others would move it on the scan."""
    width, height = opened(rendering.attention_png(np.zeros(shape, np.uint8))).size
    assert min(width, height) == 24
    assert width / height == pytest.approx(shape[1] / shape[0], rel=0.01)


@pytest.mark.parametrize("shape", [(96, 96), (320, 278), (501, 999), (37, 1790)])
def test_small_attention_laid_over_the_scan_comes_out_where_it_was(shape: tuple[int, int]) -> None:
    """As the page does it: stretched over the whole scan."""
    height, width = shape
    y, x = np.mgrid[:height, :width]
    bump = np.exp(-((x / width - 0.7) ** 2 + (y / height - 0.3) ** 2) / 0.02)
    picture = opened(rendering.attention_png((255 * bump).astype(np.uint8))).convert("RGBA")
    shown = np.asarray(picture.resize((width, height), Image.Resampling.BILINEAR))[..., 3] / 255
    wanted = np.clip((255 * bump).astype(int) // 4 * 6, 0, 255) / 255
    assert np.abs(shown - wanted).mean() < 0.02
    for axis in (0, 1):
        at = np.arange(shape[axis])
        centres = [
            (at * one.sum(axis=1 - axis)).sum() / one.sum() / shape[axis] for one in (shown, wanted)
        ]
        assert centres[0] == pytest.approx(centres[1], abs=0.004)


def test_the_colours_get_steadily_brighter() -> None:
    """So the map reads the same in grey and for the colour-blind."""
    colours = rendering.colour_map().astype(float)
    luminance = colours @ (0.2126, 0.7152, 0.0722)
    assert len(colours) == 256
    steps = np.diff(luminance[::4])
    assert (steps > 0).all()
    assert steps.max() < 8


@pytest.mark.parametrize(
    ("shape", "size"),
    [((480, 960), (240, 120)), ((100, 50), (50, 100)), ((960, 480, 3), (120, 240))],
)
def test_thumbnails_keep_the_shape(shape: tuple[int, ...], size: tuple[int, int]) -> None:
    assert opened(rendering.thumbnail_png(np.zeros(shape, np.uint8))).size == size
