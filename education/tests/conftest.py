"""The seeded pages, and an editor."""

import io
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import transaction
from django.test import Client
from PIL import Image
from pytest_django import DjangoDbBlocker, Settings
from wagtail.models import Site

from education.models import Picture, TumourPage
from education.seeding import EDITORS, seed


@pytest.fixture(scope="module")
def seeded(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[list[str]]:
    """The seeded pages, made once for all tests of a module and rolled back after the last."""
    atomic = transaction.atomic()
    with django_db_blocker.unblock():
        atomic.__enter__()
        addresses = seed()
    yield addresses
    with django_db_blocker.unblock():
        transaction.set_rollback(True)
        atomic.__exit__(None, None, None)


@pytest.fixture
def pages(seeded: list[str], db: None, settings: Settings, tmp_path: Path) -> list[str]:
    settings.STORAGES = {
        **settings.STORAGES,
        "default": {
            "BACKEND": "django.core.files.storage.FileSystemStorage",
            "OPTIONS": {"location": tmp_path / "media", "base_url": "/media/"},
        },
    }
    Site.clear_site_root_paths_cache()
    return seeded


@pytest.fixture
def glioma(pages: list[str]) -> TumourPage:
    return TumourPage.objects.get(slug="glioma")


@pytest.fixture
def editor(pages: list[str]) -> Client:
    """A browser in which a member of the editors' group is signed in."""
    user = get_user_model().objects.create_user(
        email="editor@example.org", password="long-enough-1"
    )
    user.groups.add(Group.objects.get(name=EDITORS))
    client = Client()
    client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
    return client


@pytest.fixture
def picture(pages: list[str]) -> Picture:
    stream = io.BytesIO()
    Image.new("RGB", (900, 600), (90, 120, 150)).save(stream, "PNG")
    made: Picture = Picture.objects.create(
        title="Blue",
        credit="Drawn by us",
        file=SimpleUploadedFile("blue.PNG", stream.getvalue(), "image/png"),
    )
    return made


def show(page: TumourPage, picture: Picture) -> None:
    """Add a figure with the picture to the page, without saving it."""
    image = picture
    image.contextual_alt_text = "A blue field"
    page.body.append(("figure", {"image": image, "caption": "All blue"}))
