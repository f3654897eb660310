"""The table of settings: read, refused, documented."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from io import StringIO
from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.core.management import call_command

from tumorsite.settings.database import configured
from tumorsite.settings.env import TABLE, Values, load
from tumorsite.settings.parsers import BASE_DIR


def test_every_default_is_valid() -> None:
    values = load({})
    assert set(values) == {row.name for row in TABLE}
    assert values.PORT == 8000
    assert values.HOST == "127.0.0.1"
    assert values.DATA_DIR == BASE_DIR / "var"
    assert values.TRAINING_DATA is None


def test_the_page_of_settings_is_the_table() -> None:
    printed = StringIO()
    call_command("settings_table", stdout=printed)
    assert (BASE_DIR / "docs" / "settings.md").read_text(encoding="utf-8") == printed.getvalue()
    for row in TABLE:
        assert f"| `{row.name}`" in printed.getvalue()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "0"),
        ("SUBMISSIONS_PER_MINUTE", "9"),
        ("PORT", "65536"),
        ("PORT", "eighty"),
        ("DEBUG", "perhaps"),
        ("HOST", " "),
        ("DATABASE_URL", "mysql://localhost/x"),
        ("DATABASE_URL", "postgres://u:p@h:port/x"),
        ("DATABASE_URL", "postgres://u:p@h"),
        ("DATABASE_URL", "postgres://u:p/w@h/x"),
        ("DATABASE_URL", "postgres://u:p#w@h/x"),
        ("DATABASE_URL", "sqlite:///"),
        ("DATABASE_URL", "sqlite:///:memory:"),
        ("BROKER_URL", "amqp://localhost"),
        ("BROKER_URL", "redis://localhost:6379/abc"),
        ("BROKER_URL", "redis://localhost:port/0"),
        ("BROKER_URL", "redis:///0"),
        ("BROKER_URL", "redis://localhost:6379/15"),
        ("SECRET_KEY_FALLBACKS", "too-short"),
        ("SECRET_KEY_FALLBACKS", "k" * 50 + "," + "l" * 50),
        ("SECRET_KEY_FALLBACKS", "k" * 50 + " short"),
        ("NOTIFY_URLS", "mailto://u:p\u2100w@h"),
        ("BROKER_URL", "unix:///run/valkey.sock"),
        ("BROKER_URL", "redis+socket:///run/valkey.sock"),
        ("EMAIL_URL", "smtp://host:abc"),
        ("EMAIL_URL", "smtps://"),
        ("S3_ENDPOINT_URL", "localhost:9000"),
        ("S3_BUCKET", "our scans"),
        ("S3_BUCKET", "s3://bucket"),
        ("DATASET_BUCKET", "bucket/data"),
        ("SITE_URL", "tumorsite.example"),
        ("SITE_URL", "https://"),
        ("SITE_URL", "https://[::1"),
        ("SITE_URL", "https://example.org/tumor"),
        ("SITE_URL", "https://example.org/?tumor"),
        ("SITE_URL", "https://somebody@example.org"),
        ("ALLOWED_HOSTS", ""),
        ("ALLOWED_HOSTS", "https://example.org"),
        ("ALLOWED_HOSTS", "example.org;localhost"),
        ("ALLOWED_HOSTS", "localhost,example.org:8000"),
        ("ALLOWED_HOSTS", "example.org/tumor"),
        ("SENTRY_DSN", "https://key@host:port/7"),
        ("INFERENCE_ENGINE", "abacus"),
        ("STAFF_MFA", "never"),
        ("WEB_WORKERS", "-1"),
        ("LOG_LEVEL", "LOUD"),
    ],
)
def test_a_bad_value_names_its_setting_but_is_not_repeated(name: str, value: str) -> None:
    with pytest.raises(ImproperlyConfigured) as caught:
        load({name: value})
    assert str(caught.value).startswith(f"{name} must ")
    if len(value) > 5:
        assert value not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DATABASE_URL", "sqlite:////srv/db.sqlite3"),
        ("S3_BUCKET", "my.bucket-1_x"),
        ("S3_BUCKET", "arn:aws:s3:eu-central-1:123456789012:accesspoint/scans"),
        ("DATABASE_URL", "postgres:///tumorsite"),
        ("DATABASE_URL", "postgresql://u:p%40@[::1]:5432/x?sslmode=require"),
        ("BROKER_URL", "rediss://:password@host:6379/3"),
        ("BROKER_URL", "redis://host"),
        ("EMAIL_URL", "file:///var/mails"),
        ("SITE_URL", "https://tumorsite.example:8443"),
        ("SITE_URL", "https://tumorsite.example/"),
    ],
)
def test_a_good_address_is_kept_as_it_is(name: str, value: str) -> None:
    assert load({name: value})[name] == value


def test_options_of_a_sqlite_address_are_kept_beside_ours() -> None:
    options = configured("sqlite:////srv/db.sqlite3?timeout=60")["OPTIONS"]
    assert (options["timeout"], options["transaction_mode"]) == (60, "IMMEDIATE")


def test_earlier_keys_may_hold_commas_but_not_be_separated_by_them() -> None:
    keys = ["k" * 50, "a,comma" + "l" * 50]
    earlier = load({"SECRET_KEY_FALLBACKS": " ".join(keys)}).SECRET_KEY_FALLBACKS
    assert earlier == keys


def test_all_bad_values_are_named_at_once() -> None:
    with pytest.raises(ImproperlyConfigured, match=r"PORT .*; DEBUG .*; WEB_THREADS "):
        load({"PORT": "x", "DEBUG": "x", "WEB_THREADS": "x"})


@pytest.mark.parametrize(
    ("site", "chosen", "required"),
    [
        ("https://tumorsite.example", "", "True"),
        ("https://tumorsite.example", "optional", "False"),
        ("http://localhost:8000", "", "False"),
        ("http://localhost:8000", "required", "True"),
    ],
)
def test_a_public_site_asks_its_staff_for_a_second_factor(
    site: str, chosen: str, required: str, tmp_path: Path
) -> None:
    asked = subprocess.run(
        [
            sys.executable,
            "-c",
            "from tumorsite import settings; print(settings.STAFF_MFA_REQUIRED)",
        ],
        env={**os.environ, "SITE_URL": site, "STAFF_MFA": chosen, "DATA_DIR": str(tmp_path)},
        cwd=BASE_DIR,
        capture_output=True,
        text=True,
        check=True,
    )
    assert asked.stdout.strip() == required


@pytest.mark.parametrize(
    ("value", "meant"), [("1", True), ("Yes", True), ("on", True), ("off", False), ("", False)]
)
def test_words_for_yes_and_no(value: str, meant: bool) -> None:
    assert load({"DEBUG": value}).DEBUG is meant


def test_names_are_split_and_paths_are_of_the_project(tmp_path: Path) -> None:
    values = load(
        {"ALLOWED_HOSTS": "a.example, b.example,", "DATA_DIR": "data", "TRAINING_DATA": "x y"}
    )
    assert values.ALLOWED_HOSTS == ["a.example", "b.example"]
    hosts = ["*", ".Example-1.org", "192.0.2.7", "[2001:db8::7]"]
    assert hosts == load({"ALLOWED_HOSTS": ",".join(hosts)}).ALLOWED_HOSTS
    assert values.DATA_DIR == BASE_DIR / "data"
    assert values.TRAINING_DATA == BASE_DIR / "x y"
    assert tmp_path == load({"DATA_DIR": str(tmp_path)}).DATA_DIR


def test_a_secret_may_come_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("s" * 50 + "\n")
    assert load({"SECRET_KEY_FILE": str(file)}).SECRET_KEY == "s" * 50
    with pytest.raises(ImproperlyConfigured, match="cannot read SECRET_KEY_FILE: No such file"):
        load({"SECRET_KEY_FILE": str(tmp_path / "missing")})


def test_what_is_no_secret_has_no_file(tmp_path: Path) -> None:
    assert load({"PORT_FILE": str(tmp_path)}).PORT == 8000


def test_values_are_attributes() -> None:
    with pytest.raises(AttributeError, match="NOTHING"):
        _ = Values().NOTHING


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"PORT": "x", "WEB_WORKERS": "0"}, "Bad settings: PORT must be"),
        ({"SECRET_KEY": "short"}, "Bad settings: SECRET_KEY must have 50 characters"),
        ({"DATA_DIR": "/proc/none"}, "Bad settings: DATA_DIR: cannot write"),
        ({"DATA_DIR": __file__}, "Bad settings: DATA_DIR: cannot read"),
    ],
)
def test_management_commands_say_it_in_one_line(settings: dict[str, str], said: str) -> None:
    result = subprocess.run(
        [sys.executable, "manage.py", "check"],
        cwd=BASE_DIR,
        env={**os.environ, "DJANGO_SETTINGS_MODULE": "tumorsite.settings", **settings},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 1
    assert result.stderr.startswith(said)
    assert len(result.stderr.splitlines()) == 1
    assert result.stdout == ""


def test_the_key_is_made_once_and_kept_from_others(tmp_path: Path) -> None:
    command = "from tumorsite.settings import SECRET_KEY; print(SECRET_KEY)"
    env = {**os.environ, "DATA_DIR": str(tmp_path), "SECRET_KEY": ""}
    started = [
        subprocess.Popen(
            [sys.executable, "-c", command], cwd=BASE_DIR, env=env, stdout=subprocess.PIPE
        )
        for _ in range(3)
    ]
    keys = {process.communicate()[0] for process in started}
    assert len(keys) == 1
    assert len(keys.pop().strip()) >= 50
    assert [entry.name for entry in tmp_path.iterdir()] == ["secret-key"]
    assert (tmp_path / "secret-key").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("https", [True, False])
@pytest.mark.parametrize("proxies", ["0", "1"])
def test_the_address_and_the_proxies_decide_what_is_safe(
    https: bool, proxies: str, tmp_path: Path
) -> None:
    """Without a proxy anybody could say by a header that a plain request was a secure one."""
    names = (
        "SECURE_SSL_REDIRECT", "SECURE_HSTS_SECONDS", "SESSION_COOKIE_SECURE",
        "CSRF_COOKIE_SECURE", "SESSION_COOKIE_HTTPONLY", "CSRF_COOKIE_HTTPONLY",
        "SECURE_PROXY_SSL_HEADER", "DEBUG",
    )  # fmt: skip
    script = (
        "import json, sys; from django.conf import settings\n"
        "print(json.dumps([getattr(settings, name) for name in sys.argv[1:]]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *names],
        cwd=BASE_DIR,
        env={
            **os.environ,
            "DATA_DIR": str(tmp_path),
            "DJANGO_SETTINGS_MODULE": "tumorsite.settings",
            "SITE_URL": "https://scans.example.org" if https else "http://localhost:8000",
            "PROXY_COUNT": proxies,
        },
        capture_output=True,
        text=True,
        check=True,
    )
    assert dict(zip(names, json.loads(done.stdout), strict=True)) == {
        "SECURE_SSL_REDIRECT": https,
        "SECURE_HSTS_SECONDS": 31_536_000 if https else 0,
        "SESSION_COOKIE_SECURE": https,
        "CSRF_COOKIE_SECURE": https,
        "SESSION_COOKIE_HTTPONLY": True,
        "CSRF_COOKIE_HTTPONLY": True,
        "SECURE_PROXY_SSL_HEADER": (
            ["HTTP_X_FORWARDED_PROTO", "https"] if proxies == "1" else None
        ),
        "DEBUG": False,
    }


def test_analyze_needs_no_folder_of_the_site(tmp_path: Path) -> None:
    env = {**os.environ, "DJANGO_SETTINGS_MODULE": "tumorsite.settings", "SECRET_KEY": ""}
    output = tmp_path / "results.jsonl"
    done = subprocess.run(
        [sys.executable, "manage.py", "analyze", tmp_path / "none.png", "--output", output],
        cwd=BASE_DIR,
        env={**env, "DATA_DIR": "/proc/none"},
        capture_output=True,
        text=True,
    )
    assert "Bad settings" not in done.stderr
    assert "none.png" in output.read_text()


def test_a_command_that_is_stopped_says_no_more_than_that() -> None:
    done = subprocess.run(
        [sys.executable, "manage.py", "shell", "--command", "raise KeyboardInterrupt"],
        cwd=BASE_DIR,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr.splitlines()[-1]) == (130, "Stopped.")
    assert "Traceback" not in done.stderr


def test_static_files_collected_beforehand_are_used_as_they_are(
    prepared: Path, tmp_path: Path
) -> None:
    """As in an image, whose file system cannot be written: `prepare` collects nothing there."""
    static = tmp_path / "static"
    shutil.copytree(prepared, tmp_path / "data", ignore=shutil.ignore_patterns("static"))
    environment = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "tumorsite.settings",
        "DATA_DIR": str(tmp_path / "data"),
        "STATIC_DIR": str(static),
    }

    def manage(*command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, BASE_DIR / "manage.py", *command],
            capture_output=True,
            text=True,
            env=environment,
        )

    refused = manage("prepare")
    assert refused.returncode == 1
    assert "STATIC_DIR has no collected files" in refused.stderr
    assert str(static / "staticfiles.json") in refused.stderr
    collected = manage("collectstatic", "--no-input")
    assert collected.returncode == 0, collected.stderr
    # The image runs as another user than collects.
    assert {path.stat().st_mode & 0o777 for path in static.rglob("*.*")} == {0o644}
    before = {path: path.stat().st_mtime_ns for path in static.rglob("*")}
    again = manage("prepare")
    assert again.returncode == 0, again.stderr
    assert "static files collected" not in again.stdout
    assert {path: path.stat().st_mtime_ns for path in static.rglob("*")} == before
    assert not (tmp_path / "data" / "static").exists()
