"""`alignbench report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text


def report(
    folders: Annotated[list[str], typer.Argument(help="Results folders; several are shown side by side.")],
) -> None:
    """Make tables, plots and page again from the store; several runs side by side."""
    from ..report import compare, print_table, write_report

    console = Console()
    for folder in folders:
        summary = write_report(Path(folder))
        if len(folders) == 1:
            print_table(summary, console)
    if len(folders) > 1:
        together = compare([Path(folder) for folder in folders])
        print_table(together, console)
        console.print(Text(f"written to {together['folder']}"))
