"""Expected reward against KL where both are exact: the best possible frontier, and every policy below it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from numpy.typing import ArrayLike, NDArray

from ..results import Json
from .exact import AT_OPTIMUM
from .exact_words import order
from .style import GREY, Look, caption, error_bars, figure, legend, looks

INK = "#222222"
TICKS = (0, 0.1, 0.25, 0.5, 1, 2, 3, 4, 5, 6, 8, 10, 12, 15, 20, 25, 30, 40, 50, 60, 80, 100, 150, 200, 300)
LEVELS = (0.25, 0.5, 0.75, 1.0)  # gain shares whose policies are joined by a line
Point = tuple[float, float]


def frontier(summary: Json, path: Path) -> Path | None:
    """Exact E r against exact KL: frontier, optimum, reference, each spec's way and its seeds, limits as hollow marks.

    The axis of the KL is that of its square root, along which reward grows about evenly from the reference on.
    """
    exact = summary.get("exact")
    if not exact or not any(row["gain_share"] for row in exact["rows"].values()):
        return None
    look = dict(zip(exact["rows"], looks(list(exact["rows"])), strict=True))
    shown = [spec for spec in order(exact) if exact["rows"][spec]["gain_share"]]
    with figure(path, 8.2, max(5.2, 0.24 * (len(shown) + 7) + 1.4)) as drawn:
        axes = drawn.subplots()
        marks = {spec: _marks(exact["rows"][spec]) for spec in shown}
        _limits_of(axes, exact, [point for each in marks.values() for kind in each.values() for point in kind])
        _background(axes, exact)
        for spec in shown:
            _policy(axes, look[spec], exact["rows"][spec], marks[spec])
        ceilings = sorted({point for each in marks.values() for point in each["ceiling"]})
        if ceilings:  # all specs of a seed have one reward model
            axes.plot(*zip(*ceilings, strict=True), **_CEILING)
        axes.set_xlabel("KL to the reference (nats per completion, axis of the square root)")
        axes.set_ylabel("expected gold reward")
        legend(drawn, [look[spec] for spec in shown], _legend(marks, bool(ceilings)))
        caption(drawn, _explained(exact, [look[s].label for s in shown if _at_optimum(exact["rows"][s])]))
    return path


_CEILING: Any = {
    "linestyle": "none", "marker": "v", "markersize": 7, "markerfacecolor": "none", "color": INK, "zorder": 7,
}  # fmt: skip
_STAR: Any = {"linestyle": "none", "marker": "*", "color": INK, "markersize": 13, "markeredgecolor": "white", "zorder": 6}
_PLUS: Any = {"linestyle": "none", "marker": "+", "color": INK, "markersize": 10, "markeredgewidth": 1.8, "zorder": 6}


def _at_optimum(row: Json) -> bool:
    return row["limit"] is not None and row["limit"]["gain_share"] > AT_OPTIMUM


def _marks(row: Json) -> dict[str, list[Point]]:
    """Where a spec has marks: its ends by seed and their mean, its way, its limit where that is not the optimum."""
    ways = _ways(row)
    limit = row["limit"] if row["limit"] is not None and not _at_optimum(row) else None
    return {
        "ends": _pairs(row["kl"], row["expected_reward"]),
        "mean": [(row["kl"]["value"], row["expected_reward"]["value"])],
        "way": [point for way in ways for point in way],
        "limit": [(limit["kl"], limit["expected_reward"])] if limit else [],
        "ceiling": _pairs(row["ceiling"]["kl"], row["ceiling"]["expected_reward"]) if row["ceiling"] else [],
    }


def _pairs(kl: Json, reward: Json) -> list[Point]:
    found = zip(kl["per_seed"], reward["per_seed"], strict=True)
    return [(x, y) for x, y in found if x is not None and y is not None]


def _ways(row: Json) -> list[list[Point]]:
    """Each seed's points along training, its end last."""
    ends = zip(row["kl"]["per_seed"], row["expected_reward"]["per_seed"], strict=True)
    ways = []
    for i, end in enumerate(ends):
        found = [(point["kl"]["per_seed"][i], point["expected_reward"]["per_seed"][i]) for point in row["curve"]]
        known = [(x, y) for x, y in [*found, end] if x is not None and y is not None]
        ways += [known] if len(known) > 1 else []
    return ways


