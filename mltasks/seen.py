"""Which slices a network has learnt from, so that nobody measures it on them unawares.

A card names them by the beginnings of their files' digests. Ids, groups and folds may change, and
rows come and go: the files stay themselves. Cards of the first versions name the set as a whole
instead, by its digest, and the fold of it that was held out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from mltasks.data import Record, data_digest

PREFIXES, OLDER = "learnt_prefixes", "older"
# Hexadecimal digits kept of each file's digest. Of 3,646 files learnt from and 907 others, two
# agree in so many by chance once in 330,000 such sets, so that one is enough to say "learnt from".
_DIGITS = 10


def learnt_prefixes(records: Iterable[Record]) -> str:
    """The files of these slices in short: so many digits of each, sorted, without a space between.

    A slice whose manifest states no digest cannot be named and is left out.
    """
    return "".join(sorted(_short(records)))


def _short(records: Iterable[Record]) -> set[str]:
    return {record.sha256[:_DIGITS] for record in records if record.sha256}


def _stated(card: dict[str, Any]) -> set[str]:
    text = card.get("training", {}).get(PREFIXES, "")
    return {text[place : place + _DIGITS] for place in range(0, len(text), _DIGITS)}


def for_card(records: Iterable[Record], start: dict[str, Any] | None) -> dict[str, Any]:
    """What a card's section `training` says of the slices learnt from.

    Args:
        records: all that training has seen, those that only watched it included.
        start: card of the network that training went on from. What that one has learnt from, this
            one has, too; where it does not name the files, what it says of its set is kept.
    """
    if start is None:
        return {PREFIXES: learnt_prefixes(records)}
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
    prefixes = "".join(sorted(_short(records) | _stated(start)))
    return {PREFIXES: prefixes} | ({OLDER: older} if older else {})


def abridged(card: dict[str, Any]) -> dict[str, Any]:
    """The card to be read by people: a count instead of the files' digests."""
    training = card.get("training", {})
    if PREFIXES not in training:
        return card
    count = len(training[PREFIXES]) // _DIGITS
    return card | {"training": training | {PREFIXES: f"of {count:,} files"}}


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
    told while the set is the very same, and not always then: see `_why_fold_seen`. A file that was
    converted is another file.

    Args:
        card: of the network.
        slices: it is to be measured on.
        fold: that they are of their set; None for all of it.
        whole: `data_digest` of that set; empty if no network can have learnt from it.
    """
    stated = _stated(card)
    known = [record.id for record in slices if record.sha256[:_DIGITS] in stated]
    if known:
        return (
            f"has learnt from {len(known)} of these {len(slices)} slices, such as {known[0]}: "
            "take those that its training held out, or exclude the ones it knows"
        )
    reasons = (
        _why_fold_seen(unseen, held_out, slices, fold)
        for digest, unseen, held_out in _sets(card)
        if digest == whole
    )
    return next(filter(None, reasons), "")


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
    if fold != unseen:
        untold = "" if held_out else "; its card does not say which slices that fold held then"
        what = "all" if fold is None else f"fold {fold}"
        return (
            f"has learnt from {what} of this data: hold out fold {unseen}, as its training "
            f"did{untold}"
        )
    if held_out and held_out != data_digest(slices):
        return (
            f"has learnt from slices that are in fold {fold} now: the data was split anew "
            "after its training; use the data as it was split then"
        )
    return ""
