"""What the pairs of near copies mean for a data set: leaks, contradictions, groups."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from mltasks.classes import NO_TUMOR, TUMOR
from mltasks.datasets.copies import Closest, Groups, Pair
from mltasks.datasets.form import Row
from mltasks.datasets.gathering import Gathered
from mltasks.datasets.series import blocks

# Examples kept of each kind of pair.
SHOWN = 24
# Each picture is compared with at most so many others of equal pixels: a thousand blank pictures
# would make half a million pairs and add nothing.
_MOST_EQUAL = 32
KINDS = ("contradicting labels", "across sets", "across parts", "across folds", "in one part")


def contradict(one: str, other: str) -> bool:
    """Whether two labels contradict each other; "tumor" agrees with every kind of tumour."""
    if TUMOR in {one, other}:
        return NO_TUMOR in {one, other}
    return one != other


@dataclass(slots=True)
class Relations:
    """Pairs of near copies, summarised.

    Attributes:
        groups: union of near copies, over the places of the images.
        pairs: number of pairs of images, by kind; each pair counts once, under the first of
            `KINDS` that applies.
        turns: number of pairs of different pixels, by turn.
        examples: the most alike pairs of each kind, over places.
        copied: places of images that have a copy in another set, part or fold, by the names of
            its own and the other: {"part": {("test", "train"): {...}}}.
        contradictions: places of images that have a copy with another label.
        likeness: counts of pairs of different pixels by likeness in steps of 0.002.
        existing: how the copies agree with the groups and folds that the data came with.
    """

    groups: Groups
    pairs: Counter[str] = field(default_factory=Counter)
    turns: Counter[int] = field(default_factory=Counter)
    examples: dict[str, Closest] = field(
        default_factory=lambda: {kind: Closest(SHOWN) for kind in KINDS}
    )
    copied: dict[str, dict[tuple[Any, Any], set[int]]] = field(
        default_factory=lambda: defaultdict(lambda: defaultdict(set))
    )
    contradictions: set[int] = field(default_factory=set)
    likeness: Counter[int] = field(default_factory=Counter)
    exact: int = 0
    existing: Counter[str] = field(default_factory=Counter)


def relate(found: Gathered, pairs: Iterable[Pair]) -> Relations:
    """Go through the pairs once; images of equal pixels are pairs, too."""
    relations = Relations(Groups(len(found.rows)))
    members: dict[int, list[int]] = defaultdict(list)
    for place, number in enumerate(found.numbers):
        members[number].append(place)
    for places in members.values():
        for position, second in enumerate(places):
            for first in places[: min(position, _MOST_EQUAL)]:
                relations.exact += 1
                _note(relations, found, Pair(1.0, first, second, 0, "pixels"))
    for pair in pairs:
        relations.turns[pair.turn] += 1
        # 1 itself, and what rounding makes more, belongs to the last step below it.
        relations.likeness[min(int(pair.likeness * 500), 499)] += 1
        for first in members[pair.first][:_MOST_EQUAL]:
            for second in members[pair.second][:_MOST_EQUAL]:
                _note(relations, found, Pair(pair.likeness, first, second, pair.turn, pair.view))
    return relations


def _note(relations: Relations, found: Gathered, pair: Pair) -> None:
    first, second = pair.first, pair.second
    relations.groups.join(first, second)
    one, other = found.rows[first], found.rows[second]
    kind = _kind(found, pair)
    relations.pairs[kind] += 1
    relations.examples[kind].add(pair)
    if contradict(one.label, other.label):
        relations.contradictions |= {first, second}
    keys: dict[str, Callable[[int], Any]] = {
        "set": lambda place: found.sets[found.set_of[place]].name,
        "part": lambda place: part_of(found.rows[place]),
        "fold": lambda place: found.rows[place].fold,
    }
    for name, key in keys.items():
        left, right = key(first), key(second)
        if name != "set" and found.set_of[first] != found.set_of[second]:
            continue
        if left not in {None, ""} and right not in {None, ""}:
            relations.copied[name][(left, right)].add(first)
            relations.copied[name][(right, left)].add(second)
    if found.set_of[first] == found.set_of[second] and one.group and other.group:
        relations.existing["pairs"] += 1
        relations.existing["in one group"] += one.group == other.group
        relations.existing["in two folds"] += _in_two_folds(one, other)


def _kind(found: Gathered, pair: Pair) -> str:
    one, other = found.rows[pair.first], found.rows[pair.second]
    if contradict(one.label, other.label):
        return "contradicting labels"
    if found.set_of[pair.first] != found.set_of[pair.second]:
        return "across sets"
    if part_of(one) != part_of(other):
        return "across parts"
    return "across folds" if _in_two_folds(one, other) else "in one part"


def _in_two_folds(one: Row, other: Row) -> bool:
    """Whether both have a fold and these differ; an image in no fold cannot leak."""
    return None not in {one.fold, other.fold} and one.fold != other.fold


def part_of(row: Row) -> str:
    """The part (train, test) in which an image was published, if need be from BRISC's ids."""
    if row.part:
        return row.part
    words = row.id.split("_")
    return words[1] if words[0] == "brisc2025" and len(words) > 1 else ""


def join_all(found: Gathered, copies: Groups) -> Groups:
    """Groups for splitting: near copies, patients, groups the data came with, series."""
    joined = Groups(len(found.rows))
    for place, label in enumerate(copies.labels()):
        joined.join(place, int(label))
    first: dict[tuple[Any, ...], int] = {}
    for place, row in enumerate(found.rows):
        # A pseudonym means the same patient in every set; group names hold within one set only.
        for key in (
            ("patient", row.patient) if row.patient else (),
            ("group", found.set_of[place], row.group) if row.group else (),
        ):
            if key:
                joined.join(place, first.setdefault(key, place))
    for one, other in blocks(found.rows, found.store, found.numbers):
        joined.join(one, other)
    return joined
