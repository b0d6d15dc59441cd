"""Preference data as the checks look at them: two sides, the prompts behind them, and a sample where there are many."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import InputError
from ..records import Kind, LabelledCompletion, Pair, Preferences, Prompt, Ranking, nested
from ..results import derive
from ..stats import Estimate, agreement_interval, interval
from .findings import Where

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
T = TypeVar("T")

SAMPLE = 20_000
"""Records that the expensive checks read; of more, a sample that is the same every time."""
RESAMPLES = 1000


@dataclass(frozen=True)
class Sides(Generic[T]):
    """Something of the completions of either side, with the place of its record: aligned where `paired`."""

    first: list[T]
    second: list[T]
    first_at: Ints
    second_at: Ints
    paired: bool

    @property
    def enough(self) -> bool:
        """Whether there is anything to compare."""
        return min(len(self.first), len(self.second)) > 0


class View:
    """Records of one kind.

    A ranking is read as its nested pairs, as objectives on pairs read it; of labels, the desirable completions are the
    first side and the undesirable the second.

    Raises:
        InputError: there is no record.
    """

    def __init__(self, records: Preferences) -> None:
        if not records:
            raise InputError("there is no preference record to examine: give data that hold one at least.")
        kinds: dict[type, Kind] = {Pair: "pairs", LabelledCompletion: "labels", Ranking: "rankings"}
        self.records: Sequence[Pair | LabelledCompletion | Ranking] = records
        self.kind = kinds[type(records[0])]
        self.n = len(records)
        self.paired = self.kind != "labels"
        self.things = {"pairs": "pairs", "labels": "labelled completions", "rankings": "rankings"}[self.kind]
        self.names = ("chosen", "rejected") if self.paired else ("desirable", "undesirable")
        # Records that a run has made stand on no line; a mixture would be read as lines of one file.
        self.where: Where = "record" if any(record.line is None for record in records) else "line"

    @cached_property
    def sample(self) -> tuple[int, ...]:
        """Places of the records that expensive checks read, in order."""
        if self.n <= SAMPLE:
            return tuple(range(self.n))
        rng = np.random.default_rng(derive(0, "doctor sample"))
        return tuple(sorted(rng.choice(self.n, SAMPLE, replace=False).tolist()))

    @property
    def sampled(self) -> str:
        """What a sentence says of the sample; empty where everything is read."""
        return "" if self.n <= SAMPLE else f"in a sample of {SAMPLE:,} of the {self.n:,} records"

    @cached_property
    def prompts(self) -> Ints:
        """For each record the number of its prompt."""
        numbers: dict[Prompt, int] = {}
        return np.array([numbers.setdefault(record.prompt, len(numbers)) for record in self.records], dtype=np.int64)

    @cached_property
    def texts(self) -> Sides[str]:
        """The completions of the sample."""
        return self.sides({i: [y.text for y in self.records[i].completions] for i in self.sample})

    def number(self, place: int) -> int:
        """The line of a record, or its place counted from 1."""
        line = self.records[place].line
        return place + 1 if self.where == "record" or line is None else line

    def lines(self, places: Iterable[int]) -> tuple[int, ...]:
        return tuple(sorted({self.number(int(place)) for place in places}))

    def named(self, places: Sequence[int]) -> str:
        """ "lines 3 and 17"."""
        return f"{self.where}s {' and '.join(str(self.number(place)) for place in places)}"

    def sides(self, values: Mapping[int, Sequence[T]]) -> Sides[T]:
        """Deal out values that stand, by place of the record, in the order of `record.completions`."""
        first: list[tuple[T, int]] = []
        second: list[tuple[T, int]] = []
        for place, given in values.items():
            record = self.records[place]
            if isinstance(record, LabelledCompletion):
                (first if record.desirable else second).append((given[0], place))
            else:
                for better, worse in nested(tuple(given)):
                    first.append((better, place))
                    second.append((worse, place))
        (a, at), (b, bt) = (
            ([v for v, _ in side], np.array([i for _, i in side], np.int64)) for side in (first, second)
        )
        return Sides(a, b, at, bt, self.paired)


def mean_by_prompt(
    scores: ArrayLike, prompts: ArrayLike, purpose: str, bounds: tuple[float, float] | None = None
) -> Estimate:
    """The mean of `scores [N]` with a 95 % bootstrap interval in which whole prompts are resampled.

    Pairs of one prompt are not independent of each other: as items of their own they would make it too narrow.
    """
    x, names = np.asarray(scores, dtype=np.float64), np.asarray(prompts)
    rng = np.random.default_rng(derive(0, f"doctor {purpose}"))
    _, codes, sizes = np.unique(names, return_inverse=True, return_counts=True)
    if sizes.max() == 1:
        return interval(x[:, None], rng, bounds=bounds)
    found = agreement_interval(x, x, lambda a, _: float(a.mean()), rng, clusters=codes, resamples=RESAMPLES)
    if found.low is not None or bounds is None:
        return found
    # All alike: the bound of `interval`, from as many observations as there are prompts.
    return interval((np.bincount(codes, x) / sizes)[:, None], rng, bounds=bounds)
