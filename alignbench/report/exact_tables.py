"""The table of exact figures, the first of a run that has them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from ..results import Json
from .exact_words import difference_lines, marked, note_lines, order, rest_lines
from .tables import Cell, Column, Table
from .text import brackets, number

BRIEF = 6  # lines of pairs on the terminal
DIFFERENCES = "differences in gain share"
OPTIMUM, REFERENCE = "optimum", "reference"
# The columns of losses, and which parts stand in each: at most one of a row.
LOST = {"objective": ("own",), "reward model": ("reward",), "training": ("training", "data", "both")}


def build(summaries: Sequence[Json]) -> Table:
    """One table, by gain share, between the optimum and the reference; of several runs each row names its own.

    Runs without exact figures are left out.
    """
    shown = [summary for summary in summaries if "exact" in summary]
    several = len(summaries) > 1
    rows = [row for summary in shown for row in _rows(summary["exact"], summary["name"] if several else None)]
    sections = []
    for summary in shown:
        exact, prefix = summary["exact"], f"{summary['name']}: " if several else ""
        headline = [line for line in (exact["sentence"], exact["basis"], *marked(exact)[1]) if line]
        sections.append((f"{prefix}exact verdict", headline))
        sections.append((f"{prefix}where the rest goes", rest_lines(exact)))
        sections.append((f"{prefix}{DIFFERENCES}", difference_lines(exact)))
        sections.append((f"{prefix}notes on the exact figures", note_lines(exact)))
    columns = _columns([summary["exact"] for summary in shown])
    return Table(columns, [[column.cell(row) for column in columns] for row in rows], [s for s in sections if s[1]])


def brief(table: Table) -> Table:
    """The table without the lines of every pair, for where the sampled one has to be seen as well."""
    sections = []
    for heading, lines in table.sections:
        whole = not heading.endswith(DIFFERENCES) or len(lines) <= BRIEF
        sections.append(
            (heading, lines if whole else [f"{len(lines)} pairs of specs: in exact.md, and who beats whom above"])
        )
    return replace(table, sections=sections)


def _rows(exact: Json, run: str | None) -> list[Json]:
    marks, more = marked(exact)[0], {"run": run, "of_seeds": len(exact["seeds"])}
    named = [{**exact["rows"][spec], **marks[spec], **more} for spec in order(exact)]
    ends = [{"spec": name, **_fixed(exact[name]), **more} for name in (OPTIMUM, REFERENCE)]
    return [ends[0], *named, ends[1]]


def _fixed(figures: Json) -> Json:
    """The optimum or the reference as a row: no seed changes it."""
    known = {name: {"value": value, "low": None, "high": None} for name, value in figures.items()}
    empty = dict.fromkeys(("reason", "letter", "marks", "limit", "ceiling", "loss"))
    return {**empty, "status": "baseline", "seeds": [], "significant_over": [], **known}


def _columns(exacts: Sequence[Json]) -> list[Column]:
    beta = {exact["beta"] for exact in exacts}
    at = f"beta {beta.pop():g}" if len(beta) == 1 else "at its beta"
    columns = [
        Column("spec", "", ("run", "spec", "status", "reason"), _spec),
        _metric("gain share", "of the optimum's", "gain_share", 3),
        Column("beats", "Holm 5 %", ("beats",), _beats),
        _metric("reward", "E r, exact", "expected_reward", 3),
        _metric("KL", "nats, exact", "kl", 3),
        _metric("gap", f"J* - J, {at}", "gap", 3),
        _metric("win rate", "exact", "win_rate", 3),
        Column("limit", "gain share", ("limit_gain_share", "ceiling_gain_share"), _limit),
    ]
    for title, parts in LOST.items():
        name = f"lost_to_{title.replace(' ', '_')}"
        names = (name, f"{name}_low", f"{name}_high")
        columns.append(Column("lost to", title, names, partial(_lost, parts=parts)))
    if not any(each["p"] is not None for exact in exacts for each in exact["comparisons"]):
        del columns[2]
    return columns


def _metric(title: str, unit: str, name: str, digits: int) -> Column:
    return Column(title, unit, (name, f"{name}_low", f"{name}_high"), partial(_value, name=name, digits=digits))


def _value(row: Json, name: str, digits: int) -> Cell:
    return _cell(row.get(name), digits)


def _cell(found: Json | None, digits: int = 3) -> Cell:
    raw = tuple((found or {}).get(key) for key in ("value", "low", "high"))
    value, low, high = raw
    digits = min(digits, max(0, 4 - len(str(int(abs(value or 0))))))  # four digits will do
    return Cell(number(value, digits), brackets(low, high, digits), raw)


def _spec(row: Json) -> Cell:
    there = f"{len(row['seeds'])} of {row['of_seeds']} seeds" if row["status"] == "partial" else ""
    remarks = {"done": "", "failed": "failed", "baseline": "baseline", "partial": there}
    detail = ", ".join(part for part in (row["letter"], row["run"], remarks[row["status"]]) if part)
    return Cell(row["spec"], detail, (row["run"], row["spec"], row["status"], row["reason"]))


def _beats(row: Json) -> Cell:
    if row["marks"] is None:
        return Cell("", "", (None,))
    return Cell(row["marks"] or "–", "", (" ".join(row["significant_over"]),))


def _limit(row: Json) -> Cell:
    """What the spec would reach in the end: with its own reward model where it is trained on one."""
    limit, ceiling = ((row[name] or {}).get("gain_share") for name in ("limit", "ceiling"))
    raw = (limit, (ceiling or {}).get("value"))
    return Cell(_cell(ceiling or {"value": limit}).value, "reward model" if ceiling else "", raw)


def _lost(row: Json, parts: Sequence[str]) -> Cell:
    return _cell(next((part for part in (row["loss"] or {"parts": []})["parts"] if part["part"] in parts), None))
