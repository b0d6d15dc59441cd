"""Attention in tiles: a registered attention function of transformers that never looks at more than a block needs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

NAME = "alignbench_tiles"
EXPLICIT = 512  # tokens; on a CPU, up to here two batched products and a softmax beat the fused kernel


@dataclass(frozen=True, eq=False)
class Tile:
    """R rows of W positions that attend only within their row.

    `owner [R, W]` tells prompt groups apart (padding has an owner of its own each), `segment [R, W]` the prompt (0)
    and the completions (1, 2, ...) of a group.
    """

    owner: Tensor
    segment: Tensor
    _biases: dict[torch.dtype, Tensor] = field(default_factory=dict)

    @cached_property
    def allowed(self) -> Tensor:
        """`[R, 1, W, W]` bool: a query sees what precedes it in its group's prompt and in its own completion."""
        group = self.owner[:, :, None] == self.owner[:, None, :]
        visible = (self.segment[:, None, :] == 0) | (self.segment[:, :, None] == self.segment[:, None, :])
        earlier = torch.ones(group.shape[1:], dtype=torch.bool, device=group.device).tril()
        return (group & visible & earlier)[:, None]

    def bias(self, dtype: torch.dtype) -> Tensor:
        """`[R, 1, W, W]`: 0 where a query may look, -inf elsewhere. Eager attention would *add* booleans as 0 and 1."""
        if dtype not in self._biases:
            zeros = torch.zeros(self.allowed.shape, dtype=dtype, device=self.owner.device)
            self._biases[dtype] = zeros.masked_fill_(~self.allowed, float("-inf"))
        return self._biases[dtype]


@dataclass
class Tiles:
    """The tiles of one pass, one after another; `used` says that attention really was computed in them."""

    tiles: tuple[Tile, ...]
    used: bool = field(default=False, compare=False)

    @cached_property
    def sizes(self) -> list[int]:
        return [tile.owner.numel() for tile in self.tiles]

    @cached_property
    def block_mask(self) -> Any:
        """For FlexAttention: the same rule over the whole flat sequence, known block by block."""
        from torch.nn.attention.flex_attention import create_block_mask

        owner = torch.cat([tile.owner.flatten() for tile in self.tiles])
        segment = torch.cat([tile.segment.flatten() for tile in self.tiles])

        def visible(_batch: Tensor, _head: Tensor, query: Tensor, key: Tensor) -> Tensor:
            shared = (segment[key] == 0) | (segment[key] == segment[query])
            return (owner[query] == owner[key]) & shared & (key <= query)

        return create_block_mask(visible, None, None, len(owner), len(owner), device=str(owner.device))


@contextmanager
def tiled(config: Any) -> Iterator[None]:
    """Within it a model with this configuration computes attention by `attend`."""
    _register()
    before = config._attn_implementation
    config._attn_implementation = NAME
    try:
        yield
    finally:
        config._attn_implementation = before


def attend(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    tiles: Tiles,
    scaling: float | None = None,
    softcap: float | None = None,
    **others: Any,
) -> tuple[Tensor, None]:
    """Attention over a flat sequence `[1, H, L, d]`, tile by tile; `attention_mask` is not read.

    Raises:
        RuntimeError: the layer asks for something that would be lost here (sinks, a position bias).
    """
    for name in ("s_aux", "position_bias", "cache"):
        if others.get(name) is not None:
            raise RuntimeError(f"attention with {name}")
    tiles.used = True
    repeats = query.shape[1] // key.shape[1]
    if repeats > 1:
        key, value = key.repeat_interleave(repeats, 1), value.repeat_interleave(repeats, 1)
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    if query.device.type == "cuda" and softcap is None:
        return _flex(query, key, value, tiles, scale).transpose(1, 2), None
    # `split`, not slices: the gradient of a slice is a zeroed tensor of the whole length.
    parts = zip(*(tensor.split(tiles.sizes, 2) for tensor in (query, key, value)), tiles.tiles, strict=True)
    return torch.cat([_tile(q, k, v, tile, scale, softcap) for q, k, v, tile in parts], 1), None


def _tile(q: Tensor, k: Tensor, v: Tensor, tile: Tile, scale: float, softcap: float | None) -> Tensor:
    """`[1, H, R W, d]` -> `[1, R W, H, d]`."""
    rows, width = tile.owner.shape
    heads, size = q.shape[1], v.shape[-1]
    q, k, v = (tensor.view(heads, rows, width, -1).transpose(0, 1) for tensor in (q, k, v))  # [R, H, W, d]
    mask = tile.bias(q.dtype)
    if softcap is not None:
        scores = torch.tanh((q @ k.transpose(2, 3)) * (scale / softcap)) * softcap + mask
        seen = scores.softmax(-1, dtype=torch.float32).to(v.dtype) @ v
    elif rows == 1 and width <= EXPLICIT and q.device.type == "cpu" and q.dtype == torch.float32:
        seen = torch.bmm(torch.baddbmm(mask[0], q[0], k[0].transpose(1, 2), alpha=scale).softmax(-1), v[0])[None]
    else:
        seen = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=scale)
    return seen.transpose(1, 2).reshape(1, rows * width, heads, size)


@lru_cache(maxsize=1)
def _compiled() -> Any:
    """Compiled once, with dynamic shapes: every batch has another length."""
    from torch.nn.attention.flex_attention import flex_attention

    return torch.compile(flex_attention, dynamic=True)


def _flex(query: Tensor, key: Tensor, value: Tensor, tiles: Tiles, scale: float) -> Tensor:
    result = _compiled()(query, key, value, block_mask=tiles.block_mask, scale=scale)
    assert isinstance(result, Tensor)
    return result


@lru_cache(maxsize=1)
def _register() -> None:
    from transformers import AttentionInterface

    AttentionInterface.register(NAME, attend)
