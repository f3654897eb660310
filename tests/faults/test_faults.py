"""Whatever breaks, nothing is lost, stuck or doubled, and the open page shows no error."""

from __future__ import annotations

import json
import threading
import time

import numpy as np
import pytest

from mltasks.images import encode_png
from tests.faults.watching import Watcher, pixels_of
from tests.support.http import Answer, Browser
from tests.support.pictures import drawn_head, mri_png
from tests.support.poisoned_worker import POISON_SIZE
from tests.support.processes import Process, wait_until
from tests.support.site import Site, states

pytestmark = [pytest.mark.faults, pytest.mark.timeout(900)]

ANSWERED = {"succeeded", "rejected"}


def large(seed: int) -> bytes:
    """A picture that takes long enough to be caught in the middle of its run."""
    pixels = np.kron(drawn_head(256), np.ones((7, 7), np.uint8))
    pixels[:8, :8] = seed
    return encode_png(pixels, level=1)


def assert_answered_once(site: Site, ids: list[str]) -> None:
    """Each has one answer, whose pictures are there; nothing else claims to be an answer."""
    rows = site.predictions()
    scans = [rows[pk]["scan_id"] for pk in ids]
    assert {rows[pk]["status"] for pk in ids} <= ANSWERED
    assert len([row for row in rows.values() if row["scan_id"] in scans]) == len(ids)
    assert site.recorded() <= site.objects()


def assert_not_deaf(site: Site) -> None:
    """A new upload is answered."""
    ids = Browser(site.url).submit(mri_png(seed=99))
    site.wait_for(ids, seconds=30)
    assert_answered_once(site, ids)


def test_a_killed_child_is_replaced_and_its_run_is_finished_by_another_attempt(
    site: Site,
) -> None:
    browser, uploads = Browser(site.url), [large(seed) for seed in range(4)]
    ids = browser.submit(*uploads)
    child = site.caught_running(ids)
    with Watcher(browser, ids[0], uploads[0]):
        held = [pk for pk in ids if site.status(pk) == "running"]
        child.kill()
        site.wait_for(ids)
    rows = site.predictions()
    assert {rows[pk]["attempt"] for pk in held} == {2}
    # At once, by the message that came back, and not only when the sweeper found them silent.
    log = site.worker.text()
    assert all(f"prediction {pk} goes to another attempt" in log for pk in held)
    assert_answered_once(site, ids)
    assert_not_deaf(site)


def test_a_killed_worker_leaves_its_run_to_the_next_one(site: Site) -> None:
    browser, uploads = Browser(site.url), [large(seed) for seed in range(4)]
    ids = browser.submit(*uploads)
    site.caught_running(ids)
    with Watcher(browser, ids[0], uploads[0]):
        held = [pk for pk in ids if site.status(pk) == "running"]
        site.worker.kill()
        site.worker.start()
        site.wait_for(ids)
    rows = site.predictions()
    assert {rows[pk]["attempt"] for pk in held} == {2}
    # By the sweeper: nobody gave the message back, and the broker waits for minutes before it does.
    log = site.general.text()
    assert all(f"prediction {pk} goes to another attempt" in log for pk in held)
    assert_answered_once(site, ids)


def test_a_task_delivered_twice_gives_one_answer(site: Site) -> None:
    browser, broker = Browser(site.url), site.valkey.client()
    site.worker.kill()
    ids = browser.submit(mri_png(seed=1))
    [message] = broker.lrange("inference", 0, -1)
    broker.lpush("inference", message, message)
    site.worker.start()
    site.wait_for(ids)
    before = site.predictions()[ids[0]]
    assert before["attempt"] == 1
    broker.lpush("inference", message)
    wait_until(lambda: broker.llen("inference") == 0, seconds=20, what="an empty queue")
    time.sleep(0.5)
    assert site.predictions()[ids[0]] == before
    assert_answered_once(site, ids)


def test_a_picture_that_kills_its_worker_fails_and_harms_no_other(
    site: Site, poisoned_worker: Process
) -> None:
    browser = Browser(site.url)
    poison = encode_png(np.tile(np.arange(79, dtype=np.uint8), (POISON_SIZE[0], 1)))
    contents = [mri_png(seed=1), poison, mri_png(seed=2), mri_png(seed=3)]
    ids = browser.submit(*contents)
    with Watcher(browser, ids[1], poison):
        poisoned_worker.start()
        site.wait_for(ids, seconds=90)
    row = site.predictions()[ids[1]]
    assert (row["status"], row["error_code"], row["attempt"]) == ("failed", "crashed", 3)
    page = browser.get(f"/results/{ids[1]}/", Accept="text/html")
    assert "stopped several times on this picture" in page.text
    assert_answered_once(site, [ids[0], *ids[2:]])


