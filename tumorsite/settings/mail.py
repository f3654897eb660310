"""Mail: a server by EMAIL_URL, or files in the data folder."""

from pathlib import Path
from urllib.parse import unquote, urlsplit

from tumorsite.settings.values import values

DEFAULT_FROM_EMAIL = SERVER_EMAIL = values.EMAIL_FROM
EMAIL_TIMEOUT = 10

_parts = urlsplit(values.EMAIL_URL)
if _parts.scheme in {"smtp", "smtps"}:
    EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    EMAIL_HOST = _parts.hostname
    EMAIL_USE_SSL = _parts.scheme == "smtps"
    EMAIL_USE_TLS = _parts.scheme == "smtp" and _parts.port == 587
    EMAIL_PORT = _parts.port or (465 if EMAIL_USE_SSL else 25)
    EMAIL_HOST_USER = unquote(_parts.username or "")
    EMAIL_HOST_PASSWORD = unquote(_parts.password or "")
else:
    EMAIL_BACKEND = "django.core.mail.backends.filebased.EmailBackend"
    EMAIL_FILE_PATH = (
        Path(unquote(_parts.path)) if _parts.scheme == "file" else values.DATA_DIR / "mail"
    )
