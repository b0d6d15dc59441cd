"""The training curves: small multiples of whatever the objectives reported."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from .store import CellRecord, SeedRecord, Store
from .style import Look, caption, figure, label, legend, looks

TITLES = {
    "loss": "loss",
    "accuracy": "implicit reward accuracy",
    "margin": "implicit reward margin (nats)",
    "chosen_logp": "log-prob of chosen (nats)",
    "rejected_logp": "log-prob of rejected (nats)",
    "score": "score of the reward model",
    "kl": "KL on the batch (nats)",
    "entropy": "entropy (nats per token)",
    "ratio": "probability ratio",
    "clip_fraction": "share clipped",
    "approx_kl": "approximate KL of an update (nats)",
    "value_loss": "value loss",
    "grad_norm": "gradient norm",
}
BOOKKEEPING = frozenset({"step", "completions", "seconds", "learning_rate", "tokens", "sampled_tokens"})
BINS = 30  # steps are averaged into so many stretches of training: single batches are noise
PANELS = 12
ACROSS = 3


@dataclass(frozen=True)
class Curve:
    """One quantity of one spec along training: the mean over seeds, and the least and greatest seed, `[bins]` each."""

    x: NDArray[np.float64]
    mean: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]


def training(store: Store, path: Path) -> Path | None:
    """Panels for the quantities that any spec reported, each against the completions trained on."""
    names = quantities(store.cells)
    if not names:
        return None
    shown = looks([cell.spec for cell in store.cells])
    down = math.ceil(len(names) / ACROSS)
    with figure(path, 2.75 * ACROSS + 2.1, max(0.6 + 2.0 * down, 0.24 * len(shown) + 0.5)) as drawn:
        grid = list(drawn.subplots(down, ACROSS, squeeze=False, sharex=True).flat)
        for axes, name in zip(grid, names, strict=False):
            axes.set_title(label(TITLES.get(name, name), 36), loc="left")
            for look, cell in zip(shown, store.cells, strict=True):
                _draw(axes, look, curve(cell.seeds, name))
        for position, axes in enumerate(grid):
            axes.set_visible(position < len(names))
            if len(names) - ACROSS <= position < len(names):
                axes.set_xlabel("completions trained on")
                axes.tick_params(labelbottom=True)
        legend(drawn, shown)
        caption(
            drawn,
            "Line: mean over seeds; band: least to greatest seed. Losses of two objectives are not comparable.",
        )
    return path


def quantities(cells: Sequence[CellRecord]) -> list[str]:
    """What was reported: the well-known first in their order, then an objective's own by name, at most 12."""
    rows = (row for cell in cells for record in cell.seeds for row in record.steps)
    found = {name for row in rows for name, value in row.items() if isinstance(value, int | float)} - BOOKKEEPING
    return [*(name for name in TITLES if name in found), *sorted(found - set(TITLES))][:PANELS]


def curve(records: Sequence[SeedRecord], name: str) -> Curve | None:
    """A spec's curve of a quantity over the seeds that reported it, None where none did."""
    series = [(record, [row for row in record.steps if isinstance(row.get(name), int | float)]) for record in records]
    series = [(record, rows) for record, rows in series if rows]
    if not series:
        return None
    end = max(rows[-1]["completions"] for _, rows in series)
    bins = min(BINS, max(len(rows) for _, rows in series))
    means = np.full((len(series), bins), np.nan)
    for values, (_, rows) in zip(means, series, strict=True):
        place = [min(bins - 1, int(bins * (row["completions"] - 0.5) / end)) for row in rows]
        for position in set(place):
            values[position] = np.mean([row[name] for row, p in zip(rows, place, strict=True) if p == position])
    there = np.isfinite(means).any(axis=0)
    means, x = means[:, there], (np.arange(bins) + 0.5)[there] * end / bins
    return Curve(x, np.nanmean(means, axis=0), np.nanmin(means, axis=0), np.nanmax(means, axis=0))


def _draw(axes: Axes, look: Look, found: Curve | None) -> None:
    if found is None:
        return
    axes.fill_between(found.x, found.low, found.high, color=look.colour, alpha=0.15, linewidth=0)
    # A few markers: the line styles alone are hard to tell apart in a small panel.
    every = max(1, len(found.x) // 4)
    axes.plot(
        found.x, found.mean, color=look.colour, linestyle=look.line, marker=look.marker, markevery=every, markersize=4
    )
