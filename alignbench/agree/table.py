"""The figures as tables: for the terminal, as Markdown, and one figure a line as CSV."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.padding import Padding
from rich.table import Table as Grid
from rich.text import Text

from ..report.text import brackets, csv_text, markdown, number, signed
from ..results import Json, write_text
from ..visible import plain
from .lines import heading, notes

WIDE = 110  # columns from which value and interval stand side by side
NAME = 34
FEW = 4  # annotators of whom every two are shown
TREATED = {"every": "every answer", "usable": "usable", "decided": "no ties"}
FIGURES = ("agreement", "kappa", "alpha")
WINNERS = ("first", "second", "tie")
UNUSABLE = {"refused": "re-\nfused", "unparsed": "un-\nparsed", "unanswered": "unan-\nswered"}


@dataclass(frozen=True)
class Cell:
    """A figure and its interval."""

    value: str
    detail: str = ""


@dataclass(frozen=True)
class Block:
    """A table: its title, its columns, and its rows; the first `named` columns hold text, the others figures."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    named: int = 1


def blocks(summary: Json) -> list[Block]:
    """Judges against the label, people against each other, judges beside people, each judge by itself, and in twos."""
    found = [_against_label(summary), _people(summary), _beside(summary), _orders(summary), _answers(summary)]
    return [block for block in (*found, _between(summary)) if block.rows]


def print_summary(summary: Json, console: Console) -> None:
    """Print everything; names and texts go through `Text`, which knows no markup, and `plain`, which shows controls."""
    console.print(Text(plain(heading(summary)) + "\n", style="bold"))
    for block in blocks(summary):
        console.print(Text(block.title))
        console.print(_grid(block, console.width >= WIDE))
    for line in notes(summary):
        console.print(Padding(Text("- " + plain(line)), (0, 0, 0, 1), expand=False))


