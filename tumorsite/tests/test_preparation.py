"""The first accounts: made once, and the people's own from then on."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
from allauth.account.models import EmailAddress
from pytest_django import Settings
from wagtail.models import Site

from accounts.models import User
from accounts.services.erasure import finish_erasures, request_erasure
from tumorsite.preparation import make_accounts, register_model, set_site_address

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def accounts(tmp_path: Path, settings: Settings) -> Path:
    settings.DATA_DIR = tmp_path
    return tmp_path / "accounts.json"


def test_a_demo_user_and_an_administrator(accounts: Path) -> None:
    assert len(list(make_accounts())) == 2
    kept = json.loads(accounts.read_text())
    for role, who in kept.items():
        user = User.objects.get(email=who["email"])
        assert user.check_password(who["password"])
        assert user.is_superuser is (role == "administrator")
        assert EmailAddress.objects.get(user=user).verified
    assert list(make_accounts()) == []


def test_a_start_that_was_interrupted_uses_the_passwords_it_has_kept(accounts: Path) -> None:
    list(make_accounts())
    before = accounts.read_text()
    User.objects.all().delete()
    list(make_accounts())
    assert accounts.read_text() == before


def test_a_changed_address_is_left_alone() -> None:
    list(make_accounts())
    admin = User.objects.get(is_superuser=True)
    EmailAddress.objects.create(user=admin, email="ada@example.org", verified=True)
    User.objects.filter(pk=admin.pk).update(email="ada@example.org")
    assert list(make_accounts()) == []
    assert User.objects.count() == 2


def test_an_administrator_who_was_erased_stays_away() -> None:
    list(make_accounts())
    User.objects.create_superuser("ada@example.org", "a long password")
    request_erasure(user=User.objects.get(email="admin@tumorsite.example"))
    finish_erasures()
    assert list(make_accounts()) == []
    assert not User.objects.filter(email="admin@tumorsite.example").exists()


def test_a_database_from_elsewhere_gets_no_accounts(accounts: Path) -> None:
    User.objects.create_user("ada@example.org", "a long password")
    assert list(make_accounts()) == []
    assert not accounts.exists()


def test_the_address_follows_the_setting(settings: Settings) -> None:
    settings.SITE_URL = "https://scans.example.org"
    assert len(list(set_site_address())) == 1
    site = Site.objects.get(is_default_site=True)
    assert (site.hostname, site.port) == ("scans.example.org", 443)
    assert list(set_site_address()) == []


def test_without_a_default_site_there_is_no_address_to_set() -> None:
    Site.objects.all().delete()
    assert list(set_site_address()) == []


def test_the_first_network_is_told_of_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    [line] = register_model()
    assert line.startswith("In production: tumorsite")
    assert "tumorsite" not in caplog.text
    assert logging.getLogger("predictions.services.registry").level == logging.NOTSET
