"""The records in the admin: looked at, reviewed, run again and deleted, but never edited."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.auth.models import Group
from django.db import connection
from django.db.models import Q
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone
from pytest_django import DjangoCaptureOnCommitCallbacks

from accounts.models import User
from predictions.admin.common import CappedPaginator
from predictions.admin.reviews import ReviewForm
from predictions.ids import first_uuid7, uuid7
from predictions.models import Access, ModelVersion, Prediction, Review, Scan, Status
from predictions.services.auditing import record_access
from predictions.services.reviewing import NothingToReviewError, mark_reviewed
from predictions.templatetags import desk
from tests.support.records import finish, make_model, make_user, submit

pytestmark = pytest.mark.django_db

RECORDS = ("scan", "prediction", "modelversion", "review", "access")


@pytest.fixture
def root() -> User:
    return make_user("root@example.org", is_staff=True, is_superuser=True)


@pytest.fixture
def reviewer() -> User:
    user = make_user("reviewer@example.org", is_staff=True)
    user.groups.add(Group.objects.get(name="Reviewers"))
    return user


@pytest.fixture
def answered(model: ModelVersion) -> Prediction:
    return finish(submit(owner=make_user("ada@example.org"), name="Ada Lovelace.png"))


def address(model: str, page: str = "changelist", *args: Any) -> str:
    return reverse(f"admin:predictions_{model}_{page}", args=args)


def act(client: Client, action: str, *predictions: Prediction) -> str:
    answer = client.post(
        address("prediction"),
        {"action": action, "_selected_action": [str(row.pk) for row in predictions]},
        follow=True,
    )
    return answer.content.decode()


def review_form(**changes: Any) -> dict[str, Any]:
    return {
        "verdict": "agrees",
        "corrected_label": "",
        "corrected_box": "",
        "comment": "",
    } | changes


@pytest.mark.parametrize("model_name", RECORDS)
def test_every_list_opens(
    client: Client, root: User, answered: Prediction, model_name: str
) -> None:
    record_access(prediction=answered, kind="image", user=root, visitor=None)
    Review.objects.create(prediction=answered, reviewer=root)
    client.force_login(root)
    page = client.get(address(model_name))
    assert page.status_code == 200
    assert "Ada Lovelace" not in page.content.decode()
    rows = {
        "scan": answered.scan_id, "prediction": answered.pk,
        "modelversion": answered.model_version_id, "review": Review.objects.get().pk,
        "access": Access.objects.get().pk,
    }  # fmt: skip
    page = client.get(address(model_name, "change", rows[model_name]))
    assert page.status_code == 200
    assert "Ada Lovelace" not in page.content.decode()


@pytest.mark.parametrize("model_name", ["scan", "prediction", "access"])
def test_no_list_looks_through_all_rows_for_its_filters(
    client: Client, root: User, answered: Prediction, model_name: str
) -> None:
    record_access(prediction=answered, kind="export", user=root, visitor=None)
    client.force_login(root)
    with CaptureQueriesContext(connection) as queries:
        client.get(address(model_name))
    assert not [query["sql"] for query in queries if "DISTINCT" in query["sql"]]


@pytest.mark.parametrize("model_name", ["prediction", "driftrecord"])
def test_no_list_reads_the_cards_of_networks(
    client: Client, root: User, answered: Prediction, model_name: str
) -> None:
    make_model("2", stage=ModelVersion.Stage.CANDIDATE)
    client.force_login(root)
    with CaptureQueriesContext(connection) as queries:
        page = client.get(address(model_name))
    assert ("tumorsite 2" in page.content.decode()) == (model_name == "prediction")
    assert not [query["sql"] for query in queries if '"card"' in query["sql"]]


def test_what_was_handed_out_is_found_by_an_index() -> None:
    if connection.vendor != "sqlite":
        pytest.skip("a planner of an empty table takes none")
    asked = Access.objects.filter(Q(scan_id=uuid4()) | Q(prediction_id=uuid4())).order_by("-id")
    plan = asked.explain()
    assert "access_prediction" in plan
    assert "SCAN predictions_access" not in plan


@pytest.mark.parametrize("model_name", ["scan", "prediction", "modelversion", "access"])
def test_nobody_edits_a_record(
    client: Client, root: User, answered: Prediction, model_name: str
) -> None:
    record_access(prediction=answered, kind="image", user=root, visitor=None)
    rows = {
        "scan": answered.scan_id, "prediction": answered.pk,
        "modelversion": answered.model_version_id, "access": Access.objects.get().pk,
    }  # fmt: skip
    client.force_login(root)
    change = address(model_name, "change", rows[model_name])
    assert client.get(address(model_name, "add")).status_code == 403
    assert client.post(change, {"label": "meningioma", "stage": "retired"}).status_code == 403
    assert b'name="_save"' not in client.get(change).content
    if model_name != "scan":
        delete = address(model_name, "delete", rows[model_name])
        assert client.post(delete, {"post": "yes"}).status_code == 403
    answered.refresh_from_db()
    assert answered.label == "glioma"


@pytest.mark.parametrize("kind", ["thumbnail", "image", "outline", "attention"])
def test_pictures_leave_an_audit_row(
    client: Client, reviewer: User, answered: Prediction, kind: str
) -> None:
    client.force_login(reviewer)
    suffix = "svg" if kind == "outline" else "png"
    answer = client.get(address("prediction", "picture", answered.pk, kind, suffix))
    assert answer["Content-Type"] == {"svg": "image/svg+xml", "png": "image/png"}[suffix]
    row = Access.objects.get()
    assert (row.user, row.kind, row.scan_id) == (reviewer, kind, answered.scan_id)


def test_pictures_need_the_permission(client: Client, root: User, answered: Prediction) -> None:
    place = address("prediction", "picture", answered.pk, "image", "png")
    assert client.get(place).status_code == 302
    client.force_login(make_user("editor@example.org", is_staff=True))
    assert client.get(place).status_code == 403
    client.force_login(root)
    assert client.get(address("prediction", "picture", uuid4(), "image", "png")).status_code == 404
    assert (
        client.get(address("prediction", "picture", answered.pk, "secret", "png")).status_code
        == 404
    )
    assert client.post(place).status_code == 405
    Scan.objects.update(deleted_at=timezone.now())
    assert client.get(place).status_code == 404
    assert not Access.objects.exists()


def test_who_it_is_is_for_those_who_may_know(
    client: Client, root: User, reviewer: User, answered: Prediction
) -> None:
    finish(submit(visitor=uuid4(), seed=1))
    record_access(prediction=answered, kind="image", user=answered.scan.owner, visitor=None)
    record_access(prediction=answered, kind="image", user=None, visitor=uuid4())
    record_access(prediction=answered, kind="image", user=None, visitor=None)
    Review.objects.create(prediction=answered, reviewer=answered.scan.owner)
    for user, may in ((root, True), (reviewer, False)):
        client.force_login(user)
        for name in ("scan", "prediction", "review", *(["access"] if may else [])):
            page = client.get(address(name)).content.decode()
            assert ("ada@example.org" in page) is (may and name != "prediction"), name
        for name, pk in (("scan", answered.scan_id), ("prediction", answered.pk)):
            page = client.get(address(name, "change", pk)).content.decode()
            assert ("ada@example.org" in page) is may
        assert ("an account" in client.get(address("scan")).content.decode()) is not may
    reviewer.user_permissions.add(*_permissions("view_access"))
    page = client.get(address("access")).content.decode()
    assert "ada@example.org" not in page
    assert "an account" in page
    assert "a visitor" in page
    assert "an erased account" in page


def _permissions(*names: str) -> Any:
    from django.contrib.auth.models import Permission

    return Permission.objects.filter(codename__in=names)


def test_searches(client: Client, root: User, reviewer: User, answered: Prediction) -> None:
    finish(submit(visitor=uuid4(), seed=1))
    record_access(prediction=answered, kind="report", user=root, visitor=None)
    client.force_login(root)

    def hits(name: str, term: str) -> int:
        return int(client.get(address(name), {"q": term}).context["cl"].result_count)

    for name in ("scan", "prediction"):
        assert hits(name, answered.scan.sha256) == 0, "it has no index"
        assert hits(name, "Ada@example.org") == 1
        assert hits(name, str(uuid4())) == 0
        assert hits(name, "Lovelace") == 0
        assert hits(name, "") == 2
    Review.objects.create(prediction=answered, reviewer=root, verdict=Review.Verdict.AGREES)
    for term in (str(answered.pk), str(answered.scan_id), "ada@example.org", ""):
        assert hits("review", term) == 1
    assert hits("review", str(uuid4())) == 0
    assert hits("scan", str(answered.scan_id)) == 1
    assert hits("prediction", str(answered.pk)) == 1
    assert hits("prediction", str(answered.scan_id)) == 1
    assert hits("access", str(answered.pk)) == 1
    assert hits("access", "root@example.org") == 1
    assert hits("access", "") == 1
    assert hits("modelversion", "tumorsite") == 1
    reviewer.user_permissions.add(*_permissions("view_access"))
    client.force_login(reviewer)
    assert hits("scan", "ada@example.org") == 0
    assert hits("access", "root@example.org") == 0


def test_filters(client: Client, root: User, answered: Prediction) -> None:
    submit(visitor=uuid4(), seed=1)
    old = submit(visitor=uuid4(), seed=2)
    long_ago = first_uuid7(timezone.now() - timedelta(days=10))
    Prediction.objects.filter(pk=old.pk).update(id=long_ago)
    client.force_login(root)

    def hits(**query: str) -> int:
        return int(client.get(address("prediction"), query).context["cl"].result_count)

    assert hits() == 3
    assert hits(days="7") == 2
    assert hits(days="30") == 3
    assert hits(days="bogus") == 3
    assert hits(status__exact=Status.QUEUED) == 2
    assert hits(label__exact="glioma") == 1
    assert (hits(reviewed="yes"), hits(reviewed="no")) == (0, 1)
    mark_reviewed(prediction=answered, reviewer=root)
    assert (hits(reviewed="yes"), hits(reviewed="no")) == (1, 0)


def test_ids_compare_as_times_do() -> None:
    before = first_uuid7(timezone.now() - timedelta(seconds=1))
    after = first_uuid7(timezone.now() + timedelta(seconds=1))
    assert before < uuid7() < after


def test_lists_cost_the_same_however_long_they_are(
    client: Client, root: User, answered: Prediction, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.force_login(root)

    def queries(name: str) -> int:
        with CaptureQueriesContext(
            connection,
        ) as caught:
            assert client.get(address(name)).status_code == 200
        return len(caught)

    for name in ("scan", "prediction"):
        queries(name)
    few = {name: queries(name) for name in ("scan", "prediction")}
    for seed in range(1, 8):
        finish(submit(owner=make_user(f"p{seed}@example.org"), seed=seed))
    assert {name: queries(name) for name in ("scan", "prediction")} == few
    monkeypatch.setattr(CappedPaginator, "MOST", 5)
    page = client.get(address("prediction"))
    assert page.context["cl"].result_count == 5


def test_deleting_hides_at_once_and_erases_later(
    client: Client, root: User, reviewer: User, answered: Prediction
) -> None:
    client.force_login(reviewer)
    delete = address("scan", "delete", answered.scan_id)
    assert client.post(delete, {"post": "yes"}).status_code == 403
    client.force_login(root)
    asked = client.get(delete).content.decode()
    assert "Results: 1" in asked
    client.post(delete, {"post": "yes"})
    assert Scan.objects.get().deleted_at
    assert client.get(address("scan")).context["cl"].result_count == 0
    assert client.get(address("prediction")).context["cl"].result_count == 0


def test_deleting_many(client: Client, root: User, answered: Prediction) -> None:
    other = submit(visitor=uuid4(), seed=1)
    kept = submit(visitor=uuid4(), seed=2)
    client.force_login(root)
    chosen = [str(answered.scan_id), str(other.scan_id)]
    client.post(
        address("scan"),
        {"action": "delete_selected", "_selected_action": chosen, "post": "yes"},
    )
    assert list(Scan.objects.filter(deleted_at__isnull=True)) == [kept.scan]
    other.refresh_from_db()
    assert other.status == Status.CANCELLED


def test_marking_as_reviewed(client: Client, reviewer: User, answered: Prediction) -> None:
    waiting = submit(visitor=uuid4(), seed=1)
    client.force_login(reviewer)
    page = act(client, "mark_as_reviewed", answered, waiting)
    assert "1 result marked" in page
    assert "1 have no answer" in page
    assert "0 results marked" in act(client, "mark_as_reviewed", answered)
    review = Review.objects.get()
    assert (review.reviewer, review.verdict, review.prediction) == (reviewer, "agrees", answered)
    with pytest.raises(NothingToReviewError):
        mark_reviewed(prediction=waiting, reviewer=reviewer)


def test_a_correction_is_not_overwritten_by_the_mark(reviewer: User, answered: Prediction) -> None:
    Review.objects.create(
        prediction=answered, reviewer=reviewer, verdict="corrects", corrected_label="meningioma"
    )
    assert mark_reviewed(prediction=answered, reviewer=reviewer) is False
    assert Review.objects.get().corrected_label == "meningioma"


def test_running_again(client: Client, root: User, reviewer: User, answered: Prediction) -> None:
    client.force_login(reviewer)
    act(client, "analyse_again", answered)
    assert Prediction.objects.count() == 1
    client.force_login(root)
    said = act(client, "analyse_again", answered)
    assert "1 scan has an answer of the network in production already." in said
    assert "will have" not in said
    ModelVersion.objects.update(stage=ModelVersion.Stage.RETIRED)
    assert "No network is in production" in act(client, "analyse_again", answered)
    newer = make_model("2")
    other = finish(submit(seed=8))
    assert other.model_version == newer
    said = act(client, "analyse_again", answered, other)
    assert "1 scan will have a new answer." in said
    assert "1 scan has an answer" in said
    assert answered.scan.predictions.get(model_version=newer).status == Status.QUEUED
    # Two results of one scan, of which neither is new.
    waiting = answered.scan.predictions.get(model_version=newer)
    said = act(client, "analyse_again", answered, waiting)
    assert "1 scan will have a new answer." in said
    assert "already" not in said


def test_a_form_sent_twice_at_once_is_one_review(
    client: Client, reviewer: User, answered: Prediction, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second has looked before the first was written."""
    client.force_login(reviewer)
    monkeypatch.setattr(
        ReviewForm, "clean_prediction", lambda form: form.cleaned_data["prediction"]
    )
    form = review_form(prediction=answered.pk)
    monkeypatch.setattr(Review, "validate_constraints", lambda review, exclude=None: None)
    pages = [client.post(address("review", "add"), form, follow=True) for _ in range(2)]
    assert [page.status_code for page in pages] == [200, 200]
    assert "Your review of this result stands." in pages[1].content.decode()
    assert Review.objects.count() == 1


