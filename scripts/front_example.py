"""Draws what the network marks in the head on the front page, as a result's page shows it.

    python -m scripts.front_example

Writes `drawn-head-area.png` and `drawn-head-outline.svg` beside `drawn-head.jpg`. A test compares
them with what the network that comes with the code answers.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from PIL import Image

FOLDER = Path(__file__).resolve().parents[1] / "predictions/static/predictions"


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tumorsite.settings")
    from django.conf import settings

    from mltasks.inference import load_analyzer
    from predictions.rendering import area_png, outline_svg

    analyzer = load_analyzer(settings.MODEL_DIR, threads=1)
    with Image.open(FOLDER / "drawn-head.jpg") as image:
        [answer] = analyzer.analyze([np.asarray(image)])
    (FOLDER / "drawn-head-area.png").write_bytes(area_png(answer.area))
    (FOLDER / "drawn-head-outline.svg").write_bytes(outline_svg(answer.area))


if __name__ == "__main__":
    main()
