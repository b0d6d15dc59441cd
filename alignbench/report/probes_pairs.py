"""Paired differences on the same probes: of a policy from the reference, and of two policies from each other."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import combinations

import numpy as np

from .. import stats
from ..results import Json
from .comparisons import ALPHA
from .measures import Floats, generator, metric


def limited(found: Floats, at: Sequence[int], seeds: Sequence[int], unit: str, purpose: str) -> Json | None:
    """`metric` of differences `[S, P]`; those of shares have no interval beyond -1 and 1.

    Where every difference of shares is the same there is no variance to see, but a bound on what so few probes could
    hide.
    """
    share = unit == "share"
    constant = bool(np.isfinite(found).all()) and float(np.ptp(found)) == 0
    result = metric(found, at, seeds, unit, purpose, (-1.0, 1.0) if share and constant else None, bootstrap=False)
    if share and result and result["low"] is not None:
        for end, edge, beyond in (("low", -1.0, result["low"] < -1), ("high", 1.0, result["high"] > 1)):
            if beyond:
                result |= {end: edge, "method": f"{result['method']}; cut at {edge:g}, where the scale ends"}
    return result


def compare(
    found: Mapping[str, Mapping[int, Floats]],
    name: str,
    unit: str,
    enough: Callable[[Sequence[int]], bool],
    seeds: Sequence[int],
) -> list[Json]:
    """Every two specs on their common seeds; `found` holds for each spec and seed the values of the probes, `[P]`.

    Pairs with a value that is not finite are left out, and those whose seeds are not `enough`.
    """
    pairs = []
    for a, b in combinations(found, 2):
        shared = [seed for seed in seeds if seed in found[a] and seed in found[b]]
        if not shared or not enough(shared):
            continue
        first, second = (np.array([found[spec][seed] for seed in shared]) for spec in (a, b))
        if not (np.isfinite(first).all() and np.isfinite(second).all()):
            continue
        purpose = f"probes/{name}/{a}/{b}"
        shown = limited(first - second, shared, shared, unit, purpose)
        assert shown is not None
        # The p of the tests that decide about win rates, on the same differences.
        p = stats.paired_difference(first.T, second.T, generator(f"{purpose}/p")).p_headline
        kept = {key: shown[key] for key in ("value", "low", "high", "n", "unit", "method")}
        pairs.append({"a": a, "b": b, "difference": kept, "p": p, "seeds": shared})
    return pairs


def adjust(pairs: Sequence[Json]) -> None:
    """Add `p_holm` and `significant`: all these pairs answer one question."""
    for pair, adjusted in zip(pairs, stats.holm([pair["p"] for pair in pairs]), strict=True):
        pair |= {"p_holm": float(adjusted), "significant": bool(adjusted < ALPHA)}
