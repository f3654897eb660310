"""Pictures and reports: only to their owner, with an audit row, cached for good, never stale."""

from __future__ import annotations

import hashlib
import re
import urllib.request
import zlib
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import numpy as np
import pytest
from botocore.exceptions import NoCredentialsError
from django.core.files.storage import storages
from django.db import OperationalError, connection
from django.test import Client
from fpdf import FPDF
from PIL import Image
from pytest_django import Settings

from mltasks.images import encode_png
from predictions import report, storage
from predictions.models import Access, Label, ModelVersion, Prediction, Scan
from predictions.presentation import describe
from predictions.rendering import area_png, contours_svg, outline_svg
from predictions.report import report_pdf
from predictions.services import submission
from predictions.tests.test_model_figures import card
from tests.support.pictures import opened, png
from tests.support.records import finish, make_user, start, submit
from tests.support.servers import S3
from tests.support.stores import use_s3

pytestmark = pytest.mark.django_db
KINDS = ("image", "thumbnail", "area", "outline", "contours", "attention")
DRAWN = {"outline", "contours"}


def url(prediction: Prediction, kind: str = "image") -> str:
    return f"/results/{prediction.pk}/images/{kind}.{'svg' if kind in DRAWN else 'png'}"


def as_before(prediction: Prediction, **contents: bytes) -> Prediction:
    """The result as older releases made it, with pictures of its lines."""
    for kind, content in contents.items():
        key = getattr(prediction, f"{kind}_key").replace(".svg", ".png")
        storage.delete(getattr(prediction, f"{kind}_key"))
        storage.put(key, content)
        Prediction.objects.filter(pk=prediction.pk).update(**{f"{kind}_key": key})
    return Prediction.objects.select_related("scan", "model_version").get(pk=prediction.pk)


@pytest.fixture
def answered(mine: Prediction) -> Prediction:
    return finish(mine)


@pytest.mark.parametrize("kind", KINDS)
def test_the_owner_gets_the_object_itself(
    visitor_client: Client, visitor: UUID, answered: Prediction, kind: str
) -> None:
    answer = visitor_client.get(url(answered, kind))
    holder = answered.scan if kind in {"image", "thumbnail"} else answered
    assert answer.status_code == 200
    assert answer.content == storage.get(getattr(holder, f"{kind}_key"))
    assert answer["Content-Type"] == ("image/svg+xml" if kind in DRAWN else "image/png")
    assert answer["X-Content-Type-Options"] == "nosniff"
    assert answer["Cache-Control"] == "private, max-age=31536000, immutable"
    assert answer["ETag"] == f'"{hashlib.sha256(answer.content).hexdigest()[:32]}"'
    assert answer["Content-Disposition"].startswith("inline;")
    entry = Access.objects.get()
    assert (entry.scan_id, entry.prediction_id, entry.kind, entry.visitor, entry.user) == (
        answered.scan_id, answered.pk, kind, visitor, None
    )  # fmt: skip


def test_a_drawing_opened_as_a_page_may_load_and_run_nothing(
    visitor_client: Client, answered: Prediction
) -> None:
    answer = visitor_client.get(url(answered, "outline"))
    assert answer["Content-Security-Policy"] == "default-src 'none'; sandbox"
    kept = visitor_client.get(url(answered, "outline"), headers={"if-none-match": answer["ETag"]})
    assert kept.status_code == 304
    assert kept["Content-Security-Policy"] == answer["Content-Security-Policy"]


def test_pictures_of_lines_from_before_are_what_they_were(
    visitor_client: Client, answered: Prediction
) -> None:
    before = png(seed=3)
    old = as_before(answered, outline=before, contours=before)
    page = visitor_client.get(old.get_absolute_url()).content.decode()
    for kind in DRAWN:
        address = f"/results/{old.pk}/images/{kind}.png"
        assert f'src="{address}"' in page
        answer = visitor_client.get(address)
        assert (answer["Content-Type"], answer.content) == ("image/png", before)
    assert "Outline (PNG)" in page


def test_what_the_browser_has_is_not_sent_again_but_written_down(
    visitor_client: Client, answered: Prediction
) -> None:
    etag = visitor_client.get(url(answered))["ETag"]
    again = visitor_client.get(url(answered), headers={"if-none-match": etag})
    assert again.status_code == 304
    assert again.content == b""
    assert again["ETag"] == etag
    assert again["Cache-Control"].startswith("private")
    changed = visitor_client.get(url(answered), headers={"if-none-match": '"other"'})
    assert changed.status_code == 200
    assert Access.objects.count() == 3


