"""The one-page PDF of a result. It names the records, never the person or their file."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy as np
from django.utils.formats import date_format
from numpy.typing import NDArray
from PIL import Image

from predictions import storage
from predictions.models import Prediction
from predictions.presentation import NOT_A_DIAGNOSIS, Finding, describe, error_rates
from predictions.rendering import CONTOUR_COLOUR, OUTLINE_COLOUR, arcs_of
from predictions.templatetags.figures import percent

if TYPE_CHECKING:
    from fpdf import FPDF

_INK = (24, 32, 38)
_MUTED = (90, 100, 108)
_ACCENT = (11, 110, 110)
_UNDER = (0, 0, 0)
_PICTURE_SIDE = 900
# Millimetres: the page's height within its margins, and a column of the two that pictures stand in.
_BOTTOM = 297 - 14.0
_NARROW, _GAP = 57.3, 4.0
_WIDE = 2 * _NARROW + _GAP
_CAPTION = 5.0
# With less, the two in the narrow column would show nothing; with more, they have no use for it.
_LEAST_HEIGHT, _MOST_HEIGHT = 76.0, 2 * (_NARROW + _CAPTION)

_ABOUT = (
    "This is not a diagnosis. TumorSite is a tool for research and education, "
    "not a medical device. "
)
# The fonts that every PDF reader has know this alphabet only.
_ALPHABET = "windows-1252"


# A colour, and lines as `arcs_of` gives them, in shares of the picture's width.
_Drawing = tuple[tuple[int, int, int], dict[str, list[NDArray[np.float64]]]]
# What stands below a picture, the picture as PNG, and what is drawn on it.
_Picture = tuple[str, bytes, list[_Drawing]]


class PictureLostError(Exception):
    """A stored picture of the result is gone, or can no longer be read."""


def _picture(key: str) -> Image.Image:
    try:
        with Image.open(storage.stream(key), formats=["PNG"]) as stored:
            stored.load()
            return stored
    except (OSError, ValueError, SyntaxError) as error:
        # The last two are Pillow's, for what is damaged.
        raise PictureLostError(key) from error


def _base(prediction: Prediction) -> Image.Image:
    """The scan, small enough for print. It has full colours only then: they take most memory."""
    base = _picture(prediction.scan.image_key)
    base.thumbnail((_PICTURE_SIDE, _PICTURE_SIDE), Image.Resampling.LANCZOS)
    return base.convert("RGB")


def _layer(key: str, size: tuple[int, int]) -> Image.Image:
    """A picture of the result in that size, with its transparency."""
    layer = _picture(key)
    twice = (2 * size[0], 2 * size[1])
    if layer.width > twice[0] and layer.height > twice[1]:
        # Entries of a palette cannot be mixed, so some are left out; no line is that thin.
        layer = layer.resize(twice, Image.Resampling.NEAREST)
    return layer.convert("RGBA").resize(size, Image.Resampling.BILINEAR)


def _overlaid(base: Image.Image, prediction: Prediction, kinds: tuple[str, ...]) -> Image.Image:
    """The scan with pictures of the result laid over it; its drawings stay what they are."""
    base = base.copy()
    for kind in kinds:
        key = getattr(prediction, f"{kind}_key")
        if not key.endswith(".png"):
            continue
        layer = _layer(key, base.size)
        if kind in {"area", "attention"}:
            layer.putalpha(layer.getchannel("A").point(lambda value: value // 2))
        base.paste(layer, (0, 0), layer)
    return base


def _drawings(prediction: Prediction) -> list[_Drawing]:
    """The lines around the affected area; older results have them as pictures."""
    drawings = []
    for key, colour in (
        (prediction.outline_key, OUTLINE_COLOUR),
        (prediction.contours_key, CONTOUR_COLOUR),
    ):
        if not key.endswith(".svg"):
            continue
        try:
            kinds = arcs_of(storage.get(key))
        except (OSError, ValueError) as error:
            raise PictureLostError(key) from error
        width = prediction.scan.width
        drawings.append((colour, {kind: [a / width for a in kinds[kind]] for kind in kinds}))
    return drawings


def _draw(pdf: FPDF, drawing: _Drawing, *, left: float, top: float, width: float) -> None:
    """Light lines on dark ones that are a little wider, as on the page.

    Args:
        width: of the picture, in millimetres.
    """
    colour, kinds = drawing
    for kind, lines in kinds.items():
        for ink, thickness, alpha in ((_UNDER, 0.65, 0.6), (colour, 0.35, 1.0)):
            with pdf.new_path() as path:
                path.style.fill_color = None
                path.style.stroke_color = "#" + bytes(ink).hex()
                path.style.stroke_opacity = alpha
                path.style.stroke_width = thickness
                path.style.stroke_join_style = "round"
                if kind == "dashed":
                    path.style.stroke_dash_pattern = (2, 1.4)
                for arcs in lines:
                    placed = arcs * width + (left, top)
                    path.move_to(*placed[0, 0].tolist())
                    for _, way, end in placed.tolist():
                        path.quadratic_curve_to(*way, *end)
                    path.close()


def _text(pdf: FPDF, text: str, *, size: float, colour: Any = _INK, style: str = "") -> None:
    pdf.set_font("Helvetica", style, size)
    pdf.set_text_color(*colour)
    known = text.encode(_ALPHABET, "replace").decode(_ALPHABET)
    pdf.multi_cell(0, size * 0.5, known, align="L", new_x="LMARGIN", new_y="NEXT")


def _section(pdf: FPDF, heading: str, lines: list[str]) -> None:
    pdf.ln(3)
    _text(pdf, heading, size=11, style="B")
    pdf.ln(1)
    for line in lines:
        _text(pdf, line, size=9)


def _captioned(prediction: Prediction) -> list[_Picture]:
    """The pictures with what stands below them; the one that says most comes first."""
    lines = "outline yellow"
    if prediction.contours_key:
        lines += ", surely affected within the thin line, possibly within the dashed"
    area = f"Affected area: {lines}" if prediction.area_key else "Affected area (none)"
    base, captioned = _base(prediction), []
    for caption, kinds in (
        (area, ("area", "outline", "contours")),
        ("Your picture", ()),
        ("Attention: not the extent of a tumour", ("attention",)),
    ):
        coded = io.BytesIO()
        _overlaid(base, prediction, kinds).save(coded, "PNG")
        drawings = _drawings(prediction) if "outline" in kinds else []
        captioned.append((caption, coded.getvalue(), drawings))
    return captioned


def _place(
    pdf: FPDF, picture: _Picture, *, left: float, top: float, width: float, height: float
) -> float:
    """Draw a picture as large as its place allows, caption included; where it ends."""
    caption, coded, drawings = picture
    with Image.open(io.BytesIO(coded)) as image:
        ratio = min(width / image.width, (height - _CAPTION) / image.height)
        bottom = top + ratio * image.height
        pdf.image(io.BytesIO(coded), x=left, y=top, w=ratio * image.width, alt_text=caption)
        # A line along the picture's edge must not stand out over it.
        with pdf.rect_clip(left, top, ratio * image.width, ratio * image.height):
            for drawing in drawings:
                _draw(pdf, drawing, left=left, top=top, width=ratio * image.width)
    # Words stand a little inside their cell; the pictures begin and end where the words do.
    pdf.set_xy(left - pdf.c_margin, bottom + 0.5)
    pdf.set_font("Helvetica", "", 8)
    pdf.set_text_color(*_MUTED)
    pdf.cell(width, 4, caption)
    return bottom + _CAPTION


def _pictures(pdf: FPDF, pictures: list[_Picture], height: float) -> None:
    """The affected area large, and beside it the picture itself and the attention."""
    large, *small = pictures
    top, left = pdf.get_y(), pdf.l_margin + pdf.c_margin
    lowest = _place(pdf, large, left=left, top=top, width=_WIDE, height=height)
    left += _WIDE + _GAP
    for picture in small:
        top = _place(pdf, picture, left=left, top=top, width=_NARROW, height=height / 2)
    pdf.set_xy(pdf.l_margin, max(lowest, top) + 1)


def _bars(pdf: FPDF, finding: Finding) -> None:
    for _, name, share in finding.rows:
        pdf.set_font("Helvetica", "", 10)
        pdf.set_text_color(*_INK)
        pdf.cell(42, 6, name)
        top = pdf.get_y() + 1.4
        pdf.set_fill_color(225, 230, 232)
        pdf.rect(pdf.get_x(), top, 110, 3.2, style="F")
        pdf.set_fill_color(*_ACCENT)
        pdf.rect(pdf.get_x(), top, max(0.3, 110 * share), 3.2, style="F")
        pdf.set_x(pdf.get_x() + 113)
        pdf.cell(20, 6, percent(share), new_x="LMARGIN", new_y="NEXT")
    pdf.ln(2)


def _details(prediction: Prediction, finding: Finding) -> list[str]:
    lines = []
    if finding.area_percent is not None and prediction.bounding_box:
        left, top, right, bottom = prediction.bounding_box
        if finding.area_range is not None:
            inner, outer = (percent(share / 100) for share in finding.area_range)
            lines.append(
                f"Inner contour (surely affected): {inner} of the picture; "
                f"outer contour (possibly affected): {outer}."
            )
        lines.append(
            f"Affected area: {percent(finding.area_percent / 100)} of the picture, within "
            f"{right - left} × {bottom - top} pixels whose top left corner is at ({left}, {top})."
        )
    scan = prediction.scan
    uploaded = date_format(scan.created_at, "DATETIME_FORMAT")
    lines += [
        f"Picture of {scan.width} × {scan.height} pixels, uploaded {uploaded}.",
        f"Answered by {prediction.model_version} (weights {prediction.model_version.digest[:12]}).",
        f"Record {prediction.pk}.",
        f"SHA-256 of the pixels: {scan.sha256}.",
    ]
    return lines


def report_pdf(prediction: Prediction) -> bytes:
    """One A4 page with finding, probabilities, pictures and limits.

    Raises:
        PictureLostError: an object of the prediction is gone or damaged.
        predictions.storage.StorageUnavailableError: the store did not answer.
    """
    finding, pictures = describe(prediction), _captioned(prediction)
    # What the words leave of the page is the pictures'.
    end = _drawn(prediction, finding, pictures, _LEAST_HEIGHT).get_y()
    height = max(_LEAST_HEIGHT, min(_MOST_HEIGHT, _LEAST_HEIGHT + _BOTTOM - end))
    return bytes(_drawn(prediction, finding, pictures, height).output())


def _drawn(
    prediction: Prediction, finding: Finding, pictures: list[_Picture], height: float
) -> FPDF:
    """The page with pictures of this height, in millimetres."""
    # Half a second of import that few processes ever need.
    from fpdf import FPDF

    pdf = FPDF(format="A4")
    pdf.core_fonts_encoding = _ALPHABET
    pdf.set_margin(14)
    pdf.set_auto_page_break(auto=False)
    pdf.set_title("TumorSite report")
    pdf.set_lang("en")
    pdf.add_page()
    _text(pdf, "TumorSite – report of one analysis", size=9, colour=_MUTED)
    pdf.ln(2)
    _text(pdf, finding.headline, size=18, style="B")
    _text(
        pdf,
        f"It leans towards {finding.leaning} with {percent(finding.percent / 100)}, "
        "but does not stand by it."
        if finding.leaning
        else f"It gives this answer {percent(finding.percent / 100)} and is {finding.sureness}.",
        size=11,
        colour=_MUTED,
    )
    if finding.warning:
        pdf.ln(2)
        _text(pdf, finding.warning, size=11, style="B")
    pdf.ln(3)
    _text(pdf, _ABOUT + NOT_A_DIAGNOSIS, size=10, style="B")
    pdf.ln(4)
    _bars(pdf, finding)
    if finding.among:
        _text(pdf, f"Its set of answers is {finding.among}. {finding.coverage}", size=9)
    pdf.ln(2)
    _pictures(pdf, pictures, height)
    _section(pdf, "What speaks against it", finding.doubts)
    _section(pdf, "How often this network errs", error_rates(prediction))
    pdf.ln(4)
    for line in _details(prediction, finding):
        _text(pdf, line, size=8.5, colour=_MUTED)
    return pdf
