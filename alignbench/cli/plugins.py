"""`alignbench list`."""

from __future__ import annotations

import inspect
import re
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich import box
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from ..errors import InputError

if TYPE_CHECKING:
    from ..plugins import Description

WIDE = 110  # columns from which a row of a table has room for a sentence
RUNS = {"reference": "reference", "sampling": "samples", "reward": "reward model"}
DATA = ("pairs", "labels", "rankings", "demonstrations")


def list_plugins(
    kind: Annotated[str, typer.Argument(help="objectives, benchmarks or judges")],
    name: Annotated[str, typer.Argument(help="One of them, or an objective's file: everything about it.")] = "",
) -> None:
    """What there is: a row each, or everything about one of them (formula, paper, fields with defaults)."""
    from ..plugins import describe, find

    kinds: dict[str, Any] = {"objectives": "objective", "benchmarks": "benchmark", "judges": "judge"}
    if kind not in kinds:
        raise InputError(f"alignbench list {kind}: list objectives, benchmarks or judges.")
    console = Console()
    if name:
        print_details(name, find(kinds[kind], name), console)
    elif kind == "objectives":
        print_objectives(describe("objective"), console)
    else:
        print_plain(describe(kinds[kind]), console)


def print_objectives(rows: list[Description], console: Console) -> None:
    """Each objective's data, what it runs besides the policy, what it is, and from where: a row of a table, or on a
    narrow terminal, where such rows would be mostly wrapping, two lines or three."""
    (_print_wide if console.width >= WIDE else _print_narrow)(rows, console)
    more = "Formula, source, fields and defaults of one: alignbench list objectives NAME"
    console.print(Text(f"\n{len(rows)} objectives. {more}"), soft_wrap=True)


def _print_wide(rows: list[Description], console: Console) -> None:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    for column in ("name", "data"):
        table.add_column(column, no_wrap=True)
    for column in ("refer-\nence", "sam-\nples", "reward\nmodel"):
        table.add_column(column, no_wrap=True, justify="center")
    table.add_column("what it is", overflow="fold")
    table.add_column("source", no_wrap=True)
    for row in rows:
        runs = ("yes" if need in row.needs else "" for need in RUNS)
        cells = map(Text, (_data(row), *runs, _summary(row), source(row.paper)))
        table.add_row(Text(row.name, style="bold"), *cells)
    console.print(table)


def _print_narrow(rows: list[Description], console: Console) -> None:
    widest = max(len(row.name) for row in rows)
    for row in rows:
        runs = [word for need, word in RUNS.items() if need in row.needs]
        head = Text.assemble(
            (row.name.ljust(widest + 2), "bold"), f"{_data(row)}{' + ' if runs else ''}{', '.join(runs)}"
        )
        console.print(head, soft_wrap=True)
        console.print(Padding(Text(f"{_summary(row)} {source(row.paper)}", style="dim"), (0, 0, 0, 2)))


def _data(row: Description) -> str:
    return ", ".join(name for name in DATA if name in row.needs) or "prompts"


def _summary(row: Description) -> str:
    """The first line of the docstring, without the shape and the unit of the loss, which stand in its details."""
    return re.sub(r"(, `\[B(, T)?\]`)?(, nats)?\.$", ".", row.summary)


def source(paper: str) -> str:
    """Where a paper is to be found, without the place in it: "arXiv:2305.18290"."""
    return re.split(r"[,;]", paper, maxsplit=1)[0].strip()


def print_plain(rows: list[Description], console: Console) -> None:
    table = Table(show_edge=False, pad_edge=False, show_lines=True)
    for column in ("name", "what it is", "fields and defaults"):
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(Text(row.name, style="bold"), Text(row.summary), Text("\n".join(row.fields)))
    console.print(table)


def print_details(name: str, cls: type[Any], console: Console) -> None:
    """The whole docstring, and what the class declares."""
    from ..plugins.settings import shown_fields

    console.print(Text(name, style="bold"))
    console.print(Padding(Text(_flowing(cls.__doc__ or "")), (0, 0, 1, 2)))
    lines = [("paper", getattr(cls, "paper", "")), ("asks", getattr(cls, "question", ""))]
    lines += [("needs", ", ".join(sorted(getattr(cls, "needs", ()))))]
    at_reference = getattr(cls, "at_reference", None)
    lines += [
        ("at start", "" if at_reference is None else f"a loss of {at_reference:g} where the policy is the reference")
    ]
    lines += [("fields", "\n".join(() if hasattr(cls, "compare") else shown_fields(cls)))]
    failures = getattr(cls, "known_failures", {})
    lines += [("cannot", "\n".join(f"pass the check {check}: {reason}" for check, reason in failures.items()))]
    table = Table.grid(padding=(0, 2))
    for label, value in lines:
        if value:
            table.add_row(Text(f"  {label}"), Text(value))
    console.print(table)


def _flowing(doc: str) -> str:
    """A docstring whose paragraphs are one line each, to be wrapped anew; what is indented stays as it is."""
    paragraphs = inspect.cleandoc(doc).split("\n\n")
    return "\n\n".join(part if re.search(r"^\s", part, re.MULTILINE) else " ".join(part.split()) for part in paragraphs)
