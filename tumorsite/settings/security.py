"""Keys, cookies, headers, limits."""

import os
import secrets
import sys
from pathlib import Path

from csp.constants import NONE, SELF
from django.core.exceptions import ImproperlyConfigured

from tumorsite.settings.parsers import KEY_LENGTH
from tumorsite.settings.storage import s3_origins
from tumorsite.settings.values import values


def _kept_secret(file: Path) -> str:
    """The key kept in `file`, made on first use so that every process reads the same one."""
    try:
        return file.read_text(encoding="ascii").strip()
    except FileNotFoundError:
        pass
    except OSError as error:
        raise ImproperlyConfigured(f"DATA_DIR: cannot read {file}: {error.strerror}.") from None
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        draft = file.with_name(f"{file.name}.{secrets.token_hex(4)}")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as stream:
            stream.write(secrets.token_urlsafe(KEY_LENGTH))
        try:
            # A link fails if another process was first; then that one's key counts.
            os.link(draft, file)
        except FileExistsError:
            pass
        finally:
            draft.unlink()
    except OSError as error:
        raise ImproperlyConfigured(
            f"DATA_DIR: cannot write {file.parent}: {error.strerror}."
        ) from None
    return file.read_text(encoding="ascii").strip()


def _own_secret() -> str:
    if sys.argv[1:2] == ["analyze"]:
        # It signs nothing, and leaves nothing behind but its results.
        return secrets.token_urlsafe(KEY_LENGTH)
    return _kept_secret(values.DATA_DIR / "secret-key")


SECRET_KEY = values.SECRET_KEY or _own_secret()
if len(SECRET_KEY) < KEY_LENGTH:
    raise ImproperlyConfigured(
        f"SECRET_KEY must have {KEY_LENGTH} characters or more. See docs/settings.md."
    )
SECRET_KEY_FALLBACKS = values.SECRET_KEY_FALLBACKS

HTTPS = values.SITE_URL.startswith("https://")
ALLOWED_HOSTS = values.ALLOWED_HOSTS
CSRF_TRUSTED_ORIGINS = [values.SITE_URL.rstrip("/")] if values.SITE_URL else []
PROXY_COUNT = values.PROXY_COUNT
if PROXY_COUNT:
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")

SECURE_SSL_REDIRECT = HTTPS
# Probes come from inside, over plain HTTP.
SECURE_REDIRECT_EXEMPT = [r"^health/"]
SECURE_HSTS_SECONDS = 31_536_000 if HTTPS else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = HTTPS
SECURE_HSTS_PRELOAD = HTTPS
SESSION_COOKIE_SECURE = HTTPS
SESSION_COOKIE_AGE = 30 * 86400
CSRF_COOKIE_SECURE = HTTPS
# Without a cookie of its own.
MESSAGE_STORAGE = "django.contrib.messages.storage.session.SessionStorage"
CSRF_COOKIE_HTTPONLY = True
CSRF_FAILURE_VIEW = "tumorsite.views.csrf_failure"
X_FRAME_OPTIONS = "SAMEORIGIN"
# Editors preview pages in a frame of the site itself, so DENY is no choice.
SILENCED_SYSTEM_CHECKS = ["security.W019"]

CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [NONE],
        "script-src": [SELF],
        "style-src": [SELF],
        "img-src": [SELF, "blob:", "data:", *s3_origins()],
        "font-src": [SELF],
        "connect-src": [SELF],
        "form-action": [SELF],
        "base-uri": [NONE],
        "frame-src": [SELF],
        "frame-ancestors": [SELF],
        "manifest-src": [SELF],
    }
}

REQUESTS_PER_MINUTE = values.REQUESTS_PER_MINUTE
SUBMISSIONS_PER_MINUTE = values.SUBMISSIONS_PER_MINUTE
