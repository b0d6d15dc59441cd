"""Intervals and paired tests: pure functions on arrays.

Scores are `[P, S]`, one per prompt and seed. Both are samples: the estimand is the mean over the prompts and the seeds
that could have been drawn, so a hundred thousand prompts do not make up for one seed. Randomness comes from the `rng`
that is passed in. Malformed arguments (wrong shape, NaN, an empty axis) raise `ValueError`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import scipy.special
import scipy.stats
from numpy.random import Generator
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

_EXACT = 12  # up to 2^12 sign patterns are enumerated
_CELLS = 4_000_000  # resampled cells held at once


@dataclass(frozen=True)
class Estimate:
    """A value with its interval; `low` and `high` are None where the data define none, and `method` says why.

    `n` counts scores (P x S) or rated items, not independent units.
    """

    value: float
    low: float | None
    high: float | None
    n: int
    method: str

    def as_dict(self) -> dict[str, float | int | str | None]:
        """The fields as JSON can hold them: NaN and infinities become None."""
        return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in asdict(self).items()}


@dataclass(frozen=True)
class Difference(Estimate):
    """`a - b` with the p-values of `paired_difference`; claims rest on `p_headline`."""

    p_value: float
    p_value_t: float | None
    p_headline: float


def interval(
    scores: ArrayLike, rng: Generator, level: float = 0.95, *, bounds: tuple[float, float] | None = None
) -> Estimate:
    """Mean of `scores [P, S]` over prompts and seeds, with its confidence interval.

    S >= 2: two-way crossed random effects, one observation a cell, from the ANOVA mean squares:
    `Var(mean) = (MS_prompt + MS_seed - MS_residual) / (P S)`, Satterthwaite degrees of freedom (Biometrics Bulletin 2,
    1946; Searle, Casella, McCulloch, Variance Components, 1992, ch. 4). A component estimated below 0 is set to 0.
    S = 1: BCa bootstrap by prompt (Efron, JASA 82, 1987); it knows nothing of the variance between seeds.

    `bounds` are the ends of the scale, (0, 1) for a win rate. With them the t interval is built on the logit scale
    (delta method): it stays inside and follows the skew near an end. Simulated coverage of 95 % intervals on win rates
    is .92 to .98 with three seeds or more, but .87 to .98 with two: one degree of freedom says little of the seeds.

    Degenerate scores: one prompt has no interval. Equal scores show no variance, which is not the absence of any: no
    interval without `bounds`; with them, at most a share `1 - (alpha/2)^(1/P)` of the prompts (Clopper, Pearson 1934)
    would score otherwise, and the interval spans what they could do. 30 wins of 30 give [.884, 1].
    """
    x = _scores(scores, level)
    mean, (prompts, seeds) = float(x.mean()), x.shape
    if bounds is not None and not bounds[0] <= x.min() <= x.max() <= bounds[1]:
        raise ValueError(f"scores from {x.min():g} to {x.max():g} leave the bounds {bounds}")
    if _constant(x):
        if bounds is None:
            return Estimate(mean, None, None, x.size, "all scores equal: no interval")
        share = 1 - float(((1 - level) / 2) ** (1 / prompts))
        method = "all scores equal: exact binomial bound by prompt, conditional on these seeds"
        return Estimate(mean, mean - share * (mean - bounds[0]), mean + share * (bounds[1] - mean), x.size, method)
    if prompts == 1:
        return Estimate(mean, None, None, x.size, "one prompt: no interval")
    if seeds == 1:
        method = "BCa bootstrap by prompt, conditional on this seed"
        return Estimate(mean, *_bca(x[:, 0], rng, level), x.size, method)
    error, df = _crossed(x)
    half = float(scipy.stats.t.ppf((1 + level) / 2, df)) * error
    method = "crossed random effects, Satterthwaite t"
    if bounds is None:
        return Estimate(mean, mean - half, mean + half, x.size, method)
    start, width = bounds[0], bounds[1] - bounds[0]
    share = (mean - start) / width  # strictly inside (0, 1), since the scores are not all equal
    step = half / width / (share * (1 - share))
    ends = start + width * scipy.special.expit(scipy.special.logit(share) + np.array([-step, step]))
    return Estimate(mean, float(ends[0]), float(ends[1]), x.size, f"{method} on the logit scale")


def bootstrap_interval(scores: ArrayLike, rng: Generator, resamples: int = 2000, level: float = 0.95) -> Estimate:
    """Percentile bootstrap of the mean of `scores [P, S]`, prompts and seeds resampled independently of each other.

    Owen, "The pigeonhole bootstrap" (Annals of Applied Statistics 1, 2007). Shown beside `interval`, not instead of it:
    from few seeds it is too narrow (a resample of two has half their variance). With one seed, of prompts only.
    """
    x = _scores(scores, level)
    prompts, seeds = x.shape
    if _constant(x) or prompts == 1:
        method = "all scores equal: no interval" if _constant(x) else "one prompt: no interval"
        return Estimate(float(x.mean()), None, None, x.size, method)
    means = []
    for count in _blocks(resamples, prompts):  # a resample is how often each prompt and each seed was drawn
        by_prompt = rng.multinomial(prompts, np.full(prompts, 1 / prompts), size=count)
        by_seed = rng.multinomial(seeds, np.full(seeds, 1 / seeds), size=count)
        means.append(np.sum((by_prompt @ x) * by_seed, axis=1) / x.size)
    method = "percentile bootstrap by prompt" + (" and seed" if seeds > 1 else ", conditional on this seed")
    return Estimate(float(x.mean()), *_percentiles(np.concatenate(means), level), x.size, method)


def paired_difference(
    a: ArrayLike, b: ArrayLike, rng: Generator, level: float = 0.95, resamples: int = 9999
) -> Difference:
    """Difference of means of `a` and `b`, both `[P, S]` on the same prompts and seeds in the same order.

    The interval is that of `interval` on `a - b`, without bounds, so that it and `p_value_t` say the same.

    `p_value`: two-sided sign-flip of the per-prompt mean differences. All patterns are enumerated when at most 12
    prompts differ, else `(1 + k) / (1 + resamples)` (Phipson, Smyth 2010). Valid for the trained seeds at hand, and it
    *ignores the variance between seeds*: a seed that lifts `a` on every prompt moves all differences at once, which no
    flipping of prompts undoes. In simulated studies of 200 x 5 with a seed effect of .8 logits it called two equal
    objectives different in .7 of them.
    `p_value_t`: the t test of the interval, which counts that variance; with one seed, the paired t test by prompt.
    None where it is undefined. It takes the estimated variance at its word far out in the tail, where Holm's procedure
    reads it: with three seeds, up to .14 of studies made a false claim about some pair of three equal objectives.
    `p_headline`: the larger of `p_value` and, with several seeds, the generalized p-value (Tsui, Weerahandi, JASA 84,
    1989), which averages the normal test over the variances that the mean squares allow: .06 at most, with two to five.
    """
    first, second = _scores(a, level), _scores(b, level)
    if first.shape != second.shape:
        raise ValueError(f"paired scores need one shape, got {first.shape} and {second.shape}")
    x = first - second
    x[np.abs(x) <= 1e-12 * max(np.abs(first).max(), np.abs(second).max())] = 0.0  # what rounding leaves of equal scores
    mean = interval(x, rng, level)
    p_value, how = _sign_flip(x.mean(axis=1), rng, resamples)
    p_headline = max(p_value, _generalized_p(x, rng)) if min(x.shape) > 1 else p_value
    fields = (mean.value, mean.low, mean.high, mean.n, f"{mean.method}; {how}")
    return Difference(*fields, p_value=p_value, p_value_t=_p_value_t(x), p_headline=p_headline)


def holm(p_values: ArrayLike) -> Floats:
    """Adjusted p-values of Holm's step-down procedure (Scandinavian Journal of Statistics 6, 1979), in the given order.

    With p sorted upwards, `adjusted_(i) = max_{j <= i} min(1, (m - j + 1) p_(j))`: comparing them with alpha bounds the
    chance of even one false claim among the `m` by alpha, whatever their dependence.
    """
    p = np.asarray(p_values, dtype=np.float64)
    if p.ndim != 1 or not np.all((p >= 0) & (p <= 1)):
        raise ValueError("p-values must be a list of numbers from 0 to 1")
    order = np.argsort(p)
    adjusted: Floats = np.minimum(1, np.maximum.accumulate(p[order] * np.arange(p.size, 0, -1)))
    return adjusted[np.argsort(order)]


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
    members = np.split(np.argsort(codes, kind="stable"), np.cumsum(sizes)[:-1])
    values = np.empty(resamples)
    for i in range(resamples):
        rows = np.concatenate([members[j] for j in rng.integers(len(members), size=len(members))])
        values[i] = statistic(first[rows], second[rows])
    value, method = float(statistic(first, second)), f"bootstrap by {'item' if clusters is None else 'cluster'}"
    defined = values[np.isfinite(values)]
    if defined.size < 0.95 * resamples or _constant(defined):
        return Estimate(value, None, None, len(first), f"{method}: resamples equal or undefined, no interval")
    return Estimate(value, *_percentiles(defined, level), len(first), f"percentile {method}")


def best_of_n_kl(n: int) -> float:
    """KL from best-of-n sampling to the model sampled from, `log n - (n - 1) / n` nats (arXiv:2009.01325, app. G.3).

    An upper bound where completions can tie or repeat (arXiv:2401.01879).
    """
    if n < 1:
        raise ValueError(f"best-of-n needs n >= 1, got {n}")
    return math.log(n) - (n - 1) / n


def _mean_squares(x: Floats) -> tuple[Floats, Floats]:
    """Mean squares `[3]` of prompts, seeds and residual of `x [P, S]`, and their degrees of freedom `[3]`."""
    prompts, seeds = x.shape
    mean, rows, columns = x.mean(), x.mean(axis=1, keepdims=True), x.mean(axis=0, keepdims=True)
    dfs = np.array([prompts - 1, seeds - 1, (prompts - 1) * (seeds - 1)], dtype=np.float64)
    squares = [seeds * np.sum((rows - mean) ** 2), prompts * np.sum((columns - mean) ** 2)]
    return np.array([*squares, np.sum((x - rows - columns + mean) ** 2)]) / dfs, dfs


def _crossed(x: Floats) -> tuple[float, float]:
    """Standard error of the mean of `x [P, S]` and its Satterthwaite degrees of freedom, for P, S >= 2."""
    ms, dfs = _mean_squares(x)
    combined, largest = ms[0] + ms[1] - ms[2], int(np.argmax(ms))
    if combined >= ms.max():
        # The residual's negative weight can push the formula below the fewest degrees any term has.
        df = max(combined**2 / np.sum(ms**2 / dfs), dfs.min())
    elif largest < 2:  # one component is estimated below 0: without it the other's mean square is the variance
        combined, df = ms[largest], dfs[largest]
    else:  # both are: nothing but residual is left, and all squares estimate it
        combined, df = np.sum(ms * dfs) / dfs.sum(), dfs.sum()
    return math.sqrt(combined / x.size), float(df)


def _generalized_p(x: Floats, rng: Generator, draws: int = 4000) -> float:
    ms, dfs = _mean_squares(x)
    drawn = ms * dfs / rng.chisquare(dfs, size=(draws, 3))
    variance = np.maximum(drawn[:, :2].max(axis=1), drawn @ [1, 1, -1]) / x.size
    errors = np.sqrt(np.maximum(variance, np.finfo(np.float64).tiny))
    return float(np.mean(2 * scipy.special.ndtr(-abs(x.mean()) / errors)))


def _p_value_t(x: Floats) -> float | None:
    if np.all(x == 0):
        return 1.0
    if _constant(x) or len(x) == 1:
        return None
    if x.shape[1] == 1:
        return float(scipy.stats.ttest_1samp(x[:, 0], 0.0).pvalue)
    error, df = _crossed(x)
    return float(2 * scipy.stats.t.sf(abs(x.mean()) / error, df))


def _sign_flip(differences: Floats, rng: Generator, resamples: int) -> tuple[float, str]:
    """Two-sided p of `sum(differences)` under random signs, and how it was found."""
    d = differences[differences != 0]  # a zero flips to itself: leaving it out changes no probability
    threshold = abs(d.sum()) - 1e-9 * np.abs(d).sum()  # equal sums must count as ties whatever their rounding
    if d.size <= _EXACT:
        signs = (np.arange(2**d.size)[:, None] >> np.arange(d.size)) & 1
        return float(np.mean(np.abs(2 * (signs @ d) - d.sum()) >= threshold)), "exact sign-flip by prompt"
    hits = 0
    for count in _blocks(resamples, d.size):
        signs = rng.integers(0, 2, size=(count, d.size), dtype=np.int8)
        hits += int(np.sum(np.abs(2 * (signs @ d) - d.sum()) >= threshold))
    return (1 + hits) / (1 + resamples), f"sign-flip by prompt, {resamples} draws"


def _bca(x: Floats, rng: Generator, level: float, resamples: int = 2000) -> tuple[float, float]:
    """BCa ends for the mean of `x [P]`, not constant: as `scipy.stats.bootstrap`, without its P x P jackknife."""
    # A resample is how often each distinct score was drawn: win rates have few, so this is many times faster.
    values, counts = np.unique(x - x.mean(), return_counts=True)
    blocks = _blocks(resamples, values.size)
    means = np.concatenate([rng.multinomial(x.size, counts / x.size, size=b) @ values for b in blocks]) / x.size
    acceleration = (counts @ values**3) / (6 * (counts @ values**2) ** 1.5)
    ties = np.abs(means) <= 1e-12 * np.abs(values).max()
    bias = scipy.special.ndtri(np.mean(np.where(ties, 0.5, means < 0)))
    z = bias + scipy.special.ndtri([(1 - level) / 2, (1 + level) / 2])
    low, high = x.mean() + np.quantile(means, scipy.special.ndtr(bias + z / (1 - acceleration * z)))
    return float(low), float(high)


def _percentiles(values: Floats, level: float) -> tuple[float, float]:
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _blocks(resamples: int, width: int) -> Iterator[int]:
    """Sizes that add up to `resamples`, each small enough that a block of them fits in memory."""
    size = max(1, _CELLS // width)
    for start in range(0, resamples, size):
        yield min(size, resamples - start)


def _constant(x: Floats) -> bool:
    return bool(np.ptp(x) <= 1e-12 * np.abs(x).max())


def _scores(scores: ArrayLike, level: float) -> Floats:
    x = np.array(scores, dtype=np.float64)
    if x.ndim != 2 or x.size == 0:
        raise ValueError(f"scores must be [prompts, seeds], got shape {x.shape}")
    if not np.isfinite(x).all():
        raise ValueError("scores must be finite: leave out the column of a seed that failed")
    if not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1, got {level}")
    return x
