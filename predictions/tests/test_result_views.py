"""One result's pages: their states, and nobody else's eyes."""

from __future__ import annotations

from uuid import UUID, uuid4

import numpy as np
import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from predictions import storage
from predictions.models import Access, ModelVersion, Prediction, Scan, Status
from predictions.services import lifecycle
from predictions.services.submission import run_again
from predictions.urls import urlpatterns
from tests.support.pictures import broken
from tests.support.records import (
    conclude,
    finish,
    make_model,
    make_user,
    rejection,
    start,
    submit,
)

pytestmark = pytest.mark.django_db


def addresses(prediction_id: UUID) -> list[str]:
    """Every address of the site that names a prediction."""
    found = []
    for pattern in urlpatterns:
        converters = pattern.pattern.converters
        if "prediction_id" in converters:
            values = {"prediction_id": prediction_id, "kind": "image", "suffix": "png"}
            wanted = {name: value for name, value in values.items() if name in converters}
            found.append(reverse(str(pattern.name), kwargs=wanted))
    assert len(found) >= 7
    return found


class TestSomeoneElses:
    @pytest.fixture(params=["nobody", "other visitor", "other account"])
    def stranger(self, request: pytest.FixtureRequest) -> Client:
        client = Client()
        if request.param == "other visitor":
            session = client.session
            session["visitor"] = str(uuid4())
            session.save()
        elif request.param == "other account":
            client.force_login(make_user("eve@example.org"))
        return client

    @pytest.mark.parametrize("method", ["get", "post"])
    def test_id_is_not_found_at_any_address(
        self, stranger: Client, mine: Prediction, method: str
    ) -> None:
        row = finish(mine)
        before = Prediction.objects.values().get(pk=row.pk)
        for address in addresses(row.pk):
            status = getattr(stranger, method)(address).status_code
            assert status in {404, 405}, address
            if method == "get":
                assert status == 404, address
        assert Prediction.objects.values().get(pk=row.pk) == before
        assert Scan.objects.get().deleted_at is None
        assert Access.objects.count() == 0

    def test_id_answers_as_one_that_is_nowhere(self, stranger: Client, mine: Prediction) -> None:
        for theirs, nobodys in zip(addresses(mine.pk), addresses(uuid4()), strict=True):
            one, other = stranger.get(theirs), stranger.get(nobodys)
            assert one.status_code == other.status_code

    def test_id_cannot_be_compared_or_deleted(self, stranger: Client, mine: Prediction) -> None:
        query = {"result": [str(mine.pk), str(mine.pk)]}
        assert stranger.get("/scans/compare/", query).status_code == 404
        stranger.post("/scans/delete/", {"scan": str(mine.scan_id), "confirmed": "1"})
        assert Scan.objects.get().deleted_at is None
        assert mine.scan.name not in stranger.get("/scans/").content.decode()
        assert str(mine.pk) not in b"".join(stranger.get("/scans/export.csv")).decode()

    def test_after_deletion_its_owner_is_a_stranger_too(
        self, visitor_client: Client, mine: Prediction
    ) -> None:
        visitor_client.post(f"/results/{mine.pk}/delete/")
        for address in addresses(mine.pk):
            assert visitor_client.get(address).status_code in {404, 405}


def test_the_address_of_a_form_opened_anew_leads_back(
    visitor_client: Client, visitor: UUID, model: ModelVersion
) -> None:
    row = submit(visitor=visitor)
    for address, place in (
        (f"/results/{row.pk}/cancel/", row.get_absolute_url()),
        (f"/results/{row.pk}/again/", row.get_absolute_url()),
        ("/scans/delete/", "/scans/"),
    ):
        answer = visitor_client.get(address)
        assert (answer.status_code, answer["Location"]) == (302, place)
    row.refresh_from_db()
    assert row.status == Status.QUEUED


