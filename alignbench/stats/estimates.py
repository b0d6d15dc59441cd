"""What the statistics return, and what they all need: checked arguments, percentiles, blocks of resamples."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

CELLS = 4_000_000  # resampled cells held at once


@dataclass(frozen=True)
class Estimate:
    """A value with its interval; `low` and `high` are None where the data define none, and `method` says why.

    `n` counts scores (P x S), rated items or curves, not independent units.
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


def checked(scores: ArrayLike, level: float, axes: str = "prompts, seeds") -> Floats:
    """A copy of `scores` as floats: finite, not empty, with the named axes; `level` is checked beside it."""
    x = np.array(scores, dtype=np.float64)
    if x.ndim != 1 + axes.count(",") or x.size == 0:
        raise ValueError(f"scores must be [{axes}], got shape {x.shape}")
    if not np.isfinite(x).all():
        raise ValueError("scores must be finite: leave out the column of a seed that failed")
    if not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1, got {level}")
    return x


def draws(rng: Generator, resamples: int, units: int) -> NDArray[np.int64]:
    """How often each of the `units` was drawn in each resample, `[resamples, units]`."""
    return rng.multinomial(units, np.full(units, 1 / units), size=resamples)


def percentiles(values: Floats, level: float) -> tuple[float, float]:
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def blocks(resamples: int, width: int) -> Iterator[int]:
    """Sizes that add up to `resamples`, each small enough that a block of them fits in memory."""
    size = max(1, CELLS // width)
    for start in range(0, resamples, size):
        yield min(size, resamples - start)


def constant(x: Floats) -> bool:
    """Whether all of `x` is one number, up to rounding."""
    return bool(np.ptp(x) <= 1e-12 * np.abs(x).max())