def test_a_correction(client: Client, reviewer: User, answered: Prediction) -> None:
    client.force_login(reviewer)
    page = client.get(address("prediction", "change", answered.pk)).content.decode()
    assert f"?prediction={answered.pk}" in page
    page = client.get(f"{address('review', 'add')}?prediction={answered.pk}").content.decode()
    assert f"{answered.pk}/pictures/outline.svg" in page
    assert "Glioma" in page
    assert "40 × 30 pixels" in page
    assert "null" not in page.partition('name="corrected_box"')[2].partition(">")[0]
    # Nothing is agreed to by saving alone, and the result is the one chosen before.
    assert "checked" not in page
    assert f'<input type="hidden" name="prediction" value="{answered.pk}"' in page
    form = review_form(
        prediction=answered.pk, verdict="corrects", corrected_label="meningioma",
        corrected_box="1, 2, 10, 12", comment="Dural tail.",
    )  # fmt: skip
    assert client.post(address("review", "add"), form).status_code == 302
    review = Review.objects.get()
    assert (review.reviewer, review.corrected_label, review.corrected_box) == (
        reviewer, "meningioma", [1, 2, 10, 12],
    )  # fmt: skip
    page = client.get(address("prediction", "change", answered.pk)).content.decode()
    assert "Corrects Meningioma" in page
    changed = client.post(address("review", "change", review.pk), review_form(comment="No."))
    assert changed.status_code == 302
    review.refresh_from_db()
    assert (review.verdict, review.comment, review.prediction) == ("agrees", "No.", answered)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"verdict": ""}, "This field is required"),
        ({"verdict": "corrects"}, "A correction needs the right label"),
        ({"corrected_label": "glioma"}, "Agreement needs no correction: choose “I correct it”"),
        ({"verdict": "corrects", "corrected_label": "glioma"}, "That is what the network says"),
        (
            {"verdict": "corrects", "corrected_label": "glioma", "corrected_box": "[1, 2, 3]"},
            "four",
        ),
        ({"verdict": "corrects", "corrected_label": "glioma", "corrected_box": "7"}, "four whole"),
        (
            {"verdict": "corrects", "corrected_label": "glioma", "corrected_box": "[0, 0, 99, 9]"},
            "lie in the picture, which is 40 × 30",
        ),
        ({"prediction": str(uuid4())}, "not one of the available choices"),
    ],
)
def test_bad_readings(
    client: Client, reviewer: User, answered: Prediction, changes: dict[str, str], message: str
) -> None:
    client.force_login(reviewer)
    form = review_form(prediction=answered.pk) | changes
    page = client.post(address("review", "add"), form)
    assert message in page.content.decode()
    assert not Review.objects.exists()


