"""Win rates along something that was varied: the sampling temperature, and the grid of tuning."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from ..results import Json
from .store import REFERENCE
from .style import GREY, Look, caption, figure, label, legend, looks
from .tuning import by_spec, chosen_by, measure, setting

AGAINST = {"reference": "against the reference", "chosen": "against the data's chosen"}
ACROSS = 4  # panels of tuning beside each other
NARROW = 28


def temperatures(summary: Json, path: Path) -> Path | None:
    """Win rate against temperature: a curve a spec and one of the reference, a column an opponent, a row a judge."""
    found = summary["temperatures"]
    if not found:
        return None
    opponents = [against for against in AGAINST if any(each.get(against) for each in found.values())]
    specs = [row["spec"] for row in summary["rows"]]
    look = dict(zip(specs, looks(specs), strict=True)) | {REFERENCE: Look(REFERENCE, GREY, "s", (0, (1, 1.2)))}
    players = {player for judge in found.values() for each in judge.values() for player in each}
    shown = [look[player] for player in look if player in players]
    height = max(2.5 * len(found) + 0.9, 0.24 * len(shown) + 1.2)
    with figure(path, 3.4 * len(opponents) + 2.6, height) as drawn:
        grid = drawn.subplots(len(found), len(opponents), squeeze=False, sharex=True, sharey=True)
        for axes_row, (judge, by_opponent) in zip(grid, found.items(), strict=True):
            for axes, against in zip(axes_row, opponents, strict=True):
                _curves(axes, by_opponent.get(against, {}), look)
                axes.set_title(label(f"{AGAINST[against]}, judge {judge}", 46), loc="left")
            axes_row[0].set_ylabel("win rate")
        for axes in grid[-1]:
            axes.set_xlabel("sampling temperature")
        legend(drawn, shown)
        caption(drawn, "The opponent is sampled at temperature 1. Intervals of 95 %; curves are set apart a little.")
    return path


def _curves(axes: Axes, found: Json, look: dict[str, Look]) -> None:
    axes.axhline(0.5, color=GREY, linewidth=1, linestyle="--", zorder=1)
    there = [player for player in look if player in found]
    for position, player in enumerate(there):
        known = [(float(t), rate) for t, rate in found[player].items() if rate["value"] is not None]
        # Side by side, so that intervals do not cover each other; less than a step of any sensible grid.
        shift = 0.012 * (position - (len(there) - 1) / 2)
        x, y = [t + shift for t, _ in known], [rate["value"] for _, rate in known]
        ends = [[rate["value"] if rate[end] is None else rate[end] for _, rate in known] for end in ("low", "high")]
        bars = [[abs(a - b) for a, b in zip(side, y, strict=True)] for side in ends]
        axes.errorbar(
            x, y, yerr=bars, color=look[player].colour, linestyle=look[player].line,
            marker=look[player].marker, markersize=4.5, linewidth=1.4, elinewidth=0.8, capsize=2, zorder=3,
        )  # fmt: skip


def tuning(summary: Json, path: Path) -> Path | None:
    """Every trial: a row a point of the grid, a panel a spec; what was chosen is filled."""
    found = summary["tuning"]
    trials = by_spec(found) if found else {}
    if not trials or all(trial["value"] is None for each in trials.values() for trial in each):
        return None
    points = list(dict.fromkeys(setting(trial) for each in trials.values() for trial in each))
    across = min(ACROSS, len(trials))
    row = 0.12 + 0.15 * max(point.count(":") + 1 for point in points)
    down = math.ceil(len(trials) / across)
    with figure(path, 2.1 * across + 2.2, down * (row * len(points) + 0.55) + 0.9) as drawn:
        grid = list(drawn.subplots(down, across, squeeze=False, sharex=True, sharey=True).flat)
        for axes, look, each in zip(grid, looks(list(trials), NARROW), trials.values(), strict=False):
            _trials(axes, look, {setting(trial): trial for trial in each}, points)
            axes.set_title(look.label, loc="left")
        for position, axes in enumerate(grid):
            axes.set_visible(position < len(trials))
            if position >= len(trials) - across:
                axes.tick_params(labelbottom=True)
                axes.set_xlabel(measure(found))
        names = ["\n".join(label(part, NARROW) for part in point.split(":")) for point in points]
        grid[0].set_yticks(range(len(points)), names)
        grid[0].set_ylim(len(points) - 0.45, -0.55)
        drawn.legend(handles=_handles(), loc="outside right upper")
        exact = measure(found) == "gain share"
        caption(drawn, f"Chosen by {chosen_by(found)}.{'' if exact else ' Intervals of 95 %.'}")
    return path


def _handles() -> list[Line2D]:
    style: Any = {"linestyle": "none", "marker": "o", "color": GREY}
    return [
        Line2D([], [], label="chosen", markersize=8, **style),
        Line2D([], [], label="tried", markersize=6, markerfacecolor="white", **style),
    ]


def _trials(axes: Axes, look: Look, trials: dict[str, Json], points: Sequence[str]) -> None:
    axes.axvline(0.5, color=GREY, linewidth=1, linestyle="--", zorder=1)
    axes.grid(axis="y", visible=False)
    axes.tick_params(axis="y", length=0)
    for place, point in enumerate(points):
        trial = trials.get(point)
        if trial is None or trial["value"] is None:
            text = "not tried" if trial is None else str(trial["status"])
            where: Any = {"xycoords": ("axes fraction", "data"), "va": "center"}
            axes.annotate(label(text), (0.04, place), color=GREY, fontsize=8, **where)
            continue
        ends = None if trial["low"] is None else [[trial["value"] - trial["low"]], [trial["high"] - trial["value"]]]
        axes.errorbar(
            trial["value"], place, xerr=ends, color=look.colour, marker="o", markersize=8 if trial["chosen"] else 6,
            markerfacecolor=look.colour if trial["chosen"] else "white", elinewidth=1.1, capsize=2.5, zorder=4,
        )  # fmt: skip
