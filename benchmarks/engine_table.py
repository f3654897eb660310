"""The tables of the engines in Markdown."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np

from benchmarks.contender import MATMUL_SIDE
from benchmarks.engines import (
    ANSWER,
    ANSWER_ALL,
    BATCHES,
    ENCODER,
    INT8,
    MATMUL,
    OTHERS,
    OURS,
    Case,
    Measured,
    Sample,
)
from benchmarks.int8 import Agreement

SLOWER_GOAL, PEAK_GOAL, ANSWER_GOAL = 1.3, 0.6, 2.0
# If the peak of several threads is below this share of that many single ones, cores were missing.
SCALING = 0.75
_LIBRARIES = ("onnxruntime", "tensorflow-cpu", "tensorflow", "keras", "openvino", "numpy")
_MATMUL_FLOPS = 2 * MATMUL_SIDE**3
Clock = Callable[[Sample], float]


def by_wall(sample: Sample) -> float:
    """Milliseconds by the clock."""
    return sample.wall


def by_processor(sample: Sample) -> float:
    """Milliseconds of processor time, which depends least on other processes."""
    return sample.processor


@dataclass(frozen=True, slots=True)
class Work:
    """Floating-point operations for one picture: of the whole network, and of the encoder."""

    network: int
    encoder: int


def processor_name() -> str:
    """The processor's name, as the system reports it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def versions() -> str:
    """Names and versions of the libraries that take part."""
    found = [f"Python {platform.python_version()}"]
    for name in _LIBRARIES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    return ", ".join(found)


def median(measured: Measured, case: Case, clock: Clock = by_wall) -> float:
    """Median milliseconds of a pass."""
    return float(np.median([clock(sample) for sample in measured.samples[case]]))


def ratio(measured: Measured, top: Case, bottom: Case, clock: Clock = by_wall) -> float:
    """Median, over the repetitions, of the ratio of two contenders' times."""
    pairs = zip(measured.samples[top], measured.samples[bottom], strict=True)
    return float(np.median([clock(one) / clock(other) for one, other in pairs]))


def peak(measured: Measured, threads: int, clock: Clock = by_wall) -> float:
    """GFLOP/s of the fastest matrix product of the run on this many threads.

    Not of the median one, which is no peak on a busy machine: shares would exceed 1. By processor
    time, it is the speed of one of the cores.
    """
    least = min(clock(sample) for sample in measured.samples[Case(MATMUL, 1, threads)])
    return _MATMUL_FLOPS / least / 1e6


def share_of_peak(measured: Measured, case: Case, flops: int, clock: Clock = by_wall) -> float:
    """Share of the peak, on the same number of threads, that the median pass reaches.

    Args:
        flops: floating-point operations for one picture.
    """
    speed = case.batch * flops / median(measured, case, clock) / 1e6
    return speed / peak(measured, case.threads, clock)


def fastest_other(measured: Measured, batch: int, threads: int, clock: Clock = by_wall) -> Case:
    """The fastest of the other engines at the same precision.

    Raises:
        ValueError: none of them took part.
    """
    cases = [Case(name, batch, threads) for name in OTHERS]
    return min(
        (case for case in cases if measured.samples.get(case)),
        key=lambda case: median(measured, case, clock),
    )


def _cases(measured: Measured, name: str) -> list[Case]:
    """A contender's cases in the order of the tables."""
    return sorted(
        (case for case, samples in measured.samples.items() if case.name == name and samples),
        key=lambda case: (case.threads, case.batch),
    )


def _threads(measured: Measured) -> list[int]:
    return [case.threads for case in _cases(measured, MATMUL)]


def speed_table(measured: Measured, work: Work) -> list[str]:
    """Milliseconds an image and share of the peak of every engine."""
    lines = [
        "| engine | threads | batch | ms an image | processor ms an image | of peak |",
        "|---|---|---|---|---|---|",
    ]
    for name in (OURS, *OTHERS, INT8, ENCODER):
        flops = work.encoder if name == ENCODER else work.network
        shown = f"{OURS}, the encoder alone" if name == ENCODER else name
        for case in _cases(measured, name):
            # The peak is that of 32-bit arithmetic, which does not apply to 8-bit integers.
            share = "" if name == INT8 else f"{share_of_peak(measured, case, flops):.0%}"
            wall = median(measured, case) / case.batch
            processor = median(measured, case, by_processor) / case.batch
            lines.append(
                f"| {shown} | {case.threads} | {case.batch} | {wall:.1f} | {processor:.1f} "
                f"| {share} |"
            )
        if name in measured.missing:
            lines.append(f"| {name} | not measured: {measured.missing[name]} | | | | |")
    return lines


