import re
from datetime import timedelta
from typing import Any
from urllib.parse import unquote

import pytest
from celery import current_app
from django.conf import settings
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from wagtail.models import Page, PageViewRestriction
from wagtail.test.utils.form_data import nested_form_data, rich_text, streamfield

from education.models import GlossaryPage, Picture, TopicPage, TumourPage


def form(title: str, words: str = "New words.") -> dict[str, str]:
    """What the editor's form of a page sends."""
    data: dict[str, str] = nested_form_data(
        {
            "title": title,
            "slug": title.lower().replace(" ", "-"),
            "summary": "A summary.",
            "subject": "care",
            "body": streamfield([("paragraph", rich_text(f"<p>{words}</p>"))]),
            "related": streamfield([]),
            "sources": streamfield(
                [("source", {"title": "A", "publisher": "B", "url": "https://example.org/"})]
            ),
            "last_reviewed": "2026-11-24",
            "next_review": "2027-11-24",
            "reviewed_by": "",
            "seo_title": "",
            "search_description": "",
            "go_live_at": "",
            "expire_at": "",
            "comments-TOTAL_FORMS": 0,
            "comments-INITIAL_FORMS": 0,
        }
    )
    return data


def edit(page: Page) -> str:
    return reverse("wagtailadmin_pages:edit", args=[page.pk])


def links(editor: Client, page: Page, words: str) -> list[str]:
    """Where links of these words lead on a page's history, the newest first."""
    history = editor.get(reverse("wagtailadmin_pages:history", args=[page.pk]))
    return re.findall(rf'href="([^"]+)"[^>]*>\s*{words}', history.content.decode())


def kept(shown: Any) -> dict[str, str]:
    """The form of an earlier version as it would be sent, with the paragraphs of its text."""
    page = shown.context["form"].instance
    paragraphs = [
        ("paragraph", rich_text(block.value.source))
        for block in page.body
        if block.block_type == "paragraph"
    ]
    body: dict[str, str] = nested_form_data({"body": streamfield(paragraphs)})
    return {**form(page.title), **body}


@pytest.fixture
def treatment(pages: list[str]) -> TopicPage:
    return TopicPage.objects.get(slug="treatment")


def test_editor_drafts_previews_publishes_and_reverts(
    client: Client, editor: Client, treatment: TopicPage
) -> None:
    data = form("Treatment", "Quokkas help.")

    assert editor.post(edit(treatment), data).status_code == 302
    assert b"Quokkas" not in client.get("/learn/treatment/").content

    preview = reverse("wagtailadmin_pages:preview_on_edit", args=[treatment.pk])
    assert editor.post(preview, data).json()["is_valid"]
    shown = editor.get(preview)
    assert b"Quokkas help." in shown.content
    assert b"A draft." in shown.content
    assert shown["X-Frame-Options"] == "SAMEORIGIN"
    assert "frame-ancestors 'self'" in shown["Content-Security-Policy"]

    editor.post(edit(treatment), {**data, "action-publish": "1"})
    published = client.get("/learn/treatment/").content
    assert b"Quokkas help." in published
    assert b"A draft." not in published

    original = links(editor, treatment, "Review this version")[-1]
    shown = editor.get(original)
    assert b"living from scan to scan" in shown.content
    editor.post(shown.context["action_url"], {**kept(shown), "action-publish": "1"})
    assert b"living from scan to scan" in client.get("/learn/treatment/").content
    assert b"Quokkas" not in client.get("/learn/treatment/").content

    editor.post(reverse("wagtailadmin_pages:unpublish", args=[treatment.pk]))
    assert client.get("/learn/treatment/").status_code == 404


