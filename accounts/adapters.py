"""Where allauth leaves the decision to the project."""

import base64
import hashlib
from typing import ClassVar

from allauth.account.adapter import DefaultAccountAdapter
from allauth.mfa.adapter import DefaultMFAAdapter
from allauth.mfa.models import Authenticator
from cryptography.fernet import Fernet, MultiFernet
from django.conf import settings
from django.http import HttpRequest
from django.urls import reverse

from accounts.models import User
from tumorsite.throttle import client_address


class AccountAdapter(DefaultAccountAdapter):
    """Users have no user name; the e-mail address is the name."""

    error_messages: ClassVar = {
        **DefaultAccountAdapter.error_messages,
        "email_password_mismatch": "The e-mail address or the password is not correct.",
    }

    def get_client_ip(self, request: HttpRequest) -> str:
        """Believes as many proxies as the site's own throttle does."""
        return client_address(request)

    def get_password_change_redirect_url(self, request: HttpRequest) -> str:
        """The form again would look as if nothing had happened."""
        return reverse("account")


class MFAAdapter(DefaultMFAAdapter):
    """Keeps the secrets of second factors unreadable for those who only have the database."""

    error_messages: ClassVar = {
        **DefaultMFAAdapter.error_messages,
        "add_email_blocked": "While two-factor sign-in is on, no address can be added. Switch it "
        "off, change the address, then set it up again.",
        "unverified_email": "First verify all your addresses, or remove those that are not "
        "verified, on the page “E-mail addresses”.",
    }

    def encrypt(self, text: str) -> str:
        return _cipher().encrypt(text.encode()).decode()

    def decrypt(self, encrypted_text: str) -> str:
        return _cipher().decrypt(encrypted_text.encode()).decode()

    def generate_authenticator_name(self, user: User, type: Authenticator.Type) -> str:  # noqa: A002  # allauth's name
        taken = Authenticator.objects.filter(user_id=user.pk, type=type).count()
        return f"Passkey {taken + 1}"


def _cipher() -> MultiFernet:
    """Encrypts with the present secret key, decrypts with it and with the ones before it."""
    keys = [str(key) for key in (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS)]
    digests = (hashlib.sha256(b"second factors" + key.encode()).digest() for key in keys)
    return MultiFernet([Fernet(base64.urlsafe_b64encode(digest)) for digest in digests])
