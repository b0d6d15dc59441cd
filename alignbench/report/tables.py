"""The comparison table and what belongs below it, as Markdown, CSV, LaTeX and for the terminal.

`build` decides once what is shown; each writer only escapes and lays it out.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from ..results import Json
from .cost import PHASES, cost_lines
from .judge_notes import head_to_head_lines, judge_lines
from .marks import with_marks
from .notes import capability_lines, comparison_lines, notes, verdict_lines
from .text import brackets, count, csv_text, duration, latex, lower, markdown, number, signed
from .tuning import tuning_lines

# What the figures of a row depend on besides its run, and how it is named where runs differ in it.
JUDGED = {"headline": "", "agreement_judge": "agreement ", "benchmark": "on "}
COSTS = (
    *("seconds", "tokens", "sampled_tokens"),
    *("policy_forwards", "reference_forwards", "tokens_trained", "tokens_saved"),
)


@dataclass(frozen=True)
class Cell:
    """What stands in a cell: a value, below or beside it its interval or a remark, and the raw numbers for CSV."""

    value: str
    detail: str = ""
    raw: tuple[Any, ...] = ()


@dataclass(frozen=True)
class Column:
    """`title` and `unit` head it, `names` are its columns in CSV, `cell` reads it from a row of a summary."""

    title: str
    unit: str
    names: tuple[str, ...]
    cell: Callable[[Json], Cell]


@dataclass(frozen=True)
class Table:
    """The table and the lines below it, in sections of a heading and its lines. Nothing is escaped yet."""

    columns: list[Column]
    rows: list[list[Cell]]
    sections: list[tuple[str, list[str]]] = field(default_factory=list)


def build(summaries: Sequence[Json]) -> Table:
    """One table for a run, or for several runs side by side: then each row names its run.

    Below the specs stand the baselines: the reference, and the best of n of its samples.
    """
    columns = _columns(summaries)
    rows = [
        [column.cell(row | _of_run(summary, len(summaries) > 1)) for column in columns]
        for summary in summaries
        for row in [*with_marks(summary), *(_baseline(row) for row in summary["baselines"])]
    ]
    sections = []
    for summary in summaries:
        prefix = f"{summary['name']}: " if len(summaries) > 1 else ""
        judge = summary["headline"]
        sections.append((f"{prefix}verdict", verdict_lines(summary)))
        sections.append((f"{prefix}differences in win rate (judge {judge})", comparison_lines(summary)))
        sections.append((f"{prefix}head to head (judge {judge})", head_to_head_lines(summary)))
        sections.append((f"{prefix}judges", judge_lines(summary)))
        sections.append((f"{prefix}capability, change from the reference", capability_lines(summary)))
        sections.append((f"{prefix}tuning", tuning_lines(summary)))
        sections.append((f"{prefix}cost, the mean of a seed", cost_lines(summary)))
        sections.append((f"{prefix}notes", notes(summary)))
    return Table(columns, rows, [(heading, lines) for heading, lines in sections if lines])


def _of_run(summary: Json, several: bool) -> Json:
    """What a row has of its run: its name and what judged it where there are several, and how many seeds it had."""
    by = {name: summary.get(name) for name in JUDGED}
    return {"run": summary["name"] if several else None, "of_seeds": len(summary["seeds"]), "judged": by}


def _judged(row: Json, differ: Sequence[str]) -> Cell:
    """The judges of the row's run, as far as they are not those of all: headline first."""
    by = row["judged"]
    value, *more = [f"{JUDGED[name]}{by[name] or 'none'}" for name in differ]
    return Cell(value, ", ".join(more), tuple(by[name] for name in JUDGED))


def _baseline(row: Json) -> Json:
    """A baseline as a row: what it has not is not there."""
    names = ("judge_agreement", "win_rate_length_controlled", "capability", "cost", "marks")
    return {**dict.fromkeys(names), "status": "baseline", "reason": None, **row}


