#!/usr/bin/env python
"""Django's command line for this project."""

import os
import sys

from django.core.exceptions import ImproperlyConfigured


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tumorsite.settings")
    from django.conf import settings
    from django.core.management import execute_from_command_line

    try:
        # Django itself would go on without settings and fail later, with a traceback.
        _ = settings.DATA_DIR
    except ImproperlyConfigured as error:
        sys.exit(f"Bad settings: {error}")
    execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
