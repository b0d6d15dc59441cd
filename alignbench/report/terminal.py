"""The comparison table on the terminal, in 100 columns."""

from __future__ import annotations

import re

from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.console import Console
from rich.padding import Padding
from rich.table import Table as Grid
from rich.text import Text

from ..results import Json
from ..visible import plain
from . import exact_growth, exact_tables, probes_growth, probes_tables
from .tables import Table, build
from .text import shorten

WIDTH = 100
SPEC = 16  # columns that specs have at least
EDGES = 2


def print_table(summary: Json, console: Console) -> None:
    """Print the table and the lines below it; `summary` is what `write_report` or `compare` returned.

    Everything goes through `Text`, which knows no markup, and `plain`, which shows control characters instead of
    sending them: a spec cannot colour, move or clear the terminal.
    """
    runs = summary.get("runs") or [summary]
    if "exact_growth" in summary:
        _print(exact_growth.build(summary["exact_growth"]), console)
    if "probes_growth" in summary:
        _print(probes_growth.build(summary["probes_growth"]), console)
    if any("exact" in run for run in runs):  # what is exact comes first
        _print(exact_tables.brief(exact_tables.build(runs)), console)
        console.print(Text("on samples", style="bold"))
    _print(build(runs), console)
    if any("probes" in run for run in runs):
        for heading, table in probes_tables.brief(probes_tables.build(runs)):
            console.print(Text(plain(heading), style="bold"))
            _print(table, console)


def _print(table: Table, console: Console) -> None:
    width = min(console.width, WIDTH)
    for grid in _grids(table, width):
        console.print(grid, width=width)
    for heading, lines in table.sections:
        console.print(Text(plain(heading), style="bold"), width=width)
        for line in lines:
            console.print(Padding(Text(plain(line)), (0, 0, 0, 2), expand=False), width=width)


def _grids(table: Table, width: int) -> list[Grid]:
    """The table; where its columns do not fit side by side, in parts, each with the specs.

    Long specs are folded before the table is split.
    """
    columns = [_column(table, position) for position in range(len(table.columns))]
    needed = [1 + _width(column) for column in columns]
    narrow = min(needed[0], max(SPEC, width - EDGES - sum(needed[1:])))
    parts = _parts(columns, needed, narrow, width)
    # The specs get what the fullest part leaves: they need not be folded for its sake.
    left = width - EDGES - max(sum(1 + _width(column) for column in part) for part in parts)
    return [_grid(columns[0], part, min(needed[0], max(narrow, left)) - 1) for part in parts]


def _parts(columns: list[list[Text]], needed: list[int], first: int, width: int) -> list[list[list[Text]]]:
    """The columns after the first, as many side by side as fit."""
    parts: list[list[list[Text]]] = [[]]
    used = first + EDGES
    for column, more in zip(columns[1:], needed[1:], strict=True):
        if used + more > width and parts[-1]:
            parts.append([])
            used = first + EDGES
        parts[-1].append(column)
        used += more
    return parts


def _width(column: list[Text]) -> int:
    return max(cell_len(line) for text in column for line in text.plain.split("\n"))


def _column(table: Table, position: int) -> list[Text]:
    """A column's head and cells, two lines each."""
    column = table.columns[position]
    shown = plain if position == 0 else _tight
    head = Text.assemble(column.title, "\n", (shorten(column.unit, 18), "dim"))
    cells = (row[position] for row in table.rows)
    return [head, *(Text.assemble(shown(cell.value), "\n", (shown(cell.detail), "dim")) for cell in cells)]


def _grid(specs: list[Text], columns: list[list[Text]], first: int) -> Grid:
    grid = Grid(box=SIMPLE_HEAD, padding=0, pad_edge=False)
    grid.add_column(specs[0], overflow="fold", min_width=first, max_width=first)
    for column in columns:
        grid.add_column(column[0], justify="right", no_wrap=True, overflow="ellipsis")
    for row in zip(specs[1:], *(column[1:] for column in columns), strict=True):
        grid.add_row(*row)
    return grid


def _tight(figure: str) -> str:
    """`[0.558, 0.754]` as `[.558,.754]`: eight columns and their intervals must fit."""
    return re.sub(r"(?<![\d=])0\.", ".", plain(figure).replace(", ", ","))