def test_one_reading_each_and_only_of_answers(
    client: Client, reviewer: User, answered: Prediction
) -> None:
    client.force_login(reviewer)
    waiting = submit(visitor=uuid4(), seed=1)
    page = client.post(address("review", "add"), review_form(prediction=waiting.pk))
    assert "no answer to review" in page.content.decode()
    mark_reviewed(prediction=answered, reviewer=reviewer)
    page = client.post(address("review", "add"), review_form(prediction=answered.pk))
    assert "Change that review instead" in page.content.decode()


def test_saving_leads_to_the_next_result(
    client: Client, reviewer: User, answered: Prediction
) -> None:
    newer, newest = (finish(submit(visitor=uuid4(), seed=seed)) for seed in (1, 2))
    submit(visitor=uuid4(), seed=3)
    client.force_login(reviewer)

    def save(prediction: Prediction) -> tuple[str, str]:
        place = f"{address('review', 'add')}?prediction={prediction.pk}"
        answer = client.post(place, review_form(prediction=prediction.pk), follow=True)
        ((to, _),) = answer.redirect_chain
        return to, answer.content.decode()

    to, page = save(newer)
    assert to.endswith(f"?prediction={answered.pk}")
    assert "Saved. 2 left." in page
    to, page = save(answered)
    assert to.endswith(f"?prediction={newest.pk}")
    to, page = save(newest)
    assert to == address("prediction")
    assert "No result is left to review." in page
    assert "Glioma, analysed " in client.get(address("review")).content.decode()
    # The second of two windows: what is wrong with the hidden field is said all the same.
    place = f"{address('review', 'add')}?prediction={newest.pk}"
    said = client.post(place, review_form(prediction=newest.pk)).content.decode()
    assert "Change that review instead" in said.partition("<fieldset")[0]


