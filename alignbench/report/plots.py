"""The plots that a person would put in a paper; here those of reward, in `dots` and `curves` the others."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from ..results import Json
from .curves import training
from .data_plots import write_data_plots
from .dots import agreement, capability, costs, lengths, win_rates
from .exact_plots import frontier as exact_frontier
from .exact_share import shares as exact_shares
from .heat import head_to_head
from .probes_plots import change as probes_change
from .store import Store
from .style import GREY, Look, caption, error_bars, figure, label, legend, looks
from .sweeps import temperatures, tuning

REWARD_TITLES = {"reward": "gold reward", "proxy_reward": "proxy reward (the judge's model)"}


def _explained(summaries: Sequence[Json]) -> str:
    """The caption, with the numbers of prompts behind the checkpoints and the ends."""
    points = [point for summary in summaries for curve in summary["frontier"].values() for point in curve]
    few, all_ = (sorted({point["n"] for point in points if point["final"] is final}) for final in (False, True))
    parts = [f"Curve: along training ({'/'.join(map(str, few))} prompts), mean over seeds; faint: each seed."] * bool(
        few
    )
    return " ".join([*parts, f"Large: the end ({'/'.join(map(str, all_))} prompts), 95 % intervals."])


def write_plots(store: Store, summary: Json, folder: Path) -> list[Path]:
    """Draw what there are data for into `folder`; the list says which plots those are, the most important first."""
    drawn = [
        exact_frontier(summary, folder / "exact_frontier.png"),
        exact_shares(summary, folder / "exact_share.png"),
        probes_change(summary, folder / "probes_change.png"),
        frontier([summary], folder / "frontier.png"),
        win_rates(summary, folder / "win_rates.png"),
        head_to_head(summary, folder / "head_to_head.png"),
        temperatures(summary, folder / "temperatures.png"),
        training(store, folder / "training.png"),
        proxy_gold(summary, folder / "proxy_gold.png"),
        agreement(summary, folder / "agreement.png"),
        lengths(summary, folder / "lengths.png"),
        capability(summary, folder / "capability.png"),
        tuning(summary, folder / "tuning.png"),
        costs(summary, folder / "cost.png"),
        *write_data_plots(store.doctor, folder),
    ]
    return [path for path in drawn if path is not None]


def reward_key(summary: Json) -> str | None:
    """The reward that a plot shows: gold where there is one, else the judge's reward model's, else nothing."""
    for name in ("reward", "proxy_reward"):
        if any(row[name] for row in summary["rows"]):
            return name
    return None


def frontier(summaries: Sequence[Json], path: Path) -> Path | None:
    """Reward against KL, a curve a spec. Runs whose rewards are of one scale share the axes, others stand apart."""
    shown = [summary for summary in summaries if reward_key(summary) and summary["frontier"]]
    if not shown:
        return None
    together = len(shown) == 1 or _one_scale(shown)
    panels = [shown] if together else [[summary] for summary in shown]
    names = [(summary["name"], spec) for summary in shown for spec in summary["frontier"]]
    titles = [f"{run} · {spec}" if len(shown) > 1 else spec for run, spec in names]
    look = dict(zip(names, looks(titles), strict=True))
    with figure(path, 4.6 * len(panels) + 2.2, max(4.2, 0.24 * len(names) + 1.4)) as drawn:
        axes = drawn.subplots(1, len(panels), squeeze=False)[0]
        for panel, runs in zip(axes, panels, strict=True):
            for summary in runs:
                _frontier_of(panel, summary, look)
            key = reward_key(runs[0])
            panel.set_xlabel("KL to the reference (nats per completion)")
            panel.set_ylabel(REWARD_TITLES[key or "reward"])
            if not together:
                panel.set_title(label(runs[0]["name"]), loc="left")
        legend(drawn, list(look.values()), _origin(shown, best=True))
        caption(drawn, _explained(shown))
    return path


def _one_scale(summaries: Sequence[Json]) -> bool:
    """A gold reward is one scale within a benchmark; a reward model is trained anew by every run."""
    return all(s["benchmark"] == summaries[0]["benchmark"] and reward_key(s) == "reward" for s in summaries)


def _frontier_of(axes: Axes, summary: Json, look: dict[tuple[str, str], Look]) -> None:
    key = reward_key(summary) or "reward"
    rows = {row["spec"]: row for row in summary["rows"]}
    for spec, points in summary["frontier"].items():
        _curve(axes, look[summary["name"], spec], points, rows[spec], "kl", key)
    _best_of(axes, summary, key)
    if summary["reference"][key]:
        axes.plot(
            0, summary["reference"][key]["value"], marker="+", color=GREY, markersize=9, markeredgewidth=1.6, zorder=6
        )


def _best_of(axes: Axes, summary: Json, key: str) -> None:
    """Best-of-n at the bound of its KL, each point with its n; it starts at the reference."""
    points = _best_points(summary, key)
    if not points:
        return
    x, y = [kl for kl, _, _ in points], [reward["value"] for _, reward, _ in points]
    axes.plot(x, y, color=GREY, linestyle="--", marker="x", markersize=5, linewidth=1.3, zorder=3)
    for kl, reward, n in points:
        if reward["low"] is not None:
            axes.vlines(kl, reward["low"], reward["high"], color=GREY, linewidth=0.9, zorder=3)
        if n > 1:  # 1 is the reference; the other curves tend to be on the right
            style: Any = {"fontsize": 7, "ha": "right", "color": GREY, "zorder": 6}
            axes.annotate(f"n={n}", (kl, reward["value"]), (-5, 3), textcoords="offset points", **style)


def _best_points(summary: Json, key: str) -> list[tuple[float, Json, int]]:
    rows = [row for row in summary["baselines"] if row["n"] is not None and row[key]]
    return [(row["kl"]["value"], row[key], row["n"]) for row in rows if row[key]["value"] is not None]


def _origin(summaries: Sequence[Json], best: bool = False) -> list[Line2D]:
    handles = []
    if any(summary["reference"][reward_key(summary) or "reward"] for summary in summaries):
        plus: Any = {"marker": "+", "markersize": 9, "markeredgewidth": 1.6}
        handles.append(Line2D([], [], linestyle="none", color=GREY, label="reference", **plus))
    if best and any(_best_points(summary, reward_key(summary) or "reward") for summary in summaries):
        handles.append(
            Line2D([], [], linestyle="--", marker="x", color=GREY, label="best of n of the reference\n(KL is a bound)")
        )
    return handles


def _curve(axes: Axes, look: Look, points: Sequence[Json], row: Json, x: str, y: str) -> None:
    """A spec's way through the plane of two quantities: mean and seeds, and apart from it the end with intervals.

    The checkpoints were measured on fewer prompts than the end: joined to it, they would seem to move there.
    """
    known = [point for point in points if point[x]["value"] is not None and point[y]["value"] is not None]
    way = [point for point in known if not point["final"]]
    for seeds in zip(*(zip(p[x]["per_seed"], p[y]["per_seed"], strict=True) for p in way), strict=True):
        if all(a is not None and b is not None for a, b in seeds):
            axes.plot(*zip(*seeds, strict=True), color=look.colour, alpha=0.28, linewidth=0.8, zorder=2)
    places = [[point[name]["value"] for point in way] for name in (x, y)]
    axes.plot(*places, color=look.colour, linestyle=look.line, marker=look.marker, markersize=3.5, zorder=4)
    for end in known[len(way) :]:
        x_ends, y_ends = ((row[name]["low"], row[name]["high"]) for name in (x, y))
        error_bars(axes, look, (end[x]["value"], end[y]["value"]), x_ends, y_ends)


def proxy_gold(summary: Json, path: Path) -> Path | None:
    """Gold against proxy reward along training: where a curve bends down, the proxy is being over-optimised."""
    if not all(any(row[name] for row in summary["rows"]) for name in ("reward", "proxy_reward")):
        return None
    shown = dict(zip(summary["frontier"], looks(list(summary["frontier"])), strict=True))
    rows = {row["spec"]: row for row in summary["rows"]}
    with figure(path, 6.8, max(4.2, 0.24 * len(shown) + 1.4)) as drawn:
        axes = drawn.subplots()
        for spec, points in summary["frontier"].items():
            _curve(axes, shown[spec], points, rows[spec], "proxy_reward", "reward")
        reference = summary["reference"]
        if reference["reward"] and reference["proxy_reward"]:
            at = (reference["proxy_reward"]["value"], reference["reward"]["value"])
            axes.plot(*at, marker="+", color=GREY, markersize=9, markeredgewidth=1.6, zorder=6)
        axes.set_xlabel(REWARD_TITLES["proxy_reward"])
        axes.set_ylabel(REWARD_TITLES["reward"])
        legend(drawn, list(shown.values()), _origin([summary]))
        caption(drawn, _explained([summary]))
    return path
