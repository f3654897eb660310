"""The one-page PDF of a result. It names the records, never the person or their file."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from django.conf import settings
from django.utils.formats import date_format
from numpy.typing import NDArray
from PIL import Image

from predictions import storage
from predictions.models import Prediction
from predictions.presentation import (
    LINES,
    NOT_A_DIAGNOSIS,
    SEE_A_DOCTOR,
    Finding,
    describe,
    error_rates,
)
from predictions.rendering import CONTOUR_COLOUR, OUTLINE_COLOUR, arcs_of
from predictions.templatetags.figures import percent

if TYPE_CHECKING:
    from fpdf import FPDF

_INK = (24, 32, 38)
_MUTED = (90, 100, 108)
_ACCENT = (11, 110, 110)
_AMBER, _AMBER_SOFT = (190, 125, 0), (251, 241, 220)
_GREY, _GREY_SOFT = (150, 160, 166), (225, 230, 232)
_UNDER = (0, 0, 0)
_PICTURE_SIDE = 900
# Millimetres: where the words must end, above the foot of the page, and where that begins.
_BOTTOM, _FOOT = 297 - 17.0, 297 - 14.0
# The places of pictures: two columns beside a large one, and no narrower than its caption can be.
_NARROW, _GAP = 57.3, 4.0
_WIDE = 2 * _NARROW + _GAP
_LEAST_CAPTION, _LINE = 44.0, 3.5
# With less, the two in the narrow column would show nothing; with more, they have no use for it.
_LEAST_HEIGHT, _MOST_HEIGHT = 66.0, 2 * (_NARROW + 2 * _LINE)
# As wide as the large picture and the column beside it would be of the page, at the least: of
# taller ones three stand in a row.
_FILLED = 0.75

_ABOUT = "TumorSite is a tool for research and education, not a medical device."
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
        key = prediction.picture_key(kind)
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


def _known(text: str) -> str:
    return text.encode(_ALPHABET, "replace").decode(_ALPHABET)


def _text(
    pdf: FPDF, text: str, *, size: float, colour: Any = _INK, style: str = "", indent: float = 0
) -> None:
    pdf.set_font("Helvetica", style, size)
    pdf.set_text_color(*colour)
    pdf.set_x(pdf.l_margin + indent)
    pdf.multi_cell(0, size * 0.5, _known(text), align="L", new_x="LMARGIN", new_y="NEXT")


def _height(pdf: FPDF, text: str, width: float, line: float) -> float:
    """How high words in the font that is set would be in so wide a cell."""
    lines = pdf.multi_cell(width, line, _known(text), dry_run=True, output="HEIGHT")
    return cast("float", lines)


def _section(pdf: FPDF, heading: str, lines: list[str]) -> None:
    pdf.ln(2.5)
    _text(pdf, heading, size=11, style="B")
    pdf.ln(0.5)
    for line in lines:
        top = pdf.get_y()
        _text(pdf, "•", size=9)
        pdf.set_y(top)
        _text(pdf, line, size=9, indent=3.5)


def _boxed(pdf: FPDF, lines: list[tuple[str, str]]) -> None:
    """(style, text) of each paragraph, on a tinted ground with an amber rule at its side."""
    pad, size = 2.5, 10
    height = 2 * pad
    for style, line in lines:
        pdf.set_font("Helvetica", style, size)
        height += _height(pdf, line, pdf.epw - pad, size * 0.5)
    top = pdf.get_y()
    pdf.set_fill_color(*_AMBER_SOFT)
    pdf.rect(pdf.l_margin, top, pdf.epw, height, style="F")
    pdf.set_fill_color(*_AMBER)
    pdf.rect(pdf.l_margin, top, 1.2, height, style="F")
    pdf.set_y(top + pad)
    for style, line in lines:
        _text(pdf, line, size=size, style=style, indent=pad)
    pdf.set_y(top + height)


def _captioned(prediction: Prediction) -> list[_Picture]:
    """The pictures with what stands below them; the one that says most comes first."""
    shown: list[tuple[str, tuple[str, ...]]] = [
        ("Where the network looked: not the extent of a tumour.", ("attention",))
    ]
    if prediction.area_key:
        marked = f"Yellow: marked area. {LINES if prediction.contours_key else ''}".strip()
        shown = [(marked, ("area", "outline", "contours")), ("Your picture.", ()), *shown]
    else:
        shown = [("Your picture. No area marked.", ()), *shown]
    base, captioned = _base(prediction), []
    for caption, kinds in shown:
        coded = io.BytesIO()
        _overlaid(base, prediction, kinds).save(coded, "PNG")
        drawings = _drawings(prediction) if "outline" in kinds else []
        captioned.append((caption, coded.getvalue(), drawings))
    return captioned


def _below(pdf: FPDF, picture: _Picture, width: float) -> float:
    """How high a picture's caption is below so wide a place."""
    pdf.set_font("Helvetica", "", 8)
    # Words stand a little inside their cell; pictures begin and end where the words do.
    return 0.5 + _height(pdf, picture[0], width + 2 * pdf.c_margin, _LINE)