def _columns(summaries: Sequence[Json]) -> list[Column]:
    rows = [row for summary in summaries for row in summary["rows"]]
    differ = [name for name in JUDGED if len({summary.get(name) for summary in summaries}) > 1]
    judge, agreement = (
        "of the row's run" if name in differ else summaries[0].get(name) for name in ("headline", "agreement_judge")
    )
    columns = [Column("spec", "", ("run", "spec", "status", "reason"), _spec)]
    if differ:  # a figure of one judge is none of another's
        columns.append(Column("judged by", "", tuple(JUDGED), partial(_judged, differ=differ)))
    columns.append(_metric("win rate", f"judge {judge}", "win_rate", 3))
    if any(summary["verdict"]["ranking"] for summary in summaries):
        columns.append(Column("beats", "Holm 5 %", ("beats", "better_than_reference"), _marks))
    if any((row["win_rate"] or {}).get("unusable") for row in rows):
        columns.append(Column("unusable %", "all lost, all won", ("unusable", "all_lost", "all_won"), _unusable))
    if any(row["win_rate_length_controlled"] for row in rows):
        columns.append(_metric("win rate", "at equal length", "win_rate_length_controlled", 3))
    if any(row["win_rate_chosen"] for row in rows):
        columns.append(_metric("win rate", "over the chosen", "win_rate_chosen", 3))
    if any(row["reward"] for row in rows):
        columns.append(_metric("reward", "gold", "reward", 2))
    if any(row["proxy_reward"] and not row["reward"] for row in rows):
        columns.append(_metric("proxy reward", "judge's model", "proxy_reward", 2))
    columns.append(Column("KL", "nats", ("kl", "kl_low", "kl_high", "kl_is_a_bound"), _kl))
    if any(row["judge_agreement"] for row in rows):
        columns.append(_metric("agreement", f"judge {agreement}", "judge_agreement", 3))
    names = tuple(f"{name}_per_seed" for name in (*COSTS, *(f"{phase}_seconds" for phase in PHASES)))
    return [
        *columns,
        *_capability_columns(rows),
        _metric("length", "tokens", "length", 1),
        _metric("unfinished", "%", "unfinished", 1, scale=100),
        Column("cost", "a seed", names, _cost),
    ]


def _capability_columns(rows: Sequence[Json]) -> list[Column]:
    """For each task the change of its first metric; all metrics are in `summary.json`."""
    tasks = [item for row in rows for item in (row["capability"] or {}).items()]
    found = {task: next(iter(metrics.items())) for task, metrics in tasks if metrics}
    return [
        Column(
            task,
            f"change in {metric}{lower(each['higher_is_better'])}",
            tuple(f"{task}_{metric}_{end}" for end in ("change", "low", "high")),
            partial(_change, task=task, metric=metric),
        )
        for task, (metric, each) in found.items()
    ]


def _metric(title: str, unit: str, name: str, digits: int, scale: float = 1) -> Column:
    names = (name, f"{name}_low", f"{name}_high")
    return Column(title, unit, names, partial(_value, name=name, digits=digits, scale=scale))


def _value(row: Json, name: str, digits: int, scale: float) -> Cell:
    found = row.get(name) or {}
    raw = tuple(found.get(key) for key in ("value", "low", "high"))
    value, low, high = (None if x is None else scale * x for x in raw)
    # Three significant digits will do: large numbers get fewer decimals.
    digits = min(digits, max(0, 3 - len(str(int(abs(value or 0))).lstrip("0"))))
    return Cell(number(value, digits), brackets(low, high, digits), raw)


def _spec(row: Json) -> Cell:
    there = f"{len(row['evaluated'])} of {row['of_seeds']} seeds" if row["status"] == "partial" else ""
    remarks = {"done": "", "failed": "failed", "baseline": "baseline", "partial": there}
    detail = ", ".join(part for part in (row.get("letter"), row["run"], remarks[row["status"]]) if part)
    return Cell(row["spec"], detail, (row["run"], row["spec"], row["status"], row["reason"]))


def _unusable(row: Json) -> Cell:
    found = row["win_rate"] or {}
    share, (low, high) = found.get("unusable"), found.get("bounds", (None, None))
    return Cell(number(None if share is None else 100 * share, 1), brackets(low, high, 3), (share, low, high))


