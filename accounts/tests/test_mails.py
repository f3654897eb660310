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
