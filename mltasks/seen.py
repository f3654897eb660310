"""Which slices a network has learnt from, so that nobody measures it on them unawares.

A card names them by the beginnings of their files' digests. Ids, groups and folds may change, and
rows come and go: the files stay themselves. Where these were converted, slices are known by what
they are called, if the collection's names are such that no other has them by chance. Cards of the
first versions name the set as a whole instead, by its digest, and the fold of it that was held out.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from mltasks.classes import TUMOR
from mltasks.data import DataError, Record, data_digest
from mltasks.datasets.items import slug

PREFIXES, NAMES, OLDER = "learnt_prefixes", "learnt_names", "older"
# Hexadecimal digits kept of each file's digest. Of 3,646 files learnt from and 907 others, two
# agree in so many by chance once in 330,000 such sets, so that one is enough to say "learnt from".
_DIGITS = 10
# Names tell of a set only if so many of its slices have one, or half of a small set.
_LEAST_NAMES, _LEAST_SHARE = 10, 0.05
# Folders that an import of a folder per class puts before the file's own name.
_CLASS_FOLDERS = {"glioma", "meningioma", "pituitary", "tumor", "notumor", "healthy", "normal"}
_OTHER_FOLDERS = {
    *("training", "train", "testing", "test", "validation", "valid", "val"),
    *("axial", "coronal", "sagittal", "images", "image", "slices", "raw", "original"),
}
# Words that say nothing of whose file it is: "glioma_image_12" may be in any collection.
_COMMON = _CLASS_FOLDERS | _OTHER_FOLDERS | {
    *("img", "slice", "scan", "pic", "photo", "picture", "file", "frame", "data", "copy", "mask"),
    *("brain", "head", "case", "patient", "subject", "series", "study", "sample", "cancer"),
    *("mri", "mr", "flair", "post", "pre", "contrast", "tumour", "no", "yes", "the", "of"),
    *("gl", "me", "pi", "ax", "co", "sa", "tr", "te", "gg", "jpg", "jpeg", "png", "tif", "dcm"),
}  # fmt: skip
_LEAST_LETTERS = 4
_REMEDY = (
    "take those that its training held out, or exclude the ones it knows; evaluate and model "
    "compare leave these out with --leave-out-seen"
)


def learnt_prefixes(records: Iterable[Record]) -> str:
    """The files of these slices in short: so many digits of each, sorted, without a space between.

    A slice whose manifest states no digest cannot be named and is left out.
    """
    return "".join(sorted(_short(records)))


def learnt_names(records: Iterable[Record]) -> str:
    """What these slices are called and shown as, in the same form; see `_short_name`."""
    return "".join(sorted(_short_names(records)))


def _short(records: Iterable[Record]) -> set[str]:
    return {record.sha256[:_DIGITS] for record in records if record.sha256}


def _short_names(records: Iterable[Record]) -> set[str]:
    return {name for record in records if (name := _short_name(record))}


def _short_name(record: Record) -> str:
    """A digest of the name of a slice's file in its collection, and of its label, in short.

    Whichever way the collection was imported: without the collection's name, which `--onto` puts
    before an id that another image has, and without the folders of a layout by classes.

    Empty if another collection may well have a file of that name: "1", "glioma_12", "img_003".
    """
    own = record.id.lower()
    bare = own.removeprefix(slug(record.source) + "_" if record.source else "")
    name = next(filter(_is_telling, map(_file_name, (bare, own))), "")
    return hashlib.sha256(f"{name} {record.label}".encode()).hexdigest()[:_DIGITS] if name else ""


def _file_name(identity: str) -> str:
    """An id without the folders of a layout by classes."""
    words = identity.split("_")
    at = max((n for n, word in enumerate(words[:-1]) if word in _CLASS_FOLDERS), default=-1) + 1
    while at < len(words) - 1 and words[at] in _OTHER_FOLDERS:
        at += 1
    return "_".join(words[at:])


def _is_telling(name: str) -> bool:
    telling = (word for word in re.findall(r"[a-z]+", name) if word not in _COMMON)
    return sum(map(len, telling)) >= _LEAST_LETTERS


def _stated(card: dict[str, Any], key: str) -> set[str]:
    text = card.get("training", {}).get(key, "")
    return {text[place : place + _DIGITS] for place in range(0, len(text), _DIGITS)}


def for_card(records: Sequence[Record], start: dict[str, Any] | None) -> dict[str, Any]:
    """What a card's section `training` says of the slices learnt from.

    Args:
        records: all that training has seen, those that only watched it included.
        start: card of the network that training went on from. What that one has learnt from, this
            one has, too; where it does not name the files, what it says of its set is kept.
    """
    if start is None:
        return {PREFIXES: learnt_prefixes(records), NAMES: learnt_names(records)}
    before = start.get("training", {})
    older = list(before.get(OLDER, ()))
    if PREFIXES not in before and "data_digest" in before:
        older.append(
            {
                "data_digest": before["data_digest"],
                "fold": held_out_fold(start),
                "held_out_digest": before.get("held_out_digest", ""),
            }
        )
    prefixes = "".join(sorted(_short(records) | _stated(start, PREFIXES)))
    names = "".join(sorted(_short_names(records) | _stated(start, NAMES)))
    return {PREFIXES: prefixes, NAMES: names} | ({OLDER: older} if older else {})


def abridged(card: dict[str, Any]) -> dict[str, Any]:
    """The card to be read by people: counts instead of digests."""
    training = card.get("training", {})
    counts = {
        key: f"of {len(training[key]) // _DIGITS:,} files"
        for key in (PREFIXES, NAMES)
        if key in training
    }
    return card | {"training": training | counts} if counts else card


def held_out_fold(card: dict[str, Any]) -> int | None:
    """The fold that the network has not learnt from, as its card says; None if it does not."""
    # The card of the first version states it only with the figures of its training.
    stated = card.get("training", {}).get("data") or card.get("metrics", {}).get("validation", {})
    fold: int | None = stated.get("fold")
    return fold


def why_seen(
    card: dict[str, Any], slices: Sequence[Record], *, fold: int | None, whole: str
) -> str:
    """Why these are not new to a network; empty if nothing says so.

    Of a set without digests, and of networks whose card does not name its slices, it can only be
    told while the set is the very same, and not always then: see `_why_fold_seen`.

    Args:
        card: of the network.
        slices: it is to be measured on.
        fold: that they are of their set; None for all of it.
        whole: `data_digest` of that set; empty if no network can have learnt from it.
    """
    known = _known(card, slices)
    if known:
        first = next(record.id for record in slices if record.id in known)
        named = not _known_by_file(card, slices)
        how = ", by their names: the files are others, such as" if named else ", such as"
        return f"has learnt from {len(known)} of these {len(slices)} slices{how} {first}: {_REMEDY}"
    reasons = (
        _why_fold_seen(unseen, held_out, slices, fold)
        for digest, unseen, held_out in _sets(card)
        if digest == whole
    )
    return next(filter(None, reasons), "")


def unseen(
    cards: Sequence[dict[str, Any]], slices: Sequence[Record], *, whole: str
) -> list[Record]:
    """The slices that none of these networks has learnt from, as far as their cards say.

    Args:
        cards, slices, whole: see `why_seen`.

    Raises:
        DataError: there are none, or it cannot be told which they are.
    """
    rest = list(slices)
    for card in cards:
        known = _known(card, slices) | _known_by_fold(card, slices, whole)
        rest = [record for record in rest if record.id not in known]
    if not rest:
        raise DataError(
            f"none of these {len(slices)} slices would be left: all have been learnt from"
        )
    for card in cards:
        for digest, unseen, held_out in _sets(card):
            held = [record for record in slices if record.fold == unseen]
            why = _why_fold_seen(unseen, held_out, held, unseen) if digest == whole else ""
            if why:
                raise DataError(f"{card['name']} {card['version']} {why}")
    return rest


def left_out(slices: Sequence[Record], rest: Sequence[Record]) -> str:
    """In words, how many slices are measured of those that are there."""
    groups, left = ({record.group for record in own} for own in (slices, rest))
    return (
        f"{len(slices) - len(rest)} of {len(slices)} slices have been learnt from and are left "
        f"out; {len(rest)} remain, in {len(left)} of {len(groups)} groups"
    )


def _known(card: dict[str, Any], slices: Sequence[Record]) -> set[str]:
    """Ids of the slices that a card names, by their files or what they are called."""
    return _known_by_file(card, slices) | _known_by_name(card, slices)


def _known_by_file(card: dict[str, Any], slices: Sequence[Record]) -> set[str]:
    stated = _stated(card, PREFIXES)
    return {record.id for record in slices if record.sha256[:_DIGITS] in stated}


def _known_by_name(card: dict[str, Any], slices: Sequence[Record]) -> set[str]:
    """Of those not known by file, as long as they are not so few that it may be chance."""
    stated, by_file = _stated(card, NAMES), _known_by_file(card, slices)
    others = [record for record in slices if record.id not in by_file]
    known = {record.id for record in others if _short_name(record) in stated}
    enough = max(_LEAST_SHARE * len(others), min(_LEAST_NAMES, len(others) / 2))
    return known if len(known) >= enough else set()


def _known_by_fold(card: dict[str, Any], slices: Sequence[Record], whole: str) -> set[str]:
    """Ids of the slices of a set learnt from that are not in the fold held out of it."""
    return {
        record.id
        for digest, unseen, _ in _sets(card)
        if digest == whole and unseen is not None
        for record in slices
        if record.fold != unseen
    }


def _sets(card: dict[str, Any]) -> Iterator[tuple[str, int | None, str]]:
    """Digest of each set learnt from, the fold held out of it, and the digest of that, if known."""
    training = card.get("training", {})
    older = training.get(OLDER, ())
    own = training | {"fold": held_out_fold(card)}
    for one in (own, *older):
        if one.get("data_digest"):
            yield one["data_digest"], one["fold"], one.get("held_out_digest", "")


def _why_fold_seen(
    unseen: int | None, held_out: str, slices: Sequence[Record], fold: int | None
) -> str:
    """The same of slices of a set learnt from, by what is known of the fold held out of it.

    Where the digest of that fold is not stated, it cannot be told that another split has since
    drawn other slices into it.
    """
    if unseen is None:
        return "has learnt from this data, and its card does not say which fold was held out"
    if fold is None and {record.fold for record in slices} == {unseen}:
        fold = unseen
    if fold != unseen:
        untold = "" if held_out else "; its card does not say which slices that fold held then"
        what = "all" if fold is None else f"fold {fold}"
        return (
            f"has learnt from {what} of this data: hold out fold {unseen}, as its training "
            f"did{untold}"
        )
    # Training leaves out tumours of no stated kind.
    if held_out and held_out != data_digest(own for own in slices if own.label != TUMOR):
        return (
            f"has learnt from slices that are in fold {fold} now: the data was split anew "
            "after its training; use the data as it was split then"
        )
    return ""
