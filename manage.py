#!/usr/bin/env python
"""Django's command line for this project."""

import os
import signal
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
    try:
        execute_from_command_line(sys.argv)
    except KeyboardInterrupt:
        print("\nStopped.", file=sys.stderr)
        # As a shell says of whoever was ended by Ctrl-C.
        sys.exit(128 + signal.SIGINT)


if __name__ == "__main__":
    main()
