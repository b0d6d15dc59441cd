"""The language-model head without a [tokens, vocabulary] tensor: log-probabilities in chunks of rows."""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor

CHUNK = 2**25  # elements of one chunk of logits: 128 MiB in float32


class _ChunkedLogProbs(torch.autograd.Function):
    """log softmax(states W^T + b)[target], in chunks of rows, each recomputed in the backward pass."""

    @staticmethod
    def forward(ctx: Any, states: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, rows: int) -> Tensor:
        logps = torch.empty(len(targets), dtype=accumulation(states), device=states.device)
        for part in _parts(len(targets), rows):
            logits = logits_of(states[part], weight, bias)
            chosen = logits.gather(1, targets[part, None]).squeeze(1)
            logps[part] = chosen - logits.logsumexp(1)
        ctx.save_for_backward(states, weight, targets, *(() if bias is None else (bias,)))
        ctx.rows = rows
        return logps

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, ...]:
        states, weight, targets, *rest = ctx.saved_tensors
        bias = rest[0] if rest else None
        (upstream_logps,) = upstream
        grad_states = torch.empty_like(states)
        grad_weight = torch.zeros_like(weight) if ctx.needs_input_grad[1] else None
        grad_bias = torch.zeros_like(bias) if bias is not None and ctx.needs_input_grad[2] else None
        for part in _parts(len(targets), ctx.rows):
            # d logp / d logits = onehot(target) - softmax(logits)
            grad = logits_of(states[part], weight, bias).softmax(1).neg_()
            grad.scatter_add_(1, targets[part, None], torch.ones_like(grad[:, :1]))
            grad.mul_(upstream_logps[part, None])
            grad_states[part] = (grad.to(weight.dtype) @ weight).to(states.dtype)
            if grad_weight is not None:
                grad_weight.addmm_(grad.T.to(weight.dtype), states[part].to(weight.dtype))
            if grad_bias is not None:
                grad_bias += grad.sum(0)
        return grad_states, grad_weight, grad_bias, None, None


def chunked_logps(states: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, chunk: int = CHUNK) -> Tensor:
    """log softmax(states W^T + b) at `targets`, `[N]`, nats.

    Args:
        states: `[N, D]`. weight: `[V, D]`. bias: `[V]` or None. targets: `[N]` token ids.
        chunk: how many logits exist at once; memory is O(chunk), not O(N V), in both passes.
    """
    result = _ChunkedLogProbs.apply(states, weight, bias, targets, max(1, chunk // weight.shape[0]))  # type: ignore[no-untyped-call]
    assert isinstance(result, Tensor)
    return result


def accumulation(states: Tensor) -> torch.dtype:
    """log-softmax is in float32 whatever the model runs in (float64 stays, for gradient checks)."""
    return torch.float64 if states.dtype == torch.float64 else torch.float32


def logits_of(states: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return torch.nn.functional.linear(states.to(weight.dtype), weight, bias).to(accumulation(states))


def _parts(total: int, rows: int) -> list[slice]:
    return [slice(start, min(start + rows, total)) for start in range(0, total, rows)]


class Distributions(Protocol):
    """Next-token distributions before each of `targets`, read a chunk at a time."""

    targets: Tensor  # [N]

    @property
    def vocabulary(self) -> int: ...

    def log_softmax(self, part: slice) -> Tensor: ...  # [n, V], no gradient


@torch.no_grad()
def chunked_entropy(forward: Distributions) -> Tensor:
    """The entropy of each next-token distribution, `[sum T]`, nats, over the whole vocabulary."""
    parts = _parts(len(forward.targets), max(1, CHUNK // forward.vocabulary))
    return torch.cat([-(logps.exp() * logps).sum(1) for logps in map(forward.log_softmax, parts)])


@torch.no_grad()
def chunked_kl(policy: Distributions, reference: Distributions) -> Tensor:
    """KL(policy || reference) of each next-token distribution, `[sum T]`, nats, over the whole vocabulary."""
    kls = []
    for part in _parts(len(policy.targets), max(1, CHUNK // policy.vocabulary)):
        logps, ref_logps = policy.log_softmax(part), reference.log_softmax(part)
        # A KL is never negative; what rounding leaves below 0 where the two are equal is not shown as if it were.
        kls.append((logps.exp() * (logps - ref_logps)).sum(1).clamp(min=0))
    return torch.cat(kls)
