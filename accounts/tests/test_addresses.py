"""An account belongs to nobody but those who have proven an address of it."""

from __future__ import annotations

import re

import pytest
from allauth.account.models import EmailAddress
from django.core import mail
from django.test import Client
from django.urls import reverse

from accounts.tests.support import PASSWORD, confirm

pytestmark = pytest.mark.django_db
OWNER, STRANGER = "owner@example.org", "stranger@example.net"


def link_to(address: str) -> str:
    """The path in the last mail to an address."""
    body = next(str(sent.body) for sent in reversed(mail.outbox) if address in sent.to)
    found = re.search(r"https?://[^/\s]+(/\S+)", body)
    assert found
    return found[1]


def sign_up_and_add(client: Client) -> None:
    """Sign up with somebody else's address, then add one's own."""
    client.post(
        reverse("account_signup"),
        {"email": OWNER, "password1": PASSWORD, "password2": PASSWORD},
    )
    confirm(client)
    client.post(reverse("account_email"), {"action_add": "", "email": STRANGER})


def addresses() -> list[tuple[str, bool, bool]]:
    return list(EmailAddress.objects.values_list("email", "verified", "primary"))


def test_the_first_proven_address_takes_the_place_of_a_claimed_one(client: Client) -> None:
    sign_up_and_add(client)
    client.post(link_to(STRANGER))
    assert addresses() == [(STRANGER, True, True)]


def test_a_new_password_ends_what_others_have_begun(client: Client) -> None:
    sign_up_and_add(client)
    owner = Client()
    owner.post(reverse("account_reset_password"), {"email": OWNER})
    page = owner.get(link_to(OWNER), follow=True).request["PATH_INFO"]
    new = "quite another password"
    assert owner.post(page, {"password1": new, "password2": new}).status_code == 302
    client.post(link_to(STRANGER))
    assert [address for address, *_ in addresses()] == [OWNER]
