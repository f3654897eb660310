"""Reads every image of the audited sets once, and keeps only what the audit needs.

For each image: its row, 4 KiB of fingerprints, 224 bytes of cues, a few numbers. No pixels.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from mltasks.batching import batched
from mltasks.classes import NO_TUMOR
from mltasks.data import DataError, marked
from mltasks.datasets.copies import FingerprintStore
from mltasks.datasets.fingerprints import fingerprint
from mltasks.datasets.form import INFO, MANIFEST, Dataset, Fault, Progress, Row, read_dataset
from mltasks.datasets.items import Mask, files_below
from mltasks.datasets.masks import check_mask
from mltasks.datasets.shortcuts import COLUMNS, cues, framed_cues
from mltasks.images import Decoded, ImageError, Limits, decode
from mltasks.inference import Analyzer
from mltasks.manifest import REPORT
from mltasks.preprocessing import Pixels, to_grey
from mltasks.progress import Tick

_BATCH = 16
_FORMATS = {".jpg": "JPEG", ".jpeg": "JPEG", ".png": "PNG"}
_KNOWN_FILES = {MANIFEST, INFO, REPORT}


@dataclass(frozen=True, slots=True)
class MaskFinding:
    """A mask that looks wrong."""

    place: int
    kind: str
    message: str


@dataclass(slots=True)
class Gathered:
    """What was found out about n images; all lists are parallel.

    Attributes:
        sets, set_of: the data sets, and for each image the number of its set.
        numbers: of each image's fingerprint in `store`; images of equal pixels share one.
        store: the fingerprints.
        before, after: float32 (n, 28), see `shortcuts`.
        brain: score of "is a brain MRI", or NaN; `refused` are the places the model refuses.
        unfit: places of images whose mask cannot be used; the reason is among the faults.
        faults: with their set, files and rows that cannot be used or are inconsistent.
    """

    sets: list[Dataset] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    set_of: list[int] = field(default_factory=list)
    numbers: list[int] = field(default_factory=list)
    store: FingerprintStore = field(default_factory=FingerprintStore)
    before: Any = None
    after: Any = None
    brain: list[float] = field(default_factory=list)
    refused: list[int] = field(default_factory=list)
    masks: list[MaskFinding] = field(default_factory=list)
    unfit: set[int] = field(default_factory=set)
    faults: list[tuple[str, Fault]] = field(default_factory=list)

    def path(self, place: int) -> Path:
        """The file of an image."""
        return self.sets[self.set_of[place]].folder / self.rows[place].image

    def name(self, place: int) -> str:
        """Set and id of an image."""
        return f"{self.sets[self.set_of[place]].name}/{self.rows[place].id}"

    def pixels(self, place: int, limits: Limits) -> Pixels:
        """The image, read anew: grey uint8 (height, width)."""
        return to_grey(decode(self.path(place), limits).pixels)

    def mask(self, place: int, limits: Limits) -> Mask:
        """The mask, read anew."""
        content = (self.sets[self.set_of[place]].folder / self.rows[place].mask).read_bytes()
        return marked(content, decode(content, limits))


def open_sets(folders: Sequence[Path]) -> list[Dataset]:
    """Read the manifests.

    Raises:
        DataError: a folder is given twice, holds no data set, or two have one name.
    """
    sets = [read_dataset(folder) for folder in folders]
    places = [data.folder.resolve() for data in sets]
    if len(set(places)) < len(places):
        raise DataError("the same folder is given twice")
    names = [data.name for data in sets]
    for name in names:
        if names.count(name) > 1:
            which = " and ".join(str(data.folder) for data in sets if data.name == name)
            raise DataError(
                f"{which} are all called {name}: give one another name in its {INFO}, or by "
                "importing it with --name"
            )
    return sets


def gather(
    sets: Sequence[Dataset], limits: Limits, analyzer: Analyzer | None, progress: Progress
) -> Gathered:
    """Read everything once. Files that cannot be used become faults and are not counted.

    Excluded rows are not counted either; of these only those that a split still groups are read,
    see `Row.grouped`.
    """
    found = Gathered(sets=list(sets))
    reader = _Reader(found, limits)
    with progress("read", sum(len(data.rows) for data in sets)) as tick:
        # The network gets them in batches.
        for some in batched(reader.images(tick), _BATCH):
            if analyzer is not None:
                _analyze(found, analyzer, some)
    reader.finish()
    return found


def _analyze(found: Gathered, analyzer: Analyzer, some: Sequence[tuple[int, Pixels]]) -> None:
    answers = analyzer.analyze([pixels for _, pixels in some])
    for (place, _), analysis in zip(some, answers, strict=True):
        found.brain[place] = analysis.brain_score
        if analysis.status != "ok":
            found.refused.append(place)


def _foreign(data: Dataset) -> list[Fault]:
    """Files that the manifest does not name."""
    named = {row.image for row in data.rows} | {row.mask for row in data.rows if row.has_mask}
    return [
        Fault("foreign", where, "the manifest does not name this file; remove it or import it")
        for path in files_below(data.folder)
        if (where := path.relative_to(data.folder).as_posix()) not in named | _KNOWN_FILES
    ]


class _Reader:
    """One image after the other."""

    def __init__(self, found: Gathered, limits: Limits) -> None:
        self._found, self._limits = found, limits
        self._numbers: dict[bytes, int] = {}
        self._cues: list[Any] = []

    def images(self, tick: Tick) -> Iterator[tuple[int, Pixels]]:
        """Places and pixels of the images that can be used."""
        for number, data in enumerate(self._found.sets):
            self._found.faults.extend((data.name, fault) for fault in data.faults)
            self._found.faults.extend((data.name, fault) for fault in _foreign(data))
            for row in data.rows:
                if row.grouped and (taken := self._take(number, row)):
                    yield taken
                tick(1)

    def _take(self, number: int, row: Row) -> tuple[int, Pixels] | None:
        data = self._found.sets[number]
        try:
            pixels = self._image(data, row)
            mask = self._mask(data, row, pixels) if row.has_mask else None
        except _Unusable as error:
            self._found.faults.append((data.name, error.fault))
            return None
        place = len(self._found.rows)
        self._found.rows.append(row)
        self._found.set_of.append(number)
        self._found.numbers.append(self._fingerprint_number(pixels))
        self._found.brain.append(float("nan"))
        self._cues.append(np.stack([cues(pixels), framed_cues(pixels)]))
        if row.has_mask and mask is None:
            self._found.unfit.add(place)
        if mask is not None and (wrong := check_mask(pixels, mask)):
            self._found.masks.append(MaskFinding(place, *wrong))
        return place, pixels

    def finish(self) -> None:
        table = np.stack(self._cues) if self._cues else np.zeros((0, 2, COLUMNS), np.float32)
        self._found.before, self._found.after = table[:, 0], table[:, 1]

    def _fingerprint_number(self, pixels: Pixels) -> int:
        key = hashlib.sha256(repr(pixels.shape).encode() + pixels.tobytes()).digest()
        if key not in self._numbers:
            self._numbers[key] = self._found.store.add(fingerprint(pixels))
        return self._numbers[key]

    def _image(self, data: Dataset, row: Row) -> Pixels:
        _, picture = self._decode(data.folder, row.image, row.sha256)
        pixels = to_grey(picture.pixels)
        if _FORMATS.get(Path(row.image).suffix.lower(), picture.format) != picture.format:
            self._note(data, "format", row.image, "its name's ending is not that of its format")
        height, width = pixels.shape
        if row.width and row.height and (row.width, row.height) != (width, height):
            text = f"it has {width}×{height} pixels, the manifest says {row.width}×{row.height}"
            self._note(data, "size", row.image, text)
        if row.has_mask and row.label == NO_TUMOR:
            self._note(data, "label", row.image, "labelled no_tumor, and yet it has a mask")
        return pixels

    def _mask(self, data: Dataset, row: Row, pixels: Pixels) -> Mask | None:
        try:
            mask = marked(*self._decode(data.folder, row.mask, row.mask_sha256))
        except _Unusable as error:
            self._found.faults.append((data.name, error.fault))
            return None
        if mask.shape != pixels.shape:
            (height, width), (rows, columns) = mask.shape, pixels.shape
            text = f"it has {width}×{height} pixels, its image {columns}×{rows}"
            self._note(data, "mask size", row.mask, text)
            return None
        return mask

    def _note(self, data: Dataset, kind: str, where: str, text: str) -> None:
        self._found.faults.append((data.name, Fault(kind, where, text)))

    def _decode(self, folder: Path, where: str, digest: str) -> tuple[bytes, Decoded]:
        """A file's content, and the picture in it."""
        path = folder / where
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            raise _Unusable("missing", where, "the manifest names it, but it is missing") from None
        except OSError as error:
            raise _Unusable("missing", where, f"cannot be read: {error.strerror}") from None
        fits = not digest or hashlib.sha256(content).hexdigest() == digest
        try:
            found = decode(content, self._limits)
        except ImageError as error:
            raise _Unusable("damaged", where, error.message) from None
        if not fits:
            raise _Unusable(
                "digest",
                where,
                "its digest is not that in the manifest: restore the file or, if it was changed on "
                "purpose, leave the digest empty there and import the folder anew",
            )
        return content, found


class _Unusable(Exception):  # noqa: N818  # not an error of the program
    def __init__(self, kind: str, where: str, message: str) -> None:
        super().__init__(message)
        self.fault = Fault(kind, where, message)
