"""allauth's forms in the words of the site, and kinder to those who mistype."""

from typing import Any

from allauth.account import forms as account
from allauth.mfa.base import forms as mfa
from allauth.mfa.totp import forms as totp
from django import forms

# What `AUTH_PASSWORD_VALIDATORS` ask for, in a line that a phone has room for: which way one is
# easy to guess is said to those whose password is.
WHAT_IT_NEEDS = "Ten characters or more, and hard to guess."


class Plain(forms.Form):
    """No placeholders that repeat the label; after a mistake the focus is where it was made."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        for name, field in self.fields.items():
            field.widget.attrs.pop("placeholder", None)
            field.label = str(field.label).capitalize()
            if field.help_text and name == "password1":
                field.help_text = WHAT_IT_NEEDS
            if isinstance(field, forms.EmailField):
                field.label = "E-mail address"
            if field.widget.attrs.get("autocomplete") == "one-time-code":
                # Codes of an app and codes for recovery are digits only.
                field.widget.attrs["inputmode"] = "numeric"

    def get_context(self) -> dict[str, Any]:
        if self.errors:
            # A fault of the whole form is mended from the first field on.
            faulty = next((name for name in self.fields if name in self.errors), None)
            name = faulty or next(iter(self.fields), None)
            if name:
                self.fields[name].widget.attrs["autofocus"] = True
        return super().get_context()


class LoginForm(Plain, account.LoginForm):
    pass


class SignupForm(Plain, account.SignupForm):
    pass


class ReauthenticateForm(Plain, account.ReauthenticateForm):
    pass


class AddEmailForm(Plain, account.AddEmailForm):
    pass


class ChangePasswordForm(Plain, account.ChangePasswordForm):
    pass


class SetPasswordForm(Plain, account.SetPasswordForm):
    pass


class ResetPasswordForm(Plain, account.ResetPasswordForm):
    pass


class ResetPasswordKeyForm(Plain, account.ResetPasswordKeyForm):
    pass


class CodeForm(Plain, mfa.AuthenticateForm):
    pass


class CodeAgainForm(Plain, mfa.ReauthenticateForm):
    pass


class ActivateTOTPForm(Plain, totp.ActivateTOTPForm):
    pass
