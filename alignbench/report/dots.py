"""Plots with names down the side: win rates, agreement, lengths, capability, costs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from ..results import Json
from .style import COLOURS, GREY, Look, caption, error_bars, figure, label, looks
from .text import duration, lower, number

Row = tuple[str, Json | None]  # a name and its metric

WIDTH = 7.2
NARROW = 26
# The phases from left to right; the hatching tells them apart in a grey copy.
FILLS: dict[str, tuple[str, str]] = {
    "stage": ("#BBBBBB", ""),
    "train": (COLOURS[0], ""),
    "sample": (COLOURS[4], "///"),
    "score": (COLOURS[2], "..."),
    "evaluate": (COLOURS[3], "\\\\\\"),
}


def win_rates(summary: Json, path: Path) -> Path | None:
    """Win rate over the reference, a line a spec and then a baseline, a marker a judge, the headline first."""
    specs = [row["spec"] for row in summary["rows"]]
    judged = {row["spec"]: row["judges"] for row in summary["baselines"]}
    baselines = [name for name, by in judged.items() if any(_has_value(found["win_rate"]) for found in by.values())]
    judges = {
        f"judge {name}": [
            *((spec, judge["win_rate"].get(spec)) for spec in specs),
            *((other, judged[other][name]["win_rate"]) for other in baselines),
        ]
        for name, judge in summary["judges"].items()
    }
    series = {name: rows for name, rows in judges.items() if any(_has_value(found) for _, found in rows)}
    if not series:
        return None
    with figure(path, WIDTH, 1.1 + _height(len(specs) + len(baselines), len(series))) as drawn:
        axes = drawn.subplots()
        handles = _dots(axes, [*specs, *baselines], series)
        if baselines:
            axes.axhline(len(specs) - 0.5, color=GREY, linewidth=0.8, zorder=1)
        axes.axvline(0.5, color=GREY, linewidth=1, linestyle="--", zorder=1)
        axes.set_xlabel("win rate over the reference's own completions")
        drawn.legend(handles=handles, loc="outside right upper")
        caption(drawn, "Intervals of 95 %. Dashed: no better than the reference.")
    return path


def agreement(summary: Json, path: Path) -> Path | None:
    """Judges against gold and against the labels of held-out pairs, with the human-human ceiling."""
    series = _held_out_series(summary)
    names = list(dict.fromkeys(name for rows in series.values() for name, _ in rows))
    by_row = [(row["spec"], row["judge_agreement"]) for row in summary["rows"]]
    # Where there is no gold, all rows carry the one figure of the panel above.
    with_gold = any(found and "gold" in found["against"] for _, found in by_row)
    panels = ([_height(len(names), len(series))] if series else []) + ([_height(len(by_row), 1)] if with_gold else [])
    if not panels:
        return None
    with figure(path, WIDTH, 1.0 + 0.35 * len(panels) + sum(panels)) as drawn:
        grid = drawn.subplots(len(panels), 1, squeeze=False, sharex=True, height_ratios=panels)[:, 0]
        handles: list[Line2D | Patch] = []
        if series:
            handles += _dots(grid[0], names, series) + _ceiling(grid[0], summary["human_human"])
            grid[0].set_title("held-out pairs", loc="left")
            grid[0].tick_params(labelbottom=True)
        if with_gold:
            judge = label(summary["agreement_judge"], 20)
            _dots(grid[-1], [name for name, _ in by_row], {"against gold": by_row})
            grid[-1].set_title(f"judge {judge} on the samples of each spec", loc="left")
        grid[-1].set_xlabel("raw agreement (share of answers)")
        drawn.legend(
            handles=handles or [look.handle(line=False) for look in looks(["against gold"])], loc="outside right upper"
        )
        caption(drawn, "Intervals of 95 %. On held-out pairs, chance is .5.")
    return path


def _held_out_series(summary: Json) -> dict[str, list[Row]]:
    series: dict[str, list[Row]] = {}
    for key, title in (("against_gold", "against gold"), ("against_labels", "against labels")):
        found = {name: judge["held_out"][key] for name, judge in summary["judges"].items()}
        rows: list[Row] = [(f"judge {name}", each["raw"]) for name, each in found.items() if each]
        if rows and key == "against_gold" and summary["human_gold"]:
            rows.append(("humans", summary["human_gold"]["raw"]))
        if rows:
            series[title] = rows
    return series


def _ceiling(axes: Axes, human: Json | None) -> list[Line2D | Patch]:
    """Human-human agreement as a line with its interval as a band."""
    if not human:
        return []
    raw = human["raw"]
    axes.axvline(raw["value"], color=GREY, linewidth=1.4, linestyle="--", zorder=1)
    handles: list[Line2D | Patch] = [Line2D([], [], color=GREY, linewidth=1.4, linestyle="--", label="human-human")]
    if raw["low"] is not None:
        axes.axvspan(raw["low"], raw["high"], color=GREY, alpha=0.13, linewidth=0, zorder=0)
        handles.append(Patch(color=GREY, alpha=0.13, linewidth=0, label="its interval"))
    return handles


def lengths(summary: Json, path: Path) -> Path | None:
    """Lengths of the completions: quantiles as a box, the mean with its interval, the reference on top."""
    rows: list[Row] = [("reference", summary["reference"]["length"])]
    rows += [(row["spec"], row["length"]) for row in summary["rows"]]
    if not any(_has_value(found) for _, found in rows[1:]):
        return None
    shown = [Look("reference", GREY, "o", "-"), *looks([name for name, _ in rows[1:]])]
    with figure(path, WIDTH, 1.0 + _height(len(rows), 1)) as drawn:
        axes = drawn.subplots()
        for position, (look, (_, found)) in enumerate(zip(shown, rows, strict=True)):
            _box(axes, look, position, found)
        if _has_value(rows[0][1]):
            assert rows[0][1] is not None
            axes.axvline(rows[0][1]["value"], color=GREY, linewidth=1, linestyle="--", zorder=1)
        _names(axes, [name for name, _ in rows])
        axes.set_xlabel("length of a completion (tokens)")
        caption(
            drawn,
            "Thin: 5 to 95 %; box: 25 to 75 %; bar: median; marker: mean and its 95 % interval; dashed: reference.",
        )
    return path


def _box(axes: Axes, look: Look, place: int, found: Json | None) -> None:
    if not _has_value(found):
        _hole(axes, place)
        return
    assert found is not None
    if found["quantiles"]:
        low, first, median, third, high = found["quantiles"]
        axes.hlines(place, low, high, color=look.colour, linewidth=1, zorder=2)
        axes.barh(place, third - first, left=first, height=0.5, color=look.colour, alpha=0.3, zorder=2)
        axes.vlines(median, place - 0.25, place + 0.25, color=look.colour, linewidth=1.6, zorder=3)
    error_bars(axes, look, (found["value"], place), (found["low"], found["high"]), width=2.6)


def capability(summary: Json, path: Path) -> Path | None:
    """The change of each task's first metric from the reference's, a panel a task, a line a spec."""
    reference: Json = summary["capability"] or {}
    rows = [(row["spec"], row["capability"] or {}) for row in summary["rows"]]
    shown = [(task, next(iter(metrics))) for task, metrics in reference.items() if metrics]
    series = {
        key: [(spec, _change(found, *key)) for spec, found in rows]
        for key in shown
        if any(_has_value(_change(found, *key)) for _, found in rows)
    }
    if not series:
        return None
    across = min(2, len(series))
    down = math.ceil(len(series) / across)
    with figure(path, 1.9 + 2.9 * across, 0.7 + down * (0.6 + _height(len(rows), 1))) as drawn:
        grid = list(drawn.subplots(down, across, squeeze=False, sharey=True).flat)
        for axes, ((task, metric), found) in zip(grid, series.items(), strict=False):
            _dots(axes, [spec for spec, _ in rows], {metric: found})
            axes.axvline(0, color=GREY, linewidth=1, linestyle="--", zorder=1)
            axes.set_title(label(task, 38), loc="left")
            own = reference[task][metric]
            better = lower(own["higher_is_better"])
            axes.set_xlabel(label(f"change in {metric}{better} (reference: {number(own['value'], 3)})", 52))
        for axes in grid[len(series) :]:
            axes.set_visible(False)
        caption(drawn, "Policy minus reference, the mean over seeds. Intervals of 95 %.")
    return path


def _change(found: Json, task: str, metric: str) -> Json | None:
    each: Json | None = found.get(task, {}).get(metric)
    return None if each is None else each | {"value": each["change"]}


def costs(summary: Json, path: Path) -> Path | None:
    """Seconds of a seed by phase as a bar a spec; where a phase was not recorded, the bar says so."""
    found = {row["spec"]: {name: row["cost"]["phases"][name]["value"] for name in FILLS} for row in summary["rows"]}
    if all(value is None for phases in found.values() for value in phases.values()):
        return None
    with figure(path, WIDTH, 1.35 + _height(len(found), 1)) as drawn:
        axes = drawn.subplots()
        for place, phases in enumerate(found.values()):
            _stack(axes, place, phases)
        _names(axes, list(found))
        axes.set_xlim(0)
        axes.set_xlabel("seconds of a seed, the mean over seeds")
        handles = [Patch(facecolor=c, hatch=hatch, edgecolor="white", label=name) for name, (c, hatch) in FILLS.items()]
        drawn.legend(handles=handles, loc="outside right upper")
        caption(
            drawn,
            "Stage: starting model, data, and the reference's cache and the reward model where a row reads them;\n"
            "rows that share a stage have it in full each. Evaluate: along training and at the end, judges included.",
        )
    return path


def _stack(axes: Axes, place: int, phases: Json) -> None:
    left = 0.0
    for name, (colour, hatch) in FILLS.items():
        seconds = phases[name] or 0.0
        axes.barh(place, seconds, 0.6, left, color=colour, hatch=hatch, edgecolor="white", linewidth=0.6, zorder=2)
        left += seconds
    missing = [name for name, value in phases.items() if value is None]
    if len(missing) == len(phases):
        _hole(axes, place)
        return
    text = duration(left) + (f" without {', '.join(missing)}" if missing else "")
    axes.annotate(
        text,
        (left, place),
        (4, 0),
        textcoords="offset points",
        va="center",
        fontsize=8,
        backgroundcolor="white",
        zorder=1,
    )


def _dots(axes: Axes, names: Sequence[str], series: dict[str, list[Row]]) -> list[Line2D | Patch]:
    """One marker with its interval a series and name, dodged so that none covers another; returns the legend."""
    shown = looks(list(series))
    place = {name: position for position, name in enumerate(names)}
    empty = set(names)
    for position, (look, rows) in enumerate(zip(shown, series.values(), strict=True)):
        offset = (position - (len(series) - 1) / 2) * 0.7 / len(series)
        for name, found in rows:
            if _has_value(found):
                assert found is not None
                error_bars(axes, look, (found["value"], place[name] + offset), (found["low"], found["high"]))
                empty.discard(name)
    for name in empty:
        _hole(axes, place[name])
    _names(axes, names)
    return [look.handle(line=False) for look in shown]


def _names(axes: Axes, names: Sequence[str]) -> None:
    axes.set_yticks(range(len(names)), [label(name, NARROW) for name in names])
    axes.set_ylim(len(names) - 0.45, -0.55)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="y", visible=False)


def _hole(axes: Axes, place: int) -> None:
    axes.annotate("no value", (0.02, place), xycoords=("axes fraction", "data"), color=GREY, va="center", fontsize=8)


def _height(rows: int, series: int) -> float:
    """Inches for so many names with so many markers each."""
    return rows * max(0.3, 0.06 + 0.17 * series) + 0.15


def _has_value(found: Json | None) -> bool:
    return found is not None and found["value"] is not None
