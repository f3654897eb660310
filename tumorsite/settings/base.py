"""Applications, middleware, templates, languages and static files."""

from tumorsite.settings.parsers import BASE_DIR
from tumorsite.settings.values import values

# BASE_DIR is the project's folder, in which manage.py lies.
DATA_DIR = values.DATA_DIR
DEBUG = values.DEBUG
SITE_URL = values.SITE_URL.rstrip("/") or f"http://localhost:{values.PORT}"

ROOT_URLCONF = "tumorsite.urls"
WSGI_APPLICATION = "tumorsite.wsgi.application"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

INSTALLED_APPS = [
    "tumorsite",
    "accounts",
    "predictions",
    "education",
    "mltasks",
    "training",
    "wagtail.contrib.redirects",
    "wagtail.embeds",
    "wagtail.sites",
    "accounts.apps.PageUsersConfig",
    "wagtail.documents",
    "wagtail.images",
    "wagtail.search",
    "wagtail.admin",
    "wagtail",
    "modelcluster",
    "taggit",
    "allauth",
    "allauth.account",
    "allauth.mfa",
    "allauth.usersessions",
    "tumorsite.apps.SiteAdminConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.humanize",
    "django.contrib.messages",
    "django.contrib.postgres",
    "django.contrib.sessions",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
]

MIDDLEWARE = [
    "tumorsite.observability.middleware.ObservabilityMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "csp.middleware.CSPMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "tumorsite.middleware.ThrottleMiddleware",
    "tumorsite.middleware.UploadLimitMiddleware",
    "tumorsite.middleware.SteadySessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "allauth.account.middleware.AccountMiddleware",
    "accounts.middleware.SessionActivityMiddleware",
    "accounts.middleware.StaffSecondFactorMiddleware",
    "wagtail.contrib.redirects.middleware.RedirectMiddleware",
]

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "tumorsite" / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "tumorsite.context.site",
            ],
        },
    },
]

FORM_RENDERER = "tumorsite.forms.Renderer"

LANGUAGE_CODE = "en"
LANGUAGES = [("en", "English")]
FORMAT_MODULE_PATH = "tumorsite.formats"
TIME_ZONE = "UTC"

STATIC_URL = "/static/"
STATIC_ROOT = values.STATIC_DIR or DATA_DIR / "static"

# What the site analyses with, and trains from.
MODEL_DIR = values.MODEL_DIR
BUNDLED_MODEL = values.BUNDLED_MODEL
NOTIFY_URLS = values.NOTIFY_URLS
TRAINING_DATA = values.TRAINING_DATA
TRAINING_NEGATIVES = values.TRAINING_NEGATIVES
TRAINING_HOURS = values.TRAINING_HOURS
TRAINING_DATASET = values.TRAINING_DATASET
TRAINING_RECIPE = values.TRAINING_RECIPE
TRAINING_TRIGGER = values.TRAINING_TRIGGER
TRAINING_CHECKPOINT_SECONDS = values.TRAINING_CHECKPOINT_SECONDS
RELEASE_POLICY = values.RELEASE_POLICY
SHADOW_PERCENT = values.SHADOW_PERCENT
DRIFT_HOURS = values.DRIFT_HOURS
MLFLOW_TRACKING_URI = values.MLFLOW_TRACKING_URI
INFERENCE_ENGINE = values.INFERENCE_ENGINE
INFERENCE_THREADS = values.INFERENCE_THREADS
INFERENCE_BATCH = values.INFERENCE_BATCH
MAX_ATTEMPTS = values.MAX_ATTEMPTS
ANONYMOUS_RETENTION_DAYS = values.ANONYMOUS_RETENTION_DAYS
ACCESS_RETENTION_DAYS = values.ACCESS_RETENTION_DAYS
