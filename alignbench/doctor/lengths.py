"""Whether chosen completions are longer than rejected ones, which every objective on sums of log-probs will learn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import scipy.stats
from numpy.typing import NDArray

from ..results import Json, derive
from ..stats import Estimate, agreement_interval
from .findings import Finding, Level, percent, sentence, unknown, within
from .view import Floats, Sides, View, mean_by_prompt

FEWEST = 30
"""Pairs, or completions of either label, below which nothing is said of a share."""
LOOK, BAD = 0.05, 0.15
"""How far the nearer end of the interval of the share lies from one half."""
RATIO = 1.2
BINS = 30

ADVICE = (
    "Compare with a length-normalised objective (simpo, length_dpo), judge with `--judge length` beside your own judge "
    "and read the win rates at equal length."
)


def in_words(view: View) -> dict[int, list[int]]:
    """The number of words (between spaces) of each completion of the sample."""
    return {i: [len(y.text.split()) for y in view.records[i].completions] for i in view.sample}


def length_gap(view: View, lengths: Mapping[int, Sequence[int]], unit: str) -> tuple[Finding, Json | None]:
    """How much longer the first side is, in `unit` ("tokens", the end token included, or "words").

    The level rests on the 95 % interval of the share of pairs whose chosen completion is the longer one, equal lengths
    counted half: "bad" where it lies beyond .65 or below .35 (the rule "the longer one" is right, or wrong, for two
    pairs of three), "look" beyond .55 or below .45, or beyond one half when one side is 1.2 times as long on average.
    Of labels the share is that of all couples of a desirable and an undesirable completion.
    """
    sides = view.sides(lengths)
    one, other = view.names
    if not sides.enough:
        return unknown("length_gap", f"There are no {one if not sides.first else other} completions to compare."), None
    first, second = np.array(sides.first, np.float64), np.array(sides.second, np.float64)
    share, ties, longer, equal = _shares(view, sides, first, second)
    figures = _figures(first, second, unit) | {
        "longer_chosen": share.value, "low": share.low, "high": share.high, "equal": equal,
    }  # fmt: skip
    figures |= {} if view.paired else {"names": list(view.names)}
    if min(first.size, second.size) < FEWEST:
        few = f"{min(first.size, second.size)} {'pairs' if view.paired else 'completions of one label'}"
        return unknown("length_gap", f"{few} are too few to compare lengths ({FEWEST} are needed)."), figures
    gap, median = first.mean() - second.mean(), _median_gap(view, first, second)
    more = f"{abs(gap):.1f} {unit} {'longer' if gap >= 0 else 'shorter'} than {other} on average"
    what = "pairs" if view.paired else f"couples of a {one} and an {other} completion"
    said = sentence(
        f"{one} is {more} ({first.mean():.1f} against {second.mean():.1f}, median gap {median:+.0f}) and the longer "
        f"one in {within(share)} of the {what}, the shorter in {percent(1 - share.value - equal)}",
        view.sampled,
    )
    level = _level(ties, max(first.mean(), second.mean()) / max(1.0, min(first.mean(), second.mean())))
    finding = Finding("length_gap", level, said, count=longer)
    return (finding if level == "fine" else Finding("length_gap", level, said, ADVICE, count=longer)), figures


def _level(share: Estimate, ratio: float) -> Level:
    if share.low is None or share.high is None:
        return "fine"
    away = max(share.low - 0.5, 0.5 - share.high)
    if away >= BAD:
        return "bad"
    return "look" if away >= LOOK or (away > 0 and ratio >= RATIO) else "fine"


def _shares(view: View, sides: Sides[int], first: Floats, second: Floats) -> tuple[Estimate, Estimate, int, float]:
    """The share whose first is longer, the same with ties half, how many are longer, the share of equal lengths."""
    if sides.paired:
        groups = view.prompts[sides.first_at]
        longer, equal = first > second, first == second
        share = mean_by_prompt(longer, groups, "longer", bounds=(0, 1))
        ties = mean_by_prompt(longer + 0.5 * equal, groups, "longer, ties half", bounds=(0, 1))
        return share, ties, int(longer.sum()), float(equal.mean())
    both, labels = np.concatenate([first, second]), np.arange(first.size + second.size) < first.size
    groups = np.concatenate([view.prompts[sides.first_at], view.prompts[sides.second_at]])
    rng = np.random.default_rng(derive(0, "doctor longer, couples"))
    ties = agreement_interval(both, labels, _superiority, rng, clusters=groups, resamples=300)
    order = np.sort(second)
    below, up_to = (np.searchsorted(order, first, side=side) for side in ("left", "right"))
    equal_share = float((up_to - below).sum()) / (first.size * second.size)
    # A couple has no prompt of its own; the interval is that of the share with ties half, moved.
    low, high = (None if end is None else max(0.0, end - equal_share / 2) for end in (ties.low, ties.high))
    value = float(below.sum()) / (first.size * second.size)
    return Estimate(value, low, high, ties.n, ties.method), ties, first.size, equal_share


def _superiority(lengths: NDArray[np.float64], labels: NDArray[np.bool_]) -> float:
    """P(desirable longer) + P(equal) / 2 over all couples, from the sum of ranks (Mann and Whitney 1947)."""
    n = int(labels.sum())
    m = labels.size - n
    if n == 0 or m == 0:
        return float("nan")
    ranks = scipy.stats.rankdata(lengths)
    return float((ranks[labels].sum() - n * (n + 1) / 2) / (n * m))


def _median_gap(view: View, first: Floats, second: Floats) -> float:
    """The median of the gaps; of labels, whose completions have no partner, the gap of the medians."""
    return float(np.median(first - second) if view.paired else np.median(first) - np.median(second))


def _figures(first: Floats, second: Floats, unit: str) -> Json:
    """Histograms of what is not empty, with the means of all; `empty` counts the others, [first side, second side]."""
    edges = _edges(int(max(first.max(), second.max())))
    counts = [np.histogram(side[side > 0], edges)[0].tolist() for side in (first, second)]
    return {
        "unit": unit,
        "edges": edges,
        "chosen": counts[0],
        "rejected": counts[1],
        "empty": [int((side == 0).sum()) for side in (first, second)],
        "mean_chosen": float(first.mean()),
        "mean_rejected": float(second.mean()),
    }


def _edges(longest: int) -> list[int]:
    """Bins of whole numbers: equal ones up to a length of 60, then ones that grow by a factor, as lengths spread."""
    if longest <= 2 * BINS:
        step = max(1, -(-(longest + 1) // BINS))
        return list(range(0, longest + 1 + step, step))
    edges, factor = [1], (longest + 1) ** (1 / BINS)
    while edges[-1] <= longest:
        edges.append(edges[-1] + max(1, round(edges[-1] * (factor - 1))))
    return edges
