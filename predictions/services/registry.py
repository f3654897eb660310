"""The registry of networks: which there are, and which one answers.

A network comes in as a folder and stays as an immutable artifact in the object store; its row
is written last, so that whatever has a row is whole. Only `promote`, `rollback` and
`follow_bundle` decide which network answers, each with an event that says who and why.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.db import IntegrityError, transaction
from django.utils import timezone

from mltasks.artifact import Sums, sums_of
from mltasks.inference import read_model
from predictions.models import ModelEvent, ModelVersion
from predictions.services import artifacts

if TYPE_CHECKING:
    from accounts.models import User

logger = logging.getLogger(__name__)

Stage, Kind = ModelVersion.Stage, ModelEvent.Kind
START = "the start of the site"
NOTHING_TO_COMPARE_WITH = (
    "nothing is in production to compare with: start the site once, which puts the network of "
    "MODEL_DIR there, then compare"
)
_RELEASES = (Kind.BUNDLED, Kind.PROMOTED, Kind.OVERRIDDEN, Kind.ROLLED_BACK)
# The least number of a digest's first letters that may name a network.
_SHORTEST_ID = 6


class NoModelError(Exception):
    """No network is in production, so nothing can be analysed."""


class ReleaseError(Exception):
    """What was asked for cannot be done; the message says why."""


class GateError(ReleaseError):
    """The gate has not let this network pass."""


def note_event(
    *, version: ModelVersion, kind: str, by: User | None = None, actor: str = "", note: str = ""
) -> None:
    """Write down what happened to a network."""
    ModelEvent.objects.create(version=version, kind=kind, by=by, actor=actor[:100], note=note)


def in_production() -> ModelVersion | None:
    """The network that answers, if there is one; card and verdict are read when asked for."""
    return ModelVersion.objects.filter(stage=Stage.PRODUCTION).defer("card", "gate").first()


def production_model() -> ModelVersion:
    """The network that new predictions use.

    Raises:
        NoModelError: none is in production.
    """
    present = in_production()
    if present is None:
        raise NoModelError
    return present


def find(text: str) -> ModelVersion:
    """The network that an operator means: by version, name and version, or start of its digest.

    Raises:
        ReleaseError: there is none, or more than one.
    """
    rows = list(ModelVersion.objects.all())
    found = [row for row in rows if text in {row.version, str(row), f"{row.name}-{row.version}"}]
    if not found and len(text) >= _SHORTEST_ID:
        found = [row for row in rows if row.artifact.startswith(text.lower())]
    if not found:
        raise ReleaseError(f"no network is registered as {text!r}: see manage.py model list")
    if len(found) > 1:
        ids = ", ".join(row.artifact[:12] for row in found)
        raise ReleaseError(f"{text!r} means several networks: name one by its digest: {ids}")
    return found[0]


def register(*, folder: Path, by: User | None = None, actor: str = "") -> ModelVersion:
    """Store a model folder and record it as a candidate.

    1. check the folder; 2. store its files under its digest, their list last; 3. write the row.

    The same folder again gives the row that is there, and puts back what the store has lost. An
    end before 3 leaves objects that nothing names: the next try uses them, or the check for
    orphans removes them.

    Raises:
        mltasks.engines.ModelError: the folder holds no sound model.
        predictions.storage.StorageUnavailableError: the store did not take it; try again.
    """
    card, _, digest = read_model(folder)
    sums = sums_of(folder)
    known = ModelVersion.objects.filter(artifact=sums.digest).first()
    if known and artifacts.is_complete(sums):
        return known
    artifacts.upload(folder=folder, sums=sums, anew=known is None)
    if known:
        logger.warning("the files of %s were incomplete in the store and are whole again", known)
        return known
    version = _created(card, digest, sums, by=by, actor=actor)
    logger.info("%s is registered as %s", version, version.artifact[:12])
    return version


def restore(*, folder: Path, actor: str = "") -> ModelVersion:
    """As `register`, but every object is compared with its file, and rewritten if it is damaged."""
    version = register(folder=folder, actor=actor)
    artifacts.upload(folder=folder, sums=sums_of(folder), anew=False)
    return version


def _created(
    card: dict[str, Any], digest: str, sums: Sums, *, by: User | None, actor: str
) -> ModelVersion:
    version = ModelVersion(
        name=card["name"],
        version=_free_version(card["name"], card["version"], sums.digest),
        digest=digest,
        artifact=sums.digest,
        card=card,
    )
    # Not full_clean: another process may register the same files, and the index decides.
    version.clean_fields()
    try:
        with transaction.atomic():
            version.save(force_insert=True)
            note_event(version=version, kind=Kind.REGISTERED, by=by, actor=actor)
    except IntegrityError:
        first = ModelVersion.objects.filter(artifact=sums.digest).first()
        if first is None:
            raise
        return first
    return version


def _free_version(name: str, version: str, artifact: str) -> str:
    """The card's version, with part of the digest added if another network has it already."""
    if not ModelVersion.objects.filter(name=name, version=version).exists():
        return version
    return f"{version[:22]}+{artifact[:6]}"


def objection(version: ModelVersion, production: ModelVersion | None) -> str:
    """Why the gate does not let a network into production; empty if it does."""
    if production is None:
        return NOTHING_TO_COMPARE_WITH
    if version.gate is None:
        return (
            f"{version} has not been compared with {production}, which is in production: "
            f"manage.py model compare {version.version}"
        )
    if version.gate.get("against_id") != production.pk:
        return (
            f"{version} was compared with {version.gate.get('against')}, but {production} is in "
            f"production now: manage.py model compare {version.version}"
        )
    if not version.gate["passed"]:
        return f"{version} was refused: {' '.join(version.gate['reasons'])}"
    return ""


