"""The causal language models of a run, opened as its options want them: dtype, recomputed blocks, adapters."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..adapters import LoRA, add_adapter, check_target, open_adapter
from ..benchmark import Benchmark, Sampler
from ..evaluate.measure import decode
from ..models import DTYPES, Policy, load_policy, small_config
from ..pretrained import load_config, skeleton
from ..recompute import check_blocks, recompute_blocks
from ..records import Completion, Prompt
from ..results import derive
from ..sampling import sample
from ..tokens import encode_prompt
from .config import Config


def prepare(policy: Policy, config: Config) -> Policy:
    """Give a policy the dtype of the run, and recomputed blocks where they are asked for; in place."""
    policy.dtype = DTYPES[config.dtype]
    if config.grad_checkpoint:
        recompute_blocks(policy.model)
    return policy


def open_policy(source: Path | str, config: Config) -> Policy:
    return prepare(load_policy(source, config.device), config)


def open_cell(config: Config, start: Path | str, seed: int, finished: Path | None = None) -> Policy:
    """The policy that a cell trains, the starting model or a fresh adapter on it; or the one that it left in
    `finished`, its adapter not merged, because without it the model is the reference."""
    if not config.lora:
        return open_policy(finished or start, config)
    policy = open_policy(start, config)
    if finished:
        open_adapter(policy, finished)
    else:
        add_adapter(policy, LoRA.parse(config.lora), seed)
    return policy


def check_options(config: Config, small: Any) -> None:
    """Refuse what the model's architecture cannot serve, from its configuration alone; `small` is the shape of the
    model that is made where the user names none. Raises `InputError`."""
    if config.lora or config.grad_checkpoint:
        model = skeleton(load_config(config.model) if config.model else small_config(small), config.model)
        if config.lora:
            check_target(model, LoRA.parse(config.lora))
        if config.grad_checkpoint:
            check_blocks(model, config.model or "the small model")


def sampler(benchmark: Benchmark, policy: Policy) -> Sampler:
    """What a benchmark draws its own preference pairs with."""

    def draw(prompts: Sequence[Prompt], n: int, purpose: str) -> list[list[Completion]]:
        reserve = benchmark.max_new_tokens
        asked = [encode_prompt(prompt, policy.tokenizer, policy.context, reserve) for prompt in prompts]
        rows = [row for row in asked for _ in range(n)]
        drawn = sample(policy, rows, derive(0, f"preferences/{purpose}"), benchmark.max_new_tokens)
        texts = [decode(policy.tokenizer, row) for row in drawn]
        return [texts[i : i + n] for i in range(0, len(texts), n)]

    return draw
