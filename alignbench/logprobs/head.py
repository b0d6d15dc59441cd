"""The language-model head without a [tokens, vocabulary] tensor: log-probabilities in chunks of rows.

With states h, logits x = f(W h + b) and p = softmax(x), the gradient of one log-probability is

    d log p(y) / d h = f'(x_y) W_y - W^T (p f'(x))        d / d W = (onehot(y) - p) f'(x) h^T

The first needs nothing from upstream but a factor, so it is computed while p is there, in the forward pass. The second
needs p again: that of the last chunk is kept, which for a small batch is all of it, the others are computed anew.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

CHUNK = 2**25  # elements of one chunk of logits: 128 MiB in float32, the most that exists at once


@dataclass(frozen=True)
class Head:
    """What turns states into logits: f(W h + b), where f scales by `scale` and then caps, cap tanh(x / cap).

    `weight [V, D]`, `bias [V]` or None. `dtype` is that of the products; log-softmax is in float32 whatever it is.
    With `into_grad` the gradient of the weight is added to `weight.grad` at once instead of being returned: what an
    optimizer step needs, without a second tensor of that size. `torch.autograd.grad` would not see it.
    """

    weight: Tensor
    bias: Tensor | None = None
    scale: float = 1.0
    cap: float | None = None
    dtype: torch.dtype | None = None
    into_grad: bool = False

    def rows(self, chunk: int) -> int:
        """How many rows of logits have `chunk` elements."""
        return max(1, chunk // int(self.weight.shape[0]))

    def logits(self, states: Tensor, out: Tensor | None = None) -> Tensor:
        """`[n, V]` in float32 (float64 stays), into `out` where it is given."""
        if out is None:
            out = states.new_empty((len(states), len(self.weight)), dtype=accumulation(states))
        _product(states, self.weight.T, self.dtype, out)
        if self.bias is not None:
            out += self.bias
        if self.scale != 1.0:
            out *= self.scale
        if self.cap is not None:
            out.div_(self.cap).tanh_().mul_(self.cap)
        return out


def head_of(model: Any, dtype: torch.dtype | None = None) -> Head | None:
    """The head of a causal language model of transformers, or None where it is more than a linear layer."""
    layer, config = model.get_output_embeddings(), model.config
    if type(layer) is not nn.Linear:
        return None
    scale = float(getattr(config, "logit_scale", None) or 1.0) / float(getattr(config, "logits_scaling", None) or 1.0)
    cap = getattr(config, "final_logit_softcapping", None)
    return Head(layer.weight, layer.bias, scale, float(cap) if cap else None, dtype)


class _ChunkedLogProbs(torch.autograd.Function):
    """(log p(targets) `[N]`, entropy `[N]` without gradient)."""

    @staticmethod
    def forward(
        ctx: Any, states: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, head: Head, rows: int
    ) -> tuple[Tensor, Tensor]:
        kind = accumulation(states)
        logps = torch.empty(len(targets), dtype=kind, device=states.device)
        entropy = torch.empty_like(logps)
        inward = torch.empty(states.shape, dtype=kind, device=states.device)  # d log p / d h
        buffer = torch.empty((min(rows, len(targets)), len(weight)), dtype=kind, device=states.device)
        for part in _parts(len(targets), rows):
            _forward_chunk(head, states[part], targets[part], buffer, logps[part], entropy[part], inward[part])
        ctx.save_for_backward(states, targets, inward)
        ctx.head, ctx.rows = head, rows
        ctx.kept = buffer if ctx.needs_input_grad[1] or ctx.needs_input_grad[2] else None
        ctx.mark_non_differentiable(entropy)
        return logps, entropy

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, ...]:
        states, targets, inward = ctx.saved_tensors
        head, factor = ctx.head, upstream[0][:, None]
        grads: list[Tensor | None] = [None, None]
        if ctx.needs_input_grad[1] or ctx.needs_input_grad[2]:
            grads = _outward(ctx, head, states, targets, upstream[0])
        return (inward * factor).to(states.dtype), grads[0], grads[1], None, None, None


def _forward_chunk(
    head: Head, states: Tensor, targets: Tensor, buffer: Tensor, logps: Tensor, entropy: Tensor, inward: Tensor
) -> None:
    """Fill the results of one chunk, and leave p f'(x) / scale in `buffer`."""
    probs, at_target, log_z, slope, mean = _weights(head, states, targets, buffer)
    logps.copy_(at_target - log_z)
    _product(probs, head.weight, head.dtype, inward)
    if mean is None:  # the logits are linear in the states: E[x] = h . W^T p, and b . p
        mean = head.scale * (inward * states).sum(1)
        if head.bias is not None:
            mean += head.scale * (probs @ head.bias.to(probs.dtype))
    entropy.copy_((log_z - mean).clamp_(min=0))
    target_rows = head.weight[targets].to(inward.dtype)
    torch.sub(target_rows if slope is None else target_rows * slope[:, None], inward, out=inward)
    inward *= head.scale


def _weights(
    head: Head, states: Tensor, targets: Tensor, buffer: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor | None, Tensor | None]:
    """p f'(x) / scale `[n, V]`, in `buffer`; x at the targets; log Z; for caps f' at the targets, E[x]."""
    logits = head.logits(states, buffer[: len(states)])
    at_target = logits.gather(1, targets[:, None]).squeeze(1)
    capped = logits.clone() if head.cap is not None else None
    peak = logits.amax(1)
    probs = torch.softmax(logits, 1, out=logits)
    # The softmax of the peak is 1 / sum exp(x - peak), never smaller than 1 / V: log Z without a pass of its own.
    log_z = peak - probs.amax(1).log()
    if capped is None:
        return probs, at_target, log_z, None, None
    assert head.cap is not None
    mean = (probs * capped).sum(1)
    probs *= capped.div_(head.cap).square_().neg_().add_(1)
    return probs, at_target, log_z, 1 - (at_target / head.cap) ** 2, mean


