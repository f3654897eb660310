import re
from datetime import timedelta
from html import unescape

import pytest
from django.core.exceptions import ValidationError
from django.test import Client
from django.urls import Resolver404, resolve
from django.utils import timezone
from wagtail.models import Page, PageViewRestriction

from education.models import GlossaryPage, InfoPage, LearnIndexPage, TopicPage, TumourPage
from education.tests.test_seeding import SLUGS

# Pages of the site that are not Wagtail's.
OTHER_APPS = ("/model/", "/static/", "/account/", "/history/")


def read(client: Client, address: str) -> str:
    response = client.get(address)
    assert response.status_code == 200, address
    return unescape(response.content.decode())


@pytest.mark.parametrize("slug", SLUGS)
def test_each_page_names_sources_and_dates(client: Client, pages: list[str], slug: str) -> None:
    page: InfoPage = Page.objects.get(slug=slug).specific
    text = read(client, f"/learn/{slug}/")

    assert len(page.sources) >= 3
    for source in page.sources:
        assert f'href="{source.value["url"]}"' in text
        assert source.value["publisher"] in text
    assert f'datetime="{page.last_reviewed:%Y-%m-%d}"' in text
    assert "Next review: " in text
    assert "No clinician has reviewed it yet." in text
    assert 400 <= len(page.searchable_text.split()) <= 900


@pytest.mark.parametrize("slug", SLUGS)
def test_each_page_is_fit_for_the_content_policy(
    client: Client, pages: list[str], slug: str
) -> None:
    text = read(client, f"/learn/{slug}/")

    assert " style=" not in text
    assert "<script>" not in text
    assert "<style" not in text
    assert text.count("<h1") == 1


def test_no_link_inside_the_site_is_broken(client: Client, pages: list[str]) -> None:
    for address in ["/learn/", *pages]:
        text = read(client, address)
        article = text[text.index("<main") : text.index("</main>")]
        ids = set(re.findall(r' id="([^"]+)"', article))
        for link in re.findall(r'<a[^>]* href="([^"]*)"', article):
            if link.startswith("#"):
                assert link[1:] in ids, (address, link)
            elif link.startswith("/learn/"):
                assert client.get(link).status_code == 200, (address, link)
            elif link.startswith(OTHER_APPS):
                try:
                    resolve(link)
                except Resolver404:
                    pytest.fail(f"{address} links to {link}")
            else:
                assert link.startswith("https://"), (address, link)


def test_index_lists_published_pages_by_subject(client: Client, pages: list[str]) -> None:
    TopicPage.objects.get(slug="treatment").unpublish()

    text = read(client, "/learn/")

    order = [text.index(label) for label in ("Kinds of tumour", "Symptoms, diagnosis", "Scans and")]
    assert order == sorted(order)
    assert text.index(">Glioma<") < order[1]
    assert ">Treatment<" not in text


def test_index_without_pages_says_so(client: Client, pages: list[str]) -> None:
    for page in LearnIndexPage.objects.get().get_children():
        page.specific.unpublish()

    assert "No pages have been published yet." in read(client, "/learn/")


def test_page_leads_back_on_and_across(client: Client, pages: list[str]) -> None:
    text = read(client, "/learn/meningioma/")

    assert '<a href="/learn/">Learn</a>' in text
    assert re.search(r'href="/learn/glioma/"\s+rel="prev"', text)
    assert re.search(r'href="/learn/pituitary-tumours/"\s+rel="next"', text)
    assert "Related pages" in text
    assert '<a href="/learn/questions/">Questions to ask</a>' in text


def test_related_pages_that_went_away_are_left_out(client: Client, pages: list[str]) -> None:
    Page.objects.get(slug="questions").delete()
    TopicPage.objects.get(slug="treatment").unpublish()

    text = read(client, "/learn/meningioma/")

    related = text[text.index('id="related"') :]
    assert "Questions to ask" not in related
    assert ">Treatment<" not in related
    assert "How MRI works" in related


def test_related_pages_are_those_that_anyone_may_read(
    pages: list[str], django_assert_max_num_queries: object
) -> None:
    page = TumourPage.objects.get(slug="meningioma")
    chosen = [block.value.pk for block in page.related]
    PageViewRestriction.objects.create(
        page=Page.objects.get(pk=chosen[0]), restriction_type=PageViewRestriction.LOGIN
    )

    with django_assert_max_num_queries(5):  # type: ignore[operator]  # a pytest-django fixture
        shown = page._related()
        assert all(one.summary for one in shown)

    assert [one.pk for one in shown] == chosen[1:]


def test_page_says_when_its_review_is_overdue_or_who_read_it(
    client: Client, glioma: TumourPage
) -> None:
    glioma.last_reviewed = timezone.localdate() - timedelta(days=400)
    glioma.next_review = timezone.localdate() - timedelta(days=1)
    glioma.reviewed_by = "Dr A. Example, neurologist"
    glioma.save_revision().publish()

    text = read(client, "/learn/glioma/")

    assert "may be out of date" in text
    assert "Read by Dr A. Example, neurologist" in text
    assert "No clinician" not in text


def test_next_review_comes_after_the_last(glioma: TumourPage) -> None:
    glioma.next_review = glioma.last_reviewed

    with pytest.raises(ValidationError, match="must be after"):
        glioma.full_clean()


def test_glossary_is_in_order_of_the_alphabet(client: Client, pages: list[str]) -> None:
    page = GlossaryPage.objects.get()
    page.entries.insert(0, ("entry", {"term": "zebra", "meaning": "<p>A striped word.</p>"}))
    page.save_revision().publish()

    terms = re.findall(r'<dt id="[^"]*">([^<]+)</dt>', read(client, "/learn/glossary/"))

    assert terms[0] == "Active monitoring"
    assert terms[-1] == "zebra"
    assert terms == sorted(terms, key=str.lower)


def test_drawings_have_words(client: Client, pages: list[str]) -> None:
    for slug in ("glioma", "meningioma", "pituitary-tumours"):
        text = read(client, f"/learn/{slug}/")
        assert re.search(r'<svg class="drawing head"[^>]*role="img"[^>]*aria-labelledby=', text)
        assert "Side view of a head." in text
    assert "magnet lines them up" in read(client, "/learn/how-mri-works/")


def test_queries_do_not_grow_with_the_pages(
    client: Client, pages: list[str], django_assert_max_num_queries: object
) -> None:
    client.get("/learn/")
    with django_assert_max_num_queries(15):  # type: ignore[operator]  # a pytest-django fixture
        client.get("/learn/")