def test_pictures_of_other_results_have_other_addresses_and_tags(
    visitor_client: Client, visitor: UUID, answered: Prediction
) -> None:
    other = submit(visitor=visitor, name="mine.png", seed=9)
    one, two = visitor_client.get(url(answered)), visitor_client.get(url(other))
    assert one["ETag"] != two["ETag"]
    assert one.content != two.content


def test_a_download_is_named_by_the_record(visitor_client: Client, answered: Prediction) -> None:
    answer = visitor_client.get(f"{url(answered, 'area')}?download")
    name = f"tumorsite-{str(answered.pk)[-12:]}-area.png"
    assert answer["Content-Disposition"] == f'attachment; filename="{name}"'


def test_an_account_is_written_down_as_such(client: Client, model: ModelVersion) -> None:
    user = make_user()
    client.force_login(user)
    client.get(url(submit(owner=user)))
    entry = Access.objects.get()
    assert (entry.user, entry.visitor) == (user, None)


def test_a_picture_has_one_address(visitor_client: Client, answered: Prediction) -> None:
    """What is cached for good must not depend on which release answered."""
    for name in ("outline.png", "area.svg", "image.svg", "outline.", "outline.svg.svg"):
        path = f"/results/{answered.pk}/images/{name}"
        assert visitor_client.get(path).status_code == 404
    assert Access.objects.count() == 0


@pytest.mark.parametrize("kind", ["area", "outline", "contours", "attention", "nonsense"])
def test_what_there_is_not_yet_is_not_found(
    visitor_client: Client, mine: Prediction, kind: str
) -> None:
    assert visitor_client.get(url(mine, kind)).status_code == 404
    assert Access.objects.count() == 0


def test_a_lost_object_is_not_found(visitor_client: Client, answered: Prediction) -> None:
    storage.delete(answered.area_key)
    assert visitor_client.get(url(answered, "area")).status_code == 404


