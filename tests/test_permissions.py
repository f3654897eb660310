"""Who gets what: every address of the site, tried by every kind of person.

An address that is new to the site fails here until somebody has said who may open it.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

import pytest
from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from allauth.mfa.recovery_codes.internal.auth import RecoveryCodes
from allauth.usersessions.models import UserSession
from django.contrib import admin
from django.contrib.auth.models import Group
from django.http import HttpResponseBase
from django.test import Client
from django.urls import URLResolver, get_resolver, reverse
from wagtail.documents import get_document_model

from accounts.models import User
from education.seeding import EDITORS, _make_index, _set_editors, _set_site
from predictions import storage
from predictions.models import DriftRecord, ModelVersion, Prediction, Review
from predictions.owners import SESSION_KEY
from predictions.services import artifacts
from predictions.services.auditing import record_access
from tests.support.records import finish, make_user, submit
from training.models import TrainingRun
from tumorsite import health

pytestmark = pytest.mark.django_db

OK, LOGIN, DENIED, MISSING = "ok", "login", "denied", "missing"

# "visitor" owns a scan by their browser session, "stranger" is another such session.
GUESTS = ("anonymous", "stranger", "visitor")
PEOPLE = ("other", "reviewer", "editor", "admin", "owner")
# Owners come last: what they may do changes the records.
EVERYBODY = (*GUESTS, *PEOPLE)


@dataclass(frozen=True)
class Row:
    """One address of the matrix.

    Attributes:
        allowed: roles that get a page.
        others: what everybody else gets.
        arguments: what the address takes, by the names of records in the scene.
        changes: outcome of single roles that differs.
    """

    allowed: tuple[str, ...]
    others: str = MISSING
    method: str = "get"
    arguments: tuple[str, ...] = ()
    data: dict[str, str] = field(default_factory=dict)
    changes: dict[str, str] = field(default_factory=dict)

    def outcome(self, role: str) -> str:
        return self.changes.get(role) or (OK if role in self.allowed else self.others)


PUBLIC = Row(EVERYBODY)
SIGNED_IN = Row(PEOPLE, others=LOGIN)
# Pages for the middle of signing in: guests start at its beginning, others are sent on.
MIDWAY = Row(PEOPLE, others=LOGIN)


def own(*arguments: str, method: str = "get", **data: str) -> Row:
    """A page of the owner's result: for all others, staff as well, there is no such thing."""
    return Row(("owner",), arguments=("result", *arguments), method=method, data=data)


MATRIX: dict[str, Row] = {
    "home": PUBLIC,
    "live": PUBLIC,
    "robots": PUBLIC,
    "favicon": PUBLIC,
    "health": PUBLIC,
    "model": PUBLIC,
    "how_it_works": PUBLIC,
    "privacy": PUBLIC,
    "terms": PUBLIC,
    "learn_search": PUBLIC,
    "wagtail_serve": Row(EVERYBODY, arguments=("page",)),
    # Each sees their own records only; see the tests below.
    "history": PUBLIC,
    "visit": PUBLIC,
    "export": PUBLIC,
    "delete_many": Row(EVERYBODY, method="post"),
    "compare": Row(("owner",), data={"result": "both"}),
    "result": own(),
    "state": own(),
    # Staff with the right to see training; for all others there is no such page.
    "training": Row(("admin",)),
    "training_run": Row(("admin",), arguments=("run",)),
    "training_curves": Row(("admin",), arguments=("run",)),
    "training_card": Row(("admin",), arguments=("run",)),
    "report": own(),
    "picture": own("image", "png"),
    "delete": own(),
    "again": own(method="post"),
    "cancel": own(method="post"),
    "account": SIGNED_IN,
    "account_export": SIGNED_IN,
    "account_erase": SIGNED_IN,
    "account_login": PUBLIC,
    "account_signup": PUBLIC,
    "account_logout": PUBLIC,
    "account_inactive": PUBLIC,
    "account_reset_password": PUBLIC,
    "account_reset_password_done": PUBLIC,
    "account_reset_password_from_key": Row(EVERYBODY, arguments=("user36", "key")),
    "account_reset_password_from_key_done": PUBLIC,
    "account_confirm_email": Row(EVERYBODY, arguments=("key",)),
    "account_email_verification_sent": PUBLIC,
    "account_confirm_login_code": MIDWAY,
    "account_reauthenticate": SIGNED_IN,
    "account_email": SIGNED_IN,
    "account_change_password": SIGNED_IN,
    "account_set_password": SIGNED_IN,
    "usersessions_list": SIGNED_IN,
    "mfa_index": SIGNED_IN,
    "mfa_authenticate": MIDWAY,
    "mfa_reauthenticate": SIGNED_IN,
    "mfa_activate_totp": SIGNED_IN,
    "mfa_deactivate_totp": Row((), changes=dict.fromkeys(GUESTS, LOGIN)),
    "mfa_view_recovery_codes": Row(("owner",), changes=dict.fromkeys(GUESTS, LOGIN)),
    "mfa_generate_recovery_codes": SIGNED_IN,
    "mfa_download_recovery_codes": Row(("owner",), changes=dict.fromkeys(GUESTS, LOGIN)),
    "mfa_list_webauthn": SIGNED_IN,
    "mfa_add_webauthn": SIGNED_IN,
    "mfa_reauthenticate_webauthn": SIGNED_IN,
    "mfa_remove_webauthn": Row(
        ("owner",), arguments=("factor",), changes=dict.fromkeys(GUESTS, LOGIN)
    ),
    "mfa_edit_webauthn": Row(
        ("owner",), arguments=("factor",), changes=dict.fromkeys(GUESTS, LOGIN)
    ),
    "mfa_login_webauthn": MIDWAY,
    # There are neither documents nor pages with a password.
    "wagtaildocs_serve": Row((), arguments=("one", "name")),
    "wagtaildocs_authenticate_with_password": Row((), arguments=("one",), method="post"),
    "wagtailcore_authenticate_with_password": Row((), arguments=("one", "one"), method="post"),
    # For who has not signed in; others may not read what sent them here.
    "wagtailcore_login": Row((), others=LOGIN, changes=dict.fromkeys(PEOPLE, DENIED)),
    "media": Row((), arguments=("name",)),
}