@pytest.mark.parametrize(
    "address",
    [
        "/scans/",
        "/scans/export.csv",
        "/scans/compare/?result={0}&result={0}",
        "/results/{0}/",
        "/results/{0}/state.json",
        "/results/{0}/report.pdf",
        "/results/{0}/delete/",
    ],
)
def test_no_cache_keeps_what_is_somebodys_own(
    visitor_client: Client, mine: Prediction, address: str
) -> None:
    """Nor a browser's, for whoever uses it next, after scans were deleted or somebody left."""
    answer = visitor_client.get(address.format(finish(mine).pk))
    assert answer.status_code == 200
    assert {"no-store", "private"} <= set(answer["Cache-Control"].split(", "))


class TestStates:
    def state(self, client: Client, row: Prediction) -> dict[str, object]:
        answer = client.get(f"/results/{row.pk}/state.json")
        assert answer.status_code == 200
        assert "no-store" in answer["Cache-Control"]
        return dict(answer.json())

    def test_waiting_tells_the_place_in_line(
        self, visitor_client: Client, visitor: UUID, model: ModelVersion
    ) -> None:
        first, _, third = (submit(visitor=visitor, seed=n) for n in range(3))
        assert self.state(visitor_client, third)["place"] == 3
        start(first)
        assert self.state(visitor_client, third)["place"] == 2
        running = self.state(visitor_client, first)
        assert (running["status"], running["place"], running["finished"]) == ("running", 0, False)

    def test_the_page_refreshes_itself_without_scripts(
        self, visitor_client: Client, mine: Prediction
    ) -> None:
        answer = visitor_client.get(mine.get_absolute_url())
        page = answer.content.decode()
        assert 'http-equiv="refresh"' in page or "Refresh" in answer.headers
        assert "no-store" in answer["Cache-Control"]

    def test_without_an_answer_no_figures_are_read(
        self, visitor_client: Client, mine: Prediction
    ) -> None:
        assert conclude(start(mine), rejection())
        with CaptureQueriesContext(connection) as queries:
            assert visitor_client.get(mine.get_absolute_url()).status_code == 200
        assert not any('"card"' in query["sql"] for query in queries)

    def test_the_answer(self, visitor_client: Client, mine: Prediction) -> None:
        row = finish(mine, label="meningioma")
        state = self.state(visitor_client, row)
        assert (state["status"], state["finished"]) == ("succeeded", True)
        page = visitor_client.get(row.get_absolute_url()).content.decode()
        assert "signs of a meningioma" in page
        assert "not a diagnosis" in page.lower()
        assert f"/results/{row.pk}/images/area.png" in page
        assert str(row.model_version) in page

    def test_the_other_runs_are_read_once(
        self, visitor_client: Client, mine: Prediction, model: ModelVersion
    ) -> None:
        row = finish(mine)
        ModelVersion.objects.update(stage=ModelVersion.Stage.RETIRED)
        make_model("2")
        again = finish(run_again(prediction=row), label="meningioma")
        for shown, words in ((row, "See the answer of the newer"), (again, "What changed since")):
            with CaptureQueriesContext(connection) as queries:
                page = visitor_client.get(shown.get_absolute_url()).content.decode()
            assert words in page
            asked = [query for query in queries if 'FROM "predictions_prediction"' in query["sql"]]
            assert len(asked) == 2, "the one that is shown, and the others"

    def test_a_refused_picture(self, visitor_client: Client, mine: Prediction) -> None:
        conclude(start(mine), rejection())
        assert self.state(visitor_client, mine)["message"] == "This is not a brain."
        page = visitor_client.get(mine.get_absolute_url()).content.decode()
        assert "This is not a brain." in page

    def test_a_failure_says_why(self, visitor_client: Client, mine: Prediction) -> None:
        lifecycle.fail(prediction=mine, code="crashed", message=lifecycle.CRASHED)
        page = visitor_client.get(mine.get_absolute_url()).content.decode()
        assert "stopped several times on this picture" in page

    def test_a_cancelled_run_can_be_started_again(
        self, visitor_client: Client, mine: Prediction
    ) -> None:
        answer = visitor_client.post(f"/results/{mine.pk}/cancel/")
        assert answer["Location"] == mine.get_absolute_url()
        assert self.state(visitor_client, mine)["status"] == Status.CANCELLED
        assert visitor_client.get(mine.get_absolute_url()).status_code == 200
        again = visitor_client.post(f"/results/{mine.pk}/again/")
        newer = Prediction.objects.exclude(pk=mine.pk).get()
        assert again["Location"] == newer.get_absolute_url()

    def test_cancelling_what_has_ended_changes_nothing(
        self, visitor_client: Client, mine: Prediction
    ) -> None:
        row = finish(mine)
        page = visitor_client.post(f"/results/{row.pk}/cancel/", follow=True).content.decode()
        assert "already ended" in page
        row.refresh_from_db()
        assert row.status == Status.SUCCEEDED

    def test_again_without_a_network(self, visitor_client: Client, mine: Prediction) -> None:
        finish(mine)
        ModelVersion.objects.update(stage="retired")
        page = visitor_client.post(f"/results/{mine.pk}/again/", follow=True).content.decode()
        assert "No network is in service" in page

    def test_again_on_a_scan_deleted_in_another_tab(
        self,
        visitor_client: Client,
        mine: Prediction,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        def gone(**_: object) -> None:
            raise Scan.DoesNotExist

        monkeypatch.setattr("predictions.views.results.run_again", gone)
        assert visitor_client.post(f"/results/{mine.pk}/again/").status_code == 404


class TestDelete:
    def test_twice_says_what_has_happened(self, visitor_client: Client, mine: Prediction) -> None:
        form = {"scan": str(mine.scan_id), "confirmed": "1"}
        visitor_client.post("/scans/delete/", form)
        for client in (visitor_client, Client()):
            for method in ("get", "post"):
                answer = getattr(client, method)(f"/results/{mine.pk}/delete/")
                assert answer.status_code == 404
                assert "It has been deleted already" in answer.content.decode()
            answer = client.post("/scans/delete/", form, follow=True)
            assert "They are not in your history any more." in answer.content.decode()
        answer = visitor_client.post("/scans/delete/", {}, follow=True)
        assert "No scan was chosen." in answer.content.decode()

    def test_asks_first(self, visitor_client: Client, mine: Prediction) -> None:
        answer = visitor_client.get(f"/results/{mine.pk}/delete/")
        assert answer.status_code == 200
        assert Scan.objects.get().deleted_at is None

    def test_then_deletes(self, visitor_client: Client, mine: Prediction) -> None:
        answer = visitor_client.post(f"/results/{mine.pk}/delete/")
        assert answer["Location"] == "/scans/"
        assert Scan.objects.get().deleted_at is not None
        assert Prediction.objects.get().status == Status.CANCELLED

    def test_only_the_scan_in_question_goes(
        self, visitor_client: Client, visitor: UUID, mine: Prediction
    ) -> None:
        mine_too, theirs = submit(visitor=visitor, seed=1), submit(seed=2)
        visitor_client.post(f"/results/{mine.pk}/delete/")
        left = Scan.objects.filter(deleted_at__isnull=True)
        assert set(left.values_list("pk", flat=True)) == {mine_too.scan_id, theirs.scan_id}


def test_public_pages_open_without_a_model(client: Client) -> None:
    for path in ("/", "/model/", "/how-it-works/", "/privacy/", "/terms/", "/scans/"):
        assert client.get(path).status_code == 200, path


def test_reading_starts_no_visit(client: Client) -> None:
    client.get("/")
    client.get("/scans/")
    assert "sessionid" not in client.cookies


class TestANewerNetwork:
    """Old results stay; a newer network may be asked, and what it sees otherwise is said."""

    @pytest.fixture
    def old(self, mine: Prediction) -> Prediction:
        return finish(mine)

    @pytest.fixture
    def newer(self, old: Prediction) -> ModelVersion:
        ModelVersion.objects.filter(stage="production").update(stage="retired")
        return make_model("2")

    def page(self, client: Client, row: Prediction) -> str:
        return client.get(row.get_absolute_url()).content.decode()

    def again(self, client: Client, row: Prediction) -> Prediction:
        client.post(reverse("again", args=[row.pk]))
        return Prediction.objects.exclude(pk=row.pk).get()

    def test_is_offered_on_an_older_answer_only(
        self, visitor_client: Client, old: Prediction
    ) -> None:
        assert "Analyse again with the newer" not in self.page(visitor_client, old)
        ModelVersion.objects.update(stage="retired")
        newer = make_model("2")
        assert "Analyse again with the newer tumorsite 2" in self.page(visitor_client, old)
        again = finish(self.again(visitor_client, old))
        assert again.model_version == newer
        page = self.page(visitor_client, old)
        assert "See the answer of the newer tumorsite 2" in page
        assert again.get_absolute_url() in page
        # Back to the first one, which is not newer than the answer of the second.
        ModelVersion.objects.filter(pk=newer.pk).update(stage="retired")
        ModelVersion.objects.filter(pk=old.model_version_id).update(stage="production")
        assert "Analyse again" not in self.page(visitor_client, again)

    def test_leaves_the_old_answer_alone(
        self, visitor_client: Client, old: Prediction, newer: ModelVersion
    ) -> None:
        before = Prediction.objects.values().get(pk=old.pk)
        finish(self.again(visitor_client, old), label="meningioma")
        assert Prediction.objects.values().get(pk=old.pk) == before

    def test_says_what_changed(
        self, visitor_client: Client, old: Prediction, newer: ModelVersion
    ) -> None:
        area = np.zeros((old.scan.height, old.scan.width), np.bool_)
        # Half of the 10 × 10 pixels that were marked before.
        area[5:10, 10:20] = True
        again = finish(self.again(visitor_client, old), label="meningioma", share=0.7, area=area)
        page = self.page(visitor_client, again)
        assert "What changed since tumorsite 1" in page
        assert "The finding was glioma, and is meningioma now." in page
        assert "The two affected areas overlap by 67% (Dice)." in page
        assert "90.0%" in page
        assert "70.0%" in page
        assert "What changed" not in self.page(visitor_client, old)
        compared = visitor_client.get(
            reverse("compare"), {"result": [str(old.pk), str(again.pk)]}
        ).content.decode()
        assert "The two affected areas overlap by 67% (Dice)." in compared

    def test_an_answer_not_to_be_relied_on_is_called_so(
        self, visitor_client: Client, old: Prediction, newer: ModelVersion
    ) -> None:
        again = finish(self.again(visitor_client, old), flagged=True, committed=False)
        page = self.page(visitor_client, again)
        assert "The finding was glioma, and is glioma (unreliable) now." in page
        assert "Unreliable: glioma" in self.page(visitor_client, old)
        state = visitor_client.get(reverse("state", args=[again.pk])).json()
        assert state["short"] == "Unreliable: glioma"

    @pytest.mark.parametrize(
        ("label", "marked", "words"),
        [
            ("glioma", True, "The affected area is the same."),
            ("glioma", False, "It marks no affected area; before, there was one."),
            ("no_tumor", False, "The finding was glioma, and is no tumour now."),
        ],
    )
    def test_in_words(
        self,
        visitor_client: Client,
        old: Prediction,
        newer: ModelVersion,
        label: str,
        marked: bool,
        words: str,
    ) -> None:
        again = self.again(visitor_client, old)
        empty = {} if marked else {"area": np.zeros((old.scan.height, old.scan.width), np.bool_)}
        finish(again, label=label, **empty)
        assert words in self.page(visitor_client, Prediction.objects.get(pk=again.pk))

    @pytest.mark.parametrize("damaged", [False, True])
    def test_a_lost_picture_does_not_hide_the_answer(
        self, visitor_client: Client, old: Prediction, newer: ModelVersion, damaged: bool
    ) -> None:
        again = finish(self.again(visitor_client, old))
        content = storage.get(old.area_key)
        storage.delete(old.area_key)
        if damaged:
            storage.put(old.area_key, broken(content))
        page = self.page(visitor_client, again)
        assert "The two areas cannot be compared at the moment." in page
