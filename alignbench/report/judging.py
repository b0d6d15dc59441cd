"""How far the judges can be trusted: agreement with gold, with held-out labels, among judges and with themselves.

Every agreement counts both orders of a pair as two items, which are one prompt's. On the specs' samples prompts and
seeds are both samples: intervals of means are those of `stats.interval`; kappa is no mean, and its interval, by prompt
alone, is conditional on the seeds. On verdicts about a
policy the labels are "policy" and "reference", so that kappa discounts a judge which always names the policy. On
held-out pairs "chosen" is a name made from the labels themselves, so the labels are positions there: each pair stands
once with the chosen completion first and once with it second, and chance is one half.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit

from .. import agreement, stats
from ..records import Verdict
from ..results import Json
from .measures import Floats, aligned, generator, matches_of, win_rate
from .store import CHOSEN, CellRecord, Store

RESAMPLES = 500
UNUSABLE = -1.0  # the label of a refusal or of what could not be parsed: nothing agrees with it


@dataclass(frozen=True)
class Ratings:
    """Two raters' labels of the same items, 1, 0, 1/2 (a tie) or unusable, and each one's prompt and seed: `[N]` each.

    `seeds` is None for held-out pairs, which belong to none.
    """

    a: Floats
    b: Floats
    clusters: NDArray[np.int64]
    seeds: NDArray[np.int64] | None = None

    def where(self, kept: NDArray[np.bool_]) -> Ratings:
        return Ratings(
            self.a[kept], self.b[kept], self.clusters[kept], None if self.seeds is None else self.seeds[kept]
        )


def judge_quality(store: Store) -> Json:
    """Per judge: its win rates of each spec, agreements, position bias and self-agreement."""
    between = {pair: _on_rows(store, *pair) for pair in combinations(store.judges, 2)}
    return {
        judge: _quality(store, judge)
        | {"against": {(set(pair) - {judge}).pop(): found for pair, found in between.items() if judge in pair}}
        for judge in store.judges
    }


def _quality(store: Store, judge: str) -> Json:
    found = [matches_of(cell, judge) for cell in store.cells]
    rows = [(seed, row) for matches in found for seed, row in zip(matches, aligned(matches), strict=True)]
    flat = [verdict for _, row in rows for verdict in row]
    prompts = [prompt for _, row in rows for prompt in range(len(row))]
    seeds = [seed for seed, row in rows for _ in row]
    # How people agree with gold is `human_gold`: gold is no judge that they could agree with.
    held_out = [] if judge == "gold" else held_out_verdicts(store, judge)
    return {
        "win_rate": {cell.spec: win_rate(cell, store.seeds, judge) for cell in store.cells},
        "win_rate_chosen": {cell.spec: win_rate(cell, store.seeds, judge, CHOSEN) for cell in store.cells},
        "held_out": {
            "against_gold": agree(held_out_gold(store, held_out), f"{judge}/held-out/gold"),
            "against_labels": agree(held_out_labels(store, held_out), f"{judge}/held-out/labels"),
            "self": with_itself(held_out, range(len(held_out)), None, f"{judge}/held-out/self"),
        },
        "self": with_itself(flat, prompts, seeds, f"{judge}/self"),
        "contradictions": _share([verdict.contradiction for verdict in flat]),
        "unusable": _share([verdict.unusable / 2 for verdict in flat]),
    }


def agree(ratings: Ratings | None, purpose: str) -> Json | None:
    """Raw agreement, Cohen's kappa (with intervals) and Krippendorff's alpha; a tie agrees with a tie alone.

    `ties` is the share of items in which either names no winner, `without_ties` what remains without them; None where
    there are no such items.
    """
    if ratings is None or not len(ratings.a):
        return None
    decided = np.isin(ratings.a, (0, 1)) & np.isin(ratings.b, (0, 1))
    some = decided.any() and not decided.all()
    without = _statistics(ratings.where(decided), f"{purpose}/decided") if some else None
    return _statistics(ratings, purpose) | {"ties": float(1 - decided.mean()), "without_ties": without}


def _statistics(ratings: Ratings, purpose: str) -> Json:
    alpha = agreement.krippendorff_alpha(np.stack([ratings.a, ratings.b], axis=1))
    return {
        "raw": raw(ratings, f"{purpose}/raw"),
        "kappa": estimate(ratings, agreement.cohens_kappa, f"{purpose}/kappa"),
        "alpha": None if math.isnan(alpha) else alpha,
    }


def raw(ratings: Ratings, purpose: str) -> Json:
    """The share of items on which the two agree, with its interval."""
    return mean((ratings.a == ratings.b).astype(np.float64), ratings, purpose, (0, 1))


def mean(values: Floats, of: Ratings, purpose: str, bounds: tuple[float, float]) -> Json:
    """The mean of `values [N]` of the items of `of`, with the interval of `stats.interval` over prompts and seeds.

    Cells (prompt, seed) hold unlike numbers of items where some are left out, so that the mean is the ratio of two
    means. A cell with the sum `t` of `n` items counts as `mean + (t - n mean) / (mean of n)`, the ratio to first order
    (Cochran, Sampling Techniques, 1977, ch. 6): the cell's own mean where all hold as many, nothing where it is empty.
    One seed, or none: by prompt alone.
    """
    cells = np.unique(of.clusters, return_inverse=True)[1]
    seeds, places = (1, 0) if of.seeds is None else _places(of.seeds)
    shape, value, n = (int(cells.max()) + 1, seeds), float(values.mean()), {"n": len(values)}
    index = cells * seeds + places
    sums, counts = (np.bincount(index, weights, np.prod(shape)).reshape(shape) for weights in (values, None))
    scores = value + (sums - value * counts) / counts.mean()
    rng = generator(purpose)
    if np.ptp(values) == 0:  # rounding must not show as variance
        found = stats.interval(np.full(shape, values[0]), rng, bounds=bounds).as_dict() | n
        return _by(of, found) if of.seeds is None else found
    if seeds == 1:
        found = stats.agreement_interval(
            values, values, lambda a, _: float(a.mean()), rng, of.clusters, resamples=RESAMPLES
        ).as_dict()
        return _by(of, found)
    if bounds[0] <= scores.min() and scores.max() <= bounds[1]:
        return stats.interval(scores, rng, bounds=bounds).as_dict() | n
    return _logit(stats.interval(scores, rng).as_dict(), bounds) | n


def _places(seeds: NDArray[np.int64]) -> tuple[int, NDArray[np.int64]]:
    """How many seeds there are, and the place of each item's among them."""
    known, places = np.unique(seeds, return_inverse=True)
    return len(known), places


