"""Win rates at equal length."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import scipy.special
import scipy.stats
from numpy.random import Generator
from numpy.typing import ArrayLike

from .crossed import refitted_error
from .estimates import Estimate, Floats, blocks, checked, constant, draws
from .intervals import interval
from .newton import newton

RIDGE = 0.1  # in prompts, as in `strengths`
SHARE = 0.1  # of a spec's pairs must lie on either side of equal length


@dataclass(frozen=True)
class LengthControlled:
    """What `length_controlled` found, one entry for each spec.

    `rates` are win rates at equal length, None where not `identified`; `why` says what is lacking there and is empty
    elsewhere. `slope` is the change in the logit of a win from equal length to a policy far longer, shared by all.
    """

    rates: list[Estimate | None]
    slope: Estimate
    identified: list[bool]
    why: list[str]


def length_controlled(
    scores: Iterable[ArrayLike],
    lengths: Iterable[ArrayLike],
    rng: Generator,
    level: float = 0.95,
    resamples: int = 500,
) -> LengthControlled:
    """Win rates of K specs had the policy and its opponent written equally long.

    `scores[k]` and `lengths[k]`, both `[P, S]` on the same prompts and seeds for all k, are what spec k scored, 0 to 1,
    and how much longer than its opponent it wrote, in whatever unit. A joint logistic fit,
    `logit P(win) = intercept_k + slope tanh(d / sd)`, sd the standard deviation of all d; a score y counts as y of a
    win and 1 - y of a loss, so that a tie is half of each. The rate is `expit(intercept_k)` (after arXiv:2404.04475,
    without its terms for the difficulty of single prompts; the slope is shared, which few pairs determine better). A
    ridge of .1 on the squares of all coefficients, against a likelihood that counts each prompt once, keeps the fit
    finite where a spec always wins.

    Interval: the fit is repeated on `resamples` resamples of the prompts, at the same sd, with each prompt's specs and
    seeds together; with several seeds their variance is added by crossed random effects and a Satterthwaite t, since
    resampling few seeds does not keep coverage (`crossed.refitted_error`). On the logit scale, so inside 0 and 1.
    Simulated coverage of 95 % intervals is .92 to .98 with one, three or five seeds, .87 to .90 with two. Where a
    spec's scores are all equal there is nothing for length to explain: the rate and interval are those of `interval`.

    A spec is not identified where under 10 % of its pairs lie on either side of equal length: its rate there would be
    extrapolated from the other specs. It still takes part in the fit. Raises ValueError where shapes differ or scores
    leave 0 to 1.
    """
    y, d = _stacked(scores, level), _stacked(lengths, level)
    if y.shape != d.shape or y.min() < 0 or y.max() > 1:
        raise ValueError(f"scores from 0 to 1 and lengths need one shape, got {y.shape} and {d.shape}")
    prompts, seeds = y.shape[1:]
    sd = float(d.std())
    x = np.tanh(d / sd) if sd > 0 else np.zeros(d.shape)
    fitted = _fit(y, x, np.ones((1, prompts)), np.zeros(len(y) + 1))[0]
    half = np.full(len(fitted), np.nan)
    if prompts > 1:
        weights = [draws(rng, size, prompts) for size in blocks(resamples, 16 * y.size)]
        refits = np.concatenate([_fit(y, x, block.astype(np.float64), fitted) for block in weights])
        error, df = refitted_error(refits, _influence(y, x, fitted))
        half = scipy.stats.t.ppf((1 + level) / 2, df) * error
    low, high = fitted - half, fitted + half
    how = "crossed random effects" if seeds > 1 else "conditional on this seed"
    method = f"joint logistic fit refitted by prompt, t interval, {how}"

    def estimate(ends: Iterable[float], n: int, reason: str) -> Estimate:
        value, *interval_ends = (float(end) for end in ends)
        if prompts == 1 or reason:
            return Estimate(value, None, None, n, f"{reason or 'one prompt'}: no interval")
        return Estimate(value, interval_ends[0], interval_ends[1], n, method)

    sides = [(float(np.mean(spec > 0)), float(np.mean(spec < 0))) for spec in d]
    identified = [min(side) >= SHARE for side in sides]
    rates: list[Estimate | None] = [None] * len(y)
    for k in np.flatnonzero(identified):
        if constant(y[k]):
            rates[k] = interval(y[k], rng, level, bounds=(0, 1))
        else:
            rates[k] = estimate(scipy.special.expit([fitted[k], low[k], high[k]]), y[k].size, "")
    flat = constant(x) or all(constant(spec) for spec in y)
    slope = estimate((fitted[-1], low[-1], high[-1]), y.size, "scores or lengths all equal" if flat else "")
    why = [
        "" if fine else f"{longer:.0%} of the pairs longer than the opponent, {shorter:.0%} shorter"
        for fine, (longer, shorter) in zip(identified, sides, strict=True)
    ]
    return LengthControlled(rates, slope, identified, why)


def _stacked(parts: Iterable[ArrayLike], level: float) -> Floats:
    arrays = [checked(part, level) for part in parts]
    if len({x.shape for x in arrays}) != 1:
        raise ValueError(f"specs need the same prompts and seeds, got shapes {[x.shape for x in arrays]}")
    return np.stack(arrays)


def _fit(y: Floats, x: Floats, weights: Floats, start: Floats) -> Floats:
    """Intercepts and slope `[R, K + 1]` for scores and covariates `[K, P, S]`, prompts weighted by `weights [R, P]`."""
    specs, _, seeds = y.shape
    cells = np.repeat(weights / seeds, seeds, axis=1)  # [R, P S]
    y, x = y.reshape(specs, -1), x.reshape(specs, -1)
    wins, won_x = cells @ y.T, cells @ np.sum(y * x, axis=0)

    def step(found: Floats) -> Floats:
        # The Hessian is diagonal but for the slope's row and column, so the slope is eliminated first.
        intercepts, slope = found[:, :-1], found[:, -1:]
        p = scipy.special.expit(intercepts[..., None] + slope[..., None] * x)
        expected = p * cells[:, None]
        v = expected * (1 - p)
        by_spec = wins - expected.sum(axis=2) - RIDGE * intercepts
        by_slope = won_x - np.einsum("rkc,kc->r", expected, x) - RIDGE * slope[:, 0]
        own, cross = v.sum(axis=2) + RIDGE, np.einsum("rkc,kc->rk", v, x)
        schur = np.einsum("rkc,kc->r", v, x**2) + RIDGE - np.sum(cross**2 / own, axis=1)
        change = ((by_slope - np.sum(cross * by_spec / own, axis=1)) / schur)[:, None]
        return np.concatenate([(by_spec - cross * change) / own, change], axis=1)

    return newton(step, np.tile(start, (len(weights), 1)))


def _influence(y: Floats, x: Floats, fitted: Floats) -> Floats:
    """What each cell adds to the coefficients, to first order, times P S: `[K + 1, P, S]`."""
    _, prompts, seeds = y.shape
    p = scipy.special.expit(fitted[:-1, None, None] + fitted[-1] * x)
    v = p * (1 - p) / seeds
    information = np.diag(np.append(v.sum(axis=(1, 2)), np.sum(v * x**2)) + RIDGE)
    information[-1, :-1] = information[:-1, -1] = np.sum(v * x, axis=(1, 2))
    pulls = np.concatenate([y - p, np.sum((y - p) * x, axis=0)[None]])
    influence: Floats = prompts * np.tensordot(np.linalg.inv(information), pulls, axes=1)
    return influence
