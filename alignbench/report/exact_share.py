"""The gain share of every spec, and beside it where the rest of the gain goes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from ..results import Json
from .exact import PARTS
from .exact_words import order
from .style import COLOURS, GREY, Look, caption, error_bars, figure, label, looks
from .text import number

INK = "#222222"
NARROW = 26
LOWEST = -0.6  # a share below it would press all others together: it is written at the edge
MOST = 1.6  # so is a loss above it
# Colour and hatching, which tells the parts apart in a grey copy.
FILLS: dict[str, tuple[str, str]] = {
    "own": (COLOURS[3], "///"),
    "reward": (COLOURS[4], "\\\\\\"),
    "training": (COLOURS[0], ""),
    "data": (COLOURS[5], "..."),
    "both": (COLOURS[2], "xxx"),
    "unknown": ("#BBBBBB", ""),
}
LIMIT: Any = {
    "linestyle": "none",
    "marker": "D",
    "markersize": 5.5,
    "markerfacecolor": "none",
    "color": INK,
    "zorder": 6,
}
CEILING: Any = {**LIMIT, "marker": "v", "markersize": 6.5}


def shares(summary: Json, path: Path) -> Path | None:
    """Dots of the gain share by spec with seeds and interval, limits and ceilings; bars of where the rest goes."""
    exact = summary.get("exact")
    if not exact or not any(row["gain_share"] for row in exact["rows"].values()):
        return None
    look = dict(zip(exact["rows"], looks(list(exact["rows"])), strict=True))
    specs = order(exact)
    rows = [exact["rows"][spec] for spec in specs]
    parts = [name for name in FILLS if any(p["part"] == name and p["value"] for row in rows for p in _parts(row))]
    with figure(path, 10.6, 1.75 + 0.36 * max(len(specs), 4)) as drawn:
        left, right = drawn.subplots(1, 2, sharey=True, width_ratios=(1.25, 1))
        _axes_of_shares(left, rows)
        for place, (spec, row) in enumerate(zip(specs, rows, strict=True)):
            _share(left, look[spec], place, row)
            _rest(right, place, row, 0.6 if len(specs) > 3 else 0.3)
        left.set_yticks(range(len(specs)), [label(spec, NARROW) for spec in specs])
        left.set_ylim(len(specs) - 0.45, -0.55)
        for axes in (left, right):
            axes.tick_params(axis="y", length=0)
            axes.grid(axis="y", visible=False)
        right.axvline(0, color=GREY, linewidth=1, zorder=3)
        right.set_xlabel("1 - gain share")
        right.set_title("where the rest goes", loc="left")
        _room_for_totals(right, rows)
        drawn.legend(handles=_handles(rows, parts), loc="outside right upper")
        caption(drawn, _explained(exact, rows))
    return path


def _parts(row: Json) -> list[Json]:
    found: list[Json] = row["loss"]["parts"] if row["loss"] else []
    return found


def _axes_of_shares(axes: Axes, rows: Sequence[Json]) -> None:
    """From the lowest value that is not written at the edge to the optimum."""
    values = [value for row in rows for value in _values(row)]
    low = min([0.0, *(value for value in values if value >= LOWEST)])
    # An interval of two seeds is wider than the whole plot: it may leave it, and the caption says so.
    ends = [row["gain_share"]["low"] for row in rows if row["gain_share"] and row["gain_share"]["low"] is not None]
    low = max(LOWEST, min([low, *ends]))
    edge = 0.2 if any(value < LOWEST for value in values) else 0.06
    axes.set_xlim(low - edge * (1 - low), 1.06)
    for at, style in ((0, "-"), (1, "--")):
        axes.axvline(at, color=GREY, linewidth=1, linestyle=style, zorder=1)
    axes.set_xlabel("gain share: 0 the reference, 1 the optimum")
    axes.set_title("gain share", loc="left")


def _values(row: Json) -> list[float]:
    found = [row["gain_share"]["value"]] if row["gain_share"] else []
    found += [row["limit"]["gain_share"]] if row["limit"] else []
    return found + ([row["ceiling"]["gain_share"]["value"]] if row["ceiling"] else [])


def _share(axes: Axes, look: Look, place: int, row: Json) -> None:
    share = row["gain_share"]
    if not share:
        axes.annotate(
            "no value", (0.02, place), xycoords=("axes fraction", "data"), color=GREY, va="center", fontsize=8
        )
        return
    beyond = []
    if share["value"] >= LOWEST:
        error_bars(axes, look, (share["value"], place), (share["low"], share["high"]))
    else:
        beyond.append(number(share["value"], 2))
    seeds = [value for value in share["per_seed"] if value is not None and value >= LOWEST]
    if share["n"] > 1:
        style: Any = {"linestyle": "none", "marker": "|", "markersize": 7, "color": look.colour, "zorder": 4}
        axes.plot(seeds, [place + 0.27] * len(seeds), **style)
    ceiling = row["ceiling"]["gain_share"]["value"] if row["ceiling"] else None
    limit = row["limit"]["gain_share"] if row["limit"] else None
    for value, mark, name in ((ceiling, CEILING, "reward model"), (limit, LIMIT, "limit")):
        if value is not None and value >= LOWEST:
            axes.plot(value, place - 0.26, **mark)
        elif value is not None:
            beyond.append(f"{name} {number(value, 2)}")
    if beyond:
        text = f"◂ {', '.join(beyond)}"
        where: Any = {"xycoords": ("axes fraction", "data"), "va": "center", "fontsize": 7.5, "zorder": 7}
        axes.annotate(text, (0.01, place - 0.22), color=look.colour, **where)


def _rest(axes: Axes, place: int, row: Json, thick: float) -> None:
    """The parts one after the other, those above 0 to the right and those below to the left, and their sum."""
    if not row["loss"]:
        return
    ends = {True: 0.0, False: 0.0}
    for part in row["loss"]["parts"]:
        colour, hatch = FILLS[part["part"]]
        value = part["value"]
        start = ends[value > 0]
        axes.barh(place, value, thick, start, color=colour, hatch=hatch, edgecolor="white", linewidth=0.6, zorder=2)
        ends[value > 0] = start + value
    total = number(row["loss"]["rest"]["value"], 3 if row["loss"]["rest"]["value"] < 10 else 1)
    style: Any = {"va": "center", "fontsize": 8, "zorder": 4}
    if ends[True] > MOST:
        plain = {"boxstyle": "square,pad=0.25", "facecolor": "white", "edgecolor": "none"}
        axes.annotate(f"{total} ▸", (0.99, place), xycoords=("axes fraction", "data"), ha="right", bbox=plain, **style)
    else:
        axes.annotate(total, (ends[True], place), (4, 0), textcoords="offset points", **style)


def _room_for_totals(axes: Axes, rows: Sequence[Json]) -> None:
    right = [sum(max(0.0, part["value"]) for part in _parts(row)) for row in rows]
    left = [sum(min(0.0, part["value"]) for part in _parts(row)) for row in rows]
    end, start = min(max(right), MOST), max(min(left), -MOST)
    axes.set_xlim(start * 1.05, end + 0.2 * ((end - start) or 1.0))


def _handles(rows: Sequence[Json], parts: Sequence[str]) -> list[Line2D | Patch]:
    dot: Any = {"color": GREY, "linestyle": "none"}
    several = any(row["gain_share"] and row["gain_share"]["n"] > 1 for row in rows)
    name = "mean of the seeds" if several else "the seed"
    found: list[Line2D | Patch] = [Line2D([], [], marker="o", markersize=7, label=name, **dot)]
    if several:
        found.append(Line2D([], [], marker="|", markersize=7, label="a seed", **dot))
    if any(row["limit"] for row in rows):
        found.append(Line2D([], [], label="limit", **LIMIT))
    if any(row["ceiling"] for row in rows):
        found.append(Line2D([], [], label="best by the reward model", **CEILING))
    found += [
        Patch(facecolor=FILLS[name][0], hatch=FILLS[name][1], edgecolor="white", label=PARTS[name].split(":")[0])
        for name in parts
    ]
    return found


def _explained(exact: Json, rows: Sequence[Json]) -> str:
    said = (
        "Exact sums. Lines: 95 %, t over seeds. " if len(exact["seeds"]) > 1 else "Exact sums; one seed: no intervals. "
    )
    said += "Limit: where the objective tends with unlimited data and steps; with a reward model, what is best by it."
    if any(part["value"] < 0 for row in rows for part in _parts(row)):
        said += " Left of 0: the policy is better than what its training was heading for."
    if any(value < LOWEST for row in rows for value in _values(row)):
        said += " ◂: beyond the edge."
    return said
