"""The engine: serves an objective with batches, log-probabilities, samples and rewards, and keeps the budget."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import islice

import torch
from torch import Tensor, nn

from .batch import Completions, Coupled, Forward, Labelled, Pairs, Prompts, Ranked, Tokens
from .errors import InputError
from .logprobs import LanguageModel
from .mismatched import mismatched_rows
from .objective import Training
from .reference import Reference
from .results import derive
from .sampling import sample
from .spent import Spent
from .tokens import Dataset

Score = Callable[[Sequence[Tokens]], Sequence[float] | Tensor]


@dataclass(frozen=True)
class Budget:
    """What every objective of a run may use: distinct completions, or seconds, or tokens read in training."""

    completions: int
    seconds: float = 0.0
    tokens: int = 0


@dataclass
class Sources:
    """Where an engine gets what it serves; what an objective does not need is None."""

    dataset: Dataset | None = None
    demonstrations: Sequence[Tokens] = ()
    reference: Reference | None = None
    reward: Score | None = None
    gold: Score | None = None
    max_new_tokens: int = 64


class _Unlearned:
    """A pass without gradient; its head runs when it is read, and that is time of scoring as well."""

    def __init__(self, inner: Forward, spent: Spent) -> None:
        self._inner, self._spent = inner, spent

    @property
    def logps(self) -> Tensor:
        with self._spent.phase("score"):
            return self._inner.logps

    @property
    def states(self) -> Tensor:
        with self._spent.phase("score"):
            return self._inner.states

    @property
    def entropy(self) -> Tensor:
        with self._spent.phase("score"):
            return self._inner.entropy

    @property
    def collision(self) -> Tensor:
        with self._spent.phase("score"):
            return self._inner.collision


class LocalEngine:
    """The `Engine` of one cell on one device, and the `Scorer` of its batches.

    All streams follow one order of the records, fixed by the seed: within a seed every objective meets the same
    prompts in the same order, whatever its batch size. `consumed` lists them as they were served, each record's prompt
    once. A batch is of `batch_size` pairs, labels, lists or prompts; the pairs of one list follow one another, and a
    batch of pairs or labels may end within a list.
    """

    def __init__(self, model: LanguageModel, sources: Sources, training: Training, budget: Budget, seed: int) -> None:
        self.model = model
        self.sources = sources
        self.training = training
        self.budget = budget
        self.seed = seed
        self.spent = Spent(model.device)
        self.consumed: list[int] = []
        self.head: nn.Module | None = None
        self.generator = torch.Generator().manual_seed(derive(seed, "objective"))
        self._rollouts = 0

    # what an objective may ask about

    @property
    def hidden_size(self) -> int:
        return self.model.policy.hidden_size

    @property
    def batch_size(self) -> int:
        return self.training.batch_size

    @property
    def device(self) -> torch.device:
        return self.model.device

    @property
    def label_counts(self) -> tuple[int, int]:
        """How many completions of the data are desirable and how many are not."""
        labels = [good for _, good in self._data.as_labelled()]
        return sum(labels), len(labels) - sum(labels)

    def warn(self, message: str) -> None:
        warnings.warn(message, UserWarning, stacklevel=2)

    # the scorer of batches

    def forward(self, rows: Sequence[Tokens]) -> Forward:
        """One pass over `rows`; without gradient it serves the objective and is time of scoring, not of training."""
        self.spent.policy_forwards += len(rows)
        if not torch.is_grad_enabled():
            self.spent.tokens += self.model.tokens(rows)
            with self.spent.phase("score"):
                return _Unlearned(self.model.forward(rows), self.spent)
        read = self.model.tokens(rows)
        self.spent.tokens_trained += read
        self.spent.tokens_saved += sum(len(row.prompt) + len(row.completion) for row in rows) - read
        return self.model.forward(rows)

    def reference(self, rows: Sequence[Tokens]) -> Tensor:
        reference = self.sources.reference
        assert reference is not None, "an objective that reads the reference must list it in `needs`"
        before = reference.forwards
        with self.spent.phase("score"):
            logps = reference.logps(rows).to(self.device)
        if reference.forwards > before:  # else they were in the cache
            self.spent.tokens += self.model.tokens(rows)
        self.spent.reference_forwards += reference.forwards - before
        return logps

    def values(self, states: Tensor) -> Tensor:
        assert self.head is not None, "an objective that reads values must return a head from `init`"
        values: Tensor = self.head(states)
        return values.squeeze(-1) if values.dim() == states.dim() else values

    # streams

    @property
    def progress(self) -> float:
        """The share of the budget that is used, 0 to 1."""
        shares = [self.spent.completions / self.budget.completions]
        if self.budget.seconds or self.budget.tokens:
            shares = []
        if self.budget.seconds:
            # A budget in seconds is one of training: evaluations on the way are not counted.
            passed = time.perf_counter() - self.spent.started - self.spent.evaluating
            shares.append(passed / self.budget.seconds)
        if self.budget.tokens:
            shares.append(self.spent.tokens / self.budget.tokens)
        return min(1.0, max(shares))

    def pairs(self) -> Iterator[Pairs]:
        data, leads = self._data.pairs, {pairs.start for pairs in self._data.pairs_of}
        for part in self._batches(self._pair_order(), lambda _: 2):
            self._consume([data[i][0].prompt_id for i in part if i in leads], 2 * len(part))
            yield Pairs.from_rows([data[i][0] for i in part], [data[i][1] for i in part], self)

    def labelled(self) -> Iterator[Labelled]:
        data = self._data.as_labelled()
        leads = {2 * pairs.start for pairs in self._data.pairs_of} or range(len(data))
        for part in self._batches(self._labelled_order(), lambda _: 1):
            self._consume([data[i][0].prompt_id for i in part if i in leads], len(part))
            rows = [data[i][0] for i in part]
            drift = Coupled(partial(self._drift, part))
            desirable = torch.tensor([data[i][1] for i in part], device=self.device)
            yield Labelled(Completions.from_rows(rows, self), desirable, drift)

    def _drift(self, items: Sequence[int]) -> Tensor:
        """The log-ratios of completions under other prompts, `[N]`; only an objective that reads them pays for them."""
        rows = [self._mismatched[i] for i in items]
        return Completions.from_rows(rows, self).log_ratio

    def rankings(self) -> Iterator[Ranked]:
        """A list counts as many completions as its pairs hold, so that one pass over the data is one pass for all; the
        middle one of an odd number is read here alone and not counted."""
        data = self._data.lists
        for part in self._batches(self._order(len(data)), lambda i: len(data[i]) // 2 * 2):
            self._consume([data[i][0].prompt_id for i in part], sum(len(data[i]) // 2 * 2 for i in part))
            rows = [row for i in part for row in data[i]]
            yield Ranked(Completions.from_rows(rows, self), tuple(len(data[i]) for i in part))

    def demonstrations(self) -> Iterator[Completions]:
        data = self.sources.demonstrations
        for part in self._batches(self._order(len(data)), lambda _: 1):
            self._consume([data[i].prompt_id for i in part], len(part))
            yield Completions.from_rows([data[i] for i in part], self)

    def prompts(self, n: int = 1) -> Iterator[Prompts]:
        items = self._data.leaders
        stream = self._batches(self._order(len(items)), lambda _: n)
        for part in stream:
            self._consume([items[i].prompt_id for i in part], 0)
            yield Prompts(tuple(Tokens(items[i].prompt, (), items[i].prompt_id) for i in part))

    # samples and rewards

    def sample(self, prompts: Prompts, n: int = 1, greedy: bool = False) -> Completions:
        repeated = [row for row in prompts.tokens for _ in range(n)]
        seed = derive(self.seed, f"rollout/{self._rollouts}")
        with self.spent.phase("sample"):
            rows = sample(self.model.policy, repeated, seed, self.sources.max_new_tokens, 0.0 if greedy else 1.0)
        if not greedy:  # it draws no random number, so that the next rollout is the same with and without it
            self._rollouts += 1
        self.spent.completions += len(rows)
        drawn = sum(len(row.completion) for row in rows)
        self.spent.sampled_tokens += drawn
        self.spent.tokens += drawn + sum(len(row.prompt) for row in rows)
        return Completions.from_rows(rows, self)

    def score(self, samples: Completions) -> Completions:
        with torch.no_grad(), self.spent.phase("score"):
            given = {"logps": samples.logps}
            if self.sources.reference is not None:
                given["ref_logps"] = samples.ref_logps
            if self.head is not None:
                given["values"] = samples.values
        return samples.with_scores(**given)

    def reward(self, samples: Completions, source: str = "model") -> Tensor:
        score = self.sources.gold if source == "gold" else self.sources.reward
        assert score is not None, "an objective that reads rewards must list `reward` (or `gold`) in `needs`"
        with self.spent.phase("score"):
            return torch.as_tensor(score(samples.tokens), dtype=torch.float32, device=self.device)

    # the common order

    @cached_property
    def _mismatched(self) -> tuple[Tokens, ...]:
        return mismatched_rows(self._data)

    @property
    def _data(self) -> Dataset:
        if self.sources.dataset is None:
            raise InputError("this objective asks for preference data that this run does not have.")
        return self.sources.dataset

    def _order(self, count: int) -> Iterator[int]:
        """Epoch after epoch, each a permutation of all records. Raises `InputError` where there is none."""
        if not count:
            raise InputError("this objective asks for data that this run does not have.")
        epoch = 0
        while True:
            generator = torch.Generator().manual_seed(derive(self.seed, f"order/{epoch}"))
            yield from torch.randperm(count, generator=generator).tolist()
            epoch += 1

    def _pair_order(self) -> Iterator[int]:
        """The same order of records; each gives its pairs one after another."""
        pairs_of = self._data.pairs_of
        return (pair for record in self._order(len(pairs_of)) for pair in pairs_of[record])

    def _labelled_order(self) -> Iterator[int]:
        """The same order of records; a pair gives its chosen, then its rejected completion."""
        if self._data.labelled:
            return self._order(len(self._data.labelled))
        return (item for pair in self._pair_order() for item in (2 * pair, 2 * pair + 1))

    def _batches(self, order: Iterator[int], completions: Callable[[int], int]) -> Iterator[list[int]]:
        """Batches of `batch_size` items until the budget is used; `completions` is what an item counts."""
        while self.progress < 1:
            left: float = self.budget.completions - self.spent.completions
            left = math.inf if self.budget.seconds or self.budget.tokens else left
            part: list[int] = []
            for item in islice(order, self.batch_size):
                part.append(item)
                left -= completions(item)
                if left <= 0:
                    break
            yield part

    def _consume(self, prompt_ids: Sequence[int], completions: int) -> None:
        self.consumed.extend(prompt_ids)
        self.spent.completions += completions
