"""How the answers to probes move with the number of pairs: runs that differ in nothing else, joined."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes

from ..errors import InputError
from ..results import Json
from .growth import about, axis_of_pairs, column, in_order, line, passes_said, points, runs_said, shift
from .probes_plots import panels, window
from .probes_words import Measure, measures
from .style import GREY, Look, caption, legend, looks
from .tables import Cell, Column, Table
from .text import number, shorten

WHAT = "the growth of the answers with pairs"
CLOSE = 0.02  # of a score, or nats per token: rounding on another machine moves a starting model by less
NAME = 40


def join(summaries: Sequence[Json]) -> Json | None:
    """`{"pairs", "runs", "passes", "specs", "reference", "measures": [{"group", "of", "rows": {spec: [point, ...]}}]}`.

    A point is a metric with its "pairs" and "run"; "reference" is that of the run with the fewest pairs. None where the
    runs have not all asked probes, or have one number of pairs.

    Raises:
        InputError: the runs differ in pairs and in something else too, or two of them give one point.
    """
    ordered = in_order(summaries, "probes", WHAT)
    if ordered is None:
        return None
    for other in summaries[1:]:
        _check_reference(summaries[0], other)
    reference = ordered[0]["probes"]["reference"]
    specs = list(dict.fromkeys(spec for each in summaries for spec in each["probes"]["rows"]))
    return {
        **about(ordered),
        "specs": specs,
        "reference": reference,
        "measures": [
            {"group": each.group, "of": each.of, "rows": {spec: _points(ordered, spec, each) for spec in specs}}
            for each in measures(ordered[0]["probes"])
        ],
    }


def _points(ordered: Sequence[Json], spec: str, measure: Measure) -> list[Json]:
    def find(summary: Json) -> Json | None:
        row = summary["probes"]["rows"].get(spec)
        return measure.value(row) if row else None

    return points(ordered, spec, find, "answer to its probes")


def _check_reference(one: Json, other: Json) -> None:
    """The same probes, answered alike before."""
    names, both = f"{one['name']} and {other['name']}", [each["probes"] for each in (one, other)]
    if both[0]["asked"] != both[1]["asked"]:
        raise InputError(f"{names} have other probes, so {WHAT} cannot be shown: report each alone.")
    for group, found in both[0]["reference"].items():
        theirs = both[1]["reference"][group]
        for name in ("token", *found["scores"]):
            a, b = (each["token"] if name == "token" else each["scores"][name] for each in (found, theirs))
            if a["value"] is not None and b["value"] is not None and abs(a["value"] - b["value"]) > CLOSE:
                what = "log-prob of a token" if name == "token" else name
                raise InputError(
                    f"{names} have other starting models ({group}, {what}: {number(a['value'], 3)} and "
                    f"{number(b['value'], 3)}), so {WHAT} cannot be shown: run them again on one machine, or report "
                    f"each alone."
                )


def _measures(growth: Json) -> list[tuple[Measure, Json]]:
    return [(Measure(each["group"], each["of"]), each["rows"]) for each in growth["measures"]]


def build(growth: Json) -> Table:
    """A row a measure and spec, after the reference's: a column a number of pairs."""
    columns = [
        Column("spec", "", ("spec", "group", "quantity"), _name),
        Column("before", "reference", ("before",), _before),
        *(column("after", "after", pairs) for pairs in growth["pairs"]),
    ]
    rows = [
        {"spec": spec, "measure": measure, "before": measure.before(growth["reference"]), "points": found[spec]}
        | ({"scale": 100, "digits": 1} if measure.of == "forgotten" else {})
        for measure, found in _measures(growth)
        for spec in growth["specs"]
        if found[spec]
    ]
    notes = [
        f"the answers at each number of pairs, from the runs {runs_said(growth)}: the same probes and starting model",
        *passes_said(growth),
        "scores after; change in log-prob in nats per token; forgotten: % of the answers exactly right before",
        "intervals are 95 %, over probes and the seeds of a run, and conditional on its draw of the pairs",
    ]
    return Table(columns, [[each.cell(row) for each in columns] for row in rows], [("growth of the answers", notes)])


def _name(row: Json) -> Cell:
    measure: Measure = row["measure"]
    detail = shorten(f"{measure.group} · {measure.title}", NAME)
    return Cell(row["spec"], detail, (row["spec"], measure.group, measure.title))


def _before(row: Json) -> Cell:
    value = row["before"]["value"] if row["before"] and row["measure"].is_score else None
    return Cell(number(value, 3), "", (value,))


def plot(growth: Json, path: Path) -> Path | None:
    """A panel a measure against pairs on a log axis, a line a spec with intervals, the reference dashed."""
    known = [(measure, rows) for measure, rows in _measures(growth) if any(rows.values())]
    if not known:
        return None
    shown = dict(zip(growth["specs"], looks(growth["specs"]), strict=True))
    found = {(measure.group, measure.of): rows for measure, rows in known}
    with panels(path, [measure for measure, _ in known], 2.3) as (drawn, placed):
        for axes, measure in placed:
            _panel(axes, growth, measure, found[measure.group, measure.of], shown)
        legend(drawn, list(shown.values()))
        said = (
            "Dashed: the reference. Upright lines: 95 % intervals over probes and seeds; specs are set apart a little."
        )
        caption(drawn, said + " A change in log-prob is that of the followed answers.")
    return path


def _panel(axes: Axes, growth: Json, measure: Measure, rows: Json, shown: dict[str, Look]) -> None:
    before = measure.before(growth["reference"])
    if before is not None:
        axes.axhline(before["value"], color=GREY, linewidth=1.2, linestyle="--", zorder=1)
    for place, (spec, found) in enumerate(rows.items()):
        line(axes, shown[spec], found, shift(growth["pairs"], place, len(rows)))
    metrics = [point for found in rows.values() for point in found]
    values = [each["value"] for each in (*metrics, *([before] if before else []))]
    ends = [end for each in metrics for end in (each["low"], each["high"]) if end is not None]
    axes.set_ylim(*window(values, ends, measure.of == "token"))
    axis_of_pairs(axes, growth["pairs"])
    axes.set_ylabel(measure.unit, fontsize=8)
