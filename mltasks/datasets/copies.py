"""Finds pairs of images that are one picture, mirrored, turned, recompressed or re-framed.

FAISS (Douze et al., 2024, arXiv 2401.08281) compares the coarse fingerprints of each image, in
all eight turns, with those of all before it; what it finds is confirmed with the whole
fingerprints. The search is exact: no pair above the threshold is missed.

Two images are near copies if they correlate by 0.98 or more as whole pictures, or by 0.96 or more
within the frame of the head. How often that errs is measured by `mltasks.datasets.trial`.
"""

from __future__ import annotations

import heapq
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mltasks.data import DataError
from mltasks.datasets.fingerprints import SIDE, TURNS, Fingerprint, Vectors, coarse, turned
from mltasks.datasets.form import Progress, no_progress

WHOLE, FRAMED = 0.98, 0.96
VIEWS = (("whole", WHOLE), ("framed", FRAMED))
# Rounding of half-precision numbers and of the coarse sum.
_SLACK = 2e-3
# Queries times images compared at once: bounds the memory of the search.
_CELLS = 16_000_000
_MOST_QUERIES = 512
_FIRST_ROOM = 1024
_CONFIRMED_AT_ONCE = 4096
_FEW = 2000


@dataclass(frozen=True, slots=True, order=True)
class Pair:
    """Two images by number, `first` < `second`, and how alike they are with `second` turned."""

    likeness: float
    first: int
    second: int
    turn: int
    view: str


class FingerprintStore:
    """Fingerprints of many images, 2 KiB for each and view.

    Grows by doubling, so that the count need not be known.
    """

    def __init__(self) -> None:
        self.count = 0
        self._values = {name: np.empty((_FIRST_ROOM, SIDE * SIDE), np.float16) for name, _ in VIEWS}

    def add(self, found: Fingerprint) -> int:
        """Keep one; returns its number."""
        for name, _ in VIEWS:
            values = self._values[name]
            if self.count == len(values):
                values = np.concatenate([values, np.empty_like(values)])
                self._values[name] = values
            values[self.count] = getattr(found, name)
        self.count += 1
        return self.count - 1

    def vectors(self, view: str, index: Any) -> Vectors:
        """float32 (n, 1024) of the numbers given."""
        return self._values[view][: self.count][index].astype(np.float32)


@dataclass(frozen=True, slots=True)
class Views:
    """Likeness of n pairs as whole pictures and within the frame of the head, float64 (n,)."""

    whole: NDArray[np.float64]
    framed: NDArray[np.float64]

    def near(self, shift: float = 0.0) -> NDArray[np.bool_]:
        """Which count as copies, with both thresholds moved by `shift`."""
        return np.asarray((self.whole >= WHOLE + shift) | (self.framed >= FRAMED + shift))


def likeness(
    one: FingerprintStore, first: Sequence[int], other: FingerprintStore, second: Sequence[int]
) -> Views:
    """Likeness of image `first[i]` of one store and `second[i]` of the other, in the best turn."""
    scores = {}
    for view, _ in VIEWS:
        left, right = one.vectors(view, list(first)), other.vectors(view, list(second))
        values = [np.einsum("ij,ij->i", left, turned(right, turn)) for turn in range(TURNS)]
        scores[view] = np.max(values, axis=0).astype(np.float64)
    return Views(**scores)


def likeness_within(store: FingerprintStore, pairs: Sequence[tuple[int, int]]) -> Views:
    """Likeness of pairs of one store."""
    return likeness(store, [a for a, _ in pairs], store, [b for _, b in pairs])


def _faiss() -> Any:
    try:
        import faiss
    except ImportError as error:
        raise DataError(
            "the search for copies needs faiss-cpu: pip install -r requirements/train.txt"
        ) from error
    return faiss