@pytest.mark.parametrize("path", ["images/image.png", "report.pdf"])
def test_a_store_that_is_away_is_said_so(
    visitor_client: Client,
    answered: Prediction,
    path: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(name: str) -> bytes:
        raise storage.StorageUnavailableError

    monkeypatch.setattr(storage, "get", refuse)
    answer = visitor_client.get(f"/results/{answered.pk}/{path}")
    assert answer.status_code == 503
    assert "not lost" in answer.content.decode()
    assert "immutable" not in answer.get("Cache-Control", "")


@pytest.mark.parametrize("kind", ["area", "image", "contours"])
@pytest.mark.parametrize("damaged", [False, True])
def test_a_report_whose_picture_is_gone_says_that_waiting_does_not_help(
    visitor_client: Client, answered: Prediction, kind: str, damaged: bool
) -> None:
    key = getattr(answered.scan if kind == "image" else answered, f"{kind}_key")
    content = storage.get(key)
    storage.delete(key)
    if damaged:
        storage.put(key, content[: len(content) // 2])
    answer = visitor_client.get(
        f"/results/{answered.pk}/report.pdf", headers={"accept": "text/html"}
    )
    assert answer.status_code == 410
    text = answer.content.decode()
    assert "can no longer be read" in text
    assert "not lost" not in text
    assert "no-store" in answer["Cache-Control"]


def test_reports_of_large_pictures_take_turns_with_uploads(
    visitor_client: Client, answered: Prediction, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(submission, "LARGE_WAIT", 0.05)
    with submission._large_turn:
        assert visitor_client.get(f"/results/{answered.pk}/report.pdf").status_code == 200
        Scan.objects.update(width=3000, height=2000)
        answer = visitor_client.get(f"/results/{answered.pk}/report.pdf")
    assert answer.status_code == 503
    assert "try again in a minute" in answer.content.decode()
    assert visitor_client.get(f"/results/{answered.pk}/report.pdf").status_code == 200
    assert not submission._large_turn.locked()


def test_a_report_never_has_a_large_picture_in_full_colours(
    answered: Prediction, monkeypatch: pytest.MonkeyPatch
) -> None:
    mask = np.zeros((3000, 2500), bool)
    mask[1000:1400, 800:1500] = True
    pictures = {
        answered.scan.image_key: encode_png((mask * 200).astype(np.uint8)),
        answered.area_key: area_png(mask),
        answered.outline_key: outline_svg(mask),
        answered.contours_key: contours_svg(mask, mask),
    }
    for key, content in pictures.items():
        storage.delete(key)
        storage.put(key, content)
    made: list[int] = []
    read: list[str] = []
    convert, get = Image.Image.convert, storage.get

    def converted(image: Image.Image, *given: Any, **options: Any) -> Image.Image:
        made.append(image.width * image.height)
        return convert(image, *given, **options)

    def fetched(key: str) -> bytes:
        read.append(key)
        return get(key)

    monkeypatch.setattr(Image.Image, "convert", converted)
    monkeypatch.setattr(storage, "get", fetched)
    report_pdf(answered)
    assert read.count(answered.scan.image_key) == 1
    assert max(made) < 4 * 10**6


def test_a_report_has_the_lines_as_lines(
    answered: Prediction, monkeypatch: pytest.MonkeyPatch
) -> None:
    laid: list[Any] = []
    place, draw = FPDF.image, report._draw

    def placed(pdf: FPDF, *given: Any, **options: Any) -> Any:
        laid.append(options)
        return place(pdf, *given, **options)

    def drawn(pdf: FPDF, drawing: Any, **options: Any) -> None:
        laid.append((drawing, options))
        draw(pdf, drawing, **options)

    monkeypatch.setattr(FPDF, "image", placed)
    monkeypatch.setattr(report, "_draw", drawn)
    report_pdf(answered)
    picture, (outline, where), (contours, _) = laid[-5:-2]
    assert (where["left"], where["top"], where["width"]) == (
        picture["x"], picture["y"], picture["w"]
    )  # fmt: skip
    [arcs] = outline[1]["whole"]
    # Columns 10 to 20 of 40, rows 5 to 15.
    assert arcs.min(axis=(0, 1)) == pytest.approx([10 / 40, 5 / 40], abs=0.5 / 40)
    assert arcs.max(axis=(0, 1)) == pytest.approx([20 / 40, 15 / 40], abs=0.5 / 40)
    assert set(contours[1]) == {"whole", "dashed"}


def test_a_report_of_before_has_its_lines_in_the_picture(answered: Prediction) -> None:
    mask = np.zeros((30, 40), bool)
    mask[10:20, 10:20] = True
    line = area_png(mask)
    old = as_before(answered, outline=line, contours=line)
    assert report._drawings(old) == []
    red, _, blue = np.asarray(report._overlaid(report._base(old), old, ("outline",)))[15, 15]
    assert red > 200 > 60 > blue
    assert report_pdf(old).startswith(b"%PDF-")


def test_a_fault_of_the_report_itself_is_not_called_a_lost_picture(
    visitor_client: Client, answered: Prediction, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(prediction: Prediction) -> None:
        raise ValueError("a fault of ours")

    monkeypatch.setattr(report, "describe", broken)
    with pytest.raises(ValueError, match="of ours"):
        visitor_client.get(f"/results/{answered.pk}/report.pdf")


@pytest.mark.parametrize("path", ["images/image.png", "report.pdf"])
def test_nothing_is_handed_out_that_cannot_be_written_down(
    visitor_client: Client, answered: Prediction, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(**row: object) -> None:
        raise OperationalError("database or disk is full")

    monkeypatch.setattr(Access.objects, "create", refuse)
    answer = visitor_client.get(f"/results/{answered.pk}/{path}")
    assert answer.status_code == 503
    assert "not lost" in answer.content.decode()


class TestSignedLinks:
    def test_each_request_is_sent_to_a_link_of_its_own(
        self,
        visitor_client: Client,
        mine: Prediction,
        settings: Settings,
        s3_server: S3,
    ) -> None:
        pixels = storage.get(mine.scan.image_key)
        use_s3(settings, s3_server)
        storage.put(mine.scan.image_key, pixels)
        answer = visitor_client.get(url(mine))
        assert answer.status_code == 302
        assert answer["Cache-Control"] == "private, no-store"
        link = answer["Location"]
        assert link.startswith(s3_server.url)
        assert "X-Amz-Expires=60" in link
        with urllib.request.urlopen(link) as picture:  # noqa: S310  # our own server
            assert picture.read() == pixels
            assert picture.headers["Cache-Control"] == "private, max-age=31536000, immutable"
            assert picture.headers["Content-Type"] == "image/png"
            assert picture.headers["Content-Disposition"].startswith("inline;")
        assert Access.objects.count() == 1
        storage.delete_prefix(mine.scan.prefix)

    def test_a_drawing_is_told_as_one(
        self, visitor_client: Client, mine: Prediction, settings: Settings, s3_server: S3
    ) -> None:
        use_s3(settings, s3_server)
        link = visitor_client.get(url(finish(mine), "outline"))["Location"]
        with urllib.request.urlopen(link) as drawing:  # noqa: S310  # our own server
            assert drawing.headers["Content-Type"] == "image/svg+xml"
            assert drawing.headers["Content-Disposition"].endswith('-outline.svg"')
            assert drawing.read().startswith(b"<svg ")
        storage.delete_prefix(mine.scan.prefix)

    def test_no_link_is_ever_stored(
        self, visitor_client: Client, mine: Prediction, settings: Settings, s3_server: S3
    ) -> None:
        use_s3(settings, s3_server)
        assert "X-Amz" in visitor_client.get(url(mine))["Location"]
        for table in ("predictions_scan", "predictions_prediction", "predictions_access"):
            with connection.cursor() as cursor:
                cursor.execute(f"SELECT * FROM {table}")  # noqa: S608  # our own names
                assert "X-Amz" not in repr(cursor.fetchall())

    def test_nothing_to_sign_with_is_said_so(
        self,
        visitor_client: Client,
        mine: Prediction,
        settings: Settings,
        s3_server: S3,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        def expired(client: object, *arguments: object, **options: object) -> str:
            raise NoCredentialsError

        use_s3(settings, s3_server)
        client = type(storages["scans"]._public_client)  # type: ignore[attr-defined]  # S3's
        monkeypatch.setattr(client, "generate_presigned_url", expired)
        answer = visitor_client.get(url(mine))
        assert answer.status_code == 503
        assert "not lost" in answer.content.decode()

    def test_a_stranger_gets_no_link(
        self, client: Client, mine: Prediction, settings: Settings, s3_server: S3
    ) -> None:
        use_s3(settings, s3_server)
        assert client.get(url(mine)).status_code == 404
        assert Access.objects.count() == 0


def words(pdf: bytes) -> str:
    """The text of a PDF whose fonts are the reader's own."""
    streams = re.findall(rb"FlateDecode.*?stream\n(.*?)\nendstream", pdf, re.DOTALL)
    shown = [re.findall(rb"\((.*?)\) Tj", zlib.decompress(stream)) for stream in streams]
    return b" ".join(line for lines in shown for line in lines).decode("cp1252")


class TestReport:
    @pytest.mark.parametrize("label", Label.values)
    def test_it_has_one_page(self, visitor_client: Client, mine: Prediction, label: str) -> None:
        row = finish(mine, label=label, share=0.55)
        answer = visitor_client.get(f"/results/{row.pk}/report.pdf")
        assert answer.status_code == 200
        assert answer["Content-Type"] == "application/pdf"
        assert answer.content.startswith(b"%PDF-")
        assert len(re.findall(rb"/Type /Page\b", answer.content)) == 1
        assert Access.objects.get().kind == "report"

    @pytest.mark.parametrize("size", [(40, 400), (400, 40), (400, 16), (16, 16), (30, 40)])
    def test_any_shape_fits(
        self, visitor_client: Client, mine: Prediction, size: tuple[int, int]
    ) -> None:
        row = finish(submit(content=png(*size), visitor=mine.scan.visitor))
        answer = visitor_client.get(f"/results/{row.pk}/report.pdf")
        assert len(re.findall(rb"/Type /Page\b", answer.content)) == 1

    @pytest.mark.parametrize("flagged", [False, True])
    def test_even_the_longest_one_ends_above_the_foot_of_its_page(
        self, mine: Prediction, monkeypatch: pytest.MonkeyPatch, flagged: bool
    ) -> None:
        """A tall picture, and every doubt there can be."""
        ends: list[float] = []
        output = FPDF.output

        def noted(pdf: FPDF) -> object:
            ends.append(pdf.get_y())
            return output(pdf)

        monkeypatch.setattr(FPDF, "output", noted)
        row = finish(
            submit(content=png(40, 400), visitor=mine.scan.visitor),
            share=0.3,
            prediction_set=("glioma", "meningioma", "no_tumor", "pituitary"),
            committed=False,
            flagged=flagged,
        )
        row.ood_score = 0.9
        row.scan.facts["colour"] = True
        row.model_version.card = card()
        assert len(describe(row).doubts) >= (2 if flagged else 4)
        report_pdf(row)
        assert 150 < ends[0] < 297 - 14, "millimetres"

    def test_its_words_are_those_of_the_site(self, mine: Prediction) -> None:
        row = finish(mine)
        row.scan.created_at = row.finished_at = datetime(2026, 11, 30, 0, 9, tzinfo=UTC)
        said = words(report_pdf(row))
        assert "TumorSite report – glioma – 30 Nov 2026" in said
        assert f"record {row.pk} · page 1 of 1" in said
        assert "With new or worse symptoms see a doctor today." in said
        assert "uploaded 30 Nov 2026, 00:09 UTC" in said
        assert "Yellow: marked area. Within the thin white line: certainly affected" in said
        assert "dashed one: possibly." in said, "to its end"
        assert "Where the network looked" in said
        assert "Reasons for doubt" in said

    def test_its_pictures_take_what_the_words_leave(
        self, mine: Prediction, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        widths: list[float] = []
        image = FPDF.image

        def noted(pdf: FPDF, *args: object, w: float, **options: object) -> object:
            widths.append(w)
            return image(pdf, *args, w=w, **options)  # type: ignore[arg-type,misc]  # passed on as they come

        monkeypatch.setattr(FPDF, "image", noted)
        report_pdf(finish(mine))
        assert widths[-3] > 110, "millimetres"
        assert min(widths[-2:]) > 50
        widths.clear()
        bare = finish(submit(visitor=mine.scan.visitor, seed=1), label="no_tumor")
        report_pdf(bare)
        assert widths[-2:] == pytest.approx([88, 88], abs=2), "side by side"
        assert len(widths) == 4, "two, each drawn once to learn what the words leave"
        assert "No area marked." in words(report_pdf(bare))

    def test_tall_pictures_stand_in_a_row(
        self, mine: Prediction, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        places: list[tuple[float, float]] = []
        image = FPDF.image

        def noted(pdf: FPDF, *args: object, x: float, y: float, **options: object) -> object:
            places.append((x, y))
            return image(pdf, *args, x=x, y=y, **options)  # type: ignore[arg-type,misc]  # passed on as they come

        monkeypatch.setattr(FPDF, "image", noted)
        report_pdf(finish(submit(content=png(40, 400), visitor=mine.scan.visitor)))
        (one, top), (two, second), (three, third) = places[-3:]
        assert top == second == third
        assert two - one == pytest.approx(three - two)
        assert 40 < two - one < 60, "millimetres"

    def test_it_says_how_often_the_network_errs(self, mine: Prediction) -> None:
        row = finish(mine, label=Label.GLIOMA, share=0.99)
        assert "No errors have been measured" in words(report_pdf(row))
        row.model_version.card = card()
        said = words(report_pdf(row))
        assert "Of 100 test slices it names about 5 wrongly." in said
        assert "gives about 8 another name" in said
        assert "refused" not in said, "it has answered"
        assert "95 times in 100" not in said
        row.prediction_set = ["glioma", "meningioma"]
        said = words(report_pdf(row))
        assert "It could not rule out meningioma." in said
        assert "alone that promises nothing" in said
        row.label = Label.NO_TUMOR
        assert "Of 100 slices with a tumour it calls about 3" in words(report_pdf(row))

    def test_it_does_not_tell_the_persons_file_name(
        self, visitor_client: Client, model: ModelVersion, visitor: UUID
    ) -> None:
        row = finish(submit(visitor=visitor, name="Ada Lovelace.png"))
        answer = visitor_client.get(f"/results/{row.pk}/report.pdf")
        assert b"Lovelace" not in answer.content
        assert "Lovelace" not in answer["Content-Disposition"]

    def test_there_is_none_without_an_answer(
        self, visitor_client: Client, mine: Prediction
    ) -> None:
        assert visitor_client.get(f"/results/{mine.pk}/report.pdf").status_code == 404
        start(mine)
        assert visitor_client.get(f"/results/{mine.pk}/report.pdf").status_code == 404


def test_pictures_are_plain_pngs(visitor_client: Client, answered: Prediction) -> None:
    for kind in set(KINDS) - DRAWN:
        assert opened(visitor_client.get(url(answered, kind)).content).format == "PNG"
