"""What a plot shows, for those who cannot see it: the figures of each spec, in words."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from ..results import Json
from . import data_page, exact_page, probes_page
from .text import brackets, duration, lower, number, signed
from .tuning import by_spec, setting

Said = dict[str, str]  # by spec or judge


def describe(name: str, summary: Json) -> str:
    """`dpo: KL 2.10 [1.90, 2.30], reward ...; kto: ...`; the specs alone where a plot is more than a few figures."""
    if name in exact_page.PLOTS:
        return exact_page.describe(name, summary)
    if name in data_page.PLOTS:
        return data_page.describe(name, summary)
    if name in probes_page.PLOTS:
        return probes_page.describe(name, summary)
    said = _PLOTS[name](summary) if name in _PLOTS else {}
    found = [f"{who}: {what}" for who, what in said.items() if what]
    return "; ".join(found or [row["spec"] for row in summary["rows"]])


def _value(found: Json | None, digits: int, plus: bool = False) -> str:
    if not found or found["value"] is None:
        return "not known"
    value = signed(found["value"], digits) if plus else number(found["value"], digits)
    return f"{value} {brackets(found['low'], found['high'], digits)}".strip()


def _rows(*parts: tuple[str, str, int]) -> Callable[[Json], Said]:
    """Quantities of every row that has one of them: name in the row, title, decimals."""

    def say(summary: Json) -> Said:
        return {
            row["spec"]: ", ".join(f"{title} {_value(row[name], digits)}" for name, title, digits in parts)
            for row in summary["rows"]
            if any(row[name] for name, _, _ in parts)
        }

    return say


def _frontier(summary: Json) -> Said:
    gold = any(row["reward"] for row in summary["rows"])
    reward = ("reward", "gold reward", 2) if gold else ("proxy_reward", "proxy reward", 2)
    return _rows(("kl", "KL", 2), reward)(summary)


def _head_to_head(summary: Json) -> Said:
    found = summary["head_to_head"].get(summary["headline"])
    if not found:
        return {}
    players = found["players"]
    return {
        player: _list(f"over {other} {_value(rate, 3)}" for other, rate in zip(players, rates, strict=True) if rate)
        for player, rates in zip(players, found["win_rate"], strict=True)
    }


def _temperatures(summary: Json) -> Said:
    found = summary["temperatures"].get(summary["headline"], {}).get("reference", {})
    return {
        player: _list(f"at temperature {t} win rate {_value(rate, 3)}" for t, rate in rates.items())
        for player, rates in found.items()
    }


def _agreement(summary: Json) -> Said:
    """Against gold where there is one, else against the labels."""
    said: Said = {}
    for judge, found in summary["judges"].items():
        held_out = found["held_out"]
        both = [("gold", held_out["against_gold"]), ("the labels", held_out["against_labels"])]
        said[f"judge {judge}"] = _list(
            f"agrees with {whom} on held-out pairs {_value(known['raw'], 3)}" for whom, known in both if known
        )
    if summary["human_human"]:
        said["people"] = f"agree with one another {_value(summary['human_human']['raw'], 3)}"
    return said


def _capability(summary: Json) -> Said:
    return {
        row["spec"]: _list(
            f"{task} {name} changed by {signed(found['change'], 4)} {brackets(found['low'], found['high'], 4)}".strip()
            + lower(found["higher_is_better"])
            for task, metrics in (row["capability"] or {}).items()
            for name, found in metrics.items()
        )
        for row in summary["rows"]
    }


def _tuning(summary: Json) -> Said:
    return {
        spec: _list(f"{setting(trial)} {_value(trial, 3)}{' (chosen)' if trial['chosen'] else ''}" for trial in trials)
        for spec, trials in by_spec(summary["tuning"]).items()
    }


def _cost(summary: Json) -> Said:
    return {
        row["spec"]: _list(
            f"{phase} {duration(found['value'])}" for phase, found in row["cost"]["phases"].items() if found["value"]
        )
        for row in summary["rows"]
    }


def _list(parts: Iterable[str]) -> str:
    return ", ".join(parts)


_PLOTS: dict[str, Callable[[Json], Said]] = {
    "frontier": _frontier,
    "win_rates": _rows(("win_rate", "win rate", 3)),
    "head_to_head": _head_to_head,
    "temperatures": _temperatures,
    "proxy_gold": _rows(("proxy_reward", "proxy reward", 2), ("reward", "gold reward", 2)),
    "agreement": _agreement,
    "lengths": _rows(("length", "mean length in tokens", 1)),
    "capability": _capability,
    "tuning": _tuning,
    "cost": _cost,
}
