"""The pages for errors: they help, and need nothing that may be what has failed."""

from __future__ import annotations

import html
import re
from typing import cast
from urllib.parse import parse_qs, urlsplit
from uuid import uuid4

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import OperationalError
from django.http import HttpRequest
from django.test import Client, RequestFactory
from django.utils.functional import SimpleLazyObject
from pytest_django import Settings

from accounts.models import User
from tests.support.records import make_user
from tumorsite.http import problem
from tumorsite.views import csrf_failure, forbidden, server_error

BARE = (400, 413, 429, 500, 503)


@pytest.mark.parametrize("status", BARE)
def test_it_renders_without_session_or_database(rf: RequestFactory, status: int) -> None:
    """No database mark: a query would fail this test, and so does a look at who asks."""

    def ask() -> User:
        raise AssertionError("the user was looked up")

    request = rf.get("/", headers={"accept": "text/html"})
    request.user = cast("User", SimpleLazyObject(ask))
    response = problem(request, status, "What happened.")
    text = response.content.decode()
    assert response.status_code == status
    assert "What happened." in text
    assert f"Error {status}<" in text
    assert "<li>" in text
    assert "Sign in" not in text
    assert "Sign up" not in text


def test_a_script_gets_the_message_alone(rf: RequestFactory) -> None:
    response = problem(rf.get("/", headers={"accept": "application/json"}), 429, "Wait.")
    assert response.status_code == 429
    assert response.content == b'{"error": "Wait."}'


def test_an_expired_form_says_that_nothing_was_changed(rf: RequestFactory) -> None:
    response = csrf_failure(rf.post("/", headers={"accept": "text/html"}), "no cookie")
    assert response.status_code == 403
    assert "Nothing was changed" in response.content.decode()


@pytest.mark.parametrize(
    ("source", "place", "link"),
    [
        ("http://testserver/scans/?q=a&label=glioma", "/scans/delete/", "/scans/?q=a&label=glioma"),
        ("", "/account/login/", "/account/login/"),
        ("https://elsewhere.example/form", "/account/login/", "/account/login/"),
        ("javascript:alert(1)", "/account/login/", "/account/login/"),
        ("http://testserver//elsewhere.example/", "/account/login/", ""),
        ("", "//elsewhere.example/", ""),
    ],
)
def test_an_expired_form_leads_to_itself_and_nowhere_else(
    rf: RequestFactory, source: str, place: str, link: str
) -> None:
    request = rf.post("/", headers={"accept": "text/html", "referer": source})
    request.path = place
    text = csrf_failure(request, "no cookie").content.decode()
    found = re.findall(r'href="([^"]*)">Open the form again', text)
    assert [html.unescape(one) for one in found] == [link] * bool(link)


@pytest.mark.django_db
def test_a_page_for_others_offers_another_account(client: Client) -> None:
    client.defaults["SERVER_NAME"] = "localhost"
    client.force_login(make_user())
    response = client.get("/admin/predictions/scan/?q=a&p=1", headers={"accept": "text/html"})
    request = response.wsgi_request
    request.user = make_user("bob@example.org")
    text = forbidden(request).content.decode()
    assert "Sign out and use another account" in text
    assert text.count("You may not") == 2  # title and heading
    hidden = re.findall(r'name="next"\s+value="([^"]*)"', text)
    answer = client.post("/account/logout/", {"next": html.unescape(hidden[0])})
    assert (
        answer["Location"]
        == "/account/login/?next=%2Fadmin%2Fpredictions%2Fscan%2F%3Fq%3Da%26p%3D1"
    )


def test_a_fault_of_ours_says_so(rf: RequestFactory) -> None:
    response = server_error(rf.get("/", headers={"accept": "text/html"}))
    assert response.status_code == 500
    assert "on our side" in response.content.decode()


@pytest.mark.django_db
def test_a_database_that_is_away_is_told_as_what_passes(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def locked(request: HttpRequest, **filters: object) -> None:
        raise OperationalError("database is locked")

    monkeypatch.setattr("predictions.views.submission.recent_scans", locked)
    client.raise_request_exception = False
    for accept, words in (("text/html", "Not at the moment"), ("application/json", "records")):
        response = client.get("/", headers={"accept": accept})
        assert response.status_code == 503
        assert words in response.content.decode()


@pytest.mark.django_db
@pytest.mark.parametrize("accept", ["text/html", "application/json"])
def test_far_too_many_files_at_once(client: Client, accept: str) -> None:
    files = [SimpleUploadedFile(f"{number}.png", b"x") for number in range(51)]
    response = client.post("/scans/", {"images": files}, headers={"accept": accept})
    assert response.status_code == 400
    assert "That was too many files at once." in response.content.decode()
    assert "Send up to 10 pictures at once." in response.content.decode()


@pytest.mark.parametrize("accept", ["text/html", "application/json"])
def test_an_address_the_site_does_not_answer_to(
    client: Client, settings: Settings, accept: str
) -> None:
    """As after HOST=0.0.0.0 alone."""
    settings.ALLOWED_HOSTS = ["tumorsite.example"]
    response = client.get("/", headers={"accept": accept, "host": "192.0.2.7:8000"})
    text = response.content.decode()
    assert response.status_code == 400
    assert "does not answer to the address" in text
    assert "ALLOWED_HOSTS" in text
    assert "10 pictures" not in text
    assert 'class="button"' not in text


@pytest.mark.django_db
def test_a_page_that_is_not_there_leads_on(client: Client) -> None:
    client.defaults["SERVER_NAME"] = "localhost"
    response = client.get("/no/such/page", headers={"accept": "text/html"})
    text = response.content.decode()
    assert response.status_code == 404
    assert "Sign in" in text
    assert 'href="/scans/"' in text


@pytest.mark.django_db
def test_whoever_signs_in_comes_back_to_the_whole_address(client: Client) -> None:
    place = f"/scans/compare/?result={uuid4()}&result={uuid4()}"
    page = client.get(place)
    assert page.status_code == 404
    links = re.findall(r'href="([^"]*/login/[^"]*)"', page.content.decode())
    assert len(links) == 2
    for link in links:
        assert parse_qs(urlsplit(html.unescape(link)).query)["next"] == [place]


def test_what_browsers_and_search_engines_ask_for_unasked(client: Client) -> None:
    icon = client.get("/favicon.ico")
    assert (icon.status_code, icon["Location"]) == (302, "/static/icons/favicon.svg")
    robots = client.get("/robots.txt")
    assert robots["Content-Type"] == "text/plain"
    for place in ("results", "scans", "account", "admin"):
        assert f"Disallow: /{place}/" in robots.content.decode().splitlines()