def test_a_broker_that_comes_back_empty_while_jobs_wait_and_run(site: Site) -> None:
    browser, uploads = Browser(site.url), [large(seed) for seed in range(12)]
    ids = browser.submit(*uploads[:6])
    child = site.caught_running(ids)
    ids += browser.submit(*uploads[6:])
    assert {"queued", "running"} <= {site.status(pk) for pk in ids}
    with Watcher(browser, ids[-1], uploads[-1]) as watcher:
        site.valkey.kill()
        child.resume()
        # Uploads go on without a broker; their messages are made up for.
        ids += browser.submit(mri_png(seed=5))
        time.sleep(1)
        site.valkey.start()
        site.wait_for(ids, seconds=90)
    assert watcher.states[-1] in ANSWERED
    assert_answered_once(site, ids)
    assert_not_deaf(site)


def test_messages_that_the_broker_has_lost_are_sent_again(site: Site) -> None:
    """Nobody else is left to tell: no task is under way, and no later upload sends its own."""
    site.worker.kill()
    ids = Browser(site.url).submit(*(mri_png(seed=seed) for seed in range(3)))
    site.valkey.kill()
    site.valkey.start()
    site.worker.start()
    site.wait_for(ids, seconds=90)
    assert_answered_once(site, ids)


def test_a_locked_database_delays_and_loses_nothing(site: Site) -> None:
    browser, uploads = Browser(site.url), [large(seed) for seed in range(4)]
    ids = browser.submit(*uploads)
    child = site.caught_running(ids)
    answers: list[Answer] = []
    upload = threading.Thread(
        target=lambda: answers.append(browser.upload([("late.png", mri_png(seed=6))]))
    )
    with site.database() as database:
        database.execute("BEGIN IMMEDIATE")
        child.resume()
        upload.start()
        time.sleep(4)
        assert answers == []
        database.execute("ROLLBACK")
    upload.join(200)
    assert [answer.status for answer in answers] == [201]
    ids += [result["id"] for result in answers[0].json()["results"]]
    site.wait_for(ids)
    assert_answered_once(site, ids)


def test_the_object_store_away_during_an_upload_and_during_saving(s3_site: Site) -> None:
    site, store = s3_site, s3_site.s3
    assert store is not None
    browser, uploads = Browser(site.url), [large(seed) for seed in range(3)]
    ids = browser.submit(*uploads)
    child = site.caught_running(ids)
    held = [pk for pk in ids if site.status(pk) == "running"]
    with Watcher(browser, ids[0], uploads[0], pictures=False):
        store.kill()
        child.resume()
        refused = browser.upload([("slice.png", mri_png(seed=1))])
        assert refused.status == 503
        [fault] = refused.json()["errors"]
        assert fault["name"] == "slice.png"
        assert fault["message"].startswith("The site cannot store pictures at the moment.")
        assert len(site.predictions()) == len(ids)
        wait_until(
            lambda: any(site.predictions()[pk]["outages"] for pk in held),
            seconds=60,
            what="an attempt to meet the outage",
        )
        store.start()
        site.wait_for(ids, seconds=90)
    rows = site.predictions()
    assert all(rows[pk]["attempt"] == rows[pk]["outages"] + 1 for pk in held), states(rows, held)
    assert {rows[pk]["status"] for pk in ids} <= ANSWERED
    picture = browser.get(f"/results/{ids[0]}/images/image.png")
    assert pixels_of(picture.body) == pixels_of(uploads[0])


def test_an_end_between_any_two_writes_of_an_upload(site: Site) -> None:
    before = set(site.predictions())
    ended_early = int(site.run("tests.support.interrupted", "submit"))
    # Two objects, two rows, a commit, a message; the last run goes through.
    assert ended_early >= 6
    # Both rows or neither: nobody would ever answer a scan without a prediction.
    assert site.scans() == {row["scan_id"] for row in site.predictions().values()}
    made = [pk for pk in site.predictions() if pk not in before]
    assert made, "the run that reached the end, and the one that ended after its commit"
    assert site.recorded() <= site.objects()
    site.wait_for(made)
    assert_answered_once(site, made)
    found = json.loads(site.run("tests.support.clean_up"))
    assert found["lost"] == 0
    assert found["removed"] > 0
    assert site.objects() == site.recorded()


def test_an_end_between_any_two_writes_of_an_answer(site: Site) -> None:
    browser = Browser(site.url)
    site.worker.kill()
    ids = browser.submit(*(mri_png(seed=seed) for seed in range(9)))
    ended_early = int(site.run("tests.support.interrupted", "complete", *ids))
    # The claim, its commit, three pictures, the answer and its commit.
    assert 6 <= ended_early < len(ids)
    watched = Watcher(browser, ids[2], mri_png(seed=2))
    with watched:
        site.worker.start()
        site.wait_for(ids, seconds=90)
    assert_answered_once(site, ids)
    found = json.loads(site.run("tests.support.clean_up"))
    assert found["lost"] == 0
    assert site.objects() == site.recorded()
