"""One forward pass over some rows: prompts shared and packed, or each sequence plainly by itself."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from ..attention import tiled
from ..batch import Tokens
from ..models import Policy
from .embedding import embed
from .head import Head, accumulation, chunked_collision, chunked_entropy, chunked_logps
from .layout import Layout, lay_out


class ChunkedForward:
    """States of a trunk, and the head over them in chunks, when `logps`, `entropy` or `collision` is read."""

    def __init__(self, states: Tensor, rows: Sequence[Tokens], head: Head) -> None:
        self.states = states
        self.targets = torch.tensor([t for row in rows for t in row.completion], device=states.device)
        self._head = head
        self._before = _preceding(rows, states.device)

    @cached_property
    def _result(self) -> tuple[Tensor, Tensor | None]:
        return chunked_logps(self.states[self._before], self._head, self.targets)

    @property
    def logps(self) -> Tensor:
        return self._result[0]

    @cached_property
    def entropy(self) -> Tensor:
        known = self._result[1]  # from the very pass that trains
        return chunked_entropy(self) if known is None else known

    @cached_property
    def collision(self) -> Tensor:
        return chunked_collision(self)  # a product with the head of its own: only one objective asks for it

    @torch.no_grad()
    def log_softmax(self, part: slice) -> Tensor:
        """Full distributions before some of the tokens, `[n, V]`, no gradient."""
        logits = self._head.logits(self.states[self._before[part]].detach())
        return torch.log_softmax(logits, 1, out=logits)

    @property
    def vocabulary(self) -> int:
        return int(self._head.weight.shape[0])


def shared_forward(policy: Policy, rows: Sequence[Tokens], head: Head, tiles: bool = True) -> ChunkedForward:
    """A pass with prompts run once for all their completions.

    With `tiles` the sequence is flat and attention is computed tile by tile; without, for models whose attention
    cannot be exchanged, it is rows of equal width under a mask.

    Raises:
        RuntimeError: the model took the tiles and did not use them.
    """
    layout = lay_out(rows, policy.end, policy.device, one_tile=not tiles)
    model = policy.model
    trunk = getattr(model, model.base_model_prefix)
    with policy.computing():
        hidden = _in_tiles(trunk, layout, head) if tiles else _in_rows(trunk, layout)
    return ChunkedForward(hidden.reshape(-1, hidden.shape[-1])[layout.states], rows, head)


def _in_tiles(trunk: Any, layout: Layout, head: Head) -> Tensor:
    ids = layout.ids[None]
    embedded = embed(trunk.get_input_embeddings(), ids) if head.into_grad else None
    with tiled(trunk.config):
        hidden: Tensor = trunk(
            **({"input_ids": ids} if embedded is None else {"inputs_embeds": embedded}),
            position_ids=layout.positions[None],
            # Four dimensions are passed through as they are: no mask of [L, L] is made. `attend` does not read it.
            attention_mask=torch.zeros((1, 1, 1, 1), device=ids.device),
            use_cache=False,
            tiles=layout.tiles,
        ).last_hidden_state
    if not layout.tiles.used:
        raise RuntimeError("the model has an attention of its own")
    return hidden


def _in_rows(trunk: Any, layout: Layout) -> Tensor:
    (tile,) = layout.tiles.tiles
    dtype = next(trunk.parameters()).dtype
    hidden: Tensor = trunk(
        input_ids=layout.ids.view(tile.owner.shape),
        position_ids=layout.positions.view(tile.owner.shape),
        attention_mask=tile.bias(dtype),
        use_cache=False,
    ).last_hidden_state
    return hidden


def plain_forward(policy: Policy, rows: Sequence[Tokens], head: Head, alone: bool = False) -> ChunkedForward:
    """A pass of each sequence by itself, right-padded: slower, and right for every causal model.

    With `alone` not even in one batch: rotary embeddings that depend on the longest sequence of a batch, or on what
    was read before, see every sequence as if it were the first.
    """
    trunk = getattr(policy.model, policy.model.base_model_prefix)
    if alone:
        parts = []
        for row in rows:
            with torch.no_grad():  # a sequence below the original length takes the embedding back to its beginning
                trunk(input_ids=torch.tensor([[policy.end]], device=policy.device), use_cache=False)
            parts.append(plain_forward(policy, [row], head).states)
        return ChunkedForward(torch.cat(parts), rows, head)
    ids, mask, index = _padded(policy, rows)
    with policy.computing():
        hidden = trunk(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state
    return ChunkedForward(hidden.reshape(-1, hidden.shape[-1])[index], rows, head)


class OwnForward:
    """The same through the model's own head, with all its logits: what every other pass is held against."""

    def __init__(self, policy: Policy, rows: Sequence[Tokens]) -> None:
        ids, mask, index = _padded(policy, rows)
        with policy.computing():
            output = policy.model(input_ids=ids, attention_mask=mask, output_hidden_states=True, use_cache=False)
        states = output.hidden_states[-1]
        self.states: Tensor = states.reshape(-1, states.shape[-1])[index]
        self.targets = torch.tensor([t for row in rows for t in row.completion], device=ids.device)
        logits: Tensor = output.logits.reshape(-1, output.logits.shape[-1])[index[_preceding(rows, ids.device)]]
        self._logps: Tensor = logits.to(accumulation(logits)).log_softmax(1)

    @property
    def vocabulary(self) -> int:
        return int(self._logps.shape[1])

    @cached_property
    def logps(self) -> Tensor:
        return self._logps.gather(1, self.targets[:, None]).squeeze(1)

    @torch.no_grad()
    def log_softmax(self, part: slice) -> Tensor:
        return self._logps[part].detach().clone()

    @cached_property
    def entropy(self) -> Tensor:
        return chunked_entropy(self)

    @cached_property
    def collision(self) -> Tensor:
        return chunked_collision(self)


FullForward = ChunkedForward | OwnForward


def _padded(policy: Policy, rows: Sequence[Tokens]) -> tuple[Tensor, Tensor, Tensor]:
    """Ids and mask `[B, L]`, and the flat position whose state precedes each token and follows the last one."""
    device = policy.device
    sequences = [row.prompt + row.completion for row in rows]
    width = max(len(sequence) for sequence in sequences)
    ids = torch.tensor([list(s) + [policy.end] * (width - len(s)) for s in sequences], device=device)
    lengths = torch.tensor([len(s) for s in sequences], device=device)
    mask = (torch.arange(width, device=device)[None] < lengths[:, None]).long()
    index = [
        i * width + place
        for i, row in enumerate(rows)
        for place in range(len(row.prompt) - 1, len(row.prompt) + len(row.completion))
    ]
    return ids, mask, torch.tensor(index, device=device)


def _preceding(rows: Sequence[Tokens], device: torch.device) -> Tensor:
    """Of the flat states `[sum (T + 1)]`, those that precede a token: all but the last of each row."""
    keep: list[int] = []
    at = 0
    for row in rows:
        keep.extend(range(at, at + len(row.completion)))
        at += len(row.completion) + 1
    return torch.tensor(keep, device=device)
