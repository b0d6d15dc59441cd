"""An interval for any measure of agreement."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import ArrayLike, NDArray

from .estimates import Estimate, constant, percentiles


def agreement_interval(
    a: ArrayLike,
    b: ArrayLike,
    statistic: Callable[[NDArray[Any], NDArray[Any]], float],
    rng: Generator,
    clusters: ArrayLike | None = None,
    level: float = 0.95,
    resamples: int = 2000,
) -> Estimate:
    """`statistic(a, b)` with a percentile bootstrap by item, the first axis of `a` and `b`.

    `clusters [N]` names the unit each item belongs to, and whole clusters are resampled: both orders of a pair are one
    prompt's, and as independent items they would make the interval too narrow. No interval where all resamples agree
    (perfect agreement: use `interval(..., bounds=(0, 1))` on the matches) or over 5 % are undefined.
    """
    first, second = np.asarray(a), np.asarray(b)
    names = np.arange(len(first)) if clusters is None else np.asarray(clusters)
    if not len(first) == len(second) == len(names) or len(first) == 0:
        raise ValueError(f"items must match and not be empty, got {len(first)}, {len(second)}, {len(names)} clusters")
    _, codes, sizes = np.unique(names, return_inverse=True, return_counts=True)
    order, starts = np.argsort(codes, kind="stable"), np.cumsum(sizes) - sizes
    values = np.empty(resamples)
    for i in range(resamples):
        drawn = rng.integers(len(sizes), size=len(sizes))
        many = sizes[drawn]  # where each drawn cluster starts in `order`, less where its rows start in the resample
        shift = starts[drawn] - (np.cumsum(many) - many)
        rows = order[np.arange(many.sum()) + np.repeat(shift, many)]
        values[i] = statistic(first[rows], second[rows])
    value, method = float(statistic(first, second)), f"bootstrap by {'item' if clusters is None else 'cluster'}"
    defined = values[np.isfinite(values)]
    if defined.size < 0.95 * resamples or constant(defined):
        return Estimate(value, None, None, len(first), f"{method}: resamples equal or undefined, no interval")
    return Estimate(value, *percentiles(defined, level), len(first), f"percentile {method}")
