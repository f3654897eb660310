"""Gunicorn's own lines, in the form of all others."""

from __future__ import annotations

from typing import Any

from gunicorn.glogging import Logger

from tumorsite.observability.logs import handler


class GunicornLogs(Logger):
    """Gunicorn's own lines in the site's form. It names the addresses of bad clients."""

    def setup(self, cfg: Any) -> None:
        super().setup(cfg)
        from tumorsite.settings.values import values

        for old in list(self.error_log.handlers):
            self.error_log.removeHandler(old)
        own = handler(values.LOG_FORMAT)
        # By this mark gunicorn finds what it has to take away before it sets up again.
        own._gunicorn = True  # type: ignore[attr-defined]  # noqa: SLF001
        self.error_log.addHandler(own)