def find_pairs(store: FingerprintStore, *, progress: Progress = no_progress) -> Iterator[Pair]:
    """Every pair of near copies, once, in the first view in which it is one and its best turn.

    Time grows with the square of the count (though a comparison takes only the 145 numbers of
    `coarse`), memory with the count: the coarse index takes 580 bytes an image.
    """
    faiss = _faiss()
    # For few images, threads cost more than they save, even more so beside other programs.
    faiss.omp_set_num_threads(1 if store.count < _FEW else os.cpu_count() or 1)
    with progress("compare", len(VIEWS) * store.count) as tick:
        for view, threshold in VIEWS:
            index = faiss.IndexFlatIP(coarse(np.zeros((1, SIDE * SIDE), np.float32)).shape[1])
            start = 0
            while start < store.count:
                size = max(1, min(_MOST_QUERIES, _CELLS // (TURNS * (start + _MOST_QUERIES))))
                stop = min(store.count, start + size)
                block = store.vectors(view, slice(start, stop))
                index.add(coarse(block))
                yield from _block(store, index, block, start, view, threshold)
                tick(stop - start)
                start = stop


def _block(
    store: FingerprintStore, index: Any, block: Vectors, start: int, view: str, threshold: float
) -> Iterator[Pair]:
    """Pairs of a block of images with those before them, and among themselves."""
    firsts, seconds, values, turns = list[Any](), list[Any](), list[Any](), list[Any]()
    for quarter in range(TURNS):
        queries = turned(block, quarter)
        limits, _, found = index.range_search(coarse(queries), threshold - _SLACK)
        row = np.repeat(np.arange(len(block)), np.diff(limits.astype(np.int64)))
        earlier = found < row + start
        row, found = row[earlier], found[earlier]
        for part in range(0, len(row), _CONFIRMED_AT_ONCE):
            rows, others = row[part:][:_CONFIRMED_AT_ONCE], found[part:][:_CONFIRMED_AT_ONCE]
            alike = np.einsum("ij,ij->i", queries[rows], store.vectors(view, others))
            near = alike >= threshold
            firsts.append(others[near])
            seconds.append(rows[near] + start)
            values.append(alike[near])
            turns.append(np.full(int(near.sum()), quarter))
    if not firsts:
        return
    first, second, value, turn = (
        np.concatenate(column) for column in (firsts, seconds, values, turns)
    )
    # Sorted so that the best turn of each pair comes first.
    order = np.lexsort((-value, second, first))
    first, second, value, turn = (column[order] for column in (first, second, value, turn))
    fresh = np.ones(len(order), bool)
    fresh[1:] = (np.diff(first) != 0) | (np.diff(second) != 0)
    for chunk in np.array_split(np.flatnonzero(fresh), 1 + len(order) // _CONFIRMED_AT_ONCE):
        known = _near_before(store, view, first[chunk], second[chunk])
        for place in chunk[~known]:
            yield Pair(
                min(1.0, float(value[place])),
                int(first[place]),
                int(second[place]),
                int(turn[place]),
                view,
            )


def _near_before(store: FingerprintStore, view: str, first: Any, second: Any) -> Any:
    """Which pairs are already near copies in an earlier view: bool (n,)."""
    known = np.zeros(len(first), bool)
    for name, threshold in VIEWS:
        if name == view:
            break
        left, right = store.vectors(name, first), store.vectors(name, second)
        for turn in range(TURNS):
            known |= np.einsum("ij,ij->i", left, turned(right, turn)) >= threshold
    return known


class Groups:
    """Sets that grow together: union-find (Galler and Fischer, 1964)."""

    def __init__(self, count: int) -> None:
        self._parent = np.arange(count)

    def find(self, number: int) -> int:
        """The least number of its set."""
        root = number
        while self._parent[root] != root:
            root = int(self._parent[root])
        while self._parent[number] != root:
            self._parent[number], number = root, int(self._parent[number])
        return root

    def join(self, one: int, other: int) -> None:
        low, high = sorted((self.find(one), self.find(other)))
        self._parent[high] = low

    def labels(self) -> np.ndarray[Any, np.dtype[np.int64]]:
        """int (count,): the least number of each one's set."""
        return np.array([self.find(number) for number in range(len(self._parent))], np.int64)


class Closest:
    """The most alike pairs of a stream, in bounded memory."""

    def __init__(self, size: int) -> None:
        self._size, self._heap = size, list[Pair]()

    def add(self, pair: Pair) -> None:
        if len(self._heap) < self._size:
            heapq.heappush(self._heap, pair)
        else:
            heapq.heappushpop(self._heap, pair)

    def ordered(self) -> list[Pair]:
        return sorted(self._heap, reverse=True)
