"""The tables of answers to probes: one a group to read, and all figures as CSV, a row a spec and quantity."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from ..results import Json
from .probes_words import change_lines, difference_lines, heading, note_lines, verdict_lines
from .store import REFERENCE
from .tables import Cell, Column, Table, write_csv, write_latex, write_markdown
from .text import brackets, latex, markdown, number, shorten, signed

BRIEF = 6  # lines of pairs on the terminal
NAME = 24  # characters of the name of a score
DIFFERENCES = "differences in the answers to probes"
ENDS = ("value", "low", "high")
TIDY = (
    *("run", "group", "spec", "status", "reason", "quantity", "unit", "n"),
    *("before", "before_low", "before_high", "after", "after_low", "after_high", "change", "change_low", "change_high"),
)
Part = tuple[str, Table]  # a heading and what stands under it


def build(summaries: Sequence[Json]) -> list[Part]:
    """A table a group, the lines about all of them below the last; of several runs each row names its own.

    Runs without probes are left out.
    """
    shown = [summary for summary in summaries if "probes" in summary]
    groups = dict.fromkeys(group for summary in shown for group in summary["probes"]["reference"])
    parts = [(_heading(group, shown), _table(group, shown, len(summaries) > 1)) for group in groups]
    last, table = parts.pop()
    sections = []
    for summary in shown:
        probes, prefix = summary["probes"], f"{summary['name']}: " if len(summaries) > 1 else ""
        sections.append((f"{prefix}what changed, by 95 % intervals", change_lines(probes)))
        sections.append((f"{prefix}which specs differ after it", verdict_lines(probes)))
        sections.append((f"{prefix}{DIFFERENCES}", difference_lines(probes)))
        sections.append((f"{prefix}notes on the probes", note_lines(probes)))
    basis = dict.fromkeys(summary["probes"]["basis"] for summary in shown)
    sections.append(("how to read the answers", list(basis)))
    return [*parts, (last, replace(table, sections=[each for each in sections if each[1]]))]


def brief(parts: Sequence[Part]) -> list[Part]:
    """The tables without the lines of every pair, for the terminal."""
    return [(name, replace(table, sections=[_short(*each) for each in table.sections])) for name, table in parts]


def _short(name: str, lines: list[str]) -> tuple[str, list[str]]:
    whole = not name.endswith(DIFFERENCES) or len(lines) <= BRIEF
    return name, lines if whole else [f"{len(lines)} pairs of specs: in probes.md"]


def as_markdown(parts: Sequence[Part]) -> str:
    return "\n".join(f"**{markdown(name)}**\n\n{write_markdown(table)}" for name, table in parts)


def as_latex(parts: Sequence[Part]) -> str:
    # A heading is one line without control characters, so it cannot leave its comment.
    return "\n".join(f"% {latex(name)}\n{write_latex(table)}" for name, table in parts)


def as_csv(summaries: Sequence[Json]) -> str:
    """Every figure with full precision, a row a spec and quantity; shares as shares."""
    several = len(summaries) > 1
    rows = [
        [Cell("", "", (summary["name"] if several else None, *raw))]
        for summary in summaries
        if "probes" in summary
        for raw in _tidy(summary["probes"])
    ]
    return write_csv(Table([Column("", "", TIDY, lambda row: Cell(""))], rows))


def _tidy(probes: Json) -> Iterator[tuple[Any, ...]]:
    """The fields of `TIDY` after the run."""
    for group, before in probes["reference"].items():
        known = _quantities(before)
        for name, found in known.items():
            yield group, REFERENCE, "baseline", None, name, *_about(found), *_raw(found), *_raw(None), *_raw(None)
        for spec, row in probes["rows"].items():
            about = (group, spec, row["status"], row["reason"])
            after = row["groups"][group] if row["groups"] else None
            if after is None:
                yield *about, *(None,) * (len(TIDY) - 5)
                continue
            for name, found in _quantities(after).items():
                both = (_raw(found["after"]), _raw(found["change"]))
                yield *about, name, *_about(found["after"]), *_raw(known[name]), *both[0], *both[1]
            for name in ("forgotten", "learned"):
                yield *about, name, *_about(after[name]), *_raw(None), *_raw(after[name]), *_raw(None)


def _quantities(group: Json) -> Json:
    return {**group["scores"], "logp": group["logp"], "logp_per_token": group["token"], "right": group["right"]}


def _about(found: Json | None) -> tuple[Any, ...]:
    return tuple((found or {}).get(key) for key in ("unit", "n"))


def _raw(found: Json | None) -> tuple[Any, ...]:
    return tuple((found or {}).get(key) for key in ENDS)


def _heading(group: str, shown: Sequence[Json]) -> str:
    """With the counts where they are the same in all runs."""
    said = {heading(group, found) for each in shown if (found := each["probes"]["reference"].get(group))}
    return f"probes: {said.pop() if len(said) == 1 else group}"


def _table(group: str, shown: Sequence[Json], several: bool) -> Table:
    rows = [row for summary in shown for row in _rows(group, summary, several)]
    columns = _columns(rows)
    return Table(columns, [[column.cell(row) for column in columns] for row in rows])


def _rows(group: str, summary: Json, several: bool) -> list[Json]:
    """The reference, then a row a spec; of a run without this group none."""
    probes = summary["probes"]
    before = probes["reference"].get(group)
    if before is None:
        return []
    run = {"run": summary["name"] if several else None, "of_seeds": len(probes["seeds"])}
    scores = {name: {"after": found, "change": None} for name, found in before["scores"].items()}
    first: Json = {"spec": f"{REFERENCE} (before)", "status": "baseline", "reason": None, "seeds": [], "scores": scores}
    empty: Json = {"scores": {}, **dict.fromkeys(("logp", "token", "forgotten", "learned"))}
    found = [empty | first]
    for spec, row in probes["rows"].items():
        own = {key: row[key] for key in ("status", "reason", "seeds")}
        found.append({"spec": spec, **own, **((row["groups"] or {}).get(group) or empty)})
    return [{**each, **run} for each in found]


def _columns(rows: Sequence[Json]) -> list[Column]:
    columns = [Column("spec", "", ("spec",), _spec)]
    for name in dict.fromkeys(name for row in rows for name in row["scores"]):
        title = shorten(name, NAME)
        columns.append(Column(title, "after", (name,), partial(_score, name=name, of="after")))
        columns.append(Column(title, "change", (name,), partial(_score, name=name, of="change")))
    columns.append(Column("log-prob", "change, an answer", ("logp",), partial(_logp, of="logp", digits=2)))
    columns.append(Column("log-prob", "change, a token", ("token",), partial(_logp, of="token", digits=3)))
    for name, unit in (("forgotten", "% of those right"), ("learned", "% of the others")):
        if any(row[name] for row in rows):
            columns.append(Column(name, unit, (name,), partial(_percent, name=name)))
    return columns


def _spec(row: Json) -> Cell:
    there = f"{len(row['seeds'])} of {row['of_seeds']} seeds" if row["status"] == "partial" else ""
    remarks = {"done": "", "failed": "failed", "baseline": "baseline", "partial": there}
    return Cell(row["spec"], ", ".join(part for part in (row["run"], remarks[row["status"]]) if part))


def _score(row: Json, name: str, of: str) -> Cell:
    return _cell((row["scores"].get(name) or {}).get(of), 3, plus=of == "change")


def _logp(row: Json, of: str, digits: int) -> Cell:
    return _cell((row[of] or {}).get("change"), digits, plus=True)


def _percent(row: Json, name: str) -> Cell:
    return _cell(row[name], 1, scale=100)


def _cell(found: Json | None, digits: int, scale: float = 1, plus: bool = False) -> Cell:
    value, low, high = (None if each is None else scale * each for each in _raw(found))
    return Cell(signed(value, digits) if plus else number(value, digits), brackets(low, high, digits))