def _grid(block: Block, wide: bool) -> Grid:
    grid = Grid(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for position, column in enumerate(block.columns):
        name = position < block.named
        limits = {"max_width": NAME, "min_width": 11} if name and position == 0 else {}
        grid.add_column(
            Text(column),
            justify="left" if name else "right",
            overflow="fold",
            no_wrap=not name,
            **limits,  # type: ignore[arg-type]
        )
    for row in block.rows:
        grid.add_row(*(_shown(cell, wide) for cell in row))
    return grid


def _shown(cell: Cell, wide: bool) -> Text:
    if not cell.detail:
        return Text(plain(cell.value))
    return Text.assemble(plain(cell.value), " " if wide else "\n", (tight(cell.detail), "dim"))


def tight(interval: str) -> str:
    """`[0.558, 0.754]` as `[.558,.754]`: three columns and their intervals must fit."""
    return re.sub(r"(?<!\d)0\.", ".", interval.replace(", ", ","))


def _cell(found: Json | None, sign: bool = False) -> Cell:
    """A value with four digits, to be held against published figures, and its interval with three."""
    if found is None or found["value"] is None:
        return Cell("–")
    value = signed(found["value"], 4) if sign else number(found["value"], 4)
    return Cell(value, brackets(found["low"], found["high"], 3))


def _agreement(found: Json) -> tuple[Cell, ...]:
    return Cell(str(found["n"])), *(_cell(found[name]) for name in ("raw", "kappa", "alpha"))


def _treated(name: str, found: Json | None, of: str = "every answer") -> Iterator[tuple[Cell, ...]]:
    """A row for each treatment that leaves other items than the one before; the name stands once."""
    before = None
    for treatment, meant in TREATED.items():
        part = (found or {}).get(treatment)
        if part is None or part["n"] == before:
            continue
        yield Cell(name if before is None else ""), Cell(of if treatment == "every" else meant), *_agreement(part)
        before = part["n"]


def _against_label(summary: Json) -> Block:
    rows = [row for name, judge in summary["judges"].items() for row in _treated(name, judge["label"])]
    what = "the majority of the annotators" if summary["data"]["label"] == "majority" else "the human label"
    return Block(f"Judges against {what}", ("judge", "answers", "n", "accuracy", *FIGURES[1:]), tuple(rows), named=2)


def _people(summary: Json) -> Block:
    humans = summary["humans"]
    rows: list[tuple[Cell, ...]] = []
    if len(humans["annotators"]) <= FEW:
        rows += [row for pair in humans["pairs"] for row in _treated(f"{pair['a']}, {pair['b']}", pair, "every label")]
    if len(humans["pairs"]) > 1:
        rows += _treated("every two", humans["pooled"], "every label")
    rows += _treated("one, most others", humans["leave_one_out"], "every label")
    return Block("People against each other: the ceiling", ("people", "labels", "n", *FIGURES), tuple(rows), named=2)


def _beside(summary: Json) -> Block:
    """Judges as one more annotator, on the items of the human ceilings."""
    humans = summary["humans"]
    if not humans["pooled"]:
        return Block("", (), ())
    raters = {"people": (humans["pooled"], humans["leave_one_out"])}
    raters |= {name: (judge["annotators"], judge["leave_one_out"]) for name, judge in summary["judges"].items()}
    rows = []
    for name, parts in raters.items() if len(raters) > 1 else ():
        every = [(part or {}).get("every") or {} for part in parts]
        rows.append((Cell(name), *(_cell(part.get(key)) for part in every for key in ("raw", "kappa"))))
    columns = ("", "agreement,\neach other", "kappa", "agreement,\nmost others", "kappa")
    return Block("Judges beside people: with each other annotator, and with most of the others", columns, tuple(rows))


def _orders(summary: Json) -> Block:
    names = ("agreement", "kappa", "position_bias", "contradictions")
    rows = [
        (Cell(name), Cell(str(own["n"])), *(_cell(own[key], sign=key == "position_bias") for key in names))
        for name, judge in summary["judges"].items()
        if (own := judge["self"])
    ]
    columns = ("judge", "pairs", "orders\nagree", "kappa\nof the two", "position\nbias", "contra-\ndictions")
    return Block("The two orders of each judge", columns, tuple(rows))


def _answers(summary: Json) -> Block:
    humans = summary["humans"]
    first = [Cell("people"), *_counts(humans["labels"], WINNERS), *[Cell("–")] * len(UNUSABLE), _cell(humans["longer"])]
    rows = [tuple(first)]
    for name, judge in summary["judges"].items():
        rows.append((Cell(name), *_counts(judge["answers"], (*WINNERS, *UNUSABLE)), _cell(judge["longer"])))
    columns = ("", "output\n1", "output\n2", "tie", *UNUSABLE.values(), "prefers\nthe longer")
    if not summary["judges"]:  # people are never unusable
        rows, columns = [(*row[:4], row[-1]) for row in rows], (*columns[:4], columns[-1])
    return Block("What was answered, and how often the longer output is preferred", columns, tuple(rows))


def _counts(counts: Json, names: Sequence[str]) -> list[Cell]:
    return [Cell(str(counts[name])) for name in names]


def _between(summary: Json) -> Block:
    rows = [row for found in summary["between"] for row in _treated(f"{found['a']}, {found['b']}", found)]
    return Block("Judges against each other", ("judges", "answers", "n", *FIGURES), tuple(rows), named=2)


def write_markdown(path: Path, summary: Json) -> None:
    lines = [f"# {markdown(heading(summary))}", ""]
    for block in blocks(summary):
        heads = [markdown(column.replace("-\n", "").replace("\n", " ")) for column in block.columns]
        rule = ["---" if position < block.named else "---:" for position in range(len(heads))]
        lines += [f"**{block.title}**", "", _line(heads), _line(rule)]
        lines += [_line([markdown(f"{cell.value} {cell.detail}".strip()) for cell in row]) for row in block.rows]
        lines.append("")
    lines += [f"- {markdown(line)}" for line in notes(summary)]
    write_text(path, "\n".join(lines) + "\n")


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def write_csv(path: Path, summary: Json) -> None:
    """One figure a line, with full precision; an empty field where there is no value."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(("rater", "against", "answers", "statistic", "value", "low", "high", "n"))
    for row in _figures(summary):
        writer.writerow([csv_text(value) if isinstance(value, str) else value for value in row])
    write_text(path, file.getvalue())


def _figures(summary: Json) -> Iterator[tuple[Any, ...]]:
    humans = summary["humans"]
    for pair in humans["pairs"]:
        yield from _treatments(pair["a"], pair["b"], pair)
    yield from _treatments("people", "every two", humans["pooled"])
    yield from _treatments("people", "most others", humans["leave_one_out"])
    yield from _figure("people", "each other", "every", "alpha", humans["alpha"])
    yield from _figure("people", "", "decided", "prefers_longer", humans["longer"])
    for name, judge in summary["judges"].items():
        for key, against in (("label", "label"), ("annotators", "each annotator"), ("leave_one_out", "most others")):
            yield from _treatments(name, against, judge[key])
        for key in ("agreement", "kappa", "position_bias", "contradictions") if judge["self"] else ():
            yield from _figure(name, "itself, the other order", "usable", key, judge["self"][key])
        yield from _figure(name, "", "decided", "prefers_longer", judge["longer"])
        for outcome, times in judge["answers"].items():
            yield name, "", "every", outcome, times, None, None, sum(judge["answers"].values())
    for found in summary["between"]:
        yield from _treatments(found["a"], found["b"], found)


def _treatments(rater: str, against: str, found: Json | None) -> Iterator[tuple[Any, ...]]:
    for treatment in TREATED:
        part: Json = (found or {}).get(treatment) or {}
        for key in ("raw", "kappa", "alpha") if part else ():
            yield from _figure(rater, against, treatment, key, part[key])


def _figure(rater: str, against: str, answers: str, name: str, found: Json | None) -> Iterator[tuple[Any, ...]]:
    if found:
        yield rater, against, answers, name, found["value"], found["low"], found["high"], found["n"]
