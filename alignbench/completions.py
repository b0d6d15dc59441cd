"""Completions that promise their log-probabilities and compute them on first read.

They hold token ids. Reading `logps`, `ref_logps`, `states`, `values`, `entropy` or `collision` runs the model that is
needed for it, once, and an objective pays only for what it reads. `select(rows)` goes back to the ids, so that the
loop can split a batch before anything with a gradient exists.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import torch
from torch import Tensor


@dataclass(frozen=True)
class Tokens:
    """One tokenised sequence: `prompt` ids, then `completion` ids (its end token included where the text ended)."""

    prompt: tuple[int, ...]
    completion: tuple[int, ...]
    prompt_id: int = -1
    ended: bool = True


class Forward(Protocol):
    """One forward pass over some rows, flat: the tokens of all completions one after another."""

    @property
    def logps(self) -> Tensor: ...  # [sum T]

    @property
    def states(self) -> Tensor: ...  # [sum (T + 1), D]

    @property
    def entropy(self) -> Tensor: ...  # [sum T], no gradient

    @property
    def collision(self) -> Tensor: ...  # [sum T], no gradient


class Scorer(Protocol):
    """What a batch asks of the engine. Without gradient, a forward pass is split into packs that fit the memory."""

    def forward(self, rows: Sequence[Tokens]) -> Forward: ...

    def reference(self, rows: Sequence[Tokens]) -> Tensor: ...  # [sum T], no gradient

    def values(self, states: Tensor) -> Tensor: ...  # [..., D] -> [...]

    @property
    def device(self) -> torch.device: ...


class Shared:
    """The passes over a set of rows that several `Completions` look into: chosen and rejected are scored in one."""

    def __init__(self, rows: Sequence[Tokens], scorer: Scorer) -> None:
        self.rows = tuple(rows)
        self.scorer = scorer

    @cached_property
    def forward(self) -> Forward:
        return self.scorer.forward(self.rows)

    @cached_property
    def reference(self) -> Tensor:
        with torch.no_grad():
            return self.scorer.reference(self.rows)

    @cached_property
    def values(self) -> Tensor:
        return self.scorer.values(self.forward.states)


class Completions:
    """B completions of T tokens at most, right-padded; every `[B, T]` tensor is 0 where `mask` is False.

    Attributes computed on first read: `logps [B, T]` (float32 nats, gradient to the policy), `ref_logps [B, T]` (no
    gradient), `states [B, T+1, D]` (`states[:, t]` precedes token t, `states[:, length]` follows the last one),
    `values [B, T+1]` (what `Objective.init` returned, applied to `states`), `entropy [B, T]` (nats, no gradient),
    `collision [B, T]` (log sum_v pi(v | x, y_<t)^2 over the vocabulary, nats, no gradient).
    """

    def __init__(self, shared: Shared, start: int, stop: int, given: dict[str, Tensor] | None = None) -> None:
        self._shared = shared
        self._start, self._stop = start, stop
        self._given: dict[str, Tensor] = dict(given or {})
        self.fixed = False

    @classmethod
    def from_rows(cls, rows: Sequence[Tokens], scorer: Scorer) -> Completions:
        """Completions that `scorer` will score when they are read."""
        return cls(Shared(rows, scorer), 0, len(rows))

    @classmethod
    def of(
        cls,
        logps: Tensor,
        ref_logps: Tensor | None,
        mask: Tensor,
        values: Tensor | None = None,
        entropy: Tensor | None = None,
        collision: Tensor | None = None,
        ended: Tensor | None = None,
    ) -> Completions:
        """Completions from plain tensors `[B, T]` (`values [B, T+1]`, `ended [B]`: all, unless it is given), for
        examples and tests."""
        self = cls(Shared((), _Nothing()), 0, logps.shape[0])
        self.fixed = True
        given = {"logps": logps, "ref_logps": ref_logps, "values": values, "entropy": entropy, "collision": collision}
        self._given = {name: value for name, value in given.items() if value is not None}
        self._given["mask"] = mask.bool()
        for name in ("logps", "ref_logps", "entropy", "collision"):
            if name in self._given:
                self._given[name] = self._given[name].masked_fill(~self._given["mask"], 0.0)
        self.ended = torch.ones(len(self), dtype=torch.bool) if ended is None else ended.bool()
        return self

    def __len__(self) -> int:
        return self._stop - self._start

    @property
    def scorer(self) -> Scorer:
        return self._shared.scorer

    @property
    def tokens(self) -> tuple[Tokens, ...]:
        """The token ids, `[B]`; empty for completions made by `of`."""
        return self._shared.rows[self._start : self._stop]

    @property
    def rows(self) -> Sequence[Sequence[Tokens]]:
        """The sequences behind each item: one each."""
        return [(tokens,) for tokens in self.tokens]

    def select(self, rows: Sequence[int]) -> Completions:
        """The given rows, fresh from their ids; values without gradient that cannot change (the reference) are kept."""
        index = torch.as_tensor(list(rows), dtype=torch.long)
        if self.fixed:
            chosen = Completions(self._shared, 0, len(index), {k: v[index] for k, v in self._given.items()})
            chosen.fixed, chosen.ended = True, self.ended[index]
            return chosen
        fresh = Completions.from_rows([self.tokens[i] for i in index.tolist()], self._shared.scorer)
        if "ref_logps" in self._given:
            fresh._given["ref_logps"] = self._given["ref_logps"][index][:, : fresh.mask.shape[1]]
        return fresh

    def with_scores(self, **given: Tensor) -> Completions:
        """The same completions with some tensors already known (`logps`, `ref_logps`, `values`)."""
        known = Completions(self._shared, self._start, self._stop, {**self._given, **given})
        known.fixed = self.fixed
        if self.fixed:
            known.ended = self.ended
        return known

    @cached_property
    def mask(self) -> Tensor:
        """`[B, T]`, True on completion tokens."""
        if "mask" in self._given:
            return self._given["mask"]
        lengths = torch.tensor([len(row.completion) for row in self.tokens], device=self._shared.scorer.device)
        return torch.arange(int(lengths.max()), device=lengths.device)[None, :] < lengths[:, None]

    @cached_property
    def logps(self) -> Tensor:
        return self._read("logps", lambda: self._padded(self._shared.forward.logps, 0))

    @cached_property
    def ref_logps(self) -> Tensor:
        return self._read("ref_logps", lambda: self._padded(self._shared.reference, 0))

    @cached_property
    def entropy(self) -> Tensor:
        return self._read("entropy", lambda: self._padded(self._shared.forward.entropy, 0))

    @cached_property
    def collision(self) -> Tensor:
        return self._read("collision", lambda: self._padded(self._shared.forward.collision, 0))

    @cached_property
    def states(self) -> Tensor:
        return self._read("states", lambda: self._padded(self._shared.forward.states, 1))

    @cached_property
    def values(self) -> Tensor:
        return self._read("values", lambda: self._padded(self._shared.values, 1))

    @cached_property
    def length(self) -> Tensor:
        """`[B]`, completion tokens."""
        return self.mask.sum(-1)

    @cached_property
    def ended(self) -> Tensor:
        """`[B]` bool, whether the completion ended by itself."""
        return torch.tensor([row.ended for row in self.tokens], device=self.mask.device)

    @property
    def logp(self) -> Tensor:
        """`[B]`, log pi(y | x) = sum_t log pi(y_t | x, y_<t), nats."""
        return self.logps.sum(-1)

    @property
    def mean_logp(self) -> Tensor:
        """`[B]`, log pi(y | x) / |y|, nats a token."""
        return self.logp / self.length

    @property
    def log_ratio(self) -> Tensor:
        """`[B]`, log pi(y | x) - log pi_ref(y | x), nats."""
        return self.logp - self.ref_logps.sum(-1)

    def _read(self, name: str, compute: Callable[[], Tensor]) -> Tensor:
        if name in self._given:
            return self._given[name]
        if self.fixed:
            raise AttributeError(f"these completions were made from plain tensors without {name!r}")
        return compute()

    def _padded(self, flat: Tensor, extra: int) -> Tensor:
        """`[sum (T + extra), ...]` over all shared rows -> `[B, T + extra, ...]` of these rows."""
        lengths = [len(row.completion) + extra for row in self._shared.rows]
        parts = flat.split(lengths)[self._start : self._stop]
        return torch.nn.utils.rnn.pad_sequence(list(parts), batch_first=True)


class _Nothing:
    """The scorer of completions made from plain tensors: it has nothing to score with."""

    device = torch.device("cpu")

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"these completions were made from plain tensors; there is no model to give {name!r}")
