"""The steps that make the site ready to start. Each may be repeated, and interrupted at any point.

A step is marked as done only when it is complete, so one that was interrupted is done again.
"""

from __future__ import annotations

import hashlib
import json
import logging
import pkgutil
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from errno import ENOENT
from io import StringIO
from pathlib import Path

import django
from allauth.account.models import EmailAddress
from django.apps import apps
from django.conf import settings
from django.contrib.auth import get_user_model
from django.contrib.staticfiles.finders import get_finders
from django.core.management import call_command
from django.db import connection, transaction
from django.db.migrations.recorder import MigrationRecorder
from wagtail.models import Site

from education import seeding
from education.models import LearnIndexPage
from tumorsite.settings.values import values

ACCOUNTS = {"demo user": "demo@tumorsite.example", "administrator": "admin@tumorsite.example"}


def _quietly(*command: str) -> None:
    call_command(*command, interactive=False, verbosity=0, stdout=StringIO())


def _migrations() -> set[tuple[str, str]]:
    """Every migration, found by file name, as importing them all takes a second."""
    found = set()
    for app in apps.get_app_configs():
        folder = Path(app.path) / "migrations"
        if folder.is_dir():
            names = (module.name for module in pkgutil.iter_modules([str(folder)]))
            found |= {(app.label, name) for name in names if name[0] not in "_~"}
    return found


def migrate() -> Iterator[str]:
    unfinished = settings.DATA_DIR / "run" / "migrating"
    applied = set(MigrationRecorder(connection).applied_migrations())
    if _migrations() <= applied and not unfinished.exists():
        return
    unfinished.parent.mkdir(parents=True, exist_ok=True)
    # Permissions are made after the last migration; without this mark they could go missing.
    unfinished.touch()
    _quietly("migrate")
    unfinished.unlink()
    yield "database migrated"


def _static_digest() -> str:
    """Changes when a static file, its place in the search order, or the way of storing does."""
    way = settings.STORAGES["staticfiles"]
    digest = hashlib.sha256(f"{django.__version__} {way}".encode())
    for finder in get_finders():
        for name, storage in finder.list([]):
            state = Path(storage.path(name)).stat()
            digest.update(f"{name}\0{state.st_size}\0{state.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def collect_static() -> Iterator[str]:
    """Collect into DATA_DIR; a STATIC_DIR was filled beforehand and may not even be writable."""
    if values.STATIC_DIR:
        manifest = values.STATIC_DIR / "staticfiles.json"
        if not manifest.is_file():
            raise FileNotFoundError(
                ENOENT,
                "STATIC_DIR has no collected files: run manage.py collectstatic with it first",
                str(manifest),
            )
        return
    mark = Path(settings.STATIC_ROOT) / ".collected"
    digest = _static_digest()
    if mark.is_file() and mark.read_text(encoding="ascii") == digest:
        return
    mark.unlink(missing_ok=True)
    # From scratch, as a file that was cut off looks newer than its source.
    _quietly("collectstatic", "--clear")
    mark.write_text(digest, encoding="ascii")
    yield "static files collected"


@contextmanager
def _hushed(name: str) -> Iterator[None]:
    """Nothing below a warning from this logger. Machines that read the log are told all."""
    told = logging.getLogger(name)
    before = told.level
    if values.LOG_FORMAT != "json":
        told.setLevel(logging.WARNING)
    try:
        yield
    finally:
        told.setLevel(before)


def register_model() -> Iterator[str]:
    """The network that came with the code, by the rule of `registry.follow_bundle`."""
    output = StringIO()
    # It logs what the line below says as well.
    with _hushed("predictions.services.registry"):
        call_command("model", "bundled", stdout=output)
    yield output.getvalue().strip()


def seed_pages() -> Iterator[str]:
    """The first pages. Once there are some they are the editors', who may also delete them."""
    if not LearnIndexPage.objects.exists():
        # It logs three lines for each page.
        with _hushed("wagtail"):
            made = seeding.seed()
        yield f"{len(made)} pages made"


def set_site_address() -> Iterator[str]:
    """Keep the address of Wagtail's site, if editors have left one, the same as SITE_URL."""
    site = Site.objects.filter(is_default_site=True).first()
    if site and seeding.set_address(site):
        site.save()
        yield f"site address set to {settings.SITE_URL}"


def _kept_accounts(file: Path) -> dict[str, dict[str, str]]:
    """The first accounts and their passwords, kept before they are used."""
    try:
        kept: dict[str, dict[str, str]] = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        kept = {}
    if kept.keys() >= ACCOUNTS.keys():
        return kept
    for role, email in ACCOUNTS.items():
        kept.setdefault(role, {"email": email, "password": secrets.token_urlsafe(12)})
    draft = file.with_name(f"{file.name}.new")
    draft.touch(mode=0o600)
    draft.chmod(0o600)
    draft.write_text(json.dumps(kept, indent=2) + "\n", encoding="utf-8")
    draft.replace(file)
    return kept


def make_accounts() -> Iterator[str]:
    """A demo user and an administrator, where there is no account yet.

    Both at once: whatever people do with them later, change an address or erase one, stays done.
    """
    users = get_user_model().objects
    if users.exists():
        return
    kept = _kept_accounts(settings.DATA_DIR / "accounts.json")
    with transaction.atomic():
        for role, who in kept.items():
            make = users.create_superuser if role == "administrator" else users.create_user
            user = make(who["email"], who["password"])
            EmailAddress.objects.create(user=user, email=user.email, verified=True, primary=True)
    for role in kept:
        yield f"account of the {role} made"


STEPS: tuple[Callable[[], Iterator[str]], ...] = (
    migrate,
    collect_static,
    register_model,
    seed_pages,
    set_site_address,
    make_accounts,
)
