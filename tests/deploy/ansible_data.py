"""Run by the product's Python: a drawn data set in the form that training takes, and a picture.

ansible_data.py FOLDER writes FOLDER/data (72 slices in two folds) and FOLDER/slice.png.
"""

from __future__ import annotations

import sys
from pathlib import Path

import django


def main(folder: Path) -> None:
    django.setup()
    from django.core.management import call_command

    from mltasks.datasets.tests.conftest import write_brisc
    from mltasks.images import encode_png
    from tests.faults.test_loop import drawn
    from tests.support.pictures import drawn_head

    data = folder / "data"
    download = write_brisc(folder / "brisc2025", 3, drawn)
    made = {"name": "Drawn", "licence": "CC0", "citation": "Nobody, 2026"}
    call_command("dataset", "import", download, output=data, **made)
    call_command("dataset", "split", data, folds=2)
    (folder / "slice.png").write_bytes(encode_png(drawn_head()))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