def _logit(found: Json, bounds: tuple[float, float]) -> Json:
    """A symmetric interval built on the logit scale, as `stats.interval` does for scores that keep the bounds."""
    if found["low"] is None:
        return found
    width = bounds[1] - bounds[0]
    share = (found["value"] - bounds[0]) / width
    step = (found["high"] - found["value"]) / width / (share * (1 - share))
    low, high = (bounds[0] + width * float(expit(logit(share) + end)) for end in (-step, step))
    return found | {"low": low, "high": high, "method": f"{found['method']} on the logit scale"}


def _by(of: Ratings, found: Json) -> Json:
    """An interval by cluster with a method that names what the clusters are, and what it is conditional on."""
    method = str(found["method"]).removesuffix(", conditional on these seeds")
    if of.seeds is None:
        return found | {"method": method.replace("by cluster", "by pair").replace("by prompt", "by pair")}
    seeds = "these seeds" if len(np.unique(of.seeds)) > 1 else "this seed"
    return found | {"method": f"{method.replace('by cluster', 'by prompt')}, conditional on {seeds}"}


def estimate(ratings: Ratings, statistic: Callable[[Floats, Floats], float], purpose: str) -> Json:
    """A statistic of agreement with its interval, whole prompts resampled, with all their seeds and both orders."""
    # Two raters who never differ do so in no resample either: one is enough to see it.
    resamples = RESAMPLES if (ratings.a != ratings.b).any() else 1
    found = stats.agreement_interval(
        ratings.a, ratings.b, statistic, generator(purpose), ratings.clusters, resamples=resamples
    ).as_dict()
    return _by(ratings, found)


def with_itself(
    verdicts: Sequence[Verdict], prompts: Sequence[int], seeds: Sequence[int] | None, purpose: str
) -> Json | None:
    """Position bias (positive: the completion shown first is favoured) and agreement of the two orders.

    Verdicts with an unusable answer are left out; each comes with the prompt, and the seed, that it belongs to.
    """
    usable = np.array([not verdict.unusable for verdict in verdicts], dtype=bool)
    if not usable.any():
        return None
    forward, swapped = points(verdicts)
    of = Ratings(forward, swapped, np.array(prompts), None if seeds is None else np.array(seeds)).where(usable)
    return {
        "position_bias": mean(of.a - of.b, of, f"{purpose}/bias", (-1, 1)),
        "self_agreement": raw(of, f"{purpose}/self"),
    }


def points(verdicts: Sequence[Verdict], unusable: float = UNUSABLE) -> Floats:
    """`[2, N]`: forward and swapped answers as 1 (`first` won), 0, 1/2 (a tie) or `unusable`."""
    labels = {"first": 1.0, "second": 0.0, "tie": 0.5}
    answers = [[labels.get(v.forward, unusable), labels.get(v.swapped, unusable)] for v in verdicts]
    return np.array(answers, dtype=np.float64).reshape(-1, 2).T


