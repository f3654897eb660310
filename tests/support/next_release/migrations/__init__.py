"""The migrations of `predictions`, and two more."""

from pathlib import Path

import predictions.migrations

PRESENT = Path(predictions.migrations.__path__[0])

__path__ = [*__path__, str(PRESENT)]
