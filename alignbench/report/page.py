"""`report.html`: the whole report as one file that asks nothing of any server and runs nothing."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from ..results import Json
from ..visible import plain
from .data_page import PLOTS as DATA
from .data_page import data_part
from .exact_page import PLOTS as EXACT
from .exact_page import exact_part
from .marks import mark_lines
from .page_glossary import explained
from .page_grids import build_grids, left_open
from .page_plots import read_figure
from .page_samples import examples
from .probes_page import PLOTS as PROBES
from .probes_page import probes_part
from .probes_samples import examples as probe_examples
from .tables import Table
from .text import count, duration, number

__all__ = ["examples", "probe_examples", "write_page"]

AS_GRIDS = ("verdict", "differences", "head to head", "judges", "capability", "tuning")  # sections, by their headings
LONG = 16  # characters: no longer word of our own heads a column
TEMPLATES = Path(__file__).parent / "templates"


def write_page(summary: Json, table: Table, plots: Sequence[Path], shown: Json, answers: Json | None = None) -> str:
    """The page; every string is shown as text, whatever it holds.

    `shown` are the samples, from `examples`, and `answers` those to probes, from `probe_examples`.
    """
    style = (TEMPLATES / "report.css").read_text(encoding="utf-8")
    figures = [read_figure(path, summary) for path in plots]
    page = environment().get_template("report.html").render(
        summary=summary,
        table=table,
        grids=build_grids(summary),
        left_open=left_open(summary),
        exact=exact_part(summary),
        exact_figures=[figure for figure in figures if figure.name in EXACT],
        data=data_part(summary),
        data_figures=[figure for figure in figures if figure.name in DATA],
        figures=[figure for figure in figures if figure.name not in EXACT | DATA | PROBES],
        probes=probes_part(summary, answers),
        probe_figures=[figure for figure in figures if figure.name in PROBES],
        samples=shown,
        glossary=explained(table.columns),
        marks=mark_lines(summary),
        sections=_placed(table),
        stages=[(stage["name"], _seconds(stage)) for stage in summary["stages"]],
        style=Markup(style),  # noqa: S704 - our own file
        policy=_policy(style),
    )  # fmt: skip
    return page + "\n"


def environment() -> Environment:
    """Whatever a template prints is made visible (`visible`) and then escaped, without the template asking for it."""
    found = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=visible,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters |= {"count": count, "duration": duration, "number": number, "wide": wide}
    return found


def visible(value: Any) -> Any:
    """A string with its control and direction characters made visible; its lines stay lines."""
    if isinstance(value, str) and not isinstance(value, Markup):
        return "\n".join(plain(line) for line in value.split("\n"))
    return value


def wide(text: str) -> bool:
    """Whether a word of it may have to be broken for a column to have a sensible width."""
    return any(len(word) > LONG for word in text.split())


def _policy(style: str) -> str:
    """The page's Content-Security-Policy: its own style sheet and the pictures in it, and nothing else at all."""
    found = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode("ascii")
    return f"default-src 'none'; img-src data:; style-src 'sha256-{found}'; base-uri 'none'; form-action 'none'"


def _placed(table: Table) -> dict[str, list[tuple[str, list[str]]]]:
    """The lines below the table that the page does not show otherwise, under the heading that they belong to."""
    placed: dict[str, list[tuple[str, list[str]]]] = {"results": [], "costs": []}
    for heading, lines in table.sections:
        if not heading.startswith(AS_GRIDS):
            placed["costs" if heading.startswith("cost") else "results"].append((heading, lines))
    return placed


def _seconds(stage: Json) -> float | None:
    """How long a stage took; an earlier version recorded training alone, phase by phase, else nothing."""
    if "seconds" in stage:
        return float(stage["seconds"])
    costs = [part["cost"]["seconds"] for part in stage.get("phases", [stage]) if "cost" in part]
    return sum(costs) if costs else None
