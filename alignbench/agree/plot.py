"""Agreement as a forest plot: a row for people and for each judge, raw on the left, kappa on the right."""

from __future__ import annotations

from pathlib import Path

from matplotlib.axes import Axes

from ..report.style import GREY, Look, caption, figure, label, looks
from ..results import Json

SERIES = {"every": "every answer", "decided": "without ties and what is unusable"}
TITLES = {"raw": "raw agreement", "kappa": "Cohen's kappa"}


def agreement_plot(summary: Json, path: Path) -> Path | None:
    """Draw it; None where nothing agrees with anything, as with one label a pair and no judge."""
    rows = _rows(summary)
    if not rows:
        return None
    path.parent.mkdir(parents=True, exist_ok=True)
    with figure(path, 8.4, 1.7 + 0.45 * len(rows)) as drawn:
        panels = drawn.subplots(1, 2, sharey=True)
        for axes, (key, title) in zip(panels, TITLES.items(), strict=True):
            _panel(axes, rows, key)
            axes.set_title(title, loc="left")
        panels[0].set_xlim(0, 1.02)
        panels[0].set_yticks(range(len(rows)), [label(name, 34) for name, _ in rows])
        panels[0].set_ylim(len(rows) - 0.45, -0.55)
        drawn.legend(handles=[look.handle(line=False) for look in _looks()], loc="outside upper right", ncols=2)
        ceiling = " Dashed: people with each other." if summary["humans"]["pooled"] else ""
        caption(drawn, f"Intervals of 95 %, by prompt. Dotted: chance.{ceiling}")
    return path


def _rows(summary: Json) -> list[tuple[str, Json]]:
    humans = summary["humans"]
    found = [("people, every two", humans["pooled"]), ("people, one and most others", humans["leave_one_out"])]
    found += [(name, judge["label"]) for name, judge in summary["judges"].items()]
    return [(name, rows) for name, rows in found if rows]


def _looks() -> list[Look]:
    return looks(list(SERIES.values()), 40)


def _panel(axes: Axes, rows: list[tuple[str, Json]], key: str) -> None:
    for place, (_, found) in enumerate(rows):
        for offset, look, treatment in zip((-0.14, 0.14), _looks(), SERIES, strict=True):
            part = found[treatment]
            if part and part[key] and part[key]["value"] is not None:
                _mark(axes, look, part[key], place + offset)
    axes.grid(axis="y", visible=False)
    axes.tick_params(axis="y", length=0)
    if key == "kappa":
        axes.axvline(0, color=GREY, linewidth=1, linestyle=":", zorder=1)
        low, high = axes.get_xlim()
        axes.set_xlim(min(low, -0.02), max(high, 1.02))
    if rows[0][0].startswith("people, every two"):
        ceiling = rows[0][1]["every"][key]
        axes.axvline(ceiling["value"], color=GREY, linewidth=1.2, linestyle="--", zorder=1)


def _mark(axes: Axes, look: Look, found: Json, place: float) -> None:
    """A value and its interval, which a larger marker would hide where it is narrow."""
    value, low, high = found["value"], found["low"], found["high"]
    if low is not None and high is not None:
        axes.hlines(place, low, high, color=look.colour, linewidth=1.5, zorder=4)
        axes.vlines((low, high), place - 0.07, place + 0.07, color=look.colour, linewidth=1.2, zorder=4)
    axes.plot(value, place, color=look.colour, marker=look.marker, markersize=4.5, zorder=5)
