"""Collects what comes one by one into lists, as a network wants its pictures."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TypeVar

Item = TypeVar("Item")


def batched(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """The items in lists of `size`, the last one shorter; holds one list at a time."""
    # `itertools.batched` came with Python 3.12.
    left = iter(items)
    while some := list(islice(left, size)):
        yield some
