"""The gate: a candidate and the network in production over the same held-out slices."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import itertools
import logging
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING
from zipfile import BadZipFile

import numpy as np
from django.conf import settings
from django.db import transaction
from django.utils import timezone

import mltasks
from mltasks import evaluation, gate, seen
from mltasks.classes import TUMOR
from mltasks.data import (
    DataError,
    Record,
    data_digest,
    load_samples,
    masks_digest,
    read_manifest,
    read_records,
    with_digest,
)
from mltasks.evaluation import Results
from mltasks.evaluation.measuring import set_digest
from mltasks.evaluation.robustness import changed_once
from mltasks.manifest import MANIFEST
from predictions import storage
from predictions.models import ModelEvent, ModelVersion
from predictions.services import artifacts
from predictions.services.notifying import notify
from predictions.services.registry import (
    NOTHING_TO_COMPARE_WITH,
    ReleaseError,
    in_production,
    note_event,
)

if TYPE_CHECKING:
    from accounts.models import User

logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, slots=True)
class HeldOut:
    """The slices that decide, and a digest of all that is read of them.

    Attributes:
        fold: None for all of the data.
        whole: `data_digest` of the folder, which says what a network has learnt from.
        stated: those of the fold, with the digests that the manifest states.
        records: the same, each with a digest.
    """

    folder: Path
    fold: int | None
    whole: str
    stated: list[Record]
    records: list[Record]
    digest: str

    @property
    def words(self) -> str:
        """Which slices these are."""
        part = "all" if self.fold is None else f"fold {self.fold}"
        return f"{part} of {self.digest[:12]}"

    def only(self, records: list[Record]) -> HeldOut:
        """The same without other slices."""
        return dataclasses.replace(self, records=records, digest=_digest(self.folder, records))


def held_out(folder: Path, fold: int | None) -> HeldOut:
    """Read which slices a fold has; all of the data, which need not be split, if it is None.

    Raises:
        mltasks.data.DataError: the folder cannot be used, or the fold is empty.
    """
    if fold is None:
        # Of a tumour of no stated kind no answer is right or wrong.
        stated = [record for record in read_records(folder, None) if record.label != TUMOR]
    else:
        stated = [record for record in read_manifest(folder) if record.fold == fold]
    records = [with_digest(folder, record) for record in stated]
    if not records:
        raise DataError(f"{folder / MANIFEST} has no slices in fold {fold}")
    return HeldOut(folder, fold, set_digest(folder), stated, records, _digest(folder, records))


def _digest(folder: Path, records: list[Record]) -> str:
    text = data_digest(records) + masks_digest(folder, records)
    return hashlib.sha256(text.encode()).hexdigest()


def compare(
    *,
    candidate: ModelVersion,
    baseline: ModelVersion | None = None,
    data: HeldOut,
    margins: gate.Margins | None = None,
    leave_out_seen: bool = False,
    by: User | None = None,
    actor: str = "",
    say: Callable[[str], None] | None = None,
) -> gate.Verdict:
    """Measure two networks, and record the verdict if one of them is in production.

    People named in NOTIFY_URLS hear of a candidate that passes.

    Args:
        baseline: what the candidate is held against; the network in production by default.
        leave_out_seen: compare on those slices that neither has learnt from, instead of refusing
            data that holds others.
        say: told what is being done.

    Raises:
        predictions.services.registry.ReleaseError: there is nothing to compare it with.
        mltasks.gate.GateError, mltasks.data.DataError: the data does not allow it, or one of them
            has learnt from it.
        mltasks.engines.ModelError: a network cannot be used.
        predictions.storage.StorageUnavailableError: a network cannot be fetched at the moment.
    """
    production = in_production()
    against = baseline or production
    if against is None:
        raise ReleaseError(NOTHING_TO_COMPARE_WITH)
    if against == candidate:
        raise ReleaseError(f"{candidate} cannot be compared with itself")
    data, left_out = _unseen(data, (candidate, against), leave_out_seen, say or logger.info)
    verdict = gate.compare(
        _measured(candidate, data, say or logger.info),
        _measured(against, data, say or logger.info),
        margins=margins,
    )
    if against == production:
        _record(candidate, against, data, verdict, by, actor, left_out)
    return verdict


def _unseen(
    data: HeldOut, versions: Sequence[ModelVersion], leave_out: bool, say: Callable[[str], None]
) -> tuple[HeldOut, int]:
    """The slices that none of the networks has learnt from, and how many others were left out.

    Raises:
        DataError: there are others, which are not to be left out, or there are none but these.
    """
    if not leave_out:
        for version in versions:
            for records, whole in ((data.records, ""), (data.stated, data.whole)):
                if why := seen.why_seen(version.card, records, fold=data.fold, whole=whole):
                    raise DataError(f"{version.card['name']} {version.card['version']} {why}")
        return data, 0
    cards = [version.card for version in versions]
    # A fold is known by the digests that the manifest states, a file by its own.
    of_fold = {own.id for own in seen.unseen(cards, data.stated, whole=data.whole)}
    by_file = seen.unseen(cards, data.records, whole="")
    rest = [record for record in by_file if record.id in of_fold]
    if not rest:
        raise DataError(f"none of these {len(data.records)} slices would be left")
    say(seen.left_out(data.records, rest))
    return data.only(rest), len(data.records) - len(rest)


def _record(
    candidate: ModelVersion,
    against: ModelVersion,
    data: HeldOut,
    verdict: gate.Verdict,
    by: User | None,
    actor: str,
    left_out: int,
) -> None:
    candidate.gate = {
        **verdict.as_dict(),
        "against": str(against),
        "against_id": against.pk,
        "data_digest": data.digest,
        "fold": data.fold,
        "left_out": left_out,
        "at": timezone.now().isoformat(),
    }
    kind = ModelEvent.Kind.PASSED if verdict.passed else ModelEvent.Kind.REFUSED
    note = f"Against {against}, on {data.words}. "
    if left_out:
        note += f"Left out, as learnt from: {left_out} slices. "
    with transaction.atomic():
        candidate.save(update_fields=["gate"])
        note_event(
            version=candidate, kind=kind, by=by, actor=actor, note=note + " ".join(verdict.reasons)
        )
    if verdict.passed:
        notify(title=f"TumorSite: {candidate} has passed the gate", body=_message(candidate))


def _message(candidate: ModelVersion) -> str:
    stated = candidate.gate or {}
    summary = (
        f"{candidate} ({candidate.artifact[:12]}) is no worse than {stated['against']} and better "
        f"somewhere, on {stated['n']} held-out slices in {stated['groups']} groups."
    )
    lines = [
        summary,
        "",
        *stated["reasons"],
        "",
        *(
            f"{row['name']}: {row['candidate']:.4f} against {row['production']:.4f}"
            for row in stated["rows"]
        ),
        "",
        f"To release it on {settings.SITE_URL}:",
        f"    python manage.py model promote {candidate.version}",
    ]
    return "\n".join(lines)


def _measured(version: ModelVersion, data: HeldOut, say: Callable[[str], None]) -> gate.Measured:
    """What the network answers to each slice, as it is and changed."""
    results, count = _results(version, data, say), len(data.records)
    return gate.Measured(results.take(np.arange(count)), results.take(np.arange(count, 2 * count)))


def _results(version: ModelVersion, data: HeldOut, say: Callable[[str], None]) -> Results:
    """The slices as they are, then changed: measured once for each state of data and code."""
    key = artifacts.key(
        version.artifact, f"results/{data.digest[:16]}-{_name(data.fold)}-{code_digest()[:16]}.npz"
    )
    kept = _kept(key)
    if kept is not None:
        say(f"{version}: measured before")
        return kept
    analyzer = artifacts.load(version, threads=settings.INFERENCE_THREADS)
    say(f"{version}: analysing {len(data.records)} slices, as they are and changed")
    samples = load_samples(data.folder, data.records)
    results = evaluation.run(analyzer, itertools.chain(samples, changed_once(samples)))
    _keep(key, results)
    return results


def _name(fold: int | None) -> str:
    return "all" if fold is None else str(fold)


@cache
def code_digest() -> str:
    """Changes when the code that measures does, so that no figure of other code is used again."""
    root = Path(mltasks.__file__).parent
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        if "tests" not in path.relative_to(root).parts:
            digest.update(path.read_bytes())
    return digest.hexdigest()


def _kept(key: str) -> Results | None:
    """Results of an earlier measurement; None if there are none that can be used."""
    try:
        with np.load(storage.stream(key), allow_pickle=False) as arrays:
            return Results(**{field.name: arrays[field.name] for field in _fields()})
    except FileNotFoundError:
        return None
    except (storage.StorageUnavailableError, OSError, ValueError, KeyError, BadZipFile) as error:
        logger.warning("earlier results cannot be used: %s", type(error).__name__)
        return None


def _keep(key: str, results: Results) -> None:
    stream = io.BytesIO()
    np.savez_compressed(stream, **{one.name: getattr(results, one.name) for one in _fields()})
    try:
        # Whatever is there could not be used.
        storage.delete(key)
        storage.put(key, stream.getvalue())
    except (FileExistsError, storage.StorageUnavailableError) as error:
        # They are there for speed only.
        logger.warning("results were not kept: %s", type(error).__name__)


def _fields() -> tuple[dataclasses.Field[object], ...]:
    return dataclasses.fields(Results)
