"""Plots of preference data, from a `doctor.json`: lengths, telling words, margins, agreement of annotators."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure

from ..doctor.findings import plural
from ..results import Json
from .data_words import couples, side_names
from .style import COLOURS, GREY, caption, figure, label
from .text import count, number

WIDTH = 7.2
LINE = 0.19  # inches of a word's bar
LETTER = 0.0135  # of the width of the bars' axes for a letter of the counts beside them
TICKS = tuple(step * 10**power for power in range(7) for step in (1, 3))  # of an axis of logarithms
GOOD, POOR = COLOURS[0], COLOURS[1]  # chosen and rejected; hatching and dashes tell them apart in a grey copy
Canvas = Figure | SubFigure


class Part(NamedTuple):
    """One plot: its height in inches, how it is drawn, what its lines and marks are."""

    title: str
    height: float
    draw: Callable[[Canvas], None]
    caption: str


def write_data_plots(found: Json | None, folder: Path) -> list[Path | None]:
    """`data_lengths.png`, `data_words.png`, `data_margins.png`, `data_agreement.png` in this order, as far as known."""
    return [_alone(name, part, folder) for name, part in _parts(found or {}).items()]


def overview(found: Json, path: Path) -> Path | None:
    """All that is known in one picture, words on the left and the others below one another on the right."""
    parts = _parts(found)
    words = parts.pop("data_words", None)
    columns = [column for column in ([words] if words else [], list(parts.values())) if column]
    if not columns:
        return None
    height = max(sum(part.height + 0.25 for part in column) for column in columns)
    said = "\n".join(f"{part.title}: {part.caption}" for column in columns for part in column)
    with figure(path, 1 + 5.2 * len(columns), height + 0.5) as drawn:
        sides = drawn.subfigures(1, len(columns), squeeze=False)[0]
        for side, column in zip(sides, columns, strict=True):
            heights = [part.height for part in column]
            places = side.subfigures(len(column), 1, squeeze=False, height_ratios=heights)[:, 0]
            for place, part in zip(places, column, strict=True):
                part.draw(place)
                place.suptitle(part.title, x=0.02, ha="left", fontsize=9.5)
        caption(drawn, said)
    return path


def _parts(found: Json) -> dict[str, Part]:
    makers: dict[str, Callable[[Json], Part | None]] = {
        "data_lengths": _lengths, "data_words": _words, "data_margins": _margins, "data_agreement": _agreement,
    }  # fmt: skip
    figures = found.get("figures") or {}
    made = {name: make(figures) for name, make in makers.items()}
    return {name: part for name, part in made.items() if part is not None}


def _alone(name: str, part: Part, folder: Path) -> Path:
    path = folder / f"{name}.png"
    with figure(path, WIDTH, part.height + 0.5) as drawn:
        part.draw(drawn)
        caption(drawn, part.caption)
    return path


def _lengths(figures: Json) -> Part | None:
    """Two histograms over the same edges, and the means.

    Where the bins grow by a factor the axis is one of logarithms, and areas are counts on it too: bins between whole
    numbers are no exact powers, and the counts alone would show teeth.
    """
    known = figures.get("lengths")
    if not known:
        return None
    names = side_names(figures)
    edges = np.asarray(known["edges"], dtype=np.float64)
    grown = _grow(edges)
    per = np.diff(np.log2(edges)) if grown else np.ones(len(edges) - 1)
    ends = edges if grown else edges - 0.5  # lengths are whole numbers: each stands in the middle of its bin

    def draw(canvas: Canvas) -> None:
        axes = canvas.subplots()
        for side, name, colour, line in zip(("chosen", "rejected"), names, (GOOD, POOR), ("-", "--"), strict=True):
            mean, heights = known[f"mean_{side}"], np.asarray(known[side]) / per
            axes.stairs(heights, ends, fill=True, color=colour, alpha=0.18, linewidth=0)
            shown = f"{name}, mean {number(mean, 1)}"
            axes.stairs(heights, ends, color=colour, linestyle=line, linewidth=1.5, label=shown)
            if mean is not None:
                axes.axvline(mean, color=colour, linestyle=line, linewidth=1.1)
        if grown:
            axes.set_xscale("log")
            filled = np.flatnonzero(np.add(known["chosen"], known["rejected"]))
            axes.set_xlim(edges[filled[0]] / 1.2, edges[filled[-1] + 1] * 1.2)
            low, high = axes.get_xlim()
            ticks = [tick for tick in TICKS if low <= tick <= high]
            axes.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
            axes.minorticks_off()
        axes.set_xlabel(f"length of a completion ({label(known['unit'])})")
        axes.set_ylabel("completions" + (" per doubling" if grown else ""))
        _legend(axes)

    longer = known.get("longer_chosen")
    share = (
        ""
        if longer is None
        else f" {names[0].capitalize()} is the longer in {_percent(longer)} of the {couples(figures)}."
    )
    empty = sum(known.get("empty") or ())
    left = f" {plural(empty, 'empty completion')} in no bin." if empty else ""
    return Part("Lengths", 2.9, draw, f"Vertical: the means.{share}{left}")


def _grow(edges: np.ndarray[Any, np.dtype[np.float64]]) -> bool:
    """Whether the bins grow by a factor."""
    widths = np.diff(edges)
    return bool(edges[0] > 0 and widths.max() > 1.5 * widths.min())


def _words(figures: Json) -> Part | None:
    """The strongest words of either side as bars, and above them how well words and length alone tell the sides."""
    words, shortcut = figures.get("words") or [], figures.get("shortcut")
    if not words and not shortcut:
        return None
    ordered = sorted(words, key=lambda word: -word["weight"])
    names = side_names(figures)
    bars = LINE * len(ordered) + 0.9
    heights = [0.95] * bool(shortcut) + [bars] * bool(ordered)

    def draw(canvas: Canvas) -> None:
        panels = list(np.atleast_1d(canvas.subplots(len(heights), 1, height_ratios=heights)))
        if shortcut:
            _told(panels.pop(0), shortcut)
        if ordered:
            _bars(panels.pop(0), ordered, names)

    said = [f"Held-out accuracy in telling {names[0]} from {names[1]}, 95 % intervals; dotted: chance."] * bool(
        shortcut
    )
    said += [f"Bars: weights of words; beside them the {names[0]} / {names[1]} completions with it."] * bool(ordered)
    return Part("Words that tell by themselves", sum(heights), draw, " ".join(said))


def _told(axes: Axes, shortcut: Json) -> None:
    rows = [("words", shortcut["accuracy"], shortcut.get("low"), shortcut.get("high"), GOOD, "o")]
    low, high = shortcut.get("baseline_low"), shortcut.get("baseline_high")
    rows.append(("length alone", shortcut.get("baseline"), low, high, GREY, "D"))
    known = [row for row in rows if row[1] is not None]
    for place, (_, value, low, high, colour, marker) in enumerate(known):
        if low is not None and high is not None:
            axes.hlines(place, low, high, color=colour, linewidth=1.5)
        axes.plot(value, place, marker=marker, color=colour, markersize=6, linestyle="none")
        _valued(axes, value, (max(value, high or 0.0), place))
    axes.axvline(0.5, color=GREY, linewidth=1, linestyle=":")
    lowest = min(0.4, *(row[2] or row[1] for row in known))
    axes.set_xlim(lowest - 0.04, 1.12)
    axes.set_xticks([tick / 10 for tick in range(math.ceil(10 * lowest), 11)])
    _rows(axes, [row[0] for row in known])
    axes.set_xlabel("accuracy")


def _bars(axes: Axes, words: Sequence[Json], names: Sequence[str]) -> None:
    weights = [word["weight"] for word in words]
    for place, word in enumerate(words):
        good = word["weight"] >= 0
        axes.barh(
            place, word["weight"], 0.72, color=GOOD if good else POOR, hatch="" if good else "////", edgecolor="white",
            linewidth=0.4,
        )  # fmt: skip
        axes.annotate(
            _counts(word),
            (word["weight"], place), (4 if good else -4, 0), textcoords="offset points", va="center",
            ha="left" if good else "right", fontsize=7, color=GREY,
        )  # fmt: skip
    axes.axvline(0, color=GREY, linewidth=0.8)
    ends = [[w for w in words if (w["weight"] >= 0) is good] for good in (False, True)]
    left, right = (LETTER * max((len(_counts(w)) + 2 for w in side), default=1) for side in ends)
    low, high = min(0.0, *weights), max(0.0, *weights)
    whole = (high - low or 1.0) / (1 - left - right)
    axes.set_xlim(low - left * whole, high + right * whole)
    _rows(axes, [label(word["word"], 20) for word in words], 7.5)
    axes.set_xlabel(f"weight ({label(names[1])} left, {label(names[0])} right)")


def _counts(word: Json) -> str:
    """In how many completions of either side a word stands; exactly, where there is room."""
    return " / ".join(f"{n:,}" if n < 100_000 else count(n) for n in (word["chosen"], word["rejected"]))


def _rows(axes: Axes, names: Sequence[str], size: float | None = None) -> None:
    """Names down the side, the first on top."""
    axes.set_yticks(range(len(names)), names, fontsize=size)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="y", visible=False)


def _margins(figures: Json) -> Part | None:
    """A histogram of the score of chosen less that of rejected; what is below 0 contradicts the label."""
    known = figures.get("margins")
    if not known:
        return None

    def draw(canvas: Canvas) -> None:
        axes = canvas.subplots()
        edges = np.asarray(known["edges"], dtype=np.float64)
        counts = np.asarray(known["counts"], dtype=np.float64)
        against = (edges[:-1] + edges[1:]) / 2 < 0
        higher = "at least as high" if known.get("tied") else "higher"
        for which, colour, hatch, name in (
            (~against, GOOD, "", f"chosen scores {higher}"),
            (against, POOR, "////", "rejected scores higher"),
        ):
            if not counts[which].any():
                continue
            axes.bar(
                edges[:-1][which], counts[which], np.diff(edges)[which], align="edge", color=colour, hatch=hatch,
                edgecolor="white", linewidth=0.4, label=name,
            )  # fmt: skip
        axes.axvline(0, color=GREY, linewidth=1, linestyle="--")
        axes.set_xlabel(f"{label(known['of'])}, chosen less rejected")
        axes.set_ylabel("pairs")
        _legend(axes)

    pairs = plural(sum(known["counts"]), "pair")
    agree = f"The {label(known['of'])} of chosen is the higher in {_percent(known['agree'])} of {pairs}."
    return Part("Margins", 2.7, draw, agree)


def _agreement(figures: Json) -> Part | None:
    """Shares and alpha as dots, each with what chance would give."""
    known = figures.get("agreement")
    if not known:
        return None
    rows = [
        ("annotators with each other", "pairwise", 0.5),
        ("all of one mind", "unanimous", None),  # by chance 2^(1 - k), and k may differ from pair to pair
        ("annotators with gold", "with_gold", 0.5),
        ("Krippendorff's alpha", "alpha", 0.0),
    ]
    shown = [(name, key, chance) for name, key, chance in rows if known[key] is not None]
    if not shown:
        return None

    def draw(canvas: Canvas) -> None:
        axes = canvas.subplots()
        for place, (_, key, chance) in enumerate(shown):
            value, low, high = (known.get(name) for name in (key, f"{key}_low", f"{key}_high"))
            if low is not None and high is not None:
                axes.hlines(place, low, high, color=GOOD, linewidth=1.5)
            axes.plot(value, place, marker="o", color=GOOD, markersize=7, linestyle="none", zorder=4)
            _valued(axes, value, (max(value, high or value), place))
            if chance is not None:
                axes.plot([chance] * 2, [place - 0.3, place + 0.3], color=GREY, linewidth=1.2, linestyle=":")
        lowest = min(0.0, *(known[key] for _, key, _ in shown))
        axes.set_xlim(lowest - 0.06, 1.25)
        axes.set_xticks([tick / 4 for tick in range(math.ceil(4 * lowest), 5)])
        _rows(axes, [name for name, _, _ in shown])
        axes.set_xlabel("share, or alpha")

    ties = known.get("ties") or {}
    of = [plural(ties.get(f"{name}s", 0), name) for name in ("vote", "pair")]
    less = f" Ties are left out ({', '.join(of)})." if any(ties.values()) else ""
    said = f"{known['pairs']:,} pairs.{less} Intervals 95 %, over prompts; dotted: what chance gives."
    return Part("Agreement of annotators", 0.75 + 0.32 * len(shown), draw, said)


def _valued(axes: Axes, value: float, at: tuple[float, float]) -> None:
    """The value in figures, right of its mark."""
    axes.annotate(number(value, 3), at, (8, 0), textcoords="offset points", va="center", fontsize=8)


def _legend(axes: Axes) -> None:
    """Above the axes, where it covers no data."""
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, borderaxespad=0.2)


def _percent(share: float | None) -> str:
    return f"{number(None if share is None else 100 * share, 1)} %"
