"""The site's own settings, for the later release."""

from tumorsite.settings import *  # noqa: F403  # that is what settings are

INSTALLED_APPS = [*INSTALLED_APPS, "tests.support.next_release"]  # noqa: F405  # from the settings
MIGRATION_MODULES = {
    "next_release": None,
    "predictions": "tests.support.next_release.migrations",
}
