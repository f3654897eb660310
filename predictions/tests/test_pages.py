"""The pages of scans and results: what each state shows, and what a form leads to."""

from __future__ import annotations

import re
from datetime import timedelta
from urllib.parse import quote
from uuid import UUID, uuid4

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from wagtail.models import Page

from predictions.models import ModelVersion, Prediction, Status
from predictions.services import lifecycle
from predictions.tests.test_model_figures import card, crossed
from tests.support.records import conclude, finish, rejection, start, submit

pytestmark = pytest.mark.django_db


@pytest.fixture
def visitor() -> UUID:
    return uuid4()


@pytest.fixture
def browser(client: Client, visitor: UUID) -> Client:
    """A visitor's browser, on localhost."""
    session = client.session
    session["visitor"] = str(visitor)
    session.save()
    client.defaults["SERVER_NAME"] = "localhost"
    return client


def test_the_front_page_is_kept_by_nobody(browser: Client) -> None:
    assert "no-store" in browser.get("/")["Cache-Control"]


def page(browser: Client, address: str, *, status: int = 200) -> str:
    response = browser.get(address)
    assert response.status_code == status
    return " ".join(response.content.decode().split())


def test_an_empty_history_says_what_to_do(browser: Client, model: ModelVersion) -> None:
    text = page(browser, reverse("history"))
    assert "Nothing here yet" in text
    assert "Export as CSV" not in text
    assert "Nothing matches" in page(browser, reverse("history") + "?q=zzz")


def test_the_history_lists_and_links(browser: Client, visitor: UUID, model: ModelVersion) -> None:
    done = finish(submit(visitor=visitor, name="one.png"))
    waiting = submit(visitor=visitor, name="two.png", seed=1)
    text = page(browser, reverse("history"))
    assert reverse("picture", args=[done.pk, "thumbnail", "png"]) in text
    assert f'data-state-url="{reverse("state", args=[waiting.pk])}"' in text
    assert f'data-state-url="{reverse("state", args=[done.pk])}"' not in text
    filtered = page(browser, reverse("history") + "?status=succeeded")
    assert "one.png" in filtered
    assert "two.png" not in filtered
    assert f'{reverse("export")}?status=succeeded"' in filtered


def test_the_wait_page_says_where_it_stands(
    browser: Client, visitor: UUID, model: ModelVersion
) -> None:
    first = submit(visitor=visitor)
    second = submit(visitor=visitor, seed=1)
    text = page(browser, second.get_absolute_url())
    assert "number 2" in text
    assert '<noscript> <meta http-equiv="refresh" content="3"> </noscript>' in text
    start(first)
    assert ": next" in page(browser, second.get_absolute_url())
    running = page(browser, first.get_absolute_url())
    assert re.search(r'data-step="running" aria-current="step"', running)


def test_the_wait_page_says_when_it_takes_long(
    browser: Client, visitor: UUID, model: ModelVersion
) -> None:
    waiting = submit(visitor=visitor)
    text = page(browser, waiting.get_absolute_url())
    assert '<p class="notice" data-late hidden>' in text
    assert re.search(r'data-late-after="([1-9]|10)"', text)
    Prediction.objects.update(queued_at=timezone.now() - timedelta(seconds=11))
    text = page(browser, waiting.get_absolute_url())
    assert '<p class="notice" data-late > This takes longer than usual.' in text
    assert "<span data-usual hidden>" in text
    assert "Waiting: next in line" in re.sub("<.*?>", "", text)


@pytest.mark.parametrize("name", ["account_signup", "account_login"])
def test_sign_up_and_sign_in_lead_back(
    browser: Client, visitor: UUID, model: ModelVersion, name: str
) -> None:
    result = finish(submit(visitor=visitor)).get_absolute_url()
    links = {
        result: f"{reverse(name)}?next={quote(result, safe='')}",
        "/scans/?status=succeeded": f"{reverse(name)}?next=%2Fscans%2F%3Fstatus%3Dsucceeded",
    }
    for address, link in links.items():
        to = re.findall(rf'href="({reverse(name)}[^"]*)"', page(browser, address))
        assert len(to) > 1 or name == "account_login"
        assert set(to) == {link}
    assert f'href="{reverse(name)}?next' not in page(browser, reverse("account_reset_password"))


