"""How the gain share grows with the number of pairs: runs of one world that differ in nothing else, joined."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path

from matplotlib.axes import Axes

from ..errors import InputError
from ..results import Json
from .exact_share import LOWEST
from .style import GREY, Look, caption, figure, legend, looks
from .tables import Cell, Column, Table
from .text import brackets, number

PAIRS = "benchmark field pairs"  # of `run.json`'s identity
# The passes over the pairs: fewer pairs may be read more often, so that no run is short of steps.
PASSES = ("benchmark field epochs", "benchmark field reward_epochs")
CLOSE = 0.01  # of the gain: rounding on another machine moves a starting model by less, another one by more


def join(summaries: Sequence[Json]) -> Json | None:
    """`{"pairs", "runs", "rows": {spec: {"points": [metric with its "pairs" and "run", ...], "limit"}}}`.

    None where the runs are not all of worlds that can be enumerated, or have one number of pairs.

    Raises:
        InputError: the runs differ in pairs and in something else too, or two of them give one point.
    """
    if len(summaries) < 2 or not all("exact" in each and PAIRS in (each["identity"] or {}) for each in summaries):
        return None
    ordered = sorted(summaries, key=_pairs)
    if _pairs(ordered[0]) == _pairs(ordered[-1]):
        return None
    for other in summaries[1:]:
        _check_same(summaries[0], other)
    specs = dict.fromkeys(spec for each in summaries for spec in each["exact"]["rows"])
    return {
        "pairs": sorted({_pairs(each) for each in ordered}),
        "runs": {each["name"]: _pairs(each) for each in ordered},
        "passes": {each["name"]: [each["identity"].get(name) for name in PASSES] for each in ordered},
        "rows": {spec: _row(spec, ordered) for spec in specs},
    }


def _pairs(summary: Json) -> int:
    return int(summary["identity"][PAIRS])


def _check_same(one: Json, other: Json) -> None:
    """One world: the same identity but for the pairs and passes over them, and the same reference and optimum."""
    names = f"{one['name']} and {other['name']}"
    first, second = one["identity"], other["identity"]
    keys = [key for key in (first | second) if key not in (PAIRS, *PASSES) and first.get(key) != second.get(key)]
    if keys:
        said = f"{keys[0].removeprefix('benchmark field ')} ({first.get(keys[0])} and {second.get(keys[0])})"
        more = f" and {len(keys) - 1} other settings" if len(keys) > 1 else ""
        raise InputError(
            f"{names} differ not only in pairs but in {said}{more}, so the growth of the gain share with pairs cannot "
            f"be shown: report runs that differ in `pairs` and passes over them alone, or each run by itself."
        )
    worlds = [each["exact"] for each in (one, other)]
    gain = worlds[0]["optimum"]["objective"] - worlds[0]["reference"]["objective"]
    ends = [[world[end]["objective"] for end in ("reference", "optimum")] for world in worlds]
    if any(abs(a - b) > CLOSE * gain for a, b in zip(*ends, strict=True)):
        raise InputError(
            f"{names} have other starting models (J of reference and optimum {_ends(ends[0])} and {_ends(ends[1])}), "
            f"so the growth of the gain share with pairs cannot be shown: run them again on one machine, or report "
            f"each alone."
        )


def _ends(found: Sequence[float]) -> str:
    return ", ".join(number(value, 4) for value in found)


def _row(spec: str, ordered: Sequence[Json]) -> Json:
    points: list[Json] = []
    limit = None
    for summary in ordered:
        row = summary["exact"]["rows"].get(spec)
        if row is None or not row["gain_share"]:
            continue
        if points and points[-1]["pairs"] == _pairs(summary):
            raise InputError(
                f"{points[-1]['run']} and {summary['name']} both have {spec} at {_pairs(summary):,} pairs, so there is "
                f"no one gain share to show there: report one of the two."
            )
        limit = row["limit"]["gain_share"] if row["limit"] else limit
        points.append({"pairs": _pairs(summary), "run": summary["name"], **row["gain_share"]})
    return {"points": points, "limit": limit}


def build(growth: Json) -> Table:
    """A row a spec by its gain share at the most pairs, a column a number of pairs, then its limit."""
    specs = sorted(growth["rows"], key=lambda spec: _rank(growth["rows"][spec]))
    columns = [
        Column("spec", "", ("spec",), lambda row: Cell(row["spec"], "", (row["spec"],))),
        *(_column(pairs) for pairs in growth["pairs"]),
        Column("limit", "gain share", ("limit",), lambda row: Cell(number(row["limit"], 3), "", (row["limit"],))),
    ]
    rows = [[column.cell({"spec": spec, **growth["rows"][spec]}) for column in columns] for spec in specs]
    runs = ", ".join(f"{name} ({pairs:,} pairs)" for name, pairs in growth["runs"].items())
    notes = [
        f"gain share at each number of pairs, from the runs {runs}: one world and one starting model",
        *_passes(growth),
        "intervals are 95 %, t over the seeds of a run, and conditional on its draw of the pairs",
        "limit: what the objective tends to with unlimited data and steps, where that is known",
    ]
    return Table(columns, rows, [("growth with the number of pairs", notes)])


def _rank(row: Json) -> tuple[int, float]:
    last = row["points"][-1] if row["points"] else {"pairs": 0, "value": 0.0}
    return -int(last["pairs"]), -float(last["value"])


def _passes(growth: Json) -> list[str]:
    """How often the pairs of each run were read, where that is not the same in all."""
    if len({tuple(passes) for passes in growth["passes"].values()}) < 2:
        return []
    said = (f"{name} {own:g} (by reward models {reward:g})" for name, (own, reward) in growth["passes"].items())
    return [f"passes over the pairs: {', '.join(said)}"]


def _column(pairs: int) -> Column:
    name = f"gain_share_{pairs}"
    names = (name, f"{name}_low", f"{name}_high")
    return Column("gain share", f"{pairs:,} pairs", names, partial(_at, pairs=pairs))


def _at(row: Json, pairs: int) -> Cell:
    found: Json = next((point for point in row["points"] if point["pairs"] == pairs), {})
    raw = tuple(found.get(key) for key in ("value", "low", "high"))
    return Cell(number(raw[0], 3), brackets(raw[1], raw[2], 3), raw)


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
        step = _step(growth["pairs"], len(known))
        for position, spec in enumerate(known):
            shift = 10 ** (step * (position - (len(known) - 1) / 2))
            _line(axes, shown[spec], growth["rows"][spec]["points"], shift, low)
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


def _step(pairs: Sequence[int], specs: int) -> float:
    """Decades between two specs that stand side by side, so that intervals do not cover each other."""
    nearest = min(math.log10(b / a) for a, b in pairwise(pairs))
    return min(0.022, 0.6 * nearest / specs)


def _window(axes: Axes, growth: Json, known: Sequence[str]) -> float:
    """Set the axes; the share at which they end below, `LOWEST` where something lies beyond it."""
    values = [point["value"] for spec in known for point in growth["rows"][spec]["points"]]
    values += [growth["rows"][spec]["limit"] for spec in known if growth["rows"][spec]["limit"] is not None]
    low = LOWEST if min(values) < LOWEST else min(0.0, *values)
    axes.set_xscale("log")
    axes.set_xlim(growth["pairs"][0] / 1.6, growth["pairs"][-1] * 1.6)
    axes.set_xticks(growth["pairs"], [f"{pairs:,}" for pairs in growth["pairs"]])
    axes.minorticks_off()
    axes.set_ylim(low - 0.05, 1.05)
    axes.set_xlabel("preference pairs")
    axes.set_ylabel("gain share")
    return low


def _line(axes: Axes, look: Look, points: Sequence[Json], shift: float, low: float) -> None:
    x = [point["pairs"] * shift for point in points]
    y = [max(low - 0.025, point["value"]) for point in points]
    axes.plot(x, y, color=look.colour, linestyle=look.line, linewidth=1.4, zorder=3)
    for at, height, point in zip(x, y, points, strict=True):
        if point["value"] < low:
            axes.annotate("▾", (at, height), color=look.colour, fontsize=13, ha="center", va="center", zorder=4)
            continue
        axes.plot(at, height, color=look.colour, marker=look.marker, markersize=6, zorder=4)
        if point["low"] is not None:
            axes.vlines(at, point["low"], point["high"], color=look.colour, linewidth=1, zorder=3)


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
