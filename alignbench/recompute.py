"""Gradient checkpointing: blocks keep their inputs only, and are computed once more in the backward pass."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any

import torch

from .errors import InputError


def blocks(model: Any) -> list[Any]:
    """The blocks of a model of transformers that may be recomputed."""
    from transformers.modeling_layers import GradientCheckpointingLayer

    return [module for module in model.modules() if isinstance(module, GradientCheckpointingLayer)]


def check_blocks(model: Any, name: str) -> None:
    """Raises `InputError` where the model has no block that can be recomputed."""
    if not blocks(model):
        raise InputError(
            f"--grad-checkpoint: {name} has no blocks that transformers can recompute; leave the option out."
        )


def recompute_blocks(model: Any) -> None:
    """Let every block of the model, in place, keep its input alone for the backward pass.

    The checkpointing of transformers works in training mode only, and policies stay in evaluation mode. Results are the
    same; a training step costs one more forward pass of the blocks and keeps one block's intermediate results at a
    time instead of all of them. T. Chen et al. 2016, arXiv:1604.06174.
    """
    for block in blocks(model):
        # A partial, not a closure: copying a model copies its arguments along, so that a copy runs its own blocks.
        block.forward = partial(_forward, block, getattr(model, model.base_model_prefix).config)


def _forward(block: Any, config: Any, *args: Any, **kwargs: Any) -> Any:
    from torch.utils.checkpoint import checkpoint
    from transformers import Cache

    forward = type(block).forward
    # A cache would be extended a second time; without a gradient there is nothing to keep.
    if not torch.is_grad_enabled() or any(isinstance(value, Cache) for value in (*args, *kwargs.values())):
        return forward(block, *args, **kwargs)
    return checkpoint(
        partial(forward, block, **kwargs),
        *args,
        use_reentrant=False,
        preserve_rng_state=False,  # dropout is off: a block draws no random numbers
        context_fn=_contexts(config),
    )


def _contexts(config: Any) -> Callable[[], tuple[AbstractContextManager[Any], AbstractContextManager[Any]]]:
    """The second time attention must be the one of the first time, which a pass may have exchanged for its duration."""
    attention = config._attn_implementation

    @contextmanager
    def restored() -> Iterator[None]:
        now = config._attn_implementation
        config._attn_implementation = attention
        try:
            yield
        finally:
            config._attn_implementation = now

    return lambda: (nullcontext(), restored())
