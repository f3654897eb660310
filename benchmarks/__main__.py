"""`make bench`: run everything on this machine and print a table of ratios."""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path
from uuid import uuid4

import numpy as np

from benchmarks.site import Site, running_site


def _p(times: list[float], percentile: float) -> float:
    return 1000 * float(np.percentile(times, percentile))


def _row(what: str, ratio: float, measured: str) -> None:
    print(f"| {what} | {ratio:.2f} | {measured} |")


def _network(site: Site, folder: Path, count: int) -> None:
    from django.conf import settings

    from benchmarks import engine, queue
    from benchmarks.pictures import pictures
    from mltasks.inference import load_analyzer
    from predictions.owners import Owner

    batch = settings.INFERENCE_BATCH
    kind, images = pictures(count, settings.TRAINING_DATA)
    analyzer = load_analyzer(settings.MODEL_DIR, threads=settings.INFERENCE_THREADS)
    queue.queue_rate(queue.fill(images[:16], Owner(visitor=uuid4())))
    rows = queue.fill(images, Owner(visitor=uuid4()))
    # Right before and right after the queue, as the speed of a shared machine changes.
    passes = [engine.forward_rate(analyzer, images, batch)]
    used = site.processor_seconds("inference worker")
    rate, ends = queue.queue_rate(rows)
    seconds = (site.processor_seconds("inference worker") - used) / len(images)
    answers = engine.answer_rate(analyzer, images, batch)
    passes.append(engine.forward_rate(analyzer, images, batch))
    forward, forward_seconds = np.mean(passes, axis=0)
    times = queue.upload_to_result(site.port, images[:60])
    single = engine.images_per_second(lambda: analyzer.analyze(images[:1]), 1)
    process = engine.seconds_per_request(settings.MODEL_DIR, images[0], folder)

    threads = settings.INFERENCE_THREADS or os.cpu_count()
    print(f"\n## Network and queue: {count} {kind}, batches of {batch}, {threads} threads\n")
    print("| what | ratio | measured |\n|---|---|---|")
    _row("queue : bare forward pass", rate / forward, f"{rate:.0f} : {forward:.0f} images/s")
    _row(
        "processor time an image, bare forward pass : queue's worker",
        forward_seconds / seconds,
        f"{1000 * forward_seconds:.1f} : {1000 * seconds:.1f} ms",
    )
    _row(
        "queue : whole answers without a queue",
        rate / answers,
        f"{rate:.0f} : {answers:.0f} images/s",
    )
    _row(
        "a Keras process per request : loaded worker",
        process * single,
        f"{process:.2f} s : {1000 / single:.1f} ms",
    )
    _row(
        "upload to result, p95 : p50",
        _p(times, 95) / _p(times, 50),
        f"{_p(times, 95):.0f} : {_p(times, 50):.0f} ms, {len(times)} uploads",
    )
    print(f"\nHow the queued ones ended: {ends}.\n")
    print("| process | memory (PSS), MiB |\n|---|---|")
    for role, mebibytes in site.memory():
        print(f"| {role} | {mebibytes:.0f} |")


def _history(folder: Path, many: int, turns: int) -> None:
    from benchmarks import history

    few, long = history.compare(folder, 1000, many, turns=turns, seconds=4)
    slower = [b / a for a, b in zip(few.p95, long.p95, strict=True)]
    faster = [b / a for a, b in zip(few.rates, long.rates, strict=True)]
    print(f"\n## History page: {many:,} scans against 1,000, {turns} turns each\n")
    print("| what | ratio | measured |\n|---|---|---|")
    _row(
        "p95, median of the turns",
        float(np.median(slower)),
        f"{np.median(few.p95):.0f} ms at 1,000; a turn {min(slower):.2f} to {max(slower):.2f}",
    )
    _row(
        "requests/s, median of the turns",
        float(np.median(faster)),
        f"{np.median(few.rates):.0f} at 1,000",
    )
    _row("queries", long.queries / few.queries, f"{long.queries} : {few.queries}")


def _engines(folder: Path, rounds: int, seconds: float) -> None:
    from django.conf import settings

    from benchmarks.engine_run import report
    from mltasks.data import DataError

    folder = folder / "engines"
    folder.mkdir()
    try:
        text = report(
            settings.MODEL_DIR, settings.TRAINING_DATA, folder, rounds=rounds, seconds=seconds
        )
    except DataError as error:
        raise SystemExit(f"TRAINING_DATA: {error}") from None
    print(f"\n{text}")


def _site(folder: Path, options: argparse.Namespace) -> None:
    with running_site(folder, SWEEP_SECONDS="600") as site:
        # Only after the start, as the settings read the broker's address from the data folder.
        import django

        django.setup()
        _network(site, folder, options.images)


def main() -> None:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--images", type=int, default=400, help="pictures sent through the queue")
    parser.add_argument("--scans", type=int, default=1_000_000, help="scans of the long history")
    parser.add_argument("--turns", type=int, default=15, help="visits to each of both histories")
    parser.add_argument("--only", choices=("network", "history", "engines"))
    parser.add_argument("--rounds", type=int, default=9, help="repetitions of the engines")
    parser.add_argument(
        "--seconds", type=float, default=0.4, help="for each engine and batch in a repetition"
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="tumorsite-bench-") as name:
        os.environ["DATA_DIR"] = name
        os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tumorsite.settings")
        if options.only in {None, "network"}:
            _site(Path(name), options)
        if options.only in {None, "history"}:
            _history(Path(name), options.scans, options.turns)
        # Only after the site has ended, as its processes would take processor time.
        if options.only in {None, "engines"}:
            _engines(Path(name), options.rounds, options.seconds)


if __name__ == "__main__":
    main()