def _outward(ctx: Any, head: Head, states: Tensor, targets: Tensor, upstream: Tensor) -> list[Tensor | None]:
    """Gradients of weight and bias."""
    weight, bias = head.weight, head.bias
    wanted = ctx.needs_input_grad[1]
    into = weight.grad if head.into_grad and wanted else None
    grad = into if into is not None else torch.empty_like(weight) if wanted else None
    fresh = into is None
    grad_bias = torch.zeros_like(bias) if bias is not None and ctx.needs_input_grad[2] else None
    buffer, last = ctx.kept, _parts(len(targets), ctx.rows)[-1]
    if buffer is None:
        buffer = torch.empty((min(ctx.rows, len(targets)), len(weight)), dtype=upstream.dtype, device=states.device)
    for part in reversed(_parts(len(targets), ctx.rows)):
        if part == last and ctx.kept is not None:
            probs = buffer[: part.stop - part.start]
        else:
            ctx.kept = None  # about to be overwritten
            probs = _weights(head, states[part], targets[part], buffer)[0]
        slope = head.scale * upstream[part]
        if head.cap is not None:
            at_target = (states[part] * weight[targets[part]]).sum(1)
            at_target = at_target + bias[targets[part]] if bias is not None else at_target
            target_slope = slope * (1 - torch.tanh(head.scale * at_target / head.cap) ** 2)
        else:
            target_slope = slope
        scaled = states[part].to(probs.dtype)
        if grad is not None:
            _product(probs.T, scaled * -slope[:, None], head.dtype, grad, add=not fresh)
            grad.index_add_(0, targets[part], (scaled * target_slope[:, None]).to(grad.dtype))
            fresh = False
        if grad_bias is not None:
            grad_bias -= (probs.T @ slope).to(grad_bias.dtype)
            grad_bias.index_add_(0, targets[part], target_slope.to(grad_bias.dtype))
    if head.into_grad and wanted:
        weight.grad = grad
        grad = None
    return [grad, grad_bias]


def _product(a: Tensor, b: Tensor, dtype: torch.dtype | None, out: Tensor, add: bool = False) -> None:
    """out = a b, or out += a b; factors in `dtype` (that of `out` where it is None), sums in float32."""
    kind = dtype or out.dtype
    a, b = a.to(kind), b.to(kind)
    if kind != out.dtype:
        product = torch.mm(a, b, out_dtype=out.dtype)
        out.add_(product) if add else out.copy_(product)
    elif add:
        out.addmm_(a, b)
    else:
        torch.mm(a, b, out=out)


def chunked_logps(states: Tensor, head: Head, targets: Tensor, chunk: int = CHUNK) -> tuple[Tensor, Tensor | None]:
    """log softmax(f(W h + b)) at `targets`, `[N]`, nats; and where there is a gradient the entropies `[N]` as well.

    Args:
        states: `[N, D]`. targets: `[N]` token ids.
        chunk: how many logits exist at once; memory is O(chunk + N D), not O(N V), in both passes.
    """
    rows = head.rows(chunk)
    wanted = states.requires_grad or head.weight.requires_grad or (head.bias is not None and head.bias.requires_grad)
    if torch.is_grad_enabled() and wanted:
        logps, entropy = _ChunkedLogProbs.apply(states, head.weight, head.bias, targets, head, rows)  # type: ignore[no-untyped-call]
        return logps, entropy
    logps = torch.empty(len(targets), dtype=accumulation(states), device=states.device)
    buffer = torch.empty((min(rows, len(targets)), len(head.weight)), dtype=logps.dtype, device=states.device)
    for part in _parts(len(targets), rows):
        logits = head.logits(states[part].detach(), buffer[: part.stop - part.start])
        at_target = logits.gather(1, targets[part, None]).squeeze(1)
        peak = logits.amax(1)
        logps[part] = at_target - peak + torch.softmax(logits, 1, out=logits).amax(1).log()
    return logps, None


def accumulation(states: Tensor) -> torch.dtype:
    """log-softmax is in float32 whatever the model runs in (float64 stays, for gradient checks)."""
    return torch.float64 if states.dtype == torch.float64 else torch.float32


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
def chunked_collision(forward: Distributions) -> Tensor:
    """log sum_v p(v)^2 of each next-token distribution p, `[sum T]`, nats: of the probability that two draws agree."""
    parts = _parts(len(forward.targets), max(1, CHUNK // forward.vocabulary))
    return torch.cat([logps.mul_(2).logsumexp(1) for logps in map(forward.log_softmax, parts)])


@torch.no_grad()
def chunked_kl(policy: Distributions, reference: Distributions) -> tuple[Tensor, Tensor, Tensor]:
    """KL(policy || reference) of each next-token distribution over the whole vocabulary, and both log-probabilities of
    the targets: `[sum T]` each, nats, from one pass."""
    found: list[tuple[Tensor, Tensor, Tensor]] = []
    for part in _parts(len(policy.targets), max(1, CHUNK // policy.vocabulary)):
        logps, ref_logps = policy.log_softmax(part), reference.log_softmax(part)
        chosen = [each.gather(1, policy.targets[part, None]).squeeze(1) for each in (logps, ref_logps)]
        difference = ref_logps.sub_(logps).neg_()
        # A KL is never negative; what rounding leaves below 0 where the two are equal is not shown as if it were.
        found.append((difference.mul_(logps.exp_()).sum(1).clamp(min=0), chosen[0], chosen[1]))
    kl, own, theirs = (torch.cat(column) for column in zip(*found, strict=True))
    return kl, own, theirs
