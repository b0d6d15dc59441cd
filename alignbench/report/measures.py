"""One quantity with its interval, as `summary.json` holds it; the statistics are those of `alignbench.stats`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .. import stats
from ..records import Verdict
from ..results import Json, derive
from .store import CellRecord, SeedRecord

Floats = NDArray[np.float64]

UNUSABLE_LIMIT = 0.05  # above it a win rate says more about the judge's silence than about the policy
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


def generator(purpose: str) -> np.random.Generator:
    """A stream for one figure alone, so that no figure moves because another was added."""
    return np.random.default_rng(derive(0, f"report/{purpose}"))


def metric(
    values: Floats | None,
    records: Sequence[SeedRecord],
    seeds: Sequence[int],
    unit: str,
    purpose: str,
    bounds: tuple[float, float] | None = None,
) -> Json | None:
    """The mean of `values [S, P]` (of the seeds in `records`) with its 95 % interval, None where nothing was measured.

    `per_seed` has an entry for each of `seeds`, None where that seed is not there. `bootstrap` is the second interval,
    for comparison. Values that are not finite leave `value` None, with the reason.
    """
    if values is None:
        return None
    if not np.isfinite(values).all():
        reason = f"{int(np.sum(~np.isfinite(values)))} of {values.size} values are not finite"
        return blank(values.size, len(seeds), unit, reason)
    rng = generator(purpose)
    estimate = stats.interval(values.T, rng, bounds=bounds).as_dict()
    second = stats.bootstrap_interval(values.T, rng).as_dict()
    means = {record.seed: float(row.mean()) for record, row in zip(records, values, strict=True)}
    return {
        **estimate,
        "per_seed": [means.get(seed) for seed in seeds],
        "unit": unit,
        "bootstrap": {key: second[key] for key in ("low", "high", "method")},
    }


def blank(n: int, seeds: int, unit: str, reason: str) -> Json:
    """A metric without a value, and why."""
    empty = dict.fromkeys(("value", "low", "high"))
    return {**empty, "n": n, "per_seed": [None] * seeds, "unit": unit, "method": None, "reason": reason}


def scores(verdicts: Sequence[Sequence[Verdict]]) -> Floats:
    """`[S, P]`: what each verdict scores."""
    return np.array([[verdict.score for verdict in row] for row in verdicts], dtype=np.float64)


def win_rate(cell: CellRecord, seeds: Sequence[int], judge: str, against: str = "against_reference") -> Json | None:
    """A win rate with what it hides: contradictions, unusable answers, and the bounds had those all lost or all won.

    Above 5 % of unusable answers `value` is None, with the reason; the bounds stay.
    """
    verdicts = cell.verdicts(judge, against)
    if verdicts is None:
        return None
    flat = [verdict for row in verdicts for verdict in row]
    unusable = sum(verdict.unusable for verdict in flat) / (2 * len(flat))
    shares = {
        "judge": judge,
        "bounds": [float(np.mean([verdict.bounds[side] for verdict in flat])) for side in (0, 1)],
        "contradictions": sum(verdict.contradiction for verdict in flat) / len(flat),
        "unusable": unusable,
    }
    if unusable > UNUSABLE_LIMIT:
        reason = f"{unusable:.1%} of the answers of judge {judge} were refused or unparsed, above {UNUSABLE_LIMIT:.0%}"
        return blank(len(flat), len(seeds), "share", reason) | shares
    purpose = f"{cell.spec}/{judge}/{against}"
    result = metric(scores(verdicts), cell.evaluated, seeds, "share", purpose, bounds=(0, 1))
    assert result is not None
    return result | shares


def quantiles(values: Floats | None) -> list[float] | None:
    """The 5, 25, 50, 75 and 95 % quantiles over all prompts and seeds, for the plot of lengths."""
    if values is None or not np.isfinite(values).all():
        return None
    return [float(value) for value in np.quantile(values, QUANTILES)]
