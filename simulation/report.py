"""The plan as tables, in the terminal and in docs/capacity.md."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from simulation.constants import Constants

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "capacity.md"
RESULT = ROOT / "docs" / "capacity.json"
BEGIN, END = "<!-- made by make simulate -->", "<!-- end of what make simulate made -->"
KIND = {"cpu": "CPU nodes", "spot": "CPU spot nodes", "gpu": "GPU nodes from zero"}


def number(value: float) -> str:
    if value >= 1e9:
        return f"{value / 1e9:,.1f} G"
    if value >= 1e6:
        return f"{value / 1e6:,.1f} M"
    if value >= 100 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.3g}"


def seconds(value: float) -> str:
    return f"{1000 * value:.0f} ms" if value < 1 else f"{value:,.1f} s"


def _waits(plan: dict[str, Any]) -> list[str]:
    lines = [
        (
            "| scans a day | workers on | upload to answer p50 | p95 | p99 | ± (p99) "
            "| utilisation | scans a pass | nodes, mean | nodes, most | longest queue |"
        ),
        "|" + "---|" * 11,
    ]
    for scans, kinds in plan["scenarios"].items():
        for name, scenario in kinds.items():
            f = scenario["figures"]
            lines.append(
                f"| {int(scans):,} | {KIND[name]} | {seconds(f['answer_p50'][0])} "
                f"| {seconds(f['answer_p95'][0])} | {seconds(f['answer_p99'][0])} "
                f"| {seconds(f['answer_p99'][1])} | {100 * f['utilisation'][0]:.1f}% "
                f"| {f['scans_per_pass'][0]:.1f} | {f['node_hours'][0] / 24:.1f} "
                f"| {f['most_nodes'][0]:.0f} | {number(f['most_waiting'][0])} |"
            )
    return lines


def _costs(plan: dict[str, Any]) -> list[str]:
    names = ("inference", "web", "database", "objects", "requests", "base", "together")
    lines = [
        f"| scans a day | workers on | {' | '.join(names)} | a thousand scans |",
        "|" + "---|" * (len(names) + 3),
    ]
    for scans, kinds in plan["scenarios"].items():
        for name, scenario in kinds.items():
            cost = scenario["cost"]
            each = 1000 * cost["together"] / (int(scans) * 30)
            figures = " | ".join(f"{cost[line]:,}" for line in names)
            lines.append(f"| {int(scans):,} | {KIND[name]} | {figures} | {each:,.2f} |")
    return lines


def _limits(plan: dict[str, Any]) -> list[str]:
    lines = ["| scans a day | part | needs | bears | share | then |", "|" + "---|" * 6]
    for scans, parts in plan["limits"].items():
        for part in parts:
            share = f"{100 * part['used']:,.0f}%" if part["used"] >= 0.01 else "< 1%"
            mark = "**" if part["used"] > 1 else ""
            lines.append(
                f"| {int(scans):,} | {part['part']} | {number(part['need'])} {part['unit']} "
                f"| {number(part['holds'])} | {mark}{share}{mark} | {part['then']} |"
            )
    return lines


def _constants(constants: Constants) -> list[str]:
    lines = ["| kind | constant | value | where from |", "|---|---|---|---|"]
    for kind, name, value, why in constants.rows:
        shown = "24 weights" if isinstance(value, list) else f"{value:,}"
        lines.append(f"| {kind} | `{name}` | {shown} | {why} |")
    return lines


def markdown(plan: dict[str, Any], constants: Constants) -> str:
    """The generated part of docs/capacity.md."""
    seeds = ", ".join(f"{count} days of {int(scans):,}" for scans, count in plan["seeds"].items())
    return "\n".join(
        [
            "### Waits, utilisation and nodes",
            "",
            (
                f"Means over simulated days with fixed seeds ({seeds} scans); ± is half of the 95% "
                "interval of that mean."
            ),
            "",
            *_waits(plan),
            "",
            "### Cost, US dollars a month",
            "",
            *_costs(plan),
            "",
            "### What breaks first",
            "",
            "In the busiest minute, each part in its smallest form, the first to give way on top.",
            "",
            *_limits(plan),
            "",
            "### What it starts from",
            "",
            *_constants(constants),
        ]
    )


def within_page(text: str) -> str:
    """The part of the page between the marks, which the command generates.

    Raises:
        ValueError: the page lacks its marks.
    """
    return text[text.index(BEGIN) + len(BEGIN) : text.index(END)].strip()


def write_page(made: str) -> None:
    text = PAGE.read_text(encoding="utf-8")
    old = within_page(text)
    PAGE.write_text(text.replace(old, made) if old else text.replace(BEGIN, f"{BEGIN}\n\n{made}\n"))
