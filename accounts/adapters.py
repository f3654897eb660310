"""Where allauth leaves the decision to the project."""

import base64
import hashlib
import logging
import math
from typing import Any, ClassVar

from allauth.account.adapter import DefaultAccountAdapter
from allauth.core.exceptions import ImmediateHttpResponse
from allauth.core.internal import ratelimit
from allauth.mfa.adapter import DefaultMFAAdapter
from allauth.mfa.models import Authenticator
from cryptography.fernet import Fernet, MultiFernet
from django.conf import settings
from django.contrib import messages
from django.http import HttpRequest
from django.template.defaultfilters import pluralize
from django.urls import reverse
from django.utils.functional import lazy
from django.utils.html import format_html
from django.utils.safestring import SafeString

from accounts.models import User
from tumorsite.http import problem
from tumorsite.throttle import client_address

logger = logging.getLogger(__name__)

# Mails that are all that their form is for. Both, or the answer would tell whether there is such
# an account.
RESET_MAILS = ("account/email/password_reset_key", "account/email/unknown_account")
UNSENT = (
    "We could not send the e-mail, because the mail server is not accepting any at the moment. "
    "Please ask for it again in a few minutes."
)


def _taken() -> SafeString:
    return format_html(
        "There is an account with this address. "
        '<a href="{}">Sign in</a> or <a href="{}">set a new password</a>.',
        reverse("account_login"),
        reverse("account_reset_password"),
    )


def _too_many() -> str:
    rates = ratelimit.get_rates(app="allauth.account", action="login_failed")
    minutes = math.ceil(max((rate.duration for rate in rates), default=60) / 60)
    return f"That was tried too often. Wait {minutes} minute{pluralize(minutes)}, then try again."


# Both need what is known only when the site runs.
_TAKEN, _TOO_MANY = lazy(_taken, SafeString)(), lazy(_too_many, str)()


class AccountAdapter(DefaultAccountAdapter):
    """Users have no user name; the e-mail address is the name."""

    error_messages: ClassVar = {
        **DefaultAccountAdapter.error_messages,
        "email_password_mismatch": "The e-mail address or the password is not correct.",
        # Said at sign-up alone. To hide it there, sign-up would have to end with a mail.
        "email_taken": _TAKEN,
        "too_many_login_attempts": _TOO_MANY,
    }

    def get_client_ip(self, request: HttpRequest) -> str:
        """As the site's own throttle reads it."""
        return client_address(request)

    def get_password_change_redirect_url(self, request: HttpRequest) -> str:
        """To the account page: the form again would look as if nothing had happened."""
        return reverse("account")

    def send_mail(self, template_prefix: str, email: str, context: dict[str, Any]) -> None:
        """A mail that cannot be sent is lost, but the step that it belongs to goes on.

        Raises:
            ImmediateHttpResponse: the page that says so, where there is no more to the step.
        """
        try:
            super().send_mail(template_prefix, email, context)
        except OSError as error:  # what the library for SMTP raises is one, too
            # Its text may name the receiver.
            logger.error("a mail could not be sent: %s", type(error).__name__)
            if template_prefix in RESET_MAILS:
                raise ImmediateHttpResponse(problem(self.request, 503, UNSENT)) from None
            self.request.mail_is_lost = True

    def add_message(
        self,
        request: HttpRequest,
        level: int,
        message_template: str | None = None,
        *args: Any,
        **kwargs: Any,
    ) -> None:
        """Says that a mail was sent only if it was."""
        if message_template == "account/messages/email_confirmation_sent.txt" and hasattr(
            request, "mail_is_lost"
        ):
            messages.error(request, UNSENT)
        else:
            super().add_message(request, level, message_template, *args, **kwargs)


class MFAAdapter(DefaultMFAAdapter):
    """Encrypts the secrets of second factors, for whoever has the database but not the key."""

    error_messages: ClassVar = {
        **DefaultMFAAdapter.error_messages,
        "add_email_blocked": "While two-factor sign-in is on, no address can be added. Switch it "
        "off, change the address, then set it up again.",
        "unverified_email": "First verify all your addresses, or remove those that are not "
        "verified, on the page “E-mail addresses”.",
    }

    def is_mfa_enabled(self, user: Any, types: Any = None) -> bool:
        """Codes for recovery are none by themselves: sign-in asks for them in place of another."""
        kinds = Authenticator.Type.TOTP, Authenticator.Type.WEBAUTHN
        return super().is_mfa_enabled(user, kinds if types is None else types)

    def encrypt(self, text: str) -> str:
        return _cipher().encrypt(text.encode()).decode()

    def decrypt(self, encrypted_text: str) -> str:
        return _cipher().decrypt(encrypted_text.encode()).decode()

    def generate_authenticator_name(self, user: User, type: Authenticator.Type) -> str:  # noqa: A002  # allauth's name
        taken = Authenticator.objects.filter(user_id=user.pk, type=type).count()
        return f"Passkey {taken + 1}"


def _cipher() -> MultiFernet:
    """Encrypts with SECRET_KEY, decrypts with it and with SECRET_KEY_FALLBACKS."""
    keys = [str(key) for key in (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS)]
    digests = (hashlib.sha256(b"second factors" + key.encode()).digest() for key in keys)
    return MultiFernet([Fernet(base64.urlsafe_b64encode(digest)) for digest in digests])
