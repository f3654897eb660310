import io
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pytest
from django.contrib.contenttypes.models import ContentType
from django.core.files.base import ContentFile, File
from django.core.files.storage import default_storage
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from PIL import ExifTags, Image, ImageCms
from pytest_django import Settings
from wagtail.documents.models import Document
from wagtail.images.models import Filter
from wagtail.models import ReferenceIndex, UploadedFile

from education.models import Picture, TumourPage
from education.storage import PictureS3Storage
from education.tests.conftest import show
from education.webp import is_lossless
from tests.support.servers import S3


def body(response: Any) -> bytes:
    return b"".join(response.streaming_content)


@pytest.fixture
def published(glioma: TumourPage, picture: Picture) -> Picture:
    show(glioma, picture)
    glioma.save_revision().publish()
    return picture


def test_a_published_picture_may_be_kept_for_ever(client: Client, published: Picture) -> None:
    text = client.get("/learn/glioma/").content.decode()
    rendition = published.renditions.get(filter_spec="width-800|format-webp")
    assert f"{rendition.url} 800w" in text
    assert 'alt="A blue field"' in text
    assert "Picture: Drawn by us" in text

    response = client.get(rendition.url)

    assert response.status_code == 200
    assert response["Content-Type"] == "image/webp"
    assert response["Cache-Control"] == "public, max-age=31536000, immutable"
    assert body(response)[8:12] == b"WEBP"


def test_an_unchanged_picture_is_not_sent_again(client: Client, published: Picture) -> None:
    place = published.get_rendition("width-400|format-webp").url
    etag = client.get(place)["ETag"]

    response = client.get(place, headers={"If-None-Match": etag})

    assert response.status_code == 304
    assert response.content == b""
    assert "immutable" in response["Cache-Control"]


def test_a_document_is_public_once_a_published_page_links_to_it(
    client: Client, editor: Client, glioma: TumourPage
) -> None:
    leaflet = Document.objects.create(title="Leaflet", file=ContentFile(b"%PDF-1.7", "leaflet.pdf"))
    assert client.get(leaflet.url).status_code == 404
    assert editor.get(leaflet.url).status_code == 200
    link = f'<p><a linktype="document" id="{leaflet.pk}">A leaflet</a></p>'
    glioma.body = [*glioma.body.raw_data, {"type": "paragraph", "value": link}]
    glioma.save_revision()
    assert client.get(leaflet.url).status_code == 404
    glioma.save_revision().publish()
    assert client.get(leaflet.url).status_code == 200


def test_a_picture_of_a_draft_is_for_editors_only(
    client: Client, editor: Client, glioma: TumourPage, picture: Picture
) -> None:
    show(glioma, picture)
    glioma.save_revision()

    assert client.get(picture.file.url).status_code == 404
    response = editor.get(picture.file.url)
    assert response.status_code == 200
    assert response["Cache-Control"] == "private, no-cache"


def test_an_unpublished_page_takes_its_pictures_along(
    client: Client, glioma: TumourPage, published: Picture
) -> None:
    place = published.get_rendition("width-400|format-webp").url
    assert client.get(place).status_code == 200

    glioma.unpublish()

    assert client.get(place).status_code == 404


def test_an_original_is_for_editors_only(
    client: Client, editor: Client, published: Picture
) -> None:
    assert client.get(published.file.url).status_code == 404
    response = editor.get(published.file.url)
    assert response.status_code == 200
    assert response["Cache-Control"] == "private, no-cache"


def test_other_records_with_the_id_of_a_page_publish_nothing(
    client: Client, glioma: TumourPage, picture: Picture
) -> None:
    place = picture.get_rendition("width-400|format-webp").url
    kind = ContentType.objects.get_for_model(Document)
    ReferenceIndex.objects.create(
        base_content_type=kind,
        content_type=kind,
        object_id=str(glioma.pk),
        to_content_type=ContentType.objects.get_for_model(Picture),
        to_object_id=str(picture.pk),
        model_path="file",
        content_path="file",
        content_path_hash=uuid4(),
    )
    assert client.get(place).status_code == 404


def taken() -> bytes:
    """A photograph on its side that tells who took it, and where."""
    notes = Image.Exif()
    notes[ExifTags.Base.Artist] = "Dr Confidential"
    notes[ExifTags.Base.Orientation] = 6
    notes.get_ifd(ExifTags.IFD.GPSInfo)[ExifTags.GPS.GPSDateStamp] = "2026:02:03"
    stream = io.BytesIO()
    Image.new("RGB", (900, 600), (90, 120, 150)).save(
        stream, "JPEG", exif=notes, comment="Taken by Dr Confidential", icc_profile=b"Confidential"
    )
    return stream.getvalue()


TOLD = (b"Confidential", b"2026:02:03", b"Exif")


def sent(content: bytes) -> SimpleUploadedFile:
    return SimpleUploadedFile("Dr Confidential.jpg", content, "image/jpeg")


