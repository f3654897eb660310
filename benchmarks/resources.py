"""What each part of the site needs in memory: the figures behind the chart's resource requests.

    python -m benchmarks.memory [--uploads N] [--engine onnx|tensorflow]

Starts every part as a process of its own with an S3 server, uploads pictures, a few of the
largest allowed among them, and prints the highest memory seen of each part.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tumorsite.settings")

LARGEST_SIDE = 6300


def tree_memory(pid: int) -> float:
    """MiB of a process and all below it, as a pod of its own would be charged.

    What they share is counted once, as much as the one that shares most has of it.
    """
    alone, shared = 0.0, 0.0
    try:
        root = psutil.Process(pid)
        for process in (root, *root.children(recursive=True)):
            info = process.memory_full_info()
            alone += info.uss
            shared = max(shared, info.rss - info.uss)
    except psutil.NoSuchProcess:
        pass
    return (alone + shared) / 2**20


class Watch(threading.Thread):
    """Keeps the highest memory of each part until told to stop."""

    def __init__(self, parts: dict[str, int]) -> None:
        super().__init__(daemon=True)
        self._parts, self._end = parts, threading.Event()
        self.highest = dict.fromkeys(parts, 0.0)

    def run(self) -> None:
        while not self._end.wait(0.1):
            for name, pid in self._parts.items():
                self.highest[name] = max(self.highest[name], tree_memory(pid))

    def stop(self) -> None:
        self._end.set()
        self.join()


def job_memory(command: list[str], env: dict[str, str]) -> float:
    """MiB that the largest child has needed until now, this one among them."""
    subprocess.run(command, env=env, check=True, stdout=subprocess.DEVNULL)
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**10


def measure(folder: Path, *, uploads: int, engine: str) -> dict[str, tuple[float, float]]:
    """Memory in MiB of each part: after the start, and the highest under load."""
    import django

    django.setup()
    from tests.support.http import Browser
    from tests.support.pictures import mri_png, png
    from tests.support.servers import S3
    from tests.support.site import ROOT, Site, migrate, prepare

    migrated, prepared = folder / "migrated", folder / "prepared"
    for place in (migrated, prepared, folder / "s3", folder / "site"):
        place.mkdir()
    migrate(migrated)
    prepare(migrated, prepared)
    store = S3(folder / "s3")
    store.start()
    site = Site(prepared, folder / "site", s3=store)
    for part in site.parts:
        part.env = {**(part.env or {}), "INFERENCE_ENGINE": engine, "INFERENCE_THREADS": "2"}
    try:
        manage = [sys.executable, str(ROOT / "manage.py")]
        job = job_memory([*manage, "migrate", "--noinput"], site.env)
        site.start()
        parts = {"web": site.web, "inference": site.worker, "general": site.general}
        parts["beat"] = site.beat
        pids = {name: part.pid for name, part in parts.items()}
        started = {name: tree_memory(pid) for name, pid in pids.items()}
        watch = Watch(pids)
        watch.start()
        browser = Browser(site.url)
        ids: list[str] = []
        for start in range(0, uploads, 10):
            ids += browser.submit(*(mri_png(seed) for seed in range(start, start + 10)))
        large = [png(LARGEST_SIDE, LARGEST_SIDE, seed=seed) for seed in range(2)]
        with ThreadPoolExecutor(4) as pool:
            # As four visitors at once; too wild a picture may be refused, which costs the same.
            list(
                pool.map(lambda content: Browser(site.url).upload([("x.png", content)]), large * 2)
            )
        site.wait_for(ids, seconds=300)
        watch.stop()
    finally:
        site.stop()
        store.stop()
    return {
        "job": (job, job),
        **{name: (started[name], watch.highest[name]) for name in pids},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--uploads", type=int, default=100)
    parser.add_argument("--engine", choices=("onnx", "tensorflow"), default="onnx")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        os.environ["DATA_DIR"] = f"{name}/own"
        figures = measure(Path(name), uploads=options.uploads, engine=options.engine)
    print("| part | after the start, MiB | highest, MiB |\n|---|---|---|")
    for part, (start, highest) in figures.items():
        print(f"| {part} | {start:.0f} | {highest:.0f} |")


if __name__ == "__main__":
    main()