def test_two_who_read_at_once_are_given_different_results(
    client: Client, reviewer: User, answered: Prediction
) -> None:
    results = [answered, *(finish(submit(visitor=uuid4(), seed=seed)) for seed in (1, 2, 3))]
    second = make_user("second@example.org", is_staff=True)
    second.groups.add(Group.objects.get(name="Reviewers"))
    other = Client()
    client.force_login(reviewer)
    other.force_login(second)
    add = f"{address('review', 'add')}?prediction="

    def offered(browser: Client) -> str:
        found = re.search(rf'{re.escape(add)}([^"]+)', browser.get(reverse("admin:index")).text)
        assert found
        return found[1]

    def saved(browser: Client, row: Prediction) -> str:
        form = review_form(prediction=row.pk)
        return browser.post(f"{add}{row.pk}", form)["Location"].removeprefix(add)

    newest = results[3]
    assert offered(client) == offered(other) == str(newest.pk)
    client.get(f"{add}{newest.pk}")
    assert offered(client) == str(newest.pk), "one's own stays"
    assert offered(other) == str(results[2].pk)
    other.get(f"{add}{newest.pk}")
    assert saved(client, newest) == str(results[2].pk)
    client.get(f"{add}{results[2].pk}")
    assert saved(other, newest) == str(results[1].pk)
    other.get(f"{add}{results[1].pk}")
    client.get(f"{add}{answered.pk}")
    # Where others have all of them open, one is read twice rather than none.
    Review.objects.create(prediction=results[2], reviewer=reviewer)
    Review.objects.create(prediction=results[1], reviewer=second)
    assert offered(other) == str(answered.pk)


