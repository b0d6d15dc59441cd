"""Crossed random effects: the variance of a mean over prompts and seeds. Leading axes are studies of their own."""

from __future__ import annotations

import numpy as np

from .estimates import Floats


def mean_squares(x: Floats) -> tuple[Floats, Floats]:
    """Mean squares `[..., 3]` of prompts, seeds and residual of `x [..., P, S]`, and their degrees of freedom `[3]`."""
    prompts, seeds = x.shape[-2:]
    rows, columns = x.mean(axis=-1, keepdims=True), x.mean(axis=-2, keepdims=True)
    mean = rows.mean(axis=-2, keepdims=True)
    squares = (
        seeds * np.sum((rows - mean) ** 2, axis=(-2, -1)),
        prompts * np.sum((columns - mean) ** 2, axis=(-2, -1)),
        np.sum((x - rows - columns + mean) ** 2, axis=(-2, -1)),
    )
    dfs = degrees(prompts, seeds)
    return np.stack(squares, axis=-1) / dfs, dfs


def degrees(prompts: int, seeds: int) -> Floats:
    """Degrees of freedom of the three mean squares."""
    return np.array([prompts - 1, seeds - 1, (prompts - 1) * (seeds - 1)], dtype=np.float64)


def satterthwaite(ms: Floats, dfs: Floats) -> tuple[Floats, Floats]:
    """P S times the variance of the mean, `[...]`, from mean squares `[..., 3]`, and its degrees of freedom `[...]`.

    `MS_prompt + MS_seed - MS_residual`; a component estimated below 0 is set to 0. Degrees of freedom after
    Satterthwaite (Biometrics Bulletin 2, 1946).
    """
    combined, largest = ms[..., 0] + ms[..., 1] - ms[..., 2], np.argmax(ms, axis=-1)
    spread = np.sum(ms**2 / dfs, axis=-1)
    # The residual's negative weight can push the formula below the fewest degrees any term has.
    df = np.maximum(combined**2 / np.where(spread > 0, spread, 1.0), dfs.min())
    one, none = combined < ms.max(axis=-1), (combined < ms.max(axis=-1)) & (largest == 2)
    # One component below 0: the other's mean square is the variance. Both: every square estimates the residual.
    combined = np.where(one, ms.max(axis=-1), combined)
    combined = np.where(none, np.sum(ms * dfs, axis=-1) / dfs.sum(), combined)
    return combined, np.where(none, dfs.sum(), np.where(one, dfs[largest], df))


def standard_error(x: Floats) -> tuple[Floats, Floats]:
    """Standard error of the mean of `x [..., P, S]` and its degrees of freedom, both `[...]`, for P, S >= 2."""
    combined, df = satterthwaite(*mean_squares(x))
    return np.sqrt(combined / (x.shape[-2] * x.shape[-1])), df


def refitted_error(refits: Floats, influence: Floats) -> tuple[Floats, Floats]:
    """Standard error and degrees of freedom, both `[K]`, of K parameters that were refitted on resampled prompts.

    `refits [R, K]` holds the parameters of each resample, `influence [K, P, S]` what each cell adds to the estimate,
    to first order, times P S: the estimate is a constant plus the mean of it. Resamples of few seeds say too little of
    their variance, and no stretching helps where they agree by chance. So the mean square of the prompts is that of the
    resamples, `P S P / (P - 1) Var(refits)`, those of the seeds and the residual come from the influence, and the three
    are combined as in `interval`. With one seed there are only the resamples, on P - 1 degrees.
    """
    prompts, seeds = influence.shape[-2:]
    variance = refits.var(axis=0) * prompts / (prompts - 1)
    if seeds == 1:
        return np.sqrt(variance), np.full(len(variance), prompts - 1.0)
    ms, dfs = mean_squares(influence)
    ms[:, 0] = variance * prompts * seeds
    combined, df = satterthwaite(ms, dfs)
    return np.sqrt(combined / (prompts * seeds)), df


def allowed_variances(ms: Floats, dfs: Floats, chi: Floats) -> Floats:
    """P S times the variances of the mean, `[..., D]`, that mean squares `[..., 3]` allow at D draws `chi [D, 3]`.

    `MS df / chi^2` has the distribution of the expected mean square given the observed one; where the three contradict
    each other (the residual's is the largest), the larger of the other two counts.
    """
    prompt, seed, residual = (ms[..., i, None] * (dfs[i] / chi[:, i]) for i in range(3))
    largest: Floats = np.maximum(np.maximum(prompt, seed), prompt + seed - residual)
    return largest