def start_table(measured: Measured) -> list[str]:
    """Start-up, memory and agreement of every engine."""
    lines = [
        "| engine | start to first answer, s | memory (RSS), MiB | largest difference of a logit |",
        "|---|---|---|---|",
    ]
    for name, starts in measured.starts.items():
        difference = ""
        if measured.logits[name] and name != OURS:
            apart = np.subtract(measured.logits[name], measured.logits[OURS])
            difference = f"{np.abs(apart).max():.1e}"
        lines.append(
            f"| {name} | {np.median(starts):.2f} | {np.median(measured.memory[name]):.0f} "
            f"| {difference} |"
        )
    return lines


def _row(what: str, values: tuple[float, float], goal: str, *, reached: bool) -> str:
    state = "" if not goal else ", reached" if reached else ", not reached"
    return f"| {what} | {values[0]:.2f} | {values[1]:.2f} | {goal}{state} |"


def ratio_table(measured: Measured, work: Work) -> list[str]:
    """The ratios with their goals, by the clock and by processor time."""
    lines = ["| what | by the clock | by processor time | goal |", "|---|---|---|---|"]
    settings = [(threads, batch) for threads in _threads(measured) for batch in BATCHES]
    for threads, batch in settings:
        ours, where = Case(OURS, batch, threads), f"batch {batch}, threads {threads}"
        try:
            others = [fastest_other(measured, batch, threads, c) for c in (by_wall, by_processor)]
        except ValueError:
            lines.append(f"| {OURS} : the fastest other, {where} | | | no other was measured |")
            continue
        wall = ratio(measured, ours, others[0])
        lines.append(
            _row(
                f"time of {OURS} : {others[0].name}, the fastest other, {where}",
                (wall, ratio(measured, ours, others[1], by_processor)),
                f"≤ {SLOWER_GOAL}",
                reached=wall <= SLOWER_GOAL,
            )
        )
    for threads, batch in settings:
        case = Case(ENCODER, batch, threads)
        share = share_of_peak(measured, case, work.encoder)
        free = peak(measured, threads) >= SCALING * threads * peak(measured, 1)
        words = f"the encoder's share of peak, batch {batch}, threads {threads}"
        lines.append(
            _row(
                words if free else f"{words} (other work held a core: not judged)",
                (share, share_of_peak(measured, case, work.encoder, by_processor)),
                f"≥ {PEAK_GOAL}" if free else "",
                reached=share >= PEAK_GOAL,
            )
        )
    for threads in _threads(measured):
        bare = Case(OURS, 1, threads)
        for name, words, goal in (
            (ANSWER, "decode → preprocess → forward → area → PNG", f"≤ {ANSWER_GOAL:g}"),
            (ANSWER_ALL, "the same with attention, outline and contours as PNG", ""),
        ):
            case = Case(name, 1, threads)
            whole = ratio(measured, case, bare)
            lines.append(
                _row(
                    f"{words} : bare forward pass, threads {threads}",
                    (whole, ratio(measured, case, bare, by_processor)),
                    goal,
                    reached=whole <= ANSWER_GOAL,
                )
            )
    return lines


def agreement_sentences(agreement: Agreement, kind: str) -> str:
    """What 8-bit integers change, and on which condition they may be used."""
    area = (
        ""
        if agreement.area_dice is None
        else f", median overlap (Dice) of the areas {agreement.area_dice:.3f}"
    )
    return (
        f"8-bit integers against 32 bits on {agreement.pictures} {kind}: "
        f"same label {agreement.labels:.1%}, largest change of a probability "
        f"{agreement.largest_change:.3f}{area}. They are not shipped: a model in 8-bit integers is "
        "offered only if it passes the gate of a release (`manage.py model compare`), as any other."
    )


def header(measured: Measured, work: Work, kind: str, load: tuple[float, float]) -> list[str]:
    """What was measured, and on which machine."""
    peaks = [
        f"{peak(measured, threads):.0f} GFLOP/s with threads: {threads}"
        for threads in _threads(measured)
    ]
    rounds = len(next(iter(measured.samples.values())))
    machine = (
        f"{processor_name()}, {os.cpu_count()} cores, load average {load[0]:.1f} before and "
        f"{load[1]:.1f} after; {versions()}."
    )
    how = (
        f"The network: {work.network / 1e9:.3f} GFLOP an image in convolutions, its encoder "
        f"{work.encoder / 1e9:.3f}. Peak, the fastest float32 matrix product of side "
        f"{MATMUL_SIDE}: {' and '.join(peaks)}. Medians of {rounds} repetitions by turns, "
        "every engine in a process of its own."
    )
    return [f"## Engines: {kind}", "", machine, how]
