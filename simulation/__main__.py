"""`make simulate`: nodes, waits, cost and limits for 10³, 10⁵ and 10⁷ scans a day.

Prints the tables and writes docs/capacity.json, the tables of docs/capacity.md and its plots.
"""

from __future__ import annotations

import argparse
import json

from simulation import plots, report
from simulation.constants import Constants
from simulation.plan import plan


def main() -> None:
    parser = argparse.ArgumentParser(prog="make simulate", description=__doc__)
    parser.add_argument("--print", action="store_true", help="change no file")
    options = parser.parse_args()
    constants = Constants()
    found = plan(constants)
    made = report.markdown(found, constants)
    print(made)
    if options.print:
        return
    report.RESULT.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    report.write_page(made)
    plots.draw(found, constants, report.PAGE.parent / "images")


if __name__ == "__main__":
    main()