def _shape(picture: _Picture) -> float:
    """Its width by its height."""
    with Image.open(io.BytesIO(picture[1])) as image:
        return image.width / image.height


def _place(
    pdf: FPDF, picture: _Picture, *, left: float, top: float, width: float, height: float
) -> tuple[float, float]:
    """Draw a picture as large as its place allows, caption included; its width, where it ends."""
    caption, coded, drawings = picture
    shape, drawn = _shape(picture), width
    # A narrower picture may need more lines below it, and is narrower for them.
    for _ in range(3):
        cell = max(_LEAST_CAPTION, drawn)
        below = _below(pdf, picture, cell)
        drawn = min(width, (height - below) * shape)
    bottom = top + drawn / shape
    pdf.image(io.BytesIO(coded), x=left, y=top, w=drawn, alt_text=caption)
    # A line along the picture's edge must not stand out over it.
    with pdf.rect_clip(left, top, drawn, drawn / shape):
        for drawing in drawings:
            _draw(pdf, drawing, left=left, top=top, width=drawn)
    pdf.set_xy(left - pdf.c_margin, bottom + 0.5)
    pdf.set_font("Helvetica", "", 8)
    pdf.set_text_color(*_MUTED)
    pdf.multi_cell(cell + 2 * pdf.c_margin, _LINE, _known(caption), align="L")
    return drawn, bottom + below


def _in_a_row(pdf: FPDF, pictures: list[_Picture], height: float) -> None:
    """Pictures of one scan beside each other, equally high."""
    top, left = pdf.get_y(), pdf.l_margin + pdf.c_margin
    width = (_WIDE + _GAP + _NARROW - (len(pictures) - 1) * _GAP) / len(pictures)
    shape = _shape(pictures[0])
    # Of tall pictures the columns draw near each other, as far as the captions have room.
    captions = max(_below(pdf, picture, width) for picture in pictures)
    column = min(width, max(_LEAST_CAPTION, shape * (height - captions)))
    captions = max(_below(pdf, picture, column) for picture in pictures)
    high, ends = min(height - captions, column / shape), []
    for picture in pictures:
        own = high + _below(pdf, picture, column)
        _, end = _place(pdf, picture, left=left, top=top, width=column, height=own)
        ends.append(end)
        left += column + _GAP
    pdf.set_xy(pdf.l_margin, max(ends) + 1)