def promote(
    *, version: ModelVersion, by: User | None = None, actor: str = "", override: str = ""
) -> ModelVersion:
    """Put a network into production and retire the one before it.

    Args:
        override: why it is released although the gate has not let it pass; kept in the records.

    Raises:
        GateError: the gate has not let it pass, and there is no reason to release it all the same.
        ReleaseError: it is in production already.
        mltasks.engines.ModelError: its files in the store are missing or damaged.
        predictions.storage.StorageUnavailableError: the store does not answer.
    """
    artifacts.check(version.artifact)
    with transaction.atomic():
        production, row = held(version)
        if production == row:
            raise ReleaseError(f"{row} is in production already")
        refused = objection(row, production)
        if refused and not override.strip():
            raise GateError(refused)
        if refused:
            note = f"{override.strip()} (Against the gate: {refused})"
            _switch(row, production, kind=Kind.OVERRIDDEN, by=by, actor=actor, note=note)
        else:
            _switch(row, production, kind=Kind.PROMOTED, by=by, actor=actor, note=override.strip())
    return row


def rollback(*, by: User | None = None, actor: str = "", note: str = "") -> ModelVersion:
    """Put the network back into production that the present one has replaced.

    Each call goes back by one release, until the first one answers.

    Raises:
        ReleaseError: there is none to go back to.
        mltasks.engines.ModelError: its files in the store are missing or damaged.
        predictions.storage.StorageUnavailableError: the store does not answer.
    """
    present = in_production()
    if present is None:
        raise ReleaseError("no network is in production")
    if present.replaced is None:
        raise ReleaseError(f"{present} has not replaced another network: nothing to go back to")
    artifacts.check(present.replaced.artifact)
    with transaction.atomic():
        production, row = held(present.replaced)
        if production != present:
            raise ReleaseError("another network was put into production meanwhile: look again")
        _switch(row, production, kind=Kind.ROLLED_BACK, by=by, actor=actor, note=note)
    return row


def held(version: ModelVersion) -> tuple[ModelVersion | None, ModelVersion]:
    """The network in production and `version`, both as they are now, held until the commit."""
    # All of them, which are few: otherwise one that is promoted meanwhile would be missed. The lock
    # lets new predictions refer to them.
    rows = ModelVersion.objects.select_for_update(no_key=True).order_by("pk")
    now = {row.pk: row for row in rows}
    production = next((row for row in now.values() if row.stage == Stage.PRODUCTION), None)
    return production, now[version.pk]


def _switch(
    row: ModelVersion,
    production: ModelVersion | None,
    *,
    kind: str,
    by: User | None = None,
    actor: str = "",
    note: str = "",
) -> None:
    if production is not None:
        production.stage = Stage.RETIRED
        production.save(update_fields=["stage"])
        because = f"{row} took its place."
        note_event(version=production, kind=Kind.RETIRED, by=by, actor=actor, note=because)
    note_event(version=row, kind=kind, by=by, actor=actor, note=note)
    if kind == Kind.ROLLED_BACK:
        row.replaced = _released_before(row)
    elif production is not None:
        row.replaced = production
    row.stage, row.shadow = Stage.PRODUCTION, False
    row.promoted_at = timezone.now()
    row.promoted_by, row.note = by, note
    row.save(update_fields=["stage", "shadow", "promoted_at", "promoted_by", "note", "replaced"])
    logger.info("%s is in production (%s)", row, kind)


def _released_before(present: ModelVersion) -> ModelVersion | None:
    """The release before the present one, without those that were rolled back.

    A network may have been released more than once, so its own `replaced` is not enough.
    """
    releases: list[ModelVersion] = []
    events = ModelEvent.objects.filter(kind__in=(*_RELEASES, Kind.RETIRED)).order_by("pk")
    for event in events.select_related("version"):
        if event.kind == Kind.RETIRED:
            # One that was in production before events were written down.
            if not releases:
                releases.append(event.version)
            continue
        if event.kind == Kind.ROLLED_BACK:
            # Back to that release; those after it are undone.
            while releases and releases.pop() != event.version:
                pass
        releases.append(event.version)
    return releases[-2] if len(releases) > 1 else None


def _came_with_the_code(version: ModelVersion) -> bool:
    """Whether nobody has chosen it: it is there because it lay in MODEL_DIR."""
    last = version.events.filter(kind__in=_RELEASES).first()
    return last is None or last.kind == Kind.BUNDLED


def follow_bundle(*, folder: Path) -> tuple[ModelVersion, ModelVersion]:
    """Register the network of MODEL_DIR, and put it into production where the rule says so.

    It answers if no other network does. With BUNDLED_MODEL=follow it also takes the place of one
    that came with the code as well: a site whose people have never chosen a network goes with the
    code. What somebody has promoted or rolled back to stays until somebody decides otherwise.

    Returns:
        The network of the folder, and the one in production.

    Raises:
        mltasks.engines.ModelError: the folder holds no sound model.
        predictions.storage.StorageUnavailableError: the store did not take it; try again.
    """
    version = register(folder=folder, actor=START)
    with transaction.atomic():
        production, row = held(version)
        if production == row:
            return row, row
        if production is None:
            note = "The first network of this site."
        elif settings.BUNDLED_MODEL == "follow" and _came_with_the_code(production):
            note = f"It came with the code, as {production} did before."
        else:
            return row, production
        _switch(row, production, kind=Kind.BUNDLED, actor=START, note=note)
    return row, row