def test_the_state_tells_a_script_the_same(
    browser: Client, visitor: UUID, model: ModelVersion
) -> None:
    prediction = submit(visitor=visitor)
    address = reverse("state", args=[prediction.pk])
    waiting = browser.get(address).json()
    assert (waiting["finished"], waiting["place"], waiting["finding"]) == (False, 1, "")
    finish(prediction)
    done = browser.get(address).json()
    assert (done["finished"], done["label"]) == (True, "Glioma")
    assert done["finding"] == "The network sees signs of a glioma"


def test_a_result_has_its_pictures_and_its_limits(
    browser: Client, visitor: UUID, model: ModelVersion
) -> None:
    model.card = card()
    model.save()
    prediction = finish(submit(visitor=visitor))
    text = page(browser, prediction.get_absolute_url())
    for kind in ("image", "area", "attention"):
        assert reverse("picture", args=[prediction.pk, kind, "png"]) in text
    for kind in ("outline", "contours"):
        assert reverse("picture", args=[prediction.pk, kind, "svg"]) in text
    assert "Outline (SVG)" in text
    assert "This is not a diagnosis." in text
    assert "90.0%" in text
    assert "The marked area is at the upper left of the picture, as you look at it," in text
    assert "Of 100 test slices it names about 5 wrongly." in text
    assert "Take the original scan, not this page, to your doctor." in text
    assert text.index("This is not a diagnosis.") < text.index("What now?")
    assert 'style="' not in text


def test_a_result_links_to_its_page_while_that_is_published(
    browser: Client, visitor: UUID, model: ModelVersion
) -> None:
    prediction = finish(submit(visitor=visitor), label="glioma")
    link = 'href="/learn/glioma/">About glioma'
    symptoms = 'href="/learn/symptoms/">Symptoms that need help today'
    assert link not in page(browser, prediction.get_absolute_url())
    root = Page.get_first_root_node()
    about = root.add_child(instance=Page(title="Glioma", slug="glioma", live=True))
    assert link in page(browser, prediction.get_absolute_url())
    about.unpublish()
    root.add_child(instance=Page(title="Symptoms", slug="symptoms", live=True))
    text = page(browser, prediction.get_absolute_url())
    assert symptoms in text
    assert "About glioma" not in text


def test_a_flagged_result_warns_and_promises_nothing(
    browser: Client, visitor: UUID, model: ModelVersion
) -> None:
    prediction = finish(
        submit(visitor=visitor),
        flagged=True,
        committed=False,
        unlikeness=0.7,
        prediction_set=("glioma", "meningioma"),
    )
    text = page(browser, prediction.get_absolute_url())
    assert "Do not rely on the figures below" in text
    assert text.count("unlike those the network learnt from") == 1
    assert "probabilities-muted" in text
    assert "This is not a diagnosis." in text
    assert "95 times in 100" not in text, "a set promises nothing for such a picture"
    state = browser.get(reverse("state", args=[prediction.pk])).json()
    assert state["prediction_set"] == ["glioma", "meningioma"]
    assert (state["flagged"], state["committed"]) == (True, False)


def test_a_set_of_answers_comes_with_what_it_promises(
    browser: Client, visitor: UUID, model: ModelVersion
) -> None:
    prediction = finish(
        submit(visitor=visitor), committed=False, prediction_set=("glioma", "meningioma")
    )
    text = page(browser, prediction.get_absolute_url())
    assert "It could not rule out meningioma." in text
    assert "among those left 95 times in 100 on average" in text
    assert "for this picture alone that promises nothing" in text


def test_contours_are_shown_with_their_picture_only(
    browser: Client, visitor: UUID, model: ModelVersion
) -> None:
    prediction = finish(submit(visitor=visitor))
    assert 'data-layer="contours"' in page(browser, prediction.get_absolute_url())
    type(prediction).objects.update(contours_key="", area_range=None)
    text = page(browser, prediction.get_absolute_url())
    assert 'data-layer="contours"' not in text
    assert "95 times in 100" not in text