# What reviewers may open in the admin, by model.
REVIEWERS_SEE = {
    "predictions_scan": {"changelist", "change", "history"},
    "predictions_prediction": {"changelist", "change", "history", "picture"},
    "predictions_modelversion": {"changelist", "change", "history"},
    "predictions_review": {"changelist", "change", "history", "add"},
}
# What not even administrators may do, as records are not made or removed by hand.
NOT_EVEN_ADMINISTRATORS = {
    f"predictions_{model}_{action}"
    for model, action in [
        ("scan", "add"), ("prediction", "add"), ("prediction", "delete"), ("modelversion", "add"),
        ("modelversion", "delete"), ("driftrecord", "add"), ("driftrecord", "delete"),
        ("access", "add"), ("access", "delete"), ("review", "delete"),
    ]
} | {
    "mfa_authenticator_add", "usersessions_usersession_add", "training_trainingrun_delete",
    "account_emailaddress_add",
}  # fmt: skip
# Open to whoever may enter the admin at all.
EVERY_STAFF = {"index", "jsi18n", "password_change", "password_change_done"}

# Of the page editor, only what a browser needs to show its sign-in.
CMS_FOR_ALL = re.compile(r"cms/(login/|sprite/|jsi18n/|javascript_catalog/)$")
# What editors have no business with.
CMS_NOT_FOR_EDITORS = ("cms/users/", "cms/groups/", "cms/sites/", "cms/redirects/")


@dataclass
class Scene:
    """Everybody, each with a browser of their own, and the records they are after."""

    clients: dict[str, Client]
    people: dict[str, User]
    result: Prediction
    second: Prediction
    visitors: Prediction

    def argument(self, name: str) -> Any:
        if name == "factor":
            return Authenticator.objects.create(
                user=self.people["owner"], type="webauthn", data={"name": "Key", "credential": {}}
            ).pk
        if name == "run":
            return self.training_run().pk
        records: dict[str, Any] = {
            "result": self.result.pk,
            "page": "",
            "user36": "1",
            "one": 1,
        }
        return records.get(name, name)

    def training_run(self) -> TrainingRun:
        """One that has ended, with all that there is to see of it."""
        version = self.result.model_version
        version.artifact = "c" * 64
        version.save(update_fields=["artifact"])
        storage.put(artifacts.key(version.artifact, "MODEL_CARD.md"), b"# Card")
        return TrainingRun.objects.create(
            recipe="tiny-1", recipe_text="", curves="<svg></svg>", candidate=version
        )

    def address(self, name: str, row: Row) -> str:
        return reverse(name, args=[self.argument(argument) for argument in row.arguments])


def _browser(user: User | None = None, visitor: UUID | None = None) -> Client:
    client = Client()
    if user:
        client.force_login(user)
        session = client.session
        # As after the password was given once more, so that this question hides nothing.
        session["account_authentication_methods"] = [
            {"method": "password", "at": time.time(), "reauthenticated": True}
        ]
        session["account_authentication_methods_user"] = str(user.pk)
        session.save()
    if visitor:
        session = client.session
        session[SESSION_KEY] = str(visitor)
        session.save()
    return client


