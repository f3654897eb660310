"""The user: an e-mail address and a password; no name is asked for."""

from typing import Any, ClassVar

from django.conf import settings
from django.contrib.auth.models import AbstractUser, UserManager as BaseUserManager
from django.db import models

# Shown where staff look for a way to do it.
CHANGED_BY_OWNER = (
    "People change their address themselves, under Account, E-mail addresses: the new one counts "
    "once they have verified it."
)


class UserManager(BaseUserManager["User"]):
    """Makes users from an e-mail address."""

    @classmethod
    def normalize_email(cls, email: str | None) -> str:
        """In lower case throughout, as sign-in looks for it; the model's `clean` calls this."""
        return super().normalize_email(email).lower()

    def _make(self, email: str, password: str | None, **extra: Any) -> "User":
        user = self.model(email=self.normalize_email(email), **extra)
        user.set_password(password)
        user.full_clean()
        user.save(using=self._db)
        return user

    def create_user(  # type: ignore[override]  # there is no user name
        self, email: str, password: str | None = None, **extra: Any
    ) -> "User":
        return self._make(email, password, **extra)

    def create_superuser(  # type: ignore[override]  # there is no user name
        self, email: str, password: str | None = None, **extra: Any
    ) -> "User":
        return self._make(email, password, is_staff=True, is_superuser=True, **extra)


class User(AbstractUser):
    username = None  # type: ignore[assignment]  # Django's way to drop it
    email = models.EmailField("e-mail address", unique=True)
    # Set together with `is_active = False`; the row goes once the last scan has gone.
    erase_requested_at = models.DateTimeField("erasure asked for", null=True, editable=False)

    USERNAME_FIELD = "email"
    REQUIRED_FIELDS: ClassVar[list[str]] = []
    objects: ClassVar[UserManager] = UserManager()

    def __str__(self) -> str:
        return self.email


class Adoption(models.Model):
    """Which account took over the scans of a browser session, kept for as long as it matters.

    An upload that was on its way while its visitor signed in is stored under the session after
    that session's scans have moved. This row says where it has to go.
    """

    visitor = models.UUIDField(primary_key=True)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="+")
    at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return f"Visitor {self.visitor} is user {self.user_id}"
