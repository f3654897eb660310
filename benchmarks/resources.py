"""What each part of the site needs: the figures behind the Helm chart's resource requests.

    python -m benchmarks.resources [--uploads N] [--engine onnx|tensorflow]

Starts every part as its own process, with an S3 server; leaves them idle for a while, uploads
pictures, then a few of the largest allowed; prints memory and processor time of each part.
"""

from __future__ import annotations

import argparse
import io
import os
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
from PIL import Image

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tumorsite.settings")

# 40 megapixels, the most that is accepted unless MAX_MEGAPIXELS says otherwise.
LARGEST_SIDE, LARGE = 6300, 8
IDLE_SECONDS = 20


def tree_memory(pid: int) -> float:
    """MiB of a process and all its descendants, as a pod would be charged for them.

    Shared memory is counted once: the largest amount that one of them shares.
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


def tree_seconds(pid: int) -> float:
    """Processor time so far of a process, its descendants, and its children that have ended."""
    total = 0.0
    with suppress(psutil.NoSuchProcess):
        root = psutil.Process(pid)
        times = root.cpu_times()
        total += times.children_user + times.children_system
        for process in (root, *root.children(recursive=True)):
            with suppress(psutil.NoSuchProcess):
                times = process.cpu_times()
                total += times.user + times.system
    return total


@dataclass(frozen=True, slots=True)
class Needs:
    """What one part needs.

    Attributes:
        started, highest: memory in MiB after the start, and the highest under load.
        idle, busiest: cores in use without visitors, and in the busiest second of the uploads.
        upload: processor seconds per uploaded slice.
    """

    started: float
    highest: float
    idle: float
    busiest: float
    upload: float


class Watch(threading.Thread):
    """Records the highest memory and the busiest second of each part until stopped."""

    def __init__(self, parts: dict[str, int]) -> None:
        super().__init__(daemon=True)
        self._parts, self._end = parts, threading.Event()
        self.highest = dict.fromkeys(parts, 0.0)
        self.busiest = dict.fromkeys(parts, 0.0)

    def run(self) -> None:
        since, before = time.monotonic(), self.seconds()
        while not self._end.wait(0.1):
            for name, pid in self._parts.items():
                self.highest[name] = max(self.highest[name], tree_memory(pid))
            if (passed := time.monotonic() - since) >= 1:
                since, now = time.monotonic(), self.seconds()
                for name in self._parts:
                    cores = (now[name] - before[name]) / passed
                    self.busiest[name] = max(self.busiest[name], cores)
                before = now

    def seconds(self) -> dict[str, float]:
        """Processor time so far of each part."""
        return {name: tree_seconds(pid) for name, pid in self._parts.items()}

    def stop(self) -> None:
        self._end.set()
        self.join()


def job_memory(command: list[str], env: dict[str, str]) -> float:
    """Run a command; MiB that the largest child so far has needed."""
    subprocess.run(command, env=env, check=True, stdout=subprocess.DEVNULL)
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**10


def large_slice() -> bytes:
    """A slice of the largest accepted size, as PNG."""
    from mltasks.images import encode_png
    from tests.support.pictures import drawn_head

    head = Image.fromarray(drawn_head(512)).resize((LARGEST_SIDE, LARGEST_SIDE))
    return encode_png(np.asarray(head), level=6)


def transparent() -> bytes:
    """As many pixels in a small file, of the kind that takes the most memory to read."""
    buffer = io.BytesIO()
    Image.new("RGBA", (LARGEST_SIDE, LARGEST_SIDE), (90, 90, 90, 200)).save(buffer, "PNG")
    return buffer.getvalue()


def measure(folder: Path, *, uploads: int, engine: str) -> tuple[float, dict[str, Needs]]:
    """Memory in MiB of the migration job, and what each part needs."""
    import django

    django.setup()
    from tests.support.http import Browser
    from tests.support.pictures import mri_png
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
        slices, large = Watch(pids), Watch(pids)
        browser = Browser(site.url)
        browser.get("/")
        alone = slices.seconds()
        time.sleep(IDLE_SECONDS)
        before = slices.seconds()
        slices.start()
        ids: list[str] = []
        for start in range(0, uploads, 10):
            ids += browser.submit(*(mri_png(seed) for seed in range(start, start + 10)))
        site.wait_for(ids, seconds=300)
        slices.stop()
        after = slices.seconds()
        contents = [large_slice(), transparent()]
        large.start()
        # So that the worker finds all of them waiting, as after an outage.
        site.worker.signal(signal.SIGSTOP)
        with ThreadPoolExecutor(4) as pool:
            # Like four visitors at once.
            taken = list(
                pool.map(lambda n: Browser(site.url).submit(contents[n % 2]), range(LARGE))
            )
        site.worker.signal(signal.SIGCONT)
        site.wait_for([prediction for upload in taken for prediction in upload], seconds=300)
        large.stop()
    finally:
        site.stop()
        store.stop()
    return job, {
        name: Needs(
            started=started[name],
            highest=max(slices.highest[name], large.highest[name]),
            idle=(before[name] - alone[name]) / IDLE_SECONDS,
            busiest=slices.busiest[name],
            upload=(after[name] - before[name]) / uploads,
        )
        for name in pids
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--uploads", type=int, default=100)
    parser.add_argument("--engine", choices=("onnx", "tensorflow"), default="onnx")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        os.environ["DATA_DIR"] = f"{name}/own"
        job, parts = measure(Path(name), uploads=options.uploads, engine=options.engine)
    print(
        "| part | after the start, MiB | highest, MiB | idle, millicores | busiest second "
        "| an upload, ms |\n|---|---|---|---|---|---|"
    )
    for name, needs in parts.items():
        print(
            f"| {name} | {needs.started:.0f} | {needs.highest:.0f} | {needs.idle * 1000:.0f} "
            f"| {needs.busiest * 1000:.0f} | {needs.upload * 1000:.0f} |"
        )
    print(f"| the job that migrates | | {job:.0f} | | | |")


if __name__ == "__main__":
    main()
