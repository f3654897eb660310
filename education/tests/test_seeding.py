import pytest
from django.contrib.auth.models import Group
from django.test import Client
from pytest_django import Settings
from wagtail.models import GroupCollectionPermission, GroupPagePermission, Page, Site

from education.models import GlossaryPage, LearnIndexPage, TopicPage, TumourPage
from education.seeding import EDITORS, seed

SLUGS = [
    "glioma",
    "meningioma",
    "pituitary-tumours",
    "symptoms",
    "how-mri-works",
    "diagnosis",
    "treatment",
    "questions",
    "glossary",
    "how-this-network-works",
]


@pytest.fixture
def pages(db: None) -> list[str]:
    return seed()


def test_makes_the_index_and_ten_pages_in_order(pages: list[str]) -> None:
    index = LearnIndexPage.objects.get()

    assert pages == [f"/learn/{slug}/" for slug in SLUGS]
    assert list(index.get_children().live().values_list("slug", flat=True)) == SLUGS
    assert TumourPage.objects.count() == 3
    assert TopicPage.objects.count() == 6
    assert GlossaryPage.objects.count() == 1


def test_a_second_run_changes_nothing(pages: list[str]) -> None:
    before = list(Page.objects.order_by("pk").values())
    permissions = GroupPagePermission.objects.count(), GroupCollectionPermission.objects.count()

    assert seed() == []

    assert list(Page.objects.order_by("pk").values()) == before
    assert Site.objects.count() == 1
    assert permissions == (
        GroupPagePermission.objects.count(),
        GroupCollectionPermission.objects.count(),
    )


def test_keeps_what_editors_changed(pages: list[str]) -> None:
    glioma = TumourPage.objects.get(slug="glioma")
    glioma.title = "Gliomas, in other words"
    glioma.save_revision().publish()
    symptoms = TopicPage.objects.get(slug="symptoms")
    symptoms.unpublish()

    seed()

    glioma.refresh_from_db()
    symptoms.refresh_from_db()
    assert glioma.title == "Gliomas, in other words"
    assert not symptoms.live


def test_makes_only_what_is_missing(pages: list[str]) -> None:
    Page.objects.get(slug="questions").delete()

    assert seed() == ["/learn/questions/"]


def test_keeps_what_an_admin_changed_for_editors(pages: list[str]) -> None:
    group = Group.objects.get(name=EDITORS)
    publishing = GroupPagePermission.objects.filter(
        group=group, permission__codename="publish_page"
    )
    publishing.delete()

    seed()

    assert not publishing.exists()


def test_site_follows_the_address_and_the_greeting_page_goes(
    pages: list[str], settings: Settings
) -> None:
    settings.SITE_URL = "https://scans.example.org"

    seed()

    site = Site.objects.get(is_default_site=True)
    assert (site.hostname, site.port) == ("scans.example.org", 443)
    assert site.root_page.specific == LearnIndexPage.objects.get()
    assert not Page.objects.filter(slug="home").exists()


def test_a_site_that_an_admin_filled_keeps_its_pages(db: None) -> None:
    home = Page.objects.get(slug="home")
    home.add_child(instance=Page(title="Mine", slug="mine"))

    seed()

    assert Page.objects.filter(slug="home").exists()
    assert Site.objects.get().root_page.specific == LearnIndexPage.objects.get()


def test_makes_a_site_where_there_is_none(db: None, client: Client) -> None:
    Site.objects.all().delete()

    seed()

    assert client.get("/learn/").status_code == 200
