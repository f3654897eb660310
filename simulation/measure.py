"""`python -m simulation.measure`: measure the inputs of the simulation on this machine.

It runs the whole site for about a minute and prints the measured values. They are written into
`constants.toml` by hand, with the date, as a table in the docs must not change by itself.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np

from benchmarks.site import Site, Visitor, running_site

WRITES = {"INSERT", "UPDATE", "DELETE"}
MESSAGES, AUDITED = 2000, 20_000


@contextmanager
def _statements(counted: Counter[str]) -> Iterator[None]:
    """Count the statements that this process sends to the database, by first word."""
    from django.db import connection

    def count(execute: Callable[..., Any], sql: str, *rest: Any) -> Any:
        counted[sql.split(None, 1)[0].upper()] += 1
        return execute(sql, *rest)

    with connection.execute_wrapper(count):
        yield


def passes(site: Site, images: list[np.ndarray]) -> dict[str, float]:
    """Seconds of a pass with one scan, and per scan if full passes follow each other."""
    from benchmarks import queue
    from predictions.models import Prediction
    from predictions.owners import Owner

    queue.queue_rate(queue.fill(images[:16], Owner(visitor=uuid4())))
    alone = []
    for image in images[:30]:
        rows = queue.fill([image], Owner(visitor=uuid4()))
        queue.queue_rate(rows)
        row = Prediction.objects.get(pk=rows[0].pk)
        if row.started_at is None or row.finished_at is None:
            raise RuntimeError(f"prediction {row.pk} has no time of its pass")
        alone.append((row.finished_at - row.started_at).total_seconds())
    rows = queue.fill(images, Owner(visitor=uuid4()))
    used = site.processor_seconds("inference worker")
    rate, _ = queue.queue_rate(rows)
    return {
        "pass_seconds_alone": float(np.median(alone)),
        "scan_seconds_in_full_passes": 1 / rate,
        "worker_processor_seconds_per_scan": (site.processor_seconds("inference worker") - used)
        / len(images),
    }


def web(site: Site, images: list[np.ndarray]) -> dict[str, float]:
    """Processor seconds of the web per upload, poll of its state, page, and picture."""
    from mltasks.images import encode_png

    visitor = Visitor(site.port)
    visitor.get("/")
    contents = [encode_png(image) for image in images]

    def spent(work: Callable[[], object], times: int) -> float:
        before = site.processor_seconds("web")
        for _ in range(times):
            work()
        return (site.processor_seconds("web") - before) / times

    results = []
    upload = spent(
        lambda: results.append(visitor.upload("scan.png", contents[len(results)])), len(contents)
    )
    state = results[-1]["state_url"]
    page = state.replace("state.json", "")
    found = {
        "web_seconds_per_upload": upload,
        "web_seconds_per_poll": spent(lambda: visitor.get(state), 100),
        "web_seconds_per_page": spent(lambda: visitor.get(page), 50),
    }
    while not json.loads(visitor.get(state))["finished"]:
        time.sleep(0.1)
    shown = re.findall(r'src="([^"]+/images/[^"]+)"', visitor.get(page).decode())
    asked = itertools.cycle({*shown, f"{page}images/thumbnail.png"})
    return found | {"web_seconds_per_picture": spent(lambda: visitor.get(next(asked)), 300)}


def database(images: list[np.ndarray]) -> dict[str, float]:
    """Statements per scan from upload to answer, and those that write, in passes of eight."""
    import io

    from benchmarks import queue
    from mltasks.images import encode_png
    from predictions import batches as work
    from predictions.owners import Owner
    from predictions.services.submission import submit_scan

    counted: Counter[str] = Counter()
    with _statements(counted):
        for image in images[:8]:
            submit_scan(
                file=io.BytesIO(encode_png(image)), name="scan.png", owner=None, visitor=uuid4()
            )
    time.sleep(3)
    rows = queue.fill(images[:8], Owner(visitor=uuid4()))
    with _statements(counted):
        work.answer_waiting(prediction_id=str(rows[0].pk), task_id="measured")
    return {
        "writes_per_scan": sum(counted[word] for word in WRITES) / 8,
        "statements_per_scan": sum(counted.values()) / 8,
    }


def stored(folder: Path, before: tuple[int, int, int], scans: int) -> dict[str, float]:
    files, size, rows = (after - b for after, b in zip(_held(folder), before, strict=True))
    return {
        "objects_per_scan": files / scans,
        "object_bytes_per_scan": size / scans,
        "database_bytes_per_scan": rows / scans,
    }


def _held(folder: Path) -> tuple[int, int, int]:
    """Number of objects, their bytes, and the bytes of the database."""
    found = [entry for entry in (folder / "objects" / "scans").rglob("*") if entry.is_file()]
    held = sum(entry.stat().st_size for entry in folder.glob("db.sqlite3"))
    return len(found), sum(entry.stat().st_size for entry in found), held


def audit(folder: Path) -> dict[str, float]:
    """Bytes of the audit row written for each picture shown, including indexes."""
    from django.db import connection

    from predictions.models import Access, Prediction

    def size() -> int:
        with connection.cursor() as cursor:
            cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return _held(folder)[2]

    shown = list(Prediction.objects.values_list("scan_id", "pk"))
    before = size()
    Access.objects.bulk_create(
        Access(scan_id=scan, prediction_id=prediction, kind="attention", visitor=uuid4())
        for scan, prediction in itertools.islice(itertools.cycle(shown), AUDITED)
    )
    return {"database_bytes_per_picture": (size() - before) / AUDITED}


def broker() -> dict[str, float]:
    """Bytes of a waiting message, in a queue that nobody reads."""
    import redis
    from django.conf import settings

    from predictions.tasks import analyze_prediction

    client = redis.Redis.from_url(settings.CELERY_BROKER_URL)

    def used() -> int:
        information: Any = client.info("memory")
        return int(information["used_memory"])

    before = used()
    for _ in range(MESSAGES):
        analyze_prediction.apply_async([str(uuid4())], queue="measured")
    taken = used() - before
    client.delete("measured")
    return {"broker_bytes_per_message": taken / MESSAGES}


def worker_start(folder: Path) -> dict[str, float]:
    """Seconds from the start of a worker's process until its network is loaded and warm."""
    log = folder / "second.log"
    start = time.perf_counter()
    with log.open("wb") as output:
        process = subprocess.Popen(
            [
                Path(sys.executable).parent / "celery", "-A", "tumorsite", "worker",
                "-Q", "inference", "-n", "inference@measured", "--loglevel", "INFO",
                "--pool", "prefork", "-c", "1", "--without-gossip", "--without-mingle",
            ],
            stdout=output,
            stderr=subprocess.STDOUT,
        )  # fmt: skip
    try:
        while "is loaded and warm" not in log.read_text(errors="replace"):
            if process.poll() is not None or time.perf_counter() - start > 120:
                raise SystemExit(f"The worker did not start: {log.read_text()[-1000:]}")
            time.sleep(0.05)
        return {"worker_start_seconds": time.perf_counter() - start}
    finally:
        process.terminate()
        process.wait(60)


