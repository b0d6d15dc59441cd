"""The batches an objective sees: each can be measured (`len`, `mask`) and split (`select`) by the training loop."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Protocol, Self

import torch
from torch import Tensor

from .completions import Completions, Forward, Scorer, Shared, Tokens

__all__ = [
    "Batch", "Completions", "Coupled", "Experience", "Forward", "Labelled", "Pairs", "Prompts", "Scorer", "Tokens",
]  # fmt: skip


class Batch(Protocol):
    """What the training loop needs of a batch."""

    def __len__(self) -> int: ...

    @property
    def mask(self) -> Tensor: ...  # [B, T]

    @property
    def rows(self) -> Sequence[Sequence[Tokens]]: ...  # the sequences behind each of the B items

    def select(self, rows: Sequence[int]) -> Self: ...


@dataclass(frozen=True)
class Pairs:
    """B preference pairs; `chosen` and `rejected` of a pair are scored in one forward pass."""

    chosen: Completions
    rejected: Completions

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
        if chosen.fixed:
            return Pairs(chosen, rejected)
        return Pairs.from_rows(chosen.tokens, rejected.tokens, chosen.scorer)


class Coupled:
    """A value of the whole batch, computed once without gradient, and shared by all its micro-batches."""

    def __init__(self, compute: Callable[[], Tensor]) -> None:
        self._compute = compute

    @cached_property
    def value(self) -> Tensor:
        with torch.no_grad():
            return self._compute()


@dataclass(frozen=True)
class Labelled:
    """B labelled completions, `desirable [B]` bool.

    `mismatched_log_ratio [N]` is the log-ratio, without gradient, of completions under the prompts of others: the
    sample from which KTO estimates how far the policy has drifted. It belongs to the whole batch and is never split.
    """

    completions: Completions
    desirable: Tensor
    coupled: Coupled

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
        index = torch.as_tensor(list(rows), dtype=torch.long, device=self.desirable.device)
        return replace(self, completions=self.completions.select(rows), desirable=self.desirable[index])


@dataclass(frozen=True)
class Experience:
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

    def __len__(self) -> int:
        return len(self.completions)

    @property
    def mask(self) -> Tensor:
        return self.completions.mask

    @property
    def rows(self) -> Sequence[Sequence[Tokens]]:
        return self.completions.rows

    def select(self, rows: Sequence[int]) -> Experience:
        index = torch.as_tensor(list(rows), dtype=torch.long, device=self.old_logps.device)
        completions = self.completions.select(rows)
        width = completions.mask.shape[1]

        def keep(tensor: Tensor | None) -> Tensor | None:
            if tensor is None:
                return None
            return tensor.detach()[index] if tensor.dim() == 1 else tensor.detach()[index, :width]

        kept = {f: keep(getattr(self, f)) for f in ("returns", "old_values", "scores")}
        old_logps, advantages = keep(self.old_logps), keep(self.advantages)
        assert old_logps is not None and advantages is not None
        return Experience(completions, old_logps, advantages, **kept)


@dataclass(frozen=True)
class Prompts:
    """Prompts to sample from: `Tokens` with an empty completion."""

    tokens: tuple[Tokens, ...]

    def __len__(self) -> int:
        return len(self.tokens)
