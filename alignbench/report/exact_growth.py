"""How the gain share grows with the number of pairs: runs of one world that differ in nothing else, joined."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.axes import Axes

from ..errors import InputError
from ..results import Json
from .exact_share import LOWEST
from .growth import about, axis_of_pairs, column, in_order, line, passes_said, points, runs_said, shift
from .style import GREY, Look, caption, figure, legend, looks
from .tables import Cell, Column, Table
from .text import number

WHAT = "the growth of the gain share with pairs"
CLOSE = 0.01  # of the gain: rounding on another machine moves a starting model by less, another one by more


def join(summaries: Sequence[Json]) -> Json | None:
    """`{"pairs", "runs", "passes", "rows": {spec: {"points": [metric with its "pairs" and "run", ...], "limit"}}}`.

    None where the runs are not all of worlds that can be enumerated, or have one number of pairs.

    Raises:
        InputError: the runs differ in pairs and in something else too, or two of them give one point.
    """
    ordered = in_order(summaries, "exact", WHAT)
    if ordered is None:
        return None
    for other in summaries[1:]:
        _check_world(summaries[0], other)
    specs = dict.fromkeys(spec for each in summaries for spec in each["exact"]["rows"])
    return {**about(ordered), "rows": {spec: _row(spec, ordered) for spec in specs}}


def _check_world(one: Json, other: Json) -> None:
    """One world: the same reference and optimum."""
    worlds = [each["exact"] for each in (one, other)]
    gain = worlds[0]["optimum"]["objective"] - worlds[0]["reference"]["objective"]
    ends = [[world[end]["objective"] for end in ("reference", "optimum")] for world in worlds]
    if any(abs(a - b) > CLOSE * gain for a, b in zip(*ends, strict=True)):
        raise InputError(
            f"{one['name']} and {other['name']} have other starting models (J of reference and optimum "
            f"{_ends(ends[0])} and {_ends(ends[1])}), so {WHAT} cannot be shown: run them again on one machine, or "
            f"report each alone."
        )


def _ends(found: Sequence[float]) -> str:
    return ", ".join(number(value, 4) for value in found)


def _row(spec: str, ordered: Sequence[Json]) -> Json:
    def share(summary: Json) -> Json | None:
        found: Json | None = summary["exact"]["rows"].get(spec, {}).get("gain_share")
        return found

    found = points(ordered, spec, share, "gain share")
    limits = [each["exact"]["rows"][spec]["limit"] for each in ordered if share(each)]
    known = [limit["gain_share"] for limit in limits if limit]
    return {"points": found, "limit": known[-1] if known else None}


def build(growth: Json) -> Table:
    """A row a spec by its gain share at the most pairs, a column a number of pairs, then its limit."""
    specs = sorted(growth["rows"], key=lambda spec: _rank(growth["rows"][spec]))
    columns = [
        Column("spec", "", ("spec",), lambda row: Cell(row["spec"], "", (row["spec"],))),
        *(column("gain share", "gain_share", pairs) for pairs in growth["pairs"]),
        Column("limit", "gain share", ("limit",), lambda row: Cell(number(row["limit"], 3), "", (row["limit"],))),
    ]
    rows = [[column.cell({"spec": spec, **growth["rows"][spec]}) for column in columns] for spec in specs]
    notes = [
        f"gain share at each number of pairs, from the runs {runs_said(growth)}: one world and one starting model",
        *passes_said(growth),
        "intervals are 95 %, t over the seeds of a run, and conditional on its draw of the pairs",
        "limit: what the objective tends to with unlimited data and steps, where that is known",
    ]
    return Table(columns, rows, [("growth with the number of pairs", notes)])


def _rank(row: Json) -> tuple[int, float]:
    last = row["points"][-1] if row["points"] else {"pairs": 0, "value": 0.0}
    return -int(last["pairs"]), -float(last["value"])


def plot(growth: Json, path: Path) -> Path:
    """Gain share against pairs on a log axis, a line a spec with intervals; beside it the limits as dashes."""
    specs = list(growth["rows"])
    shown = dict(zip(specs, looks(specs), strict=True))
    known = sorted(
        (spec for spec in specs if growth["rows"][spec]["points"]), key=lambda spec: _rank(growth["rows"][spec])
    )
    with figure(path, 8.6, max(4.6, 0.24 * len(known) + 1.2)) as drawn:
        axes, limits = drawn.subplots(1, 2, sharey=True, width_ratios=(5, 1.5))
        low = _window(axes, growth, known)
        for place, spec in enumerate(known):
            apart = shift(growth["pairs"], place, len(known))
            line(axes, shown[spec], growth["rows"][spec]["points"], apart, low)
        _dashes(limits, shown, {spec: growth["rows"][spec]["limit"] for spec in known}, low)
        for each in (axes, limits):
            each.axhline(1, color=GREY, linewidth=1, linestyle="--", zorder=1)
            each.axhline(0, color=GREY, linewidth=1, zorder=1)
        legend(drawn, [shown[spec] for spec in known])
        said = (
            "Gain share: 0 the reference, 1 the optimum. Exact sums; upright lines: 95 %, t over seeds; specs are set "
        )
        said += "apart a little. Right: what each tends to with unlimited data and steps, where known."
        caption(drawn, said + (" ▾: further below." if low == LOWEST else ""))
    return path


def _window(axes: Axes, growth: Json, known: Sequence[str]) -> float:
    """Set the axes; the share at which they end below, `LOWEST` where something lies beyond it."""
    values = [point["value"] for spec in known for point in growth["rows"][spec]["points"]]
    values += [growth["rows"][spec]["limit"] for spec in known if growth["rows"][spec]["limit"] is not None]
    low = LOWEST if min(values) < LOWEST else min(0.0, *values)
    axis_of_pairs(axes, growth["pairs"])
    axes.set_ylim(low - 0.05, 1.05)
    axes.set_ylabel("gain share")
    return low


def _dashes(axes: Axes, shown: Mapping[str, Look], limits: Mapping[str, float | None], low: float) -> None:
    """Each spec at a place of its own: many tend to the optimum, and all of them are to be seen."""
    known = {spec: limit for spec, limit in limits.items() if limit is not None}
    for place, (spec, limit) in enumerate(known.items()):
        colour = shown[spec].colour
        if limit < low:
            axes.annotate("▾", (place, low - 0.025), color=colour, fontsize=13, ha="center", va="center")
            continue
        axes.hlines(limit, place - 0.42, place + 0.42, color=colour, linewidth=2.4, zorder=3)
        axes.plot(place, limit, color=colour, marker=shown[spec].marker, markersize=5.5, zorder=4)
    axes.set_xlim(-0.8, max(len(known), 1) - 0.2)
    axes.set_xticks([])
    axes.set_xlabel("limit")
    axes.grid(axis="x", visible=False)
    axes.tick_params(axis="y", length=0)