@pytest.fixture
def scene(model: ModelVersion, monkeypatch: pytest.MonkeyPatch) -> Scene:
    # Who may ask matters here, not what the parts say; no worker runs.
    monkeypatch.setattr(health.current, "check", dict)
    # The ten pages below the first one are no different.
    index = _make_index()
    _set_site(index)
    _set_editors(index)
    people = {
        "owner": make_user("owner@example.org"),
        "other": make_user("other@example.org"),
        "reviewer": make_user("reviewer@example.org", is_staff=True),
        "editor": make_user("editor@example.org"),
        "admin": make_user("admin@example.org", is_staff=True, is_superuser=True),
    }
    people["reviewer"].groups.add(Group.objects.get(name="Reviewers"))
    people["editor"].groups.add(Group.objects.get(name=EDITORS))
    visitor, stranger = uuid4(), uuid4()
    finish(submit(visitor=stranger, seed=9))
    RecoveryCodes.activate(people["owner"])
    return Scene(
        clients={
            "anonymous": _browser(),
            "visitor": _browser(visitor=visitor),
            "stranger": _browser(visitor=stranger),
            **{role: _browser(user) for role, user in people.items()},
        },
        people=people,
        result=finish(submit(owner=people["owner"])),
        second=finish(submit(owner=people["owner"], seed=1)),
        visitors=finish(submit(visitor=visitor, seed=2)),
    )


def outcome(answer: HttpResponseBase) -> str:
    if answer.status_code in {301, 302}:
        target = answer["Location"].partition("?")[0]
        entrances = (reverse("account_login"), reverse("admin:login"), "/cms/login/")
        return LOGIN if target in entrances else OK
    return {200: OK, 403: DENIED, 404: MISSING}.get(answer.status_code, str(answer.status_code))


