"""The input embedding without a second gradient of the size of the vocabulary."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


class _IntoGrad(torch.autograd.Function):
    """weight[ids], whose gradient is added to the rows of `weight.grad` that were read."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, ids: Tensor, padding: int | None) -> Tensor:
        ctx.weight, ctx.ids, ctx.padding = weight, ids, padding
        return weight[ids]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *upstream: Tensor) -> tuple[None, None, None]:
        weight = ctx.weight
        if weight.grad is None:
            weight.grad = torch.zeros_like(weight)
        grad = upstream[0].to(weight.dtype)
        if ctx.padding is not None:  # nn.Embedding never trains its padding row
            grad = grad.masked_fill((ctx.ids == ctx.padding)[..., None], 0.0)
        weight.grad.index_add_(0, ctx.ids.flatten(), grad.flatten(0, -2))
        return None, None, None


def embed(layer: Any, ids: Tensor) -> Tensor | None:
    """`[..., D]`, what `layer(ids)` gives; None where `layer` is not a plain trained embedding."""
    plain = type(layer) is nn.Embedding and layer.max_norm is None and not layer.sparse and not layer.scale_grad_by_freq
    if not plain or not torch.is_grad_enabled() or not layer.weight.requires_grad or layer._forward_hooks:
        return None
    result = _IntoGrad.apply(layer.weight, ids, layer.padding_idx)  # type: ignore[no-untyped-call]
    assert isinstance(result, Tensor)
    return result