def test_what_one_has_read_opens_as_it_was_read(
    client: Client, reviewer: User, answered: Prediction
) -> None:
    mark_reviewed(prediction=answered, reviewer=reviewer)
    client.force_login(reviewer)
    page = client.get(f"{address('review', 'add')}?prediction={answered.pk}")
    assert page["Location"] == address("review", "change", Review.objects.get().pk)
    assert client.get(f"{address('review', 'add')}?prediction=nonsense").status_code == 200


def test_what_is_wrong_stands_before_the_pictures(
    client: Client, reviewer: User, answered: Prediction
) -> None:
    client.force_login(reviewer)
    place = f"{address('review', 'add')}?prediction={answered.pk}"
    page = client.get(place).content.decode()
    assert "<h1>Review a result</h1>" in page
    assert "I agree" in page
    assert "I correct it" in page
    assert "nav-sidebar" not in page.partition("<main")[2]
    form = review_form(prediction=answered.pk, verdict="")
    page = client.post(place, form).content.decode()
    before, _, after = page.partition('class="scan-figures"')
    assert "Not saved yet" in before
    link = '<a href="#id_verdict_0">Verdict</a>: This field is required.'
    assert link in " ".join(before.split())
    assert before.index("Not saved yet") < before.index("The network says:")
    assert 'id="id_verdict_0"' in after


