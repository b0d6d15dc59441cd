"""One forward pass over some rows: prompts shared and packed, or each sequence plainly by itself.

A shared prompt is run once for all its completions. They follow it in one row; each attends to the prompt and to
itself, and positions restart after the prompt, so every completion sees exactly what it would see alone:

    row        p0 p1 p2 | a0 a1 a2 | b0 b1
    position    0  1  2 |  3  4  5 |  3  4
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from ..batch import Tokens
from ..models import Policy
from .head import accumulation, chunked_entropy, chunked_logps, logits_of


@dataclass(frozen=True)
class _Plan:
    """A pack: prompt groups laid out in rows of equal width."""

    ids: Tensor  # [R, L]
    positions: Tensor  # [R, L]
    allowed: Tensor  # [R, L, L] bool: may query i look at key j
    states: Tensor  # [sum (T + 1)] flat position whose state precedes each token, and follows the last


def group_by_prompt(rows: Sequence[Tokens]) -> list[list[int]]:
    """Indices of rows that share a prompt, in the order of first appearance."""
    groups: dict[tuple[int, ...], list[int]] = {}
    for index, row in enumerate(rows):
        groups.setdefault(row.prompt, []).append(index)
    return list(groups.values())


def packed_tokens(rows: Sequence[Tokens]) -> int:
    """Tokens a model must read for these rows when each prompt is read once."""
    return sum(len(row.completion) for row in rows) + sum(len(prompt) for prompt in {row.prompt for row in rows})


def _plan(rows: Sequence[Tokens], filler: int) -> _Plan:
    """First-fit-decreasing packing of prompt groups into rows as wide as the longest group."""
    groups = group_by_prompt(rows)
    sizes = [packed_tokens([rows[i] for i in group]) for group in groups]
    width = max(sizes)
    bins: list[list[int]] = []
    room: list[int] = []
    for g in sorted(range(len(groups)), key=lambda g: -sizes[g]):
        place = next((b for b, left in enumerate(room) if left >= sizes[g]), None)
        if place is None:
            bins.append([])
            room.append(width)
            place = len(bins) - 1
        bins[place].append(g)
        room[place] -= sizes[g]
    ids = torch.full((len(bins), width), filler)
    positions = torch.zeros_like(ids)
    owner = torch.full_like(ids, -1)  # which group a position belongs to
    segment = torch.zeros_like(ids)  # 0 for the prompt, k for the k-th completion
    starts: dict[int, tuple[int, int]] = {}  # row -> (flat position of its last prompt token, of its first token)
    for b, members in enumerate(bins):
        at = 0
        for g in members:
            prompt = rows[groups[g][0]].prompt
            size = len(prompt)
            ids[b, at : at + size] = torch.tensor(prompt)
            positions[b, at : at + size] = torch.arange(size)
            owner[b, at : at + sizes[g]] = g
            last, at = b * width + at + size - 1, at + size
            for k, index in enumerate(groups[g], start=1):
                completion = rows[index].completion
                stop = at + len(completion)
                ids[b, at:stop] = torch.tensor(completion)
                positions[b, at:stop] = torch.arange(size, size + len(completion))
                segment[b, at:stop] = k
                starts[index] = (last, b * width + at)
                at = stop
    same_group = owner[:, :, None] == owner[:, None, :]
    visible = (segment[:, None, :] == 0) | (segment[:, :, None] == segment[:, None, :])
    earlier = torch.ones(width, width, dtype=torch.bool).tril()
    before = [
        torch.cat([torch.tensor([last]), torch.arange(first, first + len(rows[i].completion))])
        for i, (last, first) in sorted(starts.items())
    ]
    return _Plan(ids, positions, same_group & visible & earlier, torch.cat(before))


class SharedForward:
    """A pass with prompts shared. The trunk runs at once, the head when `logps` or `entropy` is read."""

    def __init__(self, policy: Policy, rows: Sequence[Tokens]) -> None:
        self._head = policy.model.get_output_embeddings()
        device = policy.device
        plan = _plan(rows, policy.end)
        trunk = getattr(policy.model, policy.model.base_model_prefix)
        dtype = next(trunk.parameters()).dtype
        # A float mask, never a boolean one: eager attention would *add* booleans as 0 and 1.
        mask = torch.zeros(plan.allowed.shape, dtype=dtype, device=device)
        mask.masked_fill_(~plan.allowed.to(device), float("-inf"))
        hidden = trunk(
            input_ids=plan.ids.to(device),
            position_ids=plan.positions.to(device),
            attention_mask=mask[:, None],
            use_cache=False,
        ).last_hidden_state
        self.states: Tensor = hidden.reshape(-1, hidden.shape[-1])[plan.states.to(device)]
        self.targets = torch.tensor([t for row in rows for t in row.completion], device=device)
        self._before = _preceding(rows, device)

    @cached_property
    def logps(self) -> Tensor:
        return chunked_logps(self.states[self._before], self._head.weight, self._head.bias, self.targets)

    @torch.no_grad()
    def log_softmax(self, part: slice) -> Tensor:
        """Full distributions before some of the tokens, `[n, V]`, no gradient."""
        return logits_of(self.states[self._before[part]], self._head.weight, self._head.bias).log_softmax(1)

    @property
    def vocabulary(self) -> int:
        return int(self._head.weight.shape[0])

    @cached_property
    def entropy(self) -> Tensor:
        return chunked_entropy(self)


class PlainForward:
    """A pass of each sequence by itself, right-padded, through the model's own head: slower, never wrong."""

    def __init__(self, policy: Policy, rows: Sequence[Tokens]) -> None:
        device = policy.device
        sequences = [row.prompt + row.completion for row in rows]
        width = max(len(sequence) for sequence in sequences)
        ids = torch.tensor([list(s) + [policy.end] * (width - len(s)) for s in sequences], device=device)
        lengths = torch.tensor([len(s) for s in sequences], device=device)
        mask = (torch.arange(width, device=device)[None] < lengths[:, None]).long()
        output = policy.model(input_ids=ids, attention_mask=mask, output_hidden_states=True, use_cache=False)
        index = torch.cat(
            [
                torch.arange(len(row.prompt) - 1, len(row.prompt) + len(row.completion)) + i * width
                for i, row in enumerate(rows)
            ]
        ).to(device)
        self.states: Tensor = output.hidden_states[-1].reshape(-1, output.hidden_states[-1].shape[-1])[index]
        self.targets = torch.tensor([t for row in rows for t in row.completion], device=device)
        logits: Tensor = output.logits.reshape(-1, output.logits.shape[-1])[index[_preceding(rows, device)]]
        self._logps: Tensor = logits.to(accumulation(logits)).log_softmax(1)

    @property
    def vocabulary(self) -> int:
        return int(self._logps.shape[1])

    @cached_property
    def logps(self) -> Tensor:
        return self._logps.gather(1, self.targets[:, None]).squeeze(1)

    @torch.no_grad()
    def log_softmax(self, part: slice) -> Tensor:
        return self._logps[part].detach()

    @cached_property
    def entropy(self) -> Tensor:
        return chunked_entropy(self)


FullForward = SharedForward | PlainForward


def _preceding(rows: Sequence[Tokens], device: torch.device) -> Tensor:
    """Of the flat states `[sum (T + 1)]`, those that precede a token: all but the last of each row."""
    keep: list[int] = []
    at = 0
    for row in rows:
        keep.extend(range(at, at + len(row.completion)))
        at += len(row.completion) + 1
    return torch.tensor(keep, device=device)
