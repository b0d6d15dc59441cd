"""An engine without a model: each sequence has log-probs of its own in a table, leaves to differentiate by.

It serves every kind of batch through the same `Completions`, `select` and streams as a run does, so an objective is
looked at as a whole, `batches` and `loss`, at any point whatever; and the gradient of a leaf says which sequence and
which token a loss reaches.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from ..batch import Completions, Coupled, Forward, Labelled, Pairs, Prompts, Ranked, Tokens
from ..completions import Shared
from ..results import derive
from .outcomes import Failed
from .padded import Padded, padded_pairs
from .points import Point, uniform

PROMPTS = 6  # of a batch, where nothing else is said
LONGEST = 5  # tokens of a completion
GREEDY = 9  # the place of the likeliest completion of a prompt; what is sampled comes after it
OPENED = 50  # streams that `batches` may ask for before it is taken to go on for ever


@dataclass(frozen=True)
class Leaves:
    """The numbers of one sequence as tensors of their own: `[T]`, of values `[T + 1]`; the reference is fixed, unless
    the table is traced."""

    logps: Tensor
    moved: Tensor
    values: Tensor
    moved_values: Tensor
    ref_logps: Tensor
    entropy: Tensor


class Table:
    """A policy and a reference that are tables; the `Scorer` of plain batches.

    `moved`: whether the policy is read as it is after some optimizer steps on a rollout, or as it sampled. `traced`:
    whether the numbers of the reference are leaves as well, to see whether a gradient reaches them.
    """

    def __init__(self, point: Point, dtype: torch.dtype, rounded: torch.dtype, seed: int, traced: bool = False) -> None:
        self.traced = traced
        self.point, self.dtype, self.rounded, self.seed = point, dtype, rounded, seed
        self.leaves: dict[Tokens, Leaves] = {}
        self.moved = False
        self.head: nn.Module | None = None

    @property
    def device(self) -> torch.device:
        return torch.device("cpu")

    def __getitem__(self, row: Tokens) -> Leaves:
        if row not in self.leaves:
            draw = torch.Generator().manual_seed(derive(self.seed, f"{row.prompt} {row.completion}"))
            numbers = self.point.rule(draw, len(row.completion))
            entropy = uniform(draw, len(row.completion), 0.1, 2.0)
            # Copies: rules may give one tensor under two names, and each leaf is changed by itself.
            made = [part.to(self.rounded).to(self.dtype, copy=True) for part in (*numbers, entropy)]
            logps, ref, moved, values, moved_values, entropy = made
            for leaf in (logps, moved, values, moved_values):
                leaf.requires_grad_()
            ref.requires_grad_(self.traced)
            self.leaves[row] = Leaves(logps, moved, values, moved_values, ref, entropy)
        return self.leaves[row]

    def learned(self, row: Tokens) -> tuple[Tensor, Tensor]:
        """The leaves that a loss may reach now: log-probs and values."""
        leaves = self[row]
        return (leaves.moved, leaves.moved_values) if self.moved else (leaves.logps, leaves.values)

    def forward(self, rows: Sequence[Tokens]) -> Forward:
        return _Read([self[row] for row in rows], self.moved)

    def reference(self, rows: Sequence[Tokens]) -> Tensor:
        return torch.cat([self[row].ref_logps for row in rows])

    def values(self, states: Tensor) -> Tensor:
        if self.head is None:
            raise Failed(
                "it reads `values` but `init` returns no module to give them: return a value head from `init`."
            )
        return states[..., 0]


@dataclass(frozen=True)
class _Read:
    """One reading of some rows, flat; the first number of a state is its value."""

    rows: list[Leaves]
    moved: bool

    @property
    def logps(self) -> Tensor:
        return torch.cat([row.moved if self.moved else row.logps for row in self.rows])

    @property
    def states(self) -> Tensor:
        values = torch.cat([row.moved_values if self.moved else row.values for row in self.rows])
        return values[:, None].expand(-1, PlainEngine.hidden_size)

    @property
    def entropy(self) -> Tensor:
        return torch.cat([row.entropy for row in self.rows])

    @property
    def collision(self) -> Tensor:
        # log sum_v p(v)^2 lies between twice the log-prob of any one token and 0.
        logps = self.logps.detach()
        return torch.maximum(2 * logps, -self.entropy)


@dataclass
class PlainEngine:
    """The `Engine` over a `Table`. `plan` says which prompts, by number, make up which batch; `columns` widens every
    batch by so many columns of padding; numbers are rounded to `rounded` and then given as `dtype`."""

    point: Point
    plan: Sequence[Sequence[int]] = (range(PROMPTS),)
    dtype: torch.dtype = torch.float32
    rounded: torch.dtype = torch.float64
    columns: int = 0
    seed: int = 0
    traced: bool = False
    hidden_size = 4
    drawn: dict[int, int] = field(default_factory=dict)
    said: list[str] = field(default_factory=list)
    _opened: int = 0

    def __post_init__(self) -> None:
        self.table = Table(self.point, self.dtype, self.rounded, self.seed, self.traced)
        self.generator = torch.Generator().manual_seed(derive(self.seed, "objective"))

    @property
    def batch_size(self) -> int:
        return len(self.plan[0])

    @property
    def label_counts(self) -> tuple[int, int]:
        prompts = len({number for part in self.plan for number in part})
        return prompts, prompts

    def warn(self, message: str) -> None:
        self.said.append(message)

    # streams

    def row(self, prompt: int, place: int) -> Tokens:
        """A completion of a prompt: one to five tokens, some without an end."""
        source = random.Random(derive(self.seed, f"row {prompt} {place}"))
        ids = (source.randrange(4, 100) for _ in range(source.randint(1, LONGEST) - 1))
        return Tokens(self._prompt(prompt), (1000 + place, *ids), prompt, source.random() < 0.7)

    def _prompt(self, number: int) -> tuple[int, ...]:
        return (1, *range(4, 5 + number % 3), 100 + number)

    def _batches(self) -> Iterator[Sequence[int]]:
        self._opened += 1
        if self._opened > OPENED:
            raise Failed("`batches` goes on after the engine's streams have ended: end when they end.")
        yield from self.plan

    def pairs(self) -> Iterator[Pairs]:
        for part in self._batches():
            chosen, rejected = ([self.row(number, place) for number in part] for place in (0, 1))
            if self.columns:
                yield padded_pairs(chosen, rejected, self.table, self.columns)
            else:
                yield Pairs.from_rows(chosen, rejected, self.table)

    def labelled(self) -> Iterator[Labelled]:
        for part in self._batches():
            rows = [self.row(number, place) for number in part for place in (0, 1)]
            # The partner of a prompt's completion is a neighbour's, whatever else is in the batch.
            others = [Tokens(row.prompt, self.row(row.prompt_id + 1, 2).completion, row.prompt_id) for row in rows]
            mismatched = Completions.from_rows(others, self.table)
            desirable = torch.tensor([True, False] * len(part))
            yield Labelled(self._completions(rows), desirable, Coupled(lambda m=mismatched: m.log_ratio))  # type: ignore[misc]

    def rankings(self) -> Iterator[Ranked]:
        for part in self._batches():
            sizes = tuple(2 + number % 3 for number in part)
            rows = [self.row(number, k) for number, size in zip(part, sizes, strict=True) for k in range(size)]
            yield Ranked(self._completions(rows), sizes)

    def demonstrations(self) -> Iterator[Completions]:
        for part in self._batches():
            yield self._completions([self.row(number, 0) for number in part])

    def prompts(self, n: int = 1) -> Iterator[Prompts]:
        for part in self._batches():
            yield Prompts(tuple(Tokens(self._prompt(number), (), number) for number in part))

    # samples and rewards

    def sample(self, prompts: Prompts, n: int = 1, greedy: bool = False) -> Completions:
        rows = []
        for prompt in prompts.tokens:
            for _ in range(n):
                if greedy:
                    rows.append(self.row(prompt.prompt_id, GREEDY))
                    continue
                place = self.drawn.get(prompt.prompt_id, 0)
                self.drawn[prompt.prompt_id] = place + 1
                rows.append(self.row(prompt.prompt_id, GREEDY + 1 + place))
        return self._completions(rows)

    def score(self, samples: Completions) -> Completions:
        with torch.no_grad():
            given = {"logps": samples.logps, "ref_logps": samples.ref_logps}
            if self.table.head is not None:
                given["values"] = samples.values
        return samples.with_scores(**given)

    def reward(self, samples: Completions, source: str = "model") -> Tensor:
        seeds = (derive(self.seed, f"{source} {row.prompt} {row.completion}") for row in samples.tokens)
        scores = [2 * random.Random(seed).gauss(0, 1) for seed in seeds]
        return torch.tensor(scores, dtype=torch.promote_types(self.dtype, torch.float32))

    def _completions(self, rows: Sequence[Tokens]) -> Completions:
        if self.columns:
            return Padded(Shared(rows, self.table), 0, len(rows), columns=self.columns)
        return Completions.from_rows(rows, self.table)