@pytest.mark.parametrize("in_memory", [True, False])
def test_a_picture_keeps_nothing_but_its_pixels(
    client: Client, editor: Client, glioma: TumourPage, settings: Settings, in_memory: bool
) -> None:
    assert all(words in taken() for words in TOLD)
    if not in_memory:
        settings.FILE_UPLOAD_MAX_MEMORY_SIZE = 0
    data = {"title": "Photo", "credit": "Us", "file": sent(taken())}
    assert editor.post("/cms/images/add/", data).status_code == 302
    photo = Picture.objects.get(title="Photo")
    show(glioma, photo)
    glioma.save_revision().publish()
    text = client.get("/learn/glioma/").content.decode()

    with photo.file.open() as stored:
        original = stored.read()
    assert (photo.width, photo.height, photo.file_size) == (600, 900, len(original))
    places = {rendition.url for rendition in photo.renditions.all()}
    assert any(place in text for place in places)
    for content in (original, *(body(client.get(place)) for place in places)):
        assert not [words for words in TOLD if words in content]


def test_one_of_many_that_waits_for_its_credit_keeps_nothing_either(editor: Client) -> None:
    ajax = {"X-Requested-With": "XMLHttpRequest"}
    answer = editor.post(
        "/cms/images/multiple/add/", {"title": "Photo", "files[]": sent(taken())}, headers=ajax
    ).json()
    waiting = UploadedFile.objects.get(pk=answer["uploaded_file_id"])
    assert not [words for words in TOLD if words in waiting.file.read()]
    prefix = f"uploaded-image-{waiting.pk}"
    editor.post(
        f"/cms/images/multiple/create_from_uploaded_image/{waiting.pk}/",
        {f"{prefix}-title": "Photo", f"{prefix}-credit": "Us", f"{prefix}-tags": ""},
        headers=ajax,
    )
    with Picture.objects.get(title="Photo").file.open() as stored:
        assert not [words for words in TOLD if words in stored.read()]


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_other_kinds_of_picture_stay_what_they_are(editor: Client, kind: str) -> None:
    stream = io.BytesIO()
    notes = Image.Exif()
    notes[ExifTags.Base.Artist] = "Dr Confidential"
    Image.new("RGBA", (30, 20), (90, 120, 150, 100)).save(stream, kind, exif=notes)
    assert b"Confidential" in stream.getvalue()
    file = SimpleUploadedFile(f"drawing.{kind.lower()}", stream.getvalue())
    editor.post("/cms/images/add/", {"title": "Drawing", "credit": "Us", "file": file})

    with Picture.objects.get(title="Drawing").file.open() as stored:
        content = stored.read()
    with Image.open(io.BytesIO(content)) as kept:
        assert (kept.format, kept.mode, kept.size) == (kind, "RGBA", (30, 20))
    assert b"Confidential" not in content


def noise(mode: str) -> Image.Image:
    """What no lossy encoder keeps."""
    shape = (60, 90, len(mode))
    return Image.fromarray(np.random.default_rng(1).integers(0, 256, shape, np.uint8), mode)


@pytest.mark.parametrize(
    ("options", "kept"),
    [
        ({"lossless": True}, True),
        # With notes of a camera it has other chunks before the picture.
        ({"lossless": True, "exif": b"Exif\0\0MM\0*\0\0\0\x08\0\0\0\0\0\0"}, True),
        ({"quality": 80}, False),
    ],
)
@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_a_lossless_webp_stays_lossless(
    editor: Client, mode: str, options: dict[str, Any], kept: bool
) -> None:
    stream = io.BytesIO()
    noise(mode).save(stream, "WEBP", exact=True, **options)
    file = SimpleUploadedFile("drawing.webp", stream.getvalue())
    editor.post("/cms/images/add/", {"title": "Drawing", "credit": "Us", "file": file})
    picture = Picture.objects.get(title="Drawing")

    with picture.file.open() as stored, Image.open(stored) as image:
        opaque = np.asarray(noise(mode))[..., -1] > 0 if mode == "RGBA" else ...
        same = np.array_equal(np.asarray(image)[opaque], np.asarray(noise(mode))[opaque])
    assert same is kept
    with picture.file.open() as stored:
        assert is_lossless(stored) is kept
    # And so do the smaller ones that pages show; those of other pictures are as light as before.
    smaller = picture.get_rendition("width-40|format-webp")
    with smaller.file.open() as stored:
        assert is_lossless(stored) is kept


