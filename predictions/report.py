"""The one-page PDF of a result. It names the records, never the person or their file."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

from PIL import Image

from predictions import storage
from predictions.models import Prediction
from predictions.presentation import NOT_A_DIAGNOSIS, Finding, describe, error_rates
from predictions.templatetags.figures import percent

if TYPE_CHECKING:
    from fpdf import FPDF

_INK = (24, 32, 38)
_MUTED = (90, 100, 108)
_ACCENT = (11, 110, 110)
_PICTURE_SIDE = 900
_COLUMN = 57.3
_GAP = 4.0

_ABOUT = (
    "This is not a diagnosis. TumorSite is a tool for research and education, "
    "not a medical device. "
)
# The fonts that every PDF reader has know Latin-1 only.
_PLAIN = str.maketrans({"–": "-", "’": "'", "“": '"', "”": '"'})


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
    """The scan with pictures of the result laid over it."""
    base = base.copy()
    for kind in kinds:
        key = getattr(prediction, f"{kind}_key")
        if not key:
            continue
        layer = _layer(key, base.size)
        if kind in {"area", "attention"}:
            layer.putalpha(layer.getchannel("A").point(lambda value: value // 2))
        base.paste(layer, (0, 0), layer)
    return base


def _text(pdf: FPDF, text: str, *, size: float, colour: Any = _INK, style: str = "") -> None:
    pdf.set_font("Helvetica", style, size)
    pdf.set_text_color(*colour)
    plain = text.translate(_PLAIN).encode("latin-1", "replace").decode("latin-1")
    pdf.multi_cell(0, size * 0.5, plain, align="L", new_x="LMARGIN", new_y="NEXT")


def _section(pdf: FPDF, heading: str, lines: list[str]) -> None:
    pdf.ln(3)
    _text(pdf, heading, size=11, style="B")
    pdf.ln(1)
    for line in lines:
        _text(pdf, line, size=9)


def _pictures(pdf: FPDF, prediction: Prediction) -> None:
    columns = (
        ("Your picture", ()),
        ("Affected area", ("area", "outline", "contours")),
        ("Attention: not the extent of a tumour", ("attention",)),
    )
    base = _base(prediction)
    top, lowest = pdf.get_y(), pdf.get_y()
    for index, (caption, kinds) in enumerate(columns):
        # Words stand a little inside their cell; the pictures begin and end where the words do.
        left = pdf.l_margin + pdf.c_margin + index * (_COLUMN + _GAP)
        picture = _overlaid(base, prediction, kinds)
        ratio = min(_COLUMN / picture.width, 74 / picture.height)
        coded = io.BytesIO()
        picture.save(coded, "PNG")
        pdf.image(coded, x=left, y=top, w=picture.width * ratio, alt_text=caption)
        pdf.set_xy(left - pdf.c_margin, top + picture.height * ratio + 1)
        pdf.set_font("Helvetica", "", 8)
        pdf.set_text_color(*_MUTED)
        missing = kinds and not any(getattr(prediction, f"{kind}_key") for kind in kinds)
        pdf.cell(_COLUMN, 4, f"{caption} (none)" if missing else caption)
        lowest = max(lowest, pdf.get_y() + 6)
    pdf.set_xy(pdf.l_margin, lowest)


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
            f"{right - left} x {bottom - top} pixels whose top left corner is at ({left}, {top})."
        )
    scan = prediction.scan
    lines += [
        f"Picture of {scan.width} x {scan.height} pixels, {scan.created_at:%Y-%m-%d %H:%M} UTC.",
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
    # Half a second of import that few processes ever need.
    from fpdf import FPDF

    finding = describe(prediction)
    pdf = FPDF(format="A4")
    pdf.set_margin(14)
    pdf.set_auto_page_break(auto=False)
    pdf.set_title("TumorSite report")
    pdf.set_lang("en")
    pdf.add_page()
    _text(pdf, "TumorSite - report of one analysis", size=9, colour=_MUTED)
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
    _pictures(pdf, prediction)
    _section(pdf, "Why not surer", finding.doubts)
    _section(pdf, "How often this network errs", error_rates(prediction))
    pdf.ln(4)
    for line in _details(prediction, finding):
        _text(pdf, line, size=8.5, colour=_MUTED)
    return bytes(pdf.output())