def test_a_result_without_a_tumour_tells_of_missed_ones(
    browser: Client, visitor: UUID, model: ModelVersion
) -> None:
    model.card = card()
    model.save()
    prediction = finish(submit(visitor=visitor), label="no_tumor")
    text = page(browser, prediction.get_absolute_url())
    assert "Of 100 slices with a tumour it calls about 3 “no tumour”." in text
    assert "This does not rule a tumour out." in text
    assert "No area was marked." in text
    assert 'data-toggle="area"' not in text


def test_a_network_without_figures_is_not_to_be_relied_on(
    browser: Client, visitor: UUID, model: ModelVersion
) -> None:
    prediction = finish(submit(visitor=visitor))
    assert "Do not rely on it at all" in page(browser, prediction.get_absolute_url())


def test_what_came_to_nothing_says_why_and_what_next(
    browser: Client, visitor: UUID, model: ModelVersion
) -> None:
    rejected = submit(visitor=visitor)
    conclude(start(rejected), rejection())
    text = page(browser, rejected.get_absolute_url())
    assert "This is not a brain." in text
    assert "Which pictures work" in text
    assert "Run again" not in text
    assert "Download report" not in text
    failed = start(submit(visitor=visitor, seed=1))
    lifecycle.fail(prediction=failed, code="crashed", message="It stopped.")
    text = page(browser, failed.get_absolute_url())
    assert "It stopped." in text
    assert text.count("Run again") == 1
    cancelled = submit(visitor=visitor, seed=2)
    lifecycle.cancel(prediction=cancelled)
    assert "The analysis was cancelled" in page(browser, cancelled.get_absolute_url())


def test_two_scans_chosen_in_the_history_are_compared(
    browser: Client, visitor: UUID, model: ModelVersion
) -> None:
    one = finish(submit(visitor=visitor))
    two = finish(submit(visitor=visitor, seed=1), label="meningioma")
    chosen = {"scan": [str(one.scan_id), str(two.scan_id)]}
    response = browser.post(reverse("compare"), chosen)
    assert response.status_code == 302
    assert {str(one.pk), str(two.pk)} <= set(re.findall(r"[0-9a-f-]{36}", response["Location"]))
    text = page(browser, response["Location"])
    assert "signs of a glioma" in text
    assert "signs of a meningioma" in text
    assert "probabilities-muted" not in text
    assert text.index("This is not a diagnosis.") < text.index("data-panes")
    Prediction.objects.filter(pk=two.pk).update(flagged=True)
    text = page(browser, response["Location"])
    assert text.count("probabilities-muted") == 4, "a cell of each answer"


def test_comparing_takes_two_of_ones_own(
    browser: Client, visitor: UUID, model: ModelVersion
) -> None:
    own = finish(submit(visitor=visitor))
    other = finish(submit(seed=1))
    response = browser.post(
        reverse("compare"), {"scan": [str(own.scan_id), str(other.scan_id), "nonsense"]}
    )
    assert response["Location"] == reverse("history")
    page(browser, f"{reverse('compare')}?result={own.pk}&result={other.pk}", status=404)


def test_the_newest_run_of_a_scan_is_compared(
    browser: Client, visitor: UUID, model: ModelVersion
) -> None:
    first = submit(visitor=visitor)
    lifecycle.cancel(prediction=first)
    again = Prediction.objects.create(scan=first.scan, model_version=model)
    other = finish(submit(visitor=visitor, seed=1))
    response = browser.post(reverse("compare"), {"scan": [str(first.scan_id), str(other.scan_id)]})
    assert str(again.pk) in response["Location"]
    assert str(first.pk) not in response["Location"]


