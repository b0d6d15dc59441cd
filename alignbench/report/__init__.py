"""Tables, plots and the page of a run, rebuilt from its results folder alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..errors import InputError
from ..results import Json, slug, whole_folder, write_json, write_text
from . import exact_growth, exact_tables, plots, probes_growth, probes_tables, tables
from .page import examples, probe_examples, write_page
from .store import read_store
from .summary import build_summary
from .terminal import print_table

__all__ = ["compare", "print_table", "write_report"]


def write_report(folder: Path) -> Json:
    """Rebuild `summary.json`, `table.md`, `table.csv`, `table.tex`, `plots/*.png` and `report.html`; the summary.

    A run in a world that can be enumerated also has `exact.md`, `exact.csv` and `exact.tex`, one that asked probes
    `probes.md`, `probes.csv` and `probes.tex`. The same store gives the same files. Cells that failed or are not there
    yet are shown as holes with their reason.

    Raises:
        InputError: the folder holds no results, or cells that may not be compared with one another.
    """
    store = read_store(folder)
    summary = build_summary(store)
    table = tables.build([summary])
    with whole_folder(folder / "plots") as partial:
        names = [path.name for path in plots.write_plots(store, summary, partial)]
    drawn = [folder / "plots" / name for name in names]
    write_text(folder / "report.html", write_page(summary, table, drawn, examples(store), probe_examples(store)))
    _write_tables(table, folder)
    _write_exact([summary], folder)
    _write_probes([summary], folder)
    write_json(folder / "summary.json", summary)  # last: a summary says that the rest is there
    return summary


def compare(folders: Sequence[Path], out: Path | None = None) -> Json:
    """Several runs side by side: one table and one frontier plot in `out`, by default beside the first run.

    Returns `{"schema", "folder", "runs": [summary, ...]}`. Differences are tested within a run only: two runs share
    neither the SFT model nor the draw of the data. Runs of one exact world that differ in the number of pairs alone are
    joined: then there is `exact_growth` too, in what is returned, as a table and as a plot; and so `probes_growth` of
    runs that asked the same probes.

    Raises:
        InputError: as `write_report`; or a folder is given twice; or runs with exact figures or probes differ in pairs
            and something else.
    """
    resolved = [folder.resolve() for folder in folders]
    if len(set(resolved)) < len(resolved):
        raise InputError("the same results folder is given twice: name each run once.")
    stores = [read_store(folder) for folder in resolved]
    runs = [build_summary(store) for store in stores]
    for run, name in zip(runs, _names(resolved), strict=True):
        run["name"] = name
    growth, answers = exact_growth.join(runs), probes_growth.join(runs)
    out = out or resolved[0].parent / slug("compared-" + "-".join(folder.name for folder in resolved))
    table = tables.build(runs)
    with whole_folder(out / "plots") as partial:
        plots.frontier(runs, partial / "frontier.png")
        if growth is not None:
            exact_growth.plot(growth, partial / "exact_growth.png")
        if answers is not None:
            probes_growth.plot(answers, partial / "probes_growth.png")
    _write_tables(table, out)
    _write_exact(runs, out)
    _write_probes(runs, out)
    whole = {"schema": runs[0]["schema"], "folder": str(out), "runs": runs}
    if growth is not None:
        _write_tables(exact_growth.build(growth), out, "exact_growth")
        whole["exact_growth"] = growth
    if answers is not None:
        _write_tables(probes_growth.build(answers), out, "probes_growth")
        whole["probes_growth"] = answers
    return whole


def _write_exact(summaries: Sequence[Json], folder: Path) -> None:
    if any("exact" in summary for summary in summaries):
        _write_tables(exact_tables.build(summaries), folder, "exact")


def _write_probes(summaries: Sequence[Json], folder: Path) -> None:
    if any("probes" in summary for summary in summaries):
        parts = probes_tables.build(summaries)
        write_text(folder / "probes.md", probes_tables.as_markdown(parts))
        write_text(folder / "probes.csv", probes_tables.as_csv(summaries))
        write_text(folder / "probes.tex", probes_tables.as_latex(parts))


def _write_tables(table: tables.Table, folder: Path, name: str = "table") -> None:
    write_text(folder / f"{name}.md", tables.write_markdown(table))
    write_text(folder / f"{name}.csv", tables.write_csv(table))
    write_text(folder / f"{name}.tex", tables.write_latex(table))


def _names(folders: Sequence[Path]) -> list[str]:
    """The folders' names, with their parents' where two are alike."""
    names = [folder.name for folder in folders]
    return [f"{f.parent.name}/{f.name}" if names.count(f.name) > 1 else f.name for f in folders]
