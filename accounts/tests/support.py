"""What tests of accounts share."""

from __future__ import annotations

import base64
import hashlib
import hmac
import time

from allauth.account.models import EmailAddress
from allauth.mfa.recovery_codes.internal.auth import RecoveryCodes
from allauth.mfa.totp.internal.auth import TOTP
from django.test import Client
from django.urls import reverse

from accounts.models import User
from tests.support.records import make_user

PASSWORD = "a long password"
SECRET = "JBSWY3DPEHPK3PXP"


def totp(secret: str, *, now: float | None = None) -> str:
    """The code an authenticator app shows (RFC 6238)."""
    counter = int((time.time() if now is None else now) // 30).to_bytes(8, "big")
    digest = hmac.new(base64.b32decode(secret), counter, hashlib.sha1).digest()
    start = digest[-1] & 0xF
    number = int.from_bytes(digest[start : start + 4], "big") & 0x7FFFFFFF
    return f"{number % 1_000_000:06d}"


def verified(email: str = "ada@example.org", **extra: object) -> User:
    """A user whose address is verified."""
    user = make_user(email, **extra)
    EmailAddress.objects.create(user=user, email=email, verified=True, primary=True)
    return user


def add_second_factor(user: User) -> None:
    TOTP.activate(user, SECRET)
    RecoveryCodes.activate(user)


def sign_in(client: Client, email: str = "ada@example.org", password: str = PASSWORD) -> None:
    client.post(reverse("account_login"), {"login": email, "password": password})


def confirm(client: Client, password: str = PASSWORD) -> None:
    """Give the password again, as sensitive pages ask for it."""
    client.post(reverse("account_reauthenticate"), {"password": password})
