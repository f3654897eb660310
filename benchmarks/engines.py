"""The same network in several engines, each in its own process, measured in turn."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import psutil

OURS = "ONNX Runtime"
OTHERS = ("Keras `predict`", "`tf.function`", "OpenVINO")
INT8 = "ONNX Runtime int8"
ENCODER, MATMUL = "encoder", "matmul"
ANSWER, ANSWER_ALL = "answer", "answer with all pictures"
BATCHES = (1, 8)
# For every BLAS that NumPy may have been built with.
_THREAD_SETTINGS = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")


@dataclass(frozen=True, slots=True)
class Job:
    """What a process runs.

    Attributes:
        kind: of `benchmarks.contender.CONTENDERS`.
        model: the ONNX file.
        batches: sizes that are measured.
    """

    kind: str
    model: Path
    batches: tuple[int, ...] = BATCHES


@dataclass(frozen=True, slots=True)
class Sample:
    """Milliseconds of a pass, by the clock and of processor time over all threads.

    Of the median pass; of the fastest, for matrix products.
    """

    wall: float
    processor: float


@dataclass(frozen=True, slots=True)
class Case:
    """What was measured."""

    name: str
    batch: int
    threads: int


@dataclass
class Measured:
    """The results of a run.

    Attributes:
        samples: one per repetition; those of the same index were taken within seconds.
        starts: seconds from a fresh process to its first answer.
        memory: resident MiB after the first answer.
        logits: class logits of the first picture.
        missing: why a contender could not take part.
    """

    samples: dict[Case, list[Sample]] = field(default_factory=lambda: defaultdict(list))
    starts: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    memory: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    logits: dict[str, list[float]] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)


class MissingError(RuntimeError):
    """A contender cannot take part; the message says why."""


class Contender:
    """A running process of `benchmarks.contender` that has given its first answer.

    Raises:
        MissingError: a library is not installed, or it cannot load the network.
    """

    def __init__(self, job: Job, threads: int, inputs: Path) -> None:
        start = time.perf_counter()
        arguments = [job.kind, str(job.model), str(threads), str(inputs)]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.contender", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**os.environ, **dict.fromkeys(_THREAD_SETTINGS, str(threads))},
        )
        try:
            answer = self._read(job.kind)
            self.seconds = time.perf_counter() - start
            self.mebibytes = psutil.Process(self._process.pid).memory_info().rss / 2**20
        except BaseException:
            self.close()
            raise
        self.logits: list[float] = answer["logits"]

    def _read(self, kind: str) -> dict[str, Any]:
        assert self._process.stdout is not None  # noqa: S101 - a pipe was asked for
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(
                f"the process that measures {kind} ended with {self._process.wait()}"
            )
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise MissingError(answer["error"])
        return answer

    def measure(self, batch: int, seconds: float) -> Sample:
        """Measure passes on a batch of this size for some seconds."""
        assert self._process.stdin is not None  # noqa: S101 - a pipe was asked for
        self._process.stdin.write(json.dumps({"batch": batch, "seconds": seconds}) + "\n")
        self._process.stdin.flush()
        return Sample(**self._read("a pass"))

    def close(self) -> None:
        """End the process."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()


def fresh_starts(
    measured: Measured, jobs: dict[str, Job], inputs: Path, *, threads: int, rounds: int
) -> None:
    """Start every contender in turn, several times; note those that cannot take part."""
    for _ in range(rounds):
        for name, job in jobs.items():
            if name in measured.missing:
                continue
            try:
                contender = Contender(job, threads, inputs)
            except MissingError as error:
                measured.missing[name] = str(error)
                continue
            contender.close()
            measured.starts[name].append(contender.seconds)
            measured.memory[name].append(contender.mebibytes)
            measured.logits[name] = contender.logits


def run(
    measured: Measured,
    jobs: dict[str, Job],
    inputs: Path,
    *,
    threads: Iterable[int],
    rounds: int,
    seconds: float,
) -> None:
    """Measure every contender in every round, so that other load affects all alike."""
    taking_part = {name: job for name, job in jobs.items() if name not in measured.missing}
    for count in threads:
        running: dict[str, Contender] = {}
        try:
            for name, job in taking_part.items():
                running[name] = Contender(job, count, inputs)
            for _ in range(rounds):
                for name, contender in running.items():
                    for batch in jobs[name].batches:
                        sample = contender.measure(batch, seconds)
                        measured.samples[Case(name, batch, count)].append(sample)
        finally:
            for contender in running.values():
                contender.close()


def save_inputs(path: Path, inputs: np.ndarray, tumours: list[bytes]) -> None:
    """Write what the processes read: prepared pictures, and files as people upload them."""
    np.save(path, inputs)
    for number, content in enumerate(tumours):
        (path.parent / f"tumour{number:03}").write_bytes(content)
