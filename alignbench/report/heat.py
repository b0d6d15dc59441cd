"""The head-to-head matrix as a picture: the rates stand in the cells, so that the colours need not be read."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from ..results import Json
from .style import GREY, caption, figure, label
from .text import signed

CELL = 0.62  # inches of a cell of the headline judge's matrix
SMALL = 0.36  # and of the others'
MAP = "PuOr_r"  # diverging, told apart by colour-blind readers
WITH_INTERVALS = 6  # players up to which a cell of the large matrix has room for the interval
NAMES = 22


def head_to_head(summary: Json, path: Path) -> Path | None:
    """The headline judge's matrix, or the first one's that there is, and small beside it those of the others."""
    found = summary["head_to_head"]
    if not found:
        return None
    first = summary["headline"] if summary["headline"] in found else next(iter(found))
    others = [judge for judge in found if judge != first]
    order = _order(found[first])
    size = max(4, len(order))
    across = 1 + (len(others) + 1) // 2
    width = CELL * size + 2.3 + (across - 1) * (SMALL * size + 1.7)
    height = max(CELL * size + 1.6, 2 * (SMALL * size + 1.5) * (len(others) > 1))
    reach = _reach(found.values())
    with figure(path, width, height) as drawn:
        ratios = [CELL * size + 1.0, *[SMALL * size + 1.0] * (across - 1)]
        grid = drawn.add_gridspec(2, across, width_ratios=ratios)
        _matrix(drawn.add_subplot(grid[:, 0]), first, found[first], order, reach, large=True)
        for place, judge in enumerate(others):
            rows = slice(0, 2) if len(others) == 1 else place % 2
            _matrix(drawn.add_subplot(grid[rows, 1 + place // 2]), judge, found[judge], order, reach, large=False)
        bold = "Bold: the 95 % interval leaves out one half, each cell by itself."
        known = any(found[first]["strengths"])
        logits = "Beside the names: Bradley-Terry strength in logits, mean 0." if known else ""
        caption(drawn, f"The row's win rate over the column. {bold}\n{logits}".strip())
    return path


def _order(found: Json) -> list[str]:
    """The players by their mean win rate, the best first: the matrix then falls from one corner to the other."""
    means = []
    for row in found["win_rate"]:
        known = [rate["value"] for rate in row if rate and rate["value"] is not None]
        means.append(np.mean(known) if known else 0.0)
    return [found["players"][i] for i in np.argsort(-np.array(means), kind="stable")]


def _reach(matrices: Iterable[Json]) -> float:
    """How far the colours reach on both sides of one half: as far as the rates do, at least by .15."""
    values: list[float] = [
        abs(rate["value"] - 0.5)
        for found in matrices
        for row in found["win_rate"]
        for rate in row
        if rate and rate["value"] is not None
    ]
    return max([0.15, *values])


def _matrix(axes: Axes, judge: str, found: Json, order: list[str], reach: float, large: bool) -> None:
    place = {player: i for i, player in enumerate(found["players"])}
    players = [player for player in order if player in place]
    rates = [[found["win_rate"][place[a]][place[b]] for b in players] for a in players]
    values = np.array([[np.nan if not r or r["value"] is None else r["value"] for r in row] for row in rates])
    axes.imshow(values, cmap=MAP, vmin=0.5 - reach, vmax=0.5 + reach, aspect="equal")
    axes.grid(False)
    axes.set_title(label(f"judge {judge}", 34), loc="left")
    names = [label(player, NAMES if large else 12) for player in players]
    turn: Any = {"rotation": 40, "ha": "right", "rotation_mode": "anchor"} if max(map(len, names)) > 4 else {}
    size = 8.5 if large else 6.5
    axes.set_xticks(range(len(players)), names, fontsize=size, **turn)
    beside = [_with_strength(n, found, place[p], large) for n, p in zip(names, players, strict=True)]
    axes.set_yticks(range(len(players)), beside)
    axes.tick_params(length=0, labelsize=size)
    axes.spines[:].set_visible(False)
    for i, row in enumerate(rates):
        for j, rate in enumerate(row):
            _cell(axes, i, j, rate, values[i, j], reach, large, len(players))


def _with_strength(name: str, found: Json, position: int, large: bool) -> str:
    strength = found["strengths"][position]
    return f"{name}  {signed(strength['value'], 2)}" if large and strength else name


def _luminance(shade: Sequence[float]) -> float:
    """Relative luminance (WCAG 2.2): above .179 black text has the greater contrast, below it white."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in shade[:3]]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _cell(axes: Axes, i: int, j: int, rate: Json | None, value: float, reach: float, large: bool, players: int) -> None:
    """The rate of row `i` over column `j`, with its interval where there is room."""
    if i == j:
        axes.add_patch(Rectangle((j - 0.5, i - 0.5), 1, 1, facecolor="#DDDDDD", edgecolor="none"))
        return
    if rate is None or rate["value"] is None:
        axes.text(j, i, "–", ha="center", va="center", color=GREY, fontsize=8)
        return
    clear = rate["low"] is not None and not rate["low"] <= 0.5 <= rate["high"]
    shade = colormaps[MAP]((value - 0.5 + reach) / (2 * reach))
    text: Any = {"ha": "center", "color": "white" if _luminance(shade) < 0.179 else "black"}
    shown = f"{value:.2f}".removeprefix("0")
    weight = "bold" if clear else "normal"
    if large and players <= WITH_INTERVALS and rate["low"] is not None:
        axes.text(j, i - 0.1, shown, va="center", fontsize=10, fontweight=weight, **text)
        ends = f"{rate['low']:.2f}–{rate['high']:.2f}".replace("0.", ".")
        axes.text(j, i + 0.25, ends, va="center", fontsize=6.3, **text)
    else:
        axes.text(j, i, shown, va="center", fontsize=9 if large else 6.5, fontweight=weight, **text)
