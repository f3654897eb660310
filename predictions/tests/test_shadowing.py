"""A candidate in the shadow: what it answers, who sees it, and that nothing waits for it."""

from __future__ import annotations

import io
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from pytest_django import Settings

from accounts.models import User
from mltasks.inference import load_analyzer
from mltasks.tests.conftest import write_data
from predictions import storage, tasks
from predictions.models import ModelEvent, ModelVersion, Prediction, ShadowAnswer
from predictions.queueing import Queue, messages_waiting
from predictions.services import artifacts, deletion, registry, shadowing
from predictions.services.registry import ReleaseError
from predictions.shadow_report import shadow_report
from tests.support.networks import fitted, onnx_bytes, write_network
from tests.support.pictures import broken
from tests.support.records import conclude, finish, make_user, rejection, start, submit

pytestmark = [pytest.mark.data_layer, pytest.mark.django_db]
Outcome = ShadowAnswer.Outcome


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("shadow")
    return write_network(
        root / "two", onnx_bytes(fitted(write_data(root / "data", 8), fold=0)), version="2"
    )


@pytest.fixture
def candidate(model: ModelVersion, network: Path, settings: Settings) -> ModelVersion:
    """A real network, registered beside one in production."""
    settings.SHADOW_PERCENT = 100
    return registry.register(folder=network)


def follow() -> int:
    return shadowing.follow(partial(artifacts.load, threads=1), seconds=20)


def said(*words: str, **options: Any) -> str:
    stream = io.StringIO()
    call_command("model", *words, stdout=stream, **options)
    return stream.getvalue()


