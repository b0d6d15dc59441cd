"""The comparison table on the terminal, in 100 columns."""

from __future__ import annotations

import re

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.padding import Padding
from rich.table import Table as Grid
from rich.text import Text

from ..results import Json
from .tables import Table, build
from .text import plain, shorten

WIDTH = 100


def print_table(summary: Json, console: Console) -> None:
    """Print the table and the lines below it; `summary` is what `write_report` or `compare` returned.

    Everything goes through `Text`, which knows no markup, and `plain`, which shows control characters instead of
    sending them: a spec cannot colour, move or clear the terminal.
    """
    table = build(summary.get("runs") or [summary])
    width = min(console.width, WIDTH)
    console.print(_grid(table), width=width)
    for heading, lines in table.sections:
        console.print(Text(plain(heading), style="bold"), width=width)
        for line in lines:
            console.print(Padding(Text(plain(line)), (0, 0, 0, 2)), width=width)


def _grid(table: Table) -> Grid:
    grid = Grid(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for position, column in enumerate(table.columns):
        head = Text.assemble(plain(column.title), "\n", (shorten(column.unit, 16), "dim"))
        if position == 0:
            grid.add_column(head, overflow="fold", min_width=8)
        else:
            grid.add_column(head, justify="right", no_wrap=True, overflow="ellipsis")
    for row in table.rows:
        first, rest = row[0], row[1:]
        shown = [
            (plain(first.value), plain(first.detail)),
            *((_tight(cell.value), _tight(cell.detail)) for cell in rest),
        ]
        grid.add_row(*(Text.assemble(value, "\n", (detail, "dim")) for value, detail in shown))
    return grid


def _tight(figure: str) -> str:
    """`[0.558, 0.754]` as `[.558,.754]`: eight columns and their intervals must fit."""
    return re.sub(r"(?<!\d)0\.", ".", plain(figure).replace(", ", ","))
