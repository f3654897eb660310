"""The history: paging by key, filters, the same queries at any size, CSV, compare, delete."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from uuid import UUID, uuid4

import pytest
from django.db import connection
from django.http import QueryDict
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from predictions import selectors
from predictions.ids import first_uuid7
from predictions.models import ModelVersion, Prediction, Scan, Status
from predictions.owners import Owner
from predictions.selectors import (
    Filters,
    export_rows,
    history_page,
    latest_runs,
    place_in_line,
    prediction_for,
    predictions_of,
    recent_scans,
    scans_of,
)
from predictions.services.lifecycle import cancel
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


@pytest.fixture
def owner(visitor: UUID) -> Owner:
    return Owner(visitor=visitor)


def rows(visitor: UUID, count: int, model: ModelVersion) -> list[UUID]:
    """Rows without objects, for what only reads rows; the newest first."""
    scans = [
        Scan(
            visitor=visitor,
            name=f"slice {n:03}.png",
            sha256="0" * 64,
            width=10,
            height=10,
            image_key=f"scans/{n}/image.png",
            thumbnail_key=f"scans/{n}/thumbnail.png",
        )
        for n in range(count)
    ]
    Scan.objects.bulk_create(scans)
    Prediction.objects.bulk_create(
        [
            Prediction(
                scan=scan,
                model_version=model,
                status=Status.FAILED if n % 3 == 0 else Status.QUEUED,
            )
            for n, scan in enumerate(scans)
        ]
    )
    return sorted((scan.pk for scan in scans), reverse=True)


def forward(owner: Owner, filters: Filters, size: int) -> list[UUID]:
    """Every id, by going to older pages until there is none."""
    found: list[UUID] = []
    page = history_page(owner, filters, size=size)
    assert page.newer_than is None
    while True:
        found += [scan.pk for scan in page.scans]
        if page.older_than is None:
            return found
        page = history_page(owner, filters, older_than=page.older_than, size=size)


def backward(owner: Owner, filters: Filters, size: int, start: UUID) -> list[UUID]:
    """Every id newer than `start`, by going to newer pages until there is none."""
    found: list[UUID] = []
    page = history_page(owner, filters, newer_than=start, size=size)
    while True:
        found = [scan.pk for scan in page.scans] + found
        if page.newer_than is None:
            return found
        page = history_page(owner, filters, newer_than=page.newer_than, size=size)


@pytest.mark.data_layer
class TestPages:
    @pytest.mark.parametrize("count", [0, 1, 9, 10, 11, 20, 25])
    def test_every_scan_once_newest_first_both_ways(
        self, owner: Owner, visitor: UUID, model: ModelVersion, count: int
    ) -> None:
        expected = rows(visitor, count, model)
        rows(uuid4(), 3, model)
        assert forward(owner, Filters(), 10) == expected
        if expected:
            assert backward(owner, Filters(), 10, expected[-1]) == expected[:-1]

    @pytest.mark.parametrize("size", [1, 4, 7])
    def test_filters_hold_across_pages(
        self, owner: Owner, visitor: UUID, model: ModelVersion, size: int
    ) -> None:
        rows(visitor, 20, model)
        filters = Filters(status="failed")
        expected = [
            scan.pk for scan in scans_of(owner) if scan.predictions.get().status == "failed"
        ]
        assert len(expected) == 7
        assert forward(owner, filters, size) == expected
        assert backward(owner, filters, size, expected[-1]) == expected[:-1]

    def test_scans_that_arrive_meanwhile_shift_nothing(
        self, owner: Owner, visitor: UUID, model: ModelVersion
    ) -> None:
        expected = rows(visitor, 10, model)
        first = history_page(owner, Filters(), size=5)
        rows(visitor, 5, model)
        second = history_page(owner, Filters(), older_than=first.older_than, size=5)
        assert [scan.pk for scan in (*first.scans, *second.scans)] == expected

    def test_the_newest_run_is_shown(
        self, owner: Owner, visitor: UUID, model: ModelVersion
    ) -> None:
        old = finish(submit(visitor=visitor))
        ModelVersion.objects.update(stage="retired")
        newer = Prediction.objects.create(scan=old.scan, model_version=make_model("2"))
        [scan] = history_page(owner, Filters()).scans
        assert scan.latest == newer  # type: ignore[attr-defined]
        [recent] = recent_scans(owner)
        assert recent.latest == newer  # type: ignore[attr-defined]

    def test_the_same_number_of_queries_at_any_size(
        self,
        owner: Owner,
        visitor: UUID,
        model: ModelVersion,
        django_assert_num_queries: DjangoAssertNumQueries,
    ) -> None:
        for count in (4, 60):
            rows(visitor, count, model)
            for older_than in (None, scans_of(owner)[0].pk):
                with django_assert_num_queries(2):
                    history_page(owner, Filters(), older_than=older_than)
                with django_assert_num_queries(3):
                    page = history_page(
                        owner, Filters(text="slice", status="queued"), older_than=older_than
                    )
                    [str(scan.latest.model_version) for scan in page.scans]  # type: ignore[attr-defined]

    def test_the_page_itself_asks_no_more_for_more_rows(
        self, visitor_client: Client, visitor: UUID, model: ModelVersion
    ) -> None:
        counts = []
        for count in (2, 60):
            rows(visitor, count, model)
            with CaptureQueriesContext(connection) as queries:
                assert visitor_client.get("/scans/").status_code == 200
            counts.append(len(queries))
        assert counts[0] == counts[1]
        # Each network's card is large, and no list has a use for it.
        assert not any('"card"' in query["sql"] for query in queries)


@pytest.mark.data_layer
class TestFilters:
    @pytest.fixture(autouse=True)
    def _scans(self, visitor: UUID, model: ModelVersion) -> None:
        finish(submit(visitor=visitor, name="Axial one.png", seed=1), label="glioma")
        finish(submit(visitor=visitor, name="axial two.png", seed=2), label="no_tumor")
        submit(visitor=visitor, name="100%_sagittal.png", seed=3)

    @pytest.mark.parametrize(
        ("filters", "names"),
        [
            (Filters(), {"Axial one.png", "axial two.png", "100%_sagittal.png"}),
            (Filters(text="AXIAL"), {"Axial one.png", "axial two.png"}),
            (Filters(text="%_s"), {"100%_sagittal.png"}),
            (Filters(text="_"), {"100%_sagittal.png"}),
            (Filters(label="glioma"), {"Axial one.png"}),
            (Filters(status="queued"), {"100%_sagittal.png"}),
            (Filters(status="succeeded", label="no_tumor", text="two"), {"axial two.png"}),
            (Filters(status="queued", label="glioma"), set()),
        ],
    )
    def test_find_what_was_meant(self, owner: Owner, filters: Filters, names: set[str]) -> None:
        assert {scan.name for scan in history_page(owner, filters).scans} == names
        assert {row.scan.name for row in export_rows(owner, filters)} == names

    @pytest.mark.parametrize(
        ("filters", "names"),
        [
            (Filters(status="succeeded"), {"Axial one.png", "axial two.png"}),
            (Filters(status="unsure"), {"leaning.png"}),
            (Filters(status="unreliable"), {"strange.png", "both.png"}),
            # Only what the network stands by, unless what it does not is asked for.
            (Filters(label="glioma"), {"Axial one.png"}),
            (Filters(status="unsure", label="glioma"), {"leaning.png"}),
            (Filters(status="unreliable", label="glioma"), {"both.png"}),
            (Filters(status="succeeded", label="pituitary"), set()),
        ],
    )
    def test_doubt_is_a_state_of_its_own(
        self, owner: Owner, visitor: UUID, filters: Filters, names: set[str]
    ) -> None:
        doubtful = [
            ("leaning.png", {"label": "glioma", "committed": False}),
            ("strange.png", {"label": "pituitary", "flagged": True}),
            ("both.png", {"label": "glioma", "flagged": True, "committed": False}),
        ]
        for seed, (name, changes) in enumerate(doubtful):
            finish(submit(visitor=visitor, name=name, seed=10 + seed), **changes)
        # From before networks said whether they stand by an answer.
        Prediction.objects.filter(label="no_tumor").update(committed=None)
        found = history_page(owner, filters).scans
        assert {scan.name for scan in found} == names
        assert {row.scan.name for row in export_rows(owner, filters)} == names
        if filters.status:
            assert {scan.latest.display_status for scan in found} <= {filters.status}  # type: ignore[attr-defined]  # set by the selector

    @pytest.mark.parametrize("asked", ["öl", "RÖNTGEN", "O\u0308l", "öl (1)"])
    def test_letters_with_accents_in_any_case_and_form(
        self, owner: Owner, visitor: UUID, asked: str
    ) -> None:
        submit(visitor=visitor, name="Röntgen Öl (1).png", seed=5)
        [found] = history_page(owner, Filters.from_query({"q": asked})).scans
        assert found.name == "Röntgen Öl (1).png"

    def test_they_look_at_the_run_that_is_shown(
        self, owner: Owner, visitor: UUID, model: ModelVersion
    ) -> None:
        """Whoever deletes all that was cancelled must not lose an answer."""
        scan = submit(visitor=visitor, name="twice.png", seed=4)
        Prediction.objects.filter(pk=scan.pk).update(status=Status.CANCELLED)
        answered = Prediction.objects.create(scan=scan.scan, model_version=model)
        finish(answered, label="pituitary")
        assert history_page(owner, Filters(status="cancelled")).scans == []
        [found] = history_page(owner, Filters(label="pituitary")).scans
        assert found.latest.pk == answered.pk  # type: ignore[attr-defined]
        ModelVersion.objects.update(stage="retired")
        newer = Prediction.objects.create(scan=scan.scan, model_version=make_model("2"))
        finish(newer, label="meningioma")
        assert history_page(owner, Filters(label="pituitary")).scans == []
        assert history_page(owner, Filters(label="meningioma")).scans == [scan.scan]
        assert list(export_rows(owner, Filters(label="meningioma"))) == [newer]
        assert list(export_rows(owner, Filters(text="twice"))) == [newer, answered, scan]

    def test_a_page_that_is_empty_by_now_leads_to_the_first(self, visitor_client: Client) -> None:
        last = "ffffffff-ffff-7fff-bfff-ffffffffffff"
        answer = visitor_client.get(f"/scans/?q=axial&newer={last}")
        assert (answer.status_code, answer["Location"]) == (302, "/scans/?q=axial")
        assert visitor_client.get("/scans/?q=nothing").status_code == 200

    @pytest.mark.parametrize(
        "query", ["q=%00", "q=%00axial%00", "status=nonsense&label=x", "older=zzz&newer=1", "q=%ff"]
    )
    def test_nonsense_is_as_good_as_nothing(self, visitor_client: Client, query: str) -> None:
        assert visitor_client.get(f"/scans/?{query}").status_code == 200

    def test_links_to_other_pages_keep_the_filter(
        self, visitor_client: Client, visitor: UUID, model: ModelVersion
    ) -> None:
        rows(visitor, 30, model)
        page = visitor_client.get("/scans/?q=slice&status=queued").content.decode()
        assert "Axial one.png" not in page
        older = history_page(Owner(visitor=visitor), Filters(text="slice"), size=24).older_than
        assert older is not None
        page = visitor_client.get("/scans/?q=slice").content.decode()
        assert f"older={older}" in page
        assert "q=slice" in page


@pytest.mark.data_layer
class TestFewMatches:
    """A page with filters looks at so many scans at most, and the next one goes on from there."""

    @pytest.fixture(autouse=True)
    def _look_at_five(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(selectors, "LOOK_AT", 5)

    @pytest.fixture
    def every(self, visitor: UUID, model: ModelVersion) -> list[UUID]:
        return rows(visitor, 23, model)

    @pytest.mark.parametrize("size", [1, 3, 4, 5, 6])
    @pytest.mark.parametrize(
        "matches", [[], [0], [22], [4], [5], [4, 5], [0, 1, 2, 3, 4], [3, 11, 12, 20], [10, 14, 15]]
    )
    def test_every_match_once_both_ways(
        self, owner: Owner, every: list[UUID], size: int, matches: list[int]
    ) -> None:
        expected = [every[n] for n in matches]
        Scan.objects.filter(pk__in=expected).update(name="looked for")
        filters = Filters(text="looked")
        assert forward(owner, filters, size) == expected
        assert backward(owner, filters, size, first_uuid7(datetime(2000, 1, 1, tzinfo=UTC))) == (
            expected
        )

    def test_pages_say_how_far_they_looked(self, owner: Owner, every: list[UUID]) -> None:
        Scan.objects.filter(pk=every[7]).update(name="looked for")
        filters = Filters(text="looked")
        first = history_page(owner, filters)
        assert (first.scans, first.older_than, first.newer_than) == ([], every[4], None)
        assert first.stopped_at == Scan.objects.get(pk=every[4]).created_at
        second = history_page(owner, filters, older_than=first.older_than)
        assert ([scan.pk for scan in second.scans], second.older_than) == ([every[7]], every[9])
        # Back from an empty page, the one before shows what it did.
        third = history_page(owner, filters, older_than=second.older_than)
        assert third.scans == []
        again = history_page(owner, filters, newer_than=third.newer_than)
        assert ([scan.pk for scan in again.scans], again.older_than) == ([every[7]], every[7])

    def test_all_is_looked_at_where_no_more_are_left(self, owner: Owner, every: list[UUID]) -> None:
        page = history_page(owner, Filters(text="nothing"), older_than=every[17])
        assert (page.stopped_at, page.older_than, page.newer_than) == (None, None, None)
        days = Filters(since=timezone.now().date() - timedelta(days=1))
        assert len(history_page(owner, days).scans) == 23

    def test_an_empty_page_leads_on(self, visitor_client: Client, every: list[UUID]) -> None:
        answer = visitor_client.get("/scans/?q=nothing")
        page = " ".join(answer.content.decode().split())
        assert "Nothing found yet" in page
        assert "Nothing matches" not in page
        assert f"older={every[4]}&amp;q=nothing" in page
        assert "Export as CSV" in page
        assert visitor_client.get(f"/scans/?q=nothing&older={every[4]}").status_code == 200
        end = visitor_client.get(f"/scans/?q=nothing&older={every[19]}", follow=True)
        assert end.redirect_chain == [("/scans/?q=nothing", 302)]


def uploaded(visitor: UUID, model: ModelVersion, moment: str) -> str:
    """A scan that came at a moment, by its name."""
    at = datetime.fromisoformat(moment)
    [pk] = rows(visitor, 1, model)
    own = UUID(int=first_uuid7(at).int | pk.int & (1 << 80) - 1)
    Prediction.objects.filter(scan=pk).delete()
    Scan.objects.filter(pk=pk).update(id=own, name=moment)
    Prediction.objects.create(scan_id=own, model_version=model)
    return moment


@pytest.mark.data_layer
class TestDays:
    @pytest.mark.parametrize(
        ("query", "first", "last"),
        [
            ("since=2026-05-04", 1, 4),
            ("until=2026-05-04", 0, 3),
            ("since=2026-05-04&until=2026-05-04", 1, 3),
            # Midnight comes two hours sooner there.
            ("since=2026-05-05&until=2026-05-05&zone=Europe/Berlin", 2, 4),
            ("since=2026-05-05&zone=Europe", 3, 4),
            ("since=0001-01-01&until=9999-12-31", 0, 4),
            ("until=1969-01-01", 0, 0),
            ("since=2026-05-06&until=2026-05-01", 0, 0),
            ("since=nonsense&until=2026-02-31", 0, 4),
        ],
    )
    def test_both_ends_are_among_them(
        self,
        owner: Owner,
        visitor: UUID,
        visitor_client: Client,
        model: ModelVersion,
        query: str,
        first: int,
        last: int,
    ) -> None:
        moments = (
            "2026-05-03T23:59:59.999+00:00", "2026-05-04T00:00:00+00:00",
            "2026-05-04T22:00:00+00:00", "2026-05-05T00:00:00+00:00",
        )  # fmt: skip
        names = [uploaded(visitor, model, moment) for moment in moments]
        filters = Filters.from_query(QueryDict(query))
        found = [scan.name for scan in history_page(owner, filters).scans]
        assert found == names[first:last][::-1]
        assert {row.scan.name for row in export_rows(owner, filters)} == set(found)
        assert visitor_client.get(f"/scans/?{query}").status_code == 200

    def test_pages_keep_to_them_both_ways(
        self, owner: Owner, visitor: UUID, model: ModelVersion
    ) -> None:
        for hour in range(10, 20):
            uploaded(visitor, model, f"2026-05-04T{hour}:00:00+00:00")
        expected = rows(visitor, 5, model)
        today = timezone.now().date()
        filters = Filters(since=today - timedelta(days=1), until=today + timedelta(days=1))
        assert forward(owner, filters, 2) == expected
        assert backward(owner, filters, 2, expected[-1]) == expected[:-1]

    @pytest.mark.parametrize("query", ["status=unsure", "label=glioma", "since=2026-05-04", ""])
    def test_pages_are_read_from_the_index_of_their_owner(
        self, owner: Owner, visitor: UUID, model: ModelVersion, query: str
    ) -> None:
        [pk] = rows(visitor, 1, model)
        if connection.vendor == "postgresql":
            # So few rows it would rather read and sort; it may only where the index does not serve.
            with connection.cursor() as cursor:
                for way in ("seqscan", "bitmapscan", "sort"):
                    cursor.execute(f"SET LOCAL enable_{way} = off")
        filters = Filters.from_query(QueryDict(query))
        for scans in (scans_of(owner), scans_of(owner).filter(pk__lt=pk)):
            plan = filters.apply(scans)[:25].explain()
            outer = re.split("CORRELATED|SubPlan", plan)[0]
            assert re.search(
                r"(?i)predictions_scan USING .*INDEX scan_visitor|using scan_visitor on", outer
            ), plan
            assert not re.search("TEMP B-TREE|Sort", outer), plan

    def test_links_and_table_keep_to_them(
        self, visitor_client: Client, visitor: UUID, model: ModelVersion
    ) -> None:
        rows(visitor, 30, model)
        query = "since=2026-01-01&amp;zone=Europe%2FBerlin"
        page = visitor_client.get("/scans/?since=2026-01-01&zone=Europe/Berlin").content.decode()
        assert f'{query}">Older' in page
        assert f'export.csv?{query}"' in page
        assert 'value="2026-01-01"' in page


@pytest.mark.data_layer
class TestOwners:
    def test_each_sees_their_own(self, visitor: UUID, model: ModelVersion) -> None:
        user = make_user()
        mine, theirs, seen = submit(owner=user), submit(visitor=visitor), submit()
        for owner, row in ((Owner(user=user), mine), (Owner(visitor=visitor), theirs)):
            assert [scan.pk for scan in scans_of(owner)] == [row.scan_id]
            assert list(predictions_of(owner)) == [row]
            assert prediction_for(owner, row.pk) == row
            with pytest.raises(Prediction.DoesNotExist):
                prediction_for(owner, seen.pk)

    def test_nobody_sees_nothing(self, model: ModelVersion) -> None:
        row = submit()
        assert list(scans_of(Owner())) == []
        assert list(predictions_of(Owner())) == []
        with pytest.raises(Prediction.DoesNotExist):
            prediction_for(Owner(), row.pk)

    def test_a_place_in_line_is_kept_by_those_who_wait_only(self, model: ModelVersion) -> None:
        one, two = submit(seed=1), submit(seed=2)
        assert (place_in_line(one), place_in_line(two)) == (1, 2)
        assert place_in_line(finish(one)) == 0
        assert place_in_line(two) == 1


class TestExport:
    def table(self, client: Client, query: str = "") -> list[dict[str, str]]:
        answer = client.get(f"/scans/export.csv{query}")
        assert answer["Content-Type"] == "text/csv; charset=utf-8"
        assert "attachment" in answer["Content-Disposition"]
        content = b"".join(answer)
        # Without the mark, spreadsheets take it for another encoding.
        assert content.startswith(b"\xef\xbb\xbf")
        text = content.decode("utf-8-sig")
        return list(csv.DictReader(io.StringIO(text)))

    def test_a_line_a_prediction(
        self, visitor_client: Client, visitor: UUID, model: ModelVersion
    ) -> None:
        done = finish(submit(visitor=visitor, name='a "quoted", name.png'), share=0.9)
        submit(visitor=visitor, seed=2)
        waiting, line = self.table(visitor_client)
        assert line["prediction"] == str(done.pk)
        assert line["name"] == 'a "quoted", name.png'
        assert (line["status"], line["finding"]) == ("succeeded", "glioma")
        assert float(line["glioma"]) == pytest.approx(0.9)
        assert line["box"] == "10 5 20 15"
        assert line["model"] == "tumorsite 1"
        assert (waiting["status"], waiting["glioma"], waiting["box"]) == ("queued", "", "")

    def test_a_refused_picture_has_no_probabilities(
        self, visitor_client: Client, visitor: UUID, model: ModelVersion
    ) -> None:
        assert conclude(start(submit(visitor=visitor)), rejection())
        [line] = self.table(visitor_client)
        assert (line["status"], line["finding"], line["glioma"]) == ("rejected", "", "")

    @pytest.mark.parametrize("start", ["=", "+", "-", "@"])
    def test_no_name_becomes_a_formula(
        self, visitor_client: Client, visitor: UUID, model: ModelVersion, start: str
    ) -> None:
        submit(visitor=visitor, name=f"{start}HYPERLINK(1).png")
        [line] = self.table(visitor_client)
        assert line["name"] == f"'{start}HYPERLINK(1).png"

    def test_only_what_is_filtered(
        self, visitor_client: Client, visitor: UUID, model: ModelVersion
    ) -> None:
        rows(visitor, 6, model)
        assert len(self.table(visitor_client)) == 6
        assert len(self.table(visitor_client, "?status=failed")) == 2


class TestDeleteMany:
    def test_asks_and_then_deletes_ones_own(
        self, visitor_client: Client, visitor: UUID, model: ModelVersion
    ) -> None:
        mine = [submit(visitor=visitor, seed=n) for n in range(3)]
        other = submit(seed=9)
        chosen = [str(row.scan_id) for row in (*mine[:2], other)]
        asked = visitor_client.post("/scans/delete/", {"scan": chosen})
        assert asked.status_code == 200
        assert Scan.objects.filter(deleted_at__isnull=False).count() == 0
        done = visitor_client.post(
            "/scans/delete/", {"scan": chosen, "confirmed": "1"}, follow=True
        )
        assert "2 scans deleted." in done.content.decode()
        left = set(Scan.objects.filter(deleted_at__isnull=True).values_list("pk", flat=True))
        assert left == {mine[2].scan_id, other.scan_id}

    def test_asking_costs_the_same_for_any_number(
        self,
        visitor_client: Client,
        visitor: UUID,
        model: ModelVersion,
        django_assert_num_queries: DjangoAssertNumQueries,
    ) -> None:
        chosen = [str(pk) for pk in rows(visitor, 5, model)]
        with CaptureQueriesContext(connection) as few:
            visitor_client.post("/scans/delete/", {"scan": chosen[:1]})
        with django_assert_num_queries(len(few)):
            visitor_client.post("/scans/delete/", {"scan": chosen})

    def test_nothing_chosen(self, visitor_client: Client) -> None:
        answer = visitor_client.post("/scans/delete/", {"scan": "nonsense"}, follow=True)
        assert "No scan was chosen." in answer.content.decode()


@pytest.mark.parametrize("path", ["/", "/scans/", "/scans/delete/", "/results/{}/delete/"])
def test_a_scan_that_is_erased_meanwhile_is_left_out(
    visitor_client: Client,
    visitor: UUID,
    model: ModelVersion,
    path: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gone, kept = (submit(visitor=visitor, seed=n) for n in range(2))

    def erased_first(runs: Iterable[Prediction]) -> dict[UUID, Prediction]:
        Prediction.objects.filter(pk=gone.pk).delete()
        return latest_runs(runs)

    monkeypatch.setattr(selectors, "latest_runs", erased_first)
    if path == "/scans/delete/":
        answer = visitor_client.post(path, {"scan": [str(gone.scan_id), str(kept.scan_id)]})
    else:
        answer = visitor_client.get(path.format(gone.pk))
    if "results" in path:
        assert answer.status_code == 404
        return
    page = answer.content.decode()
    assert str(gone.pk) not in page
    assert str(kept.pk) in page


def test_a_cancelled_run_does_not_hide_the_answer(
    owner: Owner, visitor_client: Client, visitor: UUID, model: ModelVersion
) -> None:
    answered = finish(submit(visitor=visitor))
    other = finish(submit(visitor=visitor, seed=1))
    ModelVersion.objects.update(stage="retired")
    again = Prediction.objects.create(scan=answered.scan, model_version=make_model("2"))
    assert cancel(prediction=again)
    standing = {scan.pk: scan.latest for scan in history_page(owner, Filters()).scans}  # type: ignore[attr-defined]
    assert standing[answered.scan_id] == answered
    chosen = {"scan": [str(answered.scan_id), str(other.scan_id)]}
    assert str(answered.pk) in visitor_client.post("/scans/compare/", chosen)["Location"]


class TestCompare:
    def test_one_that_still_waits(
        self, visitor_client: Client, visitor: UUID, model: ModelVersion
    ) -> None:
        ids = [finish(submit(visitor=visitor)).pk, submit(visitor=visitor, seed=1).pk]
        answer = visitor_client.get("/scans/compare/", {"result": [str(pk) for pk in ids]})
        assert "No answer yet" in answer.content.decode()
        assert "failed" not in answer.content.decode()

    def test_two_of_ones_own(
        self, visitor_client: Client, visitor: UUID, model: ModelVersion
    ) -> None:
        one, two = (finish(submit(visitor=visitor, seed=n)) for n in range(2))
        answer = visitor_client.get("/scans/compare/", {"result": [str(one.pk), str(two.pk)]})
        page = answer.content.decode()
        for row in (one, two):
            assert f"/results/{row.pk}/images/image.png" in page

    def test_a_refused_picture_has_no_probabilities(
        self, visitor_client: Client, visitor: UUID, model: ModelVersion
    ) -> None:
        ids = [submit(visitor=visitor, seed=n).pk for n in range(2)]
        for pk in ids:
            assert conclude(start(Prediction.objects.get(pk=pk)), rejection())
        answer = visitor_client.get("/scans/compare/", {"result": [str(pk) for pk in ids]})
        none = (None, False)
        assert [pair for _, pair in answer.context["shares"]] == [[none, none]] * 4
        assert "bar-part" not in answer.content.decode()

    @pytest.mark.parametrize("count", [0, 1, 3])
    def test_it_takes_two(
        self, visitor_client: Client, visitor: UUID, model: ModelVersion, count: int
    ) -> None:
        ids = [str(submit(visitor=visitor, seed=n).pk) for n in range(count)]
        page = visitor_client.get("/scans/compare/", {"result": ids}, follow=True)
        assert "exactly two" in page.content.decode()


def test_ids_of_pages_are_in_order(owner: Owner, visitor: UUID, model: ModelVersion) -> None:
    ids = rows(visitor, 30, model)
    assert all(newer > older for newer, older in pairwise(ids))