def commits(seconds: float = 3.0, clients: int = 4) -> dict[str, float]:
    """Writing transactions a second of PostgreSQL on this machine, with one statement each."""
    import psycopg

    from tests.support.servers import Postgres

    server = Postgres()
    done = [0] * clients
    try:
        with psycopg.connect(server.url, autocommit=True) as link:
            link.execute("CREATE TABLE measured (id int PRIMARY KEY, n int, filler text)")
            link.execute(
                "INSERT INTO measured SELECT i, 0, repeat('x', 300) FROM generate_series(0, 9999) i"
            )
        end = time.perf_counter() + seconds

        def write(number: int) -> None:
            with psycopg.connect(server.url, autocommit=True) as link:
                while time.perf_counter() < end:
                    row = number + clients * (done[number] % 2000)
                    link.execute("UPDATE measured SET n = n + 1 WHERE id = %s", [row])
                    done[number] += 1

        crowd = [threading.Thread(target=write, args=(number,)) for number in range(clients)]
        for thread in crowd:
            thread.start()
        for thread in crowd:
            thread.join()
    finally:
        server.stop()
    return {"database_writes_per_second": sum(done) / seconds}


def measure(count: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory(prefix="tumorsite-measure-") as name:
        folder = Path(name)
        os.environ["DATA_DIR"] = name
        os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tumorsite.settings")
        with running_site(folder, SWEEP_SECONDS="600") as site:
            import django

            django.setup()
            from django.conf import settings

            from benchmarks.pictures import pictures

            kind, images = pictures(count, settings.TRAINING_DATA)
            print(f"{count} {kind}, {os.cpu_count()} cores", file=sys.stderr)
            before = _held(folder)
            found = passes(site, images)
            found |= stored(folder, before, 16 + 30 + len(images))
            found |= web(site, images[:40])
            found |= audit(folder)
            found |= broker()
            found |= database(images)
            found |= worker_start(folder)
            found |= {
                f"{role.replace(' ', '_')}_mebibytes": sum(
                    size for other, size in site.memory() if other == role
                )
                for role in ("web", "inference worker")
            }
        return found | commits()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m simulation.measure", description=__doc__)
    parser.add_argument("--images", type=int, default=240, help="pictures sent through the queue")
    found = measure(parser.parse_args().images)
    print(json.dumps({name: float(f"{value:.4g}") for name, value in found.items()}, indent=2))


if __name__ == "__main__":
    main()
