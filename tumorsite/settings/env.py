"""The one table of settings that an operator may give in the environment.

`docs/settings.md` is printed from this table (`manage.py settings_table`), so the two cannot
disagree. A secret may be given as NAME or, as a path to a file that holds it, as NAME_FILE.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.core.exceptions import ImproperlyConfigured

from tumorsite.settings.parsers import (
    boolean,
    bucket,
    choice,
    earlier_keys,
    headers,
    host_names,
    integer,
    optional_choice,
    optional_path,
    path,
    required_text,
    text,
)
from tumorsite.settings.url_parsers import addresses, broker, database, origin, sentry_dsn, url


@dataclass(frozen=True, slots=True)
class Setting:
    """One row of the table: how a setting is named, read, defaulted and explained."""

    name: str
    parse: Callable[[str], Any]
    default: str
    help: str
    secret: bool = False


TABLE: tuple[Setting, ...] = (
    Setting("DATA_DIR", path, "./var", "Folder of everything the site writes on this machine."),
    Setting(
        "STATIC_DIR",
        optional_path,
        "",
        "Folder of static files collected beforehand, as in an image; empty means DATA_DIR/static, "
        "collected at start.",
    ),
    Setting("PORT", integer(1, 65535), "8000", "Port of the website."),
    Setting(
        "HOST",
        required_text,
        "127.0.0.1",
        "Address that the website listens on. 0.0.0.0 is every one of this machine; then "
        "ALLOWED_HOSTS must hold the names by which others call it.",
    ),
    Setting("DEBUG", boolean, "false", "Django's debug pages. Never on a public site."),
    Setting(
        "SECRET_KEY",
        text,
        "",
        "Signing key, 50 characters or more. Without it, one is made and kept in DATA_DIR.",
        secret=True,
    ),
    Setting(
        "SECRET_KEY_FALLBACKS",
        earlier_keys,
        "",
        "Earlier signing keys, separated by spaces: what they signed or encrypted stays good.",
        secret=True,
    ),
    Setting(
        "ALLOWED_HOSTS",
        host_names,
        "localhost,127.0.0.1,[::1]",
        "Host names the site answers to.",
    ),
    Setting(
        "SITE_URL",
        origin,
        "",
        "Public address of the site; https turns on secure cookies, HSTS and the redirect.",
    ),
    Setting(
        "PROXY_COUNT",
        integer(0, 5),
        "0",
        "Reverse proxies in front of the site, each of which appends to X-Forwarded-For.",
    ),
    Setting(
        "DATABASE_URL",
        database,
        "",
        "PostgreSQL address; empty means SQLite in DATA_DIR.",
        secret=True,
    ),
    Setting(
        "BROKER_URL",
        broker,
        "",
        "Redis or Valkey address of the queue; the cache uses the next database number after the "
        "queue's. Empty means the server `make run` starts.",
        secret=True,
    ),
    Setting("S3_BUCKET", bucket, "", "Bucket for scans and pictures; empty means a local folder."),
    Setting(
        "S3_ENDPOINT_URL",
        url("http", "https", optional=True),
        "",
        "Address of an S3-compatible server; empty means AWS.",
    ),
    Setting(
        "S3_PUBLIC_URL",
        url("http", "https", optional=True),
        "",
        "S3 address as browsers reach it, for signed links; empty means S3_ENDPOINT_URL.",
    ),
    Setting("S3_REGION", text, "eu-central-1", "Region of the bucket."),
    Setting(
        "S3_ACCESS_KEY_ID",
        text,
        "",
        "S3 key; empty means the machine's own identity.",
        secret=True,
    ),
    Setting("S3_SECRET_ACCESS_KEY", text, "", "Secret of the S3 key.", secret=True),
    Setting(
        "EMAIL_URL",
        url("smtp", "smtps", "file", optional=True),
        "",
        "Mail server, e.g. smtps://user:password@host:465; empty writes mails to DATA_DIR/mail.",
        secret=True,
    ),
    Setting("EMAIL_FROM", required_text, "TumorSite <noreply@localhost>", "Sender of mails."),
    Setting(
        "MODEL_DIR", path, "./models/tumorsite-5", "Folder of the network that comes with the code."
    ),
    Setting(
        "BUNDLED_MODEL",
        choice("follow", "first"),
        "follow",
        "When the network in MODEL_DIR goes into production by itself: follow, in place of another "
        "that came with the code; first, only where there is none.",
    ),
    Setting(
        "INFERENCE_ENGINE",
        choice("onnx", "tensorflow"),
        "onnx",
        "onnx runs on the CPU; tensorflow uses a GPU when there is one.",
    ),
    Setting("INFERENCE_THREADS", integer(0, 64), "0", "Threads per worker; 0 means every core."),
    Setting("INFERENCE_BATCH", integer(1, 64), "8", "Most scans in one forward pass."),
    Setting("INFERENCE_WORKERS", integer(1, 32), "1", "Inference workers `make run` starts."),
    Setting(
        "TASK_HARD_LIMIT",
        integer(5, 3600),
        "30",
        "Seconds after which a task is killed and its scans go to another attempt.",
    ),
    Setting(
        "SOFT_SHUTDOWN_SECONDS",
        integer(0, 3600),
        "0",
        "Seconds a worker told to end by SIGQUIT lets its task go on before giving it back.",
    ),
    Setting("SWEEP_SECONDS", integer(1, 600), "10", "How often lost jobs are looked for."),
    Setting("MAX_ATTEMPTS", integer(1, 10), "3", "Attempts at one prediction before it fails."),
    Setting("MAX_UPLOAD_MB", integer(1, 500), "20", "Largest file accepted."),
    Setting("MAX_MEGAPIXELS", integer(1, 170), "40", "Largest picture accepted."),
    Setting(
        "SUBMISSIONS_PER_MINUTE",
        integer(10, 100000),
        "60",
        "Pictures analysed per visitor; ten or more, as ten may come at once.",
    ),
    Setting("REQUESTS_PER_MINUTE", integer(1, 1000000), "1200", "Requests per address."),
    Setting(
        "ANONYMOUS_RETENTION_DAYS",
        integer(1, 3650),
        "30",
        "Days after which scans of visitors without an account are deleted.",
    ),
    Setting(
        "ACCESS_RETENTION_DAYS",
        integer(1, 3650),
        "365",
        "Days after which the lines on who was handed which picture or report are deleted.",
    ),
    Setting(
        "STAFF_MFA",
        optional_choice("required", "optional"),
        "",
        "Whether staff must have a second factor to enter the admin, `required` or `optional`. "
        "Empty: required where SITE_URL begins with https.",
    ),
    Setting(
        "TRAINING_DATA",
        optional_path,
        "",
        "Folder with manifest.csv, images/ and masks/ for training and evaluation.",
    ),
    Setting(
        "NOTIFY_URLS",
        addresses,
        "",
        "Apprise addresses, separated by spaces, that are told of a network that has passed the "
        "gate, of one that RELEASE_POLICY has put into production, and of drift; empty means "
        "nobody.",
        secret=True,
    ),
    Setting(
        "TRAINING_NEGATIVES",
        optional_path,
        "",
        "Folder with train/<source>/ and holdout/<source>/: pictures that are no brain MRI.",
    ),
    Setting(
        "TRAINING_DATASET",
        text,
        "",
        "Name of the data set in DATASET_BUCKET that training uses. With TRAINING_RECIPE, whatever "
        "is pushed under that name is trained on.",
    ),
    Setting(
        "TRAINING_RECIPE",
        text,
        "",
        "Recipe of the training that starts by itself: a name in recipes/ or a TOML file. Empty "
        "means that only people start training.",
    ),
    Setting(
        "TRAINING_TRIGGER",
        choice("data", "data-or-code"),
        "data-or-code",
        "A changed recipe always starts a training. data: new data does, too; data-or-code: so "
        "does changed code of the network and its training.",
    ),
    Setting(
        "TRAINING_CHECK_SECONDS",
        integer(1, 86400),
        "300",
        "How often other data, recipe or code are looked for.",
    ),
    Setting(
        "TRAINING_CHECKPOINT_SECONDS",
        integer(0, 86400),
        "300",
        "Least time between two copies of a training's checkpoint in the object store, from which "
        "any other worker goes on; 0 copies each.",
    ),
    Setting(
        "RELEASE_POLICY",
        choice("manual", "automatic"),
        "manual",
        "Who puts a trained network that has passed the gate into production: a person, or the "
        "training worker at once.",
    ),
    Setting(
        "SHADOW_PERCENT",
        integer(1, 100),
        "10",
        "Of the scans answered while a candidate runs in the shadow, the share that it answers, "
        "too.",
    ),
    Setting(
        "DRIFT_HOURS",
        integer(0, 720),
        "24",
        "Answers of so many past hours are compared with the reference of the network every hour; "
        "0 turns this off.",
    ),
    Setting("TRAINING_HOURS", integer(1, 720), "24", "Hours after which a training run is killed."),
    Setting(
        "MLFLOW_TRACKING_URI",
        text,
        "",
        "MLflow server or store that training logs to; empty means none.",
        secret=True,
    ),
    Setting(
        "DATASET_BUCKET",
        bucket,
        "",
        "Bucket for data sets, at the S3 address and with the S3 key given above.",
    ),
    Setting("DATASET_PREFIX", text, "data", "What the keys of data sets start with."),
    Setting(
        "DATASET_PATIENT_KEY",
        text,
        "",
        "Secret from which pseudonyms of patients are made on import. Needed for private data.",
        secret=True,
    ),
    Setting("WEB_WORKERS", integer(1, 64), "2", "Web processes."),
    Setting("WEB_THREADS", integer(1, 64), "8", "Threads of each web process."),
    Setting(
        "STOP_SECONDS",
        integer(1, 600),
        "5",
        "Seconds that requests and passes under way have to end when the site is stopped.",
    ),
    Setting(
        "LOG_LEVEL", choice("DEBUG", "INFO", "WARNING", "ERROR"), "INFO", "Least level logged."
    ),
    Setting("LOG_FORMAT", choice("text", "json"), "text", "Lines for people, or JSON objects."),
    Setting(
        "METRICS_PORT",
        integer(0, 65000),
        "0",
        "Port of /metrics for Prometheus; 0 means none. Under `make run` the web has it, and each "
        "worker the next one.",
    ),
    Setting("METRICS_HOST", required_text, "127.0.0.1", "Address that /metrics listens on."),
    Setting(
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        url("http", "https", optional=True),
        "",
        "OTLP/HTTP collector that traces are sent to; empty means none are made.",
    ),
    Setting(
        "OTEL_EXPORTER_OTLP_HEADERS",
        headers,
        "",
        "Headers for the collector, as name=value,name=value.",
        secret=True,
    ),
    Setting(
        "SENTRY_DSN",
        sentry_dsn,
        "",
        "Sentry project that errors are reported to, without identities; empty means none.",
        secret=True,
    ),
    Setting("SENTRY_ENVIRONMENT", text, "production", "Name of this site's stage in Sentry."),
)


class Values(dict[str, Any]):
    """The parsed settings by name, also as attributes."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None


