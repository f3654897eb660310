"""Run the orphan check as if every object were old, and print what it found as JSON."""

from __future__ import annotations

import json
from datetime import timedelta

import django


def main() -> None:
    django.setup()
    from predictions.services import sweeping

    sweeping.ORPHAN_AGE = sweeping.MODEL_ORPHAN_AGE = timedelta(seconds=-5)
    print(json.dumps(sweeping.check_orphans()))


if __name__ == "__main__":
    main()