def _kl(row: Json) -> Cell:
    """Of best-of-n the bound, so marked: it was not measured."""
    found = row["kl"] or {}
    if not found.get("bound"):
        cell = _value(row, "kl", 2, 1)
        return Cell(cell.value, cell.detail, (*cell.raw, False if found else None))
    return Cell(f"≤ {number(found['value'], 2)}", "bound", (found["value"], None, None, True))


def _marks(row: Json) -> Cell:
    found = row["marks"]
    if found is None:
        return Cell("", "", (None, None))
    over = "reference" if row["better_than_reference"] else ""
    return Cell(found or "–", over, (" ".join(row["significant_over"]), row["better_than_reference"]))


def _change(row: Json, task: str, metric: str) -> Cell:
    found = (row["capability"] or {}).get(task, {}).get(metric)
    if found is None:
        return Cell("–", "", (None, None, None))
    digits = 3 if abs(found["change"] or 0) < 1 else 2
    shown = brackets(found["low"], found["high"], digits)
    return Cell(signed(found["change"], digits), shown, (found["change"], found["low"], found["high"]))


def _cost(row: Json) -> Cell:
    found = row["cost"]
    if found is None:
        return Cell("–", "", (None,) * (len(COSTS) + len(PHASES)))
    raw = (*(found[name]["value"] for name in COSTS), *(found["phases"][name]["value"] for name in PHASES))
    seconds, tokens = raw[:2]  # the tokens that were sampled are among them
    return Cell(duration(seconds), "" if tokens is None else f"{count(tokens)} tok", raw)


def write_markdown(table: Table) -> str:
    heads = [markdown(f"{column.title} ({column.unit})" if column.unit else column.title) for column in table.columns]
    lines = [_line(heads), _line(["---", *["---:"] * (len(heads) - 1)])]
    for row in table.rows:
        first = markdown(row[0].value) + (f" ({markdown(row[0].detail)})" if row[0].detail else "")
        lines.append(_line([first, *(_together(cell) for cell in row[1:])]))
    for heading, notes_ in table.sections:
        lines += ["", f"**{markdown(heading)}**", "", *(f"- {markdown(note)}" for note in notes_)]
    return "\n".join(lines) + "\n"


def _together(cell: Cell) -> str:
    """Figures, their intervals in brackets as they are, and names."""
    value = markdown(cell.value)
    if cell.detail.startswith("["):
        return f"{value} {cell.detail}"
    return ", ".join(part for part in (value, markdown(cell.detail)) if part)


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def write_csv(table: Table) -> str:
    """The rows alone, with full precision; shares as shares, an empty field where nothing was measured."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow([name for column in table.columns for name in column.names])
    for row in table.rows:
        raw = [value for cell in row for value in cell.raw]
        writer.writerow([csv_text(value) if isinstance(value, str) else value for value in raw])
    return file.getvalue()


def write_latex(table: Table) -> str:
    r"""A `booktabs` tabular, intervals in a smaller size below the values; the lines below it are comments."""
    heads = [rf"{latex(column.title)}" for column in table.columns]
    units = [f"({latex(column.unit)})" if column.unit else "" for column in table.columns]
    lines = [
        "% Needs \\usepackage{booktabs}.",
        rf"\begin{{tabular}}{{l{'r' * (len(heads) - 1)}}}",
        r"\toprule",
        " & ".join(heads) + r" \\",
        " & ".join(units) + r" \\",
        r"\midrule",
    ]
    for row in table.rows:
        lines.append(" & ".join(latex(cell.value) for cell in row) + r" \\")
        if any(cell.detail for cell in row):
            lines.append(" & ".join(rf"{{\scriptsize {latex(cell.detail)}}}" for cell in row) + r" \\")
    lines += [r"\bottomrule", r"\end{tabular}"]
    for heading, notes_ in table.sections:
        # A note is one line without control characters, so it cannot leave its comment.
        lines += ["", f"% {latex(heading)}", *(f"%   {latex(note)}" for note in notes_)]
    return "\n".join(lines) + "\n"
