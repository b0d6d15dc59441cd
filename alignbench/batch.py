"""The batches an objective sees: each can be measured (`len`, `mask`) and split (`select`) by the training loop."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Protocol, Self

import torch
from torch import Tensor

from .completions import Completions, Forward, Scorer, Shared, Tokens

__all__ = [
    "Batch", "Completions", "Coupled", "Experience", "Forward", "Labelled", "Pairs", "Prompts", "Ranked", "Scorer",
    "Tokens",
]  # fmt: skip


class Batch(Protocol):
    """What the training loop needs of a batch."""

    def __len__(self) -> int: ...

    @property
    def mask(self) -> Tensor: ...  # [B, T]

    @property
    def rows(self) -> Sequence[Sequence[Tokens]]: ...  # the sequences behind each of the B items

    def select(self, rows: Sequence[int]) -> Self: ...


Extra = Mapping[str, Tensor]
"""Tensors `[B]` or `[B, ...]` that `batches` computed for the whole batch: without gradient, split with its rows."""


class _Noted:
    """A batch that carries what its objective has computed for the whole of it (a running mean, partners, weights)."""

    extra: Extra

    def with_extra(self, **tensors: Tensor) -> Self:
        """The same batch with more tensors in `extra`, `[B]` or `[B, ...]`, cut off from any gradient."""
        noted = {name: tensor.detach() for name, tensor in tensors.items()}
        return replace(self, extra={**self.extra, **noted})  # type: ignore[type-var]

    def _extra_of(self, rows: Sequence[int]) -> dict[str, Tensor]:
        return {name: tensor[_index(rows, tensor)] for name, tensor in self.extra.items()}


def _index(rows: Sequence[int], like: Tensor) -> Tensor:
    return torch.as_tensor(list(rows), dtype=torch.long, device=like.device)


@dataclass(frozen=True)
class Pairs(_Noted):
    """B preference pairs; `chosen` and `rejected` of a pair are scored in one forward pass."""

    chosen: Completions
    rejected: Completions
    extra: Extra = field(default_factory=dict)

    @classmethod
    def from_rows(cls, chosen: Sequence[Tokens], rejected: Sequence[Tokens], scorer: Scorer) -> Pairs:
        shared = Shared([*chosen, *rejected], scorer)
        middle = len(chosen)
        return cls(Completions(shared, 0, middle), Completions(shared, middle, 2 * middle))

    def __len__(self) -> int:
        return len(self.chosen)

    @property
    def mask(self) -> Tensor:
        """`[B, T_chosen + T_rejected]`: the tokens of both."""
        return torch.cat([self.chosen.mask, self.rejected.mask], dim=1)

    @property
    def rows(self) -> Sequence[Sequence[Tokens]]:
        return list(zip(self.chosen.tokens, self.rejected.tokens, strict=True))

    def select(self, rows: Sequence[int]) -> Pairs:
        chosen, rejected = self.chosen.select(rows), self.rejected.select(rows)
        fresh = self if chosen.fixed else Pairs.from_rows(chosen.tokens, rejected.tokens, chosen.scorer)
        sides = (chosen, rejected) if chosen.fixed else (fresh.chosen, fresh.rejected)
        return Pairs(*sides, self._extra_of(rows))


class Coupled:
    """A value of the whole batch, computed once without gradient, and shared by all its micro-batches."""

    def __init__(self, compute: Callable[[], Tensor]) -> None:
        self._compute = compute

    @cached_property
    def value(self) -> Tensor:
        with torch.no_grad():
            return self._compute()


@dataclass(frozen=True)
class Labelled(_Noted):
    """B labelled completions, `desirable [B]` bool.

    `mismatched_log_ratio [N]` is the log-ratio, without gradient, of completions under the prompts of others: the
    sample from which KTO estimates how far the policy has drifted. It belongs to the whole batch and is never split.
    """

    completions: Completions
    desirable: Tensor
    coupled: Coupled
    extra: Extra = field(default_factory=dict)

    @classmethod
    def of(cls, completions: Completions, desirable: Tensor, mismatched_log_ratio: Tensor) -> Labelled:
        """A batch from plain tensors, for examples and tests."""
        return cls(completions, desirable.bool(), Coupled(mismatched_log_ratio.detach))

    def __len__(self) -> int:
        return len(self.completions)

    @property
    def mask(self) -> Tensor:
        return self.completions.mask

    @property
    def rows(self) -> Sequence[Sequence[Tokens]]:
        return self.completions.rows

    @property
    def mismatched_log_ratio(self) -> Tensor:
        return self.coupled.value

    def select(self, rows: Sequence[int]) -> Labelled:
        desirable = self.desirable[_index(rows, self.desirable)]
        return replace(self, completions=self.completions.select(rows), desirable=desirable, extra=self._extra_of(rows))


@dataclass(frozen=True)
class Ranked(_Noted):
    """B lists of completions, each of one prompt and from the best to the worst; lists may differ in length.

    `completions` holds the lists one after another, `sizes [B]` says how long each is, two at least.
    """

    completions: Completions
    sizes: tuple[int, ...]
    extra: Extra = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.sizes)

    @property
    def present(self) -> Tensor:
        """`[B, K]` bool: where `table` holds a completion."""
        sizes = torch.tensor(self.sizes, device=self.completions.mask.device)
        return torch.arange(max(self.sizes), device=sizes.device)[None, :] < sizes[:, None]

    def table(self, values: Tensor, fill: float = 0.0) -> Tensor:
        """A value of each completion `[N]` as one row a list, `[B, K]`, best first, `fill` where a list is over."""
        rows = list(values.split(list(self.sizes)))
        return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=fill)

    @property
    def mask(self) -> Tensor:
        """`[B, K T]`: the tokens of all completions of a list."""
        whole = torch.nn.utils.rnn.pad_sequence(list(self.completions.mask.split(list(self.sizes))), batch_first=True)
        return whole.flatten(1)

    @property
    def rows(self) -> Sequence[Sequence[Tokens]]:
        tokens = self.completions.tokens
        return [tokens[start : start + size] for start, size in zip(self._starts, self.sizes, strict=True)]

    @property
    def _starts(self) -> list[int]:
        return [sum(self.sizes[:i]) for i in range(len(self.sizes))]

    def select(self, rows: Sequence[int]) -> Ranked:
        starts = self._starts
        members = [place for row in rows for place in range(starts[row], starts[row] + self.sizes[row])]
        sizes = tuple(self.sizes[row] for row in rows)
        return Ranked(self.completions.select(members), sizes, self._extra_of(rows))


@dataclass(frozen=True)
class Experience(_Noted):
    """B sampled completions and what was known when they were sampled; nothing here has a gradient.

    `old_logps`, `advantages`, `returns`, `old_values` are `[B, T]`, `scores` (the reward of a whole completion) is
    `[B]`. What the policy says *now* is read from `completions`.
    """

    completions: Completions
    old_logps: Tensor
    advantages: Tensor
    returns: Tensor | None = None
    old_values: Tensor | None = None
    scores: Tensor | None = None
    extra: Extra = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.completions)

    @property
    def mask(self) -> Tensor:
        return self.completions.mask

    @property
    def rows(self) -> Sequence[Sequence[Tokens]]:
        return self.completions.rows

    def select(self, rows: Sequence[int]) -> Experience:
        index = _index(rows, self.old_logps)
        completions = self.completions.select(rows)
        width = completions.mask.shape[1]

        def keep(tensor: Tensor | None) -> Tensor | None:
            if tensor is None:
                return None
            return tensor.detach()[index] if tensor.dim() == 1 else tensor.detach()[index, :width]

        kept = {f: keep(getattr(self, f)) for f in ("returns", "old_values", "scores")}
        old_logps, advantages = keep(self.old_logps), keep(self.advantages)
        assert old_logps is not None and advantages is not None
        return Experience(completions, old_logps, advantages, **kept, extra=self._extra_of(rows))


@dataclass(frozen=True)
class Prompts:
    """Prompts to sample from: `Tokens` with an empty completion."""

    tokens: tuple[Tokens, ...]

    def __len__(self) -> int:
        return len(self.tokens)
