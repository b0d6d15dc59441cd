"""From the figures of every run to rates, medians and ratios."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import Any

from ..results import Json
from .settings import TOLERANCE, Settings

EPOCHS = (1, 3)


def summarise(settings: Settings, runs: dict[str, list[Json]], failed: dict[str, str]) -> Json:
    """Medians with the least and the most of each contender, and ratios taken within a repetition.

    One epoch is the reference pass and one round of training over the same items; three epochs take the reference pass
    once where it is computed beforehand: items a second = e N / (reference + e training).
    """
    ours, *others = runs
    rates = {name: [_rates(run) for run in found] for name, found in runs.items()}
    checks = {name: _check(settings, runs[ours], runs[name]) for name in others if runs[name]}
    return {
        "unit": settings.unit,
        "tolerance": TOLERANCE[settings.dtype],
        "contenders": {name: _spreads(found) | {"how": runs[name][0]["how"]} for name, found in rates.items() if found},
        "ratios": {name: _ratios(rates[ours], rates[name]) if checks[name]["same_loss"] else None for name in checks},
        "checks": checks,
        "failed": failed,
    }


def _rates(run: Json) -> dict[str, float]:
    """Rates of one run; its first round warmed up and does not count."""
    timed = run["round_seconds"][1:]
    items = run["round_items"] * len(timed)
    training = sum(timed) / items
    reference = run["reference_seconds"] / run["reference_items"]
    flops = run["round_flops"] / items
    reference_flops = run["reference_flops"] / run["reference_items"]
    steps = len(run["tokens"]) // len(run["round_seconds"])  # of each round
    matrix = median(run["matrix_rates"])
    found = {f"rate_{epochs}": epochs / (reference + epochs * training) for epochs in EPOCHS}
    phases = {f"phase_{name}": seconds / len(timed) for name, seconds in run["phases"].items()}
    return {
        **found,
        **phases,
        "tokens": sum(run["tokens"][steps::steps]) / items / (reference + training),
        "training_seconds": sum(timed) / len(timed),
        "reference_seconds": reference * run["round_items"],
        "memory": run["peak_memory_bytes"],
        "matrix": matrix,
        "share": (flops + reference_flops) / (reference + training) / matrix,
        # A live reference is computed within the rounds, so that its arithmetic belongs to them.
        "training_share": (flops + (0 if reference else reference_flops)) / training / matrix,
    }


def _spreads(found: Sequence[dict[str, float]]) -> Json:
    return {name: _spread([rates[name] for rates in found]) for name in found[0]}


def _spread(values: Sequence[float]) -> Json:
    return {"median": median(values), "least": min(values), "most": max(values)}


def _ratios(ours: Sequence[dict[str, float]], theirs: Sequence[dict[str, float]]) -> Json:
    """How many times as fast we are, and our memory as a share of theirs, each from runs that followed each other."""
    pairs = list(zip(ours, theirs, strict=False))
    ratios: Json = {
        f"rate_{epochs}": _spread([a[f"rate_{epochs}"] / b[f"rate_{epochs}"] for a, b in pairs]) for epochs in EPOCHS
    }
    return ratios | {"memory": _spread([a["memory"] / b["memory"] for a, b in pairs])}


def _check(settings: Settings, ours: Sequence[Json], theirs: Sequence[Json]) -> dict[str, Any]:
    """Whether another contender met the same tokens and had the same loss before the first step, in every run."""
    allowed = TOLERANCE[settings.dtype]
    first = [(a["losses"][0], b["losses"][0]) for a, b in zip(ours, theirs, strict=False)]
    worst = max(abs(a - b) / max(1.0, abs(a)) for a, b in first)
    later = [abs(a - b) for one, two in zip(ours, theirs, strict=False) for a, b in _later(one, two)]
    tokens = (ours[0]["tokens"][0], theirs[0]["tokens"][0])
    return {
        "first_losses": list(first[0]),
        "first_tokens": list(tokens),
        "difference": worst,
        "difference_later": max(later, default=None),
        "same_tokens": ours[0]["tokens"] == theirs[0]["tokens"],
        "same_loss": tokens[0] == tokens[1] and worst <= allowed,
    }


def _later(one: Json, two: Json) -> list[tuple[float, float]]:
    return list(zip(one["losses"][1:], two["losses"][1:], strict=False))