def test_deleting_asks_first(browser: Client, visitor: UUID, model: ModelVersion) -> None:
    one, two = submit(visitor=visitor), submit(visitor=visitor, seed=1)
    chosen = {"scan": [str(one.scan_id), str(two.scan_id)]}
    asked = browser.post(reverse("delete_many"), chosen)
    assert "Delete 2 scans?" in asked.content.decode()
    assert Prediction.objects.filter(status=Status.QUEUED).count() == 2
    browser.post(reverse("delete_many"), {**chosen, "confirmed": "yes"})
    assert "Nothing here yet" in page(browser, reverse("history"))


def test_the_page_about_the_network(browser: Client, model: ModelVersion) -> None:
    assert "No errors have been measured" in page(browser, reverse("model"))
    model.card = {**card(), "attribution": ["Training images: BRISC 2025."]}
    model.save()
    text = page(browser, reverse("model"))
    assert "it names about 5 in 100 wrongly" in text
    assert "expect worse" in text
    assert "<strong>2 of 75</strong> slices with a tumour" in text
    assert "BRISC 2025" in text
    assert model.digest in text
    assert "How well it draws" in text
    assert "too narrow" not in text
    assert "Not learnt from is not unseen" in text
    assert "is decided by how they do on these slices" in text
    assert "set on these same slices" not in text
    assert "Cross-fitted" not in text
    for own in model.card["metrics"]["validation"]["per_class"].values():
        own |= {"groups": 5, "few_groups": True}
    model.save()
    text = page(browser, reverse("model"))
    assert "5 (few)" in text
    assert "the interval is too narrow" in text
    assert "On heads from elsewhere" not in text
    assert "Other parts of the body" not in text
    part = {"n": 20, "tumors": 0, "accuracy": {"value": 0.6, "ci95": [0.5, 0.7]}}
    part |= {key: {"value": 0.25, "ci95": None} for key in ("refused", "flagged")}
    part["confidently_wrong"] = {"value": None, "ci95": None}
    heart = {"n": 95, "accepted": 24, "flagged": 64}
    model.card["metrics"] |= {
        "elsewhere": part | {"by_source": {"proton density": part}},
        "other_bodies": heart | {"by_source": {"MR of a heart": heart}},
    }
    model.save()
    text = page(browser, reverse("model"))
    assert (
        "On healthy heads from other scanners about 40 in 100. Expect worse than the first" in text
    )
    assert "Proton density" in text
    assert "every other answer is a false alarm" in text
    assert "<strong>40.0%</strong> of slices of healthy heads from other people" in text
    assert '<td class="number">–</td>' in text
    assert "<strong>24 of 95</strong> real MRI slices of other parts" in text
    assert "64 more with one" in text
    assert "MR of a heart" in text
    model.card["calibration"] = crossed()
    model.card["metrics"]["data"] = {"groups_calibrated_on": 30}
    model.save()
    text = page(browser, reverse("model"))
    assert "set on these same slices" in text
    assert "calls “calibration error, cross-fitted”." in text
    model.card["calibration"]["cross_fitted"]["plain"]["ci95"] = {
        "calibration_error": [0.01, 0.08], "set_coverage": [0.9, 0.99],
    }  # fmt: skip
    model.save()
    text = page(browser, reverse("model"))
    assert '5.0%</td> <td class="number muted">1.0%–8.0%</td>' in text
    assert '96.0%</td> <td class="number muted">90.0%–99.0%</td>' in text
    model.card["metrics"]["validation"]["dice"] = {
        "n": 0, "median": {"value": None, "ci95": None}, "empty_or_disjoint": 0.0,
    }  # fmt: skip
    model.save()
    assert "How well it draws" not in page(browser, reverse("model"))
    model.delete()
    assert "No network is in service" in page(browser, reverse("model"))


@pytest.mark.parametrize("name", ["home", "how_it_works", "privacy", "terms"])
def test_public_pages_open_for_everyone(client: Client, name: str) -> None:
    client.defaults["SERVER_NAME"] = "localhost"
    text = page(client, reverse(name))
    assert "Not a medical device." in text
    assert text.count("<h1") == 1


def test_a_fault_stands_beside_the_drop_zone(browser: Client, model: ModelVersion) -> None:
    response = browser.post(reverse("history"))
    assert response.status_code == 400
    assert "No picture was chosen" in response.content.decode()
