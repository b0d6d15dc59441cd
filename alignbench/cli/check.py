"""`alignbench check`."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from ..check import Outcome

STYLES = {"passed": "green", "failed": "bold red", "known failure": "yellow", "not applicable": "dim"}


def check(
    objectives: Annotated[list[str], typer.Argument(help="Specs or files: dpo, dpo:beta=0.5, ./my_loss.py")],
) -> None:
    """Is an objective right? Some two dozen checks, each with what was found and to do; exit code 1 if any fails."""
    from ..plugins import parse_objectives

    specs = [spec for text in objectives for spec in parse_objectives(text)]
    from ..check import run

    console = Console()
    failed = False
    for spec in specs:
        with console.status(f"checking {spec.text}"), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what an objective warns of is the business of a run
            outcomes = run(spec)
        print_outcomes(spec.text, outcomes, console)
        failed |= not all(outcome.good for outcome in outcomes)
    raise typer.Exit(1 if failed else 0)


def print_outcomes(title: str, outcomes: Sequence[Outcome], console: Console) -> None:
    """A table of the checks, failures last, where the eye is, and how many there are of each."""
    from ..check import CHECKS

    table = Table(
        title=Text(title, style="bold"), title_justify="left", box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False
    )
    table.add_column("check", no_wrap=True)
    table.add_column("result", no_wrap=True)
    table.add_column("what was held, found, or to do", overflow="fold")
    rows: dict[tuple[str, str], list[str]] = {}
    for outcome in sorted(outcomes, key=lambda outcome: not outcome.good):
        held = " ".join((CHECKS[outcome.name].__doc__ or "").split())
        rows.setdefault((outcome.result, outcome.sentence or held), []).append(outcome.name)
    for (result, sentence), names in rows.items():
        style = "" if result == "failed" else "dim"
        for some in [names] if result == "failed" else [[name] for name in names]:
            table.add_row(_together(some), Text(result, style=STYLES[result]), Text(sentence, style=style))
    console.print(table)
    counts = {result: sum(outcome.result == result for outcome in outcomes) for result in STYLES}
    said = ", ".join(f"{count} {result}" for result, count in counts.items() if count)
    style = "bold red" if counts["failed"] else "bold green"
    console.print(Text(f"{title}: {said}.\n", style=style), soft_wrap=True)


def _together(names: Sequence[str]) -> str:
    """The checks that one fault fails alike: "example, shape, finite and 17 more"."""
    shown = ", ".join(names[:3])
    return f"{shown} and {len(names) - 3} more" if len(names) > 3 else shown
