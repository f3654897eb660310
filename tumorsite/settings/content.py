"""Wagtail: the pages about brain tumours."""

from zoneinfo import available_timezones

from tumorsite.settings.base import SITE_URL
from tumorsite.settings.storage import MAX_PIXELS

WAGTAIL_SITE_NAME = "TumorSite"
WAGTAILADMIN_BASE_URL = SITE_URL
# Passwords and addresses are looked after in one place, under /account/.
WAGTAIL_PASSWORD_MANAGEMENT_ENABLED = False
WAGTAIL_PASSWORD_RESET_ENABLED = False
WAGTAIL_EMAIL_MANAGEMENT_ENABLED = False
WAGTAILUSERS_PASSWORD_ENABLED = False
WAGTAIL_WORKFLOW_ENABLED = False
# "localtime" and the like are files of the machine, not zones that browsers know.
WAGTAIL_USER_TIME_ZONES = ["UTC", *sorted(zone for zone in available_timezones() if "/" in zone)]
WAGTAILDOCS_SERVE_METHOD = "serve_view"
WAGTAILDOCS_EXTENSIONS = ["pdf", "csv", "txt"]
WAGTAILIMAGES_IMAGE_MODEL = "education.Picture"
WAGTAILIMAGES_EXTENSIONS = ["jpg", "jpeg", "png", "webp"]
WAGTAILIMAGES_MAX_IMAGE_PIXELS = MAX_PIXELS
WAGTAILIMAGES_IMAGE_FORM_BASE = "education.forms.PictureForm"
WAGTAIL_GRAVATAR_PROVIDER_URL = None
WAGTAIL_ENABLE_UPDATE_CHECK = False
WAGTAIL_ENABLE_WHATS_NEW_BANNER = False
WAGTAILSEARCH_BACKENDS = {"default": {"BACKEND": "wagtail.search.backends.database"}}
WAGTAILEMBEDS_FINDERS: list[dict[str, str]] = []
TAGGIT_CASE_INSENSITIVE = True
