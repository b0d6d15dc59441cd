"""Runs that differ in the number of preference pairs alone, joined: what each spec gains from more of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise

from matplotlib.axes import Axes

from ..errors import InputError
from ..results import Json
from .style import Look
from .tables import Cell, Column
from .text import brackets, number

PAIRS = "benchmark field pairs"  # of `run.json`'s identity
# The passes over the pairs: fewer pairs may be read more often, so that no run is short of steps.
PASSES = ("benchmark field epochs", "benchmark field reward_epochs")


def in_order(summaries: Sequence[Json], part: str, what: str) -> list[Json] | None:
    """The runs by their number of pairs; None where not all have that `part`, or all have one number of pairs.

    `what` cannot be shown, says the error.

    Raises:
        InputError: the runs differ in pairs and in something else too.
    """
    if len(summaries) < 2 or not all(part in each and PAIRS in (each["identity"] or {}) for each in summaries):
        return None
    if len({pairs_of(each) for each in summaries}) == 1:
        return None
    for other in summaries[1:]:
        _check_same(summaries[0], other, what)
    return sorted(summaries, key=pairs_of)


def pairs_of(summary: Json) -> int:
    return int(summary["identity"][PAIRS])


def _check_same(one: Json, other: Json, what: str) -> None:
    """The same identity but for the pairs and passes over them."""
    first, second = one["identity"], other["identity"]
    keys = [key for key in (first | second) if key not in (PAIRS, *PASSES) and first.get(key) != second.get(key)]
    if keys:
        said = f"{keys[0].removeprefix('benchmark field ')} ({first.get(keys[0])} and {second.get(keys[0])})"
        more = f" and {len(keys) - 1} other settings" if len(keys) > 1 else ""
        raise InputError(
            f"{one['name']} and {other['name']} differ not only in pairs but in {said}{more}, so {what} cannot be "
            f"shown: report runs that differ in `pairs` and passes over them alone, or each run by itself."
        )


def about(ordered: Sequence[Json]) -> Json:
    """`{"pairs", "runs": {name: pairs}, "passes": {name: [over the pairs, by reward models]}}` of the joined runs."""
    return {
        "pairs": sorted({pairs_of(each) for each in ordered}),
        "runs": {each["name"]: pairs_of(each) for each in ordered},
        "passes": {each["name"]: [each["identity"].get(name) for name in PASSES] for each in ordered},
    }


def points(ordered: Sequence[Json], spec: str, find: Callable[[Json], Json | None], what: str) -> list[Json]:
    """What `find` reads from each run that has it, each with its "pairs" and "run".

    Raises:
        InputError: two runs have the spec at one number of pairs.
    """
    found: list[Json] = []
    for summary in ordered:
        metric = find(summary)
        if not metric:
            continue
        if found and found[-1]["pairs"] == pairs_of(summary):
            raise InputError(
                f"{found[-1]['run']} and {summary['name']} both have {spec} at {pairs_of(summary):,} pairs, so there "
                f"is no one {what} to show there: report one of the two."
            )
        found.append({"pairs": pairs_of(summary), "run": summary["name"], **metric})
    return found


def runs_said(growth: Json) -> str:
    """`small (1,000 pairs), large (10,000 pairs)`."""
    return ", ".join(f"{name} ({pairs:,} pairs)" for name, pairs in growth["runs"].items())


def passes_said(growth: Json) -> list[str]:
    """How often the pairs of each run were read, where that is not the same in all."""
    if len({tuple(passes) for passes in growth["passes"].values()}) < 2:
        return []
    said = (f"{name} {own:g} (by reward models {reward:g})" for name, (own, reward) in growth["passes"].items())
    return [f"passes over the pairs: {', '.join(said)}"]


def column(title: str, name: str, pairs: int) -> Column:
    """The column of a number of pairs, of rows that have `points`, and `digits` and `scale` where 3 and 1 are wrong."""
    names = (f"{name}_{pairs}", f"{name}_{pairs}_low", f"{name}_{pairs}_high")
    return Column(title, f"{pairs:,} pairs", names, partial(_at, pairs=pairs))


def _at(row: Json, pairs: int) -> Cell:
    found: Json = next((point for point in row["points"] if point["pairs"] == pairs), {})
    raw = tuple(found.get(key) for key in ("value", "low", "high"))
    value, low, high = (None if end is None else row.get("scale", 1) * end for end in raw)
    digits = row.get("digits", 3)
    return Cell(number(value, digits), brackets(low, high, digits), raw)


def shift(pairs: Sequence[int], place: int, specs: int) -> float:
    """The factor that sets one of so many specs apart on the log axis, so that intervals do not cover each other."""
    nearest = min(math.log10(b / a) for a, b in pairwise(pairs))
    step = min(0.022, 0.6 * nearest / specs)  # decades between two that stand side by side
    return float(10 ** (step * (place - (specs - 1) / 2)))


def axis_of_pairs(axes: Axes, pairs: Sequence[int]) -> None:
    axes.set_xscale("log")
    axes.set_xlim(pairs[0] / 1.6, pairs[-1] * 1.6)
    axes.set_xticks(pairs, [f"{each:,}" for each in pairs])
    axes.minorticks_off()
    axes.set_xlabel("preference pairs")


def line(axes: Axes, look: Look, found: Sequence[Json], apart: float, low: float = -math.inf) -> None:
    """A spec's points with their intervals, set apart by a factor; one below `low` is an arrow just under it."""
    x = [point["pairs"] * apart for point in found]
    y = [max(low - 0.025, point["value"]) for point in found]
    axes.plot(x, y, color=look.colour, linestyle=look.line, linewidth=1.4, zorder=3)
    for at, height, point in zip(x, y, found, strict=True):
        if point["value"] < low:
            axes.annotate("▾", (at, height), color=look.colour, fontsize=13, ha="center", va="center", zorder=4)
            continue
        axes.plot(at, height, color=look.colour, marker=look.marker, markersize=6, zorder=4)
        if point["low"] is not None:
            axes.vlines(at, point["low"], point["high"], color=look.colour, linewidth=1, zorder=3)
