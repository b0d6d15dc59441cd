"""Passes over any number of rows under one model, split to fit the memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property

import torch
from torch import Tensor

from ..batch import Forward, Tokens
from ..models import Policy
from .forward import FullForward
from .head import Head, chunked_kl, head_of
from .layout import group_by_prompt, packed_tokens
from .path import Path


class LanguageModel:
    """Scores completions under one causal language model; what the engine and the evaluation both call.

    `into_grad`: gradients of the two vocabulary-sized matrices are added to `.grad` during the backward pass and not
    returned; the training loop sets it, because an optimizer step is all that follows.
    """

    def __init__(self, policy: Policy, path: Path, max_tokens: int = 8192) -> None:
        self.policy = policy
        self.path = path
        self.max_tokens = max_tokens
        self.into_grad = False

    @property
    def device(self) -> torch.device:
        return self.policy.device

    @property
    def head(self) -> Head | None:
        # On a CPU products in float32 cost no more than in bf16 and lose nothing; a GPU's are in the policy's dtype.
        kind = self.policy.dtype if self.device.type == "cuda" and self.policy.dtype != torch.float32 else None
        head = head_of(self.policy.model, kind)
        return None if head is None else replace(head, into_grad=self.into_grad and head.weight.is_leaf)

    def forward(self, rows: Sequence[Tokens]) -> Forward:
        """One pass with gradient; without gradient, as many as keep each under `max_tokens`."""
        if torch.is_grad_enabled():
            return self._pass(rows)
        packs = self.packs(rows)
        if len(packs) == 1:
            return self._pass(rows)
        return _Joined([self._pass([rows[i] for i in pack]) for pack in packs], packs, rows)

    def divergence(self, reference: LanguageModel, rows: Sequence[Tokens]) -> tuple[Tensor, Tensor, Tensor]:
        """KL(self || reference) over the whole vocabulary before each completion token, and the log-probs of that token
        under both: `[sum T]` each, nats, from one pass of each model."""
        found: list[tuple[Tensor, ...]] = [()] * len(rows)
        with torch.no_grad():
            for pack in self.packs(rows):
                part = [rows[i] for i in pack]
                lengths = [len(row.completion) for row in part]
                columns = chunked_kl(self._pass(part), reference._pass(part))
                for i, *values in zip(pack, *(column.split(lengths) for column in columns), strict=True):
                    found[i] = tuple(values)
        kl, own, theirs = (torch.cat(column) for column in zip(*found, strict=True))
        return kl, own, theirs

    def packs(self, rows: Sequence[Tokens]) -> list[list[int]]:
        """Indices of `rows` in parts of at most `max_tokens` tokens (or one row); completions of a prompt together."""
        if sum(len(row.prompt) + len(row.completion) for row in rows) <= self.max_tokens:
            return [list(range(len(rows)))]
        parts: list[list[int]] = []
        room = 0
        for group in group_by_prompt(rows):
            for members in self._fitting(rows, group.rows, len(group.prompt)):
                size = self.tokens([rows[i] for i in members])
                if not parts or size > room:
                    parts.append([])
                    room = self.max_tokens
                parts[-1].extend(members)
                room -= size
        return parts

    def _fitting(self, rows: Sequence[Tokens], members: Sequence[int], prompt: int) -> list[Sequence[int]]:
        """The completions of one prompt, in parts that fit a pack."""
        if self.tokens([rows[i] for i in members]) <= self.max_tokens:
            return [members]
        longest = max(len(rows[i].completion) for i in members) + (0 if self.path.shared else prompt)
        count = max(1, (self.max_tokens - (prompt if self.path.shared else 0)) // max(1, longest))
        return [members[start : start + count] for start in range(0, len(members), count)]

    def tokens(self, rows: Sequence[Tokens]) -> int:
        """Tokens that a pass over `rows` really reads."""
        return packed_tokens(rows) if self.path.shared else sum(len(r.prompt) + len(r.completion) for r in rows)

    def _pass(self, rows: Sequence[Tokens]) -> FullForward:
        return self.path.score(self.policy, rows, self.head)


class _Joined:
    """Several passes without gradient, read as one, in the order of the rows."""

    def __init__(self, parts: Sequence[FullForward], packs: Sequence[Sequence[int]], rows: Sequence[Tokens]) -> None:
        self._parts, self._packs, self._rows = parts, packs, rows

    def _ordered(self, flat: Sequence[Tensor], extra: int) -> Tensor:
        found: dict[int, Tensor] = {}
        for tensor, pack in zip(flat, self._packs, strict=True):
            lengths = [len(self._rows[i].completion) + extra for i in pack]
            found.update(zip(pack, tensor.split(lengths), strict=True))
        return torch.cat([found[i] for i in range(len(self._rows))])

    @cached_property
    def logps(self) -> Tensor:
        return self._ordered([part.logps for part in self._parts], 0)

    @cached_property
    def states(self) -> Tensor:
        return self._ordered([part.states for part in self._parts], 1)

    @cached_property
    def entropy(self) -> Tensor:
        return self._ordered([part.entropy for part in self._parts], 0)

    @cached_property
    def collision(self) -> Tensor:
        return self._ordered([part.collision for part in self._parts], 0)