def row_ratings(cell: CellRecord, judge: str, other: str) -> tuple[Ratings, list[int]] | None:
    """Two judges on one row's verdicts, both orders, on the seeds that both have judged; and those seeds."""
    first, second = matches_of(cell, judge), matches_of(cell, other)
    seeds = [seed for seed in first if seed in second]
    if not seeds:
        return None
    rows = ([found[seed].verdicts for seed in seeds] for found in (first, second))
    flat = ([verdict for row in each for verdict in row] for each in rows)
    # Two labels, so that two judges who both fail do not agree.
    a, b = (points(each, label).reshape(-1) for each, label in zip(flat, (UNUSABLE, 2 * UNUSABLE), strict=True))
    count = len(first[seeds[0]].verdicts)
    return Ratings(a, b, np.tile(np.arange(count), 2 * len(seeds)), np.tile(np.repeat(seeds, count), 2)), seeds


def _on_rows(store: Store, judge: str, other: str) -> Json | None:
    found = [both for cell in store.cells if (both := row_ratings(cell, judge, other)) is not None]
    if not found:
        return None
    ratings = [each for each, _ in found]
    columns = ("a", "b", "clusters", "seeds")
    pooled = Ratings(*(np.concatenate([getattr(each, name) for each in ratings]) for name in columns))
    return agree(pooled, f"rows/{judge}/{other}")


def held_out_verdicts(store: Store, judge: str) -> list[Verdict]:
    triples = (store.held_out or {}).get("verdicts", {}).get(judge) or []
    return [Verdict(*triple) for triple in triples]


def votes(store: Store) -> list[list[bool]]:
    return [list(votes) for votes in (store.held_out or {}).get("votes") or []]


def _gold_points(store: Store) -> Floats | None:
    """`[pairs]`: 1 where the true reward prefers `chosen`, 1/2 at a tie."""
    margins = (store.held_out or {}).get("gold")
    return None if margins is None else 0.5 + 0.5 * np.sign(np.array(margins, dtype=np.float64))


def held_out_gold(store: Store, verdicts: Sequence[Verdict]) -> Ratings | None:
    """A judge against the true reward on the held-out pairs."""
    gold = _gold_points(store)
    if gold is None or not verdicts:
        return None
    return _positions(points(verdicts), gold, np.arange(len(gold)))


def held_out_labels(store: Store, verdicts: Sequence[Verdict]) -> Ratings | None:
    """A judge against each annotator's vote on the held-out pairs, so that it stands beside human-human agreement.

    Where the votes are not known, against the final label.
    """
    if not verdicts:
        return None
    labels, pair = label_votes(store)
    return _positions(points(verdicts)[:, pair], labels, pair)


def label_votes(store: Store) -> tuple[Floats, NDArray[np.int64]]:
    """Every annotator's vote, 1 for the chosen completion, and its pair; the final label where none are known."""
    known = [row or [True] for row in votes(store)]
    return np.concatenate(known).astype(np.float64), np.repeat(np.arange(len(known)), [len(row) for row in known])


def human_human(store: Store) -> Json | None:
    """Agreement of every two annotators of a held-out pair: the ceiling. None with fewer than two."""
    found = [(v[i], v[j], pair) for pair, v in enumerate(votes(store)) for i in range(len(v)) for j in range(i)]
    if not found:
        return None
    a, b, pairs = (np.array(column) for column in zip(*found, strict=True))
    both = np.stack([a, a]).astype(np.float64)
    return agree(_positions(both, b.astype(np.float64), pairs), "human-human")


def human_gold(store: Store) -> Json | None:
    """Agreement of the annotators with the true reward on the held-out pairs."""
    gold, found = _gold_points(store), votes(store)
    if gold is None or not any(found):
        return None
    pair = np.repeat(np.arange(len(found)), [len(row) for row in found])
    flat = np.array([vote for row in found for vote in row], dtype=np.float64)
    return agree(_positions(np.stack([flat, flat]), gold[pair], pair), "human-gold")


def _positions(answers: Floats, truth: Floats, clusters: NDArray[np.int64]) -> Ratings:
    """`answers [2, N]` and `truth [N]` say whether `chosen` wins; as positions, with `chosen` first, then second."""
    return Ratings(
        np.concatenate([answers[0], 1 - answers[1]]), np.concatenate([truth, 1 - truth]), np.concatenate([clusters] * 2)
    )


def _share(flags: Sequence[float]) -> float | None:
    return float(np.mean(flags)) if flags else None
