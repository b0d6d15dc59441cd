"""Prompts in, completions out, drawn from the very distribution that is scored."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from .batch import Tokens
from .decoding import Growing, float32_logits
from .errors import TrainingError
from .models import Policy

DROP = 1 / 8  # the share of a batch that has to be finished before it leaves; from none to a half all measure the same
BLOCK = 128  # tokens of the vocabulary that are first drawn as one
SMALL = 1024  # up to so many tokens are drawn from at once


@torch.no_grad()
def sample(
    policy: Policy,
    prompts: Sequence[Tokens],
    seed: int,
    max_new_tokens: int,
    temperature: float = 1.0,
    batch_size: int = 256,
) -> list[Tokens]:
    """One completion of each prompt, its end token included where it ended; temperature 0 takes the likeliest token.
    Where no token of the vocabulary ends one, all have `max_new_tokens` tokens and count as ended.

    Prompts of like length run together, equal ones are read once, and rows that have finished leave the batch. Nothing
    but the temperature changes the distribution, whatever sampling defaults a folder brings.

    A prompt's random numbers depend on `seed` and on its place among the prompts sorted by length, not on `batch_size`
    or the device: these change samples by no more than rounding does. Global generators are neither read nor moved.

    Raises:
        TrainingError: the model gives probabilities that are not finite.
    """
    generator = torch.Generator().manual_seed(seed)
    order = sorted(range(len(prompts)), key=lambda i: (len(prompts[i].prompt), prompts[i].prompt))
    drawn: dict[int, Tokens] = {}
    for start in range(0, len(order), batch_size):
        part = order[start : start + batch_size]
        uniforms = torch.rand((len(part), max_new_tokens), dtype=torch.float64, generator=generator)
        with policy.computing(), float32_logits(policy.model, policy.dtype):
            new = _decode(policy, [prompts[i].prompt for i in part], uniforms.to(policy.device), temperature)
        drawn |= {i: _cut(prompts[i], tokens, policy.ends) for i, tokens in zip(part, new.tolist(), strict=True)}
    return [drawn[i] for i in range(len(prompts))]


def _decode(policy: Policy, prompts: list[tuple[int, ...]], uniforms: Tensor, temperature: float) -> Tensor:
    """New tokens `[B, T]`; what follows the first end token of a row means nothing. `uniforms [B, T]` decide."""
    steps = uniforms.shape[1]
    batch = Growing(policy.model, prompts, steps, policy.end)
    ends = torch.tensor(policy.ends, dtype=torch.long, device=uniforms.device)
    rows = torch.arange(len(prompts), device=uniforms.device)  # those that are still in the batch
    finished = torch.zeros_like(rows, dtype=torch.bool)
    new = torch.zeros(uniforms.shape, dtype=torch.long, device=uniforms.device)
    for step in range(steps):
        tokens = _draw(batch.logits, uniforms[rows, step], temperature)
        new[rows, step] = tokens
        finished |= (tokens[:, None] == ends).any(1)
        done = int(finished.sum())
        if done == len(rows) or step == steps - 1:
            break
        if done >= DROP * len(rows):
            left = (~finished).nonzero().squeeze(1)
            rows, tokens, finished = rows[left], tokens[left], finished[left]
            batch.select(left)
        batch.append(tokens)
    return new


def _draw(logits: Tensor, uniforms: Tensor, temperature: float) -> Tensor:
    """One token of each row, `[B]`, from `logits [B, V]` by the inverse of the distribution function.

    One random number for a row instead of one for each token of the vocabulary. In float64, because sums of 50,000
    probabilities in float32 would be off by more than the rarest of them. A large vocabulary is drawn from twice:
    a block of it, then a token of the block.
    """
    logits = logits.float()
    p = torch.softmax(logits if temperature in (0, 1) else logits / temperature, 1)
    if bool(p[:, 0].isnan().any()):  # one NaN or infinity makes a whole row NaN
        raise TrainingError("sampling stopped: the policy's next-token probabilities are not finite.")
    if temperature == 0:
        return logits.argmax(1)
    size = p.shape[1]
    if size <= SMALL:
        return _locate(p, uniforms[:, None])[0]
    blocks = F.pad(p, (0, -size % BLOCK)).unflatten(1, (-1, BLOCK))
    block, share = _locate(blocks.sum(2), uniforms[:, None])
    inside = blocks[torch.arange(len(p), device=p.device), block]
    return block * BLOCK + _locate(inside, share)[0]


def _locate(weights: Tensor, share: Tensor) -> tuple[Tensor, Tensor]:
    """Of `weights [B, n]`, the place `[B]` where their running sum passes `share [B, 1]` (in [0, 1)) of the whole.

    Also how far into that weight it is, again in [0, 1). A weight of 0 is never the place.
    """
    edges = F.pad(weights.cumsum(1, dtype=torch.float64), (1, 0))
    target = share * edges[:, -1:]  # below the last edge: in float64, x y < y for all x < 1
    place = torch.searchsorted(edges, target, right=True)
    low, high = edges.gather(1, place - 1), edges.gather(1, place)
    return (place - 1).squeeze(1), (target - low) / (high - low)


def _cut(row: Tokens, new: list[int], ends: tuple[int, ...]) -> Tokens:
    """The completion up to its first end token; where there is none in the vocabulary, it ends with its last token."""
    last = next((place for place, token in enumerate(new) if token in ends), None)
    completion = new if last is None else new[: last + 1]
    return Tokens(row.prompt, tuple(completion), row.prompt_id, last is not None or not ends)
