"""Analyses any number of files in constant memory: what `manage.py analyze` runs."""

from __future__ import annotations

import json
import os
import re
import stat
import time
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any, TextIO

import numpy as np
from PIL import Image

from mltasks.classes import CLASSES
from mltasks.data import PICTURE_SUFFIXES
from mltasks.drafts import replacing
from mltasks.images import (
    Decoded,
    ImageError,
    Limits,
    Pixels,
    begins_like_a_picture,
    decode,
    unorient,
)
from mltasks.inference import Analysis, Analyzer
from mltasks.postprocessing import Box, Mask, bounding_box

_ORIENTATION_TAG = 0x0112
# A batch is closed early when its pictures have more pixels than this together.
_BATCH_PIXELS = 40_000_000
_LONGEST_STEM = 80
_SUFFIXES = PICTURE_SUFFIXES | {".dcm", ".dicom", ".ima"}
# Of a line, in this order.
_FIELDS = (
    *("path", "status", "label", "probabilities", "area_mask", "area_fraction", "seconds"),
    *("model", "error", "brain_score", "uncertainty", "hottest_point", "bounding_box"),
    *("prediction_set", "flagged", "committed", "unlikeness", "area_range"),
)


@dataclass(slots=True)
class _Waiting:
    number: int
    path: Path
    picture: Decoded
    seconds: float


@dataclass(frozen=True, slots=True)
class Unread:
    """A path that gets its line with an error instead of being read."""

    path: Path
    message: str


def find_files(
    paths: Sequence[Path], *, written: Sequence[Path] = (), passed_over: Counter[str] | None = None
) -> Iterator[Path | Unread]:
    """The files given, and every picture in the folders given and below, in a stable order.

    A path that does not exist is yielded too, so that it gets its line with an error.

    Args:
        paths: files and folders.
        written: files and folders of the results. They are left out of the folders, so that no
            run analyses what another wrote; if one is given by itself, it is an error.
        passed_over: counts, by their suffix, the files in the folders that are no pictures.
    """
    results = {_real(path) for path in written}
    for path in paths:
        if _real(path) in results:
            yield Unread(path, "The results are written here: choose another place for them.")
        elif os.path.isdir(path):  # noqa: PTH112 - Path.is_dir raises where it may not look
            yield from _below(path, results, Counter() if passed_over is None else passed_over)
        else:
            yield path


def holds(paths: Sequence[Path], target: Path) -> bool:
    """Whether one of the paths is the very file that is to be written, by whatever name."""
    return any(_real(path) == _real(target) or _same(path, target) for path in paths)


def _same(one: Path, two: Path) -> bool:
    try:
        return one.samefile(two)
    except OSError:
        return False


def _below(
    top: Path, results: Collection[Path], passed_over: Counter[str]
) -> Iterator[Path | Unread]:
    """Every picture in a folder and below, and every folder there that cannot be listed."""
    errors: list[OSError] = []
    for folder, subfolders, names in os.walk(top, onerror=errors.append):
        place = _real(folder)
        if place in results:
            subfolders.clear()
            continue
        subfolders.sort()
        for name in sorted(names):
            suffix = PurePath(name).suffix.lower()
            if place / name in results:
                continue
            # On hospitals' CDs many a file has no suffix, or is named by numbers with dots.
            nameless = not suffix or suffix[1:].isdigit()
            if suffix in _SUFFIXES or (nameless and _is_picture(Path(folder, name))):
                yield Path(folder, name)
            else:
                passed_over[suffix or "without a suffix"] += 1
    for error in errors:
        yield Unread(Path(error.filename or top), f"The folder cannot be read: {error.strerror}.")


def _is_picture(path: Path) -> bool:
    """Whether a file whose name does not say it is a picture, by its first bytes."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            return False
        with path.open("rb") as file:
            return begins_like_a_picture(file.read(256))
    except OSError:
        return False


def _real(path: str | Path) -> Path:
    """The path without links; unlike `Path.resolve`, a link to itself is no error."""
    return Path(os.path.realpath(path))


def _stored(area: Mask, picture: Decoded) -> Pixels:
    """The area, 0 or 1, on the grid of the file's own pixels."""
    return unorient(area.astype(np.uint8), picture.orientation)


def save_area(area: Mask, picture: Decoded, target: Path) -> None:
    """Write the area as a 0/255 PNG on the file's own pixel grid, with its orientation tag."""
    stored = _stored(area, picture) * np.uint8(255)
    exif = Image.Exif()
    if picture.orientation != 1:
        exif[_ORIENTATION_TAG] = picture.orientation
    with replacing(target) as draft:
        Image.fromarray(np.ascontiguousarray(stored)).save(
            draft, "PNG", exif=exif.tobytes() if picture.orientation != 1 else b""
        )


def _stored_box(analysis: Analysis, picture: Decoded) -> Box | None:
    """The box on the grid of the file's own pixels, as that of the area's file."""
    if analysis.bounding_box is None or picture.orientation == 1:
        return analysis.bounding_box
    return bounding_box(_stored(analysis.area, picture) > 0)


