"""From a download to a data folder: every file is checked, and all is written or nothing."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path, PurePath
from typing import Any

import numpy as np
from PIL import Image

from mltasks.classes import NO_TUMOR
from mltasks.data import DataError, marked
from mltasks.datasets.finding import Found, find_layout, is_litter, packed
from mltasks.datasets.form import (
    FORMAT,
    INFO,
    MANIFEST,
    Progress,
    Row,
    info_bytes,
    is_pseudonym,
    manifest_bytes,
    no_progress,
    pseudonym,
    read_dataset,
    write_file,
)
from mltasks.datasets.items import Item, LeftOut, Mask, slug
from mltasks.datasets.joining import take_over
from mltasks.datasets.layouts import lgg
from mltasks.images import Decoded, ImageError, Limits, decode, encode_png
from mltasks.manifest import REPORT
from mltasks.preprocessing import Pixels, to_grey

# Formats that are kept byte for byte; the others become PNG.
_KEPT = {"JPEG": ".jpg", "PNG": ".png"}
_DIGESTS = ("sha256", "mask_sha256")


@dataclass(frozen=True, slots=True)
class Request:
    """What `manage.py dataset import` was asked for.

    Attributes:
        layout: key of `LAYOUTS`; empty means the first that fits.
        onto: a data folder whose images come first and keep their folds.
        patient_key: secret from which pseudonyms are made.
    """

    source: Path
    output: Path
    limits: Limits
    layout: str = ""
    name: str = ""
    licence: str = ""
    citation: str = ""
    channel: str = "post"
    onto: Path | None = None
    patient_key: str = ""


@dataclass(slots=True)
class Outcome:
    """What became of a download.

    Attributes:
        folds_dropped: images that came with a fold, which has no meaning in the set joined to.
        names: full names of the files left out, each with its reason; may name patients.
    """

    layout: str
    rows: list[Row] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)
    folds_dropped: int = 0
    digest: str = ""
    names: list[tuple[str, str]] = field(default_factory=list)

    def patients(self) -> Counter[str]:
        """How many images each patient has, by pseudonym; images of no stated patient are left."""
        return Counter(row.patient for row in self.rows if row.patient)

    def of_one_patient(self) -> list[tuple[str, int]]:
        """Classes with several images that all are of one patient, and how many these are."""
        counts = Counter(row.label for row in self.rows)
        patients: dict[str, set[str]] = defaultdict(set)
        for row in self.rows:
            patients[row.label].add(row.patient or row.id)
        return sorted(
            (label, count)
            for label, count in counts.items()
            if count > 1 and len(patients[label]) == 1
        )

    def groups(self) -> list[tuple[str, str, int]]:
        """Folder, reason and number of the files left out; the largest number first."""
        counts = Counter(
            (_folder(item.where), "an exact copy of another" if item.copy else item.reason)
            for item in self.left_out
        )
        return [(folder, reason, count) for (folder, reason), count in counts.most_common()]

    def as_json(self) -> dict[str, Any]:
        return {
            "layout": self.layout,
            "taken": len(self.rows),
            "labels": dict(sorted(Counter(row.label for row in self.rows).items())),
            "masks": sum(row.has_mask for row in self.rows),
            "patients": len(self.patients()),
            "folds_dropped": self.folds_dropped,
            "exact_copies_left_out": sum(item.copy for item in self.left_out),
            "left_out": [{"file": item.where, "why": item.reason} for item in self.left_out],
        }


def _folder(where: str) -> str:
    """The folder of a file left out, without pseudonyms, which would make a group per patient."""
    parts = PurePath(where).parts[:-1]
    return "/".join("…" if is_pseudonym(part) else part for part in parts)


def run(request: Request, *, progress: Progress = no_progress) -> Outcome:
    """Import a download.

    Raises:
        DataError: nothing usable was found, something needed is missing, or the output exists
            or cannot be written. Nothing is left behind then.
    """
    found = find_layout(request.source, request.layout)
    info = _describe(request, found)
    if request.output.exists():
        raise DataError(f"{request.output} is there already: remove it or choose another output")
    temporary = request.output.with_name(f".{request.output.name}.part")
    try:
        shutil.rmtree(temporary, ignore_errors=True)
        (temporary / "images").mkdir(parents=True)
        (temporary / "masks").mkdir()
        outcome = _fill(temporary, request, found, info, progress)
        temporary.rename(request.output)
    except OSError as error:
        raise DataError(f"cannot write {request.output}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return outcome


def _describe(request: Request, found: Found) -> dict[str, Any]:
    """dataset.json, except for what only the images can tell."""
    layout = found.layout
    info: dict[str, Any] = {"format": FORMAT, "name": "", "licence": "", "citation": ""}
    info.update(name=layout.name, licence=layout.licence, citation=layout.citation)
    if layout.key == "manifest":
        info.update(read_dataset(found.place).info)
    for name in ("name", "licence", "citation"):
        info[name] = getattr(request, name) or info[name]
    missing = [f"--{name}" for name in ("name", "licence", "citation") if not info[name]]
    if missing:
        raise DataError(
            f"{', '.join(missing)} must be given: this layout does not tell whose data it is, and "
            "licence and citation have to travel along"
        )
    info["source"] = {
        "layout": layout.key,
        "folder": found.place.resolve().name,
        "imported": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    return info


def _fill(
    folder: Path, request: Request, found: Found, info: dict[str, Any], progress: Progress
) -> Outcome:
    outcome = Outcome(found.layout.key)
    older = [] if request.onto is None else take_over(folder, request.onto, info)
    importer = _Importer(folder, request, found, info, older)
    with progress("import", 0) as tick:
        for thing in _walk(found, request):
            row = importer.take(thing) if isinstance(thing, Item) else thing
            if isinstance(row, LeftOut):
                outcome.left_out.append(importer.hidden(row))
                outcome.names.append((row.path or row.where, row.reason))
            elif request.onto is not None and row.fold is not None:
                # Drawn without the older images, it could separate copies that both sets hold.
                outcome.folds_dropped += 1
                outcome.rows.append(replace(row, fold=None))
            else:
                outcome.rows.append(row)
            tick(1)
    if not outcome.rows:
        first = {item.reason: item.where for item in reversed(outcome.left_out)}
        told = list(reversed(first.items()))[:3]
        reasons = "; ".join(f"{where}: {reason}" for reason, where in told)
        raise DataError(
            f"nothing in {request.source} could be imported ({reasons or 'no files'})"
            f"{packed(request.source)}"
        )
    content = manifest_bytes([*older, *outcome.rows])
    outcome.digest = info["digest"] = hashlib.sha256(content).hexdigest()
    report = json.dumps(outcome.as_json(), indent=2, ensure_ascii=False) + "\n"
    write_file(folder / MANIFEST, content)
    write_file(folder / REPORT, report.encode())
    write_file(folder / INFO, info_bytes(info))
    return outcome


def _walk(found: Found, request: Request) -> Iterator[Item | LeftOut]:
    yield from _beside(request.source, found.place)
    # Of the project's own form these are read; a collection's own files may be called so, too.
    ignored = {REPORT, INFO, MANIFEST} if found.layout.key == "manifest" else set()
    for thing in found.layout.walk(found.place, request.channel):
        if not (isinstance(thing, LeftOut) and thing.where in ignored):
            yield thing


def _beside(source: Path, place: Path) -> Iterator[LeftOut]:
    """What lies on the way down to the folder that is imported; a folder is one thing."""
    while place != source:
        for path in sorted(place.parent.iterdir()):
            where = str(path.relative_to(source))
            if is_litter(path):
                yield LeftOut(where, "left there by a system or a program that packs files")
            elif path.is_file():
                yield LeftOut(where, f"beside the folder {place.name}, which was imported")
        place = place.parent


class _CopyError(ValueError):
    """The set already has this image."""


class _Importer:
    """Decodes, checks and writes one image after the other into a folder that may hold others."""

    def __init__(
        self,
        folder: Path,
        request: Request,
        found: Found,
        info: dict[str, Any],
        older: Sequence[Row],
    ) -> None:
        self._folder, self._request, self._info = folder, request, info
        self._layout, self._place = found.layout, found.place
        self._taken = {row.id: row for row in older}
        self._sources: dict[str, set[str]] = defaultdict(set)
        for row in older:
            self._sources[row.group].add(row.source)
        # The names given here to the groups that came with the images.
        self._groups: dict[str, str] = {}

    def take(self, item: Item) -> Row | LeftOut:
        """One image and its mask."""
        where = item.origin or (str(item.image.name) if isinstance(item.image, Path) else item.id)
        if self._layout.patients and isinstance(item.image, Path):
            where = str(item.image.relative_to(self._place))
        in_full = isinstance(item.image, Path) and str(item.image.relative_to(self._place))
        try:
            row = self._row(item)
        except ImageError as error:
            return LeftOut(where, error.message, patient=item.patient, path=in_full or "")
        except ValueError as error:
            copy = isinstance(error, _CopyError)
            return LeftOut(where, str(error), copy, patient=item.patient, path=in_full or "")
        self._taken[row.id] = row
        return row

    def hidden(self, found: LeftOut) -> LeftOut:
        """The same without a patient's name where files are named after patients."""
        if not self._layout.patients:
            return replace(found, where=self._named(found.where, found.patient))
        path = PurePath(found.where)
        number = re.search(r"_(\d+)(_mask)?$", path.stem)
        places = [own / path for own in (self._place, self._request.source)]
        file = next((own for own in places if own.exists()), places[0])
        folders = [*reversed(file.parents[: len(path.parts) - 1])]
        names = [
            folder.name if self._holds_patients(folder) else self._pseudonym(folder.name)
            for folder in folders
        ]
        told = lgg.holds_patients(file.parent) and not lgg.is_slice(file)
        # Not if it is a patient's folder packed, or in another form.
        told = told and not any(
            path.stem.startswith(own.name) for own in file.parent.iterdir() if own.is_dir()
        )
        name = path.name if told else (number[0] if number else "…") + path.suffix
        return replace(found, where="/".join([*names, name]))

    def _holds_patients(self, folder: Path) -> bool:
        """Whether it lies above the patients' folders, so that its name is not a patient's."""
        return folder in {self._place, *self._place.parents} or lgg.holds_patients(folder)

    def _row(self, item: Item) -> Row:
        pixels, content, suffix = self._image(item)
        mask = self._mask(item, pixels)
        if item.needs_mask and (mask is None or not mask.any()):
            raise ValueError("no tumour in this slice of someone who has one: neither class")
        if mask is not None and item.label == NO_TUMOR:
            if mask.any():
                raise ValueError("no tumour, and yet it has a mask")
            mask = None  # an empty mask means the same as none
        mask_content = b"" if mask is None else encode_png(mask.astype(np.uint8) * 255)
        patient = self._pseudonym(item.patient)
        digest = hashlib.sha256(content).hexdigest()
        wanted = self._named(item.id, item.patient)
        name = self._free_id(wanted, item.label, digest, suffix)
        fields: dict[str, Any] = {
            "group": patient or name,
            "source": self._info["name"],
            "licence": self._info["licence"],
            "part": item.part,
            "origin": self._named(item.origin, item.patient),
        }
        # What an earlier manifest states takes precedence (fold 0 counts as stated).
        fields |= {key: value for key, value in item.known.items() if value or value == 0}
        fields["group"] = self._group(fields["group"], patient, fields["source"])
        row = Row(
            **{key: value for key, value in fields.items() if key not in _DIGESTS},
            id=name,
            label=item.label,
            plane=item.plane,
            width=pixels.shape[1],
            height=pixels.shape[0],
            has_mask=mask is not None,
            sha256=digest,
            mask_sha256=hashlib.sha256(mask_content).hexdigest() if mask_content else "",
            file="" if suffix == ".jpg" else name + suffix,
            patient=patient,
        )
        (self._folder / row.image).write_bytes(content)
        if mask_content:
            (self._folder / row.mask).write_bytes(mask_content)
        return row

    def _pseudonym(self, patient: str) -> str:
        """The pseudonym for a patient's name in the download; empty if there is none."""
        if not patient or is_pseudonym(patient):
            return patient
        return pseudonym(patient, self._request.patient_key)

    def _named(self, text: str, patient: str) -> str:
        """The text with the pseudonym in place of {patient}."""
        return text.replace("{patient}", self._pseudonym(patient)) if patient else text

    def _group(self, wanted: str, patient: str, source: str) -> str:
        """The group's name, prefixed by the collection's if another collection has that group.

        Groups of equal names would tie together images that have nothing in common: many
        collections have a group "1". A pseudonym means the same patient everywhere.
        """
        if wanted == patient:
            return wanted
        foreign = wanted in self._sources and source not in self._sources[wanted]
        # Decided once, so that a group with images of several collections stays whole.
        return self._groups.setdefault(
            wanted, f"{slug(self._info['name'])}_{wanted}" if foreign else wanted
        )

    def _free_id(self, wanted: str, label: str, digest: str, suffix: str) -> str:
        """The id wanted, prefixed by the collection's name if another image has it.

        Raises:
            ValueError: the set has this image under either id, or other images under both.
        """
        other = slug(f"{self._info['name']}_{wanted}")
        for name in (wanted, other):
            held = self._taken.get(name)
            if held is not None and (held.sha256, held.label) == (digest, label):
                raise _CopyError(f"an exact copy of {name}, which is in the set already")
            # A manifest may give a file a name other than its id.
            if held is None and not (self._folder / "images" / f"{name}{suffix}").exists():
                return name
        raise ValueError(
            f"other images in the set are called {wanted} and {other}: give this collection "
            "another --name"
        )

    def _decode(self, path: Path, what: str, expected: str) -> tuple[bytes, Decoded]:
        """Content and picture of a file, called `what` in messages: its name may name a patient."""
        try:
            content = path.read_bytes()
        except OSError as error:
            raise ValueError(f"{what} cannot be read: {error.strerror}") from None
        if expected and hashlib.sha256(content).hexdigest() != expected:
            raise ValueError(
                f"the digest of {what} is not the one in the manifest: download it again or, if it "
                "was changed on purpose, leave the digest empty there"
            )
        return content, decode(content, self._request.limits)

    def _image(self, item: Item) -> tuple[Pixels, bytes, str]:
        """Grey pixels, the content to store and its suffix."""
        if not isinstance(item.image, Path):
            return item.image, encode_png(item.image), ".png"
        content, picture = self._decode(item.image, "the image", item.known.get("sha256", ""))
        if item.channel is not None:
            pixels = _channel(picture.pixels, item.channel)
            return pixels, encode_png(pixels), ".png"
        pixels = to_grey(picture.pixels)
        if picture.format in _KEPT and picture.orientation == 1 and _plain(item.image):
            return pixels, content, _KEPT[picture.format]
        return pixels, encode_png(pixels), ".png"

    def _mask(self, item: Item, pixels: Pixels) -> Mask | None:
        if item.mask is None:
            return None
        mask = self._marked(item, item.mask) if isinstance(item.mask, Path) else item.mask
        if mask.shape != pixels.shape:
            (height, width), (rows, columns) = mask.shape, pixels.shape
            raise ValueError(
                f"its mask has another size: {width}×{height} instead of {columns}×{rows}"
            )
        return mask

    def _marked(self, item: Item, path: Path) -> Mask:
        """What the mask's file says.

        Raises:
            ValueError: it cannot be read. The message names it, unless it may name a patient.
        """
        hidden = self._layout.patients or item.patient
        what = "its mask" if hidden else f"its mask {path.name}"
        try:
            return marked(*self._decode(path, what, item.known.get("mask_sha256", "")))
        except ImageError as error:
            raise ValueError(f"{what} cannot be read: {error.message}") from None


def _channel(pixels: Pixels, channel: int) -> Pixels:
    """One sequence of a picture that holds several as colours.

    Raises:
        ValueError: this sequence was not acquired: its channel repeats another.
    """
    if pixels.ndim == 2:
        if channel != lgg.FLAIR:
            raise ValueError("this sequence was not acquired: all channels are alike")
        return pixels
    if channel != lgg.FLAIR and np.array_equal(pixels[..., channel], pixels[..., lgg.FLAIR]):
        raise ValueError("this sequence was not acquired: it is a copy of FLAIR")
    return np.ascontiguousarray(pixels[..., channel])


def _plain(path: Path) -> bool:
    """Whether every reader sees the same grey pixels in the file as we do."""
    with Image.open(path) as image:
        return image.mode in {"L", "RGB"} and not image.has_transparency_data