def addresses(resolver: URLResolver | None = None, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Pattern and name of every address."""
    for entry in (resolver or get_resolver()).url_patterns:
        pattern = prefix + str(entry.pattern)
        if isinstance(entry, URLResolver):
            yield from addresses(entry, pattern)
        else:
            yield pattern, entry.name or ""


def test_every_address_is_in_the_matrix() -> None:
    names = {name for pattern, name in addresses() if not pattern.startswith(("admin/", "cms/"))}
    assert names == set(MATRIX)


@pytest.mark.parametrize("name", MATRIX)
def test_matrix(scene: Scene, name: str) -> None:
    row = MATRIX[name]
    data: dict[str, Any] = dict(row.data)
    if data.get("result") == "both":
        data["result"] = [str(scene.result.pk), str(scene.second.pk)]
    place = scene.address(name, row)
    found = {
        role: outcome(getattr(scene.clients[role], row.method)(place, data)) for role in EVERYBODY
    }
    assert found == {role: row.outcome(role) for role in EVERYBODY}


@pytest.mark.parametrize(
    "name", [name for name, row in MATRIX.items() if "result" in row.arguments]
)
def test_a_visitors_result_is_theirs_alone(scene: Scene, name: str) -> None:
    row = MATRIX[name]
    arguments = [scene.visitors.pk, *row.arguments[1:]]
    place = reverse(name, args=arguments)
    for role in (*PEOPLE, "anonymous", "stranger"):
        assert outcome(getattr(scene.clients[role], row.method)(place)) == MISSING, role
    assert outcome(getattr(scene.clients["visitor"], row.method)(place)) == OK


@pytest.mark.parametrize("method", ["get", "post"])
@pytest.mark.parametrize(
    "name", [name for name, row in MATRIX.items() if "result" in row.arguments]
)
def test_for_others_there_is_no_such_result_by_any_method(
    scene: Scene, name: str, method: str
) -> None:
    place = scene.address(name, MATRIX[name])
    data = {"confirmed": "yes"}
    refused = {MISSING, "405"}
    for role in EVERYBODY:
        if role != "owner":
            assert outcome(getattr(scene.clients[role], method)(place, data)) in refused, role
    scene.result.refresh_from_db()
    assert scene.result.scan.deleted_at is None
    assert scene.result.scan.predictions.count() == 1


def test_lists_show_ones_own_only(scene: Scene) -> None:
    mine = {"owner": scene.result, "visitor": scene.visitors}
    for role in EVERYBODY:
        for name in ("home", "history", "export"):
            answer: Any = scene.clients[role].get(reverse(name))
            content = b"".join(answer) if answer.streaming else answer.content
            for owner, result in mine.items():
                shown = str(result.pk).encode() in content
                assert shown is (role == owner), (role, name, owner)


def test_nobody_deletes_what_is_not_theirs(scene: Scene) -> None:
    form = {"scan": [str(scene.result.scan_id), str(scene.visitors.scan_id)], "confirmed": "on"}
    for role in ("anonymous", "stranger", "other", "reviewer", "editor", "admin"):
        scene.clients[role].post(reverse("delete_many"), form)
    for result in (scene.result, scene.visitors):
        result.scan.refresh_from_db()
        assert result.scan.deleted_at is None


@pytest.fixture
def admin_objects(scene: Scene) -> dict[str, Any]:
    """A record of every model that the admin shows."""
    owner, reviewer = scene.people["owner"], scene.people["reviewer"]
    record_access(prediction=scene.result, kind="image", user=owner, visitor=None)
    Review.objects.create(prediction=scene.result, reviewer=reviewer)
    EmailAddress.objects.create(user=owner, email=owner.email)
    TrainingRun.objects.create(recipe="tumorsite-2", recipe_text="")
    DriftRecord.objects.create(model_version=scene.result.model_version, n=50, score=0.1)
    get_document_model().objects.create(title="A document", file="missing.pdf")
    UserSession.objects.get_or_create(
        session_key="a key", defaults={"user": owner, "ip": "127.0.0.1", "user_agent": "A browser"}
    )
    kinds = {model._meta.label_lower.replace(".", "_"): model for model in admin.site._registry}
    return {name: model._default_manager.first() for name, model in kinds.items()} | {
        "predictions_scan": scene.result.scan,
        "predictions_prediction": scene.result,
    }


def test_the_admin(scene: Scene, admin_objects: dict[str, Any]) -> None:
    """Outsiders reach its sign-in, reviewers their part, administrators all that there is."""
    actions = ("changelist", "add", "change", "history", "delete")
    for name, record in admin_objects.items():
        for action in actions:
            arguments = [record.pk] if action in {"change", "history", "delete"} else []
            place = reverse(f"admin:{name}_{action}", args=arguments)
            may = action in REVIEWERS_SEE.get(name, set())
            top = DENIED if f"{name}_{action}" in NOT_EVEN_ADMINISTRATORS else OK
            expected = {
                **dict.fromkeys(EVERYBODY, LOGIN),
                "reviewer": OK if may else DENIED,
                "admin": top,
            }
            found = {role: outcome(scene.clients[role].get(place)) for role in EVERYBODY}
            assert found == expected, (name, action)


def _filled(pattern: str) -> str:
    """The pattern as an address, with values that fit but name nothing."""
    text = re.sub(r"\(\?P<url>\.\*\)", "nowhere/", pattern)
    text = re.sub(r"\(\?P<app_label>([a-z]+)[^)]*\)", r"\1", text)
    text = re.sub(r"\(\?P<revision_id_[ab]>[^)]*\)", "1", text)
    text = re.sub(r"\(\?P<\w+>\\d\+\)|\(\\d\+\)", "1", text)
    text = re.sub(r"\(\?P<\w+>[^)]*\)", "1", text)
    text = re.sub(r"<uuid:\w+>", str(uuid4()), text)
    text = re.sub(r"<(?:\w+:)?\w+>", "1", text)
    return "/" + text.replace("\\.", ".").replace("^", "").replace("$", "")


def test_every_other_address_of_the_admin_is_for_staff(scene: Scene) -> None:
    for pattern, name in addresses():
        if not pattern.startswith("admin/") or name in {"login", "logout"}:
            continue
        place = _filled(pattern)
        for role in (*GUESTS, "owner", "other", "editor"):
            assert outcome(scene.clients[role].get(place)) == LOGIN, (pattern, role)
        if name in EVERY_STAFF:
            assert outcome(scene.clients["reviewer"].get(place)) == OK, pattern


@pytest.mark.parametrize("role", ["anonymous", "visitor", "owner", "reviewer"])
def test_the_page_editor_is_for_editors(scene: Scene, role: str) -> None:
    client = scene.clients[role]
    patterns = [pattern for pattern, _ in addresses() if pattern.startswith("cms/")]
    assert len(patterns) > 100
    for pattern in patterns:
        if CMS_FOR_ALL.match(pattern):
            continue
        for method in (client.get, client.post):
            found = outcome(method(_filled(pattern)))
            assert found in {LOGIN, DENIED, MISSING}, (pattern, found)


def test_editors_edit_pages_and_nothing_else(scene: Scene) -> None:
    client = scene.clients["editor"]
    for name in ("wagtailadmin_home", "wagtailimages:index", "wagtaildocs:index"):
        assert outcome(client.get(reverse(name))) == OK, name
    for pattern, _ in addresses():
        if pattern.startswith(CMS_NOT_FOR_EDITORS):
            place = _filled(pattern)
            answer = client.get(place)
            kept_out = outcome(answer) in {LOGIN, DENIED, MISSING}
            # Wagtail sends those without a right to its front page.
            sent_home = answer.status_code == 302 and answer["Location"] == reverse(
                "wagtailadmin_home"
            )
            assert kept_out or sent_home, pattern
    assert outcome(scene.clients["admin"].get(reverse("wagtailadmin_home"))) == OK
