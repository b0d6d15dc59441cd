"""Statistics of figures that are exact for each seed: the seeds are the only sample there is."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import scipy.stats

from .. import stats
from ..results import Json

LEVEL = 0.95
ALPHA = 0.05
Ends = tuple[float | None, float | None]  # of a scale
OPEN: Ends = (None, None)


def over_seeds(found: Mapping[int, float], seeds: Sequence[int], unit: str, ends: Ends = OPEN) -> Json | None:
    """The mean of one exact value a seed, with its 95 % t interval; None where no seed has one.

    `mean ± t_(.975, S - 1) sd / sqrt(S)`, cut at the `ends` of the scale. One seed has none: it says nothing of others.
    `per_seed` follows `seeds`, `n` is the number of seeds.
    """
    if not found:
        return None
    values = np.array([found[seed] for seed in seeds if seed in found], dtype=np.float64)
    low, high, method = _interval(values, ends)
    return {
        "value": float(values.mean()),
        "low": low,
        "high": high,
        "n": len(values),
        "per_seed": [found.get(seed) for seed in seeds],
        "unit": unit,
        "method": method,
    }


def _interval(
    values: np.ndarray[tuple[int], np.dtype[np.float64]], ends: Ends
) -> tuple[float | None, float | None, str]:
    n, mean = len(values), float(values.mean())
    if n == 1:
        return None, None, "exact for this seed; one seed: no interval"
    if np.ptp(values) <= 1e-12 * np.abs(values).max():
        return None, None, f"exact for each of {n} seeds, all equal: no interval"
    half = times(n) * float(values.std(ddof=1))
    low, high, method = mean - half, mean + half, f"exact for each seed; t over {n} seeds"
    if n == 2:  # one degree of freedom: such an interval must not be mistaken for one of many seeds
        method += f", {half / np.ptp(values):.1f} times the distance of the two to either side"
    if ends[0] is not None and low < ends[0]:
        low, method = ends[0], f"{method}; cut at {ends[0]:g}, which nothing is below"
    if ends[1] is not None and high > ends[1]:
        high, method = ends[1], f"{method}; cut at {ends[1]:g}, which nothing is above"
    return low, high, method


def times(seeds: int) -> float:
    """Half the width of the interval in standard deviations over seeds: `t_(.975, S - 1) / sqrt(S)`, 9.0 of two."""
    return float(scipy.stats.t.ppf((1 + LEVEL) / 2, seeds - 1)) / math.sqrt(seeds)


def compare(
    a: str, b: str, first: Mapping[int, float], second: Mapping[int, float], seeds: Sequence[int]
) -> Json | None:
    """`a` minus `b` on the seeds that both have: paired t interval and two-sided p; None where they share no seed.

    Of one seed there is the difference and no p. Where every seed shows the same difference t is not defined: p is 1
    where that is none, else None.
    """
    shared = [seed for seed in seeds if seed in first and seed in second]
    difference = over_seeds({seed: first[seed] - second[seed] for seed in shared}, shared, "share")
    if difference is None:
        return None
    p: float | None = None
    if difference["low"] is not None:
        # The interval's own statistic: the two say the same.
        p = float(scipy.stats.ttest_1samp(difference["per_seed"], 0.0).pvalue)
    elif len(shared) > 1 and difference["value"] == 0:
        p = 1.0
    shown = {key: difference[key] for key in ("value", "low", "high", "n", "unit", "method")}
    return {"a": a, "b": b, "metric": "gain_share", "difference": shown, "p": p, "seeds": shared}


def adjust(found: Sequence[Json]) -> None:
    """Add `p_holm` and `significant` to each comparison, over all that have a p."""
    tested = [each for each in found if each["p"] is not None]
    for each in found:
        each |= {"p_holm": None, "significant": False}
    for each, adjusted in zip(tested, stats.holm([each["p"] for each in tested]), strict=True):
        each |= {"p_holm": float(adjusted), "significant": bool(adjusted < ALPHA)}
