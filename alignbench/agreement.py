"""Agreement between raters, and of a judge with itself: pure functions on arrays of labels.

`stats.agreement_interval` puts an interval on any of them. Malformed arguments raise `ValueError`.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


def raw_agreement(a: ArrayLike, b: ArrayLike) -> float:
    """Share of items to which both raters gave the same label."""
    first, second = _labels(a, b)
    return float(np.mean(first == second))


def cohens_kappa(a: ArrayLike, b: ArrayLike) -> float:
    """Cohen's kappa, `(p_o - p_e) / (1 - p_e)` with `p_e = sum_c p_a(c) p_b(c)` (Cohen 1960).

    Labels are nominal, and both raters must code them alike: {1, 2} against {0, 1} is a wrong number, not an error.
    NaN where both only ever gave one and the same label.
    """
    first, second = _labels(a, b)
    _, codes = np.unique(np.concatenate([first, second]), return_inverse=True)
    size = int(codes.max()) + 1
    cells = codes[: first.size] * size + codes[first.size :]
    return kappa_of_table(np.bincount(cells, minlength=size**2).reshape(size, size))


def kappa_of_table(table: ArrayLike) -> float:
    """Cohen's kappa of a contingency `table [labels, labels]`: how many items the raters gave labels i and j."""
    x = _table(table)
    shares = x / x.sum()
    expected = float(shares.sum(axis=1) @ shares.sum(axis=0))
    return math.nan if expected == 1 else (float(np.trace(shares)) - expected) / (1 - expected)


def alpha_of_table(table: ArrayLike) -> float:
    """Krippendorff's alpha of two raters who both labelled every item, from a `table` as in `kappa_of_table`."""
    x = _table(table)
    per_label = x.sum(axis=0) + x.sum(axis=1)
    total = per_label.sum()
    expected = float(np.sum(per_label * (total - per_label)))
    return math.nan if expected == 0 else float(1 - (total - 1) * 2 * (x.sum() - np.trace(x)) / expected)


def krippendorff_alpha(ratings: ArrayLike) -> float:
    """Krippendorff's alpha for nominal `ratings [items, raters]`, NaN where a rater gave none: `1 - D_o / D_e`.

    From coincidences (Krippendorff, "Computing Krippendorff's Alpha-Reliability", 2011, section C): items with fewer
    than two ratings count nowhere. NaN where fewer than two labels remain.
    """
    x = np.asarray(ratings, dtype=np.float64)
    if x.ndim != 2:
        raise ValueError(f"ratings must be [items, raters], got shape {x.shape}")
    counts = np.stack([np.sum(x == c, axis=1) for c in np.unique(x[~np.isnan(x)])] or [np.zeros(len(x))], axis=1)
    counts = counts[counts.sum(axis=1) >= 2]
    per_item, per_label = counts.sum(axis=1, keepdims=True), counts.sum(axis=0)
    total = per_label.sum()
    expected = np.sum(per_label * (total - per_label))
    if expected == 0:
        return math.nan
    observed = np.sum(counts * (per_item - counts) / (per_item - 1))
    return float(1 - (total - 1) * observed / expected)


def position_bias(first_order: ArrayLike, second_order: ArrayLike) -> float:
    """Share of answers that pick the completion shown first minus the share that picks the one shown second, -1 to 1.

    Both `[N]` hold 1, .5 or 0 as completion one wins, ties or loses; it is shown first in `first_order`, second in
    `second_order`. So an item contributes `((2 f - 1) + (1 - 2 s)) / 2 = f - s`. Leave unparsed answers out.
    """
    first, second = _verdicts(first_order, second_order)
    return float(np.mean(first - second))


def self_agreement(first_order: ArrayLike, second_order: ArrayLike) -> float:
    """Share of pairs with the same verdict in both orders, scored as in `position_bias`; a tie agrees with ties."""
    return raw_agreement(*_verdicts(first_order, second_order))


def _table(table: ArrayLike) -> Floats:
    x = np.asarray(table, dtype=np.float64)
    if x.ndim != 2 or x.shape[0] != x.shape[1] or not x.sum() > 0 or x.min() < 0:
        raise ValueError(f"a table of two raters must be square counts of some items, got shape {x.shape}")
    return x


def _labels(a: ArrayLike, b: ArrayLike) -> tuple[NDArray[Any], NDArray[Any]]:
    first, second = np.asarray(a), np.asarray(b)
    if first.ndim != 1 or first.shape != second.shape or first.size == 0:
        raise ValueError(f"labels must be two lists of one length, got shapes {first.shape} and {second.shape}")
    kinds = {"text" if x.dtype.kind == "U" else "number" if x.dtype.kind in "biuf" else "?" for x in (first, second)}
    # numpy would turn 1.0 into "1.0", which equals no "1"; and a NaN equals nothing, itself included.
    if len(kinds) > 1 or "?" in kinds or (kinds == {"number"} and not np.isfinite([first, second]).all()):
        raise ValueError("labels must all be text or all be finite numbers: leave out the items that lack one")
    return first, second


def _verdicts(first_order: ArrayLike, second_order: ArrayLike) -> tuple[Floats, Floats]:
    first, second = (np.asarray(x, dtype=np.float64) for x in _labels(first_order, second_order))
    if not (np.isin(first, (0, 0.5, 1)).all() and np.isin(second, (0, 0.5, 1)).all()):
        raise ValueError("verdicts must be 1, 0.5 or 0")
    return first, second