def test_a_page_comes_and_goes_at_its_time(
    client: Client, editor: Client, treatment: TopicPage, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As a worker does when it starts.
    current_app.loader.import_default_modules()
    present = timezone.localtime()
    data = form("Treatment", "Quokkas help.")
    data["go_live_at"] = f"{present + timedelta(days=1):%Y-%m-%d %H:%M}"
    data["expire_at"] = f"{present + timedelta(days=3):%Y-%m-%d %H:%M}"
    editor.post(edit(treatment), {**data, "action-publish": "1"})
    for days, status, told in ((0, 200, False), (2, 200, True), (4, 404, False)):
        now = present + timedelta(days=days)
        monkeypatch.setattr(timezone, "now", lambda now=now: now)
        current_app.tasks[settings.CELERY_BEAT_SCHEDULE["pages"]["task"]]()
        answer = client.get("/learn/treatment/")
        assert (answer.status_code, b"Quokkas help." in answer.content) == (status, told), days


def test_editor_adds_a_page(client: Client, editor: Client, treatment: TopicPage) -> None:
    parent = treatment.get_parent()
    add = reverse("wagtailadmin_pages:add", args=["education", "topicpage", parent.pk])

    editor.post(add, form("After treatment"))
    assert client.get("/learn/after-treatment/").status_code == 404

    page = TopicPage.objects.get(slug="after-treatment")
    editor.post(edit(page), {**form("After treatment"), "action-publish": "1"})
    assert client.get("/learn/after-treatment/").status_code == 200


def test_a_page_without_sources_cannot_be_published(editor: Client, treatment: TopicPage) -> None:
    data = {**form("Treatment"), "sources-count": "0", "action-publish": "1"}

    response = editor.post(edit(treatment), data)

    assert response.status_code == 200
    assert "sources" in response.context["form"].errors


def test_page_offers_editing_to_editors_only(
    client: Client, editor: Client, glioma: TumourPage
) -> None:
    assert edit(glioma) in editor.get("/learn/glioma/").content.decode()
    assert b"/cms/" not in client.get("/learn/glioma/").content


@pytest.mark.parametrize("address", ["/cms/users/", "/cms/groups/", "/cms/sites/", "/admin/"])
def test_editors_stay_out_of_administration(editor: Client, address: str) -> None:
    response = editor.get(address)

    assert response.status_code == 302
    assert response["Location"] in {"/cms/", f"/admin/login/?next={address}"}


@pytest.mark.parametrize(
    "address", ["/cms/", "/cms/pages/", "/cms/images/", "/cms/documents/", "/cms/account/"]
)
def test_strangers_are_sent_to_the_sites_own_sign_in(
    client: Client, pages: list[str], address: str
) -> None:
    response = client.get(address, follow=True)

    assert unquote(response.redirect_chain[-1][0]) == f"/account/login/?next={address}"


def test_people_without_the_right_cannot_enter(client: Client, pages: list[str]) -> None:
    user = get_user_model().objects.create_user(email="a@example.org", password="long-enough-1")
    client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")

    for address in ("/cms/", "/cms/pages/", "/learn/_util/login/?next=/learn/glioma/"):
        response = client.get(address, follow=True)
        assert response.status_code == 403
        assert "needs rights that yours does not have" in response.content.decode()


def test_a_page_for_some_is_no_endless_way_for_others(client: Client, glioma: TumourPage) -> None:
    restriction = PageViewRestriction.objects.create(
        page=glioma, restriction_type=PageViewRestriction.GROUPS
    )
    restriction.groups.add(Group.objects.create(name="Readers"))
    address = "/learn/glioma/"
    answer = client.get(address, follow=True)
    assert unquote(answer.redirect_chain[-1][0]).endswith(f"/account/login/?next={address}")
    user = get_user_model().objects.create_user(email="a@example.org", password="long-enough-1")
    client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
    assert client.get(address, follow=True).status_code == 403


def test_an_editor_is_led_on_from_the_sign_in(editor: Client) -> None:
    response = editor.get("/cms/login/?next=/cms/pages/", follow=True)

    assert response.redirect_chain[0][0] == "/account/login/?next=/cms/pages/"
    assert response.status_code == 200


def test_passwords_are_not_wagtails_business(editor: Client) -> None:
    assert editor.get("/cms/password_reset/").status_code == 404
    account = editor.get("/cms/account/").content
    assert b"password" not in account
    assert b"account-email" not in account


def test_editor_uploads_and_chooses_pictures(editor: Client, picture: Picture) -> None:
    listing = editor.get("/cms/images/").content

    assert picture.title.encode() in listing
    assert b'src="/media/renditions/' in listing
    assert picture.title.encode() in editor.get("/cms/images/chooser/").content
    with picture.file.open() as stream:
        editor.post("/cms/images/add/", {"title": "Second", "credit": "Us", "file": stream})
    assert Picture.objects.get(title="Second").uploaded_by_user.email == "editor@example.org"


def test_editor_s_pages_allow_inline_styles_but_no_inline_script(
    client: Client, editor: Client, glioma: TumourPage
) -> None:
    page = editor.get(edit(glioma))
    policy = dict(part.strip().split(" ", 1) for part in page["Content-Security-Policy"].split(";"))

    assert policy["script-src"] == "'self'"
    assert policy["style-src"] == "'self' 'unsafe-inline'"
    assert b"<script>" not in page.content
    assert "unsafe-inline" not in client.get("/learn/glioma/")["Content-Security-Policy"]


def test_users_are_managed_by_e_mail(pages: list[str], admin_client: Client) -> None:
    assert admin_client.get("/cms/users/").status_code == 200
    assert b'name="first_name"' not in admin_client.get("/cms/users/new/").content
    response = admin_client.post("/cms/users/new/", {"email": "new@example.org"})

    assert response.status_code == 302
    made = get_user_model().objects.get(email="new@example.org")
    assert not made.check_password("")
    # The person sets a first password by the site's own "forgotten password".
    assert made.has_usable_password()
    page = admin_client.get(f"/cms/users/edit/{made.pk}/").content
    assert b"new@example.org" in page
    assert b'name="is_active"' in page
    assert b'name="first_name"' not in page
    admin_client.post(f"/cms/users/edit/{made.pk}/", {"email": "newer@example.org"})
    made.refresh_from_db()
    # The address is its owner's to change.
    assert (made.email, made.is_active) == ("new@example.org", False)


def test_the_first_page_says_what_waits(
    client: Client, editor: Client, treatment: TopicPage, glioma: TumourPage
) -> None:
    def panel(name: str) -> str:
        text = " ".join(editor.get("/cms/").content.decode().split())
        return text.partition(f'id="{name}')[2].partition("</section>")[0]

    yesterday, today = timezone.localdate() - timedelta(days=1), timezone.localdate()
    for kind in (TopicPage, TumourPage, GlossaryPage):
        kind.objects.update(next_review=today)
    assert panel("due_for_review") == panel("drafts_not_published") == ""
    TopicPage.objects.filter(pk=treatment.pk).update(next_review=yesterday)
    TumourPage.objects.filter(pk=glioma.pk).update(next_review=yesterday, live=False)
    due = panel("due_for_review")
    assert f'<a href="{edit(treatment)}">{treatment.title}</a> was due on' in due
    assert glioma.title not in due
    glioma.summary = "Another one."
    glioma.save_revision()
    drafts = panel("drafts_not_published")
    assert f'<a href="{edit(glioma)}">{glioma.title}</a> changed on' in drafts
    assert treatment.title not in drafts
