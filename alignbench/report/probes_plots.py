"""What training did to the answers: a panel a group and quantity, a line a spec, the reference as a line through it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from ..results import Json
from .probes_words import Measure, measures
from .style import GREY, Look, caption, error_bars, figure, label, looks

NARROW = 24
ACROSS = 4  # panels side by side
TITLE = 31  # characters of a title that fit over a panel
ROOM = 2.5  # an interval beyond so many times the spread of the values leaves the panel


def change(summary: Json, path: Path) -> Path | None:
    """Dots with intervals of each measure by spec, a tick for each seed; dashed, with a band, the reference."""
    probes = summary.get("probes")
    if not probes or not any(row["groups"] for row in probes["rows"].values()):
        return None
    specs = list(probes["rows"])
    shown = dict(zip(specs, looks(specs), strict=True))
    with panels(path, measures(probes), 0.7 + 0.27 * len(specs)) as (drawn, found):
        several = False
        cut = False
        for axes, measure in found:
            metrics = {spec: measure.value(row) for spec, row in probes["rows"].items()}
            cut |= _window(axes, measure, probes["reference"], [each for each in metrics.values() if each])
            _reference(axes, measure.before(probes["reference"]))
            for place, (spec, metric) in enumerate(metrics.items()):
                _dot(axes, shown[spec], place, metric)
                several |= bool(metric) and sum(v is not None for v in (metric or {})["per_seed"]) > 1
            place_of = axes.get_subplotspec()
            named = place_of is not None and place_of.is_first_col()
            axes.set_yticks(range(len(specs)), [label(spec, NARROW) if named else "" for spec in specs])
            axes.set_ylim(len(specs) - 0.45, -0.55)
            axes.tick_params(axis="y", length=0)
            axes.grid(axis="y", visible=False)
            axes.set_xlabel(measure.unit, fontsize=8)
        drawn.legend(handles=_handles(several), loc="outside right upper")
        caption(drawn, _explained(probes, several, cut))
    return path


@contextmanager
def panels(path: Path, shown: Sequence[Measure], height: float) -> Iterator[tuple[Figure, list[tuple[Axes, Measure]]]]:
    """A figure with a titled panel for each measure, `height` inches each: every group begins a line of panels."""
    groups: dict[str, list[Measure]] = {}
    for measure in shown:
        groups.setdefault(measure.group, []).append(measure)
    across = min(ACROSS, max(len(each) for each in groups.values()))
    lines = [each[i : i + across] for each in groups.values() for i in range(0, len(each), across)]
    with figure(path, 3.2 + 2.3 * across, 0.9 + (height + 0.35) * len(lines)) as drawn:
        grid = drawn.subplots(len(lines), across, squeeze=False)
        found = []
        for row, line in zip(grid, lines, strict=True):
            for axes in row[len(line) :]:
                axes.set_visible(False)
            for axes, measure in zip(row, line, strict=False):
                title = label(measure.title, 20)
                axes.set_title(f"{label(measure.group, TITLE - len(title))} · {title}", loc="left", fontsize=8.5)
                found.append((axes, measure))
        yield drawn, found


def _window(axes: Axes, measure: Measure, reference: Json, found: Sequence[Json]) -> bool:
    """Set the axis around what the panel shows; whether an interval goes on beyond it."""
    before = measure.before(reference)
    values = [each["value"] for each in (*found, *([before] if before else []))]
    values += [value for each in found for value in each["per_seed"] if value is not None]
    ends = [end for each in found for end in (each["low"], each["high"]) if end is not None]
    low, high = window(values, ends, measure.of == "token")
    axes.set_xlim(low, high)
    axes.locator_params(axis="x", nbins=5)
    return any(not low <= end <= high for end in ends)


def window(values: Sequence[float], ends: Sequence[float], cut: bool) -> tuple[float, float]:
    """The ends of an axis around the values and their intervals; with `cut`, as far as these are not much wider."""
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    spread = max(high - low, 0.05)
    start, stop = min([low, *ends]), max([high, *ends])
    if cut:  # of shares no interval is wider than their scale
        start, stop = max(start, low - ROOM * spread), min(stop, high + ROOM * spread)
    room = 0.06 * max(stop - start, 0.05)
    return start - room, stop + room


def _reference(axes: Axes, before: Json | None) -> None:
    if before is None:
        return
    axes.axvline(before["value"], color=GREY, linewidth=1.2, linestyle="--", zorder=1)
    if before.get("low") is not None:
        axes.axvspan(before["low"], before["high"], color=GREY, alpha=0.13, linewidth=0, zorder=0)


def _dot(axes: Axes, look: Look, place: int, found: Json | None) -> None:
    if not found:
        style: Any = {"xycoords": ("axes fraction", "data"), "va": "center", "fontsize": 8}
        axes.annotate("no value", (0.02, place), color=GREY, **style)
        return
    error_bars(axes, look, (found["value"], place), (found["low"], found["high"]))
    seeds = [value for value in found["per_seed"] if value is not None]
    if len(seeds) > 1:
        at = np.full(len(seeds), place + 0.3)
        axes.plot(seeds, at, linestyle="none", marker="|", markersize=5, color=look.colour, zorder=4)


def _handles(several: bool) -> list[Line2D | Patch]:
    dot: Any = {"color": GREY, "linestyle": "none"}
    found: list[Line2D | Patch] = [Line2D([], [], marker="o", markersize=7, label="after", **dot)]
    found += [Line2D([], [], marker="|", markersize=7, label="a seed", **dot)] * several
    found.append(Line2D([], [], color=GREY, linewidth=1.2, linestyle="--", label="reference"))
    return [*found, Patch(color=GREY, alpha=0.13, linewidth=0, label="its interval")]


def _explained(probes: Json, several: bool, cut: bool) -> str:
    one = f"probes, seed {probes['seeds'][0]} alone" if len(probes["seeds"]) == 1 else "probes"
    said = f"Lines: 95 % intervals over {'probes and seeds' if several else one}. Log-prob: of the followed answers. "
    said += "Forgotten: of the answers that the reference had exactly right."
    return said + (" Some intervals go on beyond the panel." if cut else "")
