"""Expected reward against KL where both are exact: the best possible frontier, and every policy below it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from numpy.typing import ArrayLike, NDArray
from scipy.interpolate import PchipInterpolator

from ..results import Json
from .exact import AT_OPTIMUM
from .exact_share import CEILING, INK, LOWEST
from .exact_words import order
from .style import GREY, Look, caption, error_bars, figure, legend, looks

TICKS = (0, 0.1, 0.25, 0.5, 1, 2, 3, 4, 5, 6, 8, 10, 12, 15, 20, 25, 30, 40, 50, 60, 80, 100, 150, 200, 300)
ROOM = 0.021  # of the axis for a digit of a tick, and as much again between two ticks
Point = tuple[float, float]  # KL, expected reward
Marks = Mapping[str, Sequence[Point]]
STAR: Any = {
    "linestyle": "none",
    "marker": "*",
    "color": INK,
    "markersize": 14,
    "markeredgecolor": "white",
    "zorder": 6,
}
PLUS: Any = {"linestyle": "none", "marker": "+", "color": INK, "markersize": 10, "markeredgewidth": 1.8, "zorder": 6}


def frontier(summary: Json, path: Path) -> Path | None:
    """Exact E r against exact KL: frontier, optimum, reference, each spec's way and its seeds, limits as hollow marks.

    Beside it the same policies by gain share, where the KL is paid for and differences are not lost in the slope. The
    axes of the KL are those of its square root, along which reward grows about evenly from the reference on.
    """
    exact = summary.get("exact")
    if not exact or not any(row["gain_share"] for row in exact["rows"].values()):
        return None
    look = dict(zip(exact["rows"], looks(list(exact["rows"])), strict=True))
    marks = {spec: _marks(exact["rows"][spec]) for spec in order(exact) if exact["rows"][spec]["gain_share"]}
    with figure(path, 11.4, max(4.6, 0.24 * (len(marks) + 6) + 0.7)) as drawn:
        left, right = drawn.subplots(1, 2)
        _plane(left, exact, look, marks, lambda point: point[1])
        left.set_ylabel("expected gold reward")
        left.set_title("reward", loc="left")
        _plane(right, exact, look, marks, lambda point: _share(exact, point), LOWEST)
        right.set_ylabel("gain share")
        right.set_title("reward less the price of the KL, as gain share", loc="left")
        for axes in (left, right):
            axes.set_xlabel("KL to the reference (nats per completion, root axis)")
        legend(drawn, [look[spec] for spec in marks], _legend(marks))
        at_optimum = [look[spec].label for spec in marks if _at_optimum(exact["rows"][spec])]
        caption(drawn, _explained(exact, marks, at_optimum))
    return path


def _share(exact: Json, point: Point) -> float:
    """(E r - beta KL - J of the reference) / (J of the optimum - J of the reference)."""
    start = float(exact["reference"]["objective"])
    return (point[1] - float(exact["beta"]) * point[0] - start) / (float(exact["optimum"]["objective"]) - start)


def _at_optimum(row: Json) -> bool:
    return row["limit"] is not None and row["limit"]["gain_share"] > AT_OPTIMUM


def _marks(row: Json) -> Marks:
    """Where a spec has marks: its ends by seed and their mean, its limit where that is not the optimum, its ceiling."""
    limit = row["limit"] if row["limit"] is not None and not _at_optimum(row) else None
    return {
        "ends": _pairs(row["kl"], row["expected_reward"]),
        "mean": [(row["kl"]["value"], row["expected_reward"]["value"])],
        "limit": [(limit["kl"], limit["expected_reward"])] if limit else [],
        "ceiling": _pairs(row["ceiling"]["kl"], row["ceiling"]["expected_reward"]) if row["ceiling"] else [],
        "way": [point for way in _ways(row) for point in way],
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


def _plane(
    axes: Axes,
    exact: Json,
    look: Mapping[str, Look],
    marks: Mapping[str, Marks],
    height: Callable[[Point], float],
    lowest: float = -math.inf,
) -> None:
    """All of it at its KL and its `height`; what is below `lowest` is shown as an arrow at the edge."""

    def at(points: Sequence[Point]) -> tuple[list[float], list[float]]:
        return [x for x, _ in points], [height(point) for point in points]

    best, start = ((exact[end]["kl"], exact[end]["expected_reward"]) for end in ("optimum", "reference"))
    known = [best, start, *(point for each in marks.values() for kind in each.values() for point in kind)]
    bottom, top = _window(axes, known, [y for y in at(known)[1] if y >= lowest])
    x, y = at(_best_possible(exact))
    axes.fill_between(x, y, max(top, *y), color=GREY, alpha=0.12, linewidth=0, zorder=0)
    axes.plot(x, y, color=INK, linewidth=1.6, zorder=3)
    for spec, found in marks.items():
        colour = look[spec].colour
        style: Any = {"linestyle": "none", "marker": look[spec].marker, "color": colour}
        for way in _ways(exact["rows"][spec]):
            axes.plot(*at(way), color=colour, linestyle=look[spec].line, linewidth=0.9, alpha=0.6, zorder=2)
        if len(found["ends"]) > 1:
            axes.plot(*at(found["ends"]), **style, markersize=3.5, alpha=0.75, zorder=4)
        (kl,), (end,) = at(found["mean"])
        if end >= lowest:
            error_bars(axes, look[spec], (kl, end))
        else:
            axes.plot(kl, bottom + 0.03 * (top - bottom), linestyle="none", marker=11, markersize=9, color=colour)
        axes.plot(*at(found["limit"]), **style, markerfacecolor="none", markersize=8, markeredgewidth=1.4, zorder=5.5)
    axes.plot(*at(_ceilings(marks)), **CEILING)
    axes.plot(*at([best]), **STAR)
    axes.plot(*at([start]), **PLUS)


def _best_possible(exact: Json) -> list[Point]:
    """The frontier from the reference through the optimum, smooth: straight pieces would run below it."""
    ends = [(exact[end]["kl"], exact[end]["expected_reward"]) for end in ("reference", "optimum")]
    known = sorted({max(0.0, kl): reward for kl, reward in [*exact["frontier"], *ends]}.items())
    roots, rewards = np.sqrt([kl for kl, _ in known]), [reward for _, reward in known]
    way = np.linspace(0, roots[-1], 400)
    return list(zip((way**2).tolist(), PchipInterpolator(roots, rewards)(way).tolist(), strict=True))


def _ceilings(marks: Mapping[str, Marks]) -> list[Point]:
    """All specs of a seed have one reward model."""
    return sorted({point for each in marks.values() for point in each["ceiling"]})


def _window(axes: Axes, points: Sequence[Point], heights: Sequence[float]) -> tuple[float, float]:
    """Set the axes around these points; the lower and the upper end."""
    right = max(x for x, _ in points) * 1.12
    axes.set_xscale("function", functions=(_root, np.square))
    axes.set_xlim(-0.0006 * right, right)
    ticks: list[float] = []
    for tick in TICKS:
        place = math.sqrt(tick / right)
        last = math.sqrt(ticks[-1] / right) if ticks else -1.0
        digits = (len(f"{tick:g}") + len(f"{ticks[-1] if ticks else 0:g}")) / 2
        if last + ROOM * (digits + 1) <= place <= 1:
            ticks.append(tick)
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    room = (max(heights) - min(heights)) or 1.0
    bottom, top = min(heights) - 0.06 * room, max(heights) + 0.1 * room
    axes.set_ylim(bottom, top)
    return bottom, top


def _root(x: ArrayLike) -> NDArray[np.float64]:
    """The square root, continued below 0 so that the reference need not stand on the edge."""
    found: NDArray[np.float64] = np.sign(x) * np.sqrt(np.abs(x))
    return found


def _legend(marks: Mapping[str, Marks]) -> list[Line2D]:
    found = [
        Line2D([], [], color=INK, linewidth=1.6, label="best possible frontier"),
        Line2D([], [], label="optimum", **STAR),
        Line2D([], [], label="reference", **PLUS),
    ]
    if any(each["limit"] for each in marks.values()):
        hollow: Any = {"linestyle": "none", "marker": "o", "color": GREY, "markersize": 8, "markerfacecolor": "none"}
        found.append(Line2D([], [], label="hollow: a spec's limit", **hollow))
    if _ceilings(marks):
        found.append(Line2D([], [], label="best by the reward model", **CEILING))
    return found


def _explained(exact: Json, marks: Mapping[str, Marks], at_optimum: Sequence[str]) -> str:
    said = f"Exact sums, beta = {exact['beta']:g}. No policy lies in the grey. "
    if any(len(each["ends"]) > 1 for each in marks.values()):
        said += "Large: the mean of the seeds; small: each seed; thin: its way through training."
    else:
        said += "Large: the end of training; thin: the way there."
    if any(_share(exact, each["mean"][0]) < LOWEST for each in marks.values()):
        said += " Arrow at the edge: further below."
    return said + (f" The optimum is the limit of {', '.join(at_optimum)}." if at_optimum else "")