def test_sizes_made_at_once_share_no_file(
    picture: Picture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wagtail hands the original to threads; the first to close the picture's own would end all."""
    with picture.file.storage.open(picture.file.name) as stored:
        original = File(io.BytesIO(stored.read()), name=picture.file.name)

    def opened() -> None:
        raise AssertionError("the file that the threads share was opened")

    monkeypatch.setattr(picture, "open_file", opened)
    made = picture.generate_rendition_file(Filter("width-40|format-webp"), source=original)
    made.seek(0)
    assert made.read(12)[8:] == b"WEBP"


def test_what_is_no_webp_is_no_lossless_one() -> None:
    for content in (b"", b"RIFF", b"RIFF\0\0\0\0WAVEfmt ", b"RIFF\0\0\0\0WEBPVP8X\x0a\0\0\0"):
        assert not is_lossless(io.BytesIO(content))


def test_colours_are_kept_without_their_profile(editor: Client) -> None:
    stream = io.BytesIO()
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    Image.new("RGB", (30, 20), (90, 120, 150)).save(stream, "PNG", icc_profile=lab)
    file = SimpleUploadedFile("photo.png", stream.getvalue())
    editor.post("/cms/images/add/", {"title": "Photo", "credit": "Us", "file": file})
    with Picture.objects.get(title="Photo").file.open() as stored, Image.open(stored) as kept:
        assert "icc_profile" not in kept.info
        assert np.abs(np.array(kept.getpixel((5, 5))) - (90, 120, 150)).max() <= 2


def test_a_picture_that_moves_is_refused(editor: Client) -> None:
    stream = io.BytesIO()
    frames = [Image.new("RGB", (30, 20), (shade, 0, 0)) for shade in (10, 200)]
    frames[0].save(stream, "WEBP", save_all=True, append_images=frames[1:])
    file = SimpleUploadedFile("film.webp", stream.getvalue())
    page = editor.post("/cms/images/add/", {"title": "Film", "credit": "Us", "file": file})
    assert "save one frame of it" in page.content.decode()
    assert not Picture.objects.exists()


def test_a_picture_too_large_or_damaged_is_refused(editor: Client, settings: Settings) -> None:
    assert settings.WAGTAILIMAGES_MAX_IMAGE_PIXELS == settings.MAX_PIXELS
    data = {"title": "Photo", "credit": "Us", "file": sent(taken()[:2000])}
    assert "may be damaged" in editor.post("/cms/images/add/", data).content.decode()
    settings.WAGTAILIMAGES_MAX_IMAGE_PIXELS = 1000
    data["file"] = sent(taken())
    assert "too many pixels" in editor.post("/cms/images/add/", data).content.decode()
    assert not Picture.objects.exists()


@pytest.mark.parametrize(
    "name",
    [
        "",
        "pictures/",
        "pictures/unknown.png",
        "../db.sqlite3",
        "%2e%2e/db.sqlite3",
        "pictures/../../secret-key",
        "/etc/passwd",
        "..%2f..%2fetc%2fpasswd",
    ],
)
def test_nothing_but_pictures_is_served(editor: Client, name: str) -> None:
    assert editor.get(f"/media/{name}").status_code == 404


def test_a_file_that_no_picture_knows_is_not_served(editor: Client, picture: Picture) -> None:
    stray = Path(default_storage.path("pictures/stray.png"))
    stray.write_bytes(b"stray")

    assert editor.get("/media/pictures/stray.png").status_code == 404


def test_a_picture_whose_file_is_gone_is_not_found(editor: Client, picture: Picture) -> None:
    picture.file.storage.delete(picture.file.name)

    assert editor.get(picture.file.url).status_code == 404


def test_only_reading_is_allowed(editor: Client, picture: Picture) -> None:
    assert editor.post(picture.file.url).status_code == 405


def test_the_same_file_name_never_means_two_pictures(picture: Picture) -> None:
    again = Picture.objects.create(title="Again", credit="Us", file=picture.file.file)

    assert again.file.name != picture.file.name
    assert again.file.name.endswith(".png")
    assert "blue" not in picture.file.name


@pytest.fixture
def bucket(pages: list[str], settings: Settings, s3_server: S3) -> None:
    """Keep pictures on a real S3 server instead."""
    settings.STORAGES = {
        **settings.STORAGES,
        "default": {
            "BACKEND": "education.storage.PictureS3Storage",
            "OPTIONS": {
                "bucket_name": s3_server.BUCKET,
                "endpoint_url": s3_server.url,
                "region_name": "us-east-1",
                "access_key": s3_server.KEY,
                "secret_key": s3_server.SECRET,
                "location": "media",
                "file_overwrite": False,
            },
        },
    }


def test_pictures_in_a_bucket_are_served_by_the_site(
    bucket: None, client: Client, published: Picture
) -> None:
    text = client.get("/learn/glioma/").content.decode()
    rendition = published.renditions.get(filter_spec="width-400|format-webp")

    assert rendition.url.startswith("/media/renditions/")
    assert rendition.url in text
    assert body(client.get(rendition.url))[8:12] == b"WEBP"

    default_storage.delete(rendition.file.name)
    assert client.get(rendition.url).status_code == 404


def test_addresses_of_pictures_in_a_bucket_are_the_sites_own() -> None:
    storage = PictureS3Storage(bucket_name="b", location="media", access_key="a", secret_key="s")

    assert storage.url("pictures/a b.png") == "/media/pictures/a%20b.png"
