"""`alignbench list`."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..errors import InputError


def list_plugins(kind: Annotated[str, typer.Argument(help="objectives, benchmarks or judges")]) -> None:
    """Names, one line each, fields with defaults, and the paper."""
    from ..plugins import describe

    kinds: dict[str, Any] = {"objectives": "objective", "benchmarks": "benchmark", "judges": "judge"}
    if kind not in kinds:
        raise InputError(f"alignbench list {kind}: list objectives, benchmarks or judges.")
    console = Console()
    table = Table(show_edge=False, pad_edge=False, show_lines=True)
    for column in ("name", "what it is", "fields and defaults", "paper" if kind == "objectives" else ""):
        table.add_column(column, overflow="fold")
    for row in describe(kinds[kind]):
        needs = f"\nneeds {', '.join(row.needs)}" if row.needs else ""
        table.add_row(
            Text(row.name, style="bold"), Text(row.summary + needs), Text("\n".join(row.fields)), Text(row.paper)
        )
    console.print(table)