class TestAnswers:
    def test_it_answers_what_production_has_answered(
        self, candidate: ModelVersion, network: Path
    ) -> None:
        answered, refused = finish(submit()), submit(seed=1)
        conclude(start(refused), rejection())
        unanswered = submit(seed=2)
        before = Prediction.objects.order_by("pk").values()
        kept = list(before)
        shadowing.begin(version=candidate)
        assert follow() == 2
        assert list(before.all()) == kept, "no answer is touched"
        assert not unanswered.shadows.exists()
        row = answered.shadows.get()
        assert row.outcome == Outcome.ANSWERED
        assert row.seconds is not None
        assert row.area_iou is not None
        assert set(row.probabilities) == {"glioma", "meningioma", "no_tumor", "pituitary"}
        [expected] = load_analyzer(network).analyze([_pixels(answered)])
        assert row.label == expected.label
        assert refused.shadows.get().area_iou is None
        assert follow() == 0, "each once"

    def test_only_the_share_that_was_asked_for(
        self, candidate: ModelVersion, settings: Settings
    ) -> None:
        rows = [finish(submit(seed=number)) for number in range(6)]
        settings.SHADOW_PERCENT = 50
        chosen = [row for row in rows if shadowing.is_chosen(row)]
        shadowing.begin(version=candidate)
        assert follow() == len(chosen)
        assert ShadowAnswer.objects.count() == len(chosen)

    def test_a_scan_that_cannot_be_read_is_tried_once(self, candidate: ModelVersion) -> None:
        row = finish(submit())
        row.scan.image_key = "scans/gone.png"
        row.scan.save()
        shadowing.begin(version=candidate)
        assert follow() == 1
        assert row.shadows.get().outcome == Outcome.FAILED
        assert follow() == 0

    def test_damaged_pictures_do_not_stop_those_behind_them(
        self, candidate: ModelVersion, network: Path
    ) -> None:
        rows = [finish(submit(seed=number)) for number in range(2)]
        content = storage.get(rows[0].scan.image_key)
        storage.delete(rows[0].scan.image_key)
        storage.put(rows[0].scan.image_key, broken(content))
        shadowing.begin(version=candidate)
        assert follow() == 2
        assert [row.shadows.get().outcome for row in rows] == [Outcome.FAILED, Outcome.ANSWERED]

    def test_nor_does_a_network_that_fails(
        self, candidate: ModelVersion, caplog: pytest.LogCaptureFixture
    ) -> None:
        class Failing:
            def analyze(self, pictures: list[Any]) -> Any:
                raise RuntimeError("the engine has no more memory")

        row = finish(submit())
        shadowing.begin(version=candidate)
        failing: Any = Failing()
        assert shadowing.follow(lambda _: failing, seconds=20) == 1
        assert row.shadows.get().outcome == Outcome.FAILED
        assert "no more memory" in caplog.text

    def test_an_outage_is_not_the_scans_fault(
        self, candidate: ModelVersion, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def away(key: str) -> Any:
            raise storage.StorageUnavailableError(key)

        row = finish(submit())
        shadowing.begin(version=candidate)
        monkeypatch.setattr(storage, "stream", away)
        with pytest.raises(storage.StorageUnavailableError):
            follow()
        assert not row.shadows.exists(), "it waits for the store"

    def test_it_goes_with_the_scan(self, candidate: ModelVersion) -> None:
        row = finish(submit())
        shadowing.begin(version=candidate)
        follow()
        deletion.delete_scans(scans=type(row.scan).objects.filter(pk=row.scan_id))
        deletion.erase_deleted()
        assert not ShadowAnswer.objects.exists()

    def test_old_answers_are_let_go(self, candidate: ModelVersion) -> None:
        finish(submit())
        Prediction.objects.update(finished_at=timezone.now() - shadowing.WITHIN * 2)
        shadowing.begin(version=candidate)
        assert follow() == 0


def _pixels(row: Prediction) -> Any:
    import numpy as np
    from PIL import Image

    with Image.open(storage.stream(row.scan.image_key)) as image:
        return np.asarray(image)


class TestWho:
    def test_one_at_a_time_and_never_production(
        self, candidate: ModelVersion, model: ModelVersion
    ) -> None:
        model.artifact = "a" * 64
        model.save()
        with pytest.raises(ReleaseError, match="needs no shadow"):
            shadowing.begin(version=model)
        shadowing.begin(version=candidate, actor="ada")
        shadowing.begin(version=candidate)
        assert [e.kind for e in candidate.events.all()[:2]] == ["shadowed", "registered"]
        other = ModelVersion.objects.create(
            name="tumorsite", version="9", digest="b" * 64, artifact="b" * 64
        )
        shadowing.begin(version=other)
        candidate.refresh_from_db()
        assert not candidate.shadow
        assert shadowing.in_shadow() == other
        assert shadowing.end()
        assert not shadowing.end()
        assert other.events.first().kind == ModelEvent.Kind.UNSHADOWED  # type: ignore[union-attr]

    def test_a_promotion_ends_it(self, candidate: ModelVersion) -> None:
        shadowing.begin(version=candidate)
        registry.promote(version=candidate, override="tried")
        assert shadowing.in_shadow() is None

    def test_visitors_never_see_it_and_no_export_has_it(
        self, candidate: ModelVersion, client: Client
    ) -> None:
        owner = make_user()
        client.force_login(owner)
        row = finish(submit(owner=owner))
        places = (
            reverse("result", args=[row.pk]),
            reverse("state", args=[row.pk]),
            reverse("history"),
            reverse("export"),
            reverse("home"),
        )
        before = [_content(client, place) for place in places]
        shadowing.begin(version=candidate)
        assert follow() == 1
        ShadowAnswer.objects.update(label="pituitary", uncertainty=0.123456)
        for place, earlier in zip(places, before, strict=True):
            now = _content(client, place)
            assert str(candidate) not in now
            assert "0.123456" not in now
            assert len(now) == pytest.approx(len(earlier), abs=200)
        assert client.get(reverse("training")).status_code == 404


def _content(client: Client, place: str) -> str:
    answer: Any = client.get(place)
    return (b"".join(answer) if answer.streaming else answer.content).decode()


class TestReport:
    def test_command_and_page(self, candidate: ModelVersion, client: Client) -> None:
        with pytest.raises(CommandError, match="Nothing runs in the shadow"):
            said("shadow", report=True)
        assert "in the shadow from now on" in said("shadow", "2")
        rows = [finish(submit(seed=number)) for number in range(3)]
        follow()
        ShadowAnswer.objects.update(label="glioma", uncertainty=0.5, area_iou=0.25)
        ShadowAnswer.objects.filter(prediction=rows[0]).update(label="pituitary")
        refused = finish(submit(seed=3))
        ShadowAnswer.objects.update(seconds=0.5)
        ShadowAnswer.objects.create(
            prediction=refused, model_version=candidate, outcome=Outcome.REJECTED, seconds=9
        )
        report = shadow_report(candidate)
        assert report.seconds == pytest.approx(0.5), "of those that both have answered"
        assert (report.n, report.both, report.same) == (4, 3, 2)
        assert (report.iou, report.doubt) == (0.25, 0.5)
        assert report.classes[0].share == pytest.approx(2 / 3)
        text = said("shadow", report=True)
        assert "same finding: 66.7% of 3 that both answered" in text
        assert "Glioma: 66.7% of 3" in text
        client.force_login(User.objects.create_superuser("admin@example.org", "secret"))
        page = client.get(reverse("training")).content.decode()
        assert "tumorsite 2 is asked about 100% of the scans" in page
        assert "The shadow has ended." in said("shadow", "off")

    def test_admin_actions(self, candidate: ModelVersion, client: Client) -> None:
        client.force_login(User.objects.create_superuser("admin@example.org", "secret"))
        place = reverse("admin:predictions_modelversion_changelist")
        chosen = {"_selected_action": [str(candidate.pk)]}
        client.post(place, {"action": "begin_shadow", **chosen})
        assert shadowing.in_shadow() == candidate
        client.post(place, {"action": "end_shadow", **chosen})
        assert shadowing.in_shadow() is None


class TestTasks:
    def test_the_shadow_worker_is_woken_once(self, candidate: ModelVersion) -> None:
        tasks.ask_shadow.run()
        assert messages_waiting(Queue.SHADOW) == [0], "nothing runs there"
        shadowing.begin(version=candidate)
        for _ in range(3):
            tasks.ask_shadow.run()
        assert messages_waiting(Queue.SHADOW) == [1]
        row = finish(submit())
        tasks.run_shadow.run()
        assert row.shadows.exists()

    def test_a_network_that_is_damaged_harms_nobody(
        self, candidate: ModelVersion, caplog: pytest.LogCaptureFixture
    ) -> None:
        finish(submit())
        ModelVersion.objects.filter(pk=candidate.pk).update(artifact="e" * 64, shadow=True)
        tasks._shadow_analyzer.cache_clear()
        tasks.run_shadow.run()
        assert "nothing runs in the shadow at the moment" in caplog.text
