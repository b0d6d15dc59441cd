"""The search for hyper-parameters, told: every trial, and which was chosen for the row."""

from __future__ import annotations

from ..results import Json
from .text import brackets, number


def tuning_lines(summary: Json) -> list[str]:
    """What was searched, then a line for each spec with all its trials."""
    found = summary.get("tuning")
    if not found:
        return []
    grid = "; ".join(f"{name} = {', '.join(map(str, values))}" for name, values in found["grid"].items())
    lines = [f"grid: {grid}; the same trials for every spec, with seed {found['seed']}, chosen by {chosen_by(found)}"]
    for spec, trials in by_spec(found).items():
        lines.append(f"{spec}: " + "; ".join(_trial(trial) for trial in trials))
    return lines


def measure(found: Json) -> str:
    """The name of what trials are chosen by; an earlier version had win rates alone and did not say so."""
    return str(found.get("measure", "win_rate")).replace("_", " ")


def chosen_by(found: Json) -> str:
    """By what the best trial was chosen."""
    if measure(found) == "gain share":
        return "the exact share of what can be gained over the reference"
    return f"the win rate of judge {found['judge']} over the reference on {found['prompts']} other prompts"


def by_spec(found: Json) -> dict[str, list[Json]]:
    """The trials of each spec, in their order."""
    trials: dict[str, list[Json]] = {}
    for trial in found["trials"]:
        trials.setdefault(trial["spec"], []).append(trial)
    return trials


def setting(trial: Json) -> str:
    """The point of the grid, all of it: `learning_rate=1e-3:beta=0.1`. A spec's own name leaves out its defaults."""
    return ":".join(f"{name}={value}" for name, value in trial["point"].items())


def _trial(trial: Json) -> str:
    if trial["status"] != "done" or trial["value"] is None:
        return f"{setting(trial)} {trial['status']}" + (f" ({trial['reason']})" if trial["reason"] else "")
    exact = trial["low"] == trial["high"]
    shown = f"{number(trial['value'], 3)} {'' if exact else brackets(trial['low'], trial['high'], 3)}".strip()
    return f"{setting(trial)} {shown}" + (" (chosen)" if trial["chosen"] else "")
