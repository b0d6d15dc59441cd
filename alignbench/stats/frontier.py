"""Reward against KL to the reference: what one objective gains over another at the same distance from it."""

from __future__ import annotations

import math

import numpy as np
from numpy.random import Generator
from numpy.typing import ArrayLike

from .estimates import Estimate, Floats, checked, constant
from .seeds import seed_interval

Curve = tuple[ArrayLike, ArrayLike]


def best_of_n_kl(n: int) -> float:
    """KL from best-of-n sampling to the model sampled from, `log n - (n - 1) / n` nats (arXiv:2009.01325, app. G.3).

    An upper bound where completions can tie or repeat (arXiv:2401.01879).
    """
    if n < 1:
        raise ValueError(f"best-of-n needs n >= 1, got {n}")
    return math.log(n) - (n - 1) / n


def frontier_area(a: Curve, b: Curve, rng: Generator, level: float = 0.95, resamples: int = 2000) -> Estimate | None:
    """Area between two reward-KL curves over their common range of KL, divided by its width.

    `a` and `b` are `(kl [S, C], reward [S, C])`, the C checkpoints of S seeds, the same seeds in both; C may differ. A
    seed's reward is linear between its checkpoints in the order of their KL, and the mean of those with the same KL: no
    upper envelope, so that reward lost to over-optimisation counts. The range is that of `common_kl`. The value is the
    mean over seeds of `integral (reward_a - reward_b) dKL / width`, in the unit of the reward: what `a` gains on
    average at equal KL. Give the checkpoints of trained policies only. Reward is concave in KL (arXiv:2210.10760), so a
    line from the reference at KL 0 to the first of them would be too low, and the lower the later that one was taken.

    None where no common range of any width is left. The interval is the bootstrap by seed of `seed_interval`; none with
    one seed, or where all seeds agree. `n` is S. Raises ValueError where the shapes do not fit.
    """
    first, second = _curves(a, level), _curves(b, level)
    if len(first) != len(second):
        raise ValueError(f"both frontiers need the same seeds, got {len(first)} and {len(second)}")
    low, high = _range(first + second)
    if low >= high:
        return None
    areas = np.empty(len(first))
    for s, ((kl_a, reward_a), (kl_b, reward_b)) in enumerate(zip(first, second, strict=True)):
        knots = np.unique(np.clip(np.concatenate([kl_a, kl_b]), low, high))  # both ends too: every curve reaches them
        gain = np.interp(knots, kl_a, reward_a) - np.interp(knots, kl_b, reward_b)
        areas[s] = np.trapezoid(gain, knots) / (high - low)  # exact: both are linear between knots
    return _over_seeds(areas, rng, level, resamples)


def common_kl(*kls: ArrayLike) -> tuple[float, float] | None:
    """`[max min kl, min max kl]`: from below and from above, every seed of every curve has measured up to these KLs.

    Each of `kls` is `[S, C]`. None where the curves have no KL in common; the ends are equal where they have one only.
    """
    low, high = _range([row for kl in kls for row in _curves((kl, kl), 0.95)])
    return (low, high) if low <= high else None


def reward_at_kl(
    kl: ArrayLike, reward: ArrayLike, at: float, rng: Generator, level: float = 0.95, resamples: int = 2000
) -> Estimate | None:
    """Mean over seeds of the reward at KL `at`, on the curves of `frontier_area`; `kl` and `reward` are `[S, C]`.

    None where a seed does not reach `at`, or only from beyond: a mean over the others would be one over other seeds at
    each KL. Interval, `n` and errors are those of `frontier_area`.
    """
    curves = _curves((kl, reward), level)
    if not all(x[0] <= at <= x[-1] for x, _ in curves):
        return None
    return _over_seeds(np.array([np.interp(at, x, y) for x, y in curves]), rng, level, resamples)


def _range(curves: list[tuple[Floats, Floats]]) -> tuple[float, float]:
    return float(max(kl[0] for kl, _ in curves)), float(min(kl[-1] for kl, _ in curves))


def _curves(curve: Curve, level: float) -> list[tuple[Floats, Floats]]:
    """Each seed's KL, sorted and without repetitions, with the mean reward at each."""
    kl, reward = (checked(x, level, "seeds, checkpoints") for x in curve)
    if kl.shape != reward.shape:
        raise ValueError(f"KL and reward need one shape, got {kl.shape} and {reward.shape}")
    found = []
    for x, y in zip(kl, reward, strict=True):
        points, where, count = np.unique(x, return_inverse=True, return_counts=True)
        found.append((points, np.bincount(where, weights=y) / count))
    return found


def _over_seeds(values: Floats, rng: Generator, level: float, resamples: int) -> Estimate:
    value, seeds = float(values.mean()), len(values)
    if seeds == 1 or constant(values):
        return Estimate(value, None, None, seeds, f"{'one seed' if seeds == 1 else 'all seeds equal'}: no interval")
    refits = values[rng.integers(seeds, size=(resamples, seeds))].mean(axis=1)
    low, high = seed_interval(value, refits, seeds, level)
    return Estimate(value, low, high, seeds, "bootstrap by seed, stretched for few seeds")