def _stored_point(analysis: Analysis, picture: Decoded) -> tuple[int, int] | None:
    if analysis.hottest_point is None or picture.orientation == 1:
        return analysis.hottest_point
    x, y = analysis.hottest_point
    grid = np.zeros((picture.height, picture.width), np.bool_)
    grid[y, x] = True
    row, column = np.argwhere(_stored(grid, picture))[0]
    return int(column), int(row)


class Streamer:
    """Reads files, analyses them in batches and writes one JSON object a line."""

    def __init__(
        self,
        analyzer: Analyzer,
        output: TextIO,
        *,
        areas: Path | None,
        batch: int,
        limits: Limits,
    ) -> None:
        self._analyzer = analyzer
        self._output = output
        self._areas = areas
        self._batch = batch
        self._limits = limits
        self._waiting: list[_Waiting] = []
        self._number = 0
        self.counts = {"ok": 0, "rejected": 0, "error": 0}

    def run(self, files: Iterator[Path | Unread]) -> Iterator[int]:
        """Work through the files; yields how many more are done."""
        for found in files:
            self._number += 1
            done = sum(self.counts.values())
            if isinstance(found, Unread):
                self._failed(found.path, found.message, 0.0)
            else:
                self._take(found)
            pixels = sum(w.picture.pixels.size for w in self._waiting)
            if len(self._waiting) >= self._batch or pixels > _BATCH_PIXELS:
                self._flush()
            yield sum(self.counts.values()) - done
        done = sum(self.counts.values())
        self._flush()
        yield sum(self.counts.values()) - done

    def _take(self, path: Path) -> None:
        started = time.perf_counter()
        try:
            # A pipe would be waited for, perhaps for ever.
            if not stat.S_ISREG(path.stat().st_mode):
                raise ImageError("not_an_image", "This is a pipe, a socket or a device, no file.")
            picture = decode(path, self._limits)
        except ImageError as error:
            self._failed(path, error.message, time.perf_counter() - started)
        except Exception as error:  # one bad file never stops the rest
            self._failed(path, _describe(error), time.perf_counter() - started)
        else:
            seconds = time.perf_counter() - started
            self._waiting.append(_Waiting(self._number, path, picture, seconds))

    def _flush(self) -> None:
        waiting, self._waiting = self._waiting, []
        if not waiting:
            return
        started = time.perf_counter()
        try:
            found: list[Analysis | Exception] = list(
                self._analyzer.analyze([item.picture.pixels for item in waiting])
            )
        except Exception:  # find out which one it was
            found = [self._alone(item) for item in waiting]
        share = (time.perf_counter() - started) / len(waiting)
        for item, analysis in zip(waiting, found, strict=True):
            self._finish(item, analysis, share)

    def _alone(self, item: _Waiting) -> Analysis | Exception:
        try:
            return self._analyzer.analyze([item.picture.pixels])[0]
        except Exception as error:
            return error

    def _finish(self, item: _Waiting, analysis: Analysis | Exception, share: float) -> None:
        started = time.perf_counter() - item.seconds - share
        if isinstance(analysis, Exception):
            self._failed(item.path, _describe(analysis), item.seconds + share)
            return
        mask_path = None
        if self._areas is not None and analysis.status == "ok":
            mask_path = self._areas / f"{item.number:06d}_{_safe(item.path.stem)}.png"
            try:
                save_area(analysis.area, item.picture, mask_path)
            except OSError as error:
                self._failed(item.path, f"cannot write {mask_path}: {error.strerror}", share)
                return
        self._write(
            {
                "path": str(item.path),
                "status": analysis.status,
                "label": analysis.label,
                "probabilities": {name: analysis.probabilities[name] for name in CLASSES},
                "area_mask": None if mask_path is None else str(mask_path),
                "area_fraction": analysis.area_fraction,
                "seconds": round(time.perf_counter() - started, 6),
                "model": f"{self._analyzer.name} {self._analyzer.version}",
                "error": analysis.reason or None,
                "brain_score": analysis.brain_score,
                "uncertainty": analysis.uncertainty,
                "hottest_point": _stored_point(analysis, item.picture),
                "bounding_box": _stored_box(analysis, item.picture),
                "prediction_set": list(analysis.prediction_set),
                "flagged": analysis.flagged,
                "committed": analysis.committed,
                "unlikeness": analysis.unlikeness,
                "area_range": [float(analysis.inner.mean()), float(analysis.outer.mean())],
            }
        )

    def _failed(self, path: Path, message: str, seconds: float) -> None:
        self._write(
            dict.fromkeys(_FIELDS)
            | {
                "path": str(path),
                "status": "error",
                "seconds": round(seconds, 6),
                "model": f"{self._analyzer.name} {self._analyzer.version}",
                "error": message,
            }
        )

    def _write(self, line: dict[str, Any]) -> None:
        self.counts[line["status"]] += 1
        # In ASCII: bytes of a name that are no UTF-8 come as \\udcXX, as Python itself reads them.
        self._output.write(json.dumps(line) + "\n")
        self._output.flush()


def _describe(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"The file cannot be read: {error.strerror}."
    return f"The file cannot be analysed: {type(error).__name__}."


def _safe(stem: str) -> str:
    """A file name that every system accepts; the number before it makes it unique."""
    return re.sub(r"[^A-Za-z0-9._-]+", "_", stem)[:_LONGEST_STEM]
