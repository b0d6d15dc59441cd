"""The findings of an examination of preference data, on the terminal."""

from __future__ import annotations

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table as Grid
from rich.text import Text

from ..doctor.findings import named, placed
from ..results import Json
from ..visible import plain
from .data_words import advised, counted, sized

WIDTH = 120  # columns beyond which a sentence is hard to follow; a narrower terminal has its own
COLOURS = {"bad": "bold red", "look": "yellow", "fine": "green", "unknown": "dim"}


def print_findings(found: Json, console: Console, name: str, lines: int = 5) -> None:
    """Print a table of the findings in their order, the worst first, with the first `lines` lines of each.

    What a record holds goes through `Text`, which knows no markup, and `plain`, which shows control characters
    instead of sending them.
    """
    head = Text.assemble((plain(name), "bold"), f": {sized(found)}; {counted(found)}")
    console.print(head, width=WIDTH)
    grid = Grid(box=SIMPLE_HEAD, padding=(0, 2, 0, 0), pad_edge=False)
    grid.add_column("check", no_wrap=True)
    grid.add_column("level", no_wrap=True)
    grid.add_column("what was found, → what to do, where", ratio=1)
    for finding in found["findings"]:
        level = finding["level"]
        check = Text(plain(named(finding["check"])), style="bold" if level in ("bad", "look") else "")
        grid.add_row(check, Text(level, style=COLOURS[level]), _said(finding, lines))
    console.print(grid, width=WIDTH)


def _said(finding: Json, lines: int) -> Text:
    said = Text(plain(finding["said"]))
    if advice := advised(finding):
        said.append(f"\n→ {plain(advice)}")
    where = placed(finding, lines)
    return said.append(f"\n{where}", style="dim") if where else said
