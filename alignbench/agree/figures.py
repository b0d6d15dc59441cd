"""The figures: raters as arrays of labels in, agreement with intervals out.

Labels are nominal and name the output, whatever order it was shown in: 1 where output_1 is better, 2, 0 for a tie.
Every question is an item, so a judge that is asked both orders has two a pair. All pairs of one prompt, in both
orders, are resampled together: as independent items they would make every interval too narrow.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import agreement, stats
from ..judges.length import length
from ..records import Outcome, Verdict
from ..results import Json, derive
from .pairs import LabelledPairs, Vote, majority

Floats = NDArray[np.float64]

RESAMPLES = 1000
CODES: dict[Vote, float] = {"first": 1.0, "second": 2.0, "tie": 0.0}
UNUSABLE = -1.0  # the label of a refusal, of what names no side and of no answer: nothing agrees with it
TREATMENTS = ("every", "usable", "decided")
"""Every answer, where an unusable one is wrong; without those; and without the items in which either sees a tie."""


@dataclass(frozen=True)
class Items:
    """What two raters said of the same items, and the prompt of each: `[N]` each, without gaps."""

    a: Floats
    b: Floats
    clusters: NDArray[Any]

    def where(self, kept: NDArray[np.bool_]) -> Items:
        return Items(self.a[kept], self.b[kept], self.clusters[kept])


@dataclass(frozen=True)
class Answers:
    """A judge's answers to all pairs: `codes [orders, P]`. `both` says whether it was asked in both orders.

    `asked [orders, P]` is the order of each answer: 0 with output_1 shown first, 1 with output_2.
    """

    codes: Floats
    both: bool
    asked: NDArray[np.int64]

    @classmethod
    def of(cls, verdicts: Sequence[Verdict], one_order: bool = False) -> Answers:
        codes = coded([[v.forward for v in verdicts], [v.swapped for v in verdicts]])
        asked = np.repeat([[0], [1]], len(verdicts), axis=1)
        if not one_order:
            return cls(codes, both=True, asked=asked)
        # The order that was not asked has no answer, and it is not the same for all pairs.
        which = np.array([[int(v.forward == "unanswered" != v.swapped) for v in verdicts]], dtype=np.int64)
        return cls(np.take_along_axis(codes, which, axis=0), both=False, asked=which)

    def to(self, asked: NDArray[np.int64]) -> Floats:
        """The answers to these questions, `asked [orders, P]`; NaN where a pair was asked in the other order alone."""
        if self.both:
            return np.take_along_axis(self.codes, asked, axis=0)
        return np.where(asked == self.asked, self.codes, np.nan)


def coded(outcomes: Sequence[Sequence[Vote]], unusable: float = UNUSABLE) -> Floats:
    """Outcomes as `CODES`, NaN where nobody was asked, else `unusable`."""
    rows = [[np.nan if o is None else CODES.get(o, unusable) for o in row] for row in outcomes]
    return np.array(rows, dtype=np.float64).reshape(len(outcomes), -1)


def three(items: Items, purpose: str) -> Json:
    """Agreement under each of `TREATMENTS`, None where no item is left."""
    usable = (items.a >= 0) & (items.b >= 0)
    kept = {"every": np.ones(len(items.a), dtype=bool), "usable": usable}
    kept["decided"] = usable & (items.a > 0) & (items.b > 0)
    found: Json = {}
    for name in TREATMENTS:
        alike = next((other for other in found if np.array_equal(kept[other], kept[name])), None)
        some = items.where(kept[name])
        found[name] = found[alike] if alike else statistics(some, f"{purpose}/{name}") if len(some.a) else None
    return found


def statistics(items: Items, purpose: str) -> Json:
    """Raw agreement, Cohen's kappa and Krippendorff's alpha, each with its interval."""
    return {
        "n": len(items.a),
        "raw": share(items.a == items.b, items.clusters, f"{purpose}/raw"),
        "kappa": tabled(items, agreement.kappa_of_table, f"{purpose}/kappa"),
        "alpha": tabled(items, agreement.alpha_of_table, f"{purpose}/alpha"),
    }


def tabled(items: Items, statistic: Callable[[NDArray[Any]], float], purpose: str) -> Json:
    """A statistic of the contingency table of two raters with its interval.

    An item is its cell of the table from the start, so that a resample is one count.
    """
    labels, codes = np.unique(np.concatenate([items.a, items.b]), return_inverse=True)
    size = len(labels)
    cells = codes[: len(items.a)] * size + codes[len(items.a) :]
    alike = bool((items.a == items.b).all())

    def of(cells: NDArray[Any], _: NDArray[Any]) -> float:
        return statistic(np.bincount(cells, minlength=size**2).reshape(size, size))

    return _interval(cells, cells, of, items.clusters, purpose, alike)


def estimate(items: Items, statistic: Callable[[Floats, Floats], float], purpose: str) -> Json:
    """A statistic of two raters with its interval."""
    return _interval(items.a, items.b, statistic, items.clusters, purpose, bool((items.a == items.b).all()))


def _interval(
    a: NDArray[Any],
    b: NDArray[Any],
    statistic: Callable[[NDArray[Any], NDArray[Any]], float],
    clusters: NDArray[Any],
    purpose: str,
    alike: bool = False,
) -> Json:
    # Raters who never differ do so in no resample either: one is enough to see it.
    resamples = 1 if alike else RESAMPLES
    rng = np.random.default_rng(derive(0, f"agree/{purpose}"))
    return stats.agreement_interval(a, b, statistic, rng, clusters, resamples=resamples).as_dict()


def share(flags: NDArray[np.bool_], clusters: NDArray[Any], purpose: str) -> Json | None:
    """A share of items with its interval, None without items."""
    if not len(flags):
        return None
    if flags.any() and not flags.all():
        items = Items(flags.astype(np.float64), np.ones(len(flags)), clusters)
        return estimate(items, agreement.raw_agreement, purpose)
    # Always or never, no resample differs: the bound that so many prompts allow.
    alike = np.full((len(np.unique(clusters)), 1), float(flags[0]))
    rng = np.random.default_rng(derive(0, f"agree/{purpose}"))
    return stats.interval(alike, rng, bounds=(0, 1)).as_dict() | {"n": len(flags)}


class Raters:
    """The human labels of a set of pairs, and everything that is measured against them."""

    def __init__(self, data: LabelledPairs) -> None:
        self.annotators = data.annotators
        pairs = data.pairs
        prompts: dict[str, int] = {}
        self.clusters = np.array([prompts.setdefault(p.comparison.prompt.text, len(prompts)) for p in pairs])
        self.label = coded([[p.label for p in pairs]])[0]
        people = range(len(data.annotators))
        self.votes = coded([[p.votes[k] for p in pairs] for k in people]) if people else None
        sizes = np.array([[length(p.comparison.first.text), length(p.comparison.second.text)] for p in pairs])
        self.longer = np.where(sizes[:, 0] == sizes[:, 1], 0.0, np.where(sizes[:, 0] > sizes[:, 1], 1.0, 2.0))
        others = [[majority([*p.votes[:k], *p.votes[k + 1 :]]) for p in pairs] for k in people]
        self.others = coded(others) if len(people) > 2 else None

    # people

    def humans(self) -> Json:
        """How the labels are spread, how people agree with each other, and how often they prefer the longer output."""
        counts = {name: int(np.sum(self.label == code)) for name, code in CODES.items()}
        found: Json = {
            "labels": counts | {"none": int(np.isnan(self.label).sum())},
            "annotators": list(self.annotators),
            "longer": self._longer(self.label, self.longer, self.clusters, "humans/longer"),
            "pairs": [],
            "pooled": None,
            "alpha": None,
            "leave_one_out": None,
        }
        if self.votes is None or len(self.annotators) < 2:
            return found
        both = {(i, j): self._joined(self.votes[i], self.votes[j]) for i, j in combinations(range(len(self.votes)), 2)}
        both = {pair: items for pair, items in both.items() if len(items.a)}
        for (i, j), items in both.items():
            names = {"a": self.annotators[i], "b": self.annotators[j]}
            found["pairs"].append(names | three(items, f"humans/{i}/{j}"))
        found["pooled"] = three(_concatenated(list(both.values())), "humans") if both else None
        found["alpha"] = self._alpha()
        if self.others is not None:
            found["leave_one_out"] = self._leave_one_out([row[None] for row in self.votes], "humans")
        return found

    def _alpha(self) -> Json:
        assert self.votes is not None
        votes = self.votes.T
        return _interval(votes, votes, lambda x, _: agreement.krippendorff_alpha(x), self.clusters, "humans/alpha")

    # judges

    def judge(self, answers: Answers) -> Json:
        """A judge against people and against itself."""
        codes, purpose = answers.codes, "judge"
        votes = [] if self.votes is None else [self._against(codes, row) for row in self.votes]
        against = self._against(codes, self.label)
        return {
            "orders": len(codes),
            "label": three(against, purpose) if len(against.a) else None,
            "annotators": three(_concatenated(votes), f"{purpose}/annotators") if len(votes) > 1 else None,
            "leave_one_out": self._leave_one_out([codes] * len(self.annotators), purpose),
            "self": self._self(codes, purpose) if answers.both else None,
            "longer": self._longer(codes.ravel(), *self._repeated(len(codes)), f"{purpose}/longer"),
        }

    def between(self, a: tuple[str, Answers], b: tuple[str, Answers]) -> Json:
        """Two judges on the same questions; where one was asked in one order only, on its order of each pair."""
        asked = min((a[1].asked, b[1].asked), key=len)
        first, second = (each.to(asked).ravel() for _, each in (a, b))
        # Another label for what is unusable, so that two judges who both fail do not agree.
        second = np.where(second == UNUSABLE, 2 * UNUSABLE, second)
        items = self._joined(first, second, np.tile(self.clusters, len(asked)))
        return {"a": a[0], "b": b[0], "orders": len(asked)} | three(items, "between")

    def _self(self, codes: Floats, purpose: str) -> Json | None:
        """The two orders of a judge, over the pairs with two usable answers; None without such pairs."""
        items = Items(codes[0], codes[1], self.clusters).where(np.asarray((codes >= 0).all(axis=0)))
        if not len(items.a):
            return None
        first, second = (np.array([0.5, 1.0, 0.0])[x.astype(int)] for x in (items.a, items.b))
        points = Items(first, second, items.clusters)
        opposite = (items.a != items.b) & (items.a > 0) & (items.b > 0)
        return {
            "n": len(items.a),
            "agreement": share(items.a == items.b, items.clusters, f"{purpose}/self"),
            "kappa": tabled(items, agreement.kappa_of_table, f"{purpose}/self/kappa"),
            "position_bias": estimate(points, agreement.position_bias, f"{purpose}/bias"),
            "contradictions": share(opposite, items.clusters, f"{purpose}/contradictions"),
        }

    def _leave_one_out(self, codes: Sequence[Floats], purpose: str) -> Json | None:
        """Against the majority of all annotators but one, for each of them in turn: `codes` holds a rater for each.

        People are that one annotator, a judge is the same each time, so the two stand on the same items.
        """
        if self.others is None or self.votes is None:
            return None
        parts = []
        for row, others, vote in zip(codes, self.others, self.votes, strict=True):
            parts.append(self._against(row, np.where(np.isnan(vote), np.nan, others)))
        pooled = _concatenated(parts)
        return three(pooled, f"{purpose}/leave-one-out") if len(pooled.a) else None

    def _longer(self, codes: Floats, longer: Floats, clusters: NDArray[Any], purpose: str) -> Json | None:
        """The share that names the longer output, of the answers that name one, where the lengths differ."""
        kept = (codes > 0) & (longer > 0)
        return share(codes[kept] == longer[kept], clusters[kept], purpose)

    def _repeated(self, orders: int) -> tuple[Floats, NDArray[Any]]:
        return np.tile(self.longer, orders), np.tile(self.clusters, orders)

    def _against(self, codes: Floats, truth: Floats) -> Items:
        """A rater in all orders against one label a pair, where there is one."""
        orders = len(codes)
        return self._joined(codes.ravel(), np.tile(truth, orders), np.tile(self.clusters, orders))

    def _joined(self, a: Floats, b: Floats, clusters: NDArray[Any] | None = None) -> Items:
        items = Items(a, b, self.clusters if clusters is None else clusters)
        return items.where(~(np.isnan(a) | np.isnan(b)))


def _concatenated(parts: Sequence[Items]) -> Items:
    a, b, clusters = (np.concatenate([getattr(part, name) for part in parts]) for name in ("a", "b", "clusters"))
    return Items(a, b, clusters)


def answer_counts(verdicts: Sequence[Verdict], one_order: bool) -> dict[Outcome, int]:
    """How many answers were which, each of the six apart."""
    counts: dict[Outcome, int] = dict.fromkeys(("first", "second", "tie", "refused", "unparsed", "unanswered"), 0)
    for verdict in verdicts:
        for outcome in (verdict.forward, verdict.swapped):
            counts[outcome] += 1
    if one_order:
        counts["unanswered"] -= len(verdicts)  # the order that was never asked
    return counts
