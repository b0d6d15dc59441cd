"""How many prompts or seeds would tell two objectives apart."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np
import scipy.stats
from numpy.typing import ArrayLike

from .crossed import allowed_variances, degrees, mean_squares
from .estimates import Floats
from .pairs import differences, normal_p

MOST_PROMPTS, MOST_SEEDS = 10_000_000, 10_000
_NODES = 64  # spread points in place of random draws: the power to .003, and the same each time


@dataclass(frozen=True)
class Needed:
    """Sizes at which the difference seen would be found with chance `power`; None where no number is enough.

    `prompts` holds with as many seeds as there were, `seeds` with as many prompts; `prompts_at` is those two, (P, S).
    """

    prompts: int | None
    seeds: int | None
    prompts_at: tuple[int, int]
    difference: float
    power: float
    level: float
    method: str

    def as_dict(self) -> dict[str, object]:
        """The fields as JSON can hold them."""
        return asdict(self)


def needed(a: ArrayLike, b: ArrayLike, power: float = 0.8, level: float = 0.05) -> Needed:
    """Numbers of prompts, and of seeds, that would tell `a` from `b`, both `[P, S]` as in `paired_difference`.

    The observed mean difference and the variance components of `a - b` (between prompts, seeds and the rest, from the
    ANOVA mean squares; below 0 is 0) are taken for the truth. At a size (P', S') the mean is then normal with variance
    `prompt / P' + seed / S' + rest / (P' S')`, the mean squares are chi-square, and the power is the chance that the
    generalized p-value, on which claims rest, is at most `level`; for Holm's procedure over m pairs give `level / m`.
    With one seed it is that of the t test by prompt (noncentral t), and the number of seeds is unknown: one does not
    show how much they vary. Found to within 1 %.

    None: not even 10,000,000 prompts, or 10,000 seeds, reach the power. More prompts do not help where the seeds at
    hand vary too much, and with fewer than `1 - log2(level)` prompts the sign-flip test cannot get down to `level`. A
    difference that came out large by chance gives too small a number. Raises ValueError for malformed scores, and for
    `power` or `level` not between 0 and 1.
    """
    x = differences(a, b, 1 - level)
    if not 0 < power < 1:
        raise ValueError(f"power must lie between 0 and 1, got {power}")
    (prompts, seeds), mean = x.shape, abs(float(x.mean()))
    fewest = max(2, math.ceil(1 - math.log2(level)))
    if prompts == 1 or mean == 0:
        reason = "one prompt shows no variance" if prompts == 1 else "no difference seen"
        return Needed(None, None, (prompts, seeds), float(x.mean()), power, level, reason)
    if seeds == 1:
        variance = float(x.var(ddof=1))
        enough = _smallest(lambda n: _t_power(mean, variance, n, level) >= power, fewest, prompts, MOST_PROMPTS)
        method = "power of the t test by prompt, conditional on this seed"
        return Needed(enough, None, (prompts, seeds), float(x.mean()), power, level, method)
    ms, _ = mean_squares(x)
    parts = np.maximum([(ms[0] - ms[2]) / seeds, (ms[1] - ms[2]) / prompts, ms[2]], 0)
    enough = _smallest(lambda n: _power(mean, parts, n, seeds, level) >= power, fewest, prompts, MOST_PROMPTS)
    trained = None
    if prompts >= fewest:
        trained = _smallest(lambda n: _power(mean, parts, prompts, n, level) >= power, 2, seeds, MOST_SEEDS)
    method = "power of the generalized p-value at the observed difference and variance components"
    return Needed(enough, trained, (prompts, seeds), float(x.mean()), power, level, method)


def _smallest(reached: Callable[[int], bool], low: int, start: int, high: int) -> int | None:
    """The smallest number from `low` to `high`, to within 1 %, that is enough; near `start` it is found sooner."""
    if not reached(high):
        return None
    n = min(max(start, low), high)
    if reached(n):
        while n > low and reached(max(low, n // 2)):
            n = max(low, n // 2)
        low, high = max(low - 1, n // 2), n
    else:
        while n < high and not reached(min(2 * n, high)):
            n = min(2 * n, high)
        low, high = n, min(2 * n, high)
    while high - low > max(1, high // 100):  # low is not enough, high is
        middle = (low + high) // 2
        low, high = (low, middle) if reached(middle) else (middle, high)
    return high


def _t_power(mean: float, variance: float, prompts: int, level: float) -> float:
    if variance == 0:
        return 1.0
    critical, shift = scipy.stats.t.isf(level / 2, prompts - 1), mean * math.sqrt(prompts / variance)
    return float(scipy.stats.nct.sf(critical, prompts - 1, shift))


def _power(mean: float, parts: Floats, prompts: int, seeds: int, level: float) -> float:
    """Chance that the generalized p-value is at most `level`, for variance components `parts [3]`."""
    if not parts.any():
        return 1.0
    dfs = degrees(prompts, seeds)
    expected = parts[2] + np.array([seeds * parts[0], prompts * parts[1], 0.0])
    chi: Floats = np.asarray(scipy.stats.chi2.ppf(_points(), dfs))
    variances = allowed_variances(expected * chi / dfs, dfs, chi) / (prompts * seeds)  # seen first, then allowed
    critical = _critical_means(variances, level)
    error = math.sqrt((expected[0] + expected[1] - expected[2]) / (prompts * seeds))
    return float(np.mean(scipy.stats.norm.cdf((mean - critical) / error)))


def _critical_means(variances: Floats, level: float) -> Floats:
    """The mean `[N]` at which the p-value averaged over `variances [N, D]` is `level`.

    Newton's method for log p against the log of the mean, which is close to a line in heavy tails, where p itself is
    far from one.
    """
    z = float(scipy.stats.norm.isf(level / 2))
    found = np.log(z * np.sqrt(np.median(variances, axis=1)))
    for _ in range(60):
        means = np.exp(found)
        p = normal_p(means, variances).mean(axis=1)
        ratios = means[:, None] / np.sqrt(variances)
        slope = -np.mean(ratios * np.exp(-(ratios**2) / 2), axis=1) * math.sqrt(2 / math.pi) / p
        step = np.clip(math.log(level) - np.log(p), slope, -slope) / slope  # by one at most
        found += step
        if np.abs(step).max() < 1e-4:
            break
    return np.exp(found)


@functools.cache
def _points() -> Floats:
    """Evenly spread points in the unit cube, one axis for each mean square: `[_NODES, 3]`, none on the border."""
    points: Floats = scipy.stats.qmc.Sobol(d=3, scramble=False).random(_NODES) + 0.5 / _NODES
    return points
