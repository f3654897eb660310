import re
from html import unescape

import pytest
from django.test import Client
from hypothesis import given, strategies as st

from education.models import LearnIndexPage, TopicPage, TumourPage
from education.search import MAX_QUERY, in_our_words, search, snippet, words_of

pytestmark = pytest.mark.data_layer


def titles(query: str) -> list[str]:
    return [page.title for page in search(words_of(query))]


@pytest.mark.parametrize(
    ("query", "first"),
    [
        ("glioma", "Glioma"),
        ("GLIOM", "Glioma"),
        ("pituitary", "Pituitary tumours"),
        ("headaches", "Symptoms and when to seek help at once"),
    ],
)
def test_finds_the_page_about_it_first(pages: list[str], query: str, first: str) -> None:
    assert titles(query)[0] == first


def test_finds_words_of_the_glossary(pages: list[str]) -> None:
    assert "Glossary" in titles("dural tail")


@pytest.mark.parametrize(
    ("typed", "ours"),
    [
        ("tumor", "tumour"),
        ("brain tumors", "brain tumours"),
        ("edema", "oedema"),
        ("radiation", "radiotherapy"),
        ("gray", "grey"),
    ],
)
def test_american_and_everyday_words_find_the_same(pages: list[str], typed: str, ours: str) -> None:
    assert set(titles(typed)) == set(titles(ours)) != set()


def test_an_american_name_on_a_page_is_found_beside_them(pages: list[str]) -> None:
    before = titles("radiotherapy")
    page = TopicPage.objects.get(slug="how-mri-works")
    page.body.append(("paragraph", "<p>An MRI uses no radiation.</p>"))
    page.save_revision().publish()
    assert set(titles("radiation")) == {*before, page.title}


@pytest.mark.parametrize(
    ("typed", "ours"),
    [
        ("hemorrhage", "haemorrhage"),
        ("hemangioblastoma", "haemangioblastoma"),
        ("hemisphere", "hemisphere"),
        ("leukemia", "leukaemia"),
        ("anemia", "anaemia"),
        ("oedema", "oedema"),
        ("tumorigenic", "tumorigenic"),
        ("colorectal", "colorectal"),
        ("academic", "academic"),
        ("epidemic", "epidemic"),
        ("ischemic", "ischaemic"),
        ("esophagus", "oesophagus"),
    ],
)
def test_words_in_our_spelling(typed: str, ours: str) -> None:
    assert in_our_words([typed]) == [ours]
    assert in_our_words([ours]) == [ours]


def test_every_word_must_be_there(pages: list[str]) -> None:
    assert titles("glioma xyzzy") == []


def test_drafts_are_not_found(pages: list[str]) -> None:
    page = TopicPage.objects.get(slug="treatment")
    page.body.append(("paragraph", "<p>quokka</p>"))
    page.save_revision()
    assert titles("quokka") == []

    page.save_revision().publish()
    assert titles("quokka") == ["Treatment"]

    page.unpublish()
    assert titles("quokka") == []


def test_without_pages_nothing_is_found(pages: list[str]) -> None:
    LearnIndexPage.objects.get().unpublish()

    assert titles("glioma") == []


@pytest.mark.parametrize(
    "query",
    ['"', "'", "%", "%s", "a AND", "NEAR(", "title:x", "\\", "a*", "ß ∆ 漢", "--", "x" * 500],
)
def test_no_sign_upsets_the_database(client: Client, pages: list[str], query: str) -> None:
    assert client.get("/learn/search/", {"q": query}).status_code == 200


def test_nul_and_bad_page_numbers_are_harmless(client: Client, pages: list[str]) -> None:
    assert client.get("/learn/search/?q=%00glioma&page=zzz").status_code == 200
    assert client.get("/learn/search/?q=glioma&page=999").status_code == 200


@given(st.text(max_size=300))
def test_words_hold_letters_and_digits_only(query: str) -> None:
    words = words_of(query)

    assert len(words) <= 8
    assert all(re.fullmatch(r"[^\W_]+", word) for word in words)
    assert sum(map(len, words)) <= 2 * MAX_QUERY


def test_snippet_shows_the_find_in_its_sentence(glioma: TumourPage) -> None:
    pieces = snippet(glioma, ["oligodendroglioma"])

    assert [piece.text for piece in pieces if piece.found] == ["Oligodendroglioma"]
    assert len("".join(piece.text for piece in pieces)) < 240
    assert pieces[0].text.startswith("… ")


def test_snippet_shows_the_find_in_our_words(glioma: TumourPage) -> None:
    assert "tumour" in [piece.text.lower() for piece in snippet(glioma, ["tumor"]) if piece.found]


def test_snippet_falls_back_to_the_summary(glioma: TumourPage) -> None:
    pieces = snippet(glioma, ["zzzz"])

    assert "".join(piece.text for piece in pieces).startswith("A glioma grows from")


def test_page_of_results(client: Client, pages: list[str]) -> None:
    text = unescape(client.get("/learn/search/", {"q": "headaches"}).content.decode())

    assert "pages found for “headaches”" in text
    assert re.search(r"<mark>[Hh]eadaches?</mark>", text)
    assert '<a href="/learn/symptoms/">' in text
    assert 'value="headaches"' in text


def test_query_is_escaped(client: Client, pages: list[str]) -> None:
    text = client.get("/learn/search/", {"q": "<b>glioma"}).content.decode()

    assert "<b>glioma" not in text
    assert "&lt;b&gt;glioma" in text


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("", "Search these pages"),
        ("...", "Please type a word"),
        ("xyzzy", "Try fewer or simpler words"),
    ],
)
def test_empty_states(client: Client, pages: list[str], query: str, words: str) -> None:
    assert words in client.get("/learn/search/", {"q": query}).content.decode()


def test_more_results_are_on_further_pages(client: Client, pages: list[str]) -> None:
    index = LearnIndexPage.objects.get()
    for number in range(12):
        page = TumourPage.objects.get(slug="glioma").copy(
            update_attrs={"title": f"Copy {number}", "slug": f"copy-{number}"}, to=index
        )
        page.specific.save_revision().publish()

    first = client.get("/learn/search/", {"q": "glioma"}).content.decode()
    second = client.get("/learn/search/", {"q": "glioma", "page": "2"}).content.decode()

    assert "More results" in first
    assert "Earlier results" in second


def test_search_works_before_any_page_exists(client: Client, pages: list[str]) -> None:
    LearnIndexPage.objects.get().delete()

    response = client.get("/learn/search/", {"q": "glioma"})

    assert response.status_code == 200
    assert b"0 pages found" in response.content
