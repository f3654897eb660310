"""The network without a queue: the forward pass, and whole answers."""

from __future__ import annotations

import io
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import cycle
from pathlib import Path

import numpy as np
from PIL import Image

from mltasks.images import encode_png
from mltasks.inference import Analyzer
from mltasks.preprocessing import preprocess
from predictions import rendering

# What a site does that starts a process for every request: a cold start and one answer.
_PER_REQUEST = """
import sys
from pathlib import Path
import numpy as np
from mltasks.inference import load_analyzer
load_analyzer(Path(sys.argv[1]), engine="tensorflow").analyze([np.load(sys.argv[2])])
"""


def images_per_second(work: Callable[[], object], count: int, seconds: float = 4.0) -> float:
    """Pictures a second of `work`, which handles `count` pictures a call."""
    work()
    rounds, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        work()
        rounds += 1
    return rounds * count / (time.perf_counter() - start)


def forward_rate(analyzer: Analyzer, images: list[np.ndarray], batch: int) -> tuple[float, float]:
    """The bare forward pass on prepared batches.

    Returns:
        Images a second, and seconds of processor time an image, which depends less on other load.
    """
    inputs = np.stack([preprocess(image, analyzer.input_size)[0] for image in images[:batch]])
    passes = 0

    def work() -> None:
        nonlocal passes
        passes += 1
        analyzer.engine.forward(inputs)

    before = time.process_time()
    rate = images_per_second(work, batch)
    return rate, (time.process_time() - before) / (passes * batch)


def answer_rate(analyzer: Analyzer, images: list[np.ndarray], batch: int) -> float:
    """Whole answers a second without a queue: stored pictures in, pictures of the answers out.

    These are the steps of a worker, without claims, records and storage.
    """
    stored = cycle([encode_png(image) for image in images])

    def work() -> None:
        for analysis in analyzer.analyze([_decoded(next(stored)) for _ in range(batch)]):
            rendering.pictures(analysis)

    return images_per_second(work, batch)


def _decoded(content: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(content), formats=["PNG"]) as image:
        return np.asarray(image)


def seconds_per_request(model: Path, image: np.ndarray, folder: Path, runs: int = 3) -> float:
    """Median seconds of one answer if a new process loads Keras for it."""
    stored = folder / "picture.npy"
    np.save(stored, image)
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        subprocess.run(
            [sys.executable, "-c", _PER_REQUEST, str(model), str(stored)],
            check=True,
            capture_output=True,
        )
        times.append(time.perf_counter() - start)
    return float(np.median(times))
