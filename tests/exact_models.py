"""A small closed world and models of it, for the tests of exact evaluation."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch

from alignbench import Tokens, Training
from alignbench.engine import Budget, LocalEngine, Sources
from alignbench.evaluate import exact
from alignbench.logprobs import LanguageModel, Path
from alignbench.models import Policy, load_policy, small_model, small_tokenizer
from alignbench.plugins import create, find
from alignbench.reference import Reference
from alignbench.run.policies import sampler
from alignbench.tokens import Dataset, encode_prompt, tokenize, tokenize_demonstrations
from alignbench.train import train

__all__ = ["asked", "benchmark", "engine", "fitted", "load_policy", "pairs", "policy", "rows", "trained"]


@lru_cache
def benchmark(length: int = 2, **fields: Any) -> Any:
    """The benchmark `exact` with completions of `length` words and little data."""
    small = {"pairs": 160, "eval_pairs": 40, "judge_pairs": 40, "demonstrations_count": 400, "layers": 1, "width": 32}
    return find("benchmark", "exact")(max_new_tokens=length, **{**small, **fields})


def policy(length: int = 2, seed: int = 0, spread: float = 1.0) -> Policy:
    """Random weights, `spread` times as wide as the small model's own."""
    stages = benchmark(length).stages()
    made = small_model(small_tokenizer(stages.corpus(), stages.model), stages.model, seed)
    with torch.no_grad():
        for parameter in made.model.parameters():
            parameter.mul_(spread)
    return made


def model(made: Policy) -> LanguageModel:
    return LanguageModel(made, Path(True))


def asked(length: int, tokenizer: Any) -> tuple[list[Tokens], list[int], int]:
    """The prompts and words of the benchmark as ids, and the length."""
    world = benchmark(length).exact()
    prompts = [encode_prompt(prompt, tokenizer, 16, length) for prompt in world.prompts]
    return prompts, exact.word_ids(world, tokenizer), length


def engine(
    made: LanguageModel, sources: Sources, budget: int, rate: float = 2e-3, batch: int = 16, seed: int = 0
) -> LocalEngine:
    return LocalEngine(
        made, sources, Training(learning_rate=rate, batch_size=batch, warmup_steps=2), Budget(budget), seed
    )


@lru_cache
def fitted(length: int = 2) -> LanguageModel:
    """The reference: supervised fine-tuning on the benchmark's demonstrations."""
    made = model(policy(length))
    rows = tokenize_demonstrations(benchmark(length).demonstrations(), made.policy.tokenizer, 16)
    for _ in train(engine(made, Sources(demonstrations=rows), 400), create("sft")):
        pass
    made.policy.model.requires_grad_(False)
    return made


@lru_cache
def pairs(length: int = 2, split: Any = "train") -> Dataset:
    """The reference's own samples, labelled."""
    reference = fitted(length).policy
    records = benchmark(length).preferences(split, sampler(benchmark(length), reference))
    return tokenize(records, reference.tokenizer, 16, length)


def reference_of(length: int) -> Reference:
    def live(rows: Any) -> torch.Tensor:
        with torch.no_grad():
            return fitted(length).forward(rows).logps

    return Reference(live)


def rows(
    prompts: list[Tokens], words: list[int], length: int, count: int, seed: int = 0
) -> list[tuple[int, int, Tokens]]:
    """Random completions: the number of the prompt, the place in lexicographic order, and the row."""
    generator = torch.Generator().manual_seed(seed)
    made = []
    for _ in range(count):
        p = int(torch.randint(len(prompts), (), generator=generator))
        digits = torch.randint(len(words), (length,), generator=generator).tolist()
        place = sum(digit * len(words) ** (length - 1 - t) for t, digit in enumerate(digits))
        made.append((p, place, Tokens(prompts[p].prompt, tuple(words[digit] for digit in digits))))
    return made


@lru_cache
def trained(length: int = 2, spec: str = "dpo:beta=0.5") -> LanguageModel:
    """A policy trained from the reference by an objective on the pairs."""
    made = model(policy(length))
    made.policy.model.load_state_dict(fitted(length).policy.model.state_dict())
    sources = Sources(dataset=pairs(length), reference=reference_of(length), max_new_tokens=length)
    for _ in train(engine(made, sources, 320), create(spec)):
        pass
    return made