def test_the_first_page_says_what_waits(
    client: Client, root: User, reviewer: User, answered: Prediction
) -> None:
    index = reverse("admin:index")
    newer = finish(submit(visitor=uuid4(), seed=1))
    failed = submit(visitor=uuid4(), seed=2)
    Prediction.objects.filter(pk=failed.pk).update(status=Status.FAILED)
    add = f"{address('review', 'add')}?prediction="

    def read(place: str) -> str:
        return " ".join(client.get(place).content.decode().split())

    client.force_login(reviewer)
    for place in (index, address("review")):
        text = read(place)
        assert f'href="{add}{newer.pk}">Start</a> 2 results wait for a review' in text
    text = read(index)
    assert "1 run</a> of the last 24 hours failed" in text
    assert f'In production: <a href="{address("modelversion", "change", 1)}' in re.sub(
        r"modelversion/\d+/", "modelversion/1/", text
    )
    assert "Who opened what" not in text
    for row in (newer, answered):
        form = review_form(prediction=row.pk)
        assert client.post(f"{add}{row.pk}", form).status_code == 302
    assert "No result waits for a review." in read(index)
    ModelVersion.objects.update(stage="retired")
    assert "No network is in production" in read(index)
    # What a member of staff may not see is not counted for them either.
    client.force_login(make_user("clerk@example.org", is_staff=True))
    text = read(index)
    for words in ("review", "failed in", "production"):
        assert words not in text.partition('class="desk"')[2].partition("content-main")[0]
    client.force_login(root)
    text = read(index)
    assert "Who opened what" in text
    assert "Tags" not in text