def _limits_of(axes: Axes, exact: Json, points: Sequence[Point]) -> None:
    """The axes around all marks, the reference and the optimum; the frontier is drawn as far as they reach."""
    known = [*points, *((exact[end]["kl"], exact[end]["expected_reward"]) for end in ("reference", "optimum"))]
    right = max(x for x, _ in known) * 1.12
    low, high = min(y for _, y in known), max(y for _, y in known)
    room = (high - low) or 1.0
    axes.set_xscale("function", functions=(_root, np.square))
    axes.set_xlim(-0.0004 * right, right)
    axes.set_xticks([tick for tick in TICKS if tick <= right and math.sqrt(tick / right) not in _crowded(right)])
    axes.set_ylim(low - 0.06 * room, high + 0.14 * room)


def _root(x: ArrayLike) -> NDArray[np.float64]:
    """The square root, continued below 0 so that the reference need not stand on the edge."""
    found: NDArray[np.float64] = np.sign(x) * np.sqrt(np.abs(x))
    return found


def _crowded(right: float) -> set[float]:
    """Places of ticks that stand less than 4 % of the axis after the one before."""
    places, last = set(), -1.0
    for tick in (tick for tick in TICKS if tick <= right):
        here = math.sqrt(tick / right)
        if here - last < 0.04:
            places.add(here)
        else:
            last = here
    return places


def _background(axes: Axes, exact: Json) -> None:
    """The frontier with what lies above it, lines of equal gain share, the optimum and the reference."""
    best, start, beta = exact["optimum"], exact["reference"], exact["beta"]
    ends = [(end["kl"], end["expected_reward"]) for end in (start, best)]
    points = sorted([*ends, *((kl, reward) for kl, reward in exact["frontier"])])
    x, y = (np.array(each) for each in zip(*points, strict=True))
    right, top = axes.get_xlim()[1], axes.get_ylim()[1]
    axes.fill_between(x, y, max(top, y[-1]), color=GREY, alpha=0.1, linewidth=0, zorder=0)
    axes.plot(x, y, color=INK, linewidth=1.8, zorder=3)
    way = np.linspace(0, right, 200)
    for level in LEVELS:
        at = start["objective"] + level * (best["objective"] - start["objective"])
        axes.plot(way, at + beta * way, color=GREY, linewidth=0.7, linestyle=(0, (1, 2)), zorder=1)
        # Left of the frontier there is no policy, so no mark is in the way.
        axes.annotate(f"{level:g}", (0, at), (3, 1), textcoords="offset points", fontsize=7, color=GREY, zorder=1)
    axes.plot(best["kl"], best["expected_reward"], **_STAR)
    axes.plot(start["kl"], start["expected_reward"], **_PLUS)


def _policy(axes: Axes, look: Look, row: Json, marks: dict[str, list[Point]]) -> None:
    for way in _ways(row):
        axes.plot(*zip(*way, strict=True), color=look.colour, linestyle=look.line, linewidth=0.8, alpha=0.55, zorder=2)
    style: Any = {"linestyle": "none", "marker": look.marker, "color": look.colour}
    if len(marks["ends"]) > 1:
        axes.plot(*zip(*marks["ends"], strict=True), **style, markersize=3.5, alpha=0.75, zorder=4)
    error_bars(axes, look, marks["mean"][0])
    for at in marks["limit"]:
        axes.plot(*at, **style, markerfacecolor="white", markersize=7.5, markeredgewidth=1.3, zorder=4.5)


def _legend(marks: dict[str, dict[str, list[Point]]], ceilings: bool) -> list[Line2D]:
    hollow: Any = {"linestyle": "none", "color": GREY, "markersize": 7.5, "markerfacecolor": "white"}
    found = [
        Line2D([], [], color=INK, linewidth=1.8, label="best possible frontier"),
        Line2D([], [], label="optimum", **_STAR),
        Line2D([], [], label="reference", **_PLUS),
    ]
    if any(each["limit"] for each in marks.values()):
        found.append(Line2D([], [], marker="o", label="hollow: a spec's limit", **hollow))
    if ceilings:
        found.append(Line2D([], [], label="best by the reward model", **_CEILING))
    return [*found, Line2D([], [], color=GREY, linewidth=0.7, linestyle=(0, (1, 2)), label="equal gain share")]


def _explained(exact: Json, at_optimum: Sequence[str]) -> str:
    said = f"Exact sums, beta = {exact['beta']:g}. No policy lies above the frontier. Large: the mean of the seeds; small: "
    said += "each seed; thin: its way through training. Dotted: policies of equal gain share."
    return said + (f" The optimum is the limit of {', '.join(at_optimum)}." if at_optimum else "")
