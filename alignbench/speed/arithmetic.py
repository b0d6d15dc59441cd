"""The arithmetic that a piece of training needs, counted from the model and the tokens, whoever does it.

With gradient, a trunk with W weights in its matrices, L layers and queries of width A, and a head [V, D]:

    6 W          for every token read, each distinct prompt read once
    6 D V        for every completion token (its log-probability needs one row of logits)
    12 L A       for every key that a token attends to (two products of A multiplications and additions, thrice)

Without gradient (a reference, a sampler, a scoring pass) a third of it. What is computed a second time to save memory
(logits in a backward pass, checkpointed layers) is not needed arithmetic and does not count; neither do norms,
activations, softmaxes, padding and the optimizer, which take time but hardly any products.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from ..batch import Tokens


@dataclass(frozen=True)
class Size:
    """What the count needs to know of a model: `trunk` weights in matrices, `head` = D V, `attention` = L A."""

    trunk: int
    head: int
    attention: int


def size_of(model: Any) -> Size:
    """Counted on a model of transformers: the matrices of `nn.Linear` and `Conv1D` layers, embeddings excluded.

    Weights of a mixture's experts that are not such layers are not counted.
    """
    from transformers.pytorch_utils import Conv1D

    trunk = getattr(model, model.base_model_prefix)
    layers = [m for m in trunk.modules() if isinstance(m, nn.Linear | Conv1D)]
    config = model.config.get_text_config()
    heads = config.num_attention_heads
    width = heads * (getattr(config, "head_dim", None) or config.hidden_size // heads)
    output = model.get_output_embeddings()
    head = output.weight.numel() if output is not None else 0
    return Size(sum(layer.weight.numel() for layer in layers), head, config.num_hidden_layers * width)


@dataclass(frozen=True)
class Count:
    """Tokens read, tokens predicted, and (query, key) pairs of causal attention."""

    read: int
    predicted: int
    pairs: int


def count(rows: Iterable[Tokens], prompts_known: bool = False) -> Count:
    """What one pass over `rows` needs when each distinct prompt is read once; nothing for it where it is known."""
    groups: dict[tuple[int, ...], set[tuple[int, ...]]] = {}
    for row in rows:
        groups.setdefault(row.prompt, set()).add(row.completion)
    read = predicted = pairs = 0
    for prompt, completions in groups.items():
        before = len(prompt)
        if not prompts_known:
            read += before
            pairs += before * (before + 1) // 2
        for completion in completions:
            length = len(completion)
            read += length
            predicted += length
            pairs += length * before + length * (length + 1) // 2
    return Count(read, predicted, pairs)


def forward_flops(size: Size, counted: Count) -> int:
    """A pass without gradient, in floating-point operations."""
    return 2 * size.trunk * counted.read + 2 * size.head * counted.predicted + 4 * size.attention * counted.pairs


def training_flops(size: Size, rows: Sequence[Tokens], mismatched: Sequence[Tokens] = ()) -> int:
    """One optimizer step: `rows` with gradient, and completions under other prompts without.

    The prompts of `mismatched` are those of `rows`, under the same weights, so that they are not read again.
    """
    return 3 * forward_flops(size, count(rows)) + forward_flops(size, count(mismatched, prompts_known=True))


def rollout_flops(size: Size, reward: Size, rows: Sequence[Tokens]) -> int:
    """Sampling `rows`, scoring them under policy and reference, and their rewards."""
    counted = count(rows)
    judged = 2 * reward.trunk * counted.read + 4 * reward.attention * counted.pairs
    return 3 * forward_flops(size, counted) + judged