def _pictures(pdf: FPDF, pictures: list[_Picture], height: float) -> None:
    """The marked area large, and beside it the picture itself and the attention.

    Nothing is higher than `height`.
    """
    large, *small = pictures
    shape = _shape(large)
    if len(small) < 2 or 1.5 * shape * _MOST_HEIGHT < _FILLED * pdf.epw:
        _in_a_row(pdf, pictures, height)
        return
    top, left = pdf.get_y(), pdf.l_margin + pdf.c_margin
    width, lowest = _place(pdf, large, left=left, top=top, width=_WIDE, height=height)
    left += max(_LEAST_CAPTION, width) + _GAP
    captions = [_below(pdf, picture, _NARROW) for picture in small]
    each = min(_NARROW / shape, (height - sum(captions)) / 2)
    for picture, below in zip(small, captions, strict=True):
        _, top = _place(pdf, picture, left=left, top=top, width=_NARROW, height=each + below)
    pdf.set_xy(pdf.l_margin, max(lowest, top) + 1)


def _bars(pdf: FPDF, finding: Finding) -> None:
    """The probabilities; grey where they are not to be relied on."""
    ink, part = (_MUTED, _GREY) if finding.warning else (_INK, _ACCENT)
    for _, name, share in finding.rows:
        pdf.set_font("Helvetica", "", 10)
        pdf.set_text_color(*ink)
        pdf.cell(42, 6, name)
        top, width = pdf.get_y() + 1.4, pdf.epw - 42 - 24
        pdf.set_fill_color(*_GREY_SOFT)
        pdf.rect(pdf.get_x(), top, width, 3.2, style="F")
        pdf.set_fill_color(*part)
        pdf.rect(pdf.get_x(), top, max(0.3, width * share), 3.2, style="F")
        pdf.set_x(pdf.get_x() + width)
        pdf.cell(24, 6, percent(share), align="R", new_x="LMARGIN", new_y="NEXT")


def _details(prediction: Prediction, finding: Finding) -> list[str]:
    scan = prediction.scan
    uploaded = date_format(scan.created_at, "DATETIME_FORMAT")
    return [
        *([finding.measured] if finding.measured else []),
        f"Picture of {scan.width} × {scan.height} pixels, uploaded {uploaded}.",
        f"SHA-256 of the pixels: {scan.sha256}.",
    ]


def _title(prediction: Prediction) -> str:
    answer = "no reliable answer" if prediction.flagged else prediction.short_answer.lower()
    day = date_format(prediction.finished_at or prediction.scan.created_at, "DATE_FORMAT")
    return f"TumorSite report – {answer} – {day}"


def _foot(pdf: FPDF, prediction: Prediction) -> None:
    """Who says so, at the foot of the page; what follows goes on where it was."""
    place = pdf.get_y()
    network = prediction.model_version
    pdf.set_y(_FOOT)
    _text(
        pdf,
        f"{settings.SITE_URL.partition('://')[2]} · {network}, weights {network.digest[:12]} · "
        f"record {prediction.pk} · page 1 of 1",
        size=7.5,
        colour=_MUTED,
    )
    pdf.set_y(place)


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
    pdf.set_title(_title(prediction))
    pdf.set_lang("en")
    pdf.add_page()
    _text(pdf, _title(prediction), size=9, colour=_MUTED)
    pdf.ln(2)
    _text(pdf, finding.headline, size=18, style="B")
    if finding.lead:
        _text(pdf, finding.lead, size=12, colour=_MUTED)
    if finding.among:
        pdf.ln(0.5)
        _text(pdf, finding.among, size=9)
    pdf.ln(2)
    _boxed(
        pdf,
        [
            *([("B", finding.warning)] if finding.warning else []),
            ("B", "This is not a diagnosis."),
            ("", f"{_ABOUT} {NOT_A_DIAGNOSIS} {SEE_A_DOCTOR}"),
        ],
    )
    pdf.ln(3)
    _bars(pdf, finding)
    pdf.ln(3)
    _pictures(pdf, pictures, height)
    if finding.doubts:
        _section(pdf, "Reasons for doubt", finding.doubts)
    _section(pdf, "Where", [finding.where])
    _section(pdf, "How often this network errs", error_rates(prediction))
    pdf.ln(3)
    for line in _details(prediction, finding):
        _text(pdf, line, size=8, colour=_MUTED)
    _foot(pdf, prediction)
    return pdf
