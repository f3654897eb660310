"""Forms of the account pages: the site's own words, and help after a mistake."""

from __future__ import annotations

import re

import pytest
from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from django.core import mail
from django.template.loader import render_to_string
from django.test import Client
from django.urls import reverse
from pytest_django import Settings

from accounts.forms import WHAT_IT_NEEDS
from accounts.tests.support import PASSWORD, add_second_factor, confirm, sign_in, verified
from tests.support.records import make_user

pytestmark = pytest.mark.django_db


def field(page: str, name: str) -> str:
    found = re.search(rf'<input[^>]*name="{name}"[^>]*>', page)
    assert found
    return found.group()


def page(client: Client, name: str) -> str:
    return " ".join(client.get(reverse(name)).content.decode().split())


@pytest.mark.parametrize("name", ["account_login", "account_signup", "account_reset_password"])
def test_one_word_for_one_thing(client: Client, name: str) -> None:
    text = page(client, name)
    assert ">E-mail address</label>" in text
    assert "placeholder" not in text
    assert "autofocus" not in text


def test_tab_goes_from_the_address_to_the_password(client: Client) -> None:
    text = page(client, "account_login")
    assert text.index('name="password"') < text.index("Forgot your password?")
    assert "Remember me" in text


def test_the_focus_is_where_the_mistake_was_made(client: Client) -> None:
    form = {"email": "ada@example.org", "password1": "a long password", "password2": "another"}
    text = client.post(reverse("account_signup"), form).content.decode()
    assert "autofocus" in field(text, "password2")
    assert text.count("autofocus") == 1
    form = {"login": "ada@example.org", "password": "x"}
    text = client.post(reverse("account_login"), form).content.decode()
    assert "autofocus" in field(text, "login")
    assert "The e-mail address or the password is not correct." in text


def test_a_taken_address_leads_to_its_account(client: Client) -> None:
    user = verified()
    form = {"email": user.email, "password1": "a long password", "password2": "a long password"}
    text = client.post(reverse("account_signup"), form).content.decode()
    assert (
        "There is an account with this address. "
        f'<a href="{reverse("account_login")}">Sign in</a> or '
        f'<a href="{reverse("account_reset_password")}">set a new password</a>.'
    ) in text


def test_what_is_wrong_with_the_whole_is_said_aloud(client: Client) -> None:
    form = {"login": "ada@example.org", "password": "x"}
    text = client.post(reverse("account_login"), form).content.decode()
    assert '<div role="alert"><ul class="errorlist nonfield">' in text
    assert '<div role="alert">' not in page(client, "account_login")
    for _ in range(6):
        text = client.post(reverse("account_login"), form).content.decode()
    assert "That was tried too often. Wait 5 minutes, then try again." in text


def test_what_a_password_needs_is_one_line(client: Client, settings: Settings) -> None:
    text = page(client, "account_signup")
    assert text.count('class="helptext"') == 1
    assert f'id="id_password1_helptext">{WHAT_IT_NEEDS}<' in text
    # The first is its first half, the other three are its second.
    rules = {rule["NAME"].rpartition(".")[2]: rule for rule in settings.AUTH_PASSWORD_VALIDATORS}
    assert set(rules) == {
        "MinimumLengthValidator", "UserAttributeSimilarityValidator", "CommonPasswordValidator",
        "NumericPasswordValidator",
    }  # fmt: skip
    assert rules["MinimumLengthValidator"]["OPTIONS"] == {"min_length": 10}


def test_a_code_is_typed_with_digits(client: Client) -> None:
    add_second_factor(verified())
    sign_in(client)
    text = page(client, "mfa_authenticate")
    assert 'inputmode="numeric"' in field(text, "code")


def test_a_mail_is_offered_only_where_it_would_be_sent(client: Client) -> None:
    user = make_user()
    client.force_login(user)
    address = EmailAddress.objects.create(user=user, email=user.email, primary=True)
    text = page(client, "account_email")
    assert 'type="radio"' not in text
    form = {"email": re.findall(r'name="email" value="(.*?)"', text)[0], "action_send": ""}
    assert "Send the verification e-mail again" in text
    client.post(reverse("account_email"), form)
    assert len(mail.outbox) == 1
    EmailAddress.objects.filter(pk=address.pk).update(verified=True)
    assert "Send the verification e-mail again" not in page(client, "account_email")
    EmailAddress.objects.create(user=user, email="second@example.org")
    text = page(client, "account_email")
    assert text.count('type="radio"') == 2
    assert "Send the verification e-mail again" in text


def test_the_address_is_asked_for_before_a_second_factor_is(client: Client) -> None:
    user = make_user()
    client.force_login(user)
    address = EmailAddress.objects.create(user=user, email=user.email, primary=True)
    text = page(client, "mfa_index")
    assert f"First verify your address {user.email}" in text
    form = {"email": re.findall(r'name="email" value="(.*?)"', text)[0], "action_send": ""}
    client.post(reverse("account_email"), form)
    assert len(mail.outbox) == 1
    EmailAddress.objects.filter(pk=address.pk).update(verified=True)
    assert "First verify" not in page(client, "mfa_index")


@pytest.mark.parametrize(
    ("reported", "words"), [(True, "signs in alone"), (False, "second factor only"), (None, "")]
)
def test_a_passkey_says_whether_it_signs_in_alone(
    client: Client, reported: bool | None, words: str
) -> None:
    user = verified()
    results = {} if reported is None else {"credProps": {"rk": reported}}
    data = {"name": "Laptop", "credential": {"clientExtensionResults": results}}
    Authenticator.objects.create(user=user, type=Authenticator.Type.WEBAUTHN, data=data)
    client.force_login(user)
    confirm(client)
    text = page(client, "mfa_list_webauthn")
    for said in ("signs in alone", "second factor only"):
        assert (said in text) is (said == words)


@pytest.mark.parametrize("change", ["added", "removed"])
def test_mails_call_a_passkey_a_passkey(change: str) -> None:
    for part in ("subject", "message"):
        text = render_to_string(f"mfa/email/webauthn_{change}_{part}.txt")
        assert f"asskey {change}" in text or f"passkey was {change}" in text
        assert "key" not in text.lower().replace("passkey", "")


def test_messages_have_the_words_of_the_pages(client: Client) -> None:
    """E-mail, verified and main, where the library says email, confirmed and primary."""
    form = {"email": "ada@example.org", "password1": PASSWORD, "password2": PASSWORD}
    text = client.post(reverse("account_signup"), form, follow=True).content.decode()
    assert "We have sent an e-mail to ada@example.org: open the link in it" in text
    assert "You are signed in as ada@example.org." in text
    user = EmailAddress.objects.get().user
    confirm(client)
    EmailAddress.objects.update(verified=True)
    EmailAddress.objects.create(user=user, email="lovelace@example.org", verified=True)
    for action, email, words in (
        ("action_remove", "ada@example.org", "You cannot remove your main address,"),
        ("action_primary", "lovelace@example.org", "You have changed your main address."),
        ("action_remove", "ada@example.org", "The address ada@example.org has been removed."),
    ):
        form = {"email": email, action: ""}
        text = client.post(reverse("account_email"), form, follow=True).content.decode()
        assert words in text