def _raw(row: Setting, environ: Mapping[str, str]) -> str:
    if row.secret and (file := environ.get(f"{row.name}_FILE")):
        try:
            return Path(file).read_text(encoding="utf-8").strip()
        except OSError as error:
            raise ValueError(f"cannot read {row.name}_FILE: {error.strerror}") from None
    return environ.get(row.name, row.default)


def load(environ: Mapping[str, str]) -> Values:
    """Read every setting of the table.

    Raises:
        ImproperlyConfigured: names each setting whose value is bad, and why. The value itself
            is not repeated, as it may be a secret.
    """
    values, faults = Values(), []
    for row in TABLE:
        try:
            values[row.name] = row.parse(_raw(row, environ))
        except ValueError as error:
            faults.append(f"{row.name} {error}")
    if faults:
        raise ImproperlyConfigured("; ".join(faults) + ". See docs/settings.md.")
    return values


def as_markdown() -> str:
    """The table as the text of `docs/settings.md`."""
    lines = [
        "# Settings",
        "",
        "Read from the environment at start. A bad value stops the start and names itself.",
        "Secrets (marked ●) may instead be given as a file: `NAME_FILE=/path/to/secret`.",
        "",
        "Printed by `python manage.py settings_table`; a test holds the two together.",
        "",
        "| Setting | Default | Meaning |",
        "|---|---|---|",
    ]
    for row in TABLE:
        default = f"`{row.default}`" if row.default else "(empty)"
        lines.append(f"| `{row.name}`{' ●' if row.secret else ''} | {default} | {row.help} |")
    return "\n".join(lines) + "\n"
