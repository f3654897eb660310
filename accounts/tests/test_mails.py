"""What allauth says and sends, in the words of the site."""

import pytest
from allauth.account.adapter import get_adapter
from allauth.core.context import request_context
from django.core import mail
from django.template.loader import render_to_string
from django.test import RequestFactory

from accounts.tests.support import verified

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("change", ["added", "removed"])
def test_a_passkey_is_called_so_wherever_it_is_spoken_of(rf: RequestFactory, change: str) -> None:
    """Allauth calls it a security key, which is only one kind."""
    ada = verified("ada@example.org")
    request = rf.get("/", headers={"user-agent": "A browser"})
    request.user = ada
    with request_context(request):
        get_adapter(request).send_notification_mail(f"mfa/email/webauthn_{change}", ada)
    (sent,) = mail.outbox
    assert sent.subject == f"TumorSite: Passkey {change}"
    assert f"A passkey was {change}" in sent.body
    assert "The change came from 127.0.0.1, with this browser: A browser" in sent.body
    assert render_to_string(f"mfa/messages/webauthn_{change}.txt").strip() == f"Passkey {change}."


@pytest.mark.parametrize(
    ("change", "subject", "words"),
    [
        (
            "changed",
            "Main address changed",
            "Your main e-mail address was changed from o'hara@example.org to ada@example.org.",
        ),
        ("confirm", "Address verified", "Your e-mail address has been verified."),
        (
            "deleted",
            "Address removed",
            "The e-mail address o'hara@example.org was removed from your account.",
        ),
    ],
)
def test_changes_of_an_address_are_told_in_the_words_of_the_pages(
    rf: RequestFactory, change: str, subject: str, words: str
) -> None:
    ada = verified("ada@example.org")
    request = rf.get("/", headers={"user-agent": "A browser"})
    request.user = ada
    context = {
        "from_email": "o'hara@example.org",
        "to_email": ada.email,
        "deleted_email": "o'hara@example.org",
    }
    with request_context(request):
        get_adapter(request).send_notification_mail(f"account/email/email_{change}", ada, context)
    (sent,) = mail.outbox
    assert sent.subject == f"TumorSite: {subject}"
    assert words in sent.body