@pytest.mark.parametrize("many", [False, True])
def test_a_result_whose_review_is_withdrawn_waits_again(
    client: Client,
    root: User,
    answered: Prediction,
    many: bool,
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
) -> None:
    def waiting() -> str:
        return client.get(reverse("admin:index")).content.decode()

    finish(submit(visitor=uuid4(), seed=1))
    client.force_login(root)
    mark_reviewed(prediction=answered, reviewer=root)
    assert "1 result waits" in waiting()
    review = Review.objects.get()
    with django_capture_on_commit_callbacks(execute=True):
        if many:
            asked = {"action": "delete_selected", "_selected_action": [review.pk]}
            client.post(address("review"), {**asked, "post": "yes"})
        else:
            client.post(address("review", "delete", review.pk), {"post": "yes"})
    assert not Review.objects.exists()
    assert "2 results wait" in waiting()


def test_a_thousand_are_enough_to_count(
    client: Client, reviewer: User, answered: Prediction, monkeypatch: pytest.MonkeyPatch
) -> None:
    finish(submit(visitor=uuid4(), seed=1))
    monkeypatch.setattr(desk, "MOST", 1)
    client.force_login(reviewer)
    assert "1+ results wait" in client.get(reverse("admin:index")).content.decode()


def test_figures_read_as_on_the_site(client: Client, root: User, answered: Prediction) -> None:
    Prediction.objects.update(
        uncertainty=0.04460397989760277, ood_score=0.1234567, prediction_set=["glioma"],
        area_fraction=0.0312345, area_range=[0.01234, 0.056789],
        queued_at=datetime(2026, 11, 30, 0, 9, tzinfo=UTC),
    )  # fmt: skip
    client.force_login(root)
    page = client.get(address("prediction", "change", answered.pk)).content.decode()
    for words in ("0.045", "0.123", ">Glioma<", "3.1%", "1.2% to 5.7%", "30 Nov 2026, 00:09 UTC"):
        assert words in page
    assert "0.0446" not in page
    listed = client.get(address("prediction")).content.decode()
    for words in ("Not yet", "Glioma, 90.0%", "By whether it is unlike what it learnt from"):
        assert words in " ".join(listed.split())
    assert "icon-no" not in listed


def test_only_ones_own_reading_can_be_changed(
    client: Client, root: User, reviewer: User, answered: Prediction
) -> None:
    mark_reviewed(prediction=answered, reviewer=reviewer)
    review = Review.objects.get()
    client.force_login(root)
    form = review_form(comment="changed")
    assert client.post(address("review", "change", review.pk), form).status_code == 403
    assert client.post(address("review", "delete", review.pk), {"post": "yes"}).status_code == 403
    review.refresh_from_db()
    assert review.comment == ""
    client.force_login(reviewer)
    assert client.post(address("review", "delete", review.pk), {"post": "yes"}).status_code == 403


def test_a_scan_names_the_doubts_of_its_answers(
    client: Client, root: User, model: ModelVersion
) -> None:
    row = finish(submit(visitor=uuid4()), committed=False)
    client.force_login(root)
    scan = client.get(address("scan", "change", row.scan_id)).content.decode()
    assert f"{model}: Unsure: glioma" in scan


def test_pages_of_unfinished_runs(client: Client, root: User, model: ModelVersion) -> None:
    waiting = submit(visitor=uuid4())
    client.force_login(root)
    page = client.get(address("prediction", "change", waiting.pk)).content.decode()
    assert "Review this result" not in page
    assert "attention map" not in page
    scan = client.get(address("scan", "change", waiting.scan_id)).content.decode()
    assert "Waiting" in scan
    Prediction.objects.all().delete()
    assert "–" in client.get(address("scan")).content.decode()
